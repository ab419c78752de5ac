//! Host names to addresses, by our own stub resolver.
//!
//! The C library's name service loads modules, which crashes a static program; so `/etc/hosts`
//! and `/etc/resolv.conf` are read here and the questions asked by datagram, over TCP when an
//! answer is truncated. IPv4 addresses come before IPv6 ones, and addresses without a route last,
//! because connections are tried one after the other.
//!
//! Spec: RFC 1035; resolv.conf(5), hosts(5). Not here: mDNS, NSS modules, DNSSEC.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result, random};

const LIMIT: u64 = 1 << 20;

/// Looks host names up, and remembers the answers as long as it lives.
#[derive(Clone, Debug)]
pub struct Resolver {
    hosts: String,
    conf: ResolvConf,
    known: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
}

/// What `/etc/resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ResolvConf {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: u32,
    tcp_only: bool,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::from_files(Path::new("/etc/hosts"), Path::new("/etc/resolv.conf"))
    }
}

impl Resolver {
    /// Reads the two files; missing or unreadable ones count as empty.
    pub fn from_files(hosts: &Path, conf: &Path) -> Self {
        let text = |path| {
            files::read_if_exists(path, LIMIT)
                .ok()
                .flatten()
                .map(|b| String::from_utf8_lossy(&b).into_owned())
                .unwrap_or_default()
        };
        Self {
            hosts: text(hosts),
            conf: ResolvConf::parse(&text(conf)),
            known: Arc::default(),
        }
    }

    /// The addresses of a host, best first; at least one.
    ///
    /// # Errors
    /// `NotFound` when no server knows it, `Unavailable` when none answers.
    pub fn lookup(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let listed = in_hosts(&self.hosts, &host);
        if !listed.is_empty() {
            return Ok(sorted(listed));
        }
        // RFC 6761: never asked outside.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Ok(known) = self.known.lock()
            && let Some(addresses) = known.get(&host)
        {
            return Ok(addresses.clone());
        }
        let mut missing = None;
        for name in self.conf.names(&host) {
            match self.ask(&name, deadline) {
                Ok(addresses) => {
                    let addresses = sorted(addresses);
                    if let Ok(mut known) = self.known.lock() {
                        known.insert(host, addresses.clone());
                    }
                    return Ok(addresses);
                }
                Err(e) if e.kind() == Kind::NotFound => missing = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(missing.unwrap_or_else(|| unknown(&host)))
    }

    fn ask(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        let mut last = None;
        for _ in 0..self.conf.attempts {
            for server in &self.conf.servers {
                let until = deadline.min(Instant::now() + self.conf.timeout);
                let answer = if self.conf.tcp_only {
                    over_tcp(*server, name, until)
                } else {
                    over_udp(*server, name, until)
                };
                match answer {
                    Ok(addresses) if addresses.is_empty() => return Err(unknown(name)),
                    Err(e) if e.kind() != Kind::NotFound && Instant::now() < deadline => {
                        last = Some(e);
                    }
                    other => return other,
                }
            }
        }
        let cause = last.unwrap_or_else(|| Error::new(Kind::Unavailable, "no name server"));
        Err(
            Error::new(Kind::Unavailable, format!("cannot look up host {name:?}"))
                .because(cause)
                .hint("check the network, and the name servers in /etc/resolv.conf"),
        )
    }
}

impl ureq::unversioned::resolver::Resolver for Resolver {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        _config: &ureq::config::Config,
        timeout: ureq::unversioned::transport::NextTimeout,
    ) -> std::result::Result<ureq::unversioned::resolver::ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        });
        let patience = if timeout.after.is_not_happening() {
            Duration::from_secs(30)
        } else {
            (*timeout.after).min(Duration::from_secs(30))
        };
        let addresses = self
            .lookup(host, Instant::now() + patience)
            .map_err(|e| ureq::Error::Other(Box::new(e)))?;
        let mut result = self.empty();
        for address in addresses.into_iter().take(16) {
            result.push(SocketAddr::new(address, port));
        }
        Ok(result)
    }
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            tcp_only: false,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (%eth0) has no place in an address of Rust's parser.
                    let server = words
                        .next()
                        .and_then(|w| w.split('%').next())
                        .and_then(|w| w.parse::<IpAddr>().ok());
                    if let Some(server) = server
                        && conf.servers.len() < 3
                    {
                        conf.servers.push(SocketAddr::new(server, 53));
                    }
                }
                Some("search" | "domain") => {
                    conf.search = words
                        .take(6)
                        .map(|w| w.trim_matches('.').to_ascii_lowercase())
                        .filter(|w| !w.is_empty())
                        .collect();
                }
                Some("options") => {
                    for word in words {
                        let (key, value) = word.split_once(':').unwrap_or((word, ""));
                        let number = value.parse::<u32>().ok();
                        match (key, number) {
                            ("ndots", Some(n)) => conf.ndots = n.min(15) as usize,
                            ("timeout", Some(n)) => {
                                conf.timeout = Duration::from_secs(n.clamp(1, 30).into());
                            }
                            ("attempts", Some(n)) => conf.attempts = n.clamp(1, 5),
                            ("use-vc", _) => conf.tcp_only = true,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers
                .push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        conf
    }

    /// The names to ask for, in order.
    fn names(&self, host: &str) -> Vec<String> {
        let searched = self.search.iter().map(|domain| format!("{host}.{domain}"));
        if host.matches('.').count() >= self.ndots {
            std::iter::once(host.to_owned()).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(host.to_owned())).collect()
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::not_found(format!("no such host: {name:?}"))
}

/// The addresses that a hosts file gives to a name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect()
}

/// IPv4 first, and addresses that the kernel has no route to last.
fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.dedup();
    addresses.sort_by_cached_key(|address| (!has_route(*address), address.is_ipv6()));
    addresses
}

fn has_route(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Connecting a datagram socket sends nothing: the kernel only looks for a route.
    UdpSocket::bind(any).is_ok_and(|s| s.connect((address, 443)).is_ok())
}

fn query(id: u16, name: &str, kind: TYPE) -> Result<Vec<u8>> {
    let bad = || format!("invalid host name {name:?}");
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).what_kind(Kind::Invalid, bad)?,
        kind.into(),
        CLASS::IN.into(),
        false,
    ));
    packet.build_bytes_vec().what_kind(Kind::Invalid, bad)
}

fn random_ids() -> [u16; 2] {
    // Without any, the source port is random all the same.
    let bytes = random::bytes::<4>().unwrap_or_default();
    let first = u16::from_ne_bytes([bytes[0], bytes[1]]);
    [first, first.wrapping_add(1 + u16::from(bytes[2]))]
}

const KINDS: [TYPE; 2] = [TYPE::A, TYPE::AAAA];

fn over_udp(server: SocketAddr, name: &str, until: Instant) -> Result<Vec<IpAddr>> {
    let what = || format!("cannot ask name server {}", server.ip());
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).what(what)?;
    // Connected, so the kernel drops datagrams from anybody else.
    socket.connect(server).what(what)?;
    let ids = random_ids();
    for (id, kind) in ids.into_iter().zip(KINDS) {
        socket.send(&query(id, name, kind)?).what(what)?;
    }
    let mut answers: [Option<Vec<IpAddr>>; 2] = [None, None];
    let mut buffer = [0_u8; 4096];
    while answers.iter().any(Option::is_none) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // One family is enough where the other is never answered.
            break;
        }
        socket.set_read_timeout(Some(left)).what(what)?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                break;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).what(what),
        };
        let Ok(packet) = Packet::parse(&buffer[..length]) else {
            continue;
        };
        let Some(which) = ids.iter().position(|id| *id == packet.id()) else {
            continue;
        };
        if !is_answer_to(&packet, name) {
            continue;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return over_tcp(server, name, until);
        }
        answers[which] = Some(addresses(&packet, name)?);
    }
    if answers.iter().all(Option::is_none) {
        return Err(Error::new(Kind::TimedOut, what()).because("no answer in time"));
    }
    Ok(answers.into_iter().flatten().flatten().collect())
}

fn over_tcp(server: SocketAddr, name: &str, until: Instant) -> Result<Vec<IpAddr>> {
    let what = || format!("cannot ask name server {} over TCP", server.ip());
    let left = || {
        until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    };
    let mut stream = TcpStream::connect_timeout(&server, left()).what(what)?;
    let mut found = Vec::new();
    for (id, kind) in random_ids().into_iter().zip(KINDS) {
        stream.set_read_timeout(Some(left())).what(what)?;
        stream.set_write_timeout(Some(left())).what(what)?;
        let question = query(id, name, kind)?;
        let mut message = (question.len() as u16).to_be_bytes().to_vec();
        message.extend_from_slice(&question);
        stream.write_all(&message).what(what)?;
        let mut length = [0_u8; 2];
        stream.read_exact(&mut length).what(what)?;
        let mut answer = vec![0_u8; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).what(what)?;
        let packet = Packet::parse(&answer)
            .map_err(|e| Error::new(Kind::Corrupt, what()).because(format!("{e:?}")))?;
        if packet.id() != id || !is_answer_to(&packet, name) {
            return Err(Error::new(Kind::Corrupt, what()).because("the answer fits no question"));
        }
        found.extend(addresses(&packet, name)?);
    }
    Ok(found)
}

fn is_answer_to(packet: &Packet<'_>, name: &str) -> bool {
    packet.has_flags(PacketFlag::RESPONSE)
        && packet
            .questions
            .first()
            .is_some_and(|q| q.qname.to_string().eq_ignore_ascii_case(name))
}

/// The addresses at the end of the chain of aliases that begins at `name`.
fn addresses(packet: &Packet<'_>, name: &str) -> Result<Vec<IpAddr>> {
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Err(unknown(name)),
        other => {
            return Err(Error::new(
                Kind::Unavailable,
                format!("the name server answers {other:?}"),
            ));
        }
    }
    let mut wanted = name.to_ascii_lowercase();
    for _ in 0..16 {
        let alias = packet.answers.iter().find_map(|r| match &r.rdata {
            RData::CNAME(target) if r.name.to_string().eq_ignore_ascii_case(&wanted) => {
                Some(target.0.to_string().to_ascii_lowercase())
            }
            _ => None,
        });
        match alias {
            Some(next) => wanted = next,
            None => break,
        }
    }
    Ok(packet
        .answers
        .iter()
        .filter(|r| r.name.to_string().eq_ignore_ascii_case(&wanted))
        .filter_map(|r| match &r.rdata {
            RData::A(a) => Some(Ipv4Addr::from(a.address).into()),
            RData::AAAA(a) => Some(Ipv6Addr::from(a.address).into()),
            _ => None,
        })
        .take(32)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, CNAME};

    #[test]
    fn resolv_conf_is_read_as_its_manual_says() {
        let conf = ResolvConf::parse(
            "# comment\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver bad\n\
             search a.example b.example.\noptions ndots:2 timeout:1 attempts:9 use-vc\n",
        );
        assert_eq!(conf.servers.len(), 2);
        assert_eq!(conf.names("x.y"), ["x.y.a.example", "x.y.b.example", "x.y"]);
        assert_eq!(conf.names("x.y.z")[0], "x.y.z");
        assert_eq!((conf.attempts, conf.tcp_only), (5, true));
        assert_eq!(ResolvConf::parse("").servers[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn hosts_come_before_servers_and_localhost_is_never_asked() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, "192.0.2.7 reg.example reg # x\n::1 six\n").unwrap();
        let resolver = Resolver::from_files(&hosts, &dir.path().join("none"));
        let soon = Instant::now() + Duration::from_secs(1);
        for (name, address) in [
            ("REG.example.", "192.0.2.7"),
            ("reg", "192.0.2.7"),
            ("six", "::1"),
            ("localhost", "127.0.0.1"),
            ("a.localhost", "127.0.0.1"),
            ("[::1]", "::1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            let found = resolver.lookup(name, soon).unwrap();
            assert_eq!(found[0].to_string(), address, "{name}");
        }
    }

    #[test]
    fn a_server_is_asked_and_aliases_followed() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0_u8; 512];
            for _ in 0..2 {
                let (n, from) = server.recv_from(&mut buffer).unwrap();
                let question = Packet::parse(&buffer[..n]).unwrap();
                let mut reply = Packet::new_reply(question.id());
                reply.set_flags(PacketFlag::RESPONSE);
                reply.questions = question.questions.clone();
                let name = |text: &'static str| Name::new_unchecked(text);
                let alias = RData::CNAME(CNAME(name("real.example")));
                reply.answers.push(ResourceRecord::new(
                    name("reg.example"),
                    CLASS::IN,
                    9,
                    alias,
                ));
                if question.questions[0].qtype == TYPE::A.into() {
                    for (owner, last) in [("real.example", 9), ("other.example", 8)] {
                        let rdata = RData::A(A {
                            address: u32::from_be_bytes([127, 0, 0, last]),
                        });
                        reply
                            .answers
                            .push(ResourceRecord::new(name(owner), CLASS::IN, 9, rdata));
                    }
                }
                server
                    .send_to(&reply.build_bytes_vec().unwrap(), from)
                    .unwrap();
            }
        });
        let soon = Instant::now() + Duration::from_secs(5);
        let found = over_udp(address, "reg.example", soon).unwrap();
        assert_eq!(found, ["127.0.0.9".parse::<IpAddr>().unwrap()]);
        thread.join().unwrap();
    }

    #[test]
    fn a_silent_server_costs_no_more_than_its_deadline() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        let e = over_udp(server.local_addr().unwrap(), "x.example", soon).unwrap_err();
        assert_eq!(e.kind(), Kind::TimedOut);
    }
}
