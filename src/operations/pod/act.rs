//! `pod start`, `stop`, `restart`, `kill`, `pause`, `unpause`: the same for all containers of a pod.

use super::{event, infra, members};
use crate::base::{Error, Kind, Result};
use crate::operations::container::stop::StopOptions;
use crate::operations::container::{pause as freezing, remove, run, stop as stopping, wait};
use crate::operations::session::Session;
use crate::state::container::{Container, State};
use crate::state::options::InitCtr;
use crate::state::pod::PodRecord;

/// Starts everything in a pod that does not run: what holds its namespaces, then the containers of
/// `--init-ctr` one after the other, each to its end, then the rest.
///
/// # Errors
/// The first container's that could not be started, after all were tried; `Invalid` when one of
/// `--init-ctr` fails, and the rest is not started then.
pub fn start(session: &Session, pod: &PodRecord, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let all = members(session, pod)?;
    let idle = !all
        .iter()
        .any(|c| !c.record.options.infra && c.state().is_ok_and(State::is_active));
    infra::ensure(session, pod, warn)?;
    if idle {
        initialize(session, pod, &all, warn)?;
    }
    let rest = all
        .iter()
        .filter(|c| !c.record.options.infra && c.record.options.init_ctr.is_none());
    each(rest, |container| match container.state()?.is_active() {
        true => Ok(()),
        false => run::start(session, container, None, warn).map(drop),
    })?;
    event(session, pod, "start");
    Ok(())
}

fn initialize(
    session: &Session,
    pod: &PodRecord,
    all: &[Container],
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    for container in all {
        let Some(when) = container.record.options.init_ctr else {
            continue;
        };
        run::start(session, container, None, warn)?;
        let code = wait::wait(session, container, &[wait::Condition::Stopped])?;
        if code != 0 {
            return Err(Error::invalid(format!(
                "cannot start pod {:?}: its container {:?} ended with {code}, and the others wait for its success",
                pod.name.as_str(),
                container.name()
            ))
            .hint(format!("coracle logs {}", container.name())));
        }
        if when == InitCtr::Once {
            remove::remove(session, container.clone(), &Default::default())?;
        }
    }
    Ok(())
}

/// Stops everything in a pod, what holds its namespaces last.
///
/// # Errors
/// The first container's that could not be stopped, after all were tried.
pub fn stop(session: &Session, pod: &PodRecord, options: &StopOptions) -> Result<()> {
    let all = members(session, pod)?;
    let (infra, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.record.options.infra);
    each(others.iter().rev().chain(&infra), |container| {
        match stopping::stop(session, container, options) {
            // A `--rm` one that went.
            Err(e) if e.kind() == Kind::NotFound => Ok(()),
            other => other.map(drop),
        }
    })?;
    event(session, pod, "stop");
    Ok(())
}

/// Stops a pod and starts it again.
///
/// # Errors
/// As [`stop`] and [`start`].
pub fn restart(session: &Session, pod: &PodRecord, warn: &mut dyn FnMut(&str)) -> Result<()> {
    stop(session, pod, &StopOptions::default())?;
    start(session, pod, warn)?;
    event(session, pod, "restart");
    Ok(())
}

/// Sends a signal to every container of a pod that runs.
///
/// # Errors
/// `InUse` when none does; the first one's that could not be had, after all were tried.
pub fn kill(session: &Session, pod: &PodRecord, signal: i32) -> Result<()> {
    let mut found = false;
    let all = members(session, pod)?;
    each(all.iter().rev(), |container| {
        if !matches!(container.state()?, State::Running | State::Paused) {
            return Ok(());
        }
        found = true;
        match stopping::kill(session, container, signal) {
            // Sharing the process ids of one that was killed, it is gone, too.
            Err(e) if matches!(e.kind(), Kind::InUse | Kind::NotFound) => Ok(()),
            other => other,
        }
    })?;
    if !found {
        return Err(Error::new(
            Kind::InUse,
            format!(
                "cannot kill pod {:?}: nothing of it runs",
                pod.name.as_str()
            ),
        ));
    }
    event(session, pod, "kill");
    Ok(())
}

/// Freezes every container of a pod that runs.
///
/// # Errors
/// The first one's that could not be had, after all were tried.
pub fn pause(session: &Session, pod: &PodRecord) -> Result<()> {
    in_state(session, pod, State::Running, freezing::pause)?;
    event(session, pod, "pause");
    Ok(())
}

/// Lets every container of a pod that was paused go on.
///
/// # Errors
/// The first one's that could not be had, after all were tried.
pub fn unpause(session: &Session, pod: &PodRecord) -> Result<()> {
    in_state(session, pod, State::Paused, freezing::unpause)?;
    event(session, pod, "unpause");
    Ok(())
}

fn in_state(
    session: &Session,
    pod: &PodRecord,
    wanted: State,
    verb: fn(&Session, &Container) -> Result<()>,
) -> Result<()> {
    let all = members(session, pod)?;
    each(all.iter(), |container| match container.state()? == wanted {
        true => verb(session, container),
        false => Ok(()),
    })
}

/// Does it to all; answers the first error.
fn each<'a>(
    all: impl Iterator<Item = &'a Container>,
    mut act: impl FnMut(&Container) -> Result<()>,
) -> Result<()> {
    let mut first = Ok(());
    for container in all {
        let done = act(container);
        if first.is_ok() {
            first = done;
        }
    }
    first
}
