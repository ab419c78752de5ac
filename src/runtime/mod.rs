//! The runtime: from a configuration and descriptors to a process inside its namespaces.
//!
//! [`userns`] puts the command into the caller's user namespace; [`nested`] makes one below it;
//! [`launch`] starts a container's first process, [`exec`] a further one. Everything arrives as
//! values: the root file system, namespaces, the cgroup and the filter as descriptors and data.
//! [`generate`] plans (pure), [`seccomp`] compiles filters (pure).

pub mod capabilities;
pub mod exec;
pub mod generate;
pub mod hooks;
pub mod init;
pub mod launch;
pub mod nested;
mod process;
mod program;
mod rootfs;
mod schedule;
pub mod seccomp;
mod status;
mod sysctl;
pub mod user;
pub mod userns;

use std::os::fd::OwnedFd;

use crate::spec::runtime::ConsoleSize;

/// What a started process gets as descriptors 0, 1 and 2.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null` (the container's).
    Null,
    /// These three.
    Fds([OwnedFd; 3]),
    /// The three the caller has now (0, 1, 2): no copy, no relay.
    Inherit,
    /// A terminal of the container's own devpts; its master comes back in [`Launched::pty`].
    Pty {
        /// Size before the process starts.
        size: Option<ConsoleSize>,
    },
}

/// A started process.
#[derive(Debug)]
pub struct Launched {
    /// Its pid, as the caller's pid namespace counts.
    pub pid: i32,
    /// Its pidfd. The process is the caller's child: `waitid(P_PIDFD)` gives its status.
    pub pidfd: OwnedFd,
    /// The terminal's master.
    pub pty: Option<OwnedFd>,
}
