//! `pod rm` and `pod prune`: a pod with all its containers.

use std::time::Duration;

use super::list::PodSummary;
use super::{event, members};
use crate::base::failpoint::failpoint;
use crate::base::{Error, Kind, Result};
use crate::operations::container::{remove as containers, select};
use crate::operations::session::Session;
use crate::state::container::{Container, State};
use crate::state::pod::{PodRecord, Pods};

/// How to remove.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// `--force`: kill what runs.
    pub force: bool,
    /// `--time`: how long the stop signal may take with `--force`.
    pub time: Option<Duration>,
}

/// Removes a pod and everything in it.
///
/// # Errors
/// `InUse` when something of it runs and no force is used.
pub fn remove(session: &Session, pod: &PodRecord, options: &RemoveOptions) -> Result<()> {
    let pods = Pods::new(&session.dirs);
    let lock = pods.lock(pod)?;
    let all = members(session, pod)?;
    if !options.force {
        let running = |c: &&Container| c.state().is_ok_and(State::is_active);
        if let Some(first) = all.iter().find(running) {
            return Err(Error::new(
                Kind::InUse,
                format!(
                    "cannot remove pod {:?}: container {:?} runs",
                    pod.name.as_str(),
                    first.name()
                ),
            )
            .hint(format!("coracle pod rm --force {}", pod.name)));
        }
    }
    // The one that holds the namespaces goes last.
    let (infra, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.record.options.infra);
    for container in others.into_iter().chain(infra) {
        let how = containers::RemoveOptions {
            force: options.force,
            volumes: true,
            time: options.time,
            depend: true,
            infra: true,
        };
        match containers::remove(session, container, &how) {
            Err(e) if e.kind() == Kind::NotFound => {}
            other => drop(other?),
        }
        failpoint("pod::member")?;
    }
    pods.remove(pod, &lock)?;
    if let Some(file) = &pod.id_file
        && select::read_cidfile(file).is_ok_and(|id| id == pod.id.as_str())
    {
        drop(std::fs::remove_file(file));
    }
    event(session, pod, "remove");
    Ok(())
}

/// Removes pods of which nothing runs: all with force, else those that ended. Answers their ids, and
/// what could not be removed.
///
/// # Errors
/// What the kernel says of the folder.
pub fn prune(session: &Session) -> Result<(Vec<String>, Vec<Error>)> {
    let (list, mut bad) = Pods::new(&session.dirs).list()?;
    let mut gone = Vec::new();
    for pod in list {
        let done = (|| -> Result<bool> {
            let summary = PodSummary::of(session, pod.clone())?;
            if !matches!(summary.status(), "Exited" | "Stopped" | "Created") {
                return Ok(false);
            }
            remove(session, &pod, &RemoveOptions::default()).map(|()| true)
        })();
        match done {
            Ok(true) => gone.push(pod.id.to_string()),
            Ok(false) => {}
            // Started or removed meanwhile.
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::InUse) => {}
            Err(e) => bad.push(e),
        }
    }
    Ok((gone, bad))
}
