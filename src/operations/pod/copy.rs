//! `pod clone`: another pod with the options of one, and its containers anew in it.

use super::create::{Request, create};
use super::{act, members, remove};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::container::copy;
use crate::operations::session::Session;
use crate::spec::id::ObjectName;
use crate::state::container::State;
use crate::state::options::ContainerOptions;
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
    let request = Request {
        name: Some(name.clone()),
        labels: first.labels.clone(),
        share: first.share.clone(),
        infra: first
            .infra
            .as_ref()
            .map(|i| Box::new(asked(&i.options, first.name.as_str()))),
        infra_name: None,
        exit_policy: first.exit_policy,
        restart: first.restart,
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
