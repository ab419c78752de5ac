//! Starting a container: everything is prepared in the command, then the monitor is forked, which
//! starts the process, and starts it again under a restart policy.
//!
//! Order of a start, and who must not have a thread when: namespaces of others are opened and a
//! shared /dev/shm is fetched (single thread), the network namespace is made in a thread while this
//! one mounts the root file system, resolves the user and generates the specification; the thread
//! is joined before the fork.

mod cdi;
mod chown;
mod copyup;
mod demand;
mod files;
mod hooks;
pub(super) mod idmaps;
pub(super) mod joins;
mod mounts;
mod networks;
mod prepare;
mod secrets;
mod service;
pub(in crate::operations) mod step;

use std::any::Any;
use std::cell::RefCell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub use prepare::spare;
pub(super) use prepare::{Making, ahead, imagined};
use prepare::{Prepared, prepare};
use service::Service;

use super::{events, exec};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Result};
use crate::cgroup::Group;
use crate::events::Event;
use crate::handoff::control::AttachRequest;
use crate::image::ImageRecord;
use crate::monitor::{
    Again, Attempt, AttemptStdio, Demand, Finish, Memory, MonitorPlan, Running, Started, StdioPlan,
    Uplink as Connection, spawn as spawn_monitor,
};
use crate::network::namespace::Namespace;
use crate::network::plan::{Kind as NetworkKind, NetworkPlan};
use crate::network::uplink;
use crate::operations::session::Session;
use crate::runtime::Stdio;
use crate::runtime::launch::{self as launch, Launch, Manner};
use crate::runtime::userns::{Entered, Want, enter};
use crate::spec::idmap::{IdMaps, to_host};
use crate::spec::runtime::{ConsoleSize, NamespaceKind};
use crate::state::container::{
    Container, ContainerLock, Containers, ExitRecord, Status, remove_tree,
};
use crate::state::health::Checks;
use crate::state::options::{LogDriver, MountSource, RestartPolicy, passed};
use crate::storage::Store;
use crate::storage::rootfs::View;
use crate::storage::volume::Volumes;
use crate::sys::namespace::{self as namespaces, Kind as Ns};
use crate::sys::{Call as _, fd as descriptors};

/// What a start needs, attempt after attempt.
pub(super) struct Kit<'a> {
    session: &'a Session,
    container: Container,
    image: Option<ImageRecord>,
    entered: Entered,
    store: Store,
    nested: Option<IdMaps>,
    view: View,
    preserve: Vec<Option<OwnedFd>>,
    passthrough: Option<[OwnedFd; 3]>,
    service: Service,
}

/// How a container is started.
#[derive(Debug, Default)]
pub(super) struct How {
    /// The command becomes a client from the first byte on.
    pub attach: Option<AttachRequest>,
    /// The network namespace, under way.
    pub network: Option<Making>,
}

/// Enters the user namespace that this container needs.
///
/// # Errors
/// As `userns::enter`; `InUse` when it joins a container that does not run.
pub(super) fn enter_for(session: &Session, container: &Container) -> Result<Entered> {
    let containers = Containers::new(&session.dirs);
    let want = match joins::monitor_to_enter(&containers, &container.record.options)? {
        Some(monitor) => Want::Of(monitor),
        None => Want::Default,
    };
    enter(&session.dirs, want)
}

/// Starts a container whose lock is held and which does not run. The process has one thread.
///
/// # Errors
/// The error of whatever could not be had, or of the program itself (126, 127). The container then
/// does not run; a `--rm` one may have been removed.
pub(super) fn start(
    session: &Session,
    container: Container,
    lock: &ContainerLock,
    image: Option<ImageRecord>,
    mut how: How,
    warn: &mut dyn FnMut(&str),
) -> Result<Started> {
    let mut kit = equip(session, container, image)?;
    failpoint("start::entered")?;
    let prepared = prepare(&kit, how.network.take())?;
    failpoint("start::prepared")?;
    for notice in &prepared.notices {
        warn(notice);
    }
    if kit.container.record.driver != prepared.driver {
        kit.container.record.driver = prepared.driver.to_owned();
        if !kit.container.record.options.remove {
            kit.container.write_record_soon()?;
        }
    }
    let demand = demand::hold(&kit.container, kit.image.as_ref())?;
    let log = crate::logs::open(&kit.container)?;
    failpoint("start::log")?;
    // One on demand has shown that it can be started; until then it holds nothing but its ports.
    let prepared = match &demand {
        Some(_) => {
            drop(prepared);
            forget_run(&kit.container);
            None
        }
        None => Some(prepared),
    };
    run_monitor(kit, prepared, demand, lock, log, how)
}

/// Prepares a start as far as it goes without a process, and lets it be: whatever is missing is
/// told, and volumes have the image's content.
///
/// # Errors
/// As [`start`].
pub(super) fn rehearse(
    session: &Session,
    container: &Container,
    image: Option<ImageRecord>,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    let kit = equip(session, container.clone(), image)?;
    let notices = prepare(&kit, None).map(|prepared| prepared.notices);
    forget_run(container);
    notices?.iter().for_each(|notice| warn(notice));
    Ok(())
}

fn equip(session: &Session, container: Container, image: Option<ImageRecord>) -> Result<Kit<'_>> {
    let entered = enter_for(session, &container)?;
    container.make_runtime_dir()?;
    let options = &container.record.options;
    let caller = idmaps::Caller {
        uid: session.user.uid,
        gid: session.user.gid,
    };
    let nested = idmaps::nested_maps(
        &options.userns,
        &entered.maps,
        caller,
        container.record.auto_maps.as_ref(),
    )?;
    let view = match &nested {
        Some(maps) => View::Shifted(maps.clone()),
        None => View::Same,
    };
    let passthrough = match options.log.driver {
        LogDriver::Passthrough => Some([own(0)?, own(1)?, own(2)?]),
        _ => None,
    };
    let service = service::of_caller(session, &container)?;
    let count = options.preserve_fds.max(service.sockets);
    let preserve = passed(count, &options.preserve_fd)
        .into_iter()
        .map(|n| {
            n.map(|n| own(i32::try_from(n).unwrap_or(i32::MAX)))
                .transpose()
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Kit {
        session,
        store: Store::open(&session.dirs, session.options.storage_driver.as_deref())?,
        container,
        image,
        entered,
        nested,
        view,
        preserve,
        passthrough,
        service,
    })
}

fn run_monitor(
    mut kit: Kit<'_>,
    prepared: Option<Prepared>,
    demand: Option<Box<dyn Demand>>,
    lock: &ContainerLock,
    log: Box<dyn crate::handoff::output::Sink>,
    how: How,
) -> Result<Started> {
    let container = kit.container.clone();
    let options = container.record.options.clone();
    let session = kit.session;
    let trash: Rc<RefCell<Option<PathBuf>>> = Rc::default();
    let on_exit = {
        let (container, trash) = (container.clone(), Rc::clone(&trash));
        move |_exit: &ExitRecord| -> Vec<Event> {
            if !container.record.options.remove {
                return Vec::new();
            }
            super::create::remove_cidfile(&container);
            // What cannot be renamed now is swept up by a later command.
            if let Ok(path) = Containers::new(&session.dirs).discard(&container) {
                *trash.borrow_mut() = path;
                return vec![events::event(&container, "remove")];
            }
            Vec::new()
        }
    };
    // With the last descriptor of its mount namespace the container's mounts go, for which the
    // kernel waits. Where nobody can miss them, that is after everybody was told of the end.
    let mounts: Rc<RefCell<Option<OwnedFd>>> = Rc::default();
    let lingers = options.remove && options.restart == RestartPolicy::No && !has_binds(&container);
    let cleanup = {
        let (container, mounts) = (container.clone(), Rc::clone(&mounts));
        move |exit: &ExitRecord| {
            drop(mounts.borrow_mut().take());
            forget_run(&container);
            if container.record.options.remove {
                remove_rest(session, &container, trash.borrow_mut().take());
            } else if let Ok(store) = crate::storage::Store::open(&session.dirs, None) {
                // A clean end: a reboot from here on loses nothing that is worth a warning.
                drop(store.settle(container.dir()));
            }
            super::member::after_exit(session, &container, exit);
        }
    };
    let size = how.attach.as_ref().and_then(|a| a.size);
    let stdio = match options.log.driver {
        LogDriver::Passthrough => StdioPlan::Passthrough,
        _ if options.tty => StdioPlan::Terminal { size },
        _ => StdioPlan::Pipes {
            stdin: options.interactive,
        },
    };
    let image = kit.image.as_ref().map(|i| &i.config.config);
    let health = Checks::of(&options, image)?;
    service::check(&container, health.is_some())?;
    let notify = kit.service.notify.take();
    let exec = {
        let container = container.clone();
        move |status: &Status, words: &[String]| exec::check(session, &container, status, words)
    };
    let foreign: Vec<BorrowedFd<'_>> = vec![lock.as_fd()];
    let mut first = prepared;
    let launch = move |attempt: Attempt| -> Result<Finish> {
        let prepared = match first.take() {
            Some(prepared) => prepared,
            None => prepare(&kit, None)?,
        };
        let lingers = lingers && prepared.driver == "overlay";
        let finish = go(&kit, prepared, attempt.stdio)?;
        let mounts = Rc::clone(&mounts);
        Ok(Box::new(move || {
            let running = finish()?;
            if lingers {
                let own = namespaces::of(&running.pidfd, running.pid, Ns::Mount);
                *mounts.borrow_mut() = own.ok();
            }
            Ok(running)
        }))
    };
    spawn_monitor(MonitorPlan {
        launch: Box::new(launch),
        on_exit: Box::new(on_exit),
        cleanup: Box::new(cleanup),
        log,
        stdio,
        attach: how.attach,
        restart: options.restart,
        timeout: (options.timeout > 0).then(|| Duration::from_secs(options.timeout.into())),
        stop_signal: stop_signal(&container),
        stop_timeout: stop_timeout(&container),
        pidfile: options.pidfile.clone(),
        // A generated unit names it as its PIDFile=.
        monitor_pidfile: options.monitor_pidfile.clone().or_else(|| {
            let unit = session.env.raw("INVOCATION_ID");
            unit.map(|_| container.monitor_pidfile())
        }),
        events: events::journal(session).map(|j| (j, events::event(&container, "start"))),
        health,
        health_events: !session.options.no_health_events,
        exec: Box::new(exec),
        demand,
        notify,
        foreign,
        container,
    })
}

/// The signal that asks a container to end.
pub(super) fn stop_signal(container: &Container) -> i32 {
    match container.record.stop_signal {
        0 => libc::SIGTERM,
        signal => signal,
    }
}

/// How long it may take to.
fn stop_timeout(container: &Container) -> Duration {
    let seconds = container.record.options.stop_timeout.unwrap_or(10);
    Duration::from_secs(seconds.into())
}

/// One start, in the monitor: the container's process is made first, so that it sets itself up
/// while the uplink starts and the monitor does the rest. With an uplink it waits for it: the
/// network is there when the program runs.
fn go(kit: &Kit<'_>, prepared: Prepared, stdio: AttemptStdio) -> Result<Finish> {
    let Prepared {
        generated,
        owner,
        rootfs,
        joins,
        nested,
        netns,
        networks,
        plan,
        sources,
        seccomp,
        cgroup,
        ..
    } = prepared;
    let stdio = match stdio {
        AttemptStdio::Fds(fds) => {
            for fd in &fds {
                give_pipe(fd, owner)?;
            }
            Stdio::Fds(fds)
        }
        AttemptStdio::Terminal(size) => Stdio::Pty {
            size: size.map(|s| ConsoleSize {
                height: s.rows,
                width: s.columns,
            }),
        },
        AttemptStdio::Passthrough => match &kit.passthrough {
            Some([a, b, c]) => Stdio::Fds([again(a)?, again(b)?, again(c)?]),
            None => Stdio::Null,
        },
    };
    let mut join: Vec<(NamespaceKind, OwnedFd)> = joins.fds;
    if let Some(netns) = netns.as_ref().filter(|_| nested.is_none()) {
        join.push((NamespaceKind::Network, again(&netns.fd)?));
    }
    let connects = plan.kind == NetworkKind::Uplink && netns.is_some();
    let runtime_dir = kit.container.runtime_dir().to_owned();
    // Its own start takes longer than ours: it goes first.
    let connecting = netns
        .as_ref()
        .filter(|_| connects)
        .map(|netns| uplink::begin(&plan, netns, &runtime_dir))
        .transpose()?;
    let passed = kit.preserve.iter();
    let preserve = passed
        .map(|fd| fd.as_ref().map(again).transpose())
        .collect::<Result<Vec<_>>>()?;
    let delegated = generated.systemd.then_some(owner);
    let cgroup = prepare::make_group(kit, &cgroup, delegated)?;
    let group = cgroup.as_ref().map(|c| c.0.directory()).transpose()?;
    let cgroup_path = cgroup
        .as_ref()
        .map(|c| c.0.path().to_string_lossy().into_owned());
    let mut spec = generated.spec;
    if let Some(linux) = spec.linux.as_mut().filter(|_| netns.is_some()) {
        // Set already, by the thread that made the network.
        linux.sysctl.retain(|name, _| !name.starts_with("net."));
    }
    spec.hooks = hooks::of(kit.session, &spec, has_binds(&kit.container))?;
    let state = spec
        .hooks
        .as_ref()
        .map(|_| hooks::state(&kit.container, &spec));
    let poststop = match (&spec.hooks, &state) {
        (Some(hooks), Some(state)) => Some(hooks::Poststop {
            hooks: hooks.poststop.clone(),
            state: state.clone(),
        }),
        _ => None,
    };
    let begun = launch::begin(Launch {
        spec,
        rootfs: rootfs.tree,
        join,
        cgroup: group,
        nested,
        mounts: sources.mounts,
        stdio,
        seccomp_flags: seccomp.as_ref().map_or(0, |f| f.flags),
        seccomp: seccomp.map(|f| f.program),
        init: kit.container.record.options.init || kit.container.record.options.infra,
        preserve,
        gate: None,
        manner: Manner {
            waits: connects,
            state,
            ..Manner::default()
        },
    })?;
    Ok(Box::new(move || {
        crate::state::container::write_json(
            &runtime_dir.join("spec.json"),
            &begun.spec,
            crate::base::fs::Durability::Volatile,
        )?;
        let mut network = plan.name().to_owned();
        // Without an uplink the container itself is all that keeps its network.
        let connected = match netns.zip(connecting) {
            Some((netns, connecting)) => {
                let uplink = connecting.finish(&netns)?;
                network = uplink.name.to_owned();
                Some(keep_connected(uplink, netns, &plan, &runtime_dir))
            }
            None => None,
        };
        failpoint("start::uplink")?;
        let poststart = begun.spec.hooks.as_ref().map(|h| h.poststart.clone());
        let launched = begun.finish()?;
        failpoint("start::launched")?;
        if let (Some(list), Some(poststop)) = (poststart, &poststop) {
            hooks::poststart(&list, &poststop.state, &launched)?;
        }
        let mut running = Running::new(launched.pid, launched.pidfd);
        running.pty = launched.pty;
        running.uplink = connected;
        running.networks = networks.map(|n| networks::serve(n, &runtime_dir));
        running.network = network;
        running.ip_address = plan
            .addresses
            .filter(|_| plan.kind == NetworkKind::Uplink)
            .map(|a| a.container.to_string())
            .or_else(|| {
                Some(
                    running
                        .networks
                        .as_ref()?
                        .attached()
                        .first()?
                        .first_v4()?
                        .to_string(),
                )
            });
        running.ports = plan.ports;
        running.cgroup = cgroup_path;
        // The first that goes: the hooks may want to look at the rest.
        running
            .held
            .extend(poststop.map(|p| Box::new(p) as Box<dyn Any>));
        running.held.push(Box::new(rootfs.lock));
        running.held.push(Box::new(sources.held));
        if let Some(group) = cgroup {
            running.memory = group.0.memory_watch().map(|mut watch| Memory {
                changed: watch.changed,
                kills: Box::new(move || watch.kills.count()),
            });
            running.held.push(Box::new(group));
        }
        Ok(running)
    }))
}

/// Whether the person gave it binds or volumes, as oci-hooks(5) asks.
fn has_binds(container: &Container) -> bool {
    let mounts = &container.record.options.mounts;
    mounts.iter().any(|m| {
        matches!(
            m.source,
            MountSource::Bind { .. } | MountSource::Overlay { .. } | MountSource::Volume { .. }
        )
    })
}

/// What the monitor needs to start an uplink again.
fn keep_connected(
    uplink: uplink::Uplink,
    netns: Namespace,
    plan: &NetworkPlan,
    scratch: &Path,
) -> Connection {
    let (identity, pidfd, guard) = uplink.into_parts();
    let (plan, scratch) = (plan.clone(), scratch.to_owned());
    let mut present = Some(guard);
    let mut starting = None;
    Connection {
        identity,
        pidfd,
        again: Box::new(move || {
            // Its ports are free once it is reaped.
            drop(present.take());
            let mut begun = starting
                .take()
                .unwrap_or_else(|| uplink::start_again(&plan, &scratch));
            match begun.step(&netns)? {
                uplink::Step::Ready(uplink) => {
                    let (identity, pidfd, guard) = uplink.into_parts();
                    present = Some(guard);
                    Ok(Again::Ready(identity, pidfd))
                }
                uplink::Step::Waiting(until) => {
                    let watched = begun.watched(&netns);
                    let copies = watched.iter().map(BorrowedFd::try_clone_to_owned);
                    let watch = copies
                        .collect::<std::io::Result<_>>()
                        .what(|| "cannot copy a descriptor")?;
                    let process = begun.identity().cloned();
                    starting = Some(begun);
                    Ok(Again::Waiting {
                        process,
                        watch,
                        until,
                    })
                }
            }
        }),
    }
}

/// A group that goes when the run is over.
pub(super) struct OwnGroup(pub(super) Group);

impl Drop for OwnGroup {
    fn drop(&mut self) {
        // Left over groups are empty folders; the next start of the container reuses the name.
        if let Ok(group) = Group::open(&self.0.path().to_string_lossy()) {
            drop(group.remove());
        }
    }
}

/// Throws away what belongs to one run: upper layers of throw-away mounts.
pub(super) fn forget_run(container: &Container) {
    let scratch = mounts::scratch_dir(container.dir());
    if scratch.exists() {
        // Swept up with the container at the latest.
        drop(remove_tree(&scratch));
    }
    drop(std::fs::remove_dir_all(
        container.runtime_dir().join("secrets"),
    ));
}

/// After the exit of a `--rm` container was delivered: its files, its anonymous volumes, its image.
pub(super) fn remove_rest(session: &Session, container: &Container, trash: Option<PathBuf>) {
    Containers::new(&session.dirs).forget_runtime(container);
    if let Some(trash) = trash {
        drop(remove_tree(&trash));
    }
    let volumes = Volumes::new(&session.dirs);
    for volume in &container.record.volumes {
        if volume.anonymous
            && let Ok(name) = volume.name.parse()
        {
            drop(volumes.remove(&name));
        }
    }
    if container.record.options.remove_image {
        drop(super::remove::remove_image(session, container));
    }
}

/// The owner of a container's root, as the shared user namespace numbers it.
fn root_owner(nested: Option<&IdMaps>) -> (u32, u32) {
    outside(nested, (0, 0))
}

/// Ids inside to ids of the shared user namespace; unmapped ones become root.
fn outside(nested: Option<&IdMaps>, (uid, gid): (u32, u32)) -> (u32, u32) {
    match nested {
        None => (uid, gid),
        Some(maps) => (
            to_host(&maps.uids, uid).unwrap_or(0),
            to_host(&maps.gids, gid).unwrap_or(0),
        ),
    }
}

/// Gives a pipe to the container's user, so that it can open `/dev/stdout`. Anything else, above
/// all /dev/null, is left alone.
fn give_pipe(fd: &OwnedFd, (uid, gid): (u32, u32)) -> Result<()> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let stat = rustix::fs::fstat(fd).call("fstat", String::new)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo {
        rustix::fs::fchown(
            fd,
            Some(rustix::fs::Uid::from_raw(uid)),
            Some(rustix::fs::Gid::from_raw(gid)),
        )
        .call("fchown", || "pipe".to_owned())?;
    }
    Ok(())
}

fn again(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().what(|| "cannot duplicate a descriptor")
}

/// A copy of a descriptor that the command was started with.
fn own(number: i32) -> Result<OwnedFd> {
    let missing = || {
        crate::base::Error::invalid(format!("descriptor {number} is not open"))
            .hint("--preserve-fds N passes the descriptors 3 to 3+N-1")
    };
    let copy = match number {
        0 => std::io::stdin().as_fd().try_clone_to_owned(),
        1 => std::io::stdout().as_fd().try_clone_to_owned(),
        2 => std::io::stderr().as_fd().try_clone_to_owned(),
        _ => return descriptors::copy_of_inherited(number)?.ok_or_else(missing),
    };
    copy.map_err(|_| missing())
}
