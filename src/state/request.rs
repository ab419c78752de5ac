//! What one command asks for beyond the container's own options: how to get the image, what to
//! attach, what `exec` runs. Never stored.

use std::path::PathBuf;

/// The part of `run` and `create` that is not kept in the container's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `--detach`.
    pub detach: bool,
    /// Which streams the command relays; all false with `--detach`.
    pub attach: AttachStreams,
    /// `--sig-proxy` (default true; false with `--tty`, where the terminal sends them).
    pub sig_proxy: bool,
    /// `--pull`.
    pub pull: PullPolicy,
    /// `--quiet`: no pull progress.
    pub quiet: bool,
    /// `--replace`: remove a container of the same name first.
    pub replace: bool,
    /// `--passwd-entry` and its like have no place here; how to reach the registry does.
    pub registry: RegistryAccess,
    /// Sentences for the person that are not errors, e.g. about a flag without effect.
    pub notices: Vec<String>,
}

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

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When there is none of that name here.
    #[default]
    Missing,
    /// At every start.
    Always,
    /// Never.
    Never,
    /// When the registry's differs; an unreachable registry is no error if one is here.
    Newer,
}

/// How to reach the registry of the implied pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    /// `--authfile`.
    pub authfile: Option<PathBuf>,
    /// `--creds`, user and password.
    pub creds: Option<(String, String)>,
    /// `--cert-dir`.
    pub cert_dir: Option<PathBuf>,
    /// `--tls-verify`.
    pub tls_verify: Option<bool>,
    /// `--retry`.
    pub retry: Option<u32>,
    /// `--retry-delay`.
    pub retry_delay: Option<std::time::Duration>,
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
    /// `--cidfile`: read the container's id from it.
    pub cidfile: Option<PathBuf>,
}
