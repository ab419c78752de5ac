//! Who is called what, and for whom. Pure.
//!
//! A container sees the names of all networks that it is on, and of no other. Its questions come
//! to a gateway; who asks is told by the address of the asker, which nobody on a bridge but it has.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::spec::cidr::Cidr;

/// What every name may be followed by: podman's own domain.
pub const DOMAIN: &str = "dns.podman";

/// A network, as far as names go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Its subnets: reverse look-ups in them are answered here.
    pub subnets: Vec<Cidr>,
    /// Whom other names are asked of; empty means the host's servers.
    pub servers: Vec<IpAddr>,
    /// Nothing is asked of the outside.
    pub internal: bool,
}

/// A container on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The network's id.
    pub network: String,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// Its names there: own name first, then the short id, then aliases.
    pub names: Vec<String>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Where it is.
    pub places: Vec<Place>,
    /// `--dns`: whom its questions about the outside go to.
    pub servers: Vec<IpAddr>,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    scopes: BTreeMap<String, Scope>,
    residents: BTreeMap<u64, Resident>,
    /// By network and name in lower case.
    by_name: HashMap<(String, String), Vec<u64>>,
    /// By network and address.
    by_address: HashMap<(String, IpAddr), u64>,
}

/// The kinds of records that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Names of an address.
    Ptr,
    /// Anything else.
    Other,
}

/// What to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These addresses, of one family.
    Addresses(Vec<IpAddr>),
    /// These names.
    Names(Vec<String>),
    /// The name exists, but has no such record.
    Nothing,
    /// There is no such name.
    Unknown,
    /// Not ours: these servers know, or the host's where the list is empty.
    Forward(Vec<IpAddr>),
    /// Not ours, and nobody is asked.
    Refused,
}

impl Directory {
    /// Sets what is known of a network.
    pub fn set_scope(&mut self, network: &str, scope: Scope) {
        self.scopes.insert(network.to_owned(), scope);
    }

    /// Forgets a network.
    pub fn drop_scope(&mut self, network: &str) {
        self.scopes.remove(network);
    }

    /// Sets what is known of a container.
    pub fn set(&mut self, number: u64, resident: Resident) {
        self.remove(number);
        for place in &resident.places {
            for name in &place.names {
                let key = (place.network.clone(), name.to_ascii_lowercase());
                let who = self.by_name.entry(key).or_default();
                if !who.contains(&number) {
                    who.push(number);
                }
            }
            for address in &place.addresses {
                self.by_address
                    .insert((place.network.clone(), *address), number);
            }
        }
        self.residents.insert(number, resident);
    }

    /// Forgets a container.
    pub fn remove(&mut self, number: u64) {
        let Some(resident) = self.residents.remove(&number) else {
            return;
        };
        for place in resident.places {
            for name in place.names {
                let key = (place.network.clone(), name.to_ascii_lowercase());
                if let Some(who) = self.by_name.get_mut(&key) {
                    who.retain(|n| *n != number);
                    if who.is_empty() {
                        self.by_name.remove(&key);
                    }
                }
            }
            for address in place.addresses {
                let key = (place.network.clone(), address);
                if self.by_address.get(&key) == Some(&number) {
                    self.by_address.remove(&key);
                }
            }
        }
    }

    /// What `client`, asking at the gateway of `network`, hears about `name` (any case, without
    /// the final dot).
    pub fn answer(&self, network: &str, client: IpAddr, name: &str, asked: Asked) -> Verdict {
        let name = name.to_ascii_lowercase();
        let who = self.by_address.get(&(network.to_owned(), client));
        let who = who.and_then(|number| self.residents.get(number));
        // The network that was asked comes first.
        let mut networks = vec![network];
        networks.extend(
            who.iter()
                .flat_map(|r| &r.places)
                .map(|p| p.network.as_str())
                .filter(|n| *n != network),
        );
        if let Some(address) = reverse(&name) {
            return self.names_of(&networks, address, asked, who);
        }
        let (bare, is_ours) = match name.strip_suffix(DOMAIN).and_then(|n| n.strip_suffix('.')) {
            Some(bare) => (bare, true),
            None => (name.as_str(), name == DOMAIN),
        };
        let mut found: Vec<IpAddr> = Vec::new();
        let mut exists = false;
        for network in &networks {
            let key = ((*network).to_owned(), bare.to_owned());
            for number in self.by_name.get(&key).into_iter().flatten() {
                exists = true;
                let places = self
                    .residents
                    .get(number)
                    .into_iter()
                    .flat_map(|r| &r.places);
                let addresses = places
                    .filter(|p| p.network == *network)
                    .flat_map(|p| p.addresses.iter().copied());
                found.extend(addresses.filter(|a| match asked {
                    Asked::A => a.is_ipv4(),
                    Asked::Aaaa => a.is_ipv6(),
                    Asked::Ptr | Asked::Other => false,
                }));
            }
            // A name is the nearest network's.
            if exists {
                break;
            }
        }
        match (found.is_empty(), exists, is_ours) {
            (false, ..) => Verdict::Addresses(found),
            (true, true, _) => Verdict::Nothing,
            (true, false, true) if name == DOMAIN => Verdict::Nothing,
            (true, false, true) => Verdict::Unknown,
            (true, false, false) => self.outside(&networks, who),
        }
    }

    fn names_of(
        &self,
        networks: &[&str],
        address: IpAddr,
        asked: Asked,
        who: Option<&Resident>,
    ) -> Verdict {
        let is_inside = |network: &&&str| {
            self.scopes
                .get(**network)
                .is_some_and(|s| s.subnets.iter().any(|c| c.contains(address)))
        };
        let Some(network) = networks.iter().find(is_inside) else {
            return self.outside(networks, who);
        };
        let key = ((*network).to_owned(), address);
        let resident = self
            .by_address
            .get(&key)
            .and_then(|n| self.residents.get(n));
        let place = resident.and_then(|r| r.places.iter().find(|p| p.network == *network));
        match (place, asked) {
            (Some(place), Asked::Ptr) => Verdict::Names(place.names.clone()),
            (Some(_), _) => Verdict::Nothing,
            (None, _) => Verdict::Unknown,
        }
    }

    /// Where questions about the outside go.
    fn outside(&self, networks: &[&str], who: Option<&Resident>) -> Verdict {
        let mut scopes = networks.iter().filter_map(|n| self.scopes.get(*n));
        let Some(scope) = scopes.find(|s| !s.internal) else {
            return Verdict::Refused;
        };
        let own = who.map_or(&[][..], |r| &r.servers);
        Verdict::Forward(if own.is_empty() {
            scope.servers.clone()
        } else {
            own.to_vec()
        })
    }
}

/// The address of a name in `in-addr.arpa` or `ip6.arpa`.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut labels = digits.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut octets = [0_u8; 16];
    let mut labels = digits.split('.');
    for octet in octets.iter_mut().rev() {
        let mut digit = || {
            let label = labels.next()?;
            u8::from_str_radix(label, 16)
                .ok()
                .filter(|_| label.len() == 1)
        };
        let (low, high) = (digit()?, digit()?);
        *octet = high << 4 | low;
    }
    labels.next().is_none().then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn place(network: &str, addresses: &[&str], names: &[&str]) -> Place {
        Place {
            network: network.to_owned(),
            addresses: addresses.iter().map(|a| ip(a)).collect(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    fn directory() -> Directory {
        let mut d = Directory::default();
        for (name, subnet, internal) in [
            ("a", "10.1.0.0/24", false),
            ("b", "10.2.0.0/24", false),
            ("in", "10.3.0.0/24", true),
        ] {
            let subnets = vec![subnet.parse().unwrap(), "fd00::/64".parse().unwrap()];
            d.set_scope(
                name,
                Scope {
                    subnets,
                    internal,
                    ..Scope::default()
                },
            );
        }
        let web1 = place(
            "a",
            &["10.1.0.2", "fd00::2"],
            &["web1", "0123456789ab", "web"],
        );
        d.set(
            1,
            Resident {
                places: vec![web1],
                ..Resident::default()
            },
        );
        let places = vec![
            place("a", &["10.1.0.3"], &["web2", "web"]),
            place("b", &["10.2.0.3"], &["web2"]),
        ];
        d.set(
            2,
            Resident {
                places,
                ..Resident::default()
            },
        );
        d.set(
            3,
            Resident {
                places: vec![place("b", &["10.2.0.4"], &["db"])],
                servers: vec![ip("9.9.9.9")],
            },
        );
        d.set(
            4,
            Resident {
                places: vec![place("in", &["10.3.0.2"], &["alone"])],
                ..Resident::default()
            },
        );
        d
    }

    #[test]
    fn names_are_known_on_ones_own_networks_only() {
        use Asked::{A, Aaaa, Other, Ptr};
        use Verdict::{Addresses, Forward, Names, Nothing, Refused, Unknown};
        let d = directory();
        let addresses = |list: &[&str]| Addresses(list.iter().map(|a| ip(a)).collect());
        for (network, client, name, asked, expected) in [
            ("a", "10.1.0.3", "web1", A, addresses(&["10.1.0.2"])),
            (
                "a",
                "10.1.0.3",
                "WEB1.DNS.Podman",
                A,
                addresses(&["10.1.0.2"]),
            ),
            ("a", "10.1.0.3", "web1", Aaaa, addresses(&["fd00::2"])),
            ("a", "10.1.0.3", "0123456789ab", A, addresses(&["10.1.0.2"])),
            (
                "a",
                "10.1.0.2",
                "web",
                A,
                addresses(&["10.1.0.2", "10.1.0.3"]),
            ),
            ("a", "10.1.0.2", "web2", Aaaa, Nothing),
            ("a", "10.1.0.2", "web2", Other, Nothing),
            // On another network of the asker, but not of one who is on `a` alone.
            ("a", "10.1.0.3", "db", A, addresses(&["10.2.0.4"])),
            ("a", "10.1.0.2", "db", A, Forward(vec![])),
            ("a", "10.1.0.99", "db", A, Forward(vec![])),
            (
                "b",
                "10.2.0.4",
                "example.org",
                A,
                Forward(vec![ip("9.9.9.9")]),
            ),
            ("in", "10.3.0.2", "example.org", A, Refused),
            ("in", "10.3.0.2", "alone", A, addresses(&["10.3.0.2"])),
            ("a", "10.1.0.2", "nobody.dns.podman", A, Unknown),
            ("a", "10.1.0.2", "dns.podman", A, Nothing),
            (
                "a",
                "10.1.0.2",
                "3.0.1.10.in-addr.arpa",
                Ptr,
                Names(vec!["web2".into(), "web".into()]),
            ),
            ("a", "10.1.0.2", "3.0.1.10.in-addr.arpa", A, Nothing),
            ("a", "10.1.0.2", "77.0.1.10.in-addr.arpa", Ptr, Unknown),
            (
                "a",
                "10.1.0.2",
                "4.0.2.10.in-addr.arpa",
                Ptr,
                Forward(vec![]),
            ),
            (
                "a",
                "10.1.0.2",
                "8.8.8.8.in-addr.arpa",
                Ptr,
                Forward(vec![]),
            ),
        ] {
            assert_eq!(
                d.answer(network, ip(client), name, asked),
                expected,
                "{client} {name} {asked:?}"
            );
        }
        let v6 = format!("2.0.0.0.{}0.0.d.f.ip6.arpa", "0.".repeat(24));
        assert_eq!(reverse(&v6), Some(ip("fd00::2")));
        for bad in [
            "1.2.3.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "256.1.1.1.in-addr.arpa",
            "0.ip6.arpa",
            "x.in-addr.arpa",
        ] {
            assert_eq!(reverse(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_leaves_is_forgotten_altogether() {
        let mut d = directory();
        for number in 1..=4 {
            d.remove(number);
        }
        assert!(d.by_name.is_empty() && d.by_address.is_empty() && d.residents.is_empty());
        // An address that went to somebody else stays theirs.
        let mut d = directory();
        d.set(
            9,
            Resident {
                places: vec![place("a", &["10.1.0.2"], &["new"])],
                ..Resident::default()
            },
        );
        d.remove(1);
        assert_eq!(
            d.answer("a", ip("10.1.0.3"), "2.0.1.10.in-addr.arpa", Asked::Ptr),
            Verdict::Names(vec!["new".into()])
        );
    }
}
