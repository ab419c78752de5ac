//! `exec`: a further process in a running container, joined directly; the monitor has no part in it
//! but for those that it starts itself, for health checks.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::launch::joins;
use super::{events, look, names};
use crate::base::{Context as _, Error, Kind, Result};
use crate::cgroup::{self, Group, Manager};
use crate::handoff::keys::{self, DetachKeys};
use crate::handoff::relay::{self, Caller, Local, Outcome};
use crate::handoff::terminal::{Size, is_terminal};
use crate::monitor::Probing;
use crate::operations::session::Session;
use crate::runtime::exec::{ExecRequest, exec as start};
use crate::runtime::user::{ResolvedUser, resolve_user};
use crate::runtime::userns::{Want, enter, visit};
use crate::runtime::{Launched, Stdio, generate, seccomp};
use crate::spec::idmap::{IdMaps, to_host};
use crate::spec::runtime::{ConsoleSize, Process, Spec};
use crate::state::container::{Container, Containers, State, Status};
use crate::state::options::passed;
use crate::state::request::ExecOptions;
use crate::sys::fd as descriptors;
use crate::sys::process::Identity;
use crate::sys::{Call as _, Error as SysError};

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// It ended with this code.
    Ended(Outcome),
    /// It runs on; the id of the session.
    Detached(String),
}

/// Runs a command in a container.
///
/// # Errors
/// `InUse` when the container does not run or is paused; 126 and 127 for the command's own.
pub fn exec(session: &Session, options: &ExecOptions) -> Result<Executed> {
    let size = [std::io::stdin().as_fd(), std::io::stdout().as_fd()]
        .into_iter()
        .find(|fd| is_terminal(*fd))
        .and_then(Size::of);
    let Begun {
        container,
        id,
        local,
        ..
    } = begin(session, options, size, None)?;
    if options.detach {
        return Ok(Executed::Detached(id));
    }
    let outcome = relay::local(
        local,
        Caller::inherit(options.interactive, true, true)?,
        &relay::Options {
            tty: options.tty,
            detach_keys: DetachKeys::parse(
                options.detach_keys.as_deref().unwrap_or(keys::DEFAULT),
            )?,
            proxy_signals: !options.tty,
            ..relay::Options::default()
        },
    )?;
    if let Outcome::Exited(code) = outcome {
        ended(session, &container, &id, code);
    }
    Ok(Executed::Ended(outcome))
}

/// A command that was started in a container, as a child of this process.
#[derive(Debug)]
pub struct Begun {
    /// Where.
    pub container: Container,
    /// The id of the session.
    pub id: String,
    /// Its pid, as this process counts.
    pub pid: i32,
    /// Our ends of its streams.
    pub local: Local,
}

/// Tells the journal that a command of [`begin`] ended.
pub fn ended(session: &Session, container: &Container, id: &str, code: i32) {
    if let Some(journal) = events::journal(session) {
        let mut event = events::event(container, "exec_died");
        event.exit_code = Some(code);
        event.attributes.insert("execID".to_owned(), id.to_owned());
        journal.write(&event);
    }
}

/// Starts a command in a container, with a terminal of this size if it has one, as the session of
/// this id or a new one.
///
/// # Errors
/// As [`exec`].
pub fn begin(
    session: &Session,
    options: &ExecOptions,
    size: Option<Size>,
    id: Option<&str>,
) -> Result<Begun> {
    let (container, status) = target(session, options)?;
    visit(&session.dirs, Want::Of(status.monitor.clone()))?;
    let what = || format!("cannot execute in container {:?}", container.name());
    let ready = Ready::new(session, &container, &status, options, What::Command).what(what)?;
    let (stdio, ends) = streams(options, size, ready.owner)?;
    let preserve = passed(options.preserve_fds, &options.preserve_fd)
        .into_iter()
        .map(|n| n.map(|n| inherited(n).what(what)).transpose())
        .collect::<Result<Vec<_>>>()?;
    let id = match id {
        Some(id) => id.to_owned(),
        None => names::random_id()?.to_string(),
    };
    let launched = ready.start(stdio, preserve).what(what)?;
    events::write_with(session, &container, "exec", "execID", &id);
    let [stdin, stdout, stderr] = ends;
    Ok(Begun {
        container,
        id,
        pid: launched.pid,
        local: Local {
            pidfd: launched.pidfd,
            pty: launched.pty,
            stdin,
            stdout,
            stderr,
        },
    })
}

/// Who runs a further process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// A command, from wherever it was typed.
    Command,
    /// The container's monitor, for a health check: it dies with it.
    Check,
}

/// A further process, ready to go.
struct Ready {
    init: Identity,
    process: Process,
    /// The owner of its streams, as the caller counts.
    owner: (u32, u32),
    seccomp: Option<seccomp::Filter>,
    cgroup: Option<OwnedFd>,
    what: What,
}

impl Ready {
    /// The caller is in the container's monitor's user namespace.
    fn new(
        session: &Session,
        container: &Container,
        status: &Status,
        options: &ExecOptions,
        what: What,
    ) -> Result<Self> {
        let spec = look::spec_of(session, container)?
            .ok_or_else(|| Error::new(Kind::Corrupt, "its specification is gone"))?;
        let init = status
            .init
            .clone()
            .ok_or_else(|| Error::new(Kind::InUse, "it is between two starts"))?;
        let root = root_of(init.pid)?;
        let process = process(options, container, &spec, &root)?;
        let nested = nested_maps(&spec);
        let owner = outside(nested.as_ref(), process.user.uid, process.user.gid);
        let seccomp = filter(container, &process, &spec)?;
        let cgroup = match &status.cgroup {
            Some(path) => {
                let group = Group::open(path)?;
                if what == What::Command {
                    group.approach(|| {
                        Manager::find(&session.env, &cgroup::probe(), session.user.uid == 0)
                    })?;
                }
                Some(group.birthplace(init.pid)?)
            }
            None => None,
        };
        Ok(Self {
            init,
            process,
            owner,
            seccomp,
            cgroup,
            what,
        })
    }

    fn start(self, stdio: Stdio, preserve: Vec<Option<OwnedFd>>) -> Result<Launched> {
        start(ExecRequest {
            target: self.init,
            process: self.process,
            stdio,
            seccomp_flags: self.seccomp.as_ref().map_or(0, |f| f.flags),
            seccomp: self.seccomp.map(|f| f.program),
            preserve,
            cgroup: self.cgroup,
            die_with_parent: self.what == What::Check,
            keep_keyring: false,
            agent: None,
            groups: Vec::new(),
        })
    }
}

/// Runs a program of a health check, in a process of the monitor's made for it.
///
/// # Errors
/// As [`exec`].
pub(super) fn check(
    session: &Session,
    container: &Container,
    status: &Status,
    words: &[String],
) -> Result<Probing> {
    let options = ExecOptions {
        command: words.to_vec(),
        ..ExecOptions::default()
    };
    let ready = Ready::new(session, container, status, &options, What::Check)?;
    let (output, theirs) = descriptors::pipe()?;
    give(&theirs, ready.owner)?;
    let both = theirs
        .try_clone()
        .what(|| "cannot duplicate a descriptor")?;
    let launched = ready.start(Stdio::Fds([descriptors::null()?, theirs, both]), Vec::new())?;
    Ok(Probing {
        pid: launched.pid,
        pidfd: launched.pidfd,
        output,
    })
}

fn target(session: &Session, options: &ExecOptions) -> Result<(Container, Status)> {
    let containers = Containers::new(&session.dirs);
    let id = match &options.cidfile {
        Some(file) => super::select::read_cidfile(file)?,
        None => options.container.clone(),
    };
    let container = containers.find(&id)?;
    match container.state_and_status()? {
        (State::Running, Some(status)) => Ok((container, status)),
        (State::Paused, _) => Err(Error::new(
            Kind::InUse,
            format!(
                "cannot execute in container {:?}: it is paused",
                container.name()
            ),
        )
        .hint(format!("coracle unpause {}", container.name()))),
        (state, _) => Err(Error::new(
            Kind::InUse,
            format!(
                "cannot execute in container {:?}: it is {}, not running",
                container.name(),
                state.name()
            ),
        )
        .hint(format!("coracle start {}", container.name()))),
    }
}

/// The root of a running container, in its own mount namespace: a descriptor, so that paths can be
/// resolved below it without trusting them.
///
/// # Errors
/// `NotFound` when it ended; `Denied` outside its user namespace.
pub(super) fn root_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    rustix::fs::open(
        path.as_str(),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open", || path.clone())
    .map_err(Into::into)
}

fn process(
    options: &ExecOptions,
    container: &Container,
    spec: &Spec,
    root: &OwnedFd,
) -> Result<Process> {
    let first = spec
        .process
        .as_ref()
        .ok_or_else(|| Error::new(Kind::Corrupt, "its specification has no process"))?;
    let user = match options.user.as_deref().filter(|u| !u.is_empty()) {
        Some(text) => resolve_user(root.as_fd(), text, &[])?,
        None => ResolvedUser {
            uid: first.user.uid,
            gid: first.user.gid,
            groups: first.user.additional_gids.clone(),
            ..ResolvedUser::default()
        },
    };
    generate::exec_process(options, &container.record.options, first, &user)
}

/// The container's own maps, if it has some.
pub(super) fn nested_maps(spec: &Spec) -> Option<IdMaps> {
    let linux = spec.linux.as_ref()?;
    (!linux.uid_mappings.is_empty()).then(|| IdMaps {
        uids: linux.uid_mappings.clone(),
        gids: linux.gid_mappings.clone(),
    })
}

fn outside(nested: Option<&IdMaps>, uid: u32, gid: u32) -> (u32, u32) {
    match nested {
        None => (uid, gid),
        Some(maps) => (
            to_host(&maps.uids, uid).unwrap_or(0),
            to_host(&maps.gids, gid).unwrap_or(0),
        ),
    }
}

fn filter(
    container: &Container,
    process: &Process,
    spec: &Spec,
) -> Result<Option<seccomp::Filter>> {
    let caps = process
        .capabilities
        .as_ref()
        .map_or_else(Vec::new, |c| c.bounding.clone());
    let options = &container.record.options;
    seccomp::filter(
        &options.security,
        options.privileged,
        &caps,
        seccomp::needs_socketcall(spec),
    )
}

type Ends = [Option<OwnedFd>; 3];

/// The process's streams and our ends of them. Never the caller's own files: a container must not
/// hold a descriptor of the host.
fn streams(options: &ExecOptions, size: Option<Size>, owner: (u32, u32)) -> Result<(Stdio, Ends)> {
    if options.tty {
        let size = size.map(|s| ConsoleSize {
            height: s.rows,
            width: s.columns,
        });
        return Ok((Stdio::Pty { size }, [None, None, None]));
    }
    if options.detach {
        return Ok((Stdio::Null, [None, None, None]));
    }
    let (stdin, our_stdin) = if options.interactive {
        let (read, write) = descriptors::pipe()?;
        (read, Some(write))
    } else {
        (descriptors::null()?, None)
    };
    let (our_stdout, stdout) = descriptors::pipe()?;
    let (our_stderr, stderr) = descriptors::pipe()?;
    let pipes = [
        our_stdin.is_some().then_some(&stdin),
        Some(&stdout),
        Some(&stderr),
    ];
    for pipe in pipes.into_iter().flatten() {
        give(pipe, owner)?;
    }
    Ok((
        Stdio::Fds([stdin, stdout, stderr]),
        [our_stdin, Some(our_stdout), Some(our_stderr)],
    ))
}

/// Gives a pipe to the process's user, who could not open /dev/stdout otherwise.
fn give(pipe: &OwnedFd, (uid, gid): (u32, u32)) -> Result<()> {
    if (uid, gid) != (0, 0) {
        rustix::fs::fchown(pipe, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .call("fchown", || "pipe".to_owned())?;
    }
    Ok(())
}

fn inherited(number: u32) -> Result<OwnedFd> {
    let closed = || SysError::new("fcntl", format!("descriptor {number}"), libc::EBADF);
    let number = i32::try_from(number).map_err(|_| closed())?;
    descriptors::copy_of_inherited(number)?
        .ok_or_else(closed)
        .what(|| format!("--preserve-fds: descriptor {number} is not open"))
}

/// A running container whose root can be looked at, and that root. Enters its user namespace.
///
/// # Errors
/// As [`joins::running`] and [`root_of`].
pub(super) fn running_root(session: &Session, container: &Container) -> Result<(Status, OwnedFd)> {
    let containers = Containers::new(&session.dirs);
    let (_, status) = joins::running(&containers, container.id().as_str())?;
    enter(&session.dirs, Want::Of(status.monitor.clone()))?;
    let pid = status.init.as_ref().map_or(0, |i| i.pid);
    let root = root_of(pid)?;
    Ok((status, root))
}
