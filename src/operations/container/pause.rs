//! `pause` and `unpause`: by the container's cgroup where it has one, else by stopping every
//! process of its pid namespace.

use std::time::{Duration, Instant};

use super::{events, processes, reap};
use crate::base::{Context as _, Error, Kind, Result};
use crate::cgroup::Group;
use crate::handoff::control::Control;
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::state::container::{Container, State, Status};
use crate::state::options::NamespaceMode;
use crate::sys::process::Identity;

/// How long processes may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// Freezes a running container.
///
/// # Errors
/// `InUse` when it does not run or is paused; `TimedOut` when a process cannot be stopped (all go
/// on then).
pub fn pause(session: &Session, container: &Container) -> Result<()> {
    let mut container = container.clone();
    let status = active(session, &mut container, State::Running, "pause")?;
    let frozen = match group(&status) {
        Some(group) => group.freeze(),
        None => stop_all(session, &container, &status),
    };
    if let Err(e) = frozen.and_then(|()| tell(&container, true)) {
        drop(thaw(session, &container, &status));
        return Err(e).what(|| format!("cannot pause container {:?}", container.name()));
    }
    events::write(session, &container, "pause");
    Ok(())
}

/// Lets a paused container go on.
///
/// # Errors
/// `InUse` when it is not paused.
pub fn unpause(session: &Session, container: &Container) -> Result<()> {
    let mut container = container.clone();
    let status = active(session, &mut container, State::Paused, "unpause")?;
    thaw(session, &container, &status)
        .and_then(|()| tell(&container, false))
        .what(|| format!("cannot unpause container {:?}", container.name()))?;
    events::write(session, &container, "unpause");
    Ok(())
}

fn active(
    session: &Session,
    container: &mut Container,
    wanted: State,
    verb: &str,
) -> Result<Status> {
    reap::reap_lost(session, container)?;
    let (state, status) = container.state_and_status()?;
    match status {
        Some(status) if state == wanted => Ok(status),
        _ => Err(Error::new(
            Kind::InUse,
            format!(
                "cannot {verb} container {:?}: it is {}, not {}",
                container.name(),
                state.name(),
                wanted.name()
            ),
        )),
    }
}

fn group(status: &Status) -> Option<Group> {
    status.cgroup.as_deref().and_then(|p| Group::open(p).ok())
}

fn tell(container: &Container, paused: bool) -> Result<()> {
    Control::connect(&container.control_socket())?.set_paused(paused)
}

/// Lets everything go on, whatever froze it.
pub(super) fn thaw(session: &Session, container: &Container, status: &Status) -> Result<()> {
    if let Some(group) = group(status) {
        return group.thaw();
    }
    for process in members(session, container, status)? {
        send(process.pid, process.start_time, libc::SIGCONT);
    }
    Ok(())
}

fn members(
    session: &Session,
    container: &Container,
    status: &Status,
) -> Result<Vec<processes::Process>> {
    let init = status
        .init
        .as_ref()
        .ok_or_else(|| Error::new(Kind::NotFound, "the container's first process ended"))?;
    // Its processes may have any of its ids.
    enter(&session.dirs, Want::Of(status.monitor.clone()))?;
    let own = container.record.options.pid != NamespaceMode::Host;
    processes::list(init, own)
}

/// Stops processes until a look finds none that runs: one that forks while we look is caught by the
/// next look.
fn stop_all(session: &Session, container: &Container, status: &Status) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let going: Vec<_> = members(session, container, status)?
            .into_iter()
            .filter(|p| !matches!(p.state, 'T' | 't' | 'Z' | 'X'))
            .collect();
        if going.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                Kind::TimedOut,
                format!("{} processes do not stop", going.len()),
            ));
        }
        for process in &going {
            send(process.pid, process.start_time, libc::SIGSTOP);
        }
        crate::sys::process::pause(Duration::from_millis(1));
    }
}

fn send(pid: i32, start_time: u64, signal: i32) {
    let identity = Identity {
        boot_id: crate::sys::process::boot_id().to_owned(),
        pid,
        start_time,
    };
    // A process that ended meanwhile needs no signal.
    if let Ok(pidfd) = identity.open() {
        drop(crate::sys::pidfd::send_signal(&pidfd, signal));
    }
}
