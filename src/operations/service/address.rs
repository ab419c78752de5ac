//! Addresses of services: given once, kept in the networks' records until the service is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{Error, Kind, Result};
use crate::network::bridge::client;
use crate::network::ipam;
use crate::operations::session::Session;
use crate::state::container::Containers;
use crate::state::network::{NetworkRecord, Networks};
use crate::state::service::ServiceRecord;

/// The service's address on each of its networks: what it has, else a new one. Addresses on networks
/// that it is no longer on are given back.
///
/// # Errors
/// `NotFound` for a network; `Unavailable` when all its addresses are taken.
pub(super) fn give(session: &Session, service: &ServiceRecord) -> Result<BTreeMap<String, IpAddr>> {
    let networks = Networks::new(&session.dirs);
    let _lock = networks.lock()?;
    let name = service.name.as_str();
    let mut given = BTreeMap::new();
    for network in &service.desired.networks {
        let mut record = networks.find(network)?;
        if service.desired.direct {
            continue;
        }
        let address = match record.services.get(name) {
            Some(address) => *address,
            None => {
                let address = choose(session, &record)?;
                record.services.insert(name.to_owned(), address);
                networks.write(&record)?;
                address
            }
        };
        given.insert(record.name.to_string(), address);
    }
    for network in service.addresses.keys() {
        if !given.contains_key(network) {
            release(&networks, network, name)?;
        }
    }
    Ok(given)
}

/// Gives all of them back.
///
/// # Errors
/// What the kernel says.
pub(super) fn take_back(session: &Session, service: &ServiceRecord) -> Result<()> {
    let networks = Networks::new(&session.dirs);
    let _lock = networks.lock()?;
    for network in service.addresses.keys() {
        release(&networks, network, service.name.as_str())?;
    }
    Ok(())
}

fn release(networks: &Networks, network: &str, name: &str) -> Result<()> {
    if let Some(mut record) = networks.get(network)?
        && record.services.remove(name).is_some()
    {
        networks.write(&record)?;
    }
    Ok(())
}

/// One that nobody has or was promised.
fn choose(session: &Session, network: &NetworkRecord) -> Result<IpAddr> {
    let mut taken: BTreeSet<IpAddr> = client::taken(&session.dirs.runtime).into_iter().collect();
    taken.extend(network.reserved.values());
    taken.extend(network.services.values());
    for container in Containers::new(&session.dirs).list()?.0 {
        for wish in container.record.options.network.mode.networks() {
            taken.extend(wish.ip.map(IpAddr::from));
            taken.extend(wish.ip6.map(IpAddr::from));
        }
    }
    // Of IPv4, where the network has it: whoever asks for the name gets one address.
    let subnet = network.subnets.first();
    subnet
        .and_then(|s| ipam::pick_last(s, &taken))
        .ok_or_else(|| {
            Error::new(
                Kind::Unavailable,
                format!(
                    "network {:?} has no address free for a service",
                    network.name.as_str()
                ),
            )
            .hint("make a network with a larger --subnet")
        })
}
