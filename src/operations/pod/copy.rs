//! `pod clone`: another pod with the options of one, and its containers anew in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::create::{Request, create};
use super::{act, members, remove};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::container::{alter, copy};
use crate::operations::session::Session;
use crate::spec::id::ObjectName;
use crate::state::container::State;
use crate::state::options::{ContainerOptions, RestartPolicy};
use crate::state::pod::{PodRecord, Pods};

/// What differs from the first pod, and what is done besides.
#[derive(Clone, Debug, Default)]
pub struct CloneOptions {
    /// Its name; absent means the first one's with `-clone`, and a number where that is taken.
    pub name: Option<String>,
    /// `--destroy`: remove the first one afterwards.
    pub destroy: bool,
    /// `--start`: start the new one.
    pub start: bool,
    /// `--infra-name`.
    pub infra_name: Option<String>,
    /// `--infra-conmon-pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `--label`: besides the first one's.
    pub labels: BTreeMap<String, String>,
    /// `--restart`; absent means the first one's.
    pub restart: Option<RestartPolicy>,
    /// Options as `pod create` reads them, and what they are when nothing is given: where the two
    /// differ, the new pod differs from the first one.
    pub asked: Box<ContainerOptions>,
    /// See `asked`.
    pub usual: Box<ContainerOptions>,
}

/// How many names are tried.
const NAMES: u32 = 1000;

/// Makes a pod as another one is, with containers as the other's: named volumes are shared, file
/// systems are new.
///
/// # Errors
/// As `pod create` and `create`; `InUse` when the first one is to go and runs. Nothing is left then.
pub fn clone(
    session: &Session,
    first: &PodRecord,
    wanted: &CloneOptions,
    warn: &mut dyn FnMut(&str),
) -> Result<PodRecord> {
    let all = members(session, first)?;
    let active = |c: &&_| crate::state::container::Container::state(c).is_ok_and(State::is_active);
    if wanted.destroy && all.iter().any(|c| active(&c)) {
        return Err(Error::new(
            Kind::InUse,
            format!("cannot destroy pod {:?}: it runs", first.name.as_str()),
        )
        .hint(format!("coracle pod stop {}", first.name)));
    }
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => free_name(session, first)?,
    };
    let mut labels = first.labels.clone();
    labels.extend(wanted.labels.clone());
    let infra = first.infra.as_ref().map(|infra| {
        let own = asked(&infra.options, first.name.as_str());
        Box::new(ContainerOptions {
            monitor_pidfile: wanted.pidfile.clone(),
            ..changed(own, &wanted.asked, &wanted.usual)
        })
    });
    if infra.is_none() && wanted.asked != wanted.usual {
        return Err(Error::invalid(format!(
            "pod {:?} was made with --infra=false: there is nothing to have differently",
            first.name.as_str()
        )));
    }
    let request = Request {
        name: Some(name.clone()),
        labels,
        share: first.share.clone(),
        infra,
        infra_name: wanted.infra_name.clone(),
        exit_policy: first.exit_policy,
        restart: wanted.restart.unwrap_or(first.restart),
        id_file: None,
        replace: false,
        create_command: session.command_line.clone(),
    };
    let made = create(session, request, warn)?;
    let filled = all
        .iter()
        .filter(|c| !c.record.options.infra)
        .try_for_each(|c| copy::into_pod(session, c, first, &made, warn));
    let done = filled.and_then(|()| match wanted.start {
        true => act::start(session, &made, warn),
        false => Ok(()),
    });
    if let Err(e) = done {
        // Nobody saw it: what cannot be taken back now, `pod rm` takes.
        let options = remove::RemoveOptions {
            force: true,
            ..Default::default()
        };
        drop(remove::remove(session, &made, &options));
        return Err(e).what(|| format!("cannot clone pod {:?}", first.name.as_str()));
    }
    if wanted.destroy {
        remove::remove(session, first, &remove::RemoveOptions::default())?;
    }
    Ok(made)
}

/// What was asked of the first pod, without what came of its own name.
fn asked(options: &ContainerOptions, name: &str) -> ContainerOptions {
    let mut options = options.clone();
    options.name = None;
    options.monitor_pidfile = None;
    if options.hostname.as_deref() == Some(name) {
        options.hostname = None;
    }
    if let crate::state::options::NetworkMode::Networks(wishes) = &mut options.network.mode {
        for wish in wishes {
            wish.aliases.retain(|a| a != name);
        }
    }
    options
}

/// The first pod's options with what was asked differently. Pure.
fn changed(
    mut own: ContainerOptions,
    asked: &ContainerOptions,
    usual: &ContainerOptions,
) -> ContainerOptions {
    macro_rules! replace {
        ($($field:ident),*) => {
            $(if asked.$field != usual.$field {
                own.$field.clone_from(&asked.$field);
            })*
        };
    }
    // Where it is a list, the first one's stay.
    macro_rules! add {
        ($($field:ident),*) => {
            $(
                let new = asked.$field.iter().filter(|new| !usual.$field.contains(new));
                own.$field.extend(new.cloned());
            )*
        };
    }
    replace!(hostname, security, userns, userns_asked, pid, uts);
    replace!(shm_size, shm_size_systemd, cgroup_parent, cgroup_manager);
    add!(volumes_from, devices, cdi_devices, gpus);
    let sysctls = asked.sysctls.iter();
    let sysctls = sysctls.filter(|(key, value)| usual.sysctls.get(*key) != Some(*value));
    own.sysctls
        .extend(sysctls.map(|(k, v)| (k.clone(), v.clone())));
    own.cdi_dirs.clone_from(&asked.cdi_dirs);
    for mount in asked.mounts.iter().filter(|m| !usual.mounts.contains(m)) {
        own.mounts.retain(|m| m.destination != mount.destination);
        own.mounts.push(mount.clone());
    }
    own.resources = alter::merge(&own.resources, &asked.resources);
    own
}

fn free_name(session: &Session, first: &PodRecord) -> Result<String> {
    let pods = Pods::new(&session.dirs);
    for number in 0..NAMES {
        let name = match number {
            0 => format!("{}-clone", first.name),
            n => format!("{}-clone{n}", first.name),
        };
        if pods.get(&name.parse::<ObjectName>()?)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::new(
        Kind::Exists,
        format!("all names like {}-clone are taken", first.name),
    )
    .hint("--name gives another one"))
}
