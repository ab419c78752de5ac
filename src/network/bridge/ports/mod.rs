//! Published ports: a thread between the host's sockets and containers.
//!
//! The host's side is listened to here, by sockets that the role opened in the host's network; the
//! thread itself lives in the namespace of bridges and opens the container's side there. A client's
//! address is kept: the socket on that side bears it (`IP_TRANSPARENT`), and what comes back for it
//! is led to the socket by a mark. Where that cannot be (a client on the host's loopback, another
//! family, a network without a way out) the container sees its gateway.
//!
//! Bounds: connections and flows, those of one port; what is buffered; idle flows of UDP.

mod proxy;
mod udp;

use std::net::{IpAddr, TcpListener, UdpSocket};

pub(super) use proxy::{Handle, SERVICES};

use crate::spec::cidr::Cidr;

/// A socket of the host.
#[derive(Debug)]
pub(super) enum Front {
    /// Connections.
    Tcp(TcpListener),
    /// Packets.
    Udp(UdpSocket),
}

/// Where a container is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// By IPv4.
    pub v4: Option<Reach>,
    /// By IPv6.
    pub v6: Option<Reach>,
}

/// One address of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// The address.
    pub address: IpAddr,
    /// Its subnet.
    pub subnet: Cidr,
    /// Whether what the container sends to strangers comes back through its gateway.
    pub routed: bool,
}

impl Target {
    /// The address for a client, and the address that the container sees it by: `None` is the
    /// gateway's.
    pub(super) fn reach(&self, client: IpAddr) -> Option<(IpAddr, Option<IpAddr>)> {
        let client = client.to_canonical();
        let (own, other) = match client {
            IpAddr::V4(_) => (self.v4, self.v6),
            IpAddr::V6(_) => (self.v6, self.v4),
        };
        let Some(reach) = own else {
            return other.map(|r| (r.address, None));
        };
        let is_local = match client {
            IpAddr::V4(a) => a.is_loopback() || a.is_link_local() || a.is_unspecified(),
            IpAddr::V6(a) => a.is_loopback() || a.is_unicast_link_local() || a.is_unspecified(),
        };
        // A client that seems to be on the container's own wire would be answered there.
        let keeps = reach.routed && !is_local && !reach.subnet.contains(client);
        Some((reach.address, keeps.then_some(client)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_keep_their_address_where_an_answer_finds_back() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        let reach = |address: &str, subnet: &str, routed| Reach {
            address: ip(address),
            subnet: subnet.parse().unwrap(),
            routed,
        };
        let v4 = reach("10.89.0.2", "10.89.0.0/24", true);
        let v6 = reach("fd00::2", "fd00::/64", true);
        let both = Target {
            v4: Some(v4),
            v6: Some(v6),
        };
        let only = Target {
            v4: Some(v4),
            v6: None,
        };
        let inner = Target {
            v4: Some(Reach {
                routed: false,
                ..v4
            }),
            v6: None,
        };
        for (target, client, address, source) in [
            (&both, "192.0.2.7", "10.89.0.2", Some("192.0.2.7")),
            (&both, "::ffff:192.0.2.7", "10.89.0.2", Some("192.0.2.7")),
            (&both, "2001:db8::7", "fd00::2", Some("2001:db8::7")),
            (&both, "127.0.0.1", "10.89.0.2", None),
            (&both, "::1", "fd00::2", None),
            (&both, "10.89.0.77", "10.89.0.2", None),
            (&only, "2001:db8::7", "10.89.0.2", None),
            (&inner, "192.0.2.7", "10.89.0.2", None),
        ] {
            let expected = Some((ip(address), source.map(ip)));
            assert_eq!(target.reach(ip(client)), expected, "{client}");
        }
        assert_eq!(Target::default().reach(ip("1.2.3.4")), None);
    }
}
