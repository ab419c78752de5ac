//! `start`: the program of a created container.

use super::Place;
use super::record::{self, Container, Status};
use crate::base::{Error, Kind, Result};
use crate::runtime::{hooks, launch};
use crate::sys::fd;

/// Starts a container; returns when its program executes.
///
/// # Errors
/// `NotFound`; `Invalid` when it is not created; what the program's execution says.
pub fn start(place: &Place, id: &str) -> Result<()> {
    let container = Container::open(place, id)?;
    if container.status() == Status::Creating {
        // `create` has the lock: this is no time to wait for it.
        return Err(Error::new(
            Kind::InUse,
            "cannot start a container that is still being created",
        ));
    }
    let dir = container.lock()?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::invalid("cannot start a container that has stopped"));
        }
        Status::Creating => {
            return Err(Error::new(
                Kind::InUse,
                "cannot start a container that is still being created",
            ));
        }
        Status::Running | Status::Paused => {
            return Err(Error::invalid("cannot start an already running container"));
        }
    }
    let connection = fd::connect_packets(&record::short(&dir, "start"))?;
    container.mark_started()?;
    launch::open_gate(connection)?;
    let spec = container.spec()?;
    if let Some(all) = &spec.hooks {
        let state = container.state(&spec, Status::Running);
        hooks::run("poststart", &all.poststart, &state).inspect_err(|_| {
            // Spec: runtime, "Lifecycle": the container does not outlive a failed hook.
            if let Ok(process) = container.record.process.open() {
                drop(crate::sys::pidfd::send_signal(process, libc::SIGKILL));
            }
        })?;
    }
    Ok(())
}
