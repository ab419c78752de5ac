//! Questions that are asked elsewhere: by packet where they came by packet, by connection where they
//! came by connection, one server after the other.
//!
//! Bounds: questions under way, and those of one asker. When all places are taken, the asker who
//! has most of them makes room: a flood starves nobody but itself.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use simple_dns::RCODE;

use super::{Origin, Service, Slot, greediest, release};
use crate::base::random;
use crate::network::bridge::dns::upstream;
use crate::network::bridge::dns::wire::{self, Saying};
use crate::sys::event::Interest;

/// Questions to the outside under way.
const PENDING: usize = 512;
/// The same of one asker.
const PENDING_OF_ONE: usize = 64;
/// How long one server may take before the next is asked.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The longest packet of UDP: who asks may have said that much room.
const PACKET: usize = 65535;

/// A question that is asked elsewhere.
pub(super) struct Asking {
    pub(super) question: Vec<u8>,
    pub(super) id: u16,
    pub(super) origin: Origin,
    pub(super) asker: IpAddr,
    pub(super) servers: Vec<SocketAddr>,
    pub(super) link: Link,
    pub(super) deadline: Instant,
}

/// How a server is asked.
pub(super) enum Link {
    Udp(UdpSocket),
    /// Under way, the question still to be sent; then what came so far.
    Tcp(TcpStream, bool, Vec<u8>),
}

impl Service {
    pub(super) fn forward(
        &mut self,
        asker: IpAddr,
        question: &[u8],
        origin: Origin,
        own: &[IpAddr],
    ) {
        let now = Instant::now();
        let servers: Vec<SocketAddr> = match own.is_empty() {
            true => self.upstream.servers(now).to_vec(),
            false => own.iter().map(|a| upstream::at(*a)).collect(),
        };
        let of_one = self.pending.get(&asker).copied().unwrap_or(0);
        let all: usize = self.pending.values().sum();
        let has_place = of_one < PENDING_OF_ONE && (all < PENDING || self.make_room(of_one));
        if servers.is_empty() || !has_place {
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

    /// Gives up the oldest question of whoever has most, for one who has `own`; `false` when that
    /// would be no fairer.
    fn make_room(&mut self, own: usize) -> bool {
        let Some((greedy, most)) = greediest(&self.pending) else {
            return false;
        };
        let is_theirs = |token: &u64| match self.slots.get(token) {
            Some(Slot::Asking(asking)) => asking.asker == greedy,
            _ => false,
        };
        let oldest = self.deadlines.iter().map(|(_, token)| *token);
        let oldest = oldest.filter(|_| most > own + 1).find(is_theirs);
        match oldest.and_then(|token| self.close(token)) {
            Some(Slot::Asking(asking)) => {
                self.settle(asking.origin, &asking.question, None);
                true
            }
            _ => false,
        }
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

    pub(super) fn next_server(&mut self, token: u64) {
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
    pub(super) fn heard(&mut self, token: u64) {
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
    let mut buffer = [0; PACKET];
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
