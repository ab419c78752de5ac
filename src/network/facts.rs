//! What the host offers: programs, routes, addresses, resolvers. Files and one socket that sends
//! nothing; no packet leaves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::base::fs as files;
use crate::config::containers_conf::ContainersConf;
use crate::config::env::Env;
use crate::spec::cidr::Cidr;
use crate::state::options::{NetworkMode, NetworkOptions};

/// Files larger than this are not configuration.
const LIMIT: u64 = 1 << 20;

/// Facts about the host, for [`super::plan::plan`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Where pasta is.
    pub pasta: Option<PathBuf>,
    /// The day of pasta's release, `20240726`; absent when unknown, or nothing is published.
    pub pasta_release: Option<u32>,
    /// Where slirp4netns is.
    pub slirp4netns: Option<PathBuf>,
    /// Whether `/dev/net/tun` may be opened; otherwise why not.
    pub tun: Tun,
    /// IPv4 networks that the host has a route to: address and netmask, without the default.
    pub routes_v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The interface of the IPv6 default route.
    pub default_v6: Option<String>,
    /// The host's own address as others see it, best first.
    pub addresses: Vec<IpAddr>,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `/run/systemd/resolve/resolv.conf`, where the former names only systemd-resolved.
    pub resolved_conf: Option<String>,
    /// The file whose entries come first in a container's hosts file: that of containers.conf, or
    /// the host's.
    pub base_hosts: String,
    /// `/proc/sys/net/ipv4/ip_unprivileged_port_start`.
    pub unprivileged_port_start: u16,
}

/// What can be done with `/dev/net/tun`, which both uplink programs need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tun {
    /// It opens.
    #[default]
    Usable,
    /// There is none.
    Missing,
    /// The caller may not open it.
    Denied,
}

/// Looks around, as far as the options need it. `conf` names the base hosts file and extra folders
/// with programs.
pub fn probe(env: &Env, conf: &ContainersConf, options: &NetworkOptions) -> HostFacts {
    let program = |name: &str| {
        conf.engine
            .helper_binaries_dir
            .iter()
            .map(|dir| Path::new(dir).join(name))
            .find(|p| env.find_program(&p.to_string_lossy()).is_some())
            .or_else(|| env.find_program(name))
    };
    let resolv_conf = text("/etc/resolv.conf");
    let only_resolved = super::files::only_names_resolved(&resolv_conf);
    // Programs, devices and routes concern an uplink of the container's own only.
    let uplink = matches!(
        options.mode,
        NetworkMode::Default
            | NetworkMode::Pasta(_)
            | NetworkMode::Slirp4netns(_)
            | NetworkMode::Networks(_)
    );
    let routes = |path: &str| if uplink { text(path) } else { String::new() };
    let pasta = uplink.then(|| program("pasta")).flatten();
    let publishes = options.publish_all || !options.publish.is_empty();
    HostFacts {
        pasta_release: pasta
            .as_deref()
            // On networks ports are published by the role, not by pasta.
            .filter(|_| publishes && options.mode.networks().is_empty())
            .and_then(pasta_release),
        pasta,
        slirp4netns: conf
            .engine
            .network_cmd_path
            .as_deref()
            .filter(|p| uplink && p.starts_with('/'))
            .and_then(|p| env.find_program(p))
            .or_else(|| uplink.then(|| program("slirp4netns")).flatten()),
        tun: if uplink {
            tun(Path::new("/dev/net/tun"))
        } else {
            Tun::default()
        },
        routes_v4: routes_v4(&routes("/proc/net/route")),
        default_v6: default_v6(&routes("/proc/net/ipv6_route")),
        addresses: if options.mode == NetworkMode::None {
            Vec::new()
        } else {
            addresses()
        },
        resolved_conf: only_resolved.then(|| text("/run/systemd/resolve/resolv.conf")),
        resolv_conf,
        base_hosts: match conf.containers.base_hosts_file.as_deref() {
            None | Some("") => text("/etc/hosts"),
            // `image` is the container's own matter, see `plan`.
            Some("none" | "image") => String::new(),
            Some(path) => text(path),
        },
        unprivileged_port_start: text("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .trim()
            .parse()
            .unwrap_or(1024),
    }
}

/// Asks pasta for its release: `pasta 2024_07_26.57a21d2` or `pasta 0.0~git20240726.57a21d2-1`.
/// Debian 12's says `unknown version`.
pub fn pasta_release(program: &Path) -> Option<u32> {
    let text = duct::cmd!(program, "--version")
        .stdin_null()
        .stderr_null()
        .unchecked()
        .read()
        .ok()?;
    release_in(&text)
}

fn release_in(text: &str) -> Option<u32> {
    let word = text.lines().next()?.strip_prefix("pasta ")?;
    let digits: String = word
        .trim_start_matches("0.0~git")
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '_')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().ok().filter(|n| *n > 20_200_000)
}

fn text(path: &str) -> String {
    match files::read_if_exists(Path::new(path), LIMIT) {
        Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

fn tun(path: &Path) -> Tun {
    // Opening a tun device without an ioctl makes nothing.
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    {
        Ok(_) => Tun::Usable,
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Tun::Denied,
        Err(_) => Tun::Missing,
    }
}

/// The IPv4 networks that the host has a route to, without the default.
pub fn host_subnets() -> Vec<Cidr> {
    routes_v4(&text("/proc/net/route"))
        .into_iter()
        .filter_map(|(net, mask)| {
            let bits = u32::from(mask).leading_ones();
            Cidr::of(net.into(), u8::try_from(bits).ok()?)
        })
        .collect()
}

/// The lines of `/proc/net/route` but the default: little-endian hexadecimal, as the kernel
/// prints a `__be32`.
fn routes_v4(table: &str) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let address = |word: &str| {
                u32::from_str_radix(word, 16)
                    .ok()
                    .map(|n| Ipv4Addr::from(n.to_ne_bytes()))
            };
            let (net, mask) = (address(words.get(1)?)?, address(words.get(7)?)?);
            (!mask.is_unspecified()).then_some((net, mask))
        })
        .collect()
}

/// The interface of the best default route in `/proc/net/ipv6_route`.
fn default_v6(table: &str) -> Option<String> {
    table
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [net, "00", _, _, gateway, metric, _, _, flags, interface] = words[..] else {
                return None;
            };
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let metric = u32::from_str_radix(metric, 16).ok()?;
            // RTF_UP, RTF_REJECT. The kernel's own "no route" entry is on lo.
            let is_default = net.bytes().all(|b| b == b'0')
                && gateway.bytes().any(|b| b != b'0')
                && flags & 1 != 0
                && flags & 0x200 == 0
                && interface != "lo";
            is_default.then(|| (metric, interface.to_owned()))
        })
        .min()
        .map(|(_, interface)| interface)
}

/// The addresses that the host would use towards the internet.
fn addresses() -> Vec<IpAddr> {
    // Connecting a datagram socket looks a route up and sends nothing. TEST-NET and the
    // documentation prefix stand for "anywhere".
    let targets: [(IpAddr, IpAddr); 2] = [
        (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(198, 51, 100, 1).into(),
        ),
        (
            std::net::Ipv6Addr::UNSPECIFIED.into(),
            std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    ];
    targets
        .into_iter()
        .filter_map(|(from, to)| {
            let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
            socket.connect(SocketAddr::new(to, 9)).ok()?;
            let address = socket.local_addr().ok()?.ip();
            (!address.is_loopback() && !address.is_unspecified()).then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_tables_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nshort line\n";
        assert_eq!(
            routes_v4(table),
            [(Ipv4Addr::new(10, 0, 2, 0), Ipv4Addr::new(255, 255, 255, 0))]
        );
        assert!(routes_v4("").is_empty());
    }

    #[test]
    fn the_best_ipv6_default_route_wins_and_rejects_do_not_count() {
        let zero = "00000000000000000000000000000000";
        let gateway = "fe800000000000000000000000000001";
        let line = |net: &str, len: &str, gw: &str, metric: &str, flags: &str, dev: &str| {
            format!("{net} {len} {zero} 00 {gw} {metric} 00000001 00000000 {flags} {dev}\n")
        };
        let reject = line(zero, "00", zero, "ffffffff", "00200200", "lo");
        assert_eq!(default_v6(&reject), None);
        let table = [
            reject,
            line(gateway, "40", zero, "00000100", "00000001", "eth9"),
            line(zero, "00", gateway, "00000400", "00000003", "wlan0"),
            line(zero, "00", gateway, "00000064", "00000003", "eth0"),
        ]
        .concat();
        assert_eq!(default_v6(&table).as_deref(), Some("eth0"));
    }

    #[test]
    fn releases_of_pasta_are_read() {
        let cases = [
            ("pasta 2024_07_26.57a21d2\nCopyright", Some(20_240_726)),
            ("pasta 0.0~git20240220.1e6f92b-1\n", Some(20_240_220)),
            ("pasta unknown version\n", None),
            ("pasta 1.0\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(release_in(text), expected, "{text}");
        }
    }

    #[test]
    fn this_host_can_be_probed() {
        let conf = ContainersConf::default();
        let facts = probe(&Env::process(), &conf, &NetworkOptions::default());
        assert!(facts.addresses.iter().all(|a| !a.is_loopback()));
    }
}
