//! `network create`: from what was asked to a record.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::event;
use crate::base::{Error, Kind, Result, random};
use crate::config::containers_conf;
use crate::network::ipam::Pool;
use crate::network::{facts, ipam};
use crate::operations::session::Session;
use crate::spec::cidr::Cidr;
use crate::spec::digest;
use crate::state::network::{NetworkRecord, Networks, Route, Subnet, VERSION};

/// What to create.
#[derive(Clone, Debug, Default)]
pub struct CreateSpec {
    /// Its name; absent means the name of its bridge.
    pub name: Option<String>,
    /// `--driver`; absent means `bridge`.
    pub driver: Option<String>,
    /// `--subnet`.
    pub subnets: Vec<Cidr>,
    /// `--gateway`, one for each subnet, in order.
    pub gateways: Vec<IpAddr>,
    /// `--ip-range`, one for each subnet, in order: first and last.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// `--ipv6`.
    pub ipv6: bool,
    /// `--internal`.
    pub internal: bool,
    /// `--disable-dns`.
    pub disable_dns: bool,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--interface-name`.
    pub interface: Option<String>,
    /// `--ipv4=false`: no subnet of IPv4 that nobody named.
    pub without_v4: bool,
    /// `--aux-address`.
    pub reserved: BTreeMap<String, IpAddr>,
    /// `--route`.
    pub routes: Vec<Route>,
    /// `--ignore`.
    pub ignore: bool,
}

/// Makes a network.
///
/// # Errors
/// `Exists`; `Invalid` for a subnet that is taken or an option that does not fit; `Unsupported` for
/// other drivers.
pub fn create(session: &Session, spec: &CreateSpec) -> Result<NetworkRecord> {
    check_driver(session, spec.driver.as_deref())?;
    let networks = Networks::new(&session.dirs);
    let _lock = networks.lock()?;
    if let Some(name) = &spec.name
        && let Some(record) = networks.get(name)?
        && spec.ignore
    {
        return Ok(record);
    }
    let others = networks.list()?;
    let record = plan(
        spec,
        &others,
        &facts::host_subnets(),
        &ipam::pools(&containers_conf::load()?.network.default_subnet_pools)?,
        random::bytes()?,
        random::bytes()?,
    )?;
    networks.create(&record)?;
    event(session, "create", &record);
    Ok(record)
}

fn check_driver(session: &Session, driver: Option<&str>) -> Result<()> {
    match driver {
        None | Some("" | "bridge") => Ok(()),
        Some(driver @ ("macvlan" | "ipvlan")) if session.user.uid != 0 => {
            Err(Error::unsupported(format!(
                "driver {driver:?} puts containers on the host's own network, which only root may do"
            ))
            .hint("use a bridge network and publish ports: `-p` keeps the client's address"))
        }
        Some(driver) => Err(Error::unsupported(format!(
            "network driver {driver:?} is not supported"
        ))
        .hint("coracle has the driver \"bridge\"")),
    }
}

/// The record. Pure but for what comes in.
fn plan(
    spec: &CreateSpec,
    others: &[NetworkRecord],
    host: &[Cidr],
    pools: &[Pool],
    random: [u8; 7],
    id: [u8; 32],
) -> Result<NetworkRecord> {
    let mut options = options(&spec.options)?;
    let interface = match spec
        .interface
        .clone()
        .or_else(|| options.remove("interface"))
    {
        Some(name) => {
            if let Some(other) = others.iter().find(|o| o.interface == name) {
                return Err(Error::new(
                    Kind::Exists,
                    format!(
                        "network {:?} has the interface {name:?}",
                        other.name.as_str()
                    ),
                ));
            }
            name
        }
        None => (1..)
            .map(|n| format!("podman{n}"))
            .find(|n| {
                others
                    .iter()
                    .all(|o| o.interface != *n && o.name.as_str() != n)
            })
            .unwrap_or_default(),
    };
    let name = match &spec.name {
        Some(name)
            if matches!(
                name.as_str(),
                "none"
                    | "host"
                    | "bridge"
                    | "default"
                    | "private"
                    | "container"
                    | "ns"
                    | "pasta"
                    | "slirp4netns"
                    | "pod"
            ) =>
        {
            return Err(Error::invalid(format!(
                "the network name {name:?} is taken by a mode"
            )));
        }
        Some(name) => name.parse()?,
        None => interface.parse()?,
    };
    if spec.disable_dns && !spec.dns.is_empty() {
        return Err(Error::invalid("--dns and --disable-dns exclude each other"));
    }
    let subnets = subnets(spec, others, host, pools, random)?;
    Ok(NetworkRecord {
        version: VERSION,
        name,
        id: digest::hex(&id),
        created: crate::base::time::Timestamp::now(),
        interface,
        internal: spec.internal,
        dns: !spec.disable_dns,
        dns_servers: spec.dns.clone(),
        labels: spec.labels.clone(),
        reserved: reserved(spec, &subnets)?,
        routes: routes(spec, &subnets)?,
        subnets,
        options,
        services: BTreeMap::new(),
    })
}

/// The addresses that no container gets, each of the network.
fn reserved(spec: &CreateSpec, subnets: &[Subnet]) -> Result<BTreeMap<String, IpAddr>> {
    let foreign = |address: &&IpAddr| !subnets.iter().any(|s| s.subnet.contains(**address));
    match spec.reserved.values().find(foreign) {
        Some(address) => Err(Error::invalid(format!(
            "auxiliary address {address} is in no subnet of the network"
        ))),
        None => Ok(spec.reserved.clone()),
    }
}

/// The routes, each through an address that containers of the network reach.
fn routes(spec: &CreateSpec, subnets: &[Subnet]) -> Result<Vec<Route>> {
    for route in &spec.routes {
        let wrong = |why: &str| {
            let Route {
                destination,
                gateway,
                ..
            } = route;
            Err(Error::invalid(format!(
                "route {destination} through {gateway}: {why}"
            )))
        };
        if route.destination.is_v6() != route.gateway.is_ipv6() {
            return wrong("both are of one family");
        }
        if !subnets.iter().any(|s| s.subnet.contains(route.gateway)) {
            return wrong("the gateway is in no subnet of the network");
        }
    }
    Ok(spec.routes.clone())
}

/// The driver's options, under podman's names.
fn options(given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for (key, value) in given {
        let wrong = |why: &str| {
            Err(Error::invalid(format!(
                "invalid option {key}={value}: {why}"
            )))
        };
        let name = match key.as_str() {
            "mtu" | "com.docker.network.driver.mtu" => match value.parse::<u32>() {
                Ok(mtu) if (68..=65535).contains(&mtu) => "mtu",
                _ => return wrong("the mtu is 68 to 65535"),
            },
            "isolate" => match value.as_str() {
                "true" | "false" | "strict" | "1" | "0" => "isolate",
                _ => return wrong("expected true, false or strict"),
            },
            "metric" => match value.parse::<u32>() {
                Ok(_) => "metric",
                Err(_) => return wrong("the metric is a number"),
            },
            "no_default_route" => match value.as_str() {
                "true" | "false" | "1" | "0" => "no_default_route",
                _ => return wrong("expected true or false"),
            },
            "com.docker.network.bridge.name" => "interface",
            _ => {
                return Err(
                    Error::unsupported(format!("network option {key:?} is not supported"))
                        .hint("known: mtu, isolate, metric, no_default_route"),
                );
            }
        };
        let value = match (name, value.as_str()) {
            ("isolate" | "no_default_route", "1") => "true",
            ("isolate" | "no_default_route", "0") => "false",
            (_, value) => value,
        };
        options.insert(name.to_owned(), value.to_owned());
    }
    Ok(options)
}

fn subnets(
    spec: &CreateSpec,
    others: &[NetworkRecord],
    host: &[Cidr],
    pools: &[Pool],
    random: [u8; 7],
) -> Result<Vec<Subnet>> {
    if spec.gateways.len() > spec.subnets.len() {
        return Err(Error::invalid("--gateway needs a --subnet that it is in"));
    }
    if spec.ranges.len() > spec.subnets.len() {
        return Err(Error::invalid("--ip-range needs a --subnet that it is in"));
    }
    let mut taken: Vec<Cidr> = Vec::new();
    let mut owners: Vec<(Cidr, String)> = Vec::new();
    for other in others {
        for subnet in &other.subnets {
            owners.push((subnet.subnet, format!("network {:?}", other.name.as_str())));
        }
    }
    let mut list: Vec<Subnet> = Vec::new();
    for (index, subnet) in spec.subnets.iter().enumerate() {
        if let Some((_, who)) = owners.iter().find(|(o, _)| o.overlaps(subnet)) {
            return Err(
                Error::new(Kind::Exists, format!("subnet {subnet} is used by {who}"))
                    .hint("leave --subnet out for one that is free"),
            );
        }
        owners.push((*subnet, "this network already".to_owned()));
        let gateway = match spec.gateways.get(index) {
            Some(gateway) => *gateway,
            None => ipam::gateway(subnet).ok_or_else(|| {
                Error::invalid(format!(
                    "subnet {subnet} has no room for a gateway and a container"
                ))
            })?,
        };
        if !subnet.contains(gateway) || !ipam::has_room(subnet) {
            return Err(Error::invalid(format!(
                "gateway {gateway} is not in subnet {subnet}"
            )));
        }
        let range = spec.ranges.get(index).copied();
        if let Some((first, last)) = range
            && (!subnet.contains(first)
                || !subnet.contains(last)
                || subnet.offset(first) > subnet.offset(last))
        {
            return Err(Error::invalid(format!(
                "range {first}-{last} is not in subnet {subnet}"
            )));
        }
        list.push(Subnet {
            subnet: *subnet,
            gateway,
            range,
        });
    }
    taken.extend(owners.iter().map(|(o, _)| *o).chain(host.iter().copied()));
    let mut add = |subnet: Cidr| {
        if let Some(gateway) = ipam::gateway(&subnet) {
            list.push(Subnet {
                subnet,
                gateway,
                range: None,
            });
        }
    };
    let (has_v4, has_v6) = (
        spec.subnets.iter().any(|s| !s.is_v6()),
        spec.ipv6 || spec.subnets.iter().any(Cidr::is_v6),
    );
    match (spec.without_v4, has_v4, has_v6) {
        (true, true, _) => return Err(Error::invalid("--ipv4=false, but a --subnet is IPv4's")),
        (true, _, false) => {
            return Err(Error::invalid("a network without IPv4 needs --ipv6"));
        }
        _ => {}
    }
    if spec.subnets.is_empty() && !spec.without_v4 {
        add(ipam::free_v4(pools, &taken)?);
    }
    if spec.ipv6 && !spec.subnets.iter().any(Cidr::is_v6) {
        add(ipam::free_v6(random, &taken)?);
    }
    list.sort_by_key(|s| s.subnet.is_v6());
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default() -> NetworkRecord {
        let dir = tempfile::tempdir().unwrap();
        let dirs = crate::config::dirs::Dirs::new(dir.path().to_owned(), dir.path().join("run"));
        Networks::new(&dirs).find("podman").unwrap()
    }

    fn made(spec: &CreateSpec) -> Result<NetworkRecord> {
        let host = ["10.89.0.0/24".parse().unwrap()];
        plan(
            spec,
            &[default()],
            &host,
            &ipam::pools(&[])?,
            [7; 7],
            [1; 32],
        )
    }

    #[test]
    fn what_nobody_chose_is_free_on_this_host_and_among_networks() {
        let record = made(&CreateSpec {
            ipv6: true,
            ..CreateSpec::default()
        })
        .unwrap();
        assert_eq!(
            (record.name.as_str(), record.interface.as_str()),
            ("podman1", "podman1")
        );
        let shown: Vec<String> = record
            .subnets
            .iter()
            .map(|s| format!("{} {}", s.subnet, s.gateway))
            .collect();
        assert_eq!(
            shown,
            [
                "10.89.1.0/24 10.89.1.1",
                "fd07:707:707:707::/64 fd07:707:707:707::1"
            ]
        );
        assert!(record.dns && !record.internal && record.is_isolated());
    }

    #[test]
    fn contradictions_are_refused() {
        let cidr = |t: &str| t.parse::<Cidr>().unwrap();
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        let base = CreateSpec {
            subnets: vec![cidr("10.1.0.0/24")],
            ..CreateSpec::default()
        };
        assert!(made(&base).is_ok());
        let wrong = [
            CreateSpec {
                subnets: vec![cidr("10.88.7.0/24")],
                ..base.clone()
            },
            CreateSpec {
                subnets: vec![cidr("10.1.0.0/24"), cidr("10.1.0.0/25")],
                ..base.clone()
            },
            CreateSpec {
                subnets: vec![cidr("10.1.0.0/31")],
                ..base.clone()
            },
            CreateSpec {
                gateways: vec![ip("10.2.0.1")],
                ..base.clone()
            },
            CreateSpec {
                ranges: vec![(ip("10.1.0.9"), ip("10.1.0.2"))],
                ..base.clone()
            },
            CreateSpec {
                subnets: vec![],
                gateways: vec![ip("10.1.0.1")],
                ..base.clone()
            },
            CreateSpec {
                name: Some("host".into()),
                ..base.clone()
            },
            CreateSpec {
                interface: Some("podman0".into()),
                ..base.clone()
            },
            CreateSpec {
                disable_dns: true,
                dns: vec![ip("1.1.1.1")],
                ..base.clone()
            },
        ];
        for spec in wrong {
            assert!(made(&spec).is_err(), "{spec:?}");
        }
        for (key, value, good) in [
            ("mtu", "1400", true),
            ("mtu", "0", false),
            ("isolate", "maybe", false),
            ("com.docker.network.driver.mtu", "9000", true),
            ("vlan", "5", false),
        ] {
            let options = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(
                made(&CreateSpec {
                    options,
                    ..base.clone()
                })
                .is_ok(),
                good,
                "{key}={value}"
            );
        }
    }
}
