//! What one command asks of a running container: attached streams, `exec`. Never stored.

use std::path::PathBuf;

/// Which streams are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachStreams {
    /// Standard input goes in.
    pub stdin: bool,
    /// Standard output comes out.
    pub stdout: bool,
    /// Standard error comes out.
    pub stderr: bool,
}

/// What `exec` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The container's name or id.
    pub container: String,
    /// The command; never empty.
    pub command: Vec<String>,
    /// `--interactive`.
    pub interactive: bool,
    /// `--tty`.
    pub tty: bool,
    /// `--detach`.
    pub detach: bool,
    /// `--env-file` then `--env`, `KEY=VALUE` (host values already looked up).
    pub env: Vec<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--workdir`.
    pub workdir: Option<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--detach-keys`.
    pub detach_keys: Option<String>,
    /// `--preserve-fds N`: descriptors 3 to 3+N-1 go through.
    pub preserve_fds: u32,
    /// `--preserve-fd N`: these descriptors go through under their numbers.
    pub preserve_fd: Vec<u32>,
    /// `--cidfile`: read the container's id from it.
    pub cidfile: Option<PathBuf>,
}
