//! The thread that answers.

mod asking;
mod clients;

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::mpsc::{TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use asking::{Asking, Link};
use clients::{Client, IDLE};
use simple_dns::RCODE;

use super::RESOLV_CONF;
use super::names::{Directory, Verdict};
use super::upstream::Upstream;
use super::wire::{self, Saying, Wrong};
use crate::base::{Context as _, Error, Result};
use crate::network::bridge::confine;
use crate::network::bridge::orders::{Inbox, Orders, orders};
use crate::sys::event::{Event, Interest, Poller};

/// A longer question is none, bytes.
const QUESTION: usize = 4096;
/// Packets taken from one socket before the others get their turn.
const TURNS: usize = 64;

const WAKE: u64 = 0;

/// The sockets of one gateway.
#[derive(Debug)]
pub(in crate::network::bridge) struct Listening {
    /// Packets.
    pub udp: UdpSocket,
    /// Connections.
    pub tcp: TcpListener,
}

enum Order {
    Open(String, Vec<Listening>),
    Close(String),
}

/// How the thread is told what to do; it ends with this.
#[derive(Debug)]
pub(in crate::network::bridge) struct Handle {
    directory: Arc<Mutex<Directory>>,
    orders: Orders<Order>,
}

impl Handle {
    /// Starts the thread; it asks in the calling thread's network.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::network::bridge) fn start() -> Result<Self> {
        let directory = Arc::new(Mutex::new(Directory::default()));
        let (ready, result) = channel();
        let what = || "cannot start the name service";
        let (orders, inbox, poller) = orders(WAKE, "the name service")?;
        let service = Service {
            poller,
            inbox,
            directory: Arc::clone(&directory),
            slots: HashMap::new(),
            next: WAKE + 1,
            deadlines: BTreeSet::new(),
            pending: HashMap::new(),
            connections: HashMap::new(),
            upstream: Upstream::new(Path::new(RESOLV_CONF)),
            turn: 0,
        };
        std::thread::Builder::new()
            .name("names".to_owned())
            .stack_size(512 << 10)
            .spawn(move || {
                confine::thread(0);
                let _gone = ready.send(());
                service.run();
            })
            .what(what)?;
        // The filter of system calls comes after that.
        result.recv().map_err(|_| Error::internal(what()))?;
        Ok(Self { directory, orders })
    }

    /// Everything that is known, to be changed.
    pub(in crate::network::bridge) fn directory(&self) -> MutexGuard<'_, Directory> {
        // A panic elsewhere leaves it readable at worst with one container missing.
        self.directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers at these sockets, for a network.
    ///
    /// # Errors
    /// `Internal` when the thread is gone.
    pub(in crate::network::bridge) fn open(
        &self,
        network: &str,
        sockets: Vec<Listening>,
    ) -> Result<()> {
        self.orders.tell(Order::Open(network.to_owned(), sockets))
    }

    /// Answers for a network no more.
    ///
    /// # Errors
    /// As [`Handle::open`].
    pub(in crate::network::bridge) fn close(&self, network: &str) -> Result<()> {
        self.orders.tell(Order::Close(network.to_owned()))
    }
}

/// What is waited for.
enum Slot {
    Udp(String, UdpSocket),
    Listener(String, TcpListener),
    Client(Client),
    Asking(Box<Asking>),
}

/// Who wants to know.
#[derive(Clone, Copy)]
enum Origin {
    Udp { socket: u64, peer: SocketAddr },
    Tcp { client: u64 },
}

struct Service {
    poller: Poller,
    inbox: Inbox<Order>,
    directory: Arc<Mutex<Directory>>,
    slots: HashMap<u64, Slot>,
    next: u64,
    deadlines: BTreeSet<(Instant, u64)>,
    pending: HashMap<IpAddr, usize>,
    connections: HashMap<IpAddr, usize>,
    upstream: Upstream,
    /// Turns the order of several addresses.
    turn: usize,
}

impl Service {
    fn run(mut self) {
        loop {
            let patience = self
                .deadlines
                .first()
                .map(|(at, _)| at.saturating_duration_since(Instant::now()));
            for event in self.poller.wait(patience).unwrap_or_default() {
                if event.token == WAKE {
                    self.inbox.hear();
                    if !self.take_orders() {
                        return;
                    }
                } else {
                    self.see_to(event);
                }
            }
            self.see_to_time();
        }
    }

    /// `false` when there is nobody left to give any.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.inbox.next() {
                Ok(Order::Open(network, sockets)) => {
                    for Listening { udp, tcp } in sockets {
                        self.watch(Slot::Udp(network.clone(), udp));
                        self.watch(Slot::Listener(network.clone(), tcp));
                    }
                }
                Ok(Order::Close(network)) => {
                    let gone: Vec<u64> = self
                        .slots
                        .iter()
                        .filter(|(_, slot)| match slot {
                            Slot::Udp(n, _) | Slot::Listener(n, _) => *n == network,
                            Slot::Client(c) => c.network == network,
                            Slot::Asking(_) => false,
                        })
                        .map(|(token, _)| *token)
                        .collect();
                    for token in gone {
                        self.close(token);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn watch(&mut self, slot: Slot) -> Option<u64> {
        let token = self.next;
        let added = match &slot {
            Slot::Udp(_, s) => self.poller.add(s, token, Interest::READ),
            Slot::Listener(_, s) => self.poller.add(s, token, Interest::READ),
            Slot::Client(c) => self.poller.add(&c.stream, token, Interest::READ),
            Slot::Asking(a) => match &a.link {
                Link::Udp(s) => self.poller.add(s, token, Interest::READ),
                Link::Tcp(s, ..) => self.poller.add(s, token, Interest::WRITE),
            },
        };
        if added.is_err() {
            return None;
        }
        self.next += 1;
        match &slot {
            Slot::Client(c) => drop(self.deadlines.insert((c.deadline, token))),
            Slot::Asking(a) => drop(self.deadlines.insert((a.deadline, token))),
            Slot::Udp(..) | Slot::Listener(..) => {}
        }
        self.slots.insert(token, slot);
        Some(token)
    }

    /// Forgets a slot; its socket closes.
    fn close(&mut self, token: u64) -> Option<Slot> {
        let slot = self.slots.remove(&token)?;
        match &slot {
            Slot::Client(c) => {
                self.deadlines.remove(&(c.deadline, token));
                release(&mut self.connections, c.peer);
            }
            Slot::Asking(a) => {
                self.deadlines.remove(&(a.deadline, token));
                release(&mut self.pending, a.asker);
            }
            Slot::Udp(..) | Slot::Listener(..) => {}
        }
        // Every copy of the descriptor closes with the slot, which takes it out of the poller.
        Some(slot)
    }

    fn see_to(&mut self, event: Event) {
        match self.slots.get_mut(&event.token) {
            Some(Slot::Udp(..)) => self.packets(event.token),
            Some(Slot::Listener(..)) => self.accept(event.token),
            Some(Slot::Client(_)) => self.client(event.token, event),
            Some(Slot::Asking(_)) => self.heard(event.token),
            None => {}
        }
    }

    fn see_to_time(&mut self) {
        let now = Instant::now();
        while let Some((at, token)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, token));
            match self.slots.get(&token) {
                Some(Slot::Asking(_)) => self.next_server(token),
                Some(Slot::Client(c)) if c.open > 0 => self.renew(token),
                _ => drop(self.close(token)),
            }
        }
    }

    /// Gives a connection more time.
    fn renew(&mut self, token: u64) {
        if let Some(Slot::Client(client)) = self.slots.get_mut(&token) {
            self.deadlines.remove(&(client.deadline, token));
            client.deadline = Instant::now() + IDLE;
            self.deadlines.insert((client.deadline, token));
        }
    }

    fn packets(&mut self, token: u64) {
        let mut buffer = [0; QUESTION];
        for _ in 0..TURNS {
            let Some(Slot::Udp(network, socket)) = self.slots.get(&token) else {
                return;
            };
            let (length, peer) = match socket.recv_from(&mut buffer) {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let network = network.clone();
            let origin = Origin::Udp {
                socket: token,
                peer,
            };
            self.question(&network, plain(peer.ip()), &buffer[..length], origin);
        }
    }

    /// Answers a question, or asks it elsewhere.
    fn question(&mut self, network: &str, asker: IpAddr, bytes: &[u8], origin: Origin) {
        let question = match wire::read(bytes) {
            Ok(question) => question,
            Err(Wrong::Silence) => return,
            Err(wrong) => return self.say(origin, bytes, &wrong.saying(), 512),
        };
        let verdict = self
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .answer(network, asker, &question.name, question.asked);
        let saying = match verdict {
            Verdict::Addresses(mut list) => {
                self.turn = self.turn.wrapping_add(1);
                let by = self.turn % list.len().max(1);
                list.rotate_left(by);
                Saying::Addresses(list)
            }
            Verdict::Names(list) => Saying::Names(list),
            Verdict::Nothing => Saying::Nothing,
            Verdict::Unknown => Saying::Error(RCODE::NameError),
            Verdict::Refused => Saying::Error(RCODE::Refused),
            Verdict::Forward(servers) => return self.forward(asker, bytes, origin, &servers),
        };
        self.say(origin, bytes, &saying, question.room);
    }

    fn say(&mut self, origin: Origin, question: &[u8], saying: &Saying, room: usize) {
        let room = match origin {
            Origin::Udp { .. } => room,
            Origin::Tcp { .. } => usize::from(u16::MAX),
        };
        if let Some(answer) = wire::write(question, saying, room) {
            self.send(origin, &answer);
        }
    }

    fn send(&mut self, origin: Origin, answer: &[u8]) {
        match origin {
            Origin::Udp { socket, peer } => {
                if let Some(Slot::Udp(_, socket)) = self.slots.get(&socket) {
                    // A full buffer loses a packet, as the network may.
                    drop(socket.send_to(answer, peer));
                }
            }
            Origin::Tcp { client } => {
                if let Some(Slot::Client(c)) = self.slots.get_mut(&client)
                    && let Ok(length) = u16::try_from(answer.len())
                {
                    c.outbox.extend_from_slice(&length.to_be_bytes());
                    c.outbox.extend_from_slice(answer);
                    self.flush(client);
                }
            }
        }
    }
}

/// Who has most, and how many.
fn greediest(counts: &HashMap<IpAddr, usize>) -> Option<(IpAddr, usize)> {
    let most = counts.iter().max_by_key(|(_, count)| **count);
    most.map(|(who, count)| (*who, *count))
}

fn release(counts: &mut HashMap<IpAddr, usize>, who: IpAddr) {
    if let Some(count) = counts.get_mut(&who) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&who);
        }
    }
}

/// An IPv4 address in IPv6's clothes, undressed.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
