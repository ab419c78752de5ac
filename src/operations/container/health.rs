//! `healthcheck run`: the container's monitor does the check, and keeps its result.

use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::control::Control;
use crate::state::container::{Container, State};

/// Does a check now; answers whether it succeeded, and the state that follows.
///
/// # Errors
/// `InUse` when the container does not run, or is paused; `Invalid` without a check.
pub fn check(container: &Container) -> Result<(bool, String)> {
    let what = || format!("cannot check container {:?}", container.name());
    let state = container.state()?;
    if state != State::Running {
        return Err(Error::new(
            Kind::InUse,
            format!("it is {}, not running", state.name()),
        ))
        .what(what);
    }
    Control::connect(&container.control_socket())?
        .check_health()
        .what(what)
}
