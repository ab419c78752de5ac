//! What a service waits for.

use std::collections::BTreeMap;

use super::observe::{self, Member};
use super::tasks::{self, Task};
use crate::base::{Error, Kind, Result};
use crate::compose::project::Dependency;
use crate::operations::container::summary::Summary;
use crate::operations::container::wait::{Condition, wait_first};
use crate::operations::session::Session;
use crate::state::container::{Container, State};
use crate::state::health::Health;

/// Waits until a container is healthy, or runs when nobody checks it.
///
/// # Errors
/// When it ends or turns unhealthy before; with `strict` when nobody checks it.
pub fn healthy(session: &Session, container: &Container, strict: bool) -> Result<()> {
    let name = container.name();
    let summary = Summary::of(container.clone())?;
    if summary.state == State::Running && summary.health().is_empty() {
        return match strict {
            true => Err(
                Error::invalid(format!("container {name} has no healthcheck configured"))
                    .hint("give the service a healthcheck, or wait for service_started"),
            ),
            false => Ok(()),
        };
    }
    let conditions = [
        Condition::Health(Health::Healthy),
        Condition::Health(Health::Unhealthy),
        Condition::Stopped,
    ];
    let code = wait_first(session, std::slice::from_ref(container), &conditions)?;
    let now = Summary::of(container.clone())?;
    let failed = |what: String| Err(Error::new(Kind::Unavailable, what));
    match (now.state, now.health()) {
        (State::Running | State::Paused, "healthy") => Ok(()),
        (State::Running | State::Paused, _) => failed(format!("container {name} is unhealthy")),
        _ => failed(format!("container {name} exited ({code})")),
    }
}

/// Waits until a container of a job has ended well.
///
/// # Errors
/// When it fails.
pub fn completed(session: &Session, member: &Container, service: &str) -> Result<()> {
    let code = wait_first(session, std::slice::from_ref(member), &[Condition::Stopped])?;
    match code {
        0 => Ok(()),
        code => Err(Error::new(
            Kind::Unavailable,
            format!("service {service:?} didn't complete successfully: exit {code}"),
        )),
    }
}

/// Waits for one thing that a service needs.
///
/// # Errors
/// When it fails and the service cannot do without; else that is told by `warn`.
pub fn met(
    session: &Session,
    project: &str,
    dependency: &Dependency,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    let members = observe::members(session, project)?;
    let own = |m: &&Member| m.present.service == dependency.service && !m.present.oneoff;
    for member in members.iter().filter(own) {
        let outcome = match dependency.condition.as_str() {
            "service_healthy" => healthy(session, &member.container, true),
            "service_completed_successfully" => {
                completed(session, &member.container, &dependency.service)
            }
            _ => Ok(()),
        };
        match outcome {
            Err(e) if dependency.required => {
                let made = Error::new(
                    e.kind(),
                    format!("dependency failed to start: {}", e.what()),
                );
                return Err(e
                    .hints()
                    .into_iter()
                    .fold(made, |m, h| m.hint(h.to_owned())));
            }
            Err(e) => warn(&format!(
                "optional dependency failed to start: {}",
                e.what()
            )),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Waits for everything that a service needs, at once: the first failure ends it.
///
/// # Errors
/// As [`met`].
pub fn all_met(
    session: &Session,
    project: &str,
    needed: &[Dependency],
    tell: &mut dyn FnMut(tasks::Step<'_>),
) -> Result<()> {
    let mut gates = Gates::default();
    let mut list = Vec::new();
    gates.add(session, project, needed, &mut list, &|_| Vec::new());
    tasks::run(list, usize::MAX, tell)
}

/// The tasks that wait for conditions, one for each that somebody asks for.
#[derive(Debug, Default)]
pub struct Gates {
    made: BTreeMap<(String, String, bool), usize>,
}

impl Gates {
    /// Adds to `list` what waits for these, unless it is there; answers the places of those tasks.
    /// `begun` are the places of the tasks that start a service's containers.
    pub fn add<'a>(
        &mut self,
        session: &'a Session,
        project: &'a str,
        needed: &[Dependency],
        list: &mut Vec<Task<'a>>,
        begun: &dyn Fn(&str) -> Vec<usize>,
    ) -> Vec<usize> {
        let mut places = Vec::new();
        for dependency in needed.iter().filter(|d| d.condition != "service_started") {
            let key = (
                dependency.service.clone(),
                dependency.condition.clone(),
                dependency.required,
            );
            let place = *self.made.entry(key).or_insert_with(|| {
                let own = dependency.clone();
                list.push(Task {
                    noun: "Container",
                    name: own.service.clone(),
                    done: "Ready",
                    after: begun(&own.service),
                    waits: true,
                    work: Box::new(move |warn| met(session, project, &own, warn)),
                });
                list.len() - 1
            });
            places.push(place);
        }
        places
    }
}
