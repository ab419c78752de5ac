//! Askers who come by TCP.
//!
//! Bounds: connections, those of one asker, bytes of a question and of what waits to be sent, time.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Origin, QUESTION, Service, Slot, TURNS, greediest, plain, release};
use crate::sys::event::{Event, Interest};

/// Connections of askers.
const CONNECTIONS: usize = 256;
/// The same of one asker.
const CONNECTIONS_OF_ONE: usize = 16;
/// What waits to be sent to one asker, bytes.
const OUTBOX: usize = 256 << 10;
/// How long a connection may idle.
pub(super) const IDLE: Duration = Duration::from_secs(8);

/// A connection of an asker.
pub(super) struct Client {
    pub(super) network: String,
    pub(super) peer: IpAddr,
    pub(super) stream: TcpStream,
    pub(super) inbox: Vec<u8>,
    pub(super) outbox: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) watched_for_room: bool,
    /// Nothing more is asked.
    pub(super) ended: bool,
    /// Its questions that are asked elsewhere.
    pub(super) open: usize,
}

impl Service {
    pub(super) fn accept(&mut self, token: u64) {
        for _ in 0..TURNS {
            let Some(Slot::Listener(network, listener)) = self.slots.get(&token) else {
                return;
            };
            let (stream, peer) = match listener.accept() {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let network = network.clone();
            let peer = plain(peer.ip());
            let of_one = self.connections.get(&peer).copied().unwrap_or(0);
            if of_one >= CONNECTIONS_OF_ONE || stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.values().sum::<usize>() >= CONNECTIONS {
                self.make_room_for_a_client();
            }
            *self.connections.entry(peer).or_default() += 1;
            let client = Client {
                network,
                peer,
                stream,
                inbox: Vec::new(),
                outbox: Vec::new(),
                deadline: Instant::now() + IDLE,
                watched_for_room: false,
                ended: false,
                open: 0,
            };
            if self.watch(Slot::Client(client)).is_none() {
                release(&mut self.connections, peer);
            }
        }
    }

    /// Closes the connection of whoever has most that was silent for longest.
    fn make_room_for_a_client(&mut self) {
        let greedy = greediest(&self.connections).map(|(who, _)| who);
        let is_theirs = |token: &u64| match self.slots.get(token) {
            Some(Slot::Client(client)) => Some(client.peer) == greedy,
            _ => false,
        };
        let oldest = self.deadlines.iter().map(|(_, token)| *token);
        if let Some(token) = { oldest }.find(is_theirs) {
            drop(self.close(token));
        }
    }

    pub(super) fn client(&mut self, token: u64, event: Event) {
        if event.writable {
            self.flush(token);
        }
        let mut buffer = [0; QUESTION];
        let mut questions = Vec::new();
        if let Some(Slot::Client(c)) = self.slots.get_mut(&token)
            && event.readable
        {
            match c.stream.read(&mut buffer) {
                Ok(0) => c.ended = true,
                Ok(n) => {
                    c.inbox.extend_from_slice(&buffer[..n]);
                    while let Some(length) = c.inbox.first_chunk().map(|b| u16::from_be_bytes(*b)) {
                        let end = usize::from(length) + 2;
                        if end > QUESTION {
                            c.ended = true;
                            c.inbox.clear();
                        }
                        if c.inbox.len() < end {
                            break;
                        }
                        questions.push(c.inbox.drain(..end).skip(2).collect::<Vec<u8>>());
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => {
                    drop(self.close(token));
                    return;
                }
            }
        }
        if !questions.is_empty() {
            self.renew(token);
        }
        for question in questions {
            let Some(Slot::Client(c)) = self.slots.get(&token) else {
                return;
            };
            let (network, peer) = (c.network.clone(), c.peer);
            self.question(&network, peer, &question, Origin::Tcp { client: token });
        }
        self.flush(token);
    }

    /// Sends what a connection takes; one that wants nothing more, or takes nothing, goes.
    pub(super) fn flush(&mut self, token: u64) {
        let Some(Slot::Client(c)) = self.slots.get_mut(&token) else {
            return;
        };
        let mut broken = c.outbox.len() > OUTBOX;
        while !c.outbox.is_empty() && !broken {
            match c.stream.write(&c.outbox) {
                Ok(n) => drop(c.outbox.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => broken = true,
            }
        }
        let waits = !c.outbox.is_empty();
        if broken || (c.ended && c.open == 0 && !waits) {
            drop(self.close(token));
        } else if waits != c.watched_for_room || c.ended {
            c.watched_for_room = waits;
            let interest = Interest {
                read: !c.ended,
                write: waits,
            };
            drop(self.poller.change(&c.stream, token, interest));
        }
    }
}
