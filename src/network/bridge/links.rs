//! What is asked of route netlink: bridges, cables, addresses, routes. Pure: each function writes
//! into a batch.
//!
//! Kernel: rtnetlink(7), `linux/if_link.h`, `linux/fib_rules.h`.

use std::net::IpAddr;

use crate::spec::cidr::Cidr;
use crate::sys::nl::Batch;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// No waiting for others who might have the address: we give them all ourselves.
const IFA_F_NODAD: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTAX_LOCK: u16 = 1;
const RTAX_RTO_MIN: u16 = 13;
const RTAX_CC_ALGO: u16 = 16;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FR_ACT_TO_TBL: u8 = 1;

/// The mark of packets that belong to one of our own sockets, whatever their address.
pub const MARK: u32 = 0x636f;

/// The table in which every address is this machine's.
const TABLE: u8 = 99;

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// `struct rtmsg`, and `struct fib_rule_hdr` of the same form.
fn route(family: u8, table: u8, scope: u8, kind: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family;
    header[4] = table;
    header[5] = libc::RTPROT_BOOT;
    header[6] = scope;
    header[7] = kind;
    header
}

fn family(address: IpAddr) -> u8 {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    u8::try_from(family).unwrap_or(0)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// A bridge, up. Its hardware address is fixed: else it would change with the first cable, and
/// neighbours would send to the old one.
pub fn bridge(batch: &mut Batch, name: &str, mac: [u8; 6], mtu: u32) {
    batch
        .request(
            libc::RTM_NEWLINK,
            libc::NLM_F_CREATE,
            &link(0, IFF_UP),
            &format!("bridge {name}"),
        )
        .put_text(IFLA_IFNAME, name)
        .put(IFLA_ADDRESS, &mac)
        .put_u32(IFLA_MTU, mtu)
        .nest(IFLA_LINKINFO, |b| {
            b.put_text(IFLA_INFO_KIND, "bridge");
        });
}

/// The far end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The number of a descriptor of the namespace that it is in.
    pub namespace: u32,
}

/// A cable from a bridge into another namespace, plugged in and up at this end. (The kernel refuses
/// to bring the far end up before the two know each other: see [`up`].)
pub fn cable(batch: &mut Batch, name: &str, bridge: u32, mtu: u32, peer: Peer<'_>) {
    batch
        .request(
            libc::RTM_NEWLINK,
            libc::NLM_F_CREATE | libc::NLM_F_EXCL,
            &link(0, IFF_UP),
            &format!("device {}", peer.name),
        )
        .put_text(IFLA_IFNAME, name)
        .put_u32(IFLA_MTU, mtu)
        .put_u32(IFLA_MASTER, bridge)
        .nest(IFLA_LINKINFO, |b| {
            b.put_text(IFLA_INFO_KIND, "veth")
                .nest(IFLA_INFO_DATA, |b| {
                    b.nest(VETH_INFO_PEER, |b| {
                        b.raw(&link(0, 0))
                            .put_text(IFLA_IFNAME, peer.name)
                            .put(IFLA_ADDRESS, &peer.mac)
                            .put_u32(IFLA_MTU, mtu)
                            .put_u32(IFLA_NET_NS_FD, peer.namespace);
                    });
                });
        });
}

/// Switches a device on.
pub fn up(batch: &mut Batch, index: u32, name: &str) {
    let what = format!("device {name}");
    batch.request(libc::RTM_NEWLINK, 0, &link(index, IFF_UP), &what);
}

/// Takes a device away, with its other end.
pub fn remove(batch: &mut Batch, index: u32, name: &str) {
    batch.request(
        libc::RTM_DELLINK,
        0,
        &link(index, 0),
        &format!("removal of {name}"),
    );
}

/// Gives a device an address.
pub fn address(batch: &mut Batch, index: u32, address: IpAddr, bits: u8) {
    let mut header = [0; 8];
    header[0] = family(address);
    header[1] = bits;
    header[2] = IFA_F_NODAD;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let octets = octets(address);
    batch
        .request(
            libc::RTM_NEWADDR,
            libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
            &header,
            &format!("address {address}"),
        )
        .put(IFA_LOCAL, &octets)
        .put(IFA_ADDRESS, &octets)
        .put_u32(IFA_FLAGS, IFA_F_NODAD.into());
}

/// Gives a device an address that nothing is sent from, and that nobody else shares: a service's.
pub fn service_address(batch: &mut Batch, index: u32, own: IpAddr) {
    batch
        .request(
            libc::RTM_NEWADDR,
            libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
            &of_service(index, own),
            &format!("address {own}"),
        )
        .put(IFA_LOCAL, &octets(own))
        .put(IFA_ADDRESS, &octets(own))
        // `struct ifa_cacheinfo`: valid for ever, preferred never. Of IPv4 the first one counts.
        .put(IFA_CACHEINFO, &match own {
            IpAddr::V4(_) => [[0xff; 8], [0; 8]].concat(),
            IpAddr::V6(_) => [[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0; 8]].concat(),
        })
        .put_u32(IFA_FLAGS, IFA_F_NODAD.into());
}

/// Takes such an address away.
pub fn no_service_address(batch: &mut Batch, index: u32, own: IpAddr) {
    batch
        .request(
            libc::RTM_DELADDR,
            0,
            &of_service(index, own),
            &format!("removal of address {own}"),
        )
        .put(IFA_LOCAL, &octets(own))
        .put(IFA_ADDRESS, &octets(own));
}

/// `struct ifaddrmsg`.
fn of_service(index: u32, own: IpAddr) -> [u8; 8] {
    let mut header = [0; 8];
    header[0] = family(own);
    header[1] = if own.is_ipv4() { 32 } else { 128 };
    header[2] = IFA_F_NODAD;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As on a wire of this machine: what the uplink drops is sent again after milliseconds, and a
    /// loss is the sign that there is too much. Debian's pasta drops what its socket does not take
    /// and says so to nobody, and there are no selective acknowledgements: with the usual 200 ms
    /// and BBR, a sender stands still for most of the time. Towards the world nothing changes:
    /// the uplink's own connection lives in the host's network. Between containers BBR's pacing, of
    /// use where there is a bottleneck to be found, costs two thirds of what the machine can do.
    Near,
    /// What the namespace has: kernels without that way to control congestion.
    Usual,
}

/// Milliseconds that are waited at least before something is sent again.
const NEAR_RTO_MIN: u32 = 5;

/// How connections of a route control congestion when they are [`Pace::Near`].
const NEAR_CONTROL: &str = "cubic";

/// What a default route has beyond where it leads.
fn pace_of_default(batch: &mut Batch) {
    batch.nest(RTA_METRICS, |b| {
        b.put_u32(RTAX_LOCK, 1 << RTAX_RTO_MIN)
            .put_u32(RTAX_RTO_MIN, NEAR_RTO_MIN)
            .put_text(RTAX_CC_ALGO, NEAR_CONTROL);
    });
}

/// The neighbours of an address: the route that the kernel made with it, and [`Pace::Near`].
///
/// (The kernel's word for a way to control congestion that it has not is `EINVAL`.)
pub fn neighbours(batch: &mut Batch, index: u32, own: IpAddr, subnet: Cidr) {
    /// What the kernel gives such routes of IPv6; those of IPv4 have 0 (`IP6_RT_PRIO_ADDRCONF`).
    const PRIORITY_V6: u32 = 256;
    let scope = match own {
        IpAddr::V4(_) => libc::RT_SCOPE_LINK,
        IpAddr::V6(_) => libc::RT_SCOPE_UNIVERSE,
    };
    let mut header = route(family(own), libc::RT_TABLE_MAIN, scope, libc::RTN_UNICAST);
    header[1] = subnet.bits();
    header[5] = libc::RTPROT_KERNEL;
    let asked = batch
        .request(
            libc::RTM_NEWROUTE,
            libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
            &header,
            &format!("route of {subnet}"),
        )
        .put(RTA_DST, &octets(subnet.address()))
        .put_u32(RTA_OIF, index);
    match own {
        IpAddr::V4(_) => asked.put(RTA_PREFSRC, &octets(own)),
        IpAddr::V6(_) => asked.put_u32(RTA_PRIORITY, PRIORITY_V6),
    };
    batch.nest(RTA_METRICS, |b| {
        b.put_text(RTAX_CC_ALGO, NEAR_CONTROL);
    });
}

/// A default route that somebody else made, as the kernel told of it (`struct rtmsg` and its
/// attributes), and [`Pace::Near`].
pub fn near_again(batch: &mut Batch, told: &[u8]) {
    batch.request(
        libc::RTM_NEWROUTE,
        libc::NLM_F_REPLACE,
        told,
        "pace of the default route",
    );
    pace_of_default(batch);
}

/// The way out through a gateway.
pub fn default_route(batch: &mut Batch, index: u32, gateway: IpAddr, metric: u32, pace: Pace) {
    let header = route(
        family(gateway),
        libc::RT_TABLE_MAIN,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
    );
    batch
        .request(
            libc::RTM_NEWROUTE,
            libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
            &header,
            &format!("route through {gateway}"),
        )
        .put(RTA_GATEWAY, &octets(gateway))
        .put_u32(RTA_OIF, index)
        .put_u32(RTA_PRIORITY, metric);
    if pace == Pace::Near {
        pace_of_default(batch);
    }
}

/// The way to a subnet through a neighbour.
pub fn subnet_route(batch: &mut Batch, index: u32, to: Cidr, gateway: IpAddr, metric: u32) {
    let mut header = route(
        family(gateway),
        libc::RT_TABLE_MAIN,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
    );
    header[1] = to.bits();
    batch
        .request(
            libc::RTM_NEWROUTE,
            libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
            &header,
            &format!("route to {to} through {gateway}"),
        )
        .put(RTA_DST, &octets(to.address()))
        .put(RTA_GATEWAY, &octets(gateway))
        .put_u32(RTA_OIF, index)
        .put_u32(RTA_PRIORITY, metric);
}

/// Marked packets are for this namespace itself, whatever address they bear: what answers a
/// connection that has a client's address belongs to our socket.
pub fn deliver_marked(batch: &mut Batch, loopback: u32, v6: bool) {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let family = u8::try_from(family).unwrap_or(0);
    let header = route(family, TABLE, libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
    batch
        .request(
            libc::RTM_NEWROUTE,
            libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
            &header,
            "route of marked packets",
        )
        .put(RTA_DST, if v6 { &[0; 16] } else { &[0; 4] })
        .put_u32(RTA_OIF, loopback);
    let rule = route(family, TABLE, 0, FR_ACT_TO_TBL);
    batch
        .request(
            libc::RTM_NEWRULE,
            libc::NLM_F_CREATE,
            &rule,
            "rule for marked packets",
        )
        .put_u32(FRA_FWMARK, MARK)
        .put_u32(FRA_PRIORITY, 100);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::nl::messages;

    #[test]
    fn a_cable_has_both_ends_in_one_message() {
        let mut batch = Batch::new();
        let peer = Peer {
            name: "eth0",
            mac: [2, 0, 0, 0, 0, 9],
            namespace: 7,
        };
        cable(&mut batch, "v0", 3, 1500, peer);
        address(&mut batch, 2, "10.0.0.2".parse().unwrap(), 24);
        default_route(&mut batch, 2, "fd00::1".parse().unwrap(), 100, Pace::Near);
        let bytes = batch.finish();
        let all = messages(&bytes);
        assert_eq!(all.iter().map(|m| m.0).collect::<Vec<_>>(), [16, 20, 24]);
        let text = String::from_utf8_lossy(all[0].2);
        assert!(text.contains("veth") && text.contains("eth0") && text.contains("v0"));
        assert_eq!(all[1].2[..4], [2, 24, 2, 0]);
        assert_eq!(all[2].2[0], 10);
        // struct rtattr of RTAX_RTO_MIN, locked: else the kernel does not look at it.
        let has = |bytes: &[u8]| all[2].2.windows(bytes.len()).any(|w| w == bytes);
        assert!(has(&[8, 0, 13, 0, 5, 0, 0, 0]) && has(&[8, 0, 1, 0, 0, 0x20, 0, 0]));
        assert!(has(b"cubic"));
    }
}
