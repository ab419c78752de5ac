//! One connection between a client and a container: bytes both ways, each way ended by itself.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

use rustix::net::SocketType;

use crate::sys::event::Interest;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
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
pub(super) struct Pair {
    front: TcpStream,
    back: TcpStream,
    /// The container's side is still being reached.
    connecting: bool,
    /// From the client to the container, and back.
    ways: [Way; 2],
}

/// Reaches `target` as `source`, or as the gateway. In the namespace of bridges.
///
/// # Errors
/// What the kernel says; that it is still under way is none.
pub(super) fn reach(target: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = super::socket_towards(target, source, SocketType::STREAM)?;
    match rustix::net::connect(socket.as_fd(), &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(e) => Err(e.into()),
    }
}

impl Pair {
    /// Joins a client's connection with one to a container that is under way.
    pub(super) fn new(front: TcpStream, back: TcpStream) -> Self {
        // Small answers go at once, as if nobody were between.
        drop(front.set_nodelay(true));
        drop(back.set_nodelay(true));
        Self {
            front,
            back,
            connecting: true,
            ways: [Way::default(), Way::default()],
        }
    }

    /// One of its sockets.
    pub(super) fn socket(&self, end: End) -> &TcpStream {
        match end {
            End::Front => &self.front,
            End::Back => &self.back,
        }
    }

    /// What each end is waited for.
    pub(super) fn interest(&self, end: End) -> Interest {
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
    pub(super) fn turn(&mut self, buffer: &mut [u8]) -> bool {
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
