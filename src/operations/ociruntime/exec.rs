//! `exec`: a further process in a running container.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::create::{self, Terminal};
use super::record::{Container, Status};
use super::{Place, bundle, rdt, rights, run};
use crate::base::fs as files;
use crate::base::{Context as _, Error, Result};
use crate::runtime::exec::{ExecRequest, exec as start};
use crate::runtime::hooks::Agent;
use crate::runtime::{Launched, Stdio, capabilities};
use crate::spec::runtime::{Capabilities, Process, Spec};

/// A description of a process is not larger.
const LIMIT: u64 = 8 << 20;

/// What differs from the container's own process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The command; empty with a process file.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Further environment.
    pub env: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// User and group id.
    pub user: Option<(u32, Option<u32>)>,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Further capabilities.
    pub caps: Vec<String>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub process_label: Option<String>,
    /// Set `no_new_privs`.
    pub no_new_privs: bool,
}

/// What `exec` is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The container.
    pub id: String,
    /// A file with a process as `config.json` has it.
    pub process: Option<PathBuf>,
    /// Changes; with a process file only the terminal counts.
    pub changes: Changes,
    /// What becomes of a terminal.
    pub terminal: Terminal,
    /// Do not wait for its end.
    pub detach: bool,
    /// Where the pid is written.
    pub pid_file: Option<PathBuf>,
    /// This many descriptors from 3 on are passed.
    pub preserve_fds: u32,
    /// Also in a paused container, where it waits.
    pub ignore_paused: bool,
    /// A group below the container's, made by whoever is in there.
    pub cgroup: Option<String>,
}

/// Runs a process; answers its exit code, 0 when it was not waited for.
///
/// # Errors
/// `NotFound`; `Invalid` when the container does not run; what its execution says.
pub fn exec(place: &Place, request: &Request) -> Result<u8> {
    let container = Container::open(place, &request.id)?;
    let status = container.status();
    match status {
        Status::Running | Status::Created => {}
        Status::Paused if request.ignore_paused => {}
        Status::Paused => return Err(Error::invalid("cannot exec in a paused container")),
        Status::Stopped | Status::Creating => {
            return Err(Error::invalid("cannot exec in a stopped container"));
        }
    }
    let spec = container.spec()?;
    let process = process_of(&spec, request)?;
    bundle::check_process(&process)?;
    let socket = match &request.terminal {
        Terminal::Socket(path) if process.terminal => Some(create::connect(path)?),
        Terminal::Socket(_) => {
            return Err(Error::invalid(
                "cannot use console socket if runtime will not detach or allocate tty",
            ));
        }
        Terminal::None if process.terminal => {
            return Err(Error::invalid(
                "cannot allocate tty if runtime will detach without setting console socket",
            ));
        }
        _ => None,
    };
    let launched = launched(&container, &spec, status, process, request)?;
    if let (Some(socket), Some(master)) = (&socket, &launched.pty) {
        create::send_terminal(socket, master)?;
    }
    create::write_pid(request.pid_file.as_deref(), launched.pid)?;
    if request.detach {
        return Ok(0);
    }
    let launched = Launched {
        // Somebody else relays it.
        pty: launched.pty.filter(|_| socket.is_none()),
        ..launched
    };
    run::attend(launched)
}

fn launched(
    container: &Container,
    spec: &Spec,
    status: Status,
    process: Process,
    request: &Request,
) -> Result<Launched> {
    let filter = create::filter(spec)?;
    let agent = create::agent(spec, &filter)?.map(|socket| Agent {
        socket,
        metadata: spec
            .linux
            .as_ref()
            .and_then(|l| l.seccomp.as_ref()?.listener_metadata.clone()),
        state: container.state(spec, status),
    });
    let (cgroup, groups) = groups(container, request.cgroup.as_deref())?;
    let preserve = create::preserved(request.preserve_fds)?;
    // The new process is born where this one is.
    rdt::enter(&container.record.rdt, std::process::id().cast_signed())?;
    rights::over(&container.record)?;
    let stdio = if process.terminal {
        Stdio::Pty {
            size: process.console_size,
        }
    } else {
        Stdio::Inherit
    };
    start(ExecRequest {
        target: container.record.process.clone(),
        process,
        stdio,
        seccomp_flags: filter.as_ref().map_or(0, |f| f.flags),
        seccomp: filter.map(|f| f.program),
        preserve,
        cgroup,
        die_with_parent: false,
        keep_keyring: true,
        agent,
        groups,
    })
}

/// The v2 folder to be born in, or the v1 groups to enter.
fn groups(container: &Container, below: Option<&str>) -> Result<(Option<OwnedFd>, Vec<OwnedFd>)> {
    let what = |path: &Path| format!("cannot enter the cgroup {}", path.display());
    let all = &container.record.cgroups;
    let below = below.unwrap_or_default().trim_start_matches('/');
    if below.split('/').any(|part| part == "..") {
        return Err(Error::invalid("the cgroup must not have .."));
    }
    if let [only] = all.as_slice()
        && only.join("cgroup.subtree_control").exists()
    {
        let mut path = only.join(below);
        let control = std::fs::read_to_string(path.join("cgroup.subtree_control"));
        if below.is_empty() && control.is_ok_and(|c| !c.trim().is_empty()) {
            // A container that manages groups of its own: no process may be in the uppermost one.
            path = of_first_process(container).unwrap_or(path);
        }
        let dir = File::open(&path).what(|| what(&path))?;
        return Ok((Some(dir.into()), Vec::new()));
    }
    let mut enter = Vec::new();
    for path in all {
        let path = path.join(below).join("cgroup.procs");
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .what(|| what(&path))?;
        enter.push(file.into());
    }
    Ok((None, enter))
}

/// The v2 group in which the first process is now.
fn of_first_process(container: &Container) -> Option<PathBuf> {
    let path = format!("/proc/{}/cgroup", container.record.process.pid);
    let text = std::fs::read_to_string(path).ok()?;
    let own = text.lines().find_map(|l| l.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(own))
}

fn process_of(spec: &Spec, request: &Request) -> Result<Process> {
    let changes = &request.changes;
    let mut process = match &request.process {
        Some(path) => {
            let text = files::read(path, LIMIT)?;
            let mut process: Process = serde_json::from_slice(&text).map_err(|e| {
                Error::invalid(format!("{} is not valid", path.display())).because(e)
            })?;
            process.terminal |= changes.tty;
            process
        }
        None => changed(spec, changes)?,
    };
    bundle::settle(&mut process);
    Ok(process)
}

fn changed(spec: &Spec, changes: &Changes) -> Result<Process> {
    let mut process = spec
        .process
        .clone()
        .ok_or_else(|| Error::invalid("the container's configuration has no process"))?;
    process.args.clone_from(&changes.args);
    process.terminal = changes.tty;
    if let Some(cwd) = &changes.cwd {
        process.cwd.clone_from(cwd);
    }
    process.env.extend(changes.env.iter().cloned());
    if let Some((uid, gid)) = changes.user {
        process.user.uid = uid;
        if let Some(gid) = gid {
            process.user.gid = gid;
        }
    }
    process
        .user
        .additional_gids
        .extend(&changes.additional_gids);
    if !changes.caps.is_empty() {
        let caps = process
            .capabilities
            .get_or_insert_with(Capabilities::default);
        for name in &changes.caps {
            let name = capabilities::normalize(name)?.to_owned();
            let mut sets = vec![&mut caps.bounding, &mut caps.effective, &mut caps.permitted];
            if process.user.uid != 0 {
                // What another user than root shall have over execve.
                sets.extend([&mut caps.inheritable, &mut caps.ambient]);
            }
            for set in sets {
                if !set.contains(&name) {
                    set.push(name.clone());
                }
            }
        }
    }
    if changes.apparmor.is_some() {
        process.apparmor_profile.clone_from(&changes.apparmor);
    }
    if changes.process_label.is_some() {
        process.selinux_label.clone_from(&changes.process_label);
    }
    process.no_new_privileges |= changes.no_new_privs;
    Ok(process)
}
