//! Published ports: which, whether they are free, and what to say when they are not.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use super::facts::HostFacts;
use super::plan::{Kind, NetworkPlan};
use crate::base::{Context as _, Error, Kind as ErrorKind, Result};
use crate::config::containers_conf::ContainersConf;
use crate::state::options::{NetworkOptions, PortMapping, Protocol};

/// The ports to publish: `-p`, and with `-P` what the image and `--expose` name besides.
///
/// # Errors
/// `Invalid` for a malformed exposed port, or when two mappings want the same host port.
pub fn requested(
    options: &NetworkOptions,
    image_ports: &[String],
    conf: &ContainersConf,
) -> Result<Vec<PortMapping>> {
    let mut list = options.publish.clone();
    if options.publish_all {
        let mut exposed = BTreeSet::new();
        for text in image_ports.iter().chain(&options.expose) {
            let (first, last, protocol) = parse_exposed(text)?;
            exposed.extend((first..=last).map(|port| (port, protocol)));
        }
        for (port, protocol) in exposed {
            let has_it = list.iter().any(|m| {
                m.protocol == protocol
                    && (m.container_port..=last(m.container_port, m.range)).contains(&port)
            });
            if !has_it {
                list.push(PortMapping {
                    host_ip: None,
                    host_port: 0,
                    container_port: port,
                    range: 1,
                    protocol,
                });
            }
        }
    }
    let list = with_default_addresses(list, conf)?;
    for (index, one) in list.iter().enumerate() {
        if one.range == 0 || one.container_port == 0 {
            return Err(Error::invalid(format!(
                "{} is not a port mapping",
                describe(one)
            )));
        }
        if let Some(other) = list[..index].iter().find(|other| collide(one, other)) {
            return Err(Error::invalid(format!(
                "{} and {} want the same host port",
                describe(other),
                describe(one)
            )));
        }
    }
    Ok(list)
}

/// The ports that the network serves: those of [`requested`], but for a container that runs on demand,
/// whose ports are held for it ([`super::demand`]).
///
/// # Errors
/// As [`requested`].
pub fn served(
    options: &NetworkOptions,
    image_ports: &[String],
    conf: &ContainersConf,
) -> Result<Vec<PortMapping>> {
    let list = requested(options, image_ports, conf)?;
    Ok(match options.on_demand {
        Some(_) => Vec::new(),
        None => list,
    })
}

/// `default_host_ips` of containers.conf, for mappings without an address.
fn with_default_addresses(
    list: Vec<PortMapping>,
    conf: &ContainersConf,
) -> Result<Vec<PortMapping>> {
    let defaults: Vec<IpAddr> = conf
        .network
        .default_host_ips
        .iter()
        .map(|s| {
            s.parse()
                .what(|| format!("containers.conf: default_host_ips: {s:?}"))
        })
        .collect::<Result<_>>()?;
    if defaults.is_empty() {
        return Ok(list);
    }
    let addressed = |mapping: PortMapping| {
        let addresses = match mapping.host_ip {
            Some(address) => vec![address],
            None => defaults.clone(),
        };
        addresses.into_iter().map(move |address| PortMapping {
            host_ip: Some(address),
            ..mapping.clone()
        })
    };
    Ok(list.into_iter().flat_map(addressed).collect())
}

/// `80`, `80/udp`, `8000-8005/tcp`.
fn parse_exposed(text: &str) -> Result<(u16, u16, Protocol)> {
    let wrong = || {
        Error::invalid(format!(
            "exposed port {text:?} is not PORT[-PORT][/tcp|/udp]"
        ))
    };
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(wrong()),
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok((first, last, protocol)),
        _ => Err(wrong()),
    }
}

fn last(first: u16, range: u16) -> u16 {
    first.saturating_add(range.saturating_sub(1))
}

fn collide(a: &PortMapping, b: &PortMapping) -> bool {
    let everywhere = |ip: &Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    a.protocol == b.protocol
        && a.host_port != 0
        && b.host_port != 0
        && (a.host_ip == b.host_ip || everywhere(&a.host_ip) || everywhere(&b.host_ip))
        && a.host_port <= last(b.host_port, b.range)
        && b.host_port <= last(a.host_port, a.range)
}

/// `-p` spelling of a mapping: `127.0.0.1:8080-8081:80-81/tcp`.
pub fn describe(mapping: &PortMapping) -> String {
    let range = |first: u16| match mapping.range {
        0 | 1 => first.to_string(),
        count => format!("{first}-{}", last(first, count)),
    };
    let host = match mapping.host_ip {
        Some(IpAddr::V6(ip)) => format!("[{ip}]:"),
        Some(ip) => format!("{ip}:"),
        None => String::new(),
    };
    let host_port = match mapping.host_port {
        0 => String::new(),
        port => range(port),
    };
    format!(
        "{host}{host_port}:{}/{}",
        range(mapping.container_port),
        mapping.protocol.name()
    )
}

/// Chooses free host ports where none was named, and checks that the others are free now.
///
/// The tool binds them a little later; should somebody be faster, its own refusal is reported.
///
/// # Errors
/// `InUse` when a port is taken, `Denied` below the first unprivileged port, `Invalid` for an
/// address that is not the host's.
pub fn settle(plan: &mut NetworkPlan, facts: &HostFacts) -> Result<()> {
    if plan.kind != Kind::Uplink {
        return Ok(());
    }
    let has_v6 = plan.uplinks.first().is_some_and(|u| u.families.v6);
    // Kept until the end, so that two random choices differ.
    let mut held = Vec::new();
    for mapping in &mut plan.ports {
        if mapping.host_port == 0 {
            let (port, sockets) = choose(mapping, has_v6)?;
            mapping.host_port = port;
            held.extend(sockets);
        }
    }
    drop(held);
    for mapping in &plan.ports {
        occupy(mapping, mapping.host_port, has_v6).map_err(|(port, address, e)| {
            explain(mapping, port, address, &e, facts.unprivileged_port_start)
        })?;
    }
    Ok(())
}

/// Opens the host's sockets of a mapping, for whoever serves it himself; a port that is not named
/// is chosen. In the calling thread's network.
///
/// # Errors
/// As [`settle`].
pub fn open(mapping: &mut PortMapping) -> Result<Vec<Held>> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let has_v6 = Path::new("/proc/net/if_inet6").exists();
    if mapping.host_port == 0 {
        let (port, sockets) = choose(mapping, has_v6)?;
        mapping.host_port = port;
        return Ok(sockets);
    }
    let start = text("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start = start.trim().parse().unwrap_or(1024);
    occupy(mapping, mapping.host_port, has_v6)
        .map_err(|(port, address, e)| explain(mapping, port, address, &e, start))
}

/// A socket of the host.
#[derive(Debug)]
pub enum Held {
    /// Connections.
    Tcp(TcpListener),
    /// Packets.
    Udp(UdpSocket),
}

/// A run of free ports, and the sockets that hold it.
fn choose(mapping: &PortMapping, has_v6: bool) -> Result<(u16, Vec<Held>)> {
    let address = mapping.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let what = || format!("cannot find a free host port for {}", describe(mapping));
    let mut failure = None;
    for _ in 0..64 {
        // The kernel proposes the first port; the whole run must be free then.
        let any = SocketAddr::new(address, 0);
        let proposal = match mapping.protocol {
            Protocol::Tcp => TcpListener::bind(any).and_then(|s| s.local_addr()),
            Protocol::Udp => UdpSocket::bind(any).and_then(|s| s.local_addr()),
        };
        let first = proposal.what(what)?.port();
        if first.checked_add(mapping.range - 1).is_none() {
            continue;
        }
        match occupy(mapping, first, has_v6) {
            Ok(sockets) => return Ok((first, sockets)),
            Err((_, _, e)) => failure = Some(e),
        }
    }
    match failure {
        Some(e) => Err(e).what(what),
        None => Err(Error::new(ErrorKind::Unavailable, what())),
    }
}

/// Binds every socket of a mapping whose first host port is `first`.
fn occupy(
    mapping: &PortMapping,
    first: u16,
    has_v6: bool,
) -> std::result::Result<Vec<Held>, (u16, IpAddr, io::Error)> {
    // An IPv6 wildcard socket covers IPv4 as well.
    let address = mapping.host_ip.unwrap_or(if has_v6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    });
    let mut held = Vec::new();
    for offset in 0..mapping.range {
        let Some(port) = first.checked_add(offset) else {
            let e = io::Error::other("the range ends beyond port 65535");
            return Err((first, address, e));
        };
        let at = SocketAddr::new(address, port);
        let socket = match mapping.protocol {
            Protocol::Tcp => TcpListener::bind(at).map(Held::Tcp),
            Protocol::Udp => UdpSocket::bind(at).map(Held::Udp),
        };
        held.push(socket.map_err(|e| (port, address, e))?);
    }
    Ok(held)
}

/// Says what is wrong with a port and what to do.
fn explain(
    mapping: &PortMapping,
    port: u16,
    address: IpAddr,
    error: &io::Error,
    first_plain: u16,
) -> Error {
    let protocol = mapping.protocol.name();
    let cause = io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EINVAL));
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            let holder = holder(port, mapping.protocol)
                .map(|who| format!(" by {who}"))
                .unwrap_or_default();
            let other = port.checked_add(1).filter(|p| *p > 1024).unwrap_or(8080);
            Error::new(
                ErrorKind::InUse,
                format!("port {port}/{protocol} is taken on {address}{holder}"),
            )
            .because(cause)
            .hint(format!(
                "`coracle ps --filter publish={port}` shows a container that has it; or publish another port, e.g. `-p {other}:{}`",
                mapping.container_port
            ))
        }
        Some(libc::EACCES | libc::EPERM) => {
            let high = if port < 1024 { port + 8000 } else { 8080 };
            Error::new(
                ErrorKind::Denied,
                format!(
                    "port {port}/{protocol} is below {first_plain}, the first one for plain users"
                ),
            )
            .because(cause)
            .hint(format!(
                "publish a higher port, e.g. `-p {high}:{}`, or allow low ones with `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`",
                mapping.container_port
            ))
        }
        Some(libc::EADDRNOTAVAIL) => Error::invalid(format!(
            "cannot publish {}: {address} is not an address of this host",
            describe(mapping)
        ))
        .because(cause),
        Some(_) => Error::new(
            ErrorKind::Unavailable,
            format!("cannot publish {}", describe(mapping)),
        )
        .because(cause),
        None => Error::invalid(format!("cannot publish {}: {error}", describe(mapping))),
    }
}

/// Who listens on a port, if we may know: `process 12 (nginx)`.
fn holder(port: u16, protocol: Protocol) -> Option<String> {
    let inodes: Vec<String> = ["", "6"]
        .iter()
        .filter_map(|v| std::fs::read_to_string(format!("/proc/net/{}{v}", protocol.name())).ok())
        .flat_map(|table| listening_inodes(&table, port, protocol))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?;
    for entry in processes.filter_map(io::Result::ok) {
        let name = entry.file_name();
        let Some(pid) = name
            .to_str()
            .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let Ok(fds) = std::fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let has_it = fds.filter_map(io::Result::ok).any(|fd| {
            std::fs::read_link(fd.path())
                .is_ok_and(|target| inodes.iter().any(|i| Path::new(i) == target))
        });
        if has_it {
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", comm.trim().escape_default()));
        }
    }
    None
}

/// The inodes of sockets bound to `port` in a table such as `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16, protocol: Protocol) -> Vec<u64> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let local = words.get(1)?.rsplit_once(':')?.1;
            let state = *words.get(3)?;
            let is_it = u16::from_str_radix(local, 16) == Ok(port)
                && (protocol == Protocol::Udp || state == "0A");
            is_it.then(|| words.get(9)?.parse().ok())?
        })
        .collect()
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
