//! One container of a service: made, in the place of the old one or not, with its hooks; taken away.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::conditions;
use crate::base::fs::Durability;
use crate::base::{Error, Kind, Result};
use crate::compose::convert;
use crate::compose::project::Keys;
use crate::compose::schema::text;
use crate::operations::container::alter::rename;
use crate::operations::container::create::create;
use crate::operations::container::exec::{Executed, exec};
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::container::request::RunOptions;
use crate::operations::container::run::{self, run};
use crate::operations::container::stop::{StopOptions, stop};
use crate::operations::service;
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};
use crate::state::options::ContainerOptions;
use crate::state::request::ExecOptions;

/// What a start needs, made before anything is forked.
pub(super) struct Ready {
    /// The container.
    pub options: ContainerOptions,
    /// How it is run.
    pub run: RunOptions,
    /// The one in whose place it comes.
    pub old: Option<Container>,
    /// That one goes when this one is up, not before.
    pub start_first: bool,
}

/// The anonymous volumes of a container: destination and name.
pub fn anonymous_volumes(container: &Container) -> BTreeMap<String, String> {
    let all = container.record.volumes.iter();
    // A volume that was taken over once has a random name, too.
    let is_random = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    all.filter(|v| v.anonymous || is_random(&v.name))
        .map(|v| (v.destination.clone(), v.name.clone()))
        .collect()
}

/// Makes a container, in the place of the old one. If it cannot be had, the old one is as it was.
pub(super) fn replace(
    session: &Session,
    ready: Ready,
    start: bool,
    timeout: Option<Duration>,
    renew: bool,
    hooks: &[ExecOptions],
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    let name = ready.options.name.clone().unwrap_or_default();
    let stopping = StopOptions {
        timeout,
        signal: None,
    };
    // What stands in front of it is led to others first.
    let end = |old: &Container| {
        if !old.record.options.network.services.is_empty() {
            service::drain(old, timeout)?;
        }
        stop(session, old, &stopping)
    };
    let behind = !ready.options.network.services.is_empty();
    let mut was_running = false;
    if let Some(old) = &ready.old {
        let aside = format!("{}_{name}", old.id().short());
        if !ready.start_first {
            was_running = end(old)?;
        }
        rename(session, old, &aside)?;
    }
    let made = match start {
        true => run(session, ready.options, &ready.run, warn).map(drop),
        false => create(
            session,
            ready.options,
            &ready.run,
            Durability::Durable,
            warn,
            &mut |_, _| Ok(()),
        )
        .map(drop),
    };
    let containers = Containers::new(&session.dirs);
    let made = made.and_then(|()| match &ready.old {
        // The others go on meanwhile; the next one is not replaced before.
        Some(_) if start && (behind || ready.start_first) => {
            let new = containers.find(&name)?;
            conditions::healthy(session, &new, false).inspect_err(|_| {
                drop(away(session, new, timeout, true));
            })
        }
        _ => Ok(()),
    });
    if let Some(old) = &ready.old {
        let mut old = old.clone();
        old.reload()?;
        if let Err(error) = made {
            // As it was, as far as that goes; the error is the one to report.
            drop(rename(session, &old, &name));
            if was_running {
                drop(run::start(session, &old, None, warn));
            }
            return Err(error);
        }
        if ready.start_first {
            end(&old)?;
        }
        let options = RemoveOptions {
            force: true,
            volumes: renew,
            ..RemoveOptions::default()
        };
        remove(session, old, &options)?;
    }
    made?;
    if start && !hooks.is_empty() {
        run_hooks(session, &containers.find(&name)?, hooks)?;
    }
    Ok(())
}

/// Stops and removes a container.
pub(super) fn away(
    session: &Session,
    container: Container,
    timeout: Option<Duration>,
    volumes: bool,
) -> Result<()> {
    match stop(
        session,
        &container,
        &StopOptions {
            timeout,
            signal: None,
        },
    ) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        other => drop(other?),
    }
    let options = RemoveOptions {
        force: true,
        volumes,
        ..RemoveOptions::default()
    };
    match remove(session, container, &options) {
        Err(e) if e.kind() == Kind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// The hooks of a service as commands in its container.
pub fn hooks(keys: &Keys, noun: &str) -> Vec<ExecOptions> {
    let list = keys
        .get(noun)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    list.map(|hook| {
        let of = |key: &str| hook.get(key).and_then(text);
        let env = hook
            .get("environment")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        ExecOptions {
            command: convert::texts(hook.get("command")),
            user: of("user"),
            workdir: of("working_dir"),
            privileged: of("privileged").as_deref() == Some("true"),
            env: env
                .map(|(k, v)| format!("{k}={}", text(v).unwrap_or_default()))
                .collect(),
            ..ExecOptions::default()
        }
    })
    .collect()
}

/// Runs hooks in a container.
///
/// # Errors
/// When one ends with another code than 0.
pub fn run_hooks(session: &Session, container: &Container, hooks: &[ExecOptions]) -> Result<()> {
    for hook in hooks {
        let options = ExecOptions {
            container: container.id().to_string(),
            ..hook.clone()
        };
        if let Executed::Ended(outcome) = exec(session, &options)?
            && outcome.exit_code() != 0
        {
            return Err(Error::new(
                Kind::Unavailable,
                format!(
                    "a hook of container {} ended with {}: {}",
                    container.name(),
                    outcome.exit_code(),
                    hook.command.join(" ")
                ),
            ));
        }
    }
    Ok(())
}
