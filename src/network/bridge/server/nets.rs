//! Networks of the role: bridges, rules, sockets for names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::{Net, Server};
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::network::bridge::dns::{self, names::Scope};
use crate::network::bridge::rules::{self, Bridge, Refusal};
use crate::network::bridge::{MTU, UPLINK, links};
use crate::state::network::NetworkRecord;
use crate::sys::nl;

impl Server<'_> {
    /// Sets a network up, unless it is.
    pub(super) fn ensure(&mut self, record: &NetworkRecord) -> Result<()> {
        if let Some(net) = self.nets.get_mut(&record.id) {
            net.record.dns_servers.clone_from(&record.dns_servers);
            return Ok(());
        }
        self.make_way(record)?;
        let what = || format!("cannot set up network {:?}", record.name.as_str());
        let route = &self.route;
        let mut batch = nl::Batch::new();
        links::bridge(
            &mut batch,
            &record.interface,
            mac(&record.id)?,
            record.mtu().unwrap_or(MTU),
        );
        route.ask(batch).what(what)?;
        let index = route.index(&record.interface).what(what)?;
        let mut addresses = nl::Batch::new();
        let mut paces = nl::Batch::new();
        for subnet in &record.subnets {
            links::address(&mut addresses, index, subnet.gateway, subnet.subnet.bits());
            links::neighbours(&mut paces, index, subnet.gateway, subnet.subnet);
        }
        let addressed = route.ask(addresses);
        // What published ports send to containers. A kernel without it is only slower.
        if let Err(e) = route.ask(paces) {
            log::info!("{e}");
        }
        let net = Net {
            record: record.clone(),
            index,
            last: BTreeMap::new(),
        };
        self.nets.insert(record.id.clone(), net);
        self.place_services(&record.id);
        let ready = addressed
            .what(what)
            .and_then(|()| self.apply_rules())
            .and_then(|()| self.serve_names(record));
        if ready.is_err() {
            self.forget(&record.id);
        }
        ready.what(what)
    }

    /// Removes networks that nobody is on and that stand in the way of a new one.
    pub(super) fn make_way(&mut self, record: &NetworkRecord) -> Result<()> {
        let stands = |net: &Net| {
            let overlaps = |s: &crate::state::network::Subnet| {
                record.subnets.iter().any(|o| o.subnet.overlaps(&s.subnet))
            };
            net.record.interface == record.interface || net.record.subnets.iter().any(overlaps)
        };
        let ids: Vec<String> = self
            .nets
            .values()
            .filter(|net| stands(net))
            .map(|net| net.record.id.clone())
            .collect();
        for id in ids {
            let members = self.clients.values().filter_map(|c| c.member.as_ref());
            let used = members
                .flat_map(|m| &m.attached.networks)
                .any(|n| n.id == id);
            if used {
                return Err(Error::new(
                    Kind::InUse,
                    format!(
                        "network {:?} shares a subnet with another one that is in use",
                        record.name.as_str()
                    ),
                )
                .hint("stop the containers of the other network first"));
            }
            self.forget(&id);
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, id: &str) {
        if let Some(net) = self.nets.remove(id) {
            drop(self.dns.close(id));
            self.dns.directory().drop_scope(id);
            self.displace_services(id);
            drop(self.remove_now(&net.record.interface));
            drop(self.apply_rules());
        }
    }

    pub(super) fn apply_rules(&mut self) -> Result<()> {
        let bridges: Vec<Bridge> = self
            .nets
            .values()
            .map(|net| Bridge {
                index: net.index,
                isolated: net.record.is_isolated(),
                internal: net.record.internal,
            })
            .collect();
        let services = self.balances();
        let asked = self
            .filter
            .ask(rules::ruleset(&bridges, &services, UPLINK, self.refusal));
        let asked = match asked {
            Err(e) if self.refusal == Refusal::Reject => {
                log::info!("{e}");
                self.refusal = Refusal::Drop;
                self.filter
                    .ask(rules::ruleset(&bridges, &services, UPLINK, self.refusal))
            }
            other => other,
        };
        asked.what(|| "cannot set the rules of networks").hint(|| {
            match services.iter().any(|s| !s.replicas.is_empty()) {
                true => "services need nf_tables with `sudo modprobe -a nft_numgen nft_nat nft_ct`",
                false => "networks need nf_tables with NAT in the kernel: `sudo modprobe nft_masq`",
            }
        })?;
        self.balanced = services;
        Ok(())
    }

    /// Answers names at a network's gateways.
    pub(super) fn serve_names(&self, record: &NetworkRecord) -> Result<()> {
        self.dns.directory().set_scope(&record.id, scope(record));
        if !record.dns {
            return Ok(());
        }
        let mut sockets = Vec::new();
        for subnet in &record.subnets {
            let (gateway, device) = (subnet.gateway, record.interface.clone());
            let opened = self.inside.run(move || listen(gateway, &device))?;
            sockets.push(opened.what(|| format!("cannot answer names at {gateway}"))?);
        }
        self.dns.open(&record.id, sockets)
    }
}

pub(super) fn scope(record: &NetworkRecord) -> Scope {
    Scope {
        subnets: record.subnets.iter().map(|s| s.subnet).collect(),
        servers: record.dns_servers.clone(),
        internal: record.internal,
    }
}

/// A network's own hardware address, the same at every start.
fn mac(id: &str) -> Result<[u8; 6]> {
    let mut mac = [2, 0, 0, 0, 0, 0];
    for (place, byte) in mac.iter_mut().skip(1).enumerate() {
        *byte = id
            .get(place * 2..place * 2 + 2)
            .and_then(|two| u8::from_str_radix(two, 16).ok())
            .ok_or_else(|| Error::new(Kind::Corrupt, "the network's id is no number"))?;
    }
    Ok(mac)
}

/// The sockets of a gateway. In the namespace of bridges.
fn listen(gateway: IpAddr, device: &str) -> std::io::Result<dns::Listening> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    const PORT: u16 = 53;
    let family = if gateway.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = |kind: SocketType| -> std::io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        match gateway {
            IpAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
            IpAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
        }
        // Who is on another bridge has no business here.
        crate::sys::interface::bind_to_device(&socket, device)
            .map_err(|e| std::io::Error::from_raw_os_error(e.errno))?;
        rustix::net::bind(&socket, &std::net::SocketAddr::new(gateway, PORT))?;
        Ok(socket)
    };
    let udp = open(SocketType::DGRAM)?;
    // Many ask at once when many start at once.
    let _refused = sockopt::set_socket_recv_buffer_size(&udp, 1 << 20);
    let tcp = open(SocketType::STREAM)?;
    rustix::net::listen(&tcp, 128)?;
    Ok(dns::Listening {
        udp: udp.into(),
        tcp: tcp.into(),
    })
}
