//! `container clone`: another container with the options of one.

use super::remove::{RemoveOptions, remove};
use super::request::RunOptions;
use super::run::start;
use super::{create, member};
use crate::base::fs::Durability;
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};
use crate::state::options::Resources;
use crate::state::pod::PodRecord;

/// What differs from the first container.
#[derive(Clone, Debug, Default)]
pub struct CloneOptions {
    /// Its name; absent means the first one's with `-clone`, and a number where that is taken.
    pub name: Option<String>,
    /// Another image.
    pub image: Option<String>,
    /// Limits: those that are set replace the first one's.
    pub resources: Resources,
    /// `--destroy`: remove the first one afterwards.
    pub destroy: bool,
    /// `--force`: even if it runs.
    pub force: bool,
    /// `--run`: start the new one.
    pub run: bool,
}

/// How many names are tried.
const NAMES: u32 = 1000;

/// Makes a container with the options of `first`: named volumes are shared, anonymous ones and the
/// file system are new.
///
/// # Errors
/// As `create`; `InUse` when the first one is to go and runs.
pub fn clone(
    session: &Session,
    first: &Container,
    wanted: CloneOptions,
    warn: &mut dyn FnMut(&str),
) -> Result<Container> {
    if wanted.destroy && !wanted.force && first.state()?.is_active() {
        return Err(Error::new(
            Kind::InUse,
            format!("cannot destroy container {:?}: it runs", first.name()),
        )
        .hint("stop it first, or add --force"));
    }
    let mut options = (first.record.options).clone();
    options.name = Some(match wanted.name {
        Some(name) => name,
        None => free_name(session, first)?,
    });
    match (&wanted.image, &first.record.image) {
        (Some(_), None) => {
            return Err(Error::invalid(format!(
                "container {:?} runs on a folder: it takes no image",
                first.name()
            )));
        }
        (Some(image), _) => options.image.clone_from(image),
        // The very image, whatever its name is by now.
        (None, Some(image)) => options.image = image.id.hex().to_owned(),
        (None, None) => {}
    }
    // These files are the first one's.
    (options.cidfile, options.pidfile, options.monitor_pidfile) = (None, None, None);
    options.resources = super::alter::merge(&options.resources, &wanted.resources);
    options.create_command.clone_from(&session.command_line);
    let run = RunOptions::default();
    let inside = &mut |_: &_, _: &_| Ok(());
    let made = create::create(session, options, &run, Durability::Durable, warn, inside)?.container;
    if wanted.destroy {
        let how = RemoveOptions {
            force: wanted.force,
            ..RemoveOptions::default()
        };
        remove(session, first.clone(), &how)?;
    }
    if wanted.run {
        start(session, &made, None, warn)?;
    }
    Ok(made)
}

/// Makes a container of one pod anew in another one, made as the first pod is.
///
/// # Errors
/// As `create`.
pub fn into_pod(
    session: &Session,
    first: &Container,
    from: &PodRecord,
    to: &PodRecord,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut options = first.record.options.clone();
    if let Some(infra) = &from.infra {
        member::release(infra.id.as_str(), &infra.options, &mut options);
    }
    // Names of manifests begin with the pod's.
    let name = first.name();
    let own = name.strip_prefix(from.name.as_str());
    options.name = match own.filter(|n| n.starts_with('-')) {
        Some(rest) => Some(format!("{}{rest}", to.name)),
        None => Some(free_name(session, first)?),
    };
    options.pod = Some(to.id.to_string());
    if let Some(image) = &first.record.image {
        options.image = image.id.hex().to_owned();
    }
    // These files are the first one's.
    (options.cidfile, options.pidfile, options.monitor_pidfile) = (None, None, None);
    options.create_command.clone_from(&session.command_line);
    let run = RunOptions::default();
    let inside = &mut |_: &_, _: &_| Ok(());
    create::create(session, options, &run, Durability::Durable, warn, inside).map(drop)
}

fn free_name(session: &Session, first: &Container) -> Result<String> {
    let containers = Containers::new(&session.dirs);
    let base = format!("{}-clone", first.name());
    for n in 0..NAMES {
        let name = match n {
            0 => base.clone(),
            n => format!("{base}{n}"),
        };
        match containers.find(&name) {
            Err(e) if e.kind() == Kind::NotFound => return Ok(name),
            Ok(other) if other.name() != name => return Ok(name),
            _ => {}
        }
    }
    Err(Error::new(Kind::Exists, format!("every name {base}N is taken")).hint("give a name"))
}
