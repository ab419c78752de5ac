//! The events that commands write; `start`, `died` and `restart` are the monitor's.

use crate::events::{Event, Journal, Type};
use crate::operations::session::{Events, Session};
use crate::state::container::Container;

/// An event about a container with what every one of them carries.
pub fn event(container: &Container, action: &str) -> Event {
    let record = &container.record;
    let mut event = Event::new(
        Type::Container,
        action,
        record.id.as_str(),
        record.name.as_str(),
    );
    event.image = record
        .image
        .as_ref()
        .map_or_else(|| record.options.image.clone(), |i| i.name.clone());
    event.attributes = record.options.labels.clone();
    event
}

/// The journal of a session; `None` with `--events-backend none`.
pub fn journal(session: &Session) -> Option<Journal> {
    match &session.options.events {
        Events::None => None,
        Events::File {
            path: None,
            limit: None,
        } => Some(Journal::new(&session.dirs)),
        Events::File { path, limit } => {
            let own = || session.dirs.events().join("journal");
            Some(Journal::at(path.clone().unwrap_or_else(own), *limit))
        }
        Events::Journald(socket) => Some(Journal::system(socket.clone(), &session.dirs)),
    }
}

/// Writes an event about a container.
pub fn write(session: &Session, container: &Container, action: &str) {
    if let Some(journal) = journal(session) {
        journal.write(&event(container, action));
    }
}

/// Writes an event with one more attribute.
pub fn write_with(session: &Session, container: &Container, action: &str, key: &str, value: &str) {
    if let Some(journal) = journal(session) {
        let mut event = event(container, action);
        event.attributes.insert(key.to_owned(), value.to_owned());
        journal.write(&event);
    }
}

/// Writes that it ended.
pub fn died(session: &Session, container: &Container, code: i32) {
    if let Some(journal) = journal(session) {
        let mut event = event(container, "died");
        event.exit_code = Some(code);
        journal.write(&event);
    }
}
