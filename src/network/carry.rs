//! One connection between a client and a container: bytes both ways, each way ended by itself.
//! Carried for published ports of bridges and of containers that run on demand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::sys::event::{Interest, Poller};
use crate::sys::interface;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client's, in the host's network.
    Front,
    /// The container's.
    Back,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Read and not yet written.
    rest: Vec<u8>,
    /// Nothing more comes.
    ended: bool,
    /// And that was told.
    told: bool,
}

/// A connection.
#[derive(Debug)]
pub(in crate::network) struct Pair {
    front: TcpStream,
    back: TcpStream,
    /// The container's side is still being reached.
    connecting: bool,
    /// From the client to the container, and back.
    ways: [Way; 2],
    /// What the poller knows of each end.
    known: [Interest; 2],
}

/// Reaches `target`, as `source` where the kernel lets it be. In the calling thread's network.
///
/// # Errors
/// What the kernel says; that it is still under way is none.
pub(in crate::network) fn reach(
    target: SocketAddr,
    source: Option<IpAddr>,
) -> std::io::Result<TcpStream> {
    let socket = socket_towards(target, source, SocketType::STREAM)?;
    match rustix::net::connect(socket.as_fd(), &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(e) => Err(e.into()),
    }
}

/// A socket for `target`, bound to `source` where the kernel lets it be. In the calling thread's
/// network.
///
/// # Errors
/// What the kernel says of one more socket.
pub(in crate::network) fn socket_towards(
    target: SocketAddr,
    source: Option<IpAddr>,
    kind: SocketType,
) -> std::io::Result<OwnedFd> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = || rustix::net::socket_with(family, kind, flags, None);
    let mut socket = open()?;
    if let Some(source) = source {
        let bound = interface::set_transparent(&socket, target.is_ipv6()).is_ok()
            && rustix::net::bind(socket.as_fd(), &SocketAddr::new(source, 0)).is_ok();
        if !bound {
            // Better known by our address than not served.
            socket = open()?;
        }
    }
    Ok(socket)
}

impl Pair {
    /// Joins a client's connection with one to a container that is under way.
    pub(in crate::network) fn new(front: TcpStream, back: TcpStream) -> Self {
        // Small answers go at once, as if nobody were between.
        drop(front.set_nodelay(true));
        drop(back.set_nodelay(true));
        Self {
            front,
            back,
            connecting: true,
            ways: [Way::default(), Way::default()],
            known: [Interest::NONE; 2],
        }
    }

    /// Enters the poller: the client's end has `token` and the container's the next number.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::network) fn watch(
        &mut self,
        poller: &Poller,
        token: u64,
    ) -> crate::sys::Result<()> {
        // Nothing is wanted of the client until the container is reached.
        self.known = [Interest::NONE, self.interest(End::Back)];
        poller.add(&self.back, token + 1, self.known[1])
    }

    /// Moves what can be moved, and is waited for accordingly. `false`: it is over.
    pub(in crate::network) fn carry(
        &mut self,
        poller: &Poller,
        token: u64,
        buffer: &mut [u8],
    ) -> bool {
        if !self.turn(buffer) {
            return false;
        }
        for (place, end) in [End::Front, End::Back].into_iter().enumerate() {
            let (wanted, known) = (self.interest(end), self.known[place]);
            let (socket, number) = (self.socket(end), token + place as u64);
            // One that nothing is wanted of would be told of again and again once it hung up.
            let changed = match (known == Interest::NONE, wanted == Interest::NONE) {
                _ if known == wanted => Ok(()),
                (true, _) => poller.add(socket, number, wanted),
                (false, true) => poller.remove(socket),
                (false, false) => poller.change(socket, number, wanted),
            };
            drop(changed);
            self.known[place] = wanted;
        }
        true
    }

    /// The client's end of a connection that never reached the container.
    pub(in crate::network) fn unreached(self) -> Option<TcpStream> {
        self.connecting.then_some(self.front)
    }

    /// One of its sockets.
    fn socket(&self, end: End) -> &TcpStream {
        match end {
            End::Front => &self.front,
            End::Back => &self.back,
        }
    }

    /// What each end is waited for.
    fn interest(&self, end: End) -> Interest {
        let (from, to) = match end {
            End::Front => (&self.ways[0], &self.ways[1]),
            End::Back => (&self.ways[1], &self.ways[0]),
        };
        if self.connecting {
            return Interest {
                read: false,
                write: end == End::Back,
            };
        }
        Interest {
            read: !from.ended && from.rest.is_empty(),
            write: !to.rest.is_empty(),
        }
    }

    /// Moves what can be moved. `false`: it is over.
    fn turn(&mut self, buffer: &mut [u8]) -> bool {
        if self.connecting {
            match self.back.take_error() {
                Ok(None) => {}
                _ => return false,
            }
            if self.back.peer_addr().is_err() {
                return true;
            }
            self.connecting = false;
        }
        let [out, back] = &mut self.ways;
        let good = carry(&mut self.front, &mut self.back, out, buffer)
            && carry(&mut self.back, &mut self.front, back, buffer);
        good && !self.ways.iter().all(|w| w.told)
    }
}

/// Carries one way until it stops; `false` when it is broken.
fn carry(from: &mut TcpStream, to: &mut TcpStream, way: &mut Way, buffer: &mut [u8]) -> bool {
    // Others want their turn too.
    for _ in 0..8 {
        while !way.rest.is_empty() {
            match to.write(&way.rest) {
                Ok(n) => drop(way.rest.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        if way.ended {
            break;
        }
        let count = match from.read(buffer) {
            Ok(0) => {
                way.ended = true;
                break;
            }
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return e.kind() == ErrorKind::WouldBlock,
        };
        let mut sent = 0;
        while sent < count {
            match to.write(&buffer[sent..count]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    way.rest.extend_from_slice(&buffer[sent..count]);
                    return true;
                }
                Err(_) => return false,
            }
        }
    }
    if way.ended && way.rest.is_empty() && !way.told {
        way.told = true;
        drop(to.shutdown(std::net::Shutdown::Write));
    }
    true
}
