//! Starting a further process inside a running container.
//!
//! The caller makes one child, born in the container's pid namespace; that one joins the rest and
//! goes the same last steps as a first process. The container runs meanwhile and is hostile: the
//! child is not dumpable before it joins anything, follows no magic link, and executes a checked
//! descriptor.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::OFlags;

use super::hooks::Agent;
use super::launch::{child, watch};
use super::process::{self, Last};
use super::{Launched, Stdio, schedule, status};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::Process;
use crate::sys::clone::{self, Clone as CloneRequest, Fork};
use crate::sys::namespace::{self, Kind as Ns};
use crate::sys::process::Identity;
use crate::sys::seccomp::Instruction;
use crate::sys::{self, attributes, fd, mount, pty};

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
    pub preserve: Vec<Option<OwnedFd>>,
    /// The container's cgroup v2 directory, if it has one of its own.
    pub cgroup: Option<OwnedFd>,
    /// Kill the process when the caller dies.
    pub die_with_parent: bool,
    /// Keep the caller's session keyring.
    pub keep_keyring: bool,
    /// Who decides about system calls with `SCMP_ACT_NOTIFY`.
    pub agent: Option<Agent>,
    /// Open `cgroup.procs` files that the process writes itself into (cgroup v1).
    pub groups: Vec<OwnedFd>,
}

/// Starts it; returns when its `execve` succeeded. The caller has one thread, has entered the
/// container's monitor's user namespace (`userns::enter` with [`super::userns::Want::Of`]) and
/// becomes the parent.
///
/// # Errors
/// As [`super::launch::launch`]; `NotFound` when the container ended.
pub fn exec(request: ExecRequest) -> Result<Launched> {
    process::check(&request.process)?;
    schedule::apply_initial_affinity(&request.process)?;
    let ended = || "the container is not running";
    let target = request.target.open().what(ended)?;
    let mut join = Vec::new();
    let mut pid = None;
    for kind in Ns::ALL {
        let ns = match namespace::of(&target, request.target.pid, kind) {
            // A kernel without them.
            Err(e) if kind == Ns::Time && e.errno == libc::ENOENT => continue,
            other => {
                other.what(|| format!("cannot open the container's {} namespace", kind.file()))?
            }
        };
        // One's own cannot always be joined again, and never needs to be.
        if namespace::is_own(&ns, kind)? {
            continue;
        }
        if kind == Ns::Pid {
            pid = Some(ns);
        } else {
            join.push((kind, ns));
        }
    }
    // The root directory comes with the mount namespace; without one there is no container.
    if !join.iter().any(|(kind, _)| *kind == Ns::Mount) {
        return Err(Error::new(
            Kind::Invalid,
            "that process is not in a container",
        ));
    }
    let (mine, theirs) = fd::packet_pair()?;
    if let Some(pid) = &pid {
        // For good: a plain user may not go back. No other child of this process comes after it.
        namespace::join(pid, Ns::Pid.flag())
            .what_kind(Kind::Denied, || "cannot join the pid namespace")?;
    }
    // The child is seen by the container's processes from its birth on (CVE-2016-9962): what needs
    // a readable process is done here.
    process::oom_score(&request.process)?;
    attributes::set_dumpable(false)?;
    let cloned = clone::clone(CloneRequest {
        flags: 0,
        cgroup: request.cgroup.as_ref().map(std::os::fd::AsFd::as_fd),
        exit_signal: libc::SIGCHLD,
    });
    let new = match cloned {
        Ok(Fork::Child) => {
            drop(mine);
            run(request, join, theirs)
        }
        Ok(Fork::Parent(child)) => child,
        // The pid namespace lost its first process.
        Err(e) if e.errno == libc::ENOMEM && pid.is_some() => return Err(e).what(ended),
        Err(e) => return Err(e).what(|| "cannot make a process in the container"),
    };
    attributes::set_dumpable(true)?;
    drop(theirs);
    drop(request);
    watch(new, mine, false, |_| Ok(()))
}

fn run(request: ExecRequest, join: Vec<(Ns, OwnedFd)>, mut line: OwnedFd) -> ! {
    let error = match set_up(request, join, &mut line) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    status::send_failure(&line, &error);
    clone::exit_now(error.asked_exit_code().unwrap_or(125));
}

fn set_up(
    request: ExecRequest,
    join: Vec<(Ns, OwnedFd)>,
    line: &mut OwnedFd,
) -> Result<Infallible> {
    let process = &request.process;
    // Opened outside: inside, its name could lead anywhere.
    let (terminal, stdio) = match request.stdio {
        Stdio::Inherit => (None, Some(fd::standard()?)),
        Stdio::Fds(fds) => (None, Some(fds)),
        Stdio::Null => (None, Some(child::null_stdio()?)),
        Stdio::Pty { size } => (Some(size), None),
    };
    for group in &request.groups {
        fd::write_all(group, b"0").what(|| "cannot enter the container's cgroup")?;
    }
    process::begin(process, line, request.die_with_parent)?;
    schedule::apply_final_affinity(process)?;
    let agent = match request.agent {
        Some(agent) => Some(agent.message(own_pid()?)),
        None => None,
    };
    // Others before the user namespace: rights over them come from the one we are in, or from
    // owning the nested one. The mount namespace comes last but one; it brings root and directory.
    let order = [
        Ns::Time,
        Ns::Cgroup,
        Ns::Ipc,
        Ns::Uts,
        Ns::Net,
        Ns::User,
        Ns::Mount,
    ];
    for kind in order {
        for (_, ns) in join.iter().filter(|(k, _)| *k == kind) {
            namespace::join(ns, kind.flag())
                .what(|| format!("cannot join the container's {} namespace", kind.file()))?;
        }
    }
    drop(join);
    let stdio = match (stdio, terminal) {
        (Some(stdio), _) => stdio,
        (None, size) => {
            let pair = open_terminal()?;
            if let Some(size) = size.flatten() {
                pty::set_size(&pair.master, size.height, size.width)?;
            }
            status::send_terminal(line, &pair.master)?;
            child::take_terminal(pair.slave, process, None)?
        }
    };
    process::finish(Last {
        process,
        stdio,
        preserve: request.preserve,
        seccomp: request.seccomp.as_deref(),
        seccomp_flags: request.seccomp_flags,
        status: line,
        die_with_parent: request.die_with_parent,
        make_cwd: false,
        swappable: true,
        keep_groups: false,
        keep_keyring: request.keep_keyring,
        init: None,
        agent,
        gate: None,
        hooks: None,
    })
}

/// The pid of this process as the caller counts, while its /proc is still there.
fn own_pid() -> Result<i32> {
    let what = || "cannot find the own pid";
    let link = std::fs::read_link("/proc/self").what(what)?;
    link.to_string_lossy().parse().what(what)
}

/// A terminal of the container's own instance; if it has none, of one that is mounted nowhere.
fn open_terminal() -> Result<pty::Pair> {
    let what = || "cannot make a terminal";
    let root = rustix::fs::open(
        c"/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|e| sys::Error::new("open", "/", e.raw_os_error()))
    .what(what)?;
    if let Ok(devpts) = pty::devpts_of(root.as_fd()) {
        return pty::open(&devpts).what(what);
    }
    let context = mount::Context::open("devpts").what(what)?;
    context.string("ptmxmode", "0666").what(what)?;
    context.string("mode", "0620").what(what)?;
    let tree = context.mount(mount::NOSUID | mount::NOEXEC).what(what)?;
    pty::open(&tree).what(what)
}
