//! `create`: everything but the program itself.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::bundle::{self, Bundle};
use super::cgroups::{self, Made};
use super::record::{self, Fresh, Record};
use super::{Place, netdevices, rdt, rights};
use crate::base::fs as files;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Result};
use crate::runtime::hooks::{self, State};
use crate::runtime::launch::{Launch, Manner, launch_and};
use crate::runtime::seccomp::{self, Filter};
use crate::runtime::{Launched, Stdio};
use crate::spec::runtime::{NamespaceKind, Spec};
use crate::sys::process::Identity;
use crate::sys::{fd, mount, pidfd};

/// What the terminal's other end is given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Nobody: there must be no terminal.
    None,
    /// Who listens at this socket.
    Socket(PathBuf),
    /// The caller, who relays it.
    Relay,
}

/// What `create` is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The container's id.
    pub id: String,
    /// The bundle.
    pub bundle: PathBuf,
    /// Another file than the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// What becomes of a terminal.
    pub terminal: Terminal,
    /// Where the pid is written.
    pub pid_file: Option<PathBuf>,
    /// This many descriptors from 3 on are passed, in addition to those of socket activation.
    pub preserve_fds: u32,
    /// As many of them are sockets that systemd passed (`LISTEN_FDS`).
    pub listen_fds: u32,
    /// Do not pivot.
    pub no_pivot: bool,
    /// Keep the caller's keyring.
    pub no_new_keyring: bool,
}

/// A container that waits for its start.
#[derive(Debug)]
pub struct Created {
    /// Its first process, a child of this one.
    pub launched: Launched,
}

/// Creates a container.
///
/// # Errors
/// `Invalid`, `Exists`, `Unsupported`; what the kernel, a hook or the program search says. Nothing
/// is left behind then.
pub fn create(place: &Place, request: &Request) -> Result<Created> {
    record::check_id(&request.id)?;
    let mut bundle = bundle::read(&request.bundle, request.config.as_deref())?;
    let process = bundle
        .spec
        .process
        .as_mut()
        .ok_or_else(|| Error::invalid("the configuration has no process to be started"))?;
    check_terminal(process.terminal, &request.terminal)?;
    if request.listen_fds > 0 {
        process
            .env
            .push(format!("LISTEN_FDS={}", request.listen_fds));
        process.env.push("LISTEN_PID=1".to_owned());
    }
    let fresh = Fresh::make(place, &request.id)?;
    let dir = fresh.claimed()?;
    let state = State {
        oci_version: bundle.spec.oci_version.clone(),
        id: request.id.clone(),
        status: "creating",
        pid: 0,
        bundle: bundle.path.to_string_lossy().into_owned(),
        annotations: bundle.spec.annotations.clone(),
    };
    let poststop = bundle.spec.hooks.as_ref().map(|h| h.poststop.clone());
    let groups = cgroups::make(place, &bundle.spec, &request.id)?;
    let rdt = rdt::make(&bundle.spec, &request.id)?.unwrap_or_default();
    let created = launched(
        &fresh,
        &dir,
        bundle,
        request,
        (&groups, &rdt),
        state.clone(),
    );
    match created {
        Ok(created) => {
            // The new process has a copy of the descriptor, which would hold the lock on.
            record::release(&dir)?;
            fresh.keep()?;
            groups.keep();
            rdt.keep();
            Ok(created)
        }
        Err(e) => {
            drop((groups, rdt));
            // Spec: runtime, "Lifecycle": after a failed hook it goes on with the clean-up.
            let failed = hooks::run_all(
                "poststop",
                &poststop.unwrap_or_default(),
                &state.at("stopped"),
            );
            for failure in failed.unwrap_or_default() {
                log::warn!("{}", failure.one_line());
            }
            Err(e)
        }
    }
}

fn check_terminal(terminal: bool, given: &Terminal) -> Result<()> {
    match (terminal, given) {
        (true, Terminal::None) => Err(Error::invalid(
            "cannot allocate tty if runtime will detach without setting console socket",
        )),
        (false, Terminal::Socket(_)) => Err(Error::invalid(
            "cannot use console socket if runtime will not detach or allocate tty",
        )),
        _ => Ok(()),
    }
}

fn launched(
    fresh: &Fresh,
    dir: &OwnedFd,
    bundle: Bundle,
    request: &Request,
    (groups, rdt): (&Made, &rdt::Groups),
    state: State,
) -> Result<Created> {
    let Bundle {
        path,
        text,
        mut spec,
        rootfs,
    } = bundle;
    let filter = filter(&spec)?;
    let agent = agent(&spec, &filter)?;
    let socket = match &request.terminal {
        // Before anything is made: without a listener there is no container.
        Terminal::Socket(path) => Some(connect(path)?),
        _ => None,
    };
    let owner = rustix::process::getuid().as_raw();
    let preserve = preserved(request.preserve_fds.saturating_add(request.listen_fds))?;
    let nested = rights::user_namespace(&mut spec)?;
    let devices = netdevices::plan(&spec, nested.as_ref())?;
    let mounts = rights::mapped_mounts(&spec, nested.as_ref())?;
    let root = root_of(&spec, &rootfs)?;
    let gate = fd::listen_packets(&record::short(dir, ".start"))?;
    let stdio = match spec.process.as_ref().filter(|p| p.terminal) {
        Some(process) => Stdio::Pty {
            size: process.console_size,
        },
        None => Stdio::Inherit,
    };
    let mut record = Record {
        version: 1,
        id: request.id.clone(),
        process: Identity {
            boot_id: String::new(),
            pid: 0,
            start_time: 0,
        },
        bundle: path.to_string_lossy().into_owned(),
        rootfs: rootfs.to_string_lossy().into_owned(),
        created: Timestamp::now().rfc3339_nanos(),
        owner,
        cgroups: groups.all.clone(),
        own_cgroups: groups.own.clone(),
        rdt: rdt.all.clone(),
        own_rdt: rdt.own.clone(),
    };
    let launch = Launch {
        spec,
        rootfs: root,
        join: Vec::new(),
        cgroup: copy(groups.born.as_ref())?,
        nested,
        mounts,
        stdio,
        seccomp_flags: filter.as_ref().map_or(0, |f| f.flags),
        seccomp: filter.map(|f| f.program),
        init: false,
        preserve,
        gate: Some(gate),
        manner: Manner {
            state: Some(state),
            outlives_parent: true,
            waits: false,
            no_pivot: request.no_pivot,
            keep_keyring: request.no_new_keyring,
            slave: true,
            literal_options: true,
            groups: groups
                .enter
                .iter()
                .map(|g| Ok(fd::dup_at_least(g, 3)?))
                .collect::<Result<_>>()?,
            agent,
        },
    };
    let launched = launch_and(launch, |pid| {
        record.process = Identity::of(pid)?;
        fresh.write(&record, &text)?;
        rdt.enter(pid)?;
        devices.apply(pid)
    })?;
    let handed = hand_over(&launched, socket, request);
    if let Err(e) = handed {
        drop(pidfd::send_signal(&launched.pidfd, libc::SIGKILL));
        drop(pidfd::wait(&launched.pidfd));
        return Err(e);
    }
    Ok(Created { launched })
}

/// The terminal to whoever relays it, and the pid to whoever waits for it.
fn hand_over(launched: &Launched, socket: Option<UnixStream>, request: &Request) -> Result<()> {
    if let (Some(socket), Some(master)) = (socket, &launched.pty) {
        send_terminal(&socket, master)?;
    }
    write_pid(request.pid_file.as_deref(), launched.pid)
}

/// Gives a terminal's master to a console socket.
///
/// # Errors
/// What the kernel says.
pub fn send_terminal(socket: &UnixStream, master: &OwnedFd) -> Result<()> {
    fd::send(socket, b"/dev/ptmx", &[std::os::fd::AsFd::as_fd(master)])
        .what(|| "cannot send the terminal to the console socket")
}

/// Connects to a console socket or an agent.
///
/// # Errors
/// What the kernel says.
pub fn connect(path: &Path) -> Result<UnixStream> {
    crate::handoff::address::connect(path)
}

/// Writes a pid file, complete or not at all.
///
/// # Errors
/// What the kernel says.
pub fn write_pid(path: Option<&Path>, pid: i32) -> Result<()> {
    match path {
        Some(path) => files::replace(
            path,
            pid.to_string().as_bytes(),
            0o644,
            files::Durability::Volatile,
        ),
        None => Ok(()),
    }
}

/// The compiled filter of a configuration.
///
/// # Errors
/// `Invalid`, `Unsupported`.
pub fn filter(spec: &Spec) -> Result<Option<Filter>> {
    spec.linux
        .as_ref()
        .and_then(|l| l.seccomp.as_ref())
        .map(seccomp::of_bundle)
        .transpose()
}

/// The connection to the agent that decides about system calls, where a filter asks one.
///
/// # Errors
/// What the kernel says.
pub fn agent(spec: &Spec, filter: &Option<Filter>) -> Result<Option<OwnedFd>> {
    let Some(profile) = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref()) else {
        return Ok(None);
    };
    if filter.is_none() || !seccomp::asks_agent(profile) {
        return Ok(None);
    }
    let path = profile.listener_path.as_deref().unwrap_or_default();
    connect(Path::new(path))
        .map(|socket| Some(socket.into()))
        .what(|| "cannot reach the seccomp agent")
}

/// The descriptors that the caller passes to the container.
///
/// # Errors
/// `Invalid` when one is not open.
pub fn preserved(count: u32) -> Result<Vec<Option<OwnedFd>>> {
    (3..count.saturating_add(3))
        .map(|number| {
            let number = i32::try_from(number).unwrap_or(-1);
            let copy = fd::copy_of_inherited(number)?.ok_or_else(|| {
                Error::invalid(format!(
                    "descriptor {number} is to be preserved, but it is not open"
                ))
            })?;
            Ok(Some(copy))
        })
        .collect()
}

fn copy(fd: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
    Ok(fd.map(|fd| fd::dup_at_least(fd, 3)).transpose()?)
}

/// The root file system: a clone of its mounts, or without a mount namespace of the container's
/// own the folder itself.
fn root_of(spec: &Spec, rootfs: &Path) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt as _;
    let what = || format!("cannot open the root file system {}", rootfs.display());
    let own = spec
        .linux
        .iter()
        .flat_map(|l| &l.namespaces)
        .any(|n| n.kind == NamespaceKind::Mount && n.path.as_deref().is_none_or(str::is_empty));
    if own {
        let path = std::ffi::CString::new(rootfs.as_os_str().as_bytes()).what(what)?;
        return mount::clone_path(&path, true).what(what);
    }
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(rootfs, flags, rustix::fs::Mode::empty())
        .map_err(|e| crate::sys::Error::new("open", rootfs.display().to_string(), e.raw_os_error()))
        .what(what)
}
