//! The container that holds a pod's namespaces: a process of our own program with every right
//! dropped, in an empty root, which does nothing but reap. No image is needed for it.

use std::time::Duration;

use crate::base::fs::Durability;
use crate::base::{Kind, Result};
use crate::operations::container::request::RunOptions;
use crate::operations::container::{create, reap, run, stop, wait};
use crate::operations::session::Session;
use crate::spec::id::ContainerId;
use crate::state::container::{Container, Containers, State};
use crate::state::options::{
    ContainerOptions, LogDriver, LogOptions, NamespaceMode, NetworkMode, Resources, SdNotify,
};
use crate::state::pod::{ExitPolicy, Infra, PodRecord, Share};

/// What it is made with, from what was asked of the pod.
pub(super) fn options(
    pod: &ContainerId,
    name: &str,
    infra_name: Option<&str>,
    share: &[Share],
    mut asked: ContainerOptions,
) -> ContainerOptions {
    let shares = |what| share.contains(&what);
    if !shares(Share::Net) {
        asked.network.mode = NetworkMode::None;
    }
    if asked.hostname.is_none() && shares(Share::Uts) && asked.uts != NamespaceMode::Host {
        asked.hostname = Some(name.to_owned());
    }
    if asked.ipc == NamespaceMode::Default && shares(Share::Ipc) {
        asked.ipc = NamespaceMode::Shareable;
    }
    if let NetworkMode::Networks(wishes) = &mut asked.network.mode {
        for wish in wishes {
            // The pod is found by its name.
            if !wish.aliases.iter().any(|a| a == name) {
                wish.aliases.push(name.to_owned());
            }
        }
    }
    ContainerOptions {
        name: Some(infra_name.map_or_else(|| format!("{name}-infra"), str::to_owned)),
        pod: Some(pod.to_string()),
        infra: true,
        image: String::new(),
        rootfs: None,
        command: Vec::new(),
        cap_add: Vec::new(),
        cap_drop: vec!["ALL".to_owned()],
        // They are for all of the pod together: this container itself has none.
        resources: Resources {
            pids_limit: None,
            ..asked.resources
        },
        log: LogOptions {
            driver: LogDriver::None,
            ..LogOptions::default()
        },
        sdnotify: SdNotify::Ignore,
        ..asked
    }
}

/// Makes it, unless it is there.
///
/// # Errors
/// As `create`.
pub(super) fn make(
    session: &Session,
    infra: &Infra,
    warn: &mut dyn FnMut(&str),
) -> Result<Container> {
    let containers = Containers::new(&session.dirs);
    match containers.open_settled(&infra.id) {
        Err(e) if e.kind() == Kind::NotFound => {}
        other => return other,
    }
    let request = RunOptions {
        id: Some(infra.id.clone()),
        ..RunOptions::default()
    };
    let made = create::create(
        session,
        (*infra.options).clone(),
        &request,
        Durability::Durable,
        warn,
        &mut |_, _| Ok(()),
    );
    match made {
        Ok(created) => Ok(created.container),
        // Another command was faster.
        Err(e) => containers.open_settled(&infra.id).map_err(|_| e),
    }
}

/// Sees to it that a pod's namespaces are there.
///
/// With `--exit-policy stop` they stay for whoever has the lock of a container of the pod meanwhile
/// ([`look`]): call it again with that lock before something is started in them.
///
/// # Errors
/// As `create` and `start`.
pub fn ensure(session: &Session, pod: &PodRecord, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let Some(infra) = &pod.infra else {
        return Ok(());
    };
    let container = make(session, infra, warn)?;
    loop {
        match container.state()? {
            State::Running | State::Paused => {
                if pod.exit_policy == ExitPolicy::Continue {
                    return Ok(());
                }
                // Whoever looks whether anybody needs them, and ends them, has this lock.
                let lock = container.lock(reap::PATIENCE)?;
                if matches!(container.state()?, State::Running | State::Paused) {
                    return Ok(());
                }
                drop(lock);
            }
            // Another command began it: its monitor goes on even if that was killed.
            State::Restarting => {
                let settled = [wait::Condition::Running, wait::Condition::Stopped];
                wait::wait(session, &container, &settled)?;
            }
            _ => {
                run::start(session, &container, None, warn)?;
                // Another command may have begun it meanwhile: then there is nothing to join yet.
                if container.state()? != State::Restarting {
                    return Ok(());
                }
            }
        }
    }
}

/// Ends the namespaces of a pod that nobody needs any more; answers whether it did.
///
/// A container that another command has locked may be about to start: that is waited for. As the
/// start takes the locks in the other order, this one takes the second without waiting.
///
/// # Errors
/// `TimedOut` when a container stays locked; what stopping says.
pub fn end_if_idle(session: &Session, pod: &PodRecord) -> Result<bool> {
    let Some(infra) = &pod.infra else {
        return Ok(false);
    };
    let holder = Containers::new(&session.dirs).open(&infra.id)?;
    loop {
        let lock = holder.lock(reap::PATIENCE)?;
        match look(session, pod, infra)? {
            Look::Needed => return Ok(false),
            Look::Idle => return stop::stop(session, &holder, &Default::default()),
            Look::Busy(member) => {
                drop(lock);
                match member.lock(reap::PATIENCE) {
                    Err(e) if e.kind() != Kind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
    }
}

/// Who needs the namespaces of a pod.
enum Look {
    /// A container that runs, or was made to be run.
    Needed,
    /// Nobody runs, but somebody has this one's lock.
    Busy(Container),
    Idle,
}

fn look(session: &Session, pod: &PodRecord, infra: &Infra) -> Result<Look> {
    let mut busy = None;
    for member in super::members(session, pod)? {
        if member.id() == &infra.id {
            continue;
        }
        match member.lock(Duration::ZERO) {
            Err(e) if e.kind() == Kind::TimedOut => busy = Some(member.clone()),
            _ => {}
        }
        // One that was not started yet has its turn: a pod's first container may end before that.
        let waits = |state| state == State::Created && member.record.options.init_ctr.is_none();
        if member.state().is_ok_and(|s| s.is_active() || waits(s)) {
            return Ok(Look::Needed);
        }
    }
    Ok(busy.map_or(Look::Idle, Look::Busy))
}
