//! Starting a further process inside a running container.

use std::os::fd::OwnedFd;

use super::{Launched, Stdio};
use crate::base::{Error, Result};
use crate::spec::runtime::Process;
use crate::sys::process::Identity;
use crate::sys::seccomp::Instruction;

/// A further process for a running container.
#[derive(Debug)]
pub struct ExecRequest {
    /// The container's first process.
    pub target: Identity,
    /// What to run. `cwd` must exist.
    pub process: Process,
    /// Standard descriptors.
    pub stdio: Stdio,
    /// Compiled filter.
    pub seccomp: Option<Vec<Instruction>>,
    /// Flags for loading it.
    pub seccomp_flags: u32,
    /// These become descriptors 3, 4, … inside.
    pub preserve: Vec<OwnedFd>,
    /// The container's cgroup v2 directory, if it has one of its own.
    pub cgroup: Option<OwnedFd>,
    /// Kill the process when the caller dies.
    pub die_with_parent: bool,
}

/// Starts it; returns when its `execve` succeeded. The caller has one thread, has entered the
/// container's monitor's user namespace (`userns::enter` with [`super::userns::Want::Of`]) and
/// becomes the parent.
///
/// # Errors
/// As [`super::launch::launch`]; `NotFound` when the container ended.
pub fn exec(_request: ExecRequest) -> Result<Launched> {
    Err(Error::unsupported("being written"))
}
