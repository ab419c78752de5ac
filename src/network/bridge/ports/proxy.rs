//! The thread that carries connections and packets.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::udp;
use super::{Front, Target};
use crate::base::{Context as _, Error, Result};
use crate::network::bridge::confine;
use crate::network::bridge::orders::{Inbox, Orders, orders};
use crate::network::carry::{Pair, reach};
use crate::sys::event::{Interest, Poller};
use crate::sys::namespace::{self, Kind};

/// Connections of all ports, where there are descriptors for so many.
const CONNECTIONS: usize = 16 << 10;
/// Flows of all ports, likewise.
const FLOWS: usize = 4096;
/// Descriptors for names, monitors and listeners.
const OTHERS: usize = 1024;
/// What is read at once, bytes; a whole packet of UDP fits.
const CHUNK: usize = 256 << 10;
/// Connections or packets taken from one socket before the others get their turn.
const TURNS: usize = 64;

/// Owners of ports that are services count from here.
pub(in crate::network::bridge) const SERVICES: u64 = 1 << 48;
/// How long a connection waits for a replica of its service that takes it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long until it is tried again: a program that was just started may not listen yet.
const PAUSE: Duration = Duration::from_millis(100);
/// So many wait at most.
const WAITING: usize = 1024;

const WAKE: u64 = 0;

enum Order {
    Open {
        member: u64,
        front: Front,
        port: u16,
    },
    /// Whom its connections go to in turn: containers, by their numbers.
    Targets {
        member: u64,
        targets: Vec<(u64, Target)>,
        done: Sender<()>,
    },
    Close {
        member: u64,
        done: Sender<()>,
    },
}

/// How the thread is told what to do; it ends with this.
#[derive(Debug)]
pub(in crate::network::bridge) struct Handle {
    orders: Orders<Order>,
}

impl Handle {
    /// Starts the thread in the namespace of bridges.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::network::bridge) fn start(bridges: OwnedFd) -> Result<Self> {
        let what = || "cannot start the carrier of published ports";
        let (entered, result) = channel();
        let (orders, inbox, poller) = orders(WAKE, "the carrier of published ports")?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let descriptors = limit.current.and_then(|n| usize::try_from(n).ok());
        let descriptors = descriptors.unwrap_or(usize::MAX);
        let proxy = Proxy {
            poller,
            inbox,
            slots: HashMap::new(),
            targets: HashMap::new(),
            turns: HashMap::new(),
            waiting: VecDeque::new(),
            flows: HashMap::new(),
            deadlines: BTreeSet::new(),
            next: WAKE + 1,
            connections: HashMap::new(),
            bounds: Bounds::of(descriptors),
            buffer: vec![0; CHUNK],
        };
        std::thread::Builder::new()
            .name("ports".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                let joined = namespace::join(&bridges, Kind::Net.flag());
                let is_in = joined.is_ok();
                confine::thread(confine::OF_NETWORKS);
                drop(entered.send(joined));
                if is_in {
                    proxy.run();
                }
            })
            .what(what)?;
        result
            .recv()
            .map_err(|_| Error::internal(what()))?
            .what(what)?;
        Ok(Self { orders })
    }

    /// Carries what comes to a socket of the host to a port of a container.
    ///
    /// # Errors
    /// `Internal` when the thread is gone.
    pub(in crate::network::bridge) fn open(
        &self,
        member: u64,
        front: Front,
        port: u16,
    ) -> Result<()> {
        self.orders.tell(Order::Open {
            member,
            front,
            port,
        })
    }

    /// Says where a container is reached now.
    ///
    /// # Errors
    /// As [`Handle::open`].
    pub(in crate::network::bridge) fn target(&self, member: u64, target: Target) -> Result<()> {
        self.targets(member, vec![(member, target)])
    }

    /// Says which replicas of a service take connections now, in turn. Those under way stay.
    /// Connections that come while there is none wait for a while.
    ///
    /// # Errors
    /// As [`Handle::open`].
    pub(in crate::network::bridge) fn targets(
        &self,
        member: u64,
        targets: Vec<(u64, Target)>,
    ) -> Result<()> {
        let (done, result) = channel();
        self.orders.tell(Order::Targets {
            member,
            targets,
            done,
        })?;
        // From here on none goes to whom it must not go to.
        let _gone = result.recv();
        Ok(())
    }

    /// Closes a container's ports, which are free when this returns, and what was led to it.
    ///
    /// # Errors
    /// As [`Handle::open`].
    pub(in crate::network::bridge) fn close(&self, member: u64) -> Result<()> {
        let (done, result) = channel();
        self.orders.tell(Order::Close { member, done })?;
        // An error is the thread's end, which closed them too.
        let _gone = result.recv();
        Ok(())
    }
}

/// What is waited for.
enum Slot {
    Listener {
        member: u64,
        socket: TcpListener,
        port: u16,
    },
    /// The client's end of a connection; the other has the next number.
    Pair { call: Call, pair: Box<Pair> },
    /// The container's end: its pair.
    Far(u64),
    Packets {
        member: u64,
        socket: UdpSocket,
        port: u16,
        flows: usize,
    },
    Flow {
        socket: UdpSocket,
        /// The container that it goes to.
        replica: u64,
        front: u64,
        peer: SocketAddr,
        deadline: Instant,
    },
}

/// A client's connection, and where it goes.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// Whose port it came to.
    member: u64,
    /// The container's port.
    port: u16,
    client: IpAddr,
    /// The container that it goes to.
    replica: u64,
    /// How many were tried.
    tries: usize,
    /// When it is given up, once nobody could take it.
    until: Option<Instant>,
}

/// A connection that nobody could take as yet.
#[derive(Debug)]
struct Waiting {
    /// When somebody is looked for again.
    again: Instant,
    call: Call,
    front: TcpStream,
}

/// How much is carried at once: a socket that cannot be accepted for want of a descriptor would be
/// told of again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    connections: usize,
    /// Of one container: a flood of it leaves the others room.
    connections_of_one: usize,
    flows: usize,
    /// Of one port.
    flows_of_one: usize,
}

impl Bounds {
    /// For a process that may have so many descriptors. A connection takes two, a flow one.
    fn of(descriptors: usize) -> Self {
        let rest = descriptors.saturating_sub(OTHERS).max(descriptors / 4);
        let connections = CONNECTIONS.min(rest / 8 * 3);
        let flows = FLOWS.min(rest / 8);
        Self {
            connections,
            connections_of_one: connections * 3 / 4,
            flows,
            flows_of_one: flows / 4,
        }
    }
}

struct Proxy {
    bounds: Bounds,
    poller: Poller,
    inbox: Inbox<Order>,
    slots: HashMap<u64, Slot>,
    targets: HashMap<u64, Vec<(u64, Target)>>,
    /// Whose turn it was, by whose port it is.
    turns: HashMap<u64, usize>,
    /// In the order in which they are looked at again.
    waiting: VecDeque<Waiting>,
    /// By the socket of the host and the client.
    flows: HashMap<(u64, SocketAddr), u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
    /// By container.
    connections: HashMap<u64, usize>,
    buffer: Vec<u8>,
}

impl Proxy {
    fn run(mut self) {
        loop {
            let flow = self.deadlines.first().map(|(at, _)| *at);
            let wait = self.waiting.front().map(|w| w.again);
            let next = [flow, wait].into_iter().flatten().min();
            let patience = next.map(|at| at.saturating_duration_since(Instant::now()));
            for event in self.poller.wait(patience).unwrap_or_default() {
                if event.token != WAKE {
                    self.see_to(event.token);
                    continue;
                }
                self.inbox.hear();
                if !self.take_orders() {
                    return;
                }
            }
            let now = Instant::now();
            while let Some((at, token)) = self.deadlines.first().copied()
                && at <= now
            {
                self.end_flow(token);
            }
            while self.waiting.front().is_some_and(|w| w.again <= now)
                && let Some(waiting) = self.waiting.pop_front()
            {
                self.lead(waiting.call, waiting.front);
            }
        }
    }

    /// `false` when there is nobody left to give any.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.inbox.next() {
                Ok(Order::Open {
                    member,
                    front,
                    port,
                }) => self.open(member, front, port),
                Ok(Order::Targets {
                    member,
                    targets,
                    done,
                }) => {
                    self.targets.insert(member, targets);
                    let _gone = done.send(());
                    self.wake(member);
                }
                Ok(Order::Close { member, done }) => {
                    self.close(member);
                    let _gone = done.send(());
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn open(&mut self, member: u64, front: Front, port: u16) {
        let token = self.number();
        let slot = match front {
            Front::Tcp(socket) => {
                drop(self.poller.add(&socket, token, Interest::READ));
                Slot::Listener {
                    member,
                    socket,
                    port,
                }
            }
            Front::Udp(socket) => {
                drop(self.poller.add(&socket, token, Interest::READ));
                Slot::Packets {
                    member,
                    socket,
                    port,
                    flows: 0,
                }
            }
        };
        self.slots.insert(token, slot);
    }

    /// Ends everything of a container.
    fn close(&mut self, of: u64) {
        self.targets.remove(&of);
        self.turns.remove(&of);
        self.waiting.retain(|w| w.call.member != of);
        let gone: Vec<u64> = self
            .slots
            .iter()
            .filter(|(_, slot)| match slot {
                Slot::Listener { member, .. } | Slot::Packets { member, .. } => *member == of,
                Slot::Pair { call, .. } => call.member == of || call.replica == of,
                Slot::Flow { replica, .. } => *replica == of,
                Slot::Far(_) => false,
            })
            .map(|(token, _)| *token)
            .collect();
        for token in gone {
            match self.slots.get(&token) {
                Some(Slot::Pair { .. }) => {
                    if let Some((call, pair)) = self.end_pair(token)
                        && call.member != of
                        && let Some(front) = pair.unreached()
                    {
                        self.lead(call, front);
                    }
                    continue;
                }
                Some(Slot::Flow { .. }) => {
                    self.end_flow(token);
                    continue;
                }
                _ => {}
            }
            self.slots.remove(&token);
            let flows: Vec<u64> = self
                .flows
                .iter()
                .filter(|((front, _), _)| *front == token)
                .map(|(_, flow)| *flow)
                .collect();
            for flow in flows {
                self.end_flow(flow);
            }
        }
    }

    fn see_to(&mut self, token: u64) {
        match self.slots.get(&token) {
            Some(Slot::Listener { .. }) => self.accept(token),
            Some(Slot::Pair { .. }) => self.carry(token),
            Some(Slot::Far(pair)) => {
                let pair = *pair;
                self.carry(pair);
            }
            Some(Slot::Packets { .. }) => self.packets(token),
            Some(Slot::Flow { .. }) => self.answers(token),
            None => {}
        }
    }

    fn accept(&mut self, token: u64) {
        for _ in 0..TURNS {
            let Some(Slot::Listener {
                member,
                socket,
                port,
            }) = self.slots.get(&token)
            else {
                return;
            };
            let (front, client) = match socket.accept() {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // None is there, or no descriptor is left: those that wait are heard later.
                Err(_) => return,
            };
            let call = Call {
                member: *member,
                port: *port,
                client: client.ip(),
                replica: 0,
                tries: 0,
                until: None,
            };
            if self.has_room(call.member) && front.set_nonblocking(true).is_ok() {
                self.lead(call, front);
            }
        }
    }

    /// The container that is next, how it is reached, and the address that it sees the client by.
    fn choose(&mut self, member: u64, client: IpAddr) -> Option<(u64, IpAddr, Option<IpAddr>)> {
        let targets = self.targets.get(&member)?;
        let turn = match targets.len() {
            0 => return None,
            1 => 0,
            count => {
                let turn = self.turns.entry(member).or_default();
                *turn = (*turn + 1) % count;
                *turn
            }
        };
        let (replica, target) = targets.get(turn)?;
        let (address, source) = target.reach(client)?;
        Some((*replica, address, source))
    }

    /// Leads a connection to a container: the next one where one cannot be reached. Where a service
    /// has none that could take it, it waits.
    fn lead(&mut self, mut call: Call, front: TcpStream) {
        let count = self.targets.get(&call.member).map_or(0, Vec::len);
        while call.tries < count {
            call.tries += 1;
            let Some((replica, address, source)) = self.choose(call.member, call.client) else {
                return;
            };
            call.replica = replica;
            if let Ok(back) = reach(SocketAddr::new(address, call.port), source) {
                return self.join(call, Pair::new(front, back));
            }
        }
        let now = Instant::now();
        let until = *call.until.get_or_insert(now + PATIENCE);
        if call.member >= SERVICES && self.waiting.len() < WAITING && now < until {
            call.tries = 0;
            let again = now + PAUSE;
            self.waiting.push_back(Waiting { again, call, front });
        }
    }

    /// Somebody may take what waits at a service's ports.
    fn wake(&mut self, member: u64) {
        if self.targets.get(&member).is_none_or(Vec::is_empty) {
            return;
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting.call.member == member {
                true => self.lead(waiting.call, waiting.front),
                false => self.waiting.push_back(waiting),
            }
        }
    }

    /// Whether a container may have one connection more.
    fn has_room(&self, member: u64) -> bool {
        let own = self.connections.get(&member).copied().unwrap_or(0);
        let all: usize = self.connections.values().sum();
        all < self.bounds.connections && own < self.bounds.connections_of_one
    }

    fn join(&mut self, call: Call, mut pair: Pair) {
        let (near, far) = (self.number(), self.number());
        if pair.watch(&self.poller, near).is_ok() {
            *self.connections.entry(call.member).or_default() += 1;
            let pair = Box::new(pair);
            self.slots.insert(near, Slot::Pair { call, pair });
            self.slots.insert(far, Slot::Far(near));
        }
    }

    fn carry(&mut self, token: u64) {
        let Some(Slot::Pair { pair, .. }) = self.slots.get_mut(&token) else {
            return;
        };
        if !pair.carry(&self.poller, token, &mut self.buffer)
            && let Some((call, pair)) = self.end_pair(token)
            && call.member >= SERVICES
            && let Some(front) = pair.unreached()
        {
            // Another replica may take it.
            self.lead(call, front);
        }
    }

    fn end_pair(&mut self, token: u64) -> Option<(Call, Box<Pair>)> {
        self.slots.remove(&(token + 1));
        let Some(Slot::Pair { call, pair }) = self.slots.remove(&token) else {
            return None;
        };
        if let Some(count) = self.connections.get_mut(&call.member) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&call.member);
            }
        }
        Some((call, pair))
    }

    fn packets(&mut self, token: u64) {
        for _ in 0..TURNS {
            let Some(Slot::Packets { socket, .. }) = self.slots.get(&token) else {
                return;
            };
            let (length, peer) = match socket.recv_from(&mut self.buffer) {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let flow = match self.flows.get(&(token, peer)) {
                Some(flow) => Some(*flow),
                None => self.begin_flow(token, peer),
            };
            if let Some(flow) = flow {
                self.renew(flow);
                if let Some(Slot::Flow { socket, .. }) = self.slots.get(&flow) {
                    // A full buffer loses a packet, as the network may.
                    drop(socket.send(&self.buffer[..length]));
                }
            }
        }
    }

    fn begin_flow(&mut self, front: u64, peer: SocketAddr) -> Option<u64> {
        let Some(Slot::Packets {
            member,
            port,
            flows,
            ..
        }) = self.slots.get(&front)
        else {
            return None;
        };
        let (member, port, of_one) = (*member, *port, *flows);
        if of_one >= self.bounds.flows_of_one || self.flows.len() >= self.bounds.flows {
            // The one that was silent for longest makes room: one of its own, where it has too many.
            let is_own = |token: &u64| match self.slots.get(token) {
                Some(Slot::Flow { front: own, .. }) => *own == front,
                _ => false,
            };
            let has_many = of_one >= self.bounds.flows_of_one;
            let mut silent = self.deadlines.iter().map(|(_, token)| *token);
            let oldest = silent.find(|token| !has_many || is_own(token))?;
            self.end_flow(oldest);
        }
        let (replica, address, source) = self.choose(member, peer.ip())?;
        let socket = udp::reach(SocketAddr::new(address, port), source).ok()?;
        let token = self.number();
        self.poller.add(&socket, token, Interest::READ).ok()?;
        let deadline = Instant::now() + udp::IDLE;
        self.deadlines.insert((deadline, token));
        self.flows.insert((front, peer), token);
        if let Some(Slot::Packets { flows, .. }) = self.slots.get_mut(&front) {
            *flows += 1;
        }
        let flow = Slot::Flow {
            socket,
            replica,
            front,
            peer,
            deadline,
        };
        self.slots.insert(token, flow);
        Some(token)
    }

    fn renew(&mut self, token: u64) {
        if let Some(Slot::Flow { deadline, .. }) = self.slots.get_mut(&token) {
            self.deadlines.remove(&(*deadline, token));
            *deadline = Instant::now() + udp::IDLE;
            self.deadlines.insert((*deadline, token));
        }
    }

    fn end_flow(&mut self, token: u64) {
        if let Some(Slot::Flow {
            front,
            peer,
            deadline,
            ..
        }) = self.slots.remove(&token)
        {
            self.deadlines.remove(&(deadline, token));
            self.flows.remove(&(front, peer));
            if let Some(Slot::Packets { flows, .. }) = self.slots.get_mut(&front) {
                *flows = flows.saturating_sub(1);
            }
        } else {
            self.deadlines.retain(|(_, other)| *other != token);
        }
    }

    fn answers(&mut self, token: u64) {
        for _ in 0..TURNS {
            let Some(Slot::Flow {
                socket,
                front,
                peer,
                ..
            }) = self.slots.get(&token)
            else {
                return;
            };
            let length = match socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // Nobody listens there (an ICMP error) is no end: it may come back.
                Err(_) => break,
            };
            if let Some(Slot::Packets { socket, .. }) = self.slots.get(front) {
                drop(socket.send_to(&self.buffer[..length], *peer));
            }
        }
        self.renew(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_fits_the_descriptors() {
        for descriptors in [256, 1024, 4096, 20_000, 1 << 20, usize::MAX] {
            let bounds = Bounds::of(descriptors);
            let used = bounds.connections * 2 + bounds.flows;
            assert!(used < descriptors, "{bounds:?}");
            assert!(bounds.connections_of_one < bounds.connections);
            assert!(bounds.flows_of_one > 0, "{bounds:?}");
        }
        assert_eq!(Bounds::of(1 << 20).connections, CONNECTIONS);
    }
}
