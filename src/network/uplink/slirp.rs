//! slirp4netns: its words and its API socket.
//!
//! Spec: slirp4netns(1), "API SOCKET": one JSON request a connection, the answer till end of file.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::base::{Context as _, Error, Kind, Result};
use crate::network::plan::{Addresses, Families, Tool, UplinkPlan};
use crate::network::ports;
use crate::state::options::PortMapping;

/// The largest frame that it takes.
const MTU: &str = "65520";

/// Answers are a line; a longer one is not from slirp4netns.
const ANSWER: u64 = 64 << 10;

/// Makes the plan from podman's spelling of its options: `mtu=1500`, `allow_host_loopback=true`.
///
/// # Errors
/// `Invalid` for an option that does not exist.
pub fn plan(
    program: PathBuf,
    options: &[String],
    mut addresses: Addresses,
) -> Result<(UplinkPlan, Addresses)> {
    let mut mtu = MTU.to_owned();
    let mut own_cidr = None;
    let mut host_loopback = false;
    let mut list: Vec<String> = Vec::new();
    let mut v6 = false;
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, "true"));
        let wrong = || {
            Error::invalid(format!("slirp4netns: {option:?} is not an option")).hint(
                "known: allow_host_loopback= mtu= cidr= enable_ipv6= outbound_addr= outbound_addr6= port_handler=",
            )
        };
        let switch = || value.parse::<bool>().map_err(|_| wrong());
        match name {
            "mtu" if value.parse::<u32>().is_ok() => value.clone_into(&mut mtu),
            "cidr" => own_cidr = Some(value.to_owned()),
            "allow_host_loopback" => host_loopback = switch()?,
            "enable_ipv6" => v6 = switch()?,
            "outbound_addr" => list.push(format!("--outbound-addr={value}")),
            "outbound_addr6" => list.push(format!("--outbound-addr6={value}")),
            // Its own forwarder serves both words: podman's other one exists for speed.
            "port_handler" if matches!(value, "slirp4netns" | "rootlesskit") => {}
            _ => return Err(wrong()),
        }
    }
    let mut arguments = vec![
        "--configure".to_owned(),
        format!("--mtu={mtu}"),
        "--enable-sandbox".to_owned(),
        "--enable-seccomp".to_owned(),
    ];
    if !host_loopback {
        arguments.push("--disable-host-loopback".to_owned());
    }
    if v6 {
        arguments.push("--enable-ipv6".to_owned());
    }
    if let Some(cidr) = own_cidr {
        addresses = in_cidr(&cidr)?;
        arguments.push(format!("--cidr={cidr}"));
    } else if addresses.container != Ipv4Addr::new(10, 0, 2, 100) {
        arguments.push(format!("--cidr={}", addresses.net()));
    }
    arguments.extend(list);
    let plan = UplinkPlan {
        tool: Tool::Slirp4netns,
        program,
        arguments,
        // Its IPv6 comes by router advertisement, later: nothing to wait for.
        families: Families {
            v4: true,
            v6: false,
        },
        guest: addresses.container,
    };
    Ok((plan, addresses))
}

/// The addresses that slirp4netns takes from a net.
fn in_cidr(cidr: &str) -> Result<Addresses> {
    let wrong = || {
        Error::invalid(format!(
            "slirp4netns: cidr={cidr} is not an IPv4 net of 1 to 25 bits, e.g. 10.0.2.0/24"
        ))
    };
    let (net, bits) = cidr.split_once('/').ok_or_else(wrong)?;
    let net = u32::from(net.parse::<Ipv4Addr>().map_err(|_| wrong())?);
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    if !(1..=25).contains(&bits) || net << bits != 0 {
        return Err(wrong());
    }
    Ok(Addresses {
        container: Ipv4Addr::from(net + 100),
        gateway: Ipv4Addr::from(net + 2),
        resolver: Ipv4Addr::from(net + 3),
    })
}

/// All arguments but the API socket and the namespace.
pub fn arguments(plan: &UplinkPlan, exit_fd: i32) -> Vec<OsString> {
    let mut list: Vec<OsString> = plan.arguments.iter().map(OsString::from).collect();
    list.push(format!("--exit-fd={exit_fd}").into());
    list
}

/// The API socket, in a folder that is reached by descriptor: the path of a container's runtime
/// folder may be longer than a socket address.
#[derive(Debug)]
pub struct Api {
    folder: std::fs::File,
}

const SOCKET: &str = "slirp4netns.sock";

/// The socket's path for a process that has its folder open under that number.
pub fn socket_in(folder: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())
}

impl Api {
    /// Opens the folder and removes what an earlier run left there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prepare(folder: &Path) -> Result<Self> {
        let what = || format!("cannot use {} for a socket", folder.display());
        crate::base::fs::remove_file_if_exists(&folder.join(SOCKET))?;
        let folder = std::fs::File::open(folder).what(what)?;
        Ok(Self { folder })
    }

    /// A copy of the folder, for slirp4netns to inherit.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn folder(&self) -> Result<OwnedFd> {
        let copy = self
            .folder
            .try_clone()
            .what(|| "cannot copy a descriptor")?;
        Ok(copy.into())
    }

    /// Publishes the ports.
    ///
    /// # Errors
    /// `InUse` and others, with the answer of slirp4netns.
    pub fn forward(&self, guest: Ipv4Addr, list: &[PortMapping]) -> Result<()> {
        for port in list {
            for offset in 0..port.range {
                let (Some(host_port), Some(guest_port)) = (
                    port.host_port.checked_add(offset),
                    port.container_port.checked_add(offset),
                ) else {
                    return Err(Error::invalid(format!(
                        "{} ends beyond port 65535",
                        ports::describe(port)
                    )));
                };
                let host = match port.host_ip {
                    None => Ipv4Addr::UNSPECIFIED,
                    Some(IpAddr::V4(ip)) => ip,
                    Some(IpAddr::V6(_)) => {
                        return Err(Error::unsupported(format!(
                            "slirp4netns cannot publish {}: it has no IPv6 forwarding",
                            ports::describe(port)
                        ))
                        .hint("install the package passt: pasta can"));
                    }
                };
                let request = serde_json::json!({
                    "execute": "add_hostfwd",
                    "arguments": {
                        "proto": port.protocol.name(),
                        "host_addr": host.to_string(),
                        "host_port": host_port,
                        "guest_addr": guest.to_string(),
                        "guest_port": guest_port,
                    },
                });
                self.ask(&request.to_string())
                    .what(|| format!("cannot publish {}", ports::describe(port)))?;
            }
        }
        Ok(())
    }

    fn ask(&self, request: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Answer {
            error: Option<Refusal>,
        }
        #[derive(Deserialize)]
        struct Refusal {
            desc: String,
        }
        let what = || "cannot talk to slirp4netns";
        let patience = Duration::from_secs(10);
        let mut stream = self.connect(Instant::now() + patience)?;
        stream.set_read_timeout(Some(patience)).what(what)?;
        stream.write_all(request.as_bytes()).what(what)?;
        stream.shutdown(std::net::Shutdown::Write).what(what)?;
        let mut text = String::new();
        stream.take(ANSWER).read_to_string(&mut text).what(what)?;
        let answer: Answer = serde_json::from_str(&text).what(what)?;
        match answer.error {
            None => Ok(()),
            Some(refusal) => Err(Error::new(
                Kind::InUse,
                format!("slirp4netns: {}", refusal.desc.escape_default()),
            )),
        }
    }

    /// It listens a moment after the network is configured.
    fn connect(&self, deadline: Instant) -> Result<UnixStream> {
        loop {
            match UnixStream::connect(socket_in(&self.folder)) {
                Ok(stream) => return Ok(stream),
                Err(e) if Instant::now() >= deadline => {
                    return Err(e).what(|| "cannot reach the socket of slirp4netns");
                }
                Err(_) => crate::sys::process::pause(Duration::from_millis(1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(last_net: u8) -> Addresses {
        in_cidr(&format!("10.0.{last_net}.0/24")).unwrap()
    }

    #[test]
    fn options_in_podmans_spelling_become_arguments() {
        let head = "--configure --mtu=65520 --enable-sandbox --enable-seccomp";
        let cases = [
            (
                vec![],
                2,
                format!("{head} --disable-host-loopback"),
                "10.0.2.100",
            ),
            (
                vec![],
                9,
                format!("{head} --disable-host-loopback --cidr=10.0.9.0/24"),
                "10.0.9.100",
            ),
            (
                vec![
                    "allow_host_loopback=true",
                    "cidr=10.1.0.0/16",
                    "port_handler=rootlesskit",
                ],
                2,
                format!("{head} --cidr=10.1.0.0/16"),
                "10.1.0.100",
            ),
            (
                vec!["enable_ipv6", "outbound_addr=eth1"],
                2,
                format!("{head} --disable-host-loopback --enable-ipv6 --outbound-addr=eth1"),
                "10.0.2.100",
            ),
        ];
        for (options, net, expected, container) in cases {
            let options: Vec<String> = options.into_iter().map(str::to_owned).collect();
            let (plan, fixed) = plan("/s".into(), &options, addresses(net)).unwrap();
            assert_eq!(plan.arguments.join(" "), expected);
            assert_eq!(fixed.container.to_string(), container);
        }
        for bad in [
            "nonsense=1",
            "mtu=x",
            "cidr=10.0.2.1/24",
            "cidr=10.0.2.0/30",
            "enable_ipv6=maybe",
        ] {
            let e = plan("/s".into(), &[bad.into()], addresses(2)).unwrap_err();
            assert_eq!(e.kind(), Kind::Invalid, "{bad}");
        }
    }
}
