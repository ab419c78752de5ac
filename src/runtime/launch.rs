//! Starting a container's first process.

use std::os::fd::OwnedFd;

use super::nested::Nested;
use super::{Launched, Stdio};
use crate::base::{Error, Result};
use crate::spec::runtime::{NamespaceKind, Spec};
use crate::sys::seccomp::Instruction;

/// Where a mount of the spec comes from when its `source` string shall not be looked up.
#[derive(Debug)]
pub enum PreparedMount {
    /// A detached mount tree: moved into place. The spec's options are applied to it first.
    Tree(OwnedFd),
    /// A file or directory opened with O_PATH in the caller's mount namespace: its mount is cloned
    /// (recursively with `rbind`).
    Source(OwnedFd),
}

/// Everything a first process needs.
#[derive(Debug)]
pub struct Launch {
    /// The configuration. `root.path` is not used; namespaces without a path and not in `join` are
    /// new ones, kinds that are absent are the caller's.
    pub spec: Spec,
    /// The root file system, a detached mount tree.
    pub rootfs: OwnedFd,
    /// Existing namespaces to be in. A path in the spec's namespaces is opened by the launcher.
    pub join: Vec<(NamespaceKind, OwnedFd)>,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<OwnedFd>,
    /// A user namespace of its own, made by [`super::nested::create`]; its net, ipc and uts are
    /// joined as well.
    pub nested: Option<Nested>,
    /// Index-aligned with `spec.mounts`; may be shorter.
    pub mounts: Vec<Option<PreparedMount>>,
    /// Standard descriptors.
    pub stdio: Stdio,
    /// Compiled filter.
    pub seccomp: Option<Vec<Instruction>>,
    /// Flags for loading it (`SECCOMP_FILTER_FLAG_*`).
    pub seccomp_flags: u32,
    /// Run our init as pid 1, the command below it.
    pub init: bool,
    /// These become descriptors 3, 4, … inside.
    pub preserve: Vec<OwnedFd>,
    /// Create/start split: [`launch`] returns when all is set up, and the process executes when one
    /// byte can be read here. End of file: it exits.
    pub gate: Option<OwnedFd>,
}

/// The outcome of the execve behind a gate.
#[derive(Debug)]
pub struct Pending {
    #[expect(dead_code, reason = "read when the body lands")]
    status: OwnedFd,
}

impl Pending {
    /// Waits until the process executed or failed.
    ///
    /// # Errors
    /// As [`launch`].
    pub fn wait(self) -> Result<()> {
        Err(Error::unsupported("being written"))
    }
}

/// Starts the first process of a container; returns when its `execve` succeeded. The caller has
/// one thread, has entered the shared user namespace, and becomes the parent: if it dies, the
/// process is killed.
///
/// # Errors
/// The child's own error, with exit code 126 (not executable) or 127 (not found) where it applies.
pub fn launch(_launch: Launch) -> Result<Launched> {
    Err(Error::unsupported("being written"))
}
