//! `rm`: a container with everything that is its own.

use std::collections::BTreeSet;
use std::time::Duration;

use super::summary::Summary;
use super::{events, inspect, member, reap, stop};
use crate::base::failpoint::failpoint;
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::state::container::{Container, Containers, State};
use crate::storage::volume::Volumes;

/// How to remove.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// `--force`: kill it first.
    pub force: bool,
    /// `--volumes`: its anonymous volumes, too.
    pub volumes: bool,
    /// `--time`: how long the stop signal may take with `--force`; absent means none is sent.
    pub time: Option<Duration>,
    /// `--depend`: containers that use it, too.
    pub depend: bool,
    /// It may be one that holds a pod's namespaces: the pod goes, too.
    pub infra: bool,
}

/// Removes a container. Answers the names of everything that went, this one last.
///
/// # Errors
/// `InUse` when it runs and no force is used (exit code 2, as podman's), or when others use it.
pub fn remove(
    session: &Session,
    container: Container,
    options: &RemoveOptions,
) -> Result<Vec<String>> {
    let others = dependents(session, &container)?;
    remove_with(session, container, others, options)
}

/// As [`remove`], for a caller who knows which containers use this one: looking for them means to
/// read every record.
///
/// # Errors
/// As [`remove`].
pub(super) fn remove_with(
    session: &Session,
    mut container: Container,
    others: Vec<Container>,
    options: &RemoveOptions,
) -> Result<Vec<String>> {
    let name = container.name().to_owned();
    if !options.infra
        && let Some(pod) = member::held_by(session, &container)?
    {
        return Err(Error::new(
            Kind::InUse,
            format!("cannot remove container {name:?}: it holds the namespaces of pod {pod:?}"),
        )
        .hint(format!("coracle pod rm {pod}")));
    }
    let mut gone = Vec::new();
    for other in others {
        if !options.depend {
            return Err(Error::new(
                Kind::InUse,
                format!(
                    "cannot remove container {name:?}: container {:?} uses it",
                    other.name()
                ),
            )
            .hint(format!("remove {:?} first, or use --depend", other.name())));
        }
        let deeper = RemoveOptions {
            force: true,
            ..*options
        };
        gone.extend(remove(session, other, &deeper)?);
    }
    let state = container.state()?;
    if state.is_active() {
        if !options.force {
            return Err(Error::new(
                Kind::InUse,
                format!("cannot remove container {name:?} as it is {}", state.name()),
            )
            .hint("stop it first, or use --force")
            .exit_code(2));
        }
        let stopping = stop::StopOptions {
            timeout: options.time.or(Some(Duration::ZERO)),
            signal: None,
        };
        match stop::stop(session, &container, &stopping) {
            // It was a `--rm` one and went by itself.
            Err(e) if e.kind() == Kind::NotFound => {}
            other => drop(other?),
        }
    }
    failpoint("remove::stopped")?;
    enter(&session.dirs, Want::Default)?;
    let lock = match reap::lock(session, &mut container) {
        Ok(Some(lock)) => lock,
        // Gone already: that is what was wanted.
        Ok(None) => {
            gone.push(name);
            return Ok(gone);
        }
        Err(e) if e.kind() == Kind::NotFound && options.force => {
            gone.push(name);
            return Ok(gone);
        }
        Err(e) => return Err(e),
    };
    if container.state()?.is_active() {
        return Err(Error::new(
            Kind::InUse,
            format!("cannot remove container {name:?}: it was started again"),
        )
        .exit_code(2));
    }
    remove_locked(
        session,
        &container,
        options.volumes || container.record.options.remove,
    )?;
    drop(lock);
    gone.push(name);
    Ok(gone)
}

/// Ends what a killed monitor left; then, if asked, removes the container and its image.
///
/// # Errors
/// As [`remove`].
pub fn clean_up(session: &Session, container: &Container, rm: bool, rmi: bool) -> Result<()> {
    let mut container = container.clone();
    enter(&session.dirs, Want::Default)?;
    let gone = reap::reap_lost(session, &mut container)?;
    if rm && !gone {
        remove(session, container.clone(), &RemoveOptions::default())?;
    }
    match rmi {
        true => remove_image(session, &container),
        false => Ok(()),
    }
}

/// Removes records, files and, if asked, anonymous volumes. The lock is held, nothing runs, and
/// this process is inside the user namespace.
///
/// # Errors
/// What the kernel says.
pub(super) fn remove_locked(session: &Session, container: &Container, volumes: bool) -> Result<()> {
    enter(&session.dirs, Want::Default)?;
    let containers = Containers::new(&session.dirs);
    super::create::remove_cidfile(container);
    let trash = containers.discard(container)?;
    failpoint("remove::discarded")?;
    events::write(session, container, "remove");
    containers.forget_runtime(container);
    if let Some(trash) = trash {
        crate::state::container::remove_tree(&trash)?;
    }
    failpoint("remove::files")?;
    if volumes {
        let all = Volumes::new(&session.dirs);
        for volume in container.record.volumes.iter().filter(|v| v.anonymous) {
            if let Ok(name) = volume.name.parse() {
                match all.remove(&name) {
                    // Shared by --volumes-from, or gone.
                    Err(e) if matches!(e.kind(), Kind::NotFound | Kind::InUse) => {}
                    other => other?,
                }
            }
        }
    }
    Ok(())
}

/// The ids of the containers that any of `all` uses.
pub(super) fn used_by_any(all: &[Container]) -> BTreeSet<String> {
    let ids = all.iter().flat_map(|container| {
        let summary = Summary {
            container: container.clone(),
            state: State::Created,
            status: None,
            exit: None,
            health: None,
        };
        let ids: Vec<String> = inspect::namespace_dependencies(&summary)
            .map(ToString::to_string)
            .collect();
        ids
    });
    ids.collect()
}

/// Containers that use this one's namespaces.
fn dependents(session: &Session, container: &Container) -> Result<Vec<Container>> {
    let (list, _) = Containers::new(&session.dirs).list()?;
    Ok(list
        .into_iter()
        .filter(|other| other.id() != container.id())
        .filter(|other| depends_on(other, container))
        .collect())
}

fn depends_on(other: &Container, container: &Container) -> bool {
    // Volumes taken over were copied into the record, so they bind nobody.
    let summary = Summary {
        container: other.clone(),
        state: State::Created,
        status: None,
        exit: None,
        health: None,
    };
    inspect::namespace_dependencies(&summary).any(|id| id == container.id().as_str())
}

/// `--rmi`: the image of a removed container, when nobody else has it.
///
/// # Errors
/// `InUse` when another container uses it.
pub(super) fn remove_image(session: &Session, container: &Container) -> Result<()> {
    let Some(image) = &container.record.image else {
        return Ok(());
    };
    crate::operations::image::remove::remove(session, &image.name, Default::default()).map(drop)
}
