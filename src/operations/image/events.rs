//! The events that commands about images write.

use crate::events::{Event, Type};
use crate::operations::session::Session;
use crate::spec::digest::Digest;

/// Writes an event: pull, push, tag, untag, remove, save, load or import.
pub fn note(session: &Session, action: &str, id: &Digest, name: &str) {
    if let Some(journal) = crate::operations::container::events::journal(session) {
        journal.write(&Event::new(Type::Image, action, id.hex(), name));
    }
}
