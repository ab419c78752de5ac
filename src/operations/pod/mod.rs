//! Everything people do with pods. A pod is a record and the containers that name it; what it
//! shares is held by one container of ours that runs nothing (`infra`).

pub mod act;
pub mod copy;
pub mod create;
pub mod infra;
pub mod inspect;
pub mod list;
pub mod remove;
pub mod select;

use super::container::events;
use super::container::summary::Summary;
use super::session::Session;
use crate::base::{Result, parallel};
use crate::events::{Event, Type};
use crate::state::container::{Container, Containers, State};
use crate::state::pod::PodRecord;

/// The containers of a pod, oldest first; the one that holds its namespaces among them.
///
/// # Errors
/// What the kernel says of the folder.
pub fn members(session: &Session, pod: &PodRecord) -> Result<Vec<Container>> {
    let (mut list, _) = Containers::new(&session.dirs).list()?;
    list.retain(|c| c.record.options.pod.as_deref() == Some(pod.id.as_str()));
    Ok(list)
}

/// As [`members`], with what they are doing.
///
/// # Errors
/// As [`members`]; damaged records.
pub fn summaries(session: &Session, pod: &PodRecord) -> Result<Vec<Summary>> {
    let members = members(session, pod)?;
    parallel::map(members, Summary::of).into_iter().collect()
}

/// podman's word for what a pod is doing, from what its containers are.
pub fn status(states: impl Iterator<Item = State>) -> &'static str {
    let (mut all, mut running, mut paused, mut ended) = (0, 0, 0, 0);
    for state in states {
        all += 1;
        match state {
            State::Running | State::Restarting | State::Waiting => running += 1,
            State::Paused => paused += 1,
            State::Exited | State::Lost => ended += 1,
            State::Created => {}
        }
    }
    match () {
        () if all == 0 => "Created",
        () if running == all => "Running",
        () if paused == all => "Paused",
        () if ended == all => "Exited",
        () if running > 0 || paused > 0 => "Degraded",
        () if ended > 0 => "Stopped",
        () => "Created",
    }
}

/// Writes an event about a pod.
pub fn event(session: &Session, pod: &PodRecord, action: &str) {
    if let Some(journal) = events::journal(session) {
        let mut event = Event::new(Type::Pod, action, pod.id.as_str(), pod.name.as_str());
        event.attributes = pod.labels.clone();
        journal.write(&event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_what_its_containers_are() {
        use State::{Created, Exited, Lost, Paused, Running};
        for (states, word) in [
            (&[][..], "Created"),
            (&[Created, Created], "Created"),
            (&[Running, Running], "Running"),
            (&[Running, Created], "Degraded"),
            (&[Running, Exited], "Degraded"),
            (&[Lost, Running], "Degraded"),
            (&[Paused, Paused], "Paused"),
            (&[Exited, Lost], "Exited"),
            (&[Exited, Created], "Stopped"),
        ] {
            assert_eq!(status(states.iter().copied()), word, "{states:?}");
        }
    }
}
