//! `run` and `start`: a container that runs, and the command's own part while it does.

use super::create::{Created, create, image_of};
use super::launch::{self, How};
use super::request::RunOptions;
use super::{member, reap};
use crate::base::fs::Durability;
use crate::base::{Error, Kind, Result};
use crate::handoff::control::{AttachRequest, Control};
use crate::handoff::keys::{self, DetachKeys};
use crate::handoff::relay::{self, Caller, Outcome};
use crate::handoff::terminal::Size;
use crate::monitor::Started;
use crate::operations::session::Session;
use crate::operations::system::boot;
use crate::runtime::userns::{Want, enter};
use crate::spec::id::ContainerId;
use crate::state::container::{Container, ContainerLock, State};
use crate::state::options::ContainerOptions;
use crate::state::request::AttachStreams;

/// How a foreground or background run went, as far as the command sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It runs in the background.
    Detached(ContainerId),
    /// It ended with this code.
    Exited(i32),
    /// The person typed the detach keys.
    Left,
    /// The reader of our output went away.
    BrokenPipe,
}

/// What the command relays.
#[derive(Clone, Debug, Default)]
pub struct Relay {
    /// Which streams.
    pub streams: AttachStreams,
    /// `--sig-proxy`.
    pub sig_proxy: bool,
    /// `--detach-keys`; absent means the default.
    pub detach_keys: Option<String>,
}

/// Makes and starts a container. When it cannot be started nothing of it is left.
///
/// # Errors
/// As `create` and `start`; 126 and 127 for the program's own.
pub fn run(
    session: &Session,
    mut options: ContainerOptions,
    run: &RunOptions,
    warn: &mut dyn FnMut(&str),
) -> Result<Ran> {
    member::ready(session, &mut options, warn)?;
    let detach_keys = options.detach_keys.clone();
    let mut network = None;
    let Created {
        container,
        image,
        lock,
    } = create(
        session,
        options,
        run,
        Durability::Volatile,
        warn,
        &mut |options, entered| {
            network = launch::ahead(session, options, entered)?;
            Ok(())
        },
    )?;
    let relay = Relay {
        streams: run.attach,
        sig_proxy: run.sig_proxy,
        detach_keys,
    };
    // A signal between the start and the relay is the container's already.
    let _held = match run.detach {
        true => None,
        false => Some(relay::hold(relay.sig_proxy)?),
    };
    let request = (!run.detach).then(|| request(&container, relay.streams));
    let started = member::ready_still(session, &container, warn).and_then(|()| {
        let how = How {
            attach: request,
            network,
        };
        launch::start(session, container.clone(), &lock, image, how, warn)
    });
    let started = match started {
        Ok(started) => started,
        Err(e) => {
            // The monitor removed a `--rm` one already.
            if container.dir().join("config.json").exists() {
                drop(super::remove::remove_locked(session, &container, true));
            }
            return Err(e);
        }
    };
    drop(lock);
    if run.detach
        && let Some(hint) = boot::hint(session, &container)
    {
        warn(&hint);
    }
    if !container.record.options.remove {
        // The container runs meanwhile. A short one may be gone with `rm` by now.
        drop(container.sync());
    }
    let ran = follow(&container, started, &relay)?;
    if container.record.options.remove_image && matches!(ran, Ran::Exited(_)) {
        // So does the monitor, in its own time; whoever ran this may look at once.
        drop(super::remove::remove_image(session, &container));
    }
    Ok(ran)
}

/// The command's part after the start: the relay, or nothing.
fn follow(container: &Container, started: Started, relay: &Relay) -> Result<Ran> {
    let Some(stream) = started.client else {
        return Ok(Ran::Detached(container.id().clone()));
    };
    relay_to(container, stream, relay)
}

fn relay_to(
    container: &Container,
    stream: std::os::unix::net::UnixStream,
    relay: &Relay,
) -> Result<Ran> {
    let options = relay::Options {
        tty: container.record.options.tty,
        detach_keys: DetachKeys::parse(relay.detach_keys.as_deref().unwrap_or(keys::DEFAULT))?,
        proxy_signals: relay.sig_proxy,
        ..relay::Options::default()
    };
    let streams = relay.streams;
    let caller = Caller::inherit(streams.stdin, streams.stdout, streams.stderr)?;
    Ok(match relay::attached(stream, caller, &options)? {
        Outcome::Exited(code) => Ran::Exited(code),
        Outcome::Detached => Ran::Left,
        Outcome::BrokenPipe => Ran::BrokenPipe,
    })
}

fn request(container: &Container, streams: AttachStreams) -> AttachRequest {
    AttachRequest {
        stdin: streams.stdin && container.record.options.interactive,
        stdout: streams.stdout,
        stderr: streams.stderr,
        size: if container.record.options.tty {
            Size::of_caller()
        } else {
            None
        },
        owner: true,
    }
}

/// Starts a container that exists; one that runs already is fine. With a relay the command stays
/// with it until it ends.
///
/// # Errors
/// As the start itself; the record then says why.
pub fn start(
    session: &Session,
    container: &Container,
    relay: Option<&Relay>,
    warn: &mut dyn FnMut(&str),
) -> Result<Ran> {
    let _held = relay.map(|r| relay::hold(r.sig_proxy)).transpose()?;
    let attach_as = relay.map(|r| request(container, r.streams));
    match (begin(session, container, attach_as, warn)?, relay) {
        (_, None) => Ok(Ran::Detached(container.id().clone())),
        (Some(started), Some(relay)) => follow(container, started, relay),
        (None, Some(relay)) => attach(container, relay),
    }
}

/// Starts a container that exists, and answers what its monitor says, with the stream asked for;
/// `None` when it runs already.
///
/// # Errors
/// As [`start`].
pub fn begin(
    session: &Session,
    container: &Container,
    attach: Option<AttachRequest>,
    warn: &mut dyn FnMut(&str),
) -> Result<Option<Started>> {
    let mut container = container.clone();
    member::ready_for(session, &container, warn)?;
    enter_early(session, &container)?;
    let Some(lock) = reap::lock(session, &mut container)? else {
        return Err(Error::not_found(format!(
            "no such container: {:?}",
            container.name()
        )));
    };
    if container.state()?.is_active() {
        return Ok(None);
    }
    member::ready_still(session, &container, warn)?;
    let started = start_locked(session, &container, &lock, attach, warn)?;
    drop(lock);
    if container.record.driver.is_empty() {
        // The first start completed the record; not every file system keeps either the old or the
        // new one through a power cut.
        drop(container.sync());
    }
    Ok(Some(started))
}

fn start_locked(
    session: &Session,
    container: &Container,
    lock: &ContainerLock,
    attach: Option<AttachRequest>,
    warn: &mut dyn FnMut(&str),
) -> Result<Started> {
    let image = image_of(session, container)?;
    launch::start(
        session,
        container.clone(),
        lock,
        image,
        How {
            attach,
            network: None,
        },
        warn,
    )
}

/// Reaping and starting both need it; the first one decides which it is.
fn enter_early(session: &Session, container: &Container) -> Result<()> {
    match launch::enter_for(session, container) {
        Ok(_) => Ok(()),
        // The one it joins does not run: the start says so.
        Err(e) if e.kind() == Kind::InUse => enter(&session.dirs, Want::Default).map(drop),
        Err(e) => Err(e),
    }
}

/// Attaches to a container that runs.
pub(super) fn attach(container: &Container, relay: &Relay) -> Result<Ran> {
    let request = AttachRequest {
        owner: false,
        ..request(container, relay.streams)
    };
    let stream = Control::connect(&container.control_socket())?.attach(request)?;
    relay_to(container, stream, relay)
}

/// Stops a container if it runs, then starts it.
///
/// # Errors
/// As `stop` and `start`.
pub fn restart(
    session: &Session,
    container: &Container,
    stopping: &super::stop::StopOptions,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    if container.record.options.remove && container.state()? != State::Created {
        return Err(Error::invalid(format!(
            "cannot restart container {:?}: it was started with --rm and goes when it stops",
            container.name()
        )));
    }
    super::stop::stop(session, container, stopping)?;
    start(session, container, None, warn)?;
    super::events::write(session, container, "restart");
    Ok(())
}
