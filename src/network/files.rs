//! `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname` of a container, as text. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a resolver file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// `nameserver`, with a zone for link-local ones, as written.
    pub servers: Vec<String>,
    /// `search` or `domain`; the last line counts.
    pub search: Vec<String>,
    /// `options`.
    pub options: Vec<String>,
}

/// glibc reads three servers and ignores the rest; musl asks them all at once.
const MAX_SERVERS: usize = 3;

/// The address of systemd-resolved.
const RESOLVED: &str = "127.0.0.53";

/// Reads a resolver file; lines that make no sense are skipped.
///
/// Spec: resolv.conf(5).
pub fn parse_resolver(text: &str) -> Resolver {
    let mut found = Resolver::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => found.servers.extend(
                words
                    .next()
                    .filter(|w| address(w).is_some())
                    .map(str::to_owned),
            ),
            Some("search") => found.search = words.map(str::to_owned).collect(),
            Some("domain") => found.search = words.take(1).map(str::to_owned).collect(),
            Some("options") => found.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    found
}

/// Whether the file names systemd-resolved and nobody else.
pub fn only_names_resolved(text: &str) -> bool {
    let servers = parse_resolver(text).servers;
    !servers.is_empty() && servers.iter().all(|s| s == RESOLVED)
}

/// The address of a `nameserver` word, without its zone.
fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

/// Whether a server can be reached from another network namespace than the host's.
fn is_reachable(word: &str) -> bool {
    match address(word) {
        Some(IpAddr::V4(a)) => !a.is_loopback() && !a.is_unspecified(),
        // Link-local servers need a zone that does not exist inside.
        Some(IpAddr::V6(a)) => {
            !a.is_loopback() && !a.is_unspecified() && !a.is_unicast_link_local()
        }
        None => false,
    }
}

/// How the container's resolvers are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverChoice<'a> {
    /// The host's file.
    pub host: &'a str,
    /// systemd-resolved's own file, with the servers behind it.
    pub behind: Option<&'a str>,
    /// The container shares the host's loopback, so its resolvers work as they are.
    pub is_host_network: bool,
    /// The uplink's address that forwards to the host's resolver.
    pub forward: Option<IpAddr>,
    /// Whether the container has IPv6.
    pub has_v6: bool,
    /// Gateways of networks that answer names: they stand for every server of the outside.
    pub gateways: &'a [IpAddr],
    /// `--dns`.
    pub servers: &'a [IpAddr],
    /// `--dns-search`; a single `.` means none.
    pub search: &'a [String],
    /// `--dns-option`.
    pub options: &'a [String],
}

/// The text of `/etc/resolv.conf`.
///
/// With an uplink its forwarding address comes first: it reaches even a resolver on the host's
/// loopback, and follows the host. The host's reachable servers come behind it.
pub fn resolv_conf(choice: &ResolverChoice<'_>) -> String {
    let host = parse_resolver(choice.host);
    let mut servers: Vec<String> = Vec::new();
    let mut add = |word: String| {
        if !servers.contains(&word) && servers.len() < MAX_SERVERS {
            servers.push(word);
        }
    };
    if !choice.gateways.is_empty() {
        choice.gateways.iter().for_each(|g| add(g.to_string()));
    } else if !choice.servers.is_empty() {
        choice.servers.iter().for_each(|s| add(s.to_string()));
    } else if choice.is_host_network {
        host.servers.iter().cloned().for_each(add);
    } else {
        choice.forward.iter().for_each(|f| add(f.to_string()));
        let behind = choice.behind.map(|text| parse_resolver(text).servers);
        host.servers
            .iter()
            .chain(behind.iter().flatten())
            .filter(|s| is_reachable(s) && (choice.has_v6 || !s.contains(':')))
            .cloned()
            .for_each(add);
    }
    let search: Vec<&str> = if choice.search.is_empty() {
        host.search.iter().map(String::as_str).collect()
    } else {
        choice.search.iter().map(String::as_str).collect()
    };
    let mut search: Vec<&str> = search.into_iter().filter(|s| *s != ".").collect();
    if !choice.gateways.is_empty() && choice.search.is_empty() {
        search.insert(0, super::bridge::DOMAIN);
    }
    let options = if choice.options.is_empty() {
        &host.options
    } else {
        choice.options
    };
    let mut text = String::new();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

/// A resolver file with other servers, and everything else as it is.
pub fn with_servers(text: &str, servers: &[IpAddr]) -> String {
    let others = text
        .lines()
        .filter(|l| !l.trim_start().starts_with("nameserver"));
    let own = servers
        .iter()
        .take(MAX_SERVERS)
        .map(|s| format!("nameserver {s}"));
    let lines = others.map(str::to_owned).chain(own);
    lines.map(|l| l + "\n").collect()
}

/// What goes into a hosts file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsChoice<'a> {
    /// `--add-host`: names and an address, `host-gateway` already replaced. They come first, so
    /// that they win.
    pub added: Vec<(Vec<String>, IpAddr)>,
    /// The base file.
    pub base: &'a str,
    /// The container's own address, and the names it goes by.
    pub own: Option<(IpAddr, Vec<String>)>,
    /// The address of the host, for `host.containers.internal` and `host.docker.internal`.
    pub host: Option<IpAddr>,
}

/// The text of `/etc/hosts`.
pub fn hosts(choice: &HostsChoice<'_>) -> String {
    let mut text = String::new();
    let mut line = |address: &str, names: &[String]| {
        text.push_str(&format!("{address}\t{}\n", names.join(" ")));
    };
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (names, address) in &choice.added {
        line(&address.to_string(), names);
        taken.extend(names.iter().cloned());
    }
    // The base file's lines lose the names that are ours; comments are not carried over.
    let own_names = choice.own.iter().flat_map(|(_, names)| names.clone());
    let ours: BTreeSet<String> = own_names
        .chain(HOST_NAMES.iter().map(|n| (*n).to_owned()))
        .collect();
    for (address, names) in entries(choice.base) {
        let names: Vec<String> = names
            .into_iter()
            .filter(|n| !taken.contains(n) && !ours.contains(n))
            .collect();
        if !names.is_empty() {
            line(&address, &names);
        }
    }
    for (address, names) in [
        ("127.0.0.1", ["localhost"].as_slice()),
        ("::1", &["localhost", "ip6-localhost", "ip6-loopback"]),
    ] {
        let has_it = entries(choice.base)
            .iter()
            .any(|(a, n)| a == address && n.iter().any(|n| n == "localhost"));
        if !has_it {
            line(
                address,
                &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(),
            );
        }
    }
    let host_names: Vec<String> = HOST_NAMES
        .iter()
        .map(|n| (*n).to_owned())
        .filter(|n| !taken.contains(n))
        .collect();
    if let Some(address) = choice.host
        && !host_names.is_empty()
    {
        line(&address.to_string(), &host_names);
    }
    if let Some((address, names)) = &choice.own {
        let mut names = names.clone();
        names.dedup();
        line(&address.to_string(), &names);
    }
    text
}

const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

/// Address and names of each line.
fn entries(text: &str) -> Vec<(String, Vec<String>)> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let address = words.next().filter(|a| address(a).is_some())?;
            let names: Vec<String> = words.map(str::to_owned).collect();
            (!names.is_empty()).then(|| (address.to_owned(), names))
        })
        .collect()
}

/// The text of `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn resolvers_on_the_loopback_are_replaced_by_the_forwarder() {
        let resolved = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
        let behind = "nameserver 192.168.1.1\nnameserver fe80::1%eth0\nnameserver fd00::1\n";
        let odd = "nameserver ::1\nnameserver fe80::1%3\nnameserver nonsense\n# nameserver 1.1.1.1\nnameserver 9.9.9.9 # x\ndomain a b\n";
        let many =
            "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4\n";
        let forward = Some(ip("10.0.2.3"));
        let cases = [
            (
                resolved,
                None,
                forward,
                false,
                "search lan\nnameserver 10.0.2.3\noptions edns0 trust-ad\n",
            ),
            (
                resolved,
                Some(behind),
                forward,
                false,
                "search lan\nnameserver 10.0.2.3\nnameserver 192.168.1.1\noptions edns0 trust-ad\n",
            ),
            (
                resolved,
                Some(behind),
                forward,
                true,
                "search lan\nnameserver 10.0.2.3\nnameserver 192.168.1.1\nnameserver fd00::1\noptions edns0 trust-ad\n",
            ),
            (
                odd,
                None,
                forward,
                true,
                "search a\nnameserver 10.0.2.3\nnameserver 9.9.9.9\n",
            ),
            (odd, None, None, true, "search a\nnameserver 9.9.9.9\n"),
            (
                many,
                None,
                forward,
                false,
                "nameserver 10.0.2.3\nnameserver 1.0.0.1\nnameserver 1.0.0.2\n",
            ),
            ("", None, forward, false, "nameserver 10.0.2.3\n"),
            ("", None, None, false, ""),
        ];
        for (host, behind, forward, has_v6, expected) in cases {
            let choice = ResolverChoice {
                host,
                behind,
                forward,
                has_v6,
                ..Default::default()
            };
            assert_eq!(resolv_conf(&choice), expected);
        }
        assert!(only_names_resolved(resolved));
        assert!(!only_names_resolved(odd) && !only_names_resolved(""));
    }

    #[test]
    fn options_of_the_person_replace_those_of_the_host() {
        let servers = [ip("8.8.4.4"), ip("2001:db8::1")];
        let mut choice = ResolverChoice {
            host: "nameserver 127.0.0.1\nsearch lan\noptions rotate\n",
            forward: Some(ip("10.0.2.3")),
            servers: &servers,
            search: &[".".to_owned()],
            options: &["ndots:2".to_owned()],
            ..Default::default()
        };
        assert_eq!(
            resolv_conf(&choice),
            "nameserver 8.8.4.4\nnameserver 2001:db8::1\noptions ndots:2\n"
        );
        choice.servers = &[];
        choice.is_host_network = true;
        choice.options = &[];
        assert_eq!(
            resolv_conf(&choice),
            "nameserver 127.0.0.1\noptions rotate\n"
        );
    }

    #[test]
    fn added_hosts_win_over_the_base_file_and_our_names() {
        let choice = HostsChoice {
            added: vec![
                (vec!["db".into(), "base1".into()], ip("10.1.1.1")),
                (vec!["host.docker.internal".into()], ip("10.9.9.9")),
            ],
            base: "127.0.0.1 localhost\n10.0.0.5 base1 base2 # note\nbroken\n10.0.0.6 web\n",
            own: Some((
                ip("10.0.2.100"),
                vec!["web".into(), "web".into(), "c1".into()],
            )),
            host: Some(ip("192.168.1.7")),
        };
        assert_eq!(
            hosts(&choice),
            "10.1.1.1\tdb base1\n10.9.9.9\thost.docker.internal\n127.0.0.1\tlocalhost\n10.0.0.5\tbase2\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n192.168.1.7\thost.containers.internal\n10.0.2.100\tweb c1\n"
        );
        let empty = hosts(&HostsChoice::default());
        assert_eq!(
            empty,
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        );
    }
}
