//! Containers whose monitor was killed: found by the next command, ended, recorded, cleaned up; and
//! those of a `run --rm` that was killed before it had started them.

use std::time::Duration;

use super::events;
use crate::base::Result;
use crate::base::failpoint::failpoint;
use crate::base::time::Timestamp;
use crate::cgroup::Group;
use crate::handoff::ended::wait_ended;
use crate::operations::session::Session;
use crate::state::container::{Container, ContainerLock, ExitRecord, State};
use crate::sys::process::{Identity, boot_id};

/// How long a command waits for a lock before it says that the container is busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// Takes the lock; a container whose monitor died is cleaned up first. `None` when it is gone
/// afterwards, because it was a `--rm` one.
///
/// # Errors
/// `TimedOut`, `NotFound`, what the clean-up says.
pub fn lock(session: &Session, container: &mut Container) -> Result<Option<ContainerLock>> {
    let lock = container.lock(PATIENCE)?;
    container.reload()?;
    let gone = match container.state()? {
        State::Lost => reap_locked(session, container)?,
        // `run --rm` was killed before it started it: whoever has the lock now finds nobody's.
        State::Created if container.record.by_run && container.record.options.remove => {
            super::remove::remove_locked(session, container, true)?;
            true
        }
        _ => false,
    };
    Ok((!gone).then_some(lock))
}

/// Cleans up after a dead monitor, if that is what `container` has. Answers whether the container
/// went away with it (`--rm`).
///
/// # Errors
/// `TimedOut`, `NotFound`, what the clean-up says.
pub fn reap_lost(session: &Session, container: &mut Container) -> Result<bool> {
    if container.state()? != State::Lost && !container.is_abandoned()? {
        return Ok(false);
    }
    Ok(lock(session, container)?.is_none())
}

/// The work. The lock is held and the state is `Lost`.
fn reap_locked(session: &Session, container: &Container) -> Result<bool> {
    let (state, status) = container.state_and_status()?;
    let Some(status) = status else {
        return Ok(false);
    };
    if state != State::Lost {
        return Ok(false);
    }
    // The kernel kills the first process with the monitor; a process that changed its own
    // credentials may have escaped that.
    for identity in [status.init.as_ref(), status.uplink.as_ref()]
        .into_iter()
        .flatten()
    {
        kill(session, identity)?;
    }
    // What it left running outside its own PID namespace goes, too, and the folder with it.
    if let Some(group) = status.cgroup.as_deref().and_then(|p| Group::open(p).ok()) {
        drop(group.kill().and_then(|()| group.remove()));
    }
    failpoint("reap::killed")?;
    let recorded = container
        .exit()?
        .is_some_and(|exit| exit.started >= status.started);
    if !recorded {
        let exit = ExitRecord {
            version: 1,
            code: -1,
            unknown: true,
            oom_killed: false,
            started: status.started,
            finished: Timestamp::now(),
            error: Some(lost_because(&status.monitor).to_owned()),
            restarts: status.restarts,
            stopped_by_user: false,
        };
        container.write_exit(&exit)?;
        events::died(session, container, -1);
    }
    failpoint("reap::recorded")?;
    super::launch::forget_run(container);
    if container.record.options.remove {
        super::remove::remove_locked(session, container, true)?;
        return Ok(true);
    }
    container.clear_status()?;
    Ok(false)
}

/// Why nobody saw the end.
pub(super) fn lost_because(monitor: &Identity) -> &'static str {
    match monitor.boot_id == boot_id() {
        true => "its monitor was killed",
        false => "the machine went down while it ran",
    }
}

fn kill(session: &Session, identity: &Identity) -> Result<()> {
    let Ok(pidfd) = identity.open() else {
        return Ok(());
    };
    super::processes::signal(session, &pidfd, identity, libc::SIGKILL)?;
    wait_ended(identity, Some(DEATH))?;
    Ok(())
}
