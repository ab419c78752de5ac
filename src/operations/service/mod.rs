//! Services: the same container several times, behind one name and one address.
//!
//! There is no daemon: a command makes the replicas and replaces them, and their monitors keep them
//! running. What a command that was interrupted has left, the next one finishes ([`drive`]).

mod address;
mod drain;
mod drive;
mod plan;
mod replica;

use std::collections::BTreeMap;
use std::time::Duration;

pub use drive::{Driver, Outcome, Told};
pub use replica::{Replica, all_replicas, replicas};

use super::container::names::{random_id, random_name};
use super::image::{Ensure, ensure};
use super::session::Session;
use crate::base::filter::{Filters, label_matches};
use crate::base::time::Timestamp;
use crate::base::{Error, Kind, Result};
use crate::network::bridge::client;
use crate::spec::id::ObjectName;
use crate::state::container::Container;
use crate::state::service::{
    Desired, Front, Progress, ProgressState, ServiceLock, ServiceRecord, Services,
};

/// Keys of `service ls --filter`.
pub const FILTERS: &[&str] = &["id", "label", "mode", "name"];

/// One by name, id or unique prefix of an id.
///
/// # Errors
/// `NotFound`; `Invalid` for a prefix of several.
pub fn find(session: &Session, text: &str) -> Result<ServiceRecord> {
    Services::new(&session.dirs).find(text)
}

/// The services that pass the filters, by name, and what is wrong with records.
///
/// # Errors
/// What the kernel says.
pub fn list(session: &Session, filters: &Filters) -> Result<(Vec<ServiceRecord>, Vec<Error>)> {
    let (all, bad) = Services::new(&session.dirs).list()?;
    let mut found = Vec::new();
    for record in all {
        let passes = filters.accept(|key, value| {
            Ok(match key {
                "id" => record.id.as_str().starts_with(value),
                "name" => record.name.as_str().starts_with(value),
                "label" => label_matches(&record.desired.labels, value),
                _ => value == mode(&record.desired),
            })
        })?;
        if passes {
            found.push(record);
        }
    }
    Ok((found, bad))
}

/// docker's word for how many there are.
pub fn mode(desired: &Desired) -> &'static str {
    match desired.global {
        true => "global",
        false => "replicated",
    }
}

/// Has the image that replicas are made of, and notes which one it is.
///
/// # Errors
/// As `pull`.
pub fn have_image(
    session: &Session,
    desired: &mut Desired,
    run: &super::container::request::RunOptions,
) -> Result<()> {
    let Some(options) = &desired.options else {
        return Ok(());
    };
    let found = ensure(
        session,
        &Ensure {
            keep_tag: false,
            name: &options.image,
            policy: run.pull,
            platform: options.platform.as_ref(),
            registry: &run.registry,
        },
    )?;
    desired.image = found.record.id.to_string();
    Ok(())
}

/// Makes a service, without replicas as yet. Its address is its own from now on.
///
/// # Errors
/// `Exists` when the name is taken; `NotFound` for a network; `InUse` for a port of the host.
pub fn create(
    session: &Session,
    name: Option<&str>,
    desired: Desired,
) -> Result<(ServiceRecord, ServiceLock)> {
    make(session, name, desired, true)
}

/// As [`create`]; unless `at_once` its ports may be somebody else's until the first replica starts.
fn make(
    session: &Session,
    name: Option<&str>,
    mut desired: Desired,
    at_once: bool,
) -> Result<(ServiceRecord, ServiceLock)> {
    let name: ObjectName = match name {
        Some(name) => name.parse()?,
        None => random_name(0)?,
    };
    let services = Services::new(&session.dirs);
    if services.get(&name)?.is_some() {
        return Err(Error::new(
            Kind::Exists,
            format!("service {:?} exists already", name.as_str()),
        )
        .hint(format!("coracle service rm {name}")));
    }
    let now = Timestamp::now();
    desired.revision = 1;
    let mut record = ServiceRecord {
        version: 1,
        id: random_id()?,
        name,
        created: now,
        updated: now,
        desired,
        previous: None,
        addresses: BTreeMap::new(),
        changes: 1,
        progress: None,
    };
    record.addresses = address::give(session, &record)?;
    let made = services.create(&record).and_then(|lock| {
        match client::service(&session.dirs.runtime, record.front()) {
            Err(e) if at_once || e.kind() != Kind::InUse => Err(e),
            _ => Ok(lock),
        }
    });
    match made {
        Ok(lock) => Ok((record, lock)),
        Err(e) => {
            if e.kind() != Kind::Exists {
                drop(forget(session, &record, None));
            }
            Err(e)
        }
    }
}

/// Takes a service's record, addresses and ports away; its replicas are gone.
fn forget(session: &Session, record: &ServiceRecord, lock: Option<&ServiceLock>) -> Result<()> {
    client::forget_service(&session.dirs.runtime, record.id.as_str())?;
    address::take_back(session, record)?;
    let services = Services::new(&session.dirs);
    match lock {
        Some(lock) => services.remove(record, lock),
        None => match services.lock(record) {
            Ok((record, lock)) => services.remove(&record, &lock),
            Err(e) if e.kind() == Kind::NotFound => Ok(()),
            Err(e) => Err(e),
        },
    }
}

/// Removes a service with its replicas.
///
/// # Errors
/// As `stop` and `rm`; `TimedOut` when another command changes it.
pub fn remove(session: &Session, record: &ServiceRecord) -> Result<()> {
    let (record, lock) = Services::new(&session.dirs).lock(record)?;
    remove_locked(session, &record, &lock)
}

/// The same, for whoever has the lock.
///
/// # Errors
/// As [`remove`].
pub fn remove_locked(session: &Session, record: &ServiceRecord, lock: &ServiceLock) -> Result<()> {
    // Nobody new comes while the replicas go.
    client::forget_service(&session.dirs.runtime, record.id.as_str())?;
    drive::clear(session, record)?;
    forget(session, record, Some(lock))
}

/// Has services send a container no new connections, and waits until those that it has are over, for
/// as long as it has to stop.
///
/// # Errors
/// What its monitor says.
pub fn drain(container: &Container, patience: Option<Duration>) -> Result<()> {
    drain::drain(
        container,
        patience.unwrap_or_else(|| drain::grace(container)),
    )
}

/// Makes or changes a service whose replicas others make: `kube`, `compose`. Its ports may be
/// somebody else's until the first of them starts. Answers whether there was none.
///
/// # Errors
/// As [`create`].
pub fn offer(session: &Session, name: &str, desired: Desired) -> Result<bool> {
    let services = Services::new(&session.dirs);
    let name: ObjectName = name.parse()?;
    let Some(there) = services.get(&name)? else {
        make(session, Some(name.as_str()), desired, false)?;
        return Ok(true);
    };
    if there.desired.options.is_some() {
        return Err(Error::new(
            Kind::Exists,
            format!("service {:?} has replicas of its own", name.as_str()),
        )
        .hint(format!("coracle service rm {name}")));
    }
    let (mut record, lock) = services.lock(&there)?;
    let changed = Desired {
        revision: record.desired.revision,
        ..desired
    };
    if changed != record.desired {
        record.desired = changed;
        match write(session, &mut record, &lock) {
            Err(e) if e.kind() != Kind::InUse => return Err(e),
            _ => {}
        }
    }
    Ok(false)
}

/// Writes a record that was changed; addresses follow its networks, and the role hears of it.
///
/// # Errors
/// `NotFound` for a network; `InUse` for a port of the host.
pub fn write(session: &Session, record: &mut ServiceRecord, lock: &ServiceLock) -> Result<()> {
    let before = record.front();
    record.addresses = address::give(session, record)?;
    record.updated = Timestamp::now();
    let now = Front {
        changes: record.changes,
        ..record.front()
    };
    if now != before {
        record.changes += 1;
    }
    Services::new(&session.dirs).write(record, lock)?;
    client::service(&session.dirs.runtime, record.front())
}

/// Makes `desired` what a service should be; nothing is replaced as yet. Replicas are outdated only
/// when what they are made from has changed, or with `force`. Answers whether they are.
///
/// # Errors
/// As [`write`].
pub fn change(
    session: &Session,
    record: &mut ServiceRecord,
    lock: &ServiceLock,
    mut desired: Desired,
    force: bool,
) -> Result<bool> {
    let old = &record.desired;
    let known = record.previous.as_ref().map_or(0, |p| p.revision);
    let outdated = force || old.options != desired.options || old.image != desired.image;
    desired.revision = match outdated {
        true => old.revision.max(known) + 1,
        false => old.revision,
    };
    let interrupted = !outdated
        && record
            .progress
            .as_ref()
            .is_some_and(|p| p.completed.is_none());
    let old = std::mem::replace(&mut record.desired, desired);
    if !interrupted {
        // What was begun is finished in another manner: it still leads back to where it began.
        record.previous = Some(Box::new(old));
    }
    begin(record, ProgressState::Updating, "update in progress");
    write(session, record, lock)?;
    Ok(outdated)
}

/// Makes what a service was before its last change what it should be again.
///
/// # Errors
/// `Invalid` when it was never changed; as [`write`].
pub fn turn_back(
    session: &Session,
    record: &mut ServiceRecord,
    lock: &ServiceLock,
    keep: bool,
) -> Result<()> {
    let Some(previous) = record.previous.take() else {
        return Err(Error::invalid(format!(
            "service {:?} was never changed: there is nothing to roll back to",
            record.name.as_str()
        )));
    };
    let undone = std::mem::replace(&mut record.desired, *previous);
    record.previous = keep.then(|| Box::new(undone));
    begin(
        record,
        ProgressState::RollbackStarted,
        "rollback in progress",
    );
    write(session, record, lock)
}

fn begin(record: &mut ServiceRecord, state: ProgressState, message: &str) {
    record.progress = Some(Progress {
        state,
        started: Timestamp::now(),
        completed: None,
        message: message.to_owned(),
    });
}

/// Asks for another number of replicas.
///
/// # Errors
/// `Invalid` for one that has one on each machine, or none of its own.
pub fn scale(
    session: &Session,
    record: &mut ServiceRecord,
    lock: &ServiceLock,
    count: u32,
) -> Result<()> {
    if record.desired.global || record.desired.options.is_none() {
        return Err(Error::invalid(format!(
            "service {:?} cannot be scaled: only services in the mode \"replicated\" can",
            record.name.as_str()
        )));
    }
    if record.desired.replicas != count {
        record.previous = Some(Box::new(record.desired.clone()));
        record.desired.replicas = count;
        write(session, record, lock)?;
    }
    Ok(())
}
