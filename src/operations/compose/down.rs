//! `down`, `stop`, `rm`: containers of a project stopped and removed, dependents first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::observe::{self, Member};
use super::replace::{away, hooks, run_hooks};
use super::tasks::{self, Task};
use super::{Hands, front, images};
use crate::base::{Kind, Result};
use crate::compose::convert;
use crate::compose::project::Project;
use crate::operations::container::stop::{StopOptions, stop};
use crate::operations::session::Session;
use crate::operations::{network, volume};
use crate::runtime::userns::{self, Want};
use crate::secrets::Secrets;
use crate::state::network::Networks;
use crate::state::request::ExecOptions;
use crate::storage::volume::Volumes;

/// What goes.
#[derive(Clone, Debug, Default)]
pub struct DownOptions {
    /// The services named; none means all, and the networks.
    pub services: Vec<String>,
    /// `--volumes`.
    pub volumes: bool,
    /// `--rmi`: all images, or those without a name of their own.
    pub images: Option<bool>,
    /// `--remove-orphans`.
    pub remove_orphans: bool,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// How many at a time.
    pub parallel: usize,
}

/// Takes a project down. Without its files all that its labels tell goes.
///
/// # Errors
/// As the operations.
pub fn down(
    session: &Session,
    name: &str,
    project: Option<&Project>,
    wanted: &DownOptions,
    hands: &mut dyn Hands,
) -> Result<()> {
    let members = observe::members(session, name)?;
    let has = |service: &str| {
        project.is_none_or(|p| p.service(service).is_ok() || p.disabled.contains_key(service))
    };
    let list: Vec<Member> = members
        .into_iter()
        .filter(|m| match wanted.services.is_empty() {
            true => has(&m.present.service) || m.present.oneoff || wanted.remove_orphans,
            false => wanted.services.contains(&m.present.service),
        })
        .collect();
    let before = pre_stop(project);
    take_away(
        session,
        list,
        wanted.timeout,
        wanted.volumes,
        wanted.parallel,
        &before,
        hands,
    )?;
    if !wanted.services.is_empty() {
        return Ok(());
    }
    userns::enter(&session.dirs, Want::Default)?;
    front::withdraw(session, name, None, hands)?;
    for record in Networks::new(&session.dirs).list()? {
        if record
            .labels
            .get(convert::PROJECT)
            .is_some_and(|p| p == name)
        {
            let network = record.name.to_string();
            match network::remove(session, &network, false, None) {
                Ok(_) => hands.tell("Network", &network, "Removed"),
                Err(e) if e.kind() == Kind::InUse => hands.warn(&e.one_line()),
                Err(e) => return Err(e),
            }
        }
    }
    let secrets = Secrets::new(&session.dirs);
    for record in secrets.list()? {
        if record
            .labels
            .get(convert::PROJECT)
            .is_some_and(|p| p == name)
        {
            secrets.remove(&record)?;
        }
    }
    if wanted.volumes {
        for record in Volumes::new(&session.dirs).list()? {
            if record
                .labels
                .get(convert::PROJECT)
                .is_some_and(|p| p == name)
            {
                let volume = record.name.to_string();
                match volume::remove(session, &volume, false, None) {
                    Ok(_) => hands.tell("Volume", &volume, "Removed"),
                    Err(e) if e.kind() == Kind::InUse => hands.warn(&e.one_line()),
                    Err(e) => return Err(e),
                }
            }
        }
    }
    if let (Some(all), Some(project)) = (wanted.images, project) {
        images::remove(session, project, all, hands)?;
    }
    Ok(())
}

/// The hooks that run before a service's containers are stopped.
fn pre_stop(project: Option<&Project>) -> BTreeMap<String, Vec<ExecOptions>> {
    let services = project.into_iter().flat_map(Project::services);
    services
        .map(|(name, keys)| (name.clone(), hooks(keys, "pre_stop")))
        .collect()
}

/// Stops and removes containers.
///
/// # Errors
/// As the operations.
pub fn remove_members(
    session: &Session,
    list: Vec<Member>,
    timeout: Option<Duration>,
    volumes: bool,
    parallel: usize,
    hands: &mut dyn Hands,
) -> Result<()> {
    take_away(
        session,
        list,
        timeout,
        volumes,
        parallel,
        &BTreeMap::new(),
        hands,
    )
}

fn take_away(
    session: &Session,
    list: Vec<Member>,
    timeout: Option<Duration>,
    volumes: bool,
    parallel: usize,
    before: &BTreeMap<String, Vec<ExecOptions>>,
    hands: &mut dyn Hands,
) -> Result<()> {
    each(session, list, "Removed", parallel, hands, &|member| {
        hook(session, member, before)?;
        // Volumes that were taken over are not the container's own to the record.
        let taken = super::replace::anonymous_volumes(&member.container);
        away(session, member.container.clone(), timeout, volumes)?;
        if volumes {
            for name in taken.values() {
                match volume::remove(session, name, false, None) {
                    Err(e) if !matches!(e.kind(), Kind::NotFound | Kind::InUse) => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    })
}

/// Stops containers, dependents first.
///
/// # Errors
/// As the operation.
pub fn stop_members(
    session: &Session,
    project: Option<&Project>,
    list: Vec<Member>,
    timeout: Option<Duration>,
    parallel: usize,
    hands: &mut dyn Hands,
) -> Result<()> {
    let before = pre_stop(project);
    each(session, list, "Stopped", parallel, hands, &|member| {
        hook(session, member, &before)?;
        let options = StopOptions {
            timeout,
            signal: None,
        };
        stop(session, &member.container, &options).map(drop)
    })
}

fn hook(
    session: &Session,
    member: &Member,
    before: &BTreeMap<String, Vec<ExecOptions>>,
) -> Result<()> {
    match before.get(&member.present.service) {
        Some(hooks) if !hooks.is_empty() && member.present.running => {
            run_hooks(session, &member.container, hooks)
        }
        _ => Ok(()),
    }
}

/// Does something with every container, those that need others before those.
///
/// # Errors
/// The first failure.
pub fn each(
    session: &Session,
    list: Vec<Member>,
    done: &'static str,
    parallel: usize,
    hands: &mut dyn Hands,
    work: &dyn Fn(&Member) -> Result<()>,
) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    userns::enter(&session.dirs, Want::Default)?;
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for member in &list {
        // Whoever needs this one goes first. (The labels were checked for circles when they were made;
        // of two that contradict each other the earlier one goes first.)
        let needs_it = |other: &Member| {
            other
                .dependencies()
                .iter()
                .any(|d| d.service == member.present.service)
                && !member
                    .dependencies()
                    .iter()
                    .any(|d| d.service == other.present.service)
        };
        let after = list
            .iter()
            .enumerate()
            .filter(|(_, o)| needs_it(o))
            .map(|(i, _)| i)
            .collect();
        tasks.push(Task {
            noun: "Container",
            name: member.present.name.clone(),
            done,
            after,
            waits: false,
            work: Box::new(move |_| work(member)),
        });
    }
    tasks::run(tasks, parallel, &mut |step| hands.step(step))
}
