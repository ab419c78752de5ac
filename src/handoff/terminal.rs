//! The caller's terminal: its size, and raw mode that is always taken back.

use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{self, OptionalActions, Termios};
use serde::{Deserialize, Serialize};

use crate::base::Result;
use crate::sys::Call as _;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl Size {
    /// The size of the terminal at `fd`; `None` when it is none or does not know.
    pub fn of(fd: impl AsFd) -> Option<Self> {
        let size = termios::tcgetwinsize(fd).ok()?;
        (size.ws_row > 0 && size.ws_col > 0).then_some(Self {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    }

    /// The size of the caller's terminal, if his input or output is one.
    pub fn of_caller() -> Option<Self> {
        Self::of(std::io::stdin().as_fd()).or_else(|| Self::of(std::io::stdout().as_fd()))
    }

    /// Gives the terminal at `fd` this size; its foreground processes get SIGWINCH.
    ///
    /// # Errors
    /// `ENOTTY` for anything that is no terminal.
    pub fn apply(self, fd: impl AsFd) -> Result<()> {
        let size = termios::Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        termios::tcsetwinsize(fd, size)
            .call("ioctl", || "TIOCSWINSZ".to_owned())
            .map_err(Into::into)
    }
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    termios::isatty(fd)
}

/// A terminal in raw mode; dropping it restores what was.
///
/// The holder keeps signals that would end the process on a signalfd meanwhile, so that only
/// SIGKILL can leave a terminal raw.
pub struct Raw {
    fd: OwnedFd,
    before: Termios,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Raw")
    }
}

impl Raw {
    /// Makes the terminal at `fd` raw: bytes come as typed, none has a meaning.
    ///
    /// # Errors
    /// `ENOTTY` for anything that is no terminal.
    pub fn enter(fd: impl AsFd) -> Result<Self> {
        let fd = fd
            .as_fd()
            .try_clone_to_owned()
            .call("dup", || "terminal".to_owned())?;
        let before = termios::tcgetattr(&fd).call("tcgetattr", || "terminal".to_owned())?;
        let terminal = Self { fd, before };
        terminal.set()?;
        Ok(terminal)
    }

    fn set(&self) -> Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        termios::tcsetattr(&self.fd, OptionalActions::Drain, &raw)
            .call("tcsetattr", || "terminal".to_owned())
            .map_err(Into::into)
    }

    /// Makes it raw once more, after a shell had it.
    pub fn again(&self) {
        let _gone = self.set();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone (hang-up): nothing to restore then.
        let _gone = termios::tcsetattr(&self.fd, OptionalActions::Drain, &self.before);
    }
}
