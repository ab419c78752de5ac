//! `delete`: what `create` made.

use std::time::Duration;

use super::record::{Container, Status};
use super::{Place, cgroups, kill, rdt};
use crate::base::{Error, Kind, Result};
use crate::runtime::hooks;
use crate::sys::pidfd;

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a container. With `force` it is killed first, and it is fine if there is none.
///
/// # Errors
/// `NotFound`; `InUse` when it is not stopped.
pub fn delete(place: &Place, id: &str, force: bool) -> Result<()> {
    let container = match Container::open(place, id) {
        Err(e) if force && e.kind() == Kind::NotFound => {
            super::record::sweep(place, id)?;
            return Ok(());
        }
        other => other?,
    };
    if container.status() == Status::Creating {
        if !force {
            return Err(not_stopped(id, Status::Creating));
        }
        // `create` has the lock; it fails now, and clears up.
        drop(kill::kill(place, id, libc::SIGKILL, kill::Whom::First));
    }
    let lock = match container.lock() {
        Err(e) if force && e.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    let status = container.status();
    if status != Status::Stopped {
        if !force {
            return Err(not_stopped(id, status));
        }
        end(place, &container, status)?;
    }
    cgroups::remove(&container.record)?;
    rdt::remove(&container.record)?;
    let spec = container.spec()?;
    let state = container.state(&spec, Status::Stopped);
    let poststop = spec.hooks.unwrap_or_default().poststop;
    container.remove();
    drop(lock);
    // Spec: config, "Poststop": failures are told, and the container is gone all the same.
    for failure in hooks::run_all("poststop", &poststop, &state)? {
        log::warn!("{}", failure.one_line());
    }
    Ok(())
}

fn not_stopped(id: &str, status: Status) -> Error {
    Error::new(
        Kind::InUse,
        format!(
            "cannot delete container {id} that is not stopped: {}",
            status.word()
        ),
    )
}

fn end(place: &Place, container: &Container, status: Status) -> Result<()> {
    let id = &container.record.id;
    let process = container.record.process.open();
    if status == Status::Paused {
        super::freeze::set(place, id, false)?;
    }
    match kill::kill(place, id, libc::SIGKILL, kill::Whom::First) {
        Err(_) if !container.record.process.is_alive() => {}
        other => other?,
    }
    if let Ok(process) = process
        && !pidfd::wait_end(&process, Some(PATIENCE))?
    {
        return Err(Error::new(
            Kind::TimedOut,
            format!("the container {id} does not end"),
        ));
    }
    Ok(())
}
