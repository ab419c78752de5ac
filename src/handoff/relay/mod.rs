//! The caller's side of a container's streams: between the terminal, pipes or files of the command
//! and either an attach stream or the pty and pipes of a process started by `exec`.
//!
//! Invariants: the caller's descriptors keep their flags (a shell shares them); the terminal is
//! restored on every way out but SIGKILL; nothing that was received is dropped.

mod attached;
mod local;
mod parts;

use std::os::fd::{AsFd as _, OwnedFd};

pub use attached::attached;
pub use local::local;
pub use parts::Held;

use super::keys::DetachKeys;
use crate::base::Result;
use crate::sys::Call as _;

/// The caller's own descriptors; `None` where it is not to be used.
#[derive(Debug, Default)]
pub struct Caller {
    /// Read from.
    pub stdin: Option<OwnedFd>,
    /// Written to.
    pub stdout: Option<OwnedFd>,
    /// Written to.
    pub stderr: Option<OwnedFd>,
}

impl Caller {
    /// Copies of descriptors 0, 1 and 2, where asked for.
    ///
    /// # Errors
    /// `EBADF` when one is closed.
    pub fn inherit(stdin: bool, stdout: bool, stderr: bool) -> Result<Self> {
        let copy = |wanted: bool, fd: std::os::fd::BorrowedFd<'_>, name: &str| {
            wanted
                .then(|| fd.try_clone_to_owned().call("dup", || name.to_owned()))
                .transpose()
        };
        Ok(Self {
            stdin: copy(stdin, std::io::stdin().as_fd(), "stdin")?,
            stdout: copy(stdout, std::io::stdout().as_fd(), "stdout")?,
            stderr: copy(stderr, std::io::stderr().as_fd(), "stderr")?,
        })
    }
}

/// How to relay.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The container has a terminal: the caller's becomes raw, and its size is passed on.
    pub tty: bool,
    /// Keys that end the relay and leave the container running. They count with a terminal only.
    pub detach_keys: DetachKeys,
    /// Signals that reach the command go to the container (`--sig-proxy`). Otherwise they do to
    /// the command what they always do.
    pub proxy_signals: bool,
    /// Standard output and standard error are one socket, which takes frames as Docker's clients read
    /// them: stream (1 or 2), three zero bytes, length (4 bytes, big endian), bytes.
    pub framed: bool,
}

impl Options {
    fn writer(&self, fd: OwnedFd, stream: u8) -> parts::Writer {
        match self.framed {
            true => parts::Writer::framed(fd, stream),
            false => parts::Writer::new(fd),
        }
    }
}

/// Keeps the signals of a relay that is about to begin, until the answer is dropped: taken before
/// the container is started, so that a signal which comes in between ends neither the command nor
/// is lost, but goes where the relay sends it.
///
/// # Errors
/// None in practice.
pub fn hold(proxy_signals: bool) -> Result<Held> {
    Held::begin(proxy_signals)
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The process ended with this code (128 + n for signal n).
    Exited(i32),
    /// The keys were typed.
    Detached,
    /// The reader of our output went away (`| head`): as if SIGPIPE had ended us.
    BrokenPipe,
}

impl Outcome {
    /// The exit code of the command that relayed.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(code).unwrap_or(255),
            Self::Detached => 0,
            Self::BrokenPipe => 128 + 13,
        }
    }
}

/// A process of `exec`, started by this command.
#[derive(Debug)]
pub struct Local {
    /// Its pidfd; its parent is this process.
    pub pidfd: OwnedFd,
    /// Its terminal's master side; the pipes are `None` then.
    pub pty: Option<OwnedFd>,
    /// The write end of its standard input.
    pub stdin: Option<OwnedFd>,
    /// The read end of its standard output.
    pub stdout: Option<OwnedFd>,
    /// The read end of its standard error.
    pub stderr: Option<OwnedFd>,
}

#[cfg(test)]
mod tests;
