//! The caller's terminal: raw mode and back.

use std::os::fd::AsFd;

use rustix::termios::{OptionalActions, Termios};

use super::error::{Call as _, Result};

/// A terminal's settings, to be put back.
#[derive(Clone, Debug)]
pub struct Saved(Termios);

/// Whether this is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// Puts a terminal into raw mode and gives its former settings.
///
/// # Errors
/// `ENOTTY`.
pub fn make_raw(terminal: impl AsFd) -> Result<Saved> {
    let terminal = terminal.as_fd();
    let old = rustix::termios::tcgetattr(terminal).call("tcgetattr", String::new)?;
    let mut raw = old.clone();
    raw.make_raw();
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &raw)
        .call("tcsetattr", String::new)?;
    Ok(Saved(old))
}

/// Puts settings back, after pending output.
///
/// # Errors
/// `ENOTTY`, `EIO` when the terminal is gone.
pub fn restore(terminal: impl AsFd, saved: &Saved) -> Result<()> {
    rustix::termios::tcsetattr(terminal, OptionalActions::Drain, &saved.0)
        .call("tcsetattr", String::new)
}
