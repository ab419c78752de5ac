//! Services: one name, one address and the same ports of the host in front of several containers.
//!
//! What is known of them comes with their replicas, so that a role that was started anew has it from
//! the monitors; commands tell of changes. What they lead to is concluded from who is connected and
//! said to be ready, as a whole, at every change.

use std::net::IpAddr;

use super::Server;
use super::plug::target;
use crate::base::Result;
use crate::network::bridge::dns::names::{Place, Resident};
use crate::network::bridge::links;
use crate::network::bridge::ports::SERVICES;
use crate::network::bridge::protocol::Attach;
use crate::network::bridge::rules::Balance;
use crate::state::network::AttachedNetwork;
use crate::state::service::Front;
use crate::sys::nl;

/// A service that is known.
#[derive(Debug)]
pub(super) struct Service {
    front: Front,
    /// What its name and its ports are known by.
    number: u64,
    /// Networks whose bridge has its address, by their ids.
    placed: Vec<(String, IpAddr)>,
}

/// The names that a replica has on a network besides its own: all replicas by `tasks.NAME`, as
/// docker has it; where the service has no address, its name leads to those that are ready.
pub(super) fn names_of_replica(attach: &Attach, network: &str) -> Vec<String> {
    let mut names = Vec::new();
    for front in &attach.services {
        names.push(format!("tasks.{}", front.name));
        if attach.ready && !front.addresses.contains_key(network) {
            names.push(front.name.clone());
            names.extend(front.names.iter().cloned());
        }
    }
    names
}

impl Server<'_> {
    /// Takes note of a service, or of how it is now.
    pub(super) fn know_service(&mut self, front: Front) -> Result<()> {
        let known = self.services.get(&front.id);
        if known.is_some_and(|s| s.front.changes >= front.changes) {
            return Ok(());
        }
        let (number, before, placed) = match self.services.remove(&front.id) {
            Some(service) => (service.number, service.front.publish, service.placed),
            None => {
                self.next += 1;
                (SERVICES + self.next, Vec::new(), Vec::new())
            }
        };
        let mut opened = Ok(());
        if before != front.publish {
            drop(self.ports.close(number));
            opened = front
                .publish
                .iter()
                .try_for_each(|mapping| self.publish(number, mapping).map(drop));
        }
        let mut service = Service {
            front,
            number,
            placed,
        };
        if opened.is_err() {
            // Tried again by whoever comes next.
            drop(self.ports.close(number));
            service.front.publish.clear();
            service.front.changes = service.front.changes.saturating_sub(1);
        }
        self.services.insert(service.front.id.clone(), service);
        let nets: Vec<String> = self.nets.keys().cloned().collect();
        nets.iter().for_each(|net| self.place_services(net));
        opened
    }

    /// A service is gone, or another one of its name takes its place.
    pub(super) fn forget_service(&mut self, id: &str) {
        let Some(service) = self.services.remove(id) else {
            return;
        };
        drop(self.ports.close(service.number));
        self.dns.directory().remove(service.number);
        for (net, address) in service.placed {
            if let Some(net) = self.nets.get(&net) {
                let mut batch = nl::Batch::new();
                links::no_service_address(&mut batch, net.index, address);
                drop(self.route.ask(batch));
            }
        }
    }

    /// Gives a network's bridge the addresses of its services: somebody must answer for them.
    pub(super) fn place_services(&mut self, net: &str) {
        let Some(there) = self.nets.get(net) else {
            return;
        };
        for service in self.services.values_mut() {
            let own = service.front.addresses.get(there.record.name.as_str());
            let Some(own) = own.copied() else { continue };
            if service.placed.iter().any(|(id, _)| id == net) {
                continue;
            }
            let mut batch = nl::Batch::new();
            links::service_address(&mut batch, there.index, own);
            match self.route.ask(batch) {
                Ok(()) => service.placed.push((net.to_owned(), own)),
                Err(e) => log::warn!("service {}: {e}", service.front.name),
            }
        }
    }

    /// A network's bridge went.
    pub(super) fn displace_services(&mut self, net: &str) {
        for service in self.services.values_mut() {
            service.placed.retain(|(id, _)| id != net);
        }
    }

    /// What the rules are to say.
    pub(super) fn balances(&self) -> Vec<Balance> {
        let mut all = Vec::new();
        for service in self.services.values() {
            for (id, address) in &service.placed {
                let ready = self.replicas(&service.front.id);
                let places =
                    ready.flat_map(|(_, networks)| networks.iter().filter(|n| n.id == *id));
                let addresses = places.flat_map(|n| n.addresses.iter().map(|a| a.address));
                let mut replicas: Vec<IpAddr> = addresses
                    .filter(|a| a.is_ipv4() == address.is_ipv4())
                    .collect();
                replicas.sort_unstable();
                all.push(Balance {
                    address: *address,
                    replicas,
                    ports: service.front.ports.clone(),
                });
            }
        }
        all
    }

    /// The replicas of a service that take connections: their numbers and networks.
    fn replicas(&self, service: &str) -> impl Iterator<Item = (u64, &[AttachedNetwork])> {
        let members = self.clients.iter();
        let members = members.filter_map(|(token, c)| Some((*token, c.member.as_ref()?)));
        members
            .filter(move |(_, m)| {
                m.attach.ready && m.attach.services.iter().any(|f| f.id == service)
            })
            .map(|(token, m)| (token, &*m.attached.networks))
    }

    /// Brings rules, ports and names to what is so now.
    pub(super) fn see_to_services(&mut self) -> Result<()> {
        for service in self.services.values() {
            let mut targets: Vec<_> = self
                .replicas(&service.front.id)
                .map(|(token, networks)| (token, target(networks)))
                .collect();
            targets.sort_unstable_by_key(|(token, _)| *token);
            self.ports.targets(service.number, targets)?;
            let places = service.placed.iter().map(|(net, address)| Place {
                network: net.clone(),
                addresses: vec![*address],
                names: std::iter::once(&service.front.name)
                    .chain(&service.front.names)
                    .cloned()
                    .collect(),
            });
            let resident = Resident {
                places: places.collect(),
                servers: Vec::new(),
            };
            self.dns.directory().set(service.number, resident);
        }
        match self.balances() == self.balanced {
            true => Ok(()),
            false => self.apply_rules(),
        }
    }
}
