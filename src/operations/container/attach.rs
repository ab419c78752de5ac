//! `attach`: the streams of a container that runs.

use super::run::{Ran, Relay};
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::state::container::{Container, State};

/// Attaches the caller to a running container until it ends or he detaches.
///
/// # Errors
/// `InUse` when it does not run or is paused; else as the relay.
pub fn attach(session: &Session, container: &Container, relay: &Relay) -> Result<Ran> {
    let name = container.name();
    let wrong = |what: String| Error::new(Kind::InUse, what);
    match container.state()? {
        State::Running => {}
        State::Paused => {
            return Err(wrong(format!("container {name:?} is paused"))
                .hint(format!("`coracle unpause {name}` lets it go on")));
        }
        state => {
            return Err(wrong(format!(
                "container {name:?} is not running ({})",
                state.name()
            ))
            .hint(format!("`coracle start --attach {name}` starts it")));
        }
    }
    super::events::write(session, container, "attach");
    super::run::attach(container, relay)
}
