//! `kill`: a signal to a container.

use super::record::{Container, Status};
use super::{Place, cgroups, rights};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::NamespaceKind;
use crate::sys::{pidfd, signal};

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The first process.
    First,
    /// Every process of the container.
    All,
}

/// Sends a signal.
///
/// # Errors
/// `NotFound`; `Invalid` when it is not running.
pub fn kill(place: &Place, id: &str, number: i32, whom: Whom) -> Result<()> {
    let container = Container::open(place, id)?;
    let status = container.status();
    if whom == Whom::All {
        return all(&container, number, status);
    }
    if status == Status::Stopped {
        // runc's words: containerd looks for them.
        return Err(Error::invalid("container not running"));
    }
    // Without a pid namespace of its own, the others do not end with the first one.
    let alone = container.spec()?.linux.is_none_or(|l| {
        !l.namespaces
            .iter()
            .any(|n| n.kind == NamespaceKind::Pid && n.path.as_deref().is_none_or(str::is_empty))
    });
    if alone && number == libc::SIGKILL && !container.record.cgroups.is_empty() {
        drop(all(&container, number, status));
    }
    first(&container, number)
}

fn first(container: &Container, number: i32) -> Result<()> {
    let ended = || Error::invalid("container not running");
    let process = container.record.process.open().map_err(|_| ended())?;
    let sent = match pidfd::send_signal(&process, number) {
        Err(e) if e.errno == libc::EPERM => {
            rights::over(&container.record)?;
            pidfd::send_signal(&process, number)
        }
        other => other,
    };
    match sent {
        Err(e) if e.errno == libc::ESRCH => Err(ended()),
        other => other.what(|| format!("cannot send signal {number}")),
    }
}

fn all(container: &Container, number: i32, status: Status) -> Result<()> {
    let list = match cgroups::processes(&container.record) {
        Ok(Some(list)) => list,
        Err(e) if e.kind() == Kind::NotFound => Vec::new(),
        Ok(None) if status == Status::Stopped => Vec::new(),
        Ok(None) => super::process::of_namespace(&container.record)?,
        Err(e) => return Err(e),
    };
    for pid in list {
        match signal::send(pid, number) {
            Err(e) if e.errno != libc::ESRCH => {
                return Err(e).what(|| format!("cannot send signal {number} to process {pid}"));
            }
            _ => {}
        }
    }
    Ok(())
}
