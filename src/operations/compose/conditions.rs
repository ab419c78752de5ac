//! What a service waits for.

use super::observe::{self, Member};
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

/// Waits for what a service needs.
///
/// # Errors
/// When a service that it cannot do without fails; others are told by `warn`.
pub fn met(
    session: &Session,
    project: &str,
    needed: &[Dependency],
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    if needed.iter().all(|d| d.condition == "service_started") {
        return Ok(());
    }
    let members = observe::members(session, project)?;
    for dependency in needed {
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
    }
    Ok(())
}
