//! `stop`, `kill`, `restart`: asking a container to end.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{events, launch, processes, reap};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::control::Control;
use crate::handoff::ended::wait_ended;
use crate::operations::session::Session;
use crate::state::container::{Container, State, Status};
use crate::sys::process::Identity;

/// How long a killed process may take to be gone, and a monitor to record it.
const DEATH: Duration = Duration::from_secs(10);

/// How to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopOptions {
    /// `--time`; absent means the container's own.
    pub timeout: Option<Duration>,
    /// docker's `--signal`; absent means the container's own.
    pub signal: Option<i32>,
}

/// Stops a container: its stop signal, then SIGKILL after the timeout. One that does not run is
/// fine. Answers whether it ran.
///
/// # Errors
/// `TimedOut` when even SIGKILL does not end it; what the kernel says.
pub fn stop(session: &Session, container: &Container, options: &StopOptions) -> Result<bool> {
    let mut container = container.clone();
    if reap::reap_lost(session, &mut container)? {
        return Ok(false);
    }
    let (state, status) = container.state_and_status()?;
    let Some(status) = status.filter(|_| state.is_active()) else {
        return Ok(false);
    };
    intend(&container)?;
    failpoint("stop::intended")?;
    let Some(init) = &status.init else {
        // Between two starts of a restart policy: the monitor now ends by itself.
        return settled(&container, &status.monitor).map(|()| true);
    };
    let patience = options.timeout.unwrap_or_else(|| {
        Duration::from_secs(container.record.options.stop_timeout.unwrap_or(10).into())
    });
    if let Ok(pidfd) = init.open() {
        let signal = options
            .signal
            .unwrap_or_else(|| launch::stop_signal(&container));
        if !patience.is_zero() {
            processes::signal(session, &pidfd, init, signal)?;
            // Frozen processes cannot act on a signal.
            if state == State::Paused {
                super::pause::thaw(session, &container, &status)?;
            }
        }
        if patience.is_zero() || !wait_ended(init, Some(patience))? {
            kill_hard(session, &container, &status, &pidfd, init)?;
        }
    }
    failpoint("stop::ended")?;
    settled(&container, &status.monitor)?;
    Ok(true)
}

fn kill_hard(
    session: &Session,
    container: &Container,
    status: &Status,
    pidfd: &OwnedFd,
    init: &Identity,
) -> Result<()> {
    processes::signal(session, pidfd, init, libc::SIGKILL)?;
    if wait_ended(init, Some(DEATH))? {
        return Ok(());
    }
    Err(Error::new(
        Kind::TimedOut,
        format!(
            "container {:?} does not end although it was killed",
            container.name()
        ),
    )
    .hint(format!(
        "process {} (monitor {}) waits in the kernel, often for a disk or a network file system",
        init.pid, status.monitor.pid
    )))
}

/// Tells the monitor that a person wants the end, so that it does not start it again.
fn intend(container: &Container) -> Result<()> {
    match Control::connect(&container.control_socket()) {
        Ok(mut control) => match control.stopping() {
            Err(e) if e.kind() == Kind::Unavailable => Ok(()),
            other => other,
        },
        // It ended meanwhile.
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Unavailable) => Ok(()),
        Err(e) => Err(e),
    }
    .what(|| {
        format!(
            "cannot tell the monitor of container {:?}",
            container.name()
        )
    })
}

/// Waits until the end is recorded: the monitor has written its record, or is gone.
fn settled(container: &Container, monitor: &Identity) -> Result<()> {
    if let Ok(control) = Control::connect(&container.control_socket())
        && let Ok(waiting) = control.wait()
    {
        let ready = crate::sys::fd::wait_readable(&waiting, Some(DEATH))?;
        if ready {
            drop(waiting.finish());
        }
    }
    // The status goes right after; a monitor that still cleans up is not waited for long.
    let deadline = std::time::Instant::now() + DEATH;
    while container.status().is_ok_and(|s| s.is_some()) && monitor.is_alive() {
        if std::time::Instant::now() > deadline {
            return Err(Error::new(
                Kind::TimedOut,
                format!(
                    "the monitor of container {:?} (process {}) does not come to an end",
                    container.name(),
                    monitor.pid
                ),
            ));
        }
        wait_ended(monitor, Some(Duration::from_millis(2)))?;
    }
    if container.record.options.remove {
        // The next command must not meet half of it.
        wait_ended(monitor, Some(DEATH))?;
    }
    Ok(())
}

/// Sends a signal to a container's first process. With KILL and a signal that ends it, the restart
/// policy does not start it again, as in docker and podman.
///
/// # Errors
/// `InUse` when it does not run.
pub fn kill(session: &Session, container: &Container, signal: i32) -> Result<()> {
    let mut container = container.clone();
    let gone = reap::reap_lost(session, &mut container)?;
    let (state, status) = container.state_and_status()?;
    let running = status.filter(|_| !gone && matches!(state, State::Running | State::Paused));
    let Some((init, status)) = running.and_then(|s| Some((s.init.clone()?, s))) else {
        return Err(Error::new(
            Kind::InUse,
            format!(
                "cannot kill container {:?}: it is {}, not running",
                container.name(),
                state.name()
            ),
        ));
    };
    if matches!(
        signal,
        libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGQUIT
    ) || signal == launch::stop_signal(&container)
    {
        intend(&container)?;
    }
    let pidfd = init.open()?;
    processes::signal(session, &pidfd, &init, signal)?;
    if signal == libc::SIGKILL {
        // podman answers when it is over.
        wait_ended(&init, Some(DEATH))?;
        settled(&container, &status.monitor)?;
    }
    events::write_with(
        session,
        &container,
        "kill",
        "signal",
        &crate::base::signal::name(signal),
    );
    Ok(())
}
