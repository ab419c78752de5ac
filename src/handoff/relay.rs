//! The caller's side of a container's streams: between the terminal, pipes or files of the command
//! and either an attach stream or the pty and pipes of a process started by `exec`.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::keys::DetachKeys;
use crate::base::{Error, Result};

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
    /// Copies of descriptors 0, 1 and 2.
    ///
    /// # Errors
    /// `EBADF` when one is closed.
    pub fn inherit(stdin: bool, stdout: bool, stderr: bool) -> Result<Self> {
        let _ = (stdin, stdout, stderr);
        Err(Error::unsupported("relay"))
    }
}

/// How to relay.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The container has a terminal: the caller's becomes raw, and its size is passed on.
    pub tty: bool,
    /// Keys that end the relay and leave the container running.
    pub detach_keys: DetachKeys,
    /// Signals that reach the command go to the container (`--sig-proxy`).
    pub proxy_signals: bool,
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

/// Relays until the container's process ends or the caller detaches.
///
/// # Errors
/// The monitor's own; `Unavailable` when it went away without an exit code.
pub fn attached(stream: UnixStream, caller: Caller, options: &Options) -> Result<Outcome> {
    let _ = (stream, caller, options);
    Err(Error::unsupported("relay"))
}

/// Relays until the process of `exec` ends or the caller detaches.
///
/// # Errors
/// What the kernel says.
pub fn local(process: Local, caller: Caller, options: &Options) -> Result<Outcome> {
    let _ = (process, caller, options);
    Err(Error::unsupported("relay"))
}
