//! `run`: create and start, then wait and delete unless detached.

use super::create::{self, Request};
use super::{Place, delete, start};
use crate::base::Result;
use crate::handoff::relay::{self, Caller, Local, Options};
use crate::runtime::Launched;

/// What becomes of the container afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on by itself.
    Detach,
    /// It is waited for and deleted.
    Delete,
    /// It is waited for and kept.
    Keep,
}

/// Runs a container; answers the exit code.
///
/// # Errors
/// As `create` and `start`; a container that cannot be started is deleted.
pub fn run(place: &Place, request: &Request, after: After) -> Result<u8> {
    let created = create::create(place, request)?;
    if let Err(e) = start::start(place, &request.id) {
        drop(crate::sys::pidfd::wait(&created.launched.pidfd));
        drop(delete::delete(place, &request.id, true));
        return Err(e);
    }
    if after == After::Detach {
        return Ok(0);
    }
    let code = attend(created.launched)?;
    if after == After::Delete {
        delete::delete(place, &request.id, true)?;
    }
    Ok(code)
}

/// Relays terminal and signals of a child of this process until it ends.
///
/// # Errors
/// What the kernel says.
pub fn attend(launched: Launched) -> Result<u8> {
    let tty = launched.pty.is_some();
    let options = Options {
        tty,
        proxy_signals: true,
        ..Options::default()
    };
    let caller = Caller::inherit(tty, tty, false)?;
    let local = Local {
        pidfd: launched.pidfd,
        pty: launched.pty,
        stdin: None,
        stdout: None,
        stderr: None,
    };
    Ok(relay::local(local, caller, &options)?.exit_code())
}
