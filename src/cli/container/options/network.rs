//! `--network`, `-p`, `--expose`, `--dns`, `--add-host`.

use std::net::{IpAddr, Ipv6Addr};

use super::flags;
use crate::base::{Error, Result};
use crate::state::options::{NetworkMode, NetworkOptions, PortMapping, Protocol};

/// Names that mean "the default network": podman's and Docker's bridge is what pasta stands for
/// here, until networks with a name exist.
const DEFAULT_NAMES: [&str; 5] = ["", "default", "private", "bridge", "podman"];

/// All of them together.
///
/// # Errors
/// `Invalid` for what cannot be read or contradicts itself; `Unsupported` for named networks.
pub(super) fn network(flags: &flags::Network, notices: &mut Vec<String>) -> Result<NetworkOptions> {
    let mode = mode(&flags.network)?;
    let mut publish = Vec::new();
    for text in &flags.publish {
        publish.push(port(text)?);
    }
    for text in &flags.expose {
        exposed(text)?;
    }
    let mut dns = Vec::new();
    let mut dns_none = false;
    for text in &flags.dns {
        if text == "none" {
            dns_none = true;
        } else {
            dns.push(address(text)?);
        }
    }
    if dns_none && !dns.is_empty() {
        return Err(Error::invalid("--dns none stands alone"));
    }
    let add_hosts = flags
        .add_host
        .iter()
        .map(|h| extra_host(h))
        .collect::<Result<Vec<_>>>()?;
    if flags.no_hosts.unwrap_or(false) && (!add_hosts.is_empty() || flags.hosts_file.is_some()) {
        return Err(Error::invalid(
            "--no-hosts leaves /etc/hosts alone: it cannot be used with --add-host or --hosts-file",
        ));
    }
    let publishes = !publish.is_empty() || flags.publish_all;
    match &mode {
        NetworkMode::Container(other) => {
            let wrong = [
                (publishes, "--publish"),
                (!flags.dns.is_empty(), "--dns"),
                (!flags.dns_search.is_empty(), "--dns-search"),
                (!flags.dns_option.is_empty(), "--dns-option"),
                (!add_hosts.is_empty(), "--add-host"),
            ];
            if let Some((_, flag)) = wrong.iter().find(|(given, _)| *given) {
                return Err(Error::invalid(format!(
                    "{flag} cannot be used with --network container:{other}"
                ))
                .hint(format!("give {flag} to the container {other:?} itself")));
            }
        }
        NetworkMode::Host | NetworkMode::None if publishes => {
            let name = if mode == NetworkMode::Host {
                "host"
            } else {
                "none"
            };
            notices.push(format!(
                "published ports have no effect with --network {name}"
            ));
        }
        _ => {}
    }
    Ok(NetworkOptions {
        mode,
        publish,
        publish_all: flags.publish_all,
        expose: flags.expose.clone(),
        dns,
        dns_none,
        dns_search: flags.dns_search.clone(),
        dns_options: flags.dns_option.clone(),
        add_hosts,
        no_hosts: flags.no_hosts.unwrap_or(false),
        hosts_file: flags.hosts_file.clone(),
    })
}

fn mode(words: &[String]) -> Result<NetworkMode> {
    let [word] = words else {
        return match words {
            [] => Ok(NetworkMode::Default),
            _ => Err(Error::unsupported(
                "several networks for one container come with a later version",
            )),
        };
    };
    let (name, rest) = match word.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (word.as_str(), None),
    };
    let list = |text: Option<&str>| -> Vec<String> {
        let text = text.unwrap_or_default();
        text.split(',')
            .filter(|o| !o.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match (name, rest) {
        ("none", None) => Ok(NetworkMode::None),
        ("host", None) => Ok(NetworkMode::Host),
        ("pasta", rest) => Ok(NetworkMode::Pasta(list(rest))),
        ("slirp4netns", rest) => Ok(NetworkMode::Slirp4netns(list(rest))),
        ("container", Some(other)) if !other.is_empty() => {
            Ok(NetworkMode::Container(other.to_owned()))
        }
        ("ns", Some(path)) if path.starts_with('/') => Ok(NetworkMode::Path(path.into())),
        ("container" | "ns", _) => Err(Error::invalid(format!("invalid network {word:?}"))
            .hint("write container:NAME or ns:/absolute/path")),
        (name, None) if DEFAULT_NAMES.contains(&name) => Ok(NetworkMode::Default),
        ("none" | "host", Some(_)) => {
            Err(Error::invalid(format!("network {name:?} takes no options")))
        }
        ("pod", _) => Err(Error::unsupported("pods come with a later version")),
        (name, _) => Err(Error::unsupported(format!(
            "cannot use network {name:?}: networks with a name come with a later version"
        ))
        .hint("leave --network out for a network of its own with access to the outside")),
    }
}

fn address(text: &str) -> Result<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .map_err(|_| Error::invalid(format!("{text:?} is not an IP address")))
}

/// `NAME[;NAME…]:ADDRESS`, Docker's `NAME=ADDRESS` too; the address may be `host-gateway`.
fn extra_host(text: &str) -> Result<(Vec<String>, String)> {
    let bad = || {
        Error::invalid(format!("invalid --add-host {text:?}"))
            .hint("write NAME:ADDRESS, e.g. db:10.0.0.5 or me:host-gateway")
    };
    let at = text.find([':', '=']).ok_or_else(bad)?;
    let (names, rest) = (&text[..at], &text[at + 1..]);
    let names: Vec<String> = names.split(';').map(str::to_owned).collect();
    let blank = |n: &String| n.is_empty() || n.contains(|c: char| c.is_whitespace() || c == '#');
    if names.iter().any(blank) {
        return Err(bad());
    }
    if rest == "host-gateway" {
        return Ok((names, rest.to_owned()));
    }
    let address = address(rest).map_err(|e| bad().because(e))?;
    Ok((names, address.to_string()))
}

fn protocol(text: &str) -> Result<Protocol> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Err(Error::unsupported(
            "ports of protocol sctp cannot be published without root on the host",
        )),
        _ => Err(Error::invalid(format!(
            "unknown protocol {text:?}: use tcp or udp"
        ))),
    }
}

/// `80` or `80-90`: first and last.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |t: &str| {
        t.parse::<u16>()
            .ok()
            .filter(|n| *n > 0 && !t.starts_with('+'))
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// `port[-port][/proto]` of `--expose`.
fn exposed(text: &str) -> Result<()> {
    let (ports, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    protocol(proto)?;
    range(ports)
        .map(|_| ())
        .ok_or_else(|| Error::invalid(format!("invalid port {text:?}")))
}

/// `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`; an IPv6 address stands in brackets.
fn port(text: &str) -> Result<PortMapping> {
    let bad = |why: &str| {
        Error::invalid(format!("cannot publish {text:?}: {why}"))
            .hint("write 8080:80, 127.0.0.1:8080:80, [::1]:8080:80 or 8000-8010:8000-8010/udp")
    };
    let (ports, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(proto)?;
    let (host_ip, rest) = if let Some(rest) = ports.strip_prefix('[') {
        let (ip, rest) = rest
            .split_once(']')
            .ok_or_else(|| bad("a bracket is missing"))?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| bad("the address is not IPv6"))?;
        let rest = rest
            .strip_prefix(':')
            .ok_or_else(|| bad("no port follows the address"))?;
        (Some(IpAddr::V6(ip)), rest)
    } else {
        match ports.matches(':').count() {
            0 | 1 => (None, ports),
            2 => {
                let (ip, rest) = ports.split_once(':').unwrap_or_default();
                let ip = match ip {
                    "" => None,
                    ip => Some(
                        ip.parse()
                            .map_err(|_| bad("the address is not an IP address"))?,
                    ),
                };
                (ip, rest)
            }
            _ => return Err(bad("an IPv6 address stands in brackets")),
        }
    };
    let (host, inside) = match rest.split_once(':') {
        Some((host, inside)) => (host, inside),
        None if host_ip.is_none() => ("", rest),
        None => return Err(bad("the host's port is missing: ADDRESS::PORT chooses one")),
    };
    let (first, last) =
        range(inside).ok_or_else(|| bad("the container's port is not 1 to 65535"))?;
    let count = last - first + 1;
    let host_port = match host {
        "" | "0" => 0,
        host => {
            let (low, high) =
                range(host).ok_or_else(|| bad("the host's port is not 1 to 65535"))?;
            if high - low != last - first {
                return Err(bad("the two ranges differ in length"));
            }
            low
        }
    };
    Ok(PortMapping {
        host_ip,
        host_port,
        container_port: first,
        range: count,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_every_form() {
        let show = |p: &PortMapping| {
            let ip = p.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
            let proto = p.protocol.name();
            format!(
                "{ip} {} {} x{} {proto}",
                p.host_port, p.container_port, p.range
            )
        };
        for (text, want) in [
            ("80", "* 0 80 x1 tcp"),
            (":80", "* 0 80 x1 tcp"),
            ("8080:80", "* 8080 80 x1 tcp"),
            ("0:80", "* 0 80 x1 tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080 80 x1 tcp"),
            ("127.0.0.1::80", "127.0.0.1 0 80 x1 tcp"),
            ("0.0.0.0:1:2/udp", "0.0.0.0 1 2 x1 udp"),
            ("[::1]:8080:80", "::1 8080 80 x1 tcp"),
            ("[::]::80/UDP", ":: 0 80 x1 udp"),
            ("8000-8010:9000-9010", "* 8000 9000 x11 tcp"),
            ("80-82/udp", "* 0 80 x3 udp"),
            ("1-65535:1-65535", "* 1 1 x65535 tcp"),
        ] {
            assert_eq!(show(&port(text).unwrap()), want, "{text}");
        }
        for text in [
            "",
            ":",
            "0",
            "80:0",
            "65536",
            "8080:",
            "x:80",
            "80:x",
            "127.0.0.1:80",
            "::1:80:80",
            "[::1]80:80",
            "[::1:80:80",
            "[1.2.3.4]:1:2",
            "1.2.3:1:2",
            "8000-8001:80",
            "90-80",
            "80/sctp",
            "80/",
            "80/icmp",
            "-80",
            "+80",
            "1:2:3:4",
        ] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_recognised_and_named_networks_refused() {
        use NetworkMode::{Container, Default, Host, None, Pasta, Path, Slirp4netns};
        for (word, want) in [
            ("none", None),
            ("host", Host),
            ("bridge", Default),
            ("private", Default),
            ("podman", Default),
            ("", Default),
            ("pasta", Pasta(vec![])),
            (
                "pasta:-4,--mtu,1500",
                Pasta(vec!["-4".into(), "--mtu".into(), "1500".into()]),
            ),
            ("slirp4netns:mtu=1500", Slirp4netns(vec!["mtu=1500".into()])),
            ("container:web", Container("web".into())),
            ("ns:/run/netns/x", Path("/run/netns/x".into())),
        ] {
            assert_eq!(mode(&[word.to_owned()]).unwrap(), want, "{word}");
        }
        for word in [
            "mynet",
            "bridge:ip=1.2.3.4",
            "container:",
            "ns:x",
            "host:x",
            "pod",
        ] {
            assert!(mode(&[word.to_owned()]).is_err(), "{word}");
        }
        assert!(mode(&["host".to_owned(), "none".to_owned()]).is_err());
    }

    #[test]
    fn extra_hosts_may_have_several_names() {
        for (text, names, ip) in [
            ("db:10.0.0.5", "db", "10.0.0.5"),
            ("a;b.c:::1", "a b.c", "::1"),
            ("a:[fe80::1]", "a", "fe80::1"),
            ("a=1.2.3.4", "a", "1.2.3.4"),
            ("me:host-gateway", "me", "host-gateway"),
        ] {
            let (got, address) = extra_host(text).unwrap();
            assert_eq!(
                (got.join(" ").as_str(), address.as_str()),
                (names, ip),
                "{text}"
            );
        }
        for text in [
            "",
            "db",
            ":1.2.3.4",
            "db:",
            "a b:1.2.3.4",
            "a;:1.2.3.4",
            "db:host",
        ] {
            assert!(extra_host(text).is_err(), "{text}");
        }
        for text in ["80", "80/udp", "80-90"] {
            assert!(exposed(text).is_ok(), "{text}");
        }
        for text in ["", "a", "80/x", "90-80", "0"] {
            assert!(exposed(text).is_err(), "{text}");
        }
    }
}
