//! `--network`, `-p`, `--expose`, `--dns`, `--add-host`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::flags;
use crate::base::time::parse_duration;
use crate::base::{Error, Result};
use crate::spec::id::ObjectName;
use crate::state::network as state;
use crate::state::options::{
    NetworkMode, NetworkOptions, NetworkWish, OnDemand, PortMapping, Protocol,
};

/// Names that mean "the default network": one of the container's own.
const DEFAULT_NAMES: [&str; 3] = ["", "default", "private"];

/// A container on demand is stopped after so many seconds without a connection.
const IDLE: u64 = 600;

/// All of them together.
///
/// # Errors
/// `Invalid` for what cannot be read or contradicts itself.
pub(super) fn network(flags: &flags::Network, notices: &mut Vec<String>) -> Result<NetworkOptions> {
    let mode = with_endpoint(mode(&flags.network)?, flags)?;
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
    if !flags.service.is_empty() && mode.networks().is_empty() {
        return Err(
            Error::invalid("--service is for containers on networks with a name").hint(
                "add --network NAME, one of the service's: `coracle service inspect` shows them",
            ),
        );
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
        on_demand: on_demand(flags, &mode, publishes)?,
        mode,
        publish,
        publish_all: flags.publish_all,
        services: flags.service.clone(),
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

/// `--on-demand`, `--idle`.
fn on_demand(
    flags: &flags::Network,
    mode: &NetworkMode,
    publishes: bool,
) -> Result<Option<OnDemand>> {
    if !flags.on_demand {
        return Ok(None);
    }
    if !publishes {
        return Err(Error::invalid("--on-demand needs a port to wait at")
            .hint("publish one: `-p 8080:80 --on-demand`"));
    }
    if matches!(mode, NetworkMode::None) || !mode.is_own() {
        return Err(Error::invalid(
            "--on-demand needs a network of the container's own: its ports are not held otherwise",
        )
        .hint("leave out --network, or name a network"));
    }
    let idle = match flags.idle.as_deref() {
        None => IDLE,
        Some("0") => 0,
        Some(text) => match parse_duration(text)?.as_secs() {
            0 => {
                return Err(Error::invalid(format!(
                    "--idle {text} is less than a second, the shortest time"
                ))
                .hint("0 stands for never"));
            }
            seconds => seconds,
        },
    };
    Ok(Some(OnDemand { idle }))
}

/// `--network` as often as it was given; `--network a,b` names two.
fn mode(words: &[String]) -> Result<NetworkMode> {
    let mut modes = Vec::new();
    for word in words {
        // A comma separates names only: behind a colon it separates options.
        match word.contains(':') {
            true => modes.push(one_mode(word)?),
            false => {
                for name in word.split(',') {
                    modes.push(one_mode(name)?);
                }
            }
        }
    }
    if modes.len() < 2 {
        return Ok(modes.pop().unwrap_or_default());
    }
    let mut wishes: Vec<NetworkWish> = Vec::new();
    for mode in modes {
        let NetworkMode::Networks(list) = mode else {
            return Err(Error::invalid(format!(
                "--network {} names a mode: only networks with a name can be several",
                words.join(" --network ")
            )));
        };
        wishes.extend(list);
    }
    for (index, wish) in wishes.iter().enumerate() {
        if wishes[..index].iter().any(|w| w.name == wish.name) {
            return Err(Error::invalid(format!(
                "network {:?} is given twice",
                wish.name
            )));
        }
    }
    Ok(NetworkMode::Networks(wishes))
}

/// `--ip`, `--ip6`, `--mac-address` for the only network, `--network-alias` for all of them.
fn with_endpoint(mode: NetworkMode, flags: &flags::Network) -> Result<NetworkMode> {
    let given = [
        (flags.ip.is_some(), "--ip"),
        (flags.ip6.is_some(), "--ip6"),
        (flags.mac_address.is_some(), "--mac-address"),
        (!flags.network_alias.is_empty(), "--network-alias"),
    ];
    let Some((_, flag)) = given.iter().find(|(is_given, _)| *is_given) else {
        return Ok(mode);
    };
    let NetworkMode::Networks(mut wishes) = mode else {
        return Err(
            Error::invalid(format!("{flag} is for networks with a name")).hint(
                "add --network NAME: `coracle network ls` lists them, podman is always there",
            ),
        );
    };
    for alias in &flags.network_alias {
        host_name(alias)?;
    }
    let several = wishes.len() > 1;
    for wish in &mut wishes {
        wish.aliases.extend(flags.network_alias.iter().cloned());
        if several && *flag != "--network-alias" {
            return Err(Error::invalid(format!(
                "{flag} does not say on which of several networks"
            ))
            .hint("write it with the network: --network NAME:ip=ADDRESS,mac=ADDRESS"));
        }
        if let Some(ip) = &flags.ip {
            wish.ip = Some(v4(ip)?);
        }
        if let Some(ip) = &flags.ip6 {
            wish.ip6 = Some(v6(ip)?);
        }
        if let Some(mac) = &flags.mac_address {
            wish.mac = Some(mac_address(mac)?);
        }
    }
    Ok(NetworkMode::Networks(wishes))
}

/// What `network connect` asks for; the network's name is filled in later.
///
/// # Errors
/// `Invalid` for what is no address or name.
pub(crate) fn network_wish(
    aliases: Vec<String>,
    ip: Option<&str>,
    ip6: Option<&str>,
    mac: Option<&str>,
) -> Result<NetworkWish> {
    for alias in &aliases {
        host_name(alias)?;
    }
    Ok(NetworkWish {
        name: String::new(),
        ip: ip.map(v4).transpose()?,
        ip6: ip6.map(v6).transpose()?,
        mac: mac.map(mac_address).transpose()?,
        aliases,
        interface: None,
        host_interface: None,
    })
}

fn v4(text: &str) -> Result<Ipv4Addr> {
    text.parse()
        .map_err(|_| Error::invalid(format!("{text:?} is not an IPv4 address")))
}

fn v6(text: &str) -> Result<Ipv6Addr> {
    text.parse()
        .map_err(|_| Error::invalid(format!("{text:?} is not an IPv6 address")))
}

/// `02:42:ac:11:00:02`, with `-` or `.` too. One of a group is nobody's address.
fn mac_address(text: &str) -> Result<[u8; 6]> {
    let wrong = || {
        Error::invalid(format!("{text:?} is not a hardware address"))
            .hint("write six pairs of digits, e.g. 02:42:ac:11:00:02")
    };
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let mut mac = [0; 6];
    if parts.len() != mac.len() {
        return Err(wrong());
    }
    for (byte, part) in mac.iter_mut().zip(parts) {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16)
            .ok()
            .filter(|_| digits)
            .ok_or_else(wrong)?;
    }
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return Err(wrong());
    }
    Ok(mac)
}

/// A name by which a container is found: letters, digits, `-`, `_` and dots.
fn host_name(text: &str) -> Result<()> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(());
    }
    Err(Error::invalid(format!("{text:?} is not a host name")))
}

/// `NAME[:KEY=VALUE,…]`.
fn wish(name: &str, options: Option<&str>) -> Result<NetworkWish> {
    name.parse::<ObjectName>()?;
    let name = match name {
        state::DEFAULT_OF_DOCKER => state::DEFAULT,
        other => other,
    };
    let mut wish = NetworkWish {
        name: name.to_owned(),
        ..NetworkWish::default()
    };
    for option in options
        .unwrap_or_default()
        .split(',')
        .filter(|o| !o.is_empty())
    {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "ip" => match address(value)? {
                IpAddr::V4(ip) => wish.ip = Some(ip),
                IpAddr::V6(ip) => wish.ip6 = Some(ip),
            },
            "ip6" => wish.ip6 = Some(v6(value)?),
            "mac" => wish.mac = Some(mac_address(value)?),
            "alias" => {
                host_name(value)?;
                wish.aliases.push(value.to_owned());
            }
            "interface_name" => wish.interface = Some(interface_name(value)?),
            "host_interface_name" => wish.host_interface = Some(interface_name(value)?),
            _ => {
                return Err(Error::invalid(format!(
                    "invalid option {option:?} of network {name:?}"
                ))
                .hint("known: ip= ip6= mac= alias= interface_name= host_interface_name="));
            }
        }
    }
    Ok(wish)
}

/// The name of a network device: at most 15 bytes, no slash, colon or space.
pub(crate) fn interface_name(text: &str) -> Result<String> {
    let good = !text.is_empty()
        && text.len() <= 15
        && !matches!(text, "." | ".." | "lo")
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'));
    if good {
        Ok(text.to_owned())
    } else {
        Err(
            Error::invalid(format!("{text:?} is not a name of a network device"))
                .hint("at most 15 letters and digits"),
        )
    }
}

fn one_mode(word: &str) -> Result<NetworkMode> {
    let (name, rest) = match word.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (word, None),
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
        // A pod's containers do so anyway.
        ("pod", None) => Ok(NetworkMode::Default),
        ("pod", Some(_)) => Err(Error::invalid("network \"pod\" takes no options")),
        (name, options) => Ok(NetworkMode::Networks(vec![wish(name, options)?])),
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
pub(crate) fn port(text: &str) -> Result<PortMapping> {
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
            ("private", Default),
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
            "bridge:ip=1.2.3",
            "net:colour=red",
            "net:alias=a b",
            "net:interface_name=a/b",
            "net:mac=01:00:00:00:00:01",
            "-net",
            "a b",
            "container:",
            "ns:x",
            "host:x",
            "pod:x",
            "host,none",
            "a,a",
            "a,host",
        ] {
            assert!(mode(&[word.to_owned()]).is_err(), "{word}");
        }
        assert!(mode(&["host".to_owned(), "none".to_owned()]).is_err());
    }

    #[test]
    fn networks_with_a_name_may_be_several_and_have_options() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let mode = mode(&words).unwrap();
            let names: Vec<String> = mode.networks().iter().map(|w| w.name.clone()).collect();
            names.join(" ")
        };
        assert_eq!(names(&["bridge"]), "podman");
        assert_eq!(names(&["a,b", "c:ip=10.0.0.2"]), "a b c");
        let word =
            "a:ip=10.1.1.5,ip=fd00::5,mac=02:0a:00:00:00:01,alias=x,alias=y.z,interface_name=net0";
        let mode = mode(&[word.to_owned()]).unwrap();
        let wish = &mode.networks()[0];
        assert_eq!(wish.ip, "10.1.1.5".parse().ok());
        assert_eq!(wish.ip6, "fd00::5".parse().ok());
        assert_eq!(wish.mac, Some([2, 10, 0, 0, 0, 1]));
        assert_eq!(wish.aliases, ["x", "y.z"]);
        assert_eq!(wish.interface.as_deref(), Some("net0"));
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
