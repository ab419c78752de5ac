//! Ports of a container that runs on demand (`--on-demand`).
//!
//! The sockets are opened once and stay open as long as the monitor lives: while the container has
//! no process, and while it starts or stops, connections wait in their queues and none is lost. While
//! it runs, a process in its network carries them ([`carry`]). The container sees them come from its
//! own address: never from 127.0.0.1, which programs trust.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use super::carry::{self, Pair};
use super::ports::{self, Held};
use crate::base::{Context as _, Error, Result};
use crate::state::options::{PortMapping, Protocol};
use crate::sys::event::{Interest, Poller};

/// A program may take so long until it listens; connections wait for it.
const WARM: Duration = Duration::from_secs(60);

/// How often it is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(10);

/// Connections at once; more wait in the queues.
const CONNECTIONS: usize = 400;

/// Read at once, bytes.
const CHUNK: usize = 64 << 10;

/// Connections have this and the next number, then the next but one and so on.
const FIRST: u64 = 1 << 32;

/// The sockets of the host.
#[derive(Debug)]
pub struct Listening {
    /// Each with the container's port.
    fronts: Vec<(TcpListener, u16)>,
    /// The mappings, random ports filled in.
    pub ports: Vec<PortMapping>,
}

impl Listening {
    /// Opens them.
    ///
    /// # Errors
    /// `Unsupported` for UDP, which has no connections; as [`ports::open`].
    pub fn open(mut mappings: Vec<PortMapping>) -> Result<Self> {
        let mut fronts = Vec::new();
        for mapping in &mut mappings {
            if mapping.protocol != Protocol::Tcp {
                return Err(Error::unsupported(format!(
                    "cannot hold {} for a container on demand: UDP has no connections",
                    ports::describe(mapping)
                ))
                .hint("publish it from a container that always runs"));
            }
            let sockets = ports::open(mapping)?;
            for (socket, port) in sockets.into_iter().zip(mapping.container_port..) {
                if let Held::Tcp(socket) = socket {
                    socket
                        .set_nonblocking(true)
                        .what(|| format!("cannot publish {}", ports::describe(mapping)))?;
                    fronts.push((socket, port));
                }
            }
        }
        Ok(Self {
            fronts,
            ports: mappings,
        })
    }

    /// The sockets: readable when somebody waits.
    pub fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        self.fronts.iter().map(|(s, _)| s.as_fd()).collect()
    }

    /// Closes the connections that wait: the container cannot be started.
    pub fn refuse(&self) {
        for (socket, _) in &self.fronts {
            while socket.accept().is_ok() {}
        }
    }
}

/// Carries connections to `container`, in whose network the calling thread is, until there was none
/// for `idle`.
///
/// # Errors
/// What the kernel says of the poller.
pub fn carry(listening: &Listening, container: IpAddr, idle: Option<Duration>) -> Result<()> {
    let now = Instant::now();
    let mut carrying = Carrying {
        listening,
        container,
        poller: Poller::new()?,
        warm: now + WARM,
        quiet: now,
        pairs: HashMap::new(),
        early: Vec::new(),
        next: FIRST,
        full: true,
        buffer: vec![0; CHUNK],
    };
    loop {
        carrying.listen()?;
        let now = Instant::now();
        let end = match (carrying.is_quiet(), idle) {
            (true, Some(idle)) => Some(carrying.quiet + idle),
            _ => None,
        };
        if end.is_some_and(|end| end <= now) {
            return Ok(());
        }
        let again = carrying.early.iter().map(|(_, _, at)| *at).min();
        let until = [end, again].into_iter().flatten().min();
        let patience = until.map(|u| u.saturating_duration_since(now));
        for event in carrying.poller.wait(patience)? {
            match usize::try_from(event.token) {
                Ok(place) if event.token < FIRST => carrying.accept(place),
                _ => carrying.turn(event.token & !1),
            }
        }
        carrying.try_again();
    }
}

struct Carrying<'a> {
    listening: &'a Listening,
    container: IpAddr,
    poller: Poller,
    /// Until then the program may not listen yet.
    warm: Instant,
    /// When the last connection ended.
    quiet: Instant,
    /// By the client's number, which is even.
    pairs: HashMap<u64, (Pair, u16)>,
    /// Clients that the program did not listen to yet, and when it is tried again.
    early: Vec<(TcpStream, u16, Instant)>,
    next: u64,
    /// No more are accepted: the sockets are not in the poller.
    full: bool,
    buffer: Vec<u8>,
}

impl Carrying<'_> {
    fn is_quiet(&self) -> bool {
        self.pairs.is_empty() && self.early.is_empty()
    }

    /// Listens, or not, as there is room.
    fn listen(&mut self) -> Result<()> {
        let full = self.pairs.len() + self.early.len() >= CONNECTIONS;
        if full != self.full {
            for (token, (socket, _)) in (0..).zip(&self.listening.fronts) {
                match full {
                    true => self.poller.remove(socket)?,
                    false => self.poller.add(socket, token, Interest::READ)?,
                }
            }
            self.full = full;
        }
        Ok(())
    }

    fn accept(&mut self, place: usize) {
        let Some((socket, port)) = self.listening.fronts.get(place) else {
            return;
        };
        if let Ok((client, _)) = socket.accept()
            && client.set_nonblocking(true).is_ok()
        {
            self.reach(client, *port);
        }
    }

    /// Connects a client with the program.
    fn reach(&mut self, client: TcpStream, port: u16) {
        let Ok(back) = carry::reach(SocketAddr::new(self.container, port), None) else {
            self.unreached(client, port);
            return;
        };
        let mut pair = Pair::new(client, back);
        let token = self.next;
        if pair.watch(&self.poller, token).is_ok() {
            self.next += 2;
            self.pairs.insert(token, (pair, port));
        }
    }

    fn turn(&mut self, token: u64) {
        let Some((pair, _)) = self.pairs.get_mut(&token) else {
            return;
        };
        if pair.carry(&self.poller, token, &mut self.buffer) {
            return;
        }
        self.quiet = Instant::now();
        if let Some((pair, port)) = self.pairs.remove(&token)
            && let Some(client) = pair.unreached()
        {
            self.unreached(client, port);
        }
    }

    /// The program does not listen: perhaps it will. Later it has nobody to answer, and the client
    /// is told so by the end of its connection.
    fn unreached(&mut self, client: TcpStream, port: u16) {
        let at = Instant::now() + AGAIN;
        if at < self.warm {
            self.early.push((client, port, at));
        }
        self.quiet = Instant::now();
    }

    fn try_again(&mut self) {
        let now = Instant::now();
        let early = std::mem::take(&mut self.early);
        for (client, port, at) in early {
            match at <= now {
                true => self.reach(client, port),
                false => self.early.push((client, port, at)),
            }
        }
    }
}
