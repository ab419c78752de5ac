//! The thread that answers.

use std::collections::{BTreeSet, HashMap};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use simple_dns::RCODE;

use super::names::{Directory, Verdict};
use super::upstream::{self, Upstream};
use super::wire::{self, Saying, Wrong};
use crate::base::{Context as _, Error, Result, random};
use crate::sys::event::{Event, Interest, Poller};

/// Questions to the outside under way.
const PENDING: usize = 512;
/// The same of one asker.
const PENDING_OF_ONE: usize = 64;
/// Connections of askers.
const CONNECTIONS: usize = 256;
/// The same of one asker.
const CONNECTIONS_OF_ONE: usize = 16;
/// A longer question is none, bytes.
const QUESTION: usize = 4096;
/// What waits to be sent to one asker, bytes.
const OUTBOX: usize = 256 << 10;
/// How long one server may take before the next is asked.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long a connection may idle.
const IDLE: Duration = Duration::from_secs(8);
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
    orders: Sender<Order>,
    wake: OwnedFd,
}

impl Handle {
    /// Starts the thread; it asks in the calling thread's network.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::network::bridge) fn start() -> Result<Self> {
        let directory = Arc::new(Mutex::new(Directory::default()));
        let (orders, queue) = channel();
        let what = || "cannot start the name service";
        let (wake, own, poller) = super::super::alarm(WAKE, what())?;
        let service = Service {
            poller,
            wake: own,
            orders: queue,
            directory: Arc::clone(&directory),
            slots: HashMap::new(),
            next: WAKE + 1,
            deadlines: BTreeSet::new(),
            pending: HashMap::new(),
            connections: HashMap::new(),
            upstream: Upstream::new(Path::new("/etc/resolv.conf")),
            turn: 0,
        };
        std::thread::Builder::new()
            .name("names".to_owned())
            .stack_size(512 << 10)
            .spawn(move || service.run())
            .what(what)?;
        Ok(Self {
            directory,
            orders,
            wake,
        })
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
        self.tell(Order::Open(network.to_owned(), sockets))
    }

    /// Answers for a network no more.
    ///
    /// # Errors
    /// As [`Handle::open`].
    pub(in crate::network::bridge) fn close(&self, network: &str) -> Result<()> {
        self.tell(Order::Close(network.to_owned()))
    }

    fn tell(&self, order: Order) -> Result<()> {
        self.orders
            .send(order)
            .map_err(|_| Error::internal("the name service ended"))?;
        // Full means that it is awake.
        let _full = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        Ok(())
    }
}

/// What is waited for.
enum Slot {
    Udp(String, UdpSocket),
    Listener(String, TcpListener),
    Client(Client),
    Asking(Box<Asking>),
}

/// A connection of an asker.
struct Client {
    network: String,
    peer: IpAddr,
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    deadline: Instant,
    watched_for_room: bool,
    /// Nothing more is asked.
    ended: bool,
    /// Its questions that are asked elsewhere.
    open: usize,
}

/// A question that is asked elsewhere.
struct Asking {
    question: Vec<u8>,
    id: u16,
    origin: Origin,
    asker: IpAddr,
    servers: Vec<SocketAddr>,
    link: Link,
    deadline: Instant,
}

/// Who wants to know.
#[derive(Clone, Copy)]
enum Origin {
    Udp { socket: u64, peer: SocketAddr },
    Tcp { client: u64 },
}

/// How a server is asked.
enum Link {
    Udp(UdpSocket),
    /// Under way, the question still to be sent; then what came so far.
    Tcp(TcpStream, bool, Vec<u8>),
}

struct Service {
    poller: Poller,
    wake: OwnedFd,
    orders: Receiver<Order>,
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
                    let mut count = [0; 8];
                    let _empty = rustix::io::read(&self.wake, &mut count);
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
            match self.orders.try_recv() {
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
                Err(std::sync::mpsc::TryRecvError::Empty) => return true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
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

    fn forward(&mut self, asker: IpAddr, question: &[u8], origin: Origin, own: &[IpAddr]) {
        let now = Instant::now();
        let servers: Vec<SocketAddr> = match own.is_empty() {
            true => self.upstream.servers(now).to_vec(),
            false => own.iter().map(|a| upstream::at(*a)).collect(),
        };
        let of_one = self.pending.get(&asker).copied().unwrap_or(0);
        let all: usize = self.pending.values().sum();
        if servers.is_empty() || of_one >= PENDING_OF_ONE || all >= PENDING {
            return self.say(origin, question, &Saying::Error(RCODE::ServerFailure), 512);
        }
        *self.pending.entry(asker).or_default() += 1;
        if let Origin::Tcp { client } = origin
            && let Some(Slot::Client(c)) = self.slots.get_mut(&client)
        {
            c.open += 1;
        }
        self.ask(question.to_vec(), origin, asker, servers);
    }

    /// Asks the first of `servers` that can be asked; else it is a failure. It counts as pending.
    fn ask(
        &mut self,
        question: Vec<u8>,
        origin: Origin,
        asker: IpAddr,
        mut servers: Vec<SocketAddr>,
    ) {
        let id = random::bytes().map_or(0, u16::from_ne_bytes);
        while !servers.is_empty() {
            let server = servers.remove(0);
            let link = match origin {
                Origin::Udp { .. } => ask_by_packet(server, &question, id).map(Link::Udp),
                Origin::Tcp { .. } => {
                    begin_connection(server).map(|s| Link::Tcp(s, false, Vec::new()))
                }
            };
            let Some(link) = link else { continue };
            let asking = Asking {
                question: question.clone(),
                id,
                origin,
                asker,
                servers: servers.clone(),
                link,
                deadline: Instant::now() + PATIENCE,
            };
            if self.watch(Slot::Asking(Box::new(asking))).is_some() {
                return;
            }
        }
        release(&mut self.pending, asker);
        self.settle(origin, &question, None);
    }

    /// The question has its answer, or nobody has one.
    fn settle(&mut self, origin: Origin, question: &[u8], answer: Option<&[u8]>) {
        if let Origin::Tcp { client } = origin
            && let Some(Slot::Client(c)) = self.slots.get_mut(&client)
        {
            c.open = c.open.saturating_sub(1);
        }
        match answer {
            Some(answer) => self.send(origin, answer),
            None => self.say(origin, question, &Saying::Error(RCODE::ServerFailure), 512),
        }
    }

    fn next_server(&mut self, token: u64) {
        if let Some(Slot::Asking(asking)) = self.close(token) {
            *self.pending.entry(asking.asker).or_default() += 1;
            let Asking {
                question,
                origin,
                asker,
                servers,
                ..
            } = *asking;
            self.ask(question, origin, asker, servers);
        }
    }

    /// A server says something.
    fn heard(&mut self, token: u64) {
        let Some(Slot::Asking(asking)) = self.slots.get_mut(&token) else {
            return;
        };
        let Asking {
            question, id, link, ..
        } = &mut **asking;
        let heard = match link {
            Link::Udp(socket) => hear_packet(socket, question, *id),
            Link::Tcp(stream, sent, inbox) => {
                let heard = hear_stream(stream, sent, inbox, question, *id);
                if *sent {
                    drop(self.poller.change(&*stream, token, Interest::READ));
                }
                heard
            }
        };
        match heard {
            Heard::Nothing => {}
            Heard::Failure => self.next_server(token),
            Heard::Answer(mut answer) => {
                if let Some(id) = wire::id(question) {
                    wire::set_id(&mut answer, id);
                }
                if let Some(Slot::Asking(asking)) = self.close(token) {
                    self.settle(asking.origin, &asking.question, Some(&answer));
                }
            }
        }
    }

    fn accept(&mut self, token: u64) {
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
                self.drop_oldest_client();
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

    fn drop_oldest_client(&mut self) {
        let oldest = self
            .deadlines
            .iter()
            .find(|(_, token)| matches!(self.slots.get(token), Some(Slot::Client(_))))
            .map(|(_, token)| *token);
        if let Some(token) = oldest {
            drop(self.close(token));
        }
    }

    fn client(&mut self, token: u64, event: Event) {
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
    fn flush(&mut self, token: u64) {
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

/// What a server said.
enum Heard {
    Nothing,
    Answer(Vec<u8>),
    Failure,
}

fn ask_by_packet(server: SocketAddr, question: &[u8], id: u16) -> Option<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question: nobody can guess where the answer goes.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(server).ok()?;
    let mut bytes = question.to_vec();
    wire::set_id(&mut bytes, id);
    socket.send(&bytes).ok()?;
    Some(socket)
}

fn hear_packet(socket: &UdpSocket, question: &[u8], id: u16) -> Heard {
    let mut buffer = [0; 8192];
    match socket.recv(&mut buffer) {
        Ok(length) => {
            let answer = &buffer[..length];
            match wire::id(answer) == Some(id) && wire::is_answer(question, answer) {
                true => Heard::Answer(answer.to_vec()),
                // Somebody guesses: the real one may still come.
                false => Heard::Nothing,
            }
        }
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Heard::Nothing
        }
        Err(_) => Heard::Failure,
    }
}

fn begin_connection(server: SocketAddr) -> Option<TcpStream> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).ok()?;
    match rustix::net::connect(socket.as_fd(), &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Some(TcpStream::from(socket)),
        Err(_) => None,
    }
}

fn hear_stream(
    stream: &mut TcpStream,
    sent: &mut bool,
    inbox: &mut Vec<u8>,
    question: &[u8],
    id: u16,
) -> Heard {
    if !*sent {
        let Ok(length) = u16::try_from(question.len()) else {
            return Heard::Failure;
        };
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(question);
        wire::set_id(&mut bytes[2..], id);
        // A fresh connection takes a question whole, or is none.
        match stream.write(&bytes) {
            Ok(n) if n == bytes.len() => *sent = true,
            _ => return Heard::Failure,
        }
        return Heard::Nothing;
    }
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Heard::Failure,
            Ok(n) => inbox.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
            Err(_) => return Heard::Failure,
        }
        let Some(length) = inbox.first_chunk().map(|b| u16::from_be_bytes(*b)) else {
            continue;
        };
        if let Some(answer) = inbox.get(2..usize::from(length) + 2) {
            return match wire::id(answer) == Some(id) && wire::is_answer(question, answer) {
                true => Heard::Answer(answer.to_vec()),
                false => Heard::Failure,
            };
        }
    }
}
