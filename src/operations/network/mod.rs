//! What `network …` does.

mod connect;
mod create;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use connect::{Connection, connect, disconnect, reload};
pub use create::{CreateSpec, create};

use super::session::Session;
use crate::base::filter::{Filters, label_matches, point_in_time};
use crate::base::time::Timestamp;
use crate::base::{Error, Kind, Result};
use crate::events::{Event, Type};
use crate::network::bridge::client;
use crate::state::container::{Container, Containers, Status};
pub use crate::state::network::{AttachedNetwork, NetworkRecord, Networks};
use crate::state::service::Services;

/// Keys of `network ls --filter`.
pub const FILTERS: &[&str] = &[
    "dangling", "driver", "id", "label", "name", "until", "scope", "type",
];

/// Keys of `network prune --filter`.
pub const PRUNE_FILTERS: &[&str] = &["label", "until"];

/// A container that has a network: what of it, while it runs.
#[derive(Clone, Debug)]
pub struct Member {
    /// The container.
    pub container: Container,
    /// Its place on the network, if it runs.
    pub attached: Option<AttachedNetwork>,
}

/// The containers of each network, by the network's name.
pub type Members = BTreeMap<String, Vec<Member>>;

/// The networks that a container has: those in use while it runs, else those it will have.
pub(in crate::operations) fn names_of(
    container: &Container,
    status: Option<&Status>,
) -> Vec<String> {
    match status.filter(|s| !s.networks.is_empty()) {
        Some(status) => status.networks.iter().map(|n| n.name.to_string()).collect(),
        None => {
            let wishes = container.record.options.network.mode.networks();
            wishes.iter().map(|w| w.name.clone()).collect()
        }
    }
}

/// One by name, id or unique prefix of an id.
///
/// # Errors
/// `NotFound`; `Invalid` for a prefix of several.
pub fn find(session: &Session, text: &str) -> Result<NetworkRecord> {
    Networks::new(&session.dirs).find(text)
}

/// Whether there is one.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn exists(session: &Session, text: &str) -> Result<bool> {
    match find(session, text) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Kind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Who has which network.
///
/// # Errors
/// What the kernel says.
pub fn members(session: &Session) -> Result<Members> {
    let mut members = Members::new();
    let (containers, _) = Containers::new(&session.dirs).list()?;
    for container in containers {
        let (state, status) = container.state_and_status()?;
        let status = status.filter(|_| state.is_active());
        for name in names_of(&container, status.as_ref()) {
            let attached = status
                .as_ref()
                .and_then(|s| s.networks.iter().find(|n| n.name.as_str() == name))
                .cloned();
            members.entry(name).or_default().push(Member {
                container: container.clone(),
                attached,
            });
        }
    }
    Ok(members)
}

/// The networks that pass the filters, by name.
///
/// # Errors
/// `Invalid` for a bad filter value.
pub fn list(session: &Session, filters: &Filters) -> Result<Vec<NetworkRecord>> {
    let members = match filters.0.iter().any(|f| f.key == "dangling") {
        true => members(session)?,
        false => Members::new(),
    };
    let mut records = Vec::new();
    for record in Networks::new(&session.dirs).list()? {
        if passes(&record, &members, filters)? {
            records.push(record);
        }
    }
    Ok(records)
}

fn passes(record: &NetworkRecord, members: &Members, filters: &Filters) -> Result<bool> {
    let now = Timestamp::now();
    filters.accept(|key, value| {
        Ok(match key {
            "dangling" => {
                let wanted = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => {
                        return Err(Error::invalid(format!(
                            "invalid filter value {value:?}: expected true or false"
                        )));
                    }
                };
                let used = members.contains_key(record.name.as_str()) || record.is_default();
                wanted != used
            }
            "driver" => value == "bridge",
            "scope" => value == "local",
            "type" => (value == "builtin") == record.is_default(),
            "id" => record.id.starts_with(value),
            "name" => record.name.as_str().contains(value),
            "label" => label_matches(&record.labels, value),
            _ => record.created < point_in_time(value, now)?,
        })
    })
}

/// Removes one; with `force` its containers go first, each with `time` to stop, else killed.
///
/// # Errors
/// `NotFound`; `InUse` while containers have it; `Invalid` for the default network.
pub fn remove(
    session: &Session,
    text: &str,
    force: bool,
    time: Option<std::time::Duration>,
) -> Result<NetworkRecord> {
    let networks = Networks::new(&session.dirs);
    let record = networks.find(text)?;
    if record.is_default() {
        return Err(Error::invalid(format!(
            "the default network {:?} cannot be removed",
            record.name.as_str()
        )));
    }
    let mut users = members(session)?
        .remove(record.name.as_str())
        .unwrap_or_default();
    if let (Some(first), false) = (users.first(), force) {
        let names: Vec<&str> = users.iter().map(|m| m.container.name()).collect();
        return Err(Error::new(
            Kind::InUse,
            format!(
                "network {:?} is used by the containers {}",
                record.name.as_str(),
                names.join(", ")
            ),
        )
        .hint(format!(
            "coracle network disconnect {} {}, or `network rm --force` to remove them all",
            record.name,
            first.container.name()
        ))
        .exit_code(2));
    }
    unused_by_services(session, &record)?;
    for member in users.drain(..) {
        super::image::release::remove_container(session, &member.container, time)?;
    }
    let _lock = networks.lock()?;
    // Somebody may have been faster, or taken the network meanwhile.
    let record = networks.find(record.name.as_str())?;
    if members(session)?.contains_key(record.name.as_str()) {
        return Err(Error::new(
            Kind::InUse,
            format!(
                "network {:?} was taken in this moment",
                record.name.as_str()
            ),
        )
        .exit_code(2));
    }
    networks.remove(&record.name)?;
    event(session, "remove", &record);
    Ok(record)
}

/// Refuses what would take a service's address away. A service that was never made does not count.
fn unused_by_services(session: &Session, record: &NetworkRecord) -> Result<()> {
    let services = Services::new(&session.dirs);
    for name in record.services.keys() {
        if let Ok(name) = name.parse()
            && services.get(&name)?.is_some()
        {
            return Err(Error::new(
                Kind::InUse,
                format!(
                    "network {:?} is used by the service {:?}",
                    record.name.as_str(),
                    name.as_str()
                ),
            )
            .hint(format!("coracle service rm {name}"))
            .exit_code(2));
        }
    }
    Ok(())
}

/// Removes the networks that no container has and that pass the filters.
///
/// # Errors
/// What listing says; a network that cannot be removed is passed over.
pub fn prune(session: &Session, filters: &Filters) -> Result<Vec<String>> {
    let networks = Networks::new(&session.dirs);
    let _lock = networks.lock()?;
    let members = members(session)?;
    let mut removed = Vec::new();
    for record in networks.list()? {
        let used = record.is_default()
            || members.contains_key(record.name.as_str())
            || unused_by_services(session, &record).is_err();
        if used || !passes(&record, &members, filters)? {
            continue;
        }
        networks.remove(&record.name)?;
        event(session, "remove", &record);
        removed.push(record.name.to_string());
    }
    Ok(removed)
}

/// Adds and drops servers that other names are asked of; running containers have them at once.
///
/// # Errors
/// `NotFound`; `Invalid` for one that is not there.
pub fn update(
    session: &Session,
    text: &str,
    add: &[IpAddr],
    drop: &[IpAddr],
) -> Result<NetworkRecord> {
    let networks = Networks::new(&session.dirs);
    let _lock = networks.lock()?;
    let mut record = networks.find(text)?;
    if !record.dns {
        return Err(Error::invalid(format!(
            "network {:?} answers no names: it was made with --disable-dns",
            record.name.as_str()
        )));
    }
    for address in drop {
        let before = record.dns_servers.len();
        record.dns_servers.retain(|s| s != address);
        if record.dns_servers.len() == before {
            return Err(Error::invalid(format!(
                "network {:?} has no server {address}",
                record.name.as_str()
            )));
        }
    }
    for address in add {
        if !record.dns_servers.contains(address) {
            record.dns_servers.push(*address);
        }
    }
    networks.write(&record)?;
    client::update(&session.dirs.runtime, &record)?;
    event(session, "update", &record);
    Ok(record)
}

fn event(session: &Session, action: &str, record: &NetworkRecord) {
    if let Some(journal) = super::container::events::journal(session) {
        let mut event = Event::new(Type::Network, action, &record.id, record.name.as_str());
        event.attributes = record.labels.clone();
        journal.write(&event);
    }
}
