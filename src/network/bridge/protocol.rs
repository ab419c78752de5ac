//! Packets between monitors and the role `net`: one JSON object each, descriptors beside.
//!
//! A request is answered exactly once, in order. Both ends are the same user's; who else connects
//! is turned away. A role outlives upgrades of the program by seconds only, yet says when it is
//! spoken to in another version.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::base::{Error, Kind, Result};
use crate::handoff::failure::Failure;
use crate::spec::id::ContainerId;
use crate::state::network::{AttachedNetwork, NetworkRecord};
use crate::state::options::{NetworkWish, PortMapping};
use crate::state::service::Front;
use crate::sys::fd;

/// The version that this program speaks.
pub const VERSION: u32 = 1;

/// No packet is longer, bytes. A container on many networks with many ports is some ten thousand.
pub const LIMIT: usize = 192 << 10;

/// What is asked of the role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// A container starts, or its monitor lost the role. Descriptors: the container's network
    /// namespace, a route netlink socket of it.
    Attach(Box<Attach>),
    /// Another network for the connection's container. Descriptors as above.
    Connect(Box<Endpoint>),
    /// One network less.
    Disconnect {
        /// Its name.
        network: String,
    },
    /// The container ended: its ports are free when this is answered.
    Leave,
    /// A record has changed; from a command.
    Update {
        /// As it is now.
        record: Box<NetworkRecord>,
    },
    /// Whether the connection's container takes connections for its services now.
    Ready {
        /// Which.
        ready: bool,
    },
    /// A service has changed; from a command.
    Service {
        /// As it is now.
        front: Box<Front>,
    },
    /// A service is gone; from a command.
    Forget {
        /// Its id.
        service: String,
    },
    /// Make the rules anew; from a command.
    Reload,
    /// The namespace of bridges, with its way out, for as long as the connection lasts; from a
    /// command.
    Enter,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attach {
    /// Its id; its first twelve digits are a name.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its networks, in order: the first one with a gateway leads out.
    pub endpoints: Vec<Endpoint>,
    /// `--dns`: whom its names of the outside are asked of.
    pub dns: Vec<IpAddr>,
    /// Ports to publish; host port 0 is chosen.
    pub ports: Vec<PortMapping>,
    /// Addresses of containers that run, by what is on disk: not to be given away.
    pub taken: Vec<IpAddr>,
    /// Services that it is a replica of.
    #[serde(default)]
    pub services: Vec<Front>,
    /// Whether it takes connections for them now.
    #[serde(default)]
    pub ready: bool,
}

/// A place on a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network.
    pub network: NetworkRecord,
    /// What was asked for.
    pub wish: NetworkWish,
    /// What it is inside: `eth0`, ….
    pub interface: String,
    /// What it has already, from an earlier role.
    pub present: Option<AttachedNetwork>,
}

/// What a container got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    /// Its places, in the order asked.
    pub networks: Vec<AttachedNetwork>,
    /// Its ports, chosen ones filled in.
    pub ports: Vec<PortMapping>,
    /// Lines for the person.
    pub notices: Vec<String>,
}

impl Attached {
    /// Its first address, IPv4 before IPv6.
    pub fn address(&self) -> Option<IpAddr> {
        let all = || {
            self.networks
                .iter()
                .flat_map(|n| &n.addresses)
                .map(|a| a.address)
        };
        all().find(IpAddr::is_ipv4).or_else(|| all().next())
    }

    /// The gateways that answer names.
    pub fn resolvers(&self) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for network in self.networks.iter().filter(|n| n.dns) {
            let own = network.addresses.iter().find(|a| a.address.is_ipv4());
            let own = own.or(network.addresses.first());
            found.extend(own.map(|a| a.bridge));
        }
        found
    }

    /// Whether one of its networks leads out.
    pub fn is_routed(&self) -> bool {
        let mut addresses = self.networks.iter().flat_map(|n| &n.addresses);
        addresses.any(|a| a.gateway.is_some())
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    #[serde(flatten)]
    request: T,
}

/// An answer: the attached container, or an empty one where nothing is to be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Attached),
    Error(Failure),
}

/// Sends a request.
///
/// # Errors
/// What the kernel says.
pub fn ask(socket: impl AsFd, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let envelope = Envelope {
        version: VERSION,
        request,
    };
    fd::send(socket, &encode(&envelope)?, fds).map_err(Error::from)
}

/// Reads a request.
///
/// # Errors
/// `Unsupported` for another version, `Invalid` for nonsense.
pub fn decode(bytes: &[u8]) -> Result<Request> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let version = parse::<Versioned>(bytes)?.version;
    if version != VERSION {
        return Err(Error::unsupported(format!(
            "the running network role speaks version {VERSION}, not {version}"
        ))
        .hint("stop the containers on networks, so that the next one starts a new role"));
    }
    Ok(parse::<Envelope<Request>>(bytes)?.request)
}

/// Sends an answer, with descriptors where it has any.
///
/// # Errors
/// What the kernel says.
pub fn answer(socket: impl AsFd, result: &Result<Attached>, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let answer = match result {
        Ok(attached) => Answer::Ok(attached.clone()),
        Err(e) => Answer::Error(Failure::from(e)),
    };
    fd::send(socket, &encode(&answer)?, fds).map_err(Error::from)
}

/// Receives an answer and its descriptors.
///
/// # Errors
/// The role's own; `Unavailable` when it is gone.
pub fn receive(socket: impl AsFd) -> Result<(Attached, Vec<OwnedFd>)> {
    let gone = || Error::new(Kind::Unavailable, "the network role went away");
    let (bytes, fds) = fd::receive(socket, LIMIT).map_err(|e| gone().because(e))?;
    if bytes.is_empty() {
        return Err(gone());
    }
    match parse::<Answer>(&bytes)? {
        Answer::Ok(attached) => Ok((attached, fds)),
        Answer::Error(failure) => Err(failure.into_error()),
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(value)
        .map_err(|e| Error::internal("cannot encode a packet for the network role").because(e))?;
    if bytes.len() > LIMIT {
        return Err(Error::invalid(
            "this container has too many networks, names or ports",
        ));
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::invalid("network role: malformed packet").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_and_nonsense_are_refused() {
        let (ours, theirs) = fd::packet_pair().unwrap();
        ask(
            &ours,
            &Request::Disconnect {
                network: "a".into(),
            },
            &[],
        )
        .unwrap();
        let (bytes, fds) = fd::receive(&theirs, LIMIT).unwrap();
        assert!(fds.is_empty());
        assert_eq!(
            decode(&bytes).unwrap(),
            Request::Disconnect {
                network: "a".into()
            }
        );
        let e = decode(br#"{"version":2,"request":"leave"}"#).unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported);
        for text in ["", "{}", "[]", r#"{"version":1,"request":"dance"}"#] {
            assert_eq!(
                decode(text.as_bytes()).unwrap_err().kind(),
                Kind::Invalid,
                "{text}"
            );
        }
    }

    #[test]
    fn records_go_through_with_their_own_version() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = crate::config::dirs::Dirs::new(dir.path().to_owned(), dir.path().join("run"));
        let record = crate::state::network::Networks::new(&dirs).find("podman");
        let request = Request::Update {
            record: Box::new(record.unwrap()),
        };
        let (ours, theirs) = fd::packet_pair().unwrap();
        ask(&ours, &request, &[]).unwrap();
        let (bytes, _) = fd::receive(&theirs, LIMIT).unwrap();
        assert_eq!(decode(&bytes).unwrap(), request);
    }

    #[test]
    fn answers_carry_errors_and_a_closed_socket_is_one() {
        let (ours, theirs) = fd::packet_pair().unwrap();
        let refused = Err(Error::new(Kind::InUse, "port 80 is taken").hint("take another"));
        answer(&theirs, &refused, &[]).unwrap();
        let e = receive(&ours).unwrap_err();
        assert_eq!((e.kind(), e.what()), (Kind::InUse, "port 80 is taken"));
        answer(&theirs, &Ok(Attached::default()), &[ours.as_fd()]).unwrap();
        let (attached, fds) = receive(&ours).unwrap();
        assert_eq!((attached, fds.len()), (Attached::default(), 1));
        drop(theirs);
        assert_eq!(receive(&ours).unwrap_err().kind(), Kind::Unavailable);
    }
}
