//! The processes of a running container, as the host sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;

use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::sys::pidfd::send_signal;
use crate::sys::process::Identity;

/// Sends a signal. A process with other ids than the caller's is only reached from inside its user
/// namespace, which this process then enters.
///
/// # Errors
/// `NotFound` when it ended, `Denied`.
pub fn signal(session: &Session, pidfd: &OwnedFd, whom: &Identity, number: i32) -> Result<()> {
    let what = || {
        format!(
            "cannot send {} to process {}",
            crate::base::signal::name(number),
            whom.pid
        )
    };
    match send_signal(pidfd, number) {
        Ok(()) => Ok(()),
        Err(e) if e.errno == libc::EPERM => {
            enter(&session.dirs, Want::Of(whom.clone())).what(what)?;
            send_signal(pidfd, number).what(what)
        }
        Err(e) if e.errno == libc::ESRCH => Ok(()),
        Err(e) => Err(e).what(what),
    }
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Pid on the host.
    pub pid: i32,
    /// Parent on the host.
    pub ppid: i32,
    /// State letter.
    pub state: char,
    /// Start time, ticks since boot.
    pub start_time: u64,
}

/// Every process of the container whose first process is `init`: those in its pid namespace, and
/// everything below them. With the host's pid namespace only what is below `init` counts.
///
/// # Errors
/// `NotFound` when it ended.
pub fn list(init: &Identity, own_pid_namespace: bool) -> Result<Vec<Process>> {
    let namespace_of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let home = if own_pid_namespace {
        Some(
            namespace_of(init.pid)
                .ok_or_else(|| Error::new(Kind::NotFound, "the container's first process ended"))?,
        )
    } else {
        None
    };
    let mut all: BTreeMap<i32, Process> = BTreeMap::new();
    let entries = fs::read_dir("/proc").what(|| "cannot list /proc")?;
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if let Some(process) = read(pid) {
            all.insert(pid, process);
        }
    }
    let mut inside: BTreeSet<i32> = match &home {
        Some(home) => all
            .keys()
            .copied()
            .filter(|pid| namespace_of(*pid).as_ref() == Some(home))
            .collect(),
        None => BTreeSet::new(),
    };
    inside.insert(init.pid);
    // Children of members are members: nested pid namespaces are seen from here, too.
    loop {
        let more: Vec<i32> = all
            .values()
            .filter(|p| inside.contains(&p.ppid) && !inside.contains(&p.pid))
            .map(|p| p.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        inside.extend(more);
    }
    Ok(inside
        .into_iter()
        .filter_map(|pid| all.remove(&pid))
        .collect())
}

fn read(pid: i32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &text)
}

fn parse_stat(pid: i32, text: &str) -> Option<Process> {
    let (_, rest) = text.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    Some(Process {
        pid,
        state: words.first()?.chars().next()?,
        ppid: words.get(1)?.parse().ok()?,
        start_time: words.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_children_are_found() {
        let me = Identity::of(std::process::id().cast_signed()).unwrap();
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let found = list(&me, false).unwrap();
        assert!(found.iter().any(|p| p.pid == me.pid));
        assert!(found.iter().any(|p| p.pid == child.id().cast_signed()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let mut text = "7 (a) b) S 1 ".to_owned();
        text.push_str(&(4..22).map(|n| n.to_string()).collect::<Vec<_>>().join(" "));
        let p = parse_stat(7, &text).unwrap();
        assert_eq!((p.ppid, p.state, p.start_time), (1, 'S', 21));
    }
}
