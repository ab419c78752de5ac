//! Starting a container's first process.
//!
//! The parent checks the configuration, opens what it names, and clones the process straight into
//! its namespaces; the child ([`child`]) does the rest and reports over a line that its execve
//! closes. What the parent holds of the container (descriptors of the launch) is gone when
//! [`launch`] returns.

pub(super) mod child;

use std::os::fd::{AsFd as _, OwnedFd};

use super::hooks::{self, State};
use super::nested::Nested;
use super::status::{self, Said};
use super::{Launched, Stdio, process, sysctl};
use crate::base::{Context as _, Error, Result};
use crate::spec::runtime::{Hooks, Linux, Namespace, NamespaceKind, Spec};
use crate::sys::clone::{self, Clone as CloneRequest, Fork};
use crate::sys::namespace::{self, Kind as Ns};
use crate::sys::seccomp::Instruction;
use crate::sys::{attributes, fd, pidfd};

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
    /// new ones, kinds that are absent are the caller's. The annotation
    /// `run.oci.keep_original_groups=1` keeps the caller's groups.
    pub spec: Spec,
    /// The root file system, a detached mount tree.
    pub rootfs: OwnedFd,
    /// Existing namespaces to be in. A path in the spec's namespaces is opened by the launcher.
    pub join: Vec<(NamespaceKind, OwnedFd)>,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<OwnedFd>,
    /// A user namespace of its own, made by [`super::nested::create`]; its net, ipc and uts are
    /// joined as well, unless `join` has others.
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
    pub preserve: Vec<Option<OwnedFd>>,
    /// Create/start split: [`launch`] returns when all is set up, and the process executes when
    /// somebody connects to this listening packet socket ([`open_gate`]).
    pub gate: Option<OwnedFd>,
    /// What differs from a container of our own.
    pub manner: Manner,
}

/// How a bundle of somebody else's is started. The default is a container of our own.
#[derive(Debug, Default)]
pub struct Manner {
    /// The configuration's hooks are run with this state; without it a configuration with hooks
    /// is refused.
    pub state: Option<State>,
    /// The process goes on when its parent ends, once it stands at the gate or executed.
    pub outlives_parent: bool,
    /// The process waits, with its mounts made, until [`Begun::finish`] is called.
    pub waits: bool,
    /// Change the root without pivoting, for hosts that run from their initial ramfs.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub keep_keyring: bool,
    /// The caller's mounts may be shared with others: nothing must get back to them. (Those of a
    /// command of ours are not.)
    pub slave: bool,
    /// Mount options as the specification has them: `ro` is for one mount, `rro` for a tree.
    pub literal_options: bool,
    /// Open `cgroup.procs` files that the process writes itself into (cgroup v1).
    pub groups: Vec<OwnedFd>,
    /// Who decides about system calls with `SCMP_ACT_NOTIFY`: a connected socket.
    pub agent: Option<OwnedFd>,
}

/// Lets the process behind a gate execute.
///
/// # Errors
/// Why it did not.
pub fn open_gate(connection: OwnedFd) -> Result<()> {
    Pending { line: connection }.wait()
}

/// The outcome of the execve behind a gate.
struct Pending {
    line: OwnedFd,
}

impl Pending {
    fn wait(self) -> Result<()> {
        match status::receive(&self.line)? {
            Said::Closed => Ok(()),
            Said::Failed(error) => Err(error),
            Said::Ready | Said::Terminal(_) | Said::Hooks => Err(unexpected()),
        }
    }
}

/// Starts the first process of a container; returns when its `execve` succeeded. The caller has
/// one thread, has entered the shared user namespace, and becomes the parent: if it dies, the
/// process is killed.
///
/// # Errors
/// The child's own error, with exit code 126 (not executable) or 127 (not found) where it applies.
pub fn launch(launch: Launch) -> Result<Launched> {
    begin(launch)?.finish()
}

/// As [`launch`]; `born` is called with the pid as soon as there is one, while the new process sets
/// itself up.
///
/// # Errors
/// As [`launch`]; what `born` says, which ends the process.
pub fn launch_and(launch: Launch, born: impl FnOnce(i32) -> Result<()>) -> Result<Launched> {
    let begun = begin(launch)?;
    if let Some((child, _)) = &begun.new {
        born(child.pid)?;
    }
    begun.finish()
}

/// A first process that sets itself up, beside its parent. One that is dropped is killed.
#[derive(Debug)]
pub struct Begun {
    new: Option<(clone::Child, OwnedFd)>,
    gated: bool,
    state: Option<State>,
    /// The configuration that it was given.
    pub spec: Spec,
}

impl Begun {
    /// Runs the hooks and waits until the process is known to run, to stand at its gate, or to have
    /// failed.
    ///
    /// # Errors
    /// As [`launch`].
    pub fn finish(mut self) -> Result<Launched> {
        let Some((child, line)) = self.new.take() else {
            return Err(unexpected());
        };
        watch(child, line, self.gated, |pid| {
            let (Some(hooks), Some(state)) = (&self.spec.hooks, &self.state) else {
                return Ok(());
            };
            let state = State {
                pid,
                ..state.clone()
            };
            hooks::run("prestart", &hooks.prestart, &state)?;
            hooks::run("createRuntime", &hooks.create_runtime, &state)
        })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some((child, _)) = &self.new {
            end(&child.pidfd);
        }
    }
}

/// The first half of [`launch`]: the process exists and sets itself up while the caller does
/// something else. With [`Manner::waits`] it does not execute before the second half.
///
/// # Errors
/// A configuration that cannot be had; what the kernel says of the namespaces.
pub fn begin(launch: Launch) -> Result<Begun> {
    let process = check(&launch)?;
    process::check(process)?;
    let plan = Namespaces::plan(&launch)?;
    let (mine, theirs) = fd::packet_pair()?;
    let gated = launch.gate.is_some();
    let request = CloneRequest {
        flags: plan.new,
        cgroup: launch.cgroup.as_ref().map(std::os::fd::AsFd::as_fd),
        exit_signal: libc::SIGCHLD,
    };
    let cloned = match &plan.pid {
        Some(pid) if !namespace::is_own(pid, Ns::Pid)? => {
            born_in(pid, request, process, !plan.new_time)?
        }
        _ => clone::clone(request),
    };
    let child = match cloned {
        Ok(Fork::Child) => {
            drop(mine);
            child::run(launch, plan, theirs)
        }
        Ok(Fork::Parent(child)) => child,
        Err(e) => {
            return Err(e)
                .what(|| "cannot make the container's namespaces")
                .map_err(|e| match e.errno() {
                    Some(libc::ENOSPC | libc::EUSERS) => {
                        e.hint("too many namespaces: see /proc/sys/user/max_*_namespaces")
                    }
                    _ => e,
                });
        }
    };
    drop(theirs);
    drop(plan);
    Ok(Begun {
        new: Some((child, mine)),
        gated,
        state: launch.manner.state,
        spec: launch.spec,
    })
}

/// Ends a process that did not get far; no zombie is left to a caller that only gets an error.
fn end(process: &OwnedFd) {
    drop(pidfd::send_signal(process, libc::SIGKILL));
    drop(pidfd::wait(process));
}

/// Reads what a new process says until it is known to run or to have failed.
pub(super) fn watch(
    child: clone::Child,
    line: OwnedFd,
    gated: bool,
    hooks: impl Fn(i32) -> Result<()>,
) -> Result<Launched> {
    let mut launched = Launched {
        pid: child.pid,
        pidfd: child.pidfd,
        pty: None,
    };
    let failed = loop {
        match status::receive(&line) {
            Ok(Said::Terminal(master)) => launched.pty = Some(master),
            Ok(Said::Hooks) => {
                if let Err(e) =
                    hooks(launched.pid).and_then(|()| status::hooks_done(&line, launched.pid))
                {
                    break e;
                }
            }
            Ok(Said::Ready) if gated => return Ok(launched),
            Ok(Said::Closed) if !gated => {
                // Executed; or killed in the middle, which its status will tell.
                return Ok(launched);
            }
            Ok(Said::Failed(error)) => break error,
            Ok(Said::Closed) => {
                break Error::internal("the container's process ended while it was set up");
            }
            Ok(Said::Ready) => break unexpected(),
            Err(e) => break e,
        }
    };
    end(&launched.pidfd);
    Err(failed)
}

fn unexpected() -> Error {
    Error::internal("the new process spoke out of turn")
}

/// Refuses what would be ignored.
fn check(launch: &Launch) -> Result<&crate::spec::runtime::Process> {
    let spec = &launch.spec;
    if let Some(all) = &spec.hooks {
        if *all != Hooks::default() && launch.manner.state.is_none() {
            return Err(Error::unsupported("OCI hooks are not supported here"));
        }
        for hooks in [
            &all.prestart,
            &all.create_runtime,
            &all.create_container,
            &all.start_container,
            &all.poststart,
            &all.poststop,
        ] {
            hooks::check(hooks)?;
        }
    }
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let has = |kind| linux.namespaces.iter().any(|n| n.kind == kind);
    if !linux.time_offsets.is_empty() && !has(NamespaceKind::Time) {
        return Err(Error::invalid(
            "linux.timeOffsets needs a time namespace of the container's own",
        ));
    }
    for (at, ns) in linux.namespaces.iter().enumerate() {
        if linux.namespaces.iter().take(at).any(|n| n.kind == ns.kind) {
            return Err(Error::invalid(format!(
                "the configuration has the {:?} namespace twice",
                ns.kind
            )));
        }
    }
    sysctl::check(&linux.sysctl, |kind| {
        linux.namespaces.iter().any(|n| n.kind == kind)
            || launch.join.iter().any(|(k, _)| *k == kind)
    })?;
    spec.process
        .as_ref()
        .ok_or_else(|| Error::invalid("the configuration has no process"))
}

/// Which namespaces are new, and which are joined.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// `CLONE_NEW*` bits for the clone.
    new: u64,
    /// A cgroup namespace of its own, made by the child: it shows the cgroup that it is in then.
    new_cgroup: bool,
    /// Joined by the child.
    join: Vec<(Ns, OwnedFd)>,
    /// The pid namespace to be born in.
    pid: Option<OwnedFd>,
    /// The user namespace entered last.
    user: Option<OwnedFd>,
    /// An existing mount namespace, entered in place of a new one.
    mount: Option<OwnedFd>,
    /// A mount namespace of its own, made by the child.
    new_mount: bool,
    /// A time namespace of its own, made by the child.
    new_time: bool,
}

impl Namespaces {
    fn plan(launch: &Launch) -> Result<Self> {
        let mut plan = Self::default();
        let none = Linux::default();
        let linux = launch.spec.linux.as_ref().unwrap_or(&none);
        for ns in &linux.namespaces {
            if launch.join.iter().any(|(kind, _)| *kind == ns.kind) {
                continue;
            }
            plan.add(ns, launch.nested.as_ref())?;
        }
        for (kind, ns) in &launch.join {
            let copy = dup(ns)?;
            plan.joined(*kind, copy)?;
        }
        if let Some(nested) = &launch.nested {
            plan.user = Some(dup(&nested.userns)?);
            let owned = [
                (NamespaceKind::Network, Ns::Net, &nested.net),
                (NamespaceKind::Ipc, Ns::Ipc, &nested.ipc),
                (NamespaceKind::Uts, Ns::Uts, &nested.uts),
            ];
            for (kind, ns, owned) in owned {
                if let Some(owned) = owned
                    && !launch.join.iter().any(|(k, _)| *k == kind)
                {
                    plan.new &= !ns.flag();
                    plan.join.push((ns, dup(owned)?));
                }
            }
        }
        Ok(plan)
    }

    fn add(&mut self, ns: &Namespace, nested: Option<&Nested>) -> Result<()> {
        if let Some(path) = ns.path.as_deref().filter(|p| !p.is_empty()) {
            let what = || format!("cannot open the namespace {path}");
            let fd = namespace::open_path(path).what(what)?;
            let kind = kernel_kind(ns.kind);
            if !namespace::is_of_kind(&fd, kind).what(what)? {
                return Err(Error::invalid(format!(
                    "{path} is not a {} namespace",
                    kind.file()
                )));
            }
            return self.joined(ns.kind, fd);
        }
        match ns.kind {
            // Made by the child, after it took sources from the caller's mounts.
            NamespaceKind::Mount => self.new_mount = true,
            // A process cannot be cloned into a new one whose clocks are still to be set.
            NamespaceKind::Time => self.new_time = true,
            NamespaceKind::Cgroup => self.new_cgroup = true,
            NamespaceKind::User if nested.is_some() => {}
            NamespaceKind::User => {
                return Err(Error::internal(
                    "a new user namespace must be made before the launch",
                ));
            }
            kind => self.new |= kernel_kind(kind).flag(),
        }
        Ok(())
    }

    fn joined(&mut self, kind: NamespaceKind, fd: OwnedFd) -> Result<()> {
        match kind {
            NamespaceKind::Pid => self.pid = Some(fd),
            NamespaceKind::User => {
                // The shared one is where we are already.
                if !namespace::is_own(&fd, Ns::User)? {
                    self.user = Some(fd);
                }
            }
            NamespaceKind::Mount => self.mount = Some(fd),
            kind => {
                let kind = kernel_kind(kind);
                if !namespace::is_own(&fd, kind)? {
                    self.join.push((kind, fd));
                }
            }
        }
        Ok(())
    }
}

fn kernel_kind(kind: NamespaceKind) -> Ns {
    match kind {
        NamespaceKind::Pid => Ns::Pid,
        NamespaceKind::Network => Ns::Net,
        NamespaceKind::Mount => Ns::Mount,
        NamespaceKind::Ipc => Ns::Ipc,
        NamespaceKind::Uts => Ns::Uts,
        NamespaceKind::User => Ns::User,
        NamespaceKind::Cgroup => Ns::Cgroup,
        NamespaceKind::Time => Ns::Time,
    }
}

fn dup(ns: &OwnedFd) -> Result<OwnedFd> {
    Ok(fd::dup_at_least(ns, 3)?)
}

/// Clones a child of this process into an existing pid namespace. Who may make children there may
/// not always go back, and this process makes others that must not be seen inside (the uplink): so
/// a step of its own does it. `hidden`: the child is not dumpable from its birth on, because others
/// in that namespace are waiting for it (CVE-2016-9962).
fn born_in(
    pid: &OwnedFd,
    request: CloneRequest<'_>,
    process: &crate::spec::runtime::Process,
    hidden: bool,
) -> Result<crate::sys::Result<Fork>> {
    let what = || "cannot make a process in the other container's pid namespace";
    let (mine, theirs) = fd::packet_pair()?;
    let step = clone::clone(CloneRequest {
        flags: 0,
        cgroup: None,
        exit_signal: libc::SIGCHLD,
    })
    .what(what)?;
    let step = match step {
        Fork::Parent(step) => step,
        Fork::Child => {
            drop(mine);
            if hidden {
                // What the child inherits it need not be readable for. It reports what fails.
                drop(process::oom_score(process));
                drop(attributes::set_dumpable(false));
            }
            let made = namespace::join(pid, Ns::Pid.flag()).and_then(|()| {
                clone::clone(CloneRequest {
                    flags: request.flags | libc::CLONE_PARENT as u64,
                    exit_signal: 0,
                    ..request
                })
            });
            let told = match made {
                Ok(Fork::Child) => return Ok(Ok(Fork::Child)),
                Ok(Fork::Parent(child)) => {
                    let pid = child.pid.to_ne_bytes();
                    fd::send(&theirs, &pid, &[child.pidfd.as_fd()])
                }
                Err(e) => fd::send(&theirs, &e.errno.to_ne_bytes(), &[]),
            };
            clone::exit_now(u8::from(told.is_err()));
        }
    };
    drop(theirs);
    let (bytes, fds) = fd::receive(&mine, 4)?;
    drop(pidfd::wait(&step.pidfd));
    let number = bytes.try_into().map_or(0, i32::from_ne_bytes);
    Ok(match fds.into_iter().next() {
        Some(pidfd) => Ok(Fork::Parent(clone::Child { pid: number, pidfd })),
        None => Err(crate::sys::Error::new("clone3", "pid namespace", number)),
    })
}

#[cfg(test)]
mod tests;
