//! All clients of a monitor: accepting, answering, sending output, dropping who cannot keep up.

use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use rustix::io::Errno;
use serde_json::Value;

use super::client::{Client, Message};
use super::supervise::{CLIENTS, LISTENER, Monitor, checks_of};
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::control::{AttachRequest, Request};
use crate::handoff::output::Stream;
use crate::sys::event::{Interest, Poller};

/// More connections than this are refused.
const LIMIT: usize = 128;

/// Read from a client at once, bytes.
const CHUNK: usize = 16 << 10;

/// The clients and the socket they come by.
#[derive(Debug)]
pub(super) struct Clients {
    listener: Option<UnixListener>,
    all: BTreeMap<u64, Client>,
    next: u64,
}

impl Clients {
    /// Begins to accept.
    pub(super) fn new(listener: UnixListener, poller: &Poller) -> Result<Self> {
        listener
            .set_nonblocking(true)
            .what(|| "cannot set up the control socket")?;
        poller.add(&listener, LISTENER, Interest::READ)?;
        Ok(Self {
            listener: Some(listener),
            all: BTreeMap::new(),
            next: CLIENTS,
        })
    }

    /// Adds the command that starts the container.
    pub(super) fn add_owner(
        &mut self,
        stream: UnixStream,
        request: AttachRequest,
        poller: &Poller,
    ) -> Result<()> {
        let mut client = Client::new(stream).what(|| "cannot set up the attach stream")?;
        let owner = AttachRequest {
            owner: true,
            ..request
        };
        client
            .attach(owner)
            .what(|| "cannot set up the attach stream")?;
        self.insert(client, poller)
    }

    fn insert(&mut self, client: Client, poller: &Poller) -> Result<()> {
        poller.add(client.stream(), self.next, Interest::READ)?;
        self.all.insert(self.next, client);
        self.next += 1;
        Ok(())
    }

    /// Accepts whoever waits.
    pub(super) fn accept(&mut self, poller: &Poller) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            // The folder is closed to others; this is the second lock on the same door.
            let ours = rustix::net::sockopt::socket_peercred(&stream)
                .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid());
            if ours
                && self.all.len() < LIMIT
                && let Ok(client) = Client::new(stream)
            {
                let _refused = self.insert(client, poller);
            }
        }
    }

    /// Accepts nobody any more.
    pub(super) fn stop_listening(&mut self, poller: &Poller) {
        if let Some(listener) = self.listener.take() {
            let _known = poller.remove(&listener);
        }
    }

    /// Clients that may have asked for something that was not read yet.
    pub(super) fn asking(&self) -> Vec<u64> {
        let asking = self
            .all
            .iter()
            .filter(|(_, c)| !c.is_attached() && !c.waits);
        asking.map(|(token, _)| *token).collect()
    }

    /// Whether nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether somebody may still send input.
    pub(super) fn have_input(&self) -> bool {
        self.all.values().any(Client::has_input)
    }

    /// Whether the container has to wait for somebody.
    pub(super) fn are_full(&self) -> bool {
        self.all.values().any(|c| c.outbox().is_full())
    }

    /// When somebody's patience ends. The command that started the container may take as long as
    /// it likes, as the reader of a pipe may: what it does not read, nobody else can replace.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.all
            .values()
            .filter(|c| !c.is_owner())
            .filter_map(|c| c.outbox().deadline())
            .min()
    }

    /// Drops clients that held up the container for too long.
    pub(super) fn drop_slow(&mut self, now: Instant, poller: &Poller) {
        self.drop_where(poller, |c| {
            !c.is_owner() && c.outbox().deadline().is_some_and(|d| d <= now)
        });
    }

    /// Drops clients that everything was said to.
    pub(super) fn drop_idle(&mut self, poller: &Poller) {
        self.drop_where(poller, |c| c.outbox().is_empty());
    }

    fn drop_where(&mut self, poller: &Poller, which: impl Fn(&Client) -> bool) {
        let tokens: Vec<u64> = self
            .all
            .iter()
            .filter(|(_, c)| which(c))
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            self.remove(token, poller);
        }
    }

    fn remove(&mut self, token: u64, poller: &Poller) {
        if let Some(client) = self.all.remove(&token) {
            let _known = poller.remove(client.stream());
        }
    }

    /// Does something with a client: one that is gone, or done and empty, is removed; one that has
    /// something waiting is watched for room.
    fn with(
        &mut self,
        token: u64,
        poller: &Poller,
        act: impl FnOnce(&mut Client) -> Result<(), Errno>,
    ) {
        let Some(client) = self.all.get_mut(&token) else {
            return;
        };
        let gone = act(client).is_err() || (client.done && client.outbox().is_empty());
        let waiting = !client.outbox().is_empty();
        if gone {
            self.remove(token, poller);
        } else if waiting != client.watched_for_room {
            client.watched_for_room = waiting;
            let interest = Interest {
                read: true,
                write: waiting,
            };
            let _known = poller.change(client.stream(), token, interest);
        }
    }

    /// Sends output to everybody who takes it.
    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8], poller: &Poller) {
        let tokens: Vec<u64> = self
            .all
            .iter()
            .filter(|(_, c)| c.takes(stream))
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            self.with(token, poller, |c| c.output(stream, bytes));
        }
    }

    /// Lets a client send more input.
    pub(super) fn credit(&mut self, token: u64, count: usize, poller: &Poller) {
        self.with(token, poller, |c| {
            if c.has_input() {
                c.credit(count)
            } else {
                Ok(())
            }
        });
    }

    /// Tells everybody who wants to know.
    pub(super) fn exited(&mut self, code: i32, poller: &Poller) {
        let tokens: Vec<u64> = self.all.keys().copied().collect();
        for token in tokens {
            self.with(token, poller, |c| c.exited(code));
        }
    }

    /// Sends what a client takes now.
    pub(super) fn flush(&mut self, token: u64, poller: &Poller) {
        self.with(token, poller, Client::flush);
    }
}

/// Reads a client's messages and does what they ask.
pub(super) fn messages(monitor: &mut Monitor<'_>, token: u64) {
    let mut buffer = [0; CHUNK];
    let alive = match monitor.clients.all.get_mut(&token) {
        Some(client) => client.receive(&mut buffer),
        None => return,
    };
    while let Some(client) = monitor.clients.all.get_mut(&token) {
        let attached = client.is_attached();
        match client.next_message() {
            Ok(Some(Message::Request(request))) => {
                let Some(answer) = request_of(monitor, token, request).transpose() else {
                    continue;
                };
                monitor.answer(token, &answer);
            }
            Ok(Some(message)) => obey(monitor, token, message),
            Ok(None) => break,
            // Frames cannot be found again once one is broken.
            Err(_) if attached => {
                monitor.hung_up(token);
                return;
            }
            Err(e) => monitor.answer(token, &Err(e)),
        }
    }
    if !alive {
        monitor.hung_up(token);
    }
}

fn obey(monitor: &mut Monitor<'_>, token: u64, message: Message) {
    match message {
        Message::Stdin(bytes) => monitor.input(token, &bytes),
        Message::StdinEnd => monitor.input_ended(),
        Message::Resize(size) => drop(monitor.resize(size)),
        Message::Signal(number) => monitor.signal(number),
        Message::Request(_) => {}
    }
}

/// Does what a request asks; `None` when its answer comes later or was sent already.
fn request_of(monitor: &mut Monitor<'_>, token: u64, request: Request) -> Result<Option<Value>> {
    match request {
        Request::Attach(request) => {
            // The answer goes first: frames follow it.
            monitor.answer(token, &Ok(Value::Null));
            if let Some(size) = request.size {
                let _without_terminal = monitor.resize(size);
            }
            monitor.attach(token, request);
            return Ok(None);
        }
        Request::Resize { size } => monitor.resize(size)?,
        Request::Stopping => {
            monitor.stopping = true;
            monitor.was_stopped();
        }
        Request::Paused { paused } => {
            monitor.paused(paused)?;
        }
        Request::ReopenLog => monitor.reopen_log()?,
        Request::Status => {
            return serde_json::to_value(&monitor.status)
                .map(Some)
                .what_kind(Kind::Internal, || "cannot encode the status");
        }
        Request::Restart { policy } => {
            let policy = serde_json::from_value(policy)
                .map_err(|e| Error::invalid("invalid restart policy").because(e))?;
            monitor.set_policy(policy);
        }
        Request::Health { checks } => monitor.change_health(checks_of(checks)?),
        Request::CheckHealth => {
            monitor.check_health(token)?;
            return Ok(None);
        }
        Request::Network { change } => monitor.change_networks(&change)?,
        Request::Wait => {
            monitor.wait(token);
            return Ok(None);
        }
    }
    Ok(Some(Value::Null))
}

impl Monitor<'_> {
    /// Answers a client, if it is still there.
    pub(super) fn answer(&mut self, token: u64, answer: &Result<Value>) {
        self.clients.with(token, &self.poller, |c| c.answer(answer));
    }

    fn attach(&mut self, token: u64, request: AttachRequest) {
        self.clients
            .with(token, &self.poller, |c| c.attach(request));
    }

    fn wait(&mut self, token: u64) {
        self.clients.with(token, &self.poller, |c| {
            c.waits = true;
            Ok(())
        });
    }

    /// A client is gone. Its input does not end the container's: a command that was killed, or
    /// detached, leaves the container well.
    fn hung_up(&mut self, token: u64) {
        self.clients.remove(token, &self.poller);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const OUTPUT: AttachRequest = AttachRequest {
        stdin: false,
        stdout: true,
        stderr: true,
        size: None,
        owner: false,
    };

    fn clients(poller: &Poller) -> (tempfile::TempDir, Clients) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        (dir, Clients::new(listener, poller).unwrap())
    }

    #[test]
    fn a_client_that_takes_nothing_is_dropped_after_a_while_and_the_command_never() {
        let poller = Poller::new().unwrap();
        for owner in [false, true] {
            let (_dir, mut clients) = clients(&poller);
            let (ours, theirs) = UnixStream::pair().unwrap();
            if owner {
                clients.add_owner(ours, OUTPUT, &poller).unwrap();
            } else {
                let mut client = Client::new(ours).unwrap();
                client.attach(OUTPUT).unwrap();
                clients.insert(client, &poller).unwrap();
            }
            let chunk = vec![0; 64 << 10];
            while !clients.are_full() {
                clients.output(Stream::Stdout, &chunk, &poller);
            }
            let soon = Instant::now() + Duration::from_secs(5);
            clients.drop_slow(soon, &poller);
            assert!(!clients.is_empty(), "it may be slow for some time");
            clients.drop_slow(soon + Duration::from_secs(10), &poller);
            assert_eq!(clients.is_empty(), !owner);
            assert_eq!(clients.are_full(), owner);
            drop(theirs);
        }
    }
}
