//! A container on a network: its cable, its addresses, where its ports lead.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::{METRIC, Server};
use crate::base::{Context as _, Error, Kind, Result, random};
use crate::network::bridge::links::Pace;
use crate::network::bridge::ports::{Reach, Target};
use crate::network::bridge::protocol::Endpoint;
use crate::network::bridge::{MTU, links};
use crate::network::ipam;
use crate::spec::digest::Digest;
use crate::state::network::{Address, AttachedNetwork, Route};
use crate::sys::nl;

impl Server<'_> {
    /// Connects a container with a bridge, or finds it connected.
    pub(super) fn plug(
        &mut self,
        endpoint: &Endpoint,
        place: usize,
        namespace: &OwnedFd,
        inner: &nl::Socket,
        taken: &BTreeSet<IpAddr>,
    ) -> Result<AttachedNetwork> {
        if let Some(present) = &endpoint.present
            && self.route.index(&present.host_interface).is_ok()
        {
            return Ok(present.clone());
        }
        let record = &endpoint.network;
        let what = || format!("cannot connect to network {:?}", record.name.as_str());
        let addresses = self.addresses(endpoint, taken).what(what)?;
        let net = self
            .nets
            .get(&record.id)
            .ok_or_else(|| Error::internal("the network is not set up"))?;
        let mtu = record.mtu().unwrap_or(MTU);
        let mac = endpoint.wish.mac;
        let mac = mac.unwrap_or_else(|| mac_of(&record.id, &addresses));
        let host_interface = match &endpoint.wish.host_interface {
            Some(name) => {
                self.wait_for_janitor()?;
                if self.route.index(name).is_ok() {
                    return Err(Error::new(
                        Kind::InUse,
                        format!("host_interface_name {name:?} is taken by another device"),
                    ));
                }
                name.clone()
            }
            // Random: the cable of an earlier run of the same container may still be on its way out.
            None => format!("v{}", crate::spec::digest::hex(&random::bytes::<6>()?)),
        };
        let mut batch = nl::Batch::new();
        let peer = links::Peer {
            name: &endpoint.interface,
            mac,
            namespace: namespace.as_raw_fd().unsigned_abs(),
        };
        links::cable(&mut batch, &host_interface, net.index, mtu, peer);
        self.route
            .ask(batch)
            .map_err(|e| {
                let is_taken = e.errno == libc::EEXIST;
                let error = Error::from(e);
                match is_taken {
                    true => Error::new(
                        Kind::Exists,
                        format!(
                            "the container has a device {:?} already",
                            endpoint.interface
                        ),
                    )
                    .because(error),
                    false => error,
                }
            })
            .what(what)?;
        let metric = record.options.get("metric").and_then(|m| m.parse().ok());
        let metric = metric.unwrap_or(METRIC + u32::try_from(place).unwrap_or(0));
        let configured = configure(
            inner,
            &endpoint.interface,
            &addresses,
            &record.routes,
            metric,
        );
        if let Err(e) = configured {
            drop(self.remove_now(&host_interface));
            return Err(e).what(what);
        }
        Ok(AttachedNetwork {
            name: record.name.clone(),
            id: record.id.clone(),
            interface: endpoint.interface.clone(),
            host_interface,
            mac: mac.map(|b| format!("{b:02x}")).join(":"),
            addresses,
            aliases: endpoint.wish.aliases.clone(),
            dns: record.dns,
        })
    }

    /// Chooses an address in each subnet.
    pub(super) fn addresses(
        &mut self,
        endpoint: &Endpoint,
        taken: &BTreeSet<IpAddr>,
    ) -> Result<Vec<Address>> {
        let mut used = taken.clone();
        used.extend(endpoint.network.reserved.values());
        used.extend(endpoint.network.services.values());
        for member in self.clients.values().filter_map(|c| c.member.as_ref()) {
            let networks = member.attached.networks.iter();
            used.extend(networks.flat_map(|n| &n.addresses).map(|a| a.address));
        }
        let record = &endpoint.network;
        let net = self
            .nets
            .get_mut(&record.id)
            .ok_or_else(|| Error::internal("the network is not set up"))?;
        let wishes: Vec<IpAddr> = match &endpoint.present {
            // Lost its cable: the same addresses again.
            Some(present) => {
                let own: Vec<IpAddr> = present.addresses.iter().map(|a| a.address).collect();
                used.retain(|a| !own.contains(a));
                own
            }
            None => {
                let v4 = endpoint.wish.ip.map(IpAddr::from);
                v4.into_iter()
                    .chain(endpoint.wish.ip6.map(IpAddr::from))
                    .collect()
            }
        };
        for wish in &wishes {
            let fits = record.subnets.iter().any(|s| ipam::is_usable(s, *wish));
            if !fits {
                let nets: Vec<String> = record
                    .subnets
                    .iter()
                    .map(|s| s.subnet.to_string())
                    .collect();
                return Err(Error::invalid(format!(
                    "{wish} is not a container's address in {}",
                    nets.join(" or ")
                )));
            }
            if used.contains(wish) {
                return Err(Error::new(Kind::InUse, format!("address {wish} is taken"))
                    .hint("`coracle network inspect` shows by whom"));
            }
        }
        let leads_out = !record.internal
            && record
                .options
                .get("no_default_route")
                .is_none_or(|v| v != "true");
        let mut chosen = Vec::new();
        for (place, subnet) in record.subnets.iter().enumerate() {
            let wish = wishes.iter().find(|w| subnet.subnet.contains(**w)).copied();
            let address = wish
                .or_else(|| ipam::pick(subnet, &used, net.last.get(&place).copied()))
                .ok_or_else(|| {
                    Error::new(
                        Kind::Unavailable,
                        format!("no address is free in subnet {}", subnet.subnet),
                    )
                    .hint("stop containers of the network, or make one with a larger --subnet")
                })?;
            if wish.is_none() {
                net.last.insert(place, address);
            }
            chosen.push(Address {
                address,
                subnet: subnet.subnet,
                bridge: subnet.gateway,
                gateway: leads_out.then_some(subnet.gateway),
            });
        }
        Ok(chosen)
    }
}

/// The hardware address that goes with an address of a network, always the same: neighbours remember
/// it for half a minute, also when a container is started again or another one has the address.
fn mac_of(network: &str, addresses: &[Address]) -> [u8; 6] {
    let first = addresses.first().map(|a| a.address.to_string());
    let text = format!("{network} {}", first.unwrap_or_default());
    let digest = Digest::sha256_of(text.as_bytes());
    let mut mac = [2; 6];
    for (byte, digits) in mac
        .iter_mut()
        .skip(1)
        .zip(digest.hex().as_bytes().chunks(2))
    {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    mac
}

/// What a container's side of a cable gets.
fn configure(
    inner: &nl::Socket,
    interface: &str,
    addresses: &[Address],
    routes: &[Route],
    metric: u32,
) -> crate::sys::Result<()> {
    let index = inner.index(interface)?;
    let ask = |pace| {
        inner.ask(configuration(
            index, interface, addresses, routes, metric, pace,
        ))
    };
    match ask(Pace::Near) {
        // The kernel's word for a way to control congestion that it has not.
        Err(e) if e.errno == libc::EINVAL => ask(Pace::Usual),
        other => other,
    }
}

fn configuration(
    index: u32,
    interface: &str,
    addresses: &[Address],
    routes: &[Route],
    metric: u32,
    pace: Pace,
) -> nl::Batch {
    let mut batch = nl::Batch::new();
    links::up(&mut batch, index, interface);
    for address in addresses {
        links::address(&mut batch, index, address.address, address.subnet.bits());
        if pace == Pace::Near {
            links::neighbours(&mut batch, index, address.address, address.subnet);
        }
    }
    for gateway in addresses.iter().filter_map(|a| a.gateway) {
        links::default_route(&mut batch, index, gateway, metric, pace);
    }
    for route in routes {
        let metric = route.metric.unwrap_or(metric);
        links::subnet_route(&mut batch, index, route.destination, route.gateway, metric);
    }
    batch
}

/// Where published ports go: the first network that leads out, else the first.
pub(super) fn target(networks: &[AttachedNetwork]) -> Target {
    let find = |v6: bool| {
        let all = || {
            networks
                .iter()
                .flat_map(|n| &n.addresses)
                .filter(|a| a.address.is_ipv6() == v6)
        };
        let found = all().find(|a| a.gateway.is_some()).or_else(|| all().next());
        found.map(|a| Reach {
            address: a.address,
            subnet: a.subnet,
            routed: a.gateway.is_some(),
        })
    };
    Target {
        v4: find(false),
        v6: find(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_belongs_to_an_address_of_a_network() {
        let at = |text: &str| Address {
            address: text.parse().unwrap(),
            subnet: "10.1.0.0/24".parse().unwrap(),
            bridge: [10, 1, 0, 1].into(),
            gateway: None,
        };
        let mac = mac_of("net", &[at("10.1.0.2")]);
        assert_eq!(mac, mac_of("net", &[at("10.1.0.2"), at("10.1.0.9")]));
        assert_ne!(mac, mac_of("net", &[at("10.1.0.3")]));
        assert_ne!(mac, mac_of("other", &[at("10.1.0.2")]));
        // Of this machine's own making, and one's own.
        assert_eq!(mac[0], 2);
    }
}
