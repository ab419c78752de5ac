//! A connection to systemd: over a bus, or its own socket. Everything has a deadline.
//!
//! Spec: <https://dbus.freedesktop.org/doc/dbus-specification.html>, "Authentication Protocol",
//! "Server Addresses".

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::message::{Call, FIXED, Message, Type, Writer, total};
use crate::base::{Context as _, Error, Kind, Result};

/// An answer takes a few milliseconds; a machine that is starting, much longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A bus at a path.
    Bus(PathBuf),
    /// A bus with an abstract name.
    Abstract(String),
    /// systemd itself, without a bus between.
    Peer(PathBuf),
}

impl Address {
    /// The addresses of `DBUS_SESSION_BUS_ADDRESS` that can be connected to.
    pub fn parse(text: &str) -> Vec<Self> {
        text.split(';')
            .filter_map(|one| one.strip_prefix("unix:"))
            .filter_map(|pairs| {
                pairs
                    .split(',')
                    .find_map(|pair| match pair.split_once('=')? {
                        ("path", value) => Some(Self::Bus(PathBuf::from(unescape(value)?))),
                        ("abstract", value) => Some(Self::Abstract(unescape(value)?)),
                        _ => None,
                    })
            })
            .collect()
    }
}

/// `%2c` and the like.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    deadline: Instant,
    serial: u32,
    has_bus: bool,
    /// Bytes that came and were not looked at.
    pending: Vec<u8>,
    /// Signals that came before the answer that was waited for.
    signals: VecDeque<Message>,
}

impl Bus {
    /// Connects to the first address where somebody answers.
    ///
    /// # Errors
    /// Why the last one could not be had.
    pub fn connect(addresses: &[Address]) -> Result<Self> {
        let mut last = Error::not_found("there is no address of a bus");
        for address in addresses {
            match Self::connect_to(address) {
                Ok(bus) => return Ok(bus),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn connect_to(address: &Address) -> Result<Self> {
        let (to, has_bus) = match address {
            Address::Bus(path) => (SocketAddrUnix::new(path), true),
            Address::Peer(path) => (SocketAddrUnix::new(path), false),
            Address::Abstract(name) => (SocketAddrUnix::new_abstract_name(name.as_bytes()), true),
        };
        let what = || format!("cannot connect to {address:?}");
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .what(what)?;
        connect(&socket, &to.what(what)?).what(what)?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false).what(what)?;
        let mut bus = Self {
            stream,
            deadline: Instant::now() + PATIENCE,
            serial: 0,
            has_bus,
            pending: Vec::new(),
            signals: VecDeque::new(),
        };
        bus.authenticate().what(what)?;
        Ok(bus)
    }

    /// SASL EXTERNAL without a name: the kernel tells the other side who we are, whatever user
    /// namespace we are in.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = self.line()?;
            if line.starts_with("OK ") {
                break;
            }
            if line.trim_end() != "DATA" {
                return Err(Error::new(
                    Kind::Denied,
                    format!("the bus does not know us: {:?}", line.trim_end()),
                ));
            }
        }
        if self.has_bus {
            let hello = self.bus_call("Hello", "");
            self.call(&hello, &Writer::default())?;
        }
        Ok(())
    }

    fn bus_call<'a>(&self, member: &'a str, signature: &'a str) -> Call<'a> {
        Call {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            signature,
        }
    }

    /// Asks for a signal of systemd's manager object; without a bus they all come.
    ///
    /// # Errors
    /// What the bus says.
    pub fn listen(&mut self, member: &str) -> Result<()> {
        if !self.has_bus {
            return Ok(());
        }
        let mut body = Writer::default();
        body.string(&format!(
            "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',interface='org.freedesktop.systemd1.Manager',member='{member}'"
        ));
        let call = self.bus_call("AddMatch", "s");
        self.call(&call, &body).map(drop)
    }

    /// Calls a method of systemd's manager object.
    ///
    /// # Errors
    /// What systemd says, with the error's name as the cause.
    pub fn manager(&mut self, member: &str, signature: &str, body: &Writer) -> Result<Message> {
        let call = Call {
            destination: self.has_bus.then_some("org.freedesktop.systemd1"),
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
            signature,
        };
        self.call(&call, body)
    }

    fn call(&mut self, call: &Call<'_>, body: &Writer) -> Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&call.encode(serial, body))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                Type::Signal => self.signals.push_back(message),
                Type::Return if message.reply_to == Some(serial) => return Ok(message),
                Type::Error if message.reply_to == Some(serial) => {
                    let text = message.arguments.first().cloned().unwrap_or_default();
                    let kind = match message.error.as_str() {
                        "org.freedesktop.systemd1.UnitExists" => Kind::Exists,
                        "org.freedesktop.systemd1.NoSuchUnit" => Kind::NotFound,
                        "org.freedesktop.DBus.Error.AccessDenied"
                        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
                            Kind::Denied
                        }
                        _ => Kind::Unsupported,
                    };
                    return Err(Error::new(kind, format!("systemd says: {text}"))
                        .because(Error::new(kind, message.error)));
                }
                _ => {}
            }
        }
    }

    /// The next signal.
    ///
    /// # Errors
    /// `TimedOut` when none comes.
    pub fn signal(&mut self) -> Result<Message> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let message = self.receive()?;
            if message.kind == Type::Signal {
                return Ok(message);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left()?;
        let what = || "cannot write to the bus";
        self.stream.set_write_timeout(Some(left)).what(what)?;
        self.stream.write_all(bytes).what(what)
    }

    fn left(&self) -> Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(
                Kind::TimedOut,
                format!("no answer from systemd in {} s", PATIENCE.as_secs()),
            ));
        }
        Ok(left)
    }

    /// Reads more.
    fn fill(&mut self) -> Result<()> {
        let mut chunk = [0; 4096];
        loop {
            let left = self.left()?;
            let what = || "cannot read from the bus";
            self.stream.set_read_timeout(Some(left)).what(what)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(Error::new(
                        Kind::Interrupted,
                        "the bus closed the connection",
                    ));
                }
                Ok(n) => {
                    self.pending.extend(&chunk[..n]);
                    return Ok(());
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e).what(what),
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.pending.len() > FIXED * 64 {
                return Err(Error::invalid("a bus without lines"));
            }
            self.fill()?;
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let malformed = || Error::invalid("a malformed message came from the bus");
        loop {
            if self.pending.len() >= FIXED {
                let total = total(&self.pending).ok_or_else(malformed)?;
                if self.pending.len() >= total {
                    let bytes: Vec<u8> = self.pending.drain(..total).collect();
                    return Message::decode(&bytes).ok_or_else(malformed);
                }
            }
            self.fill()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(
            Address::parse("unix:path=/run/user/1000/bus,guid=1;tcp:host=x;unix:abstract=/tmp/%2c"),
            [
                Address::Bus("/run/user/1000/bus".into()),
                Address::Abstract("/tmp/,".into())
            ]
        );
        assert_eq!(Address::parse("unix:path=%zz"), []);
        assert_eq!(Address::parse(""), []);
    }
}
