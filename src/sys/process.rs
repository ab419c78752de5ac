//! Processes: identity that survives pid reuse and reboots, pidfds, waiting.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Call as _, Error, Result};

/// A process for good: boot id, pid and start time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Pid as seen from the host's pid namespace (the caller's).
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`, clock ticks since boot.
    pub start_time: u64,
}

impl Identity {
    /// The identity of a process that lives now (a zombie counts).
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn of(pid: i32) -> Result<Self> {
        let (start_time, _) = stat(pid)?;
        Ok(Self {
            boot_id: boot_id().to_owned(),
            pid,
            start_time,
        })
    }

    /// Whether that very process still lives; a zombie does not.
    pub fn is_alive(&self) -> bool {
        self.boot_id == boot_id()
            && matches!(stat(self.pid), Ok((start, state)) if start == self.start_time && state != 'Z' && state != 'X')
    }

    /// A pidfd of that very process.
    ///
    /// # Errors
    /// `ESRCH` when it is gone.
    pub fn open(&self) -> Result<OwnedFd> {
        let gone = || Error::new("pidfd_open", self.pid.to_string(), libc::ESRCH);
        if self.boot_id != boot_id() {
            return Err(gone());
        }
        let pid = rustix::process::Pid::from_raw(self.pid).ok_or_else(gone)?;
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .call("pidfd_open", || self.pid.to_string())?;
        // The pid may have been reused before the pidfd pinned it.
        match stat(self.pid) {
            Ok((start, _)) if start == self.start_time => Ok(fd),
            _ => Err(gone()),
        }
    }
}

/// Whether that process is on its way out, or gone: `PF_EXITING` in its flags, proc_pid_stat(5).
pub fn is_exiting(pid: i32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(text) = read_text(&format!("/proc/{pid}/stat")) else {
        return true;
    };
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let flags = rest.split(' ').nth(6).and_then(|f| f.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// This boot's id; empty when /proc does not tell.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        read_text("/proc/sys/kernel/random/boot_id")
            .map(|s| s.trim().to_owned())
            .unwrap_or_default()
    })
}

/// Reads a small file of /proc, whose size nobody knows, in one piece.
fn read_text(path: &str) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::with_capacity(1 << 10);
    std::fs::File::open(path)?
        .take(64 << 10)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Start time and state letter.
fn stat(pid: i32) -> Result<(u64, char)> {
    let target = format!("/proc/{pid}/stat");
    let text = read_text(&target).map_err(|e| {
        let errno = if e.kind() == std::io::ErrorKind::NotFound {
            libc::ESRCH
        } else {
            e.raw_os_error().unwrap_or(libc::EIO)
        };
        Error::new("read", target.clone(), errno)
    })?;
    // The name may hold spaces and parentheses: the last one closes it.
    let rest = text
        .rsplit_once(") ")
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    let mut fields = rest.split(' ');
    let state = fields.next().and_then(|s| s.chars().next());
    match (state, fields.nth(18).and_then(|s| s.parse().ok())) {
        (Some(state), Some(start)) => Ok((start, state)),
        _ => Err(Error::new("read", target, libc::EIO)),
    }
}

/// Lets the processor go for `time`: for lock retries, where the kernel offers nothing to wait on.
pub fn pause(time: Duration) {
    let until = rustix::thread::Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    };
    // Woken early by a signal is fine: the caller loops.
    drop(rustix::thread::nanosleep(&until));
}

/// Ends this process as `kill -9` would: nothing is unwound, flushed or cleaned up.
pub fn kill_self() {
    if let Some(me) = rustix::process::Pid::from_raw(std::process::id().cast_signed()) {
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

/// Stops this process until somebody sends SIGCONT.
pub fn stop_self() {
    if let Some(me) = rustix::process::Pid::from_raw(std::process::id().cast_signed()) {
        let _ = rustix::process::kill_process(me, rustix::process::Signal::STOP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_changed_start_time_is_not() {
        let mut me = Identity::of(std::process::id().cast_signed()).unwrap();
        assert!(me.is_alive());
        assert!(me.open().is_ok());
        me.start_time += 1;
        assert!(!me.is_alive());
        assert_eq!(me.open().unwrap_err().errno, libc::ESRCH);
    }
}
