//! Which subnets and addresses are free. Pure: what is taken goes in, a choice comes out.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use crate::base::{Error, Kind, Result};
use crate::config::containers_conf::SubnetPool;
use crate::spec::cidr::Cidr;
use crate::state::network::Subnet;

/// Where subnets of 24 bits are taken from, in this order: podman's `default_subnet_pools`.
const POOLS: [&str; 5] = [
    "10.89.0.0/16",
    "10.90.0.0/15",
    "10.92.0.0/14",
    "10.96.0.0/11",
    "10.128.0.0/9",
];

/// The length of a subnet that nobody chose.
const BITS: u8 = 24;

/// Where subnets that nobody chose are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// All of them together; IPv4.
    pub base: Cidr,
    /// The length of each one's prefix.
    pub bits: u8,
}

/// The pools of containers.conf, else podman's.
///
/// # Errors
/// `Invalid` for a pool that has no room for a network.
pub fn pools(configured: &[SubnetPool]) -> Result<Vec<Pool>> {
    if configured.is_empty() {
        let own = |text: &&str| {
            let base = text.parse()?;
            Ok(Pool { base, bits: BITS })
        };
        return POOLS.iter().map(own).collect();
    }
    let read = |pool: &SubnetPool| {
        let wrong = |why: &str| {
            let SubnetPool { base, size } = pool;
            Error::invalid(format!(
                "containers.conf: default_subnet_pools: base {base:?}, size {size}: {why}"
            ))
        };
        let base: Cidr = pool
            .base
            .parse()
            .map_err(|e: Error| wrong("not a subnet").because(e))?;
        match pool.size {
            _ if base.is_v6() => Err(wrong("subnets of IPv6 are chosen at random")),
            bits if bits >= base.bits() && bits <= 30 => Ok(Pool { base, bits }),
            _ => Err(wrong(
                "the size is that of the base at least, and 30 at most",
            )),
        }
    };
    configured.iter().map(read).collect()
}

/// A free subnet of IPv4 from the first pool that has one.
///
/// # Errors
/// `Unavailable` when every one is taken.
pub fn free_v4(pools: &[Pool], taken: &[Cidr]) -> Result<Cidr> {
    for Pool { base, bits } in pools {
        for number in 0..1_u128 << (bits - base.bits()) {
            let subnet = base
                .nth(number << (32 - bits))
                .and_then(|a| Cidr::of(a, *bits));
            if let Some(subnet) = subnet
                && !taken.iter().any(|t| t.overlaps(&subnet))
            {
                return Ok(subnet);
            }
        }
    }
    Err(
        Error::new(Kind::Unavailable, "no subnet is free for this network")
            .hint("name one with --subnet, or remove networks: `coracle network prune`"),
    )
}

/// A free subnet of IPv6 among the unique local ones, from random bytes.
///
/// # Errors
/// `Unavailable` when that very one is taken.
pub fn free_v6(random: [u8; 7], taken: &[Cidr]) -> Result<Cidr> {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&random);
    Cidr::of(Ipv6Addr::from(octets).into(), 64)
        .filter(|subnet| !taken.iter().any(|t| t.overlaps(subnet)))
        .ok_or_else(|| Error::new(Kind::Unavailable, "no subnet of IPv6 is free; try again"))
}

/// The gateway of a subnet whose owner named none: its first address.
pub fn gateway(subnet: &Cidr) -> Option<IpAddr> {
    subnet.nth(1).filter(|_| has_room(subnet))
}

/// Whether a gateway and one container fit.
pub fn has_room(subnet: &Cidr) -> bool {
    let bits = if subnet.is_v6() { 126 } else { 30 };
    subnet.bits() <= bits
}

/// Whether an address may be a container's: inside, and neither the subnet's own names nor the
/// gateway.
pub fn is_usable(subnet: &Subnet, address: IpAddr) -> bool {
    let net = &subnet.subnet;
    let is_name = address == net.address() || (!net.is_v6() && address == net.last());
    net.contains(address) && !is_name && address != subnet.gateway
}

/// The next free address behind `last`, round and round: one that was given back is not given to
/// somebody else at once. `None` when all are taken.
pub fn pick(subnet: &Subnet, taken: &BTreeSet<IpAddr>, last: Option<IpAddr>) -> Option<IpAddr> {
    let net = &subnet.subnet;
    let (first, end) = match subnet.range {
        Some((first, end)) => (net.offset(first)?, net.offset(end)?),
        None => (1, net.offset(net.last())?),
    };
    let behind = last
        .and_then(|l| net.offset(l))
        .filter(|o| (first..end).contains(o))
        .map_or(first, |o| o + 1);
    // Each step passes an address that is taken, or one of three that are nobody's.
    let steps = taken.len() as u128 + 4;
    (behind..=end)
        .chain(first..behind)
        .take(usize::try_from(steps).unwrap_or(usize::MAX))
        .filter_map(|offset| net.nth(offset))
        .find(|a| is_usable(subnet, *a) && !taken.contains(a))
}

/// The last free address of a subnet, wherever its containers are: a service's, which keeps it, far
/// from those that come and go. `None` when all are taken.
pub fn pick_last(subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let net = &subnet.subnet;
    let end = net.offset(net.last())?;
    let steps = taken.len() as u128 + 4;
    (0..=end)
        .rev()
        .take(usize::try_from(steps).unwrap_or(usize::MAX))
        .filter_map(|offset| net.nth(offset))
        .find(|a| is_usable(subnet, *a) && !taken.contains(a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn pools_of_the_configuration_come_first_and_must_fit() {
        let pool = |base: &str, size| SubnetPool {
            base: base.to_owned(),
            size,
        };
        let own = pools(&[pool("10.20.0.0/29", 30), pool("10.21.0.0/24", 24)]).unwrap();
        let mut taken = Vec::new();
        let mut given = Vec::new();
        while let Ok(subnet) = free_v4(&own, &taken) {
            given.push(subnet.to_string());
            taken.push(subnet);
        }
        assert_eq!(given, ["10.20.0.0/30", "10.20.0.4/30", "10.21.0.0/24"]);
        for (base, size) in [
            ("10.0.0.0/16", 8),
            ("10.0.0.0/16", 31),
            ("fd00::/48", 64),
            ("x", 24),
        ] {
            let e = pools(&[pool(base, size)]).unwrap_err();
            assert!(
                e.what().contains("default_subnet_pools"),
                "{base} {size}: {e:?}"
            );
        }
    }

    fn subnet(text: &str, range: Option<(&str, &str)>) -> Subnet {
        let subnet: Cidr = text.parse().unwrap();
        Subnet {
            subnet,
            gateway: gateway(&subnet).unwrap(),
            range: range.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())),
        }
    }

    #[test]
    fn subnets_avoid_what_is_taken_and_pools_end() {
        let cidr = |t: &str| t.parse::<Cidr>().unwrap();
        assert_eq!(
            free_v4(&pools(&[]).unwrap(), &[]).unwrap(),
            cidr("10.89.0.0/24")
        );
        let taken = [cidr("10.89.0.0/23"), cidr("10.89.3.0/24")];
        assert_eq!(
            free_v4(&pools(&[]).unwrap(), &taken).unwrap(),
            cidr("10.89.2.0/24")
        );
        assert_eq!(
            free_v4(&pools(&[]).unwrap(), &[cidr("10.89.0.0/16")]).unwrap(),
            cidr("10.90.0.0/24")
        );
        assert_eq!(
            free_v4(&pools(&[]).unwrap(), &[cidr("0.0.0.0/0")])
                .unwrap_err()
                .kind(),
            Kind::Unavailable
        );
        assert_eq!(
            free_v6([1, 2, 3, 4, 5, 6, 7], &taken).unwrap(),
            cidr("fd01:203:405:607::/64")
        );
        assert!(free_v6([0; 7], &[cidr("fd00::/8")]).is_err());
        assert!(gateway(&cidr("10.0.0.0/31")).is_none());
    }

    #[test]
    fn addresses_go_round_and_leave_out_what_is_nobodys() {
        let net = subnet("10.0.0.0/29", None);
        let mut taken = BTreeSet::new();
        let mut last = None;
        let mut got = Vec::new();
        while let Some(address) = pick(&net, &taken, last) {
            taken.insert(address);
            last = Some(address);
            got.push(address.to_string());
        }
        assert_eq!(
            got,
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
        );
        let second = "10.0.0.3".parse().unwrap();
        taken.remove(&second);
        assert_eq!(pick(&net, &taken, last), Some(second));
        taken.remove(&"10.0.0.5".parse().unwrap());
        assert_eq!(pick(&net, &taken, Some(second)), "10.0.0.5".parse().ok());
        let ranged = subnet("10.0.0.0/24", Some(("10.0.0.254", "10.0.0.255")));
        let all = BTreeSet::from(["10.0.0.254".parse().unwrap()]);
        assert_eq!(pick(&ranged, &all, None), None);
    }

    #[test]
    fn services_have_the_last_addresses() {
        let net = subnet("10.0.0.0/29", Some(("10.0.0.2", "10.0.0.3")));
        let mut taken = BTreeSet::new();
        let mut got = Vec::new();
        while let Some(address) = pick_last(&net, &taken) {
            taken.insert(address);
            got.push(address.to_string());
        }
        assert_eq!(
            got,
            ["10.0.0.6", "10.0.0.5", "10.0.0.4", "10.0.0.3", "10.0.0.2"]
        );
        let wide = subnet("fd00::/64", None);
        let last = pick_last(&wide, &BTreeSet::new()).unwrap();
        assert_eq!(last.to_string(), "fd00::ffff:ffff:ffff:ffff");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_taken_a_choice_is_free_and_inside(
            bits in 20_u8..=30, offsets in proptest::collection::vec(any::<u8>(), 0..300), v6 in any::<bool>()
        ) {
            let text = if v6 { format!("fd00::/{}", bits + 96) } else { format!("10.1.0.0/{bits}") };
            let net = subnet(&text, None);
            let taken: BTreeSet<IpAddr> =
                offsets.iter().filter_map(|o| net.subnet.nth((*o).into())).collect();
            let last = offsets.first().and_then(|o| net.subnet.nth((*o).into()));
            match pick(&net, &taken, last) {
                Some(address) => prop_assert!(is_usable(&net, address) && !taken.contains(&address)),
                None => {
                    let room = net.subnet.offset(net.subnet.last()).unwrap();
                    let free = (1..=room).filter_map(|o| net.subnet.nth(o))
                        .filter(|a| is_usable(&net, *a) && !taken.contains(a)).count();
                    prop_assert_eq!(free, 0);
                }
            }
        }
    }
}
