//! The container's first process, from the clone to its program. One thread, nothing of the
//! caller's needed but what was handed over.
//!
//! Order (kernel.md 3.3 and 7): death signal and what needs the host's /proc; other namespaces;
//! sources of mounts; own mount namespace; all mounts; terminal; pivot; nested user namespace;
//! kernel parameters; gate; the last steps ([`super::super::process`]).

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use super::{Launch, Namespaces};
use crate::base::{Context as _, Error, Result};
use crate::runtime::hooks::{self, Agent, State};
use crate::runtime::process::{self, Gate, Last};
use crate::runtime::{Stdio, rootfs, schedule, status, sysctl};
use crate::spec::idmap::{self, IdMaps};
use crate::spec::runtime::{Linux, NamespaceKind, Process, Spec};
use crate::sys::namespace::{self, Kind as Ns};
use crate::sys::{attributes, clone, fd, interface, memfd, mount, pty, resolve};

/// Runs it; ends the process with the failure's exit code if it does not become the program.
pub(super) fn run(launch: Launch, plan: Namespaces, mut line: OwnedFd) -> ! {
    let error = match set_up(launch, plan, &mut line) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    status::send_failure(&line, &error);
    clone::exit_now(error.asked_exit_code().unwrap_or(125));
}

fn set_up(launch: Launch, plan: Namespaces, line: &mut OwnedFd) -> Result<Infallible> {
    let Launch {
        spec,
        rootfs: root,
        nested,
        mounts,
        stdio,
        seccomp,
        seccomp_flags,
        init,
        preserve,
        gate,
        manner,
        ..
    } = launch;
    let process = spec
        .process
        .as_ref()
        .ok_or_else(|| Error::invalid("the configuration has no process"))?;
    // `preserve` and `Inherit` name what the caller has: taken before anything is opened.
    let inherited = match stdio {
        Stdio::Inherit => Some(fd::standard()?),
        _ => None,
    };
    // Once this process is not dumpable, a plain user may not open it any more.
    let clocks = if plan.new_time {
        let path = "/proc/self/timens_offsets";
        let file = std::fs::OpenOptions::new().write(true).open(path);
        Some(file.what(|| format!("cannot open {path}"))?)
    } else {
        None
    };
    for group in &manner.groups {
        fd::write_all(group, b"0").what(|| "cannot enter the container's cgroup")?;
    }
    process::begin(process, line, true)?;
    if let Some(linux) = &spec.linux {
        attune(linux)?;
    }
    for (kind, ns) in &plan.join {
        namespace::join(ns, kind.flag())
            .what(|| format!("cannot join the {} namespace", kind.file()))?;
    }
    if plan.new & Ns::Net.flag() != 0 {
        interface::loopback_up().what(|| "cannot bring the loopback interface up")?;
    }
    let maps = nested.as_ref().map(|n| &n.maps);
    if let Some(maps) = maps {
        make_files_as(maps)?;
    }
    let trees = rootfs::take_sources(&spec, mounts, manner.literal_options)?;
    own_namespaces(&spec, &plan, clocks, manner.slave)?;
    let own_program = if init {
        Some(memfd::own_program().what(|| "cannot prepare the container's init")?)
    } else {
        None
    };

    attributes::set_umask(0);
    let how = rootfs::How {
        at_root: plan.new_mount,
        literal: manner.literal_options,
    };
    let root = match (&plan.mount, &spec.root) {
        // That namespace's own, which only it can name.
        (Some(_), Some(root)) => {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
            resolve::open_from_here(&root.path, flags)
                .what(|| format!("cannot open the root file system {}", root.path))?
        }
        _ => root,
    };
    let mut tree = rootfs::build(&spec, root, trees, maps, how)?;
    let stdio = match (stdio, inherited) {
        (_, Some(inherited)) => inherited,
        (Stdio::Fds(fds), None) => fds,
        (Stdio::Pty { size }, None) => {
            let pair = tree.console()?;
            if let Some(size) = size {
                pty::set_size(&pair.master, size.height, size.width)?;
            }
            status::send_terminal(line, &pair.master)?;
            take_terminal(pair.slave, process, maps)?
        }
        (Stdio::Null | Stdio::Inherit, None) => three(fd::null()?)?,
    };
    let proc_sys = tree.take_proc_sys();
    let mut state = None;
    if manner.waits && manner.state.is_none() {
        status::ask_hooks(line)?;
    }
    if let Some(known) = manner.state {
        if manner.waits || spec.hooks.is_some() || manner.agent.is_some() {
            let pid = status::ask_hooks(line)?;
            state = Some(State { pid, ..known });
        }
        if let (Some(hooks), Some(state)) = (&spec.hooks, &state) {
            // Their paths are the host's: our root is still below the new one.
            hooks::run("createContainer", &hooks.create_container, state)?;
        }
    }
    tree.enter(&spec, !manner.no_pivot && plan.new_mount)?;
    if let Some(user) = &plan.user {
        // After pivoting: the mounts are locked from here on, and a locked root cannot be pivoted.
        namespace::join(user, Ns::User.flag())
            .what(|| "cannot enter the container's user namespace")?;
        namespace::unshare(Ns::Mount.flag())
            .what(|| "cannot make the container's mount namespace")?;
    }
    name(&spec, &plan)?;
    if let Some(linux) = &spec.linux {
        sysctl::apply(
            &linux.sysctl,
            proc_sys.as_ref().map(std::os::fd::AsFd::as_fd),
        )?;
    }
    drop(proc_sys);
    let keep_groups = spec
        .annotations
        .get("run.oci.keep_original_groups")
        .is_some_and(|v| v == "1");
    process::finish(Last {
        process,
        stdio,
        preserve,
        seccomp: seccomp.as_deref(),
        seccomp_flags,
        status: line,
        die_with_parent: !manner.outlives_parent,
        make_cwd: true,
        swappable: false,
        keep_groups,
        keep_keyring: manner.keep_keyring,
        init: own_program,
        agent: agent(manner.agent, state.as_ref(), &spec),
        gate: gate.map(Gate),
        hooks: match (&spec.hooks, state) {
            (Some(hooks), Some(state)) => Some((hooks.start_container.as_slice(), state)),
            _ => None,
        },
    })
}

/// Personality and memory policy, which the program inherits.
fn attune(linux: &Linux) -> Result<()> {
    if let Some(personality) = &linux.personality {
        schedule::apply_personality(personality)?;
    }
    if let Some(policy) = &linux.memory_policy {
        schedule::apply_memory_policy(policy)?;
    }
    Ok(())
}

/// The namespaces that a process can only make when it is there already. `slave`: the caller's
/// mounts may send and receive events.
fn own_namespaces(
    spec: &Spec,
    plan: &Namespaces,
    clocks: Option<std::fs::File>,
    slave: bool,
) -> Result<()> {
    let what = || "cannot make the container's mount namespace";
    if let Some(clocks) = clocks {
        let make = || "cannot make the container's time namespace";
        namespace::unshare(Ns::Time.flag()).what(make)?;
        let mut offsets = String::new();
        for (clock, offset) in spec.linux.iter().flat_map(|l| &l.time_offsets) {
            offsets.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
        }
        if !offsets.is_empty() {
            fd::write_all(&clocks, offsets.as_bytes())
                .what(|| "cannot set the clock offsets of the container's time namespace")?;
        }
        // Only children are born in it; this process enters it by itself.
        namespace::join(namespace::own_time_for_children()?, Ns::Time.flag()).what(make)?;
    }
    let mut own = 0;
    if plan.new_cgroup {
        own |= Ns::Cgroup.flag();
    }
    match &plan.mount {
        Some(mount) => namespace::join(mount, Ns::Mount.flag())
            .what(|| "cannot join the container's mount namespace")?,
        None if plan.new_mount => own |= Ns::Mount.flag(),
        None => {}
    }
    if own != 0 {
        namespace::unshare(own).what(what)?;
    }
    if plan.new_mount && slave {
        // Nothing that is mounted from here on reaches the caller's mounts.
        mount::make_slave().what(what)?;
    }
    Ok(())
}

/// What is told to the seccomp agent.
fn agent(
    socket: Option<OwnedFd>,
    state: Option<&State>,
    spec: &Spec,
) -> Option<(OwnedFd, Vec<u8>)> {
    let seccomp = spec.linux.as_ref()?.seccomp.as_ref()?;
    let state = state?;
    let agent = Agent {
        socket: socket?,
        metadata: seccomp.listener_metadata.clone(),
        state: state.clone(),
    };
    Some(agent.message(state.pid))
}

/// Files made before the nested user namespace is entered belong to its root.
fn make_files_as(maps: &IdMaps) -> Result<()> {
    if let (Some(uid), Some(gid)) = (idmap::to_host(&maps.uids, 0), idmap::to_host(&maps.gids, 0)) {
        attributes::set_file_ids(uid, gid)?;
    }
    Ok(())
}

/// The terminal as standard descriptors, as this session's controlling one, owned by the user.
pub(in crate::runtime) fn take_terminal(
    slave: OwnedFd,
    process: &Process,
    maps: Option<&IdMaps>,
) -> Result<[OwnedFd; 3]> {
    pty::control(&slave).what(|| "cannot take the terminal")?;
    let uid = match maps {
        Some(maps) => idmap::to_host(&maps.uids, process.user.uid),
        None => Some(process.user.uid),
    };
    if let Some(uid) = uid {
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        rustix::fs::fchown(&slave, owner, None)
            .map_err(|e| crate::sys::Error::new("fchown", "terminal", e.raw_os_error()))
            .what(|| "cannot give the terminal to the user")?;
    }
    three(slave)
}

fn three(fd: OwnedFd) -> Result<[OwnedFd; 3]> {
    let (a, b) = (fd::dup_at_least(&fd, 3)?, fd::dup_at_least(&fd, 3)?);
    Ok([a, b, fd])
}

pub(in crate::runtime) fn null_stdio() -> Result<[OwnedFd; 3]> {
    three(fd::null()?)
}

/// Host and domain name of a UTS namespace of its own.
fn name(spec: &Spec, plan: &Namespaces) -> Result<()> {
    let owns = plan.new & Ns::Uts.flag() != 0 || plan.join.iter().any(|(kind, _)| *kind == Ns::Uts);
    let has = spec
        .linux
        .iter()
        .flat_map(|l| &l.namespaces)
        .any(|n| n.kind == NamespaceKind::Uts);
    for (name, set, what) in [
        (
            &spec.hostname,
            attributes::set_host_name as fn(&str) -> crate::sys::Result<()>,
            "host name",
        ),
        (
            &spec.domainname,
            attributes::set_domain_name as fn(&str) -> crate::sys::Result<()>,
            "domain name",
        ),
    ] {
        let Some(name) = name.as_deref().filter(|n| !n.is_empty()) else {
            continue;
        };
        if !owns && !has {
            return Err(Error::invalid(format!(
                "cannot set the {what}: the container has no UTS namespace of its own"
            )));
        }
        set(name).what(|| format!("cannot set the {what} {name:?}"))?;
    }
    Ok(())
}
