//! pasta's words. Pure but for nothing.
//!
//! Spec: passt(1), pasta(1); tried with Debian 12's of March 2023, which has no version number.
//!
//! Template interface: pasta copies addresses from one of the host's. We give all addresses
//! ourselves, so any interface that is always there will do: `lo`, with a made-up hardware
//! address. So it starts while every interface is down, and goes on when the host roams. Only
//! IPv6 wants a real one.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::network::facts::HostFacts;
use crate::network::plan::{Addresses, CONTAINER_V6, Families, GATEWAY_V6, Tool, UplinkPlan};
use crate::state::options::{PortMapping, Protocol};

/// Any locally administered hardware address.
const MAC: &str = "02:00:5e:00:53:02";

/// What a person's own options change.
#[derive(Debug, Default)]
struct Wish {
    /// Addresses or the template are theirs.
    own_addresses: bool,
    own_resolver: Option<Ipv4Addr>,
    map_gateway: bool,
    v4_only: bool,
    v6_only: bool,
    own_ports: [bool; 4],
    own_runas: bool,
    own_address: Option<Ipv4Addr>,
    rest: Vec<String>,
}

impl Wish {
    fn read(options: &[String]) -> Self {
        let mut wish = Self::default();
        let mut words = options.iter();
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            match name {
                // Not pasta's own: the opposite of --no-map-gw, as podman spells it.
                "--map-gw" => {
                    wish.map_gateway = true;
                    continue;
                }
                "--no-map-gw" | "--config-net" | "-q" | "--quiet" => continue,
                "-4" | "--ipv4-only" => {
                    wish.v4_only = true;
                    continue;
                }
                "-6" | "--ipv6-only" => {
                    wish.v6_only = true;
                    continue;
                }
                _ => {}
            }
            let takes_value = TAKES_VALUE.contains(&name);
            let value = match (&attached, takes_value) {
                (Some(value), _) => Some(value.clone()),
                (None, true) => words.next().cloned(),
                (None, false) => None,
            };
            match name {
                "-a" | "--address" => {
                    wish.own_addresses = true;
                    wish.own_address = value
                        .as_deref()
                        .and_then(|v| v.split('/').next()?.parse().ok().or(wish.own_address));
                }
                "-n" | "--netmask" | "-g" | "--gateway" | "-i" | "--interface" | "-M"
                | "--mac-addr" => wish.own_addresses = true,
                "--dns-forward" => {
                    wish.own_resolver = value.as_deref().and_then(|v| v.parse().ok());
                }
                "-t" | "--tcp-ports" => wish.own_ports[0] = true,
                "-u" | "--udp-ports" => wish.own_ports[1] = true,
                "-T" | "--tcp-ns" => wish.own_ports[2] = true,
                "-U" | "--udp-ns" => wish.own_ports[3] = true,
                "--runas" => wish.own_runas = true,
                _ => {}
            }
            wish.rest.push(word.clone());
            if attached.is_none()
                && let Some(value) = value
            {
                wish.rest.push(value);
            }
        }
        wish
    }
}

/// Options of pasta with a value of their own word.
const TAKES_VALUE: [&str; 46] = [
    "-a",
    "--address",
    "-n",
    "--netmask",
    "-g",
    "--gateway",
    "-i",
    "--interface",
    "-M",
    "--mac-addr",
    "-m",
    "--mtu",
    "-o",
    "--outbound",
    "--outbound-if4",
    "--outbound-if6",
    "-D",
    "--dns",
    "-S",
    "--search",
    "--dns-forward",
    "--dns-host",
    "-t",
    "--tcp-ports",
    "-u",
    "--udp-ports",
    "-T",
    "--tcp-ns",
    "-U",
    "--udp-ns",
    "-I",
    "--ns-ifname",
    "--ns-mac-addr",
    "--runas",
    "-l",
    "--log-file",
    "--log-size",
    "-p",
    "--pcap",
    "-P",
    "--pid",
    "--map-host-loopback",
    "--map-guest-addr",
    "-H",
    "--hostname",
    "--fqdn",
];

/// The ways to run pasta, best first, and the fixed addresses if they are ours.
pub fn plan(
    program: PathBuf,
    options: &[String],
    addresses: Addresses,
    facts: &HostFacts,
) -> (Vec<UplinkPlan>, Option<Addresses>) {
    let wish = Wish::read(options);
    let mut common: Vec<String> = vec!["-f".into(), "-q".into(), "--config-net".into()];
    // The path leads through /proc: watching it would end pasta, or nothing.
    common.push("--no-netns-quit".into());
    if !wish.map_gateway {
        common.push("--no-map-gw".into());
    }
    if !wish.own_runas {
        // With an identity map (real root) it would become nobody, who cannot enter the namespace.
        common.extend(["--runas".into(), "0:0".into()]);
    }
    let resolver = wish.own_resolver.unwrap_or(addresses.resolver);
    if wish.own_resolver.is_none() {
        common.extend(["--dns-forward".into(), resolver.to_string()]);
    }
    for (own, flag) in wish.own_ports.iter().zip(["-t", "-u", "-T", "-U"]) {
        // `-t none` beside our own `-t` would be refused; those are added with the ports.
        if !own && matches!(flag, "-T" | "-U") {
            common.extend([flag.to_owned(), "none".into()]);
        }
    }
    let make = |arguments: Vec<String>, families: Families| UplinkPlan {
        tool: Tool::Pasta,
        program: program.clone(),
        arguments,
        families,
        guest: addresses.container,
    };
    let mut list = Vec::new();
    if wish.own_addresses || wish.v6_only {
        let mut arguments = common;
        if wish.v4_only {
            arguments.push("-4".into());
        } else if wish.v6_only {
            arguments.push("-6".into());
        }
        arguments.extend(wish.rest);
        list.push(make(
            arguments,
            Families {
                v4: !wish.v6_only,
                v6: wish.v6_only,
            },
        ));
        let fixed = wish.own_address.map(|container| Addresses {
            container,
            resolver,
            ..addresses
        });
        return (list, fixed);
    }
    let fixed = |template: &str, v6: bool| {
        let mut arguments = common.clone();
        let mut push =
            |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
        push("-a", &addresses.container.to_string());
        push("-n", "24");
        push("-g", &addresses.gateway.to_string());
        if v6 {
            push("-a", &CONTAINER_V6.to_string());
            push("-g", &GATEWAY_V6.to_string());
        }
        push("-i", template);
        push("-M", MAC);
        if !wish
            .rest
            .iter()
            .any(|w| w == "-I" || w.starts_with("--ns-ifname"))
        {
            push("-I", "eth0");
        }
        if !v6 {
            arguments.push("-4".into());
        }
        arguments.extend(wish.rest.iter().cloned());
        make(arguments, Families { v4: true, v6 })
    };
    if let Some(interface) = facts.default_v6.as_deref().filter(|_| !wish.v4_only) {
        list.push(fixed(interface, true));
    }
    list.push(fixed("lo", false));
    (
        list,
        Some(Addresses {
            resolver,
            ..addresses
        }),
    )
}

/// All arguments but the namespace.
pub fn arguments(plan: &UplinkPlan, ports: &[PortMapping]) -> Vec<OsString> {
    let mut list: Vec<OsString> = plan.arguments.iter().map(OsString::from).collect();
    for (protocol, short, long) in [
        (Protocol::Tcp, "-t", "--tcp-ports"),
        (Protocol::Udp, "-u", "--udp-ports"),
    ] {
        let specs: Vec<String> = ports
            .iter()
            .filter(|p| p.protocol == protocol)
            .map(spec)
            .collect();
        let has_own = plan
            .arguments
            .iter()
            .any(|a| a == short || a == long || a.starts_with(&format!("{long}=")));
        if specs.is_empty() && !has_own {
            list.extend([short.into(), "none".into()]);
        }
        for spec in specs {
            list.extend([short.into(), spec.into()]);
        }
    }
    list
}

/// `192.0.2.1/8080-8081:80-81`.
fn spec(port: &PortMapping) -> String {
    let range = |first: u16| match port.range {
        0 | 1 => first.to_string(),
        count => format!("{first}-{}", first.saturating_add(count - 1)),
    };
    let address = match port.host_ip {
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => String::new(),
        Some(ip) => format!("{ip}/"),
        None => String::new(),
    };
    format!(
        "{address}{}:{}",
        range(port.host_port),
        range(port.container_port)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(v6: Option<&str>) -> HostFacts {
        HostFacts {
            default_v6: v6.map(str::to_owned),
            ..HostFacts::default()
        }
    }

    const ADDRESSES: Addresses = Addresses {
        container: Ipv4Addr::new(10, 0, 2, 100),
        gateway: Ipv4Addr::new(10, 0, 2, 2),
        resolver: Ipv4Addr::new(10, 0, 2, 3),
    };

    fn words(options: &[&str], v6: Option<&str>) -> (Vec<String>, Option<Addresses>) {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        let (plans, addresses) = plan("/p".into(), &options, ADDRESSES, &facts(v6));
        (
            plans.iter().map(|p| p.arguments.join(" ")).collect(),
            addresses,
        )
    }

    const HEAD: &str = "-f -q --config-net --no-netns-quit";

    #[test]
    fn addresses_are_fixed_unless_the_person_gives_their_own() {
        let plain = format!(
            "{HEAD} --no-map-gw --runas 0:0 --dns-forward 10.0.2.3 -T none -U none -a 10.0.2.100 -n 24 -g 10.0.2.2 -i lo -M {MAC} -I eth0 -4"
        );
        assert_eq!(words(&[], None), (vec![plain.clone()], Some(ADDRESSES)));
        let (list, _) = words(&[], Some("wlan0"));
        assert_eq!(list.len(), 2);
        assert!(list[0].contains("-a fd7a:636f:7261::100 -g fe80::2 -i wlan0"));
        assert!(!list[0].contains("-4"));
        assert_eq!(list[1], plain);
        assert_eq!(words(&["-4"], Some("wlan0")).0, [plain]);
        let (list, addresses) = words(&["-a", "10.9.9.9", "--map-gw", "-T", "5000"], None);
        assert_eq!(
            list,
            [format!(
                "{HEAD} --runas 0:0 --dns-forward 10.0.2.3 -U none -a 10.9.9.9 -T 5000"
            )]
        );
        assert_eq!(addresses.unwrap().container, Ipv4Addr::new(10, 9, 9, 9));
        let (list, addresses) = words(
            &["--ipv6-only", "--mtu=1500", "--dns-forward=10.0.2.9"],
            None,
        );
        assert_eq!(
            list,
            [format!(
                "{HEAD} --no-map-gw --runas 0:0 -T none -U none -6 --mtu=1500 --dns-forward=10.0.2.9"
            )]
        );
        assert_eq!(addresses, None);
    }

    #[test]
    fn ports_become_forwarding_specs() {
        let port = |ip: Option<&str>, host, inside, range, protocol| PortMapping {
            host_ip: ip.map(|t| t.parse().unwrap()),
            host_port: host,
            container_port: inside,
            range,
            protocol,
        };
        let cases = [
            (port(None, 8080, 80, 1, Protocol::Tcp), "8080:80"),
            (port(Some("0.0.0.0"), 8080, 80, 1, Protocol::Tcp), "8080:80"),
            (
                port(Some("127.0.0.1"), 8000, 9000, 3, Protocol::Udp),
                "127.0.0.1/8000-8002:9000-9002",
            ),
            (port(Some("::1"), 53, 53, 1, Protocol::Udp), "::1/53:53"),
        ];
        for (port, expected) in cases {
            assert_eq!(spec(&port), expected);
        }
        let (plans, _) = plan(
            "/p".into(),
            &["-t".into(), "22".into()],
            ADDRESSES,
            &facts(None),
        );
        let list = arguments(&plans[0], &[port(None, 53, 53, 1, Protocol::Udp)]);
        let text: Vec<_> = list.iter().map(|w| w.to_string_lossy()).collect();
        assert!(text.join(" ").ends_with("-t 22 -u 53:53"), "{text:?}");
    }
}
