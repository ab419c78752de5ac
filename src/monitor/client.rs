//! One connection to the monitor: requests by lines, then frames once it is attached.

use std::io::{ErrorKind as IoKind, Read as _};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;

use super::outbox::Outbox;
use crate::base::{Error, Kind as ErrorKind, Result};
use crate::handoff::control::{self, Answer, AttachRequest, Request};
use crate::handoff::failure::Failure;
use crate::handoff::frame::{self, Decoder, Kind};
use crate::handoff::output::Stream;
use crate::handoff::terminal::Size;

/// What a client asked for or sent.
#[derive(Debug)]
pub enum Message {
    /// A request; an answer is due.
    Request(Request),
    /// Bytes for standard input.
    Stdin(Vec<u8>),
    /// It will send no more input.
    StdinEnd,
    /// Its terminal's size.
    Resize(Size),
    /// A signal for the container.
    Signal(i32),
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    inbox: Decoder,
    line: Vec<u8>,
    outbox: Outbox,
    attached: Option<AttachRequest>,
    stdin_ended: bool,
    /// How much input it may still send.
    credit: usize,
    /// It asked for the exit.
    pub waits: bool,
    /// Nothing more is for it: it goes when its box is empty.
    pub done: bool,
    /// Whether the loop watches for room in its socket.
    pub watched_for_room: bool,
}

impl Client {
    /// A new connection.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            inbox: Decoder::default(),
            line: Vec::new(),
            outbox: Outbox::default(),
            attached: None,
            stdin_ended: false,
            credit: 0,
            waits: false,
            done: false,
            watched_for_room: false,
        })
    }

    /// Its socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// What it waits for.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Makes it a client of the streams.
    ///
    /// # Errors
    /// It is gone.
    pub fn attach(&mut self, request: AttachRequest) -> Result<(), Errno> {
        self.attached = Some(request);
        if request.stdin {
            self.credit(frame::CREDIT as usize)?;
        }
        Ok(())
    }

    /// Whether it takes that stream.
    pub fn takes(&self, stream: Stream) -> bool {
        !self.done
            && self.attached.is_some_and(|a| match stream {
                Stream::Stdout => a.stdout,
                Stream::Stderr => a.stderr,
            })
    }

    /// Whether it may still send input.
    pub fn has_input(&self) -> bool {
        !self.stdin_ended && self.attached.is_some_and(|a| a.stdin)
    }

    /// Whether it is attached.
    pub fn is_attached(&self) -> bool {
        self.attached.is_some()
    }

    /// Whether it is the command that started the container.
    pub fn is_owner(&self) -> bool {
        self.attached.is_some_and(|a| a.owner)
    }

    /// Sends output.
    ///
    /// # Errors
    /// It is gone.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Errno> {
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        self.outbox.frame(&self.stream, kind, bytes)
    }

    /// Lets it send `count` more bytes of input.
    ///
    /// # Errors
    /// It is gone.
    pub fn credit(&mut self, count: usize) -> Result<(), Errno> {
        self.credit += count;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.outbox
            .frame(&self.stream, Kind::Credit, &count.to_be_bytes())
    }

    /// Tells the exit code, if it wants to know: the last thing it hears.
    ///
    /// # Errors
    /// It is gone.
    pub fn exited(&mut self, code: i32) -> Result<(), Errno> {
        if self.attached.is_some() {
            self.done = true;
            return self
                .outbox
                .frame(&self.stream, Kind::Exit, &code.to_be_bytes());
        }
        if self.waits {
            self.waits = false;
            let value = serde_json::json!({ "code": code });
            return self.answer(&Ok(value));
        }
        Ok(())
    }

    /// Answers a request.
    ///
    /// # Errors
    /// It is gone.
    pub fn answer(&mut self, answer: &Result<serde_json::Value>) -> Result<(), Errno> {
        let answer = match answer {
            Ok(value) => Answer::Ok(value.clone()),
            Err(e) => Answer::Error(Failure::from(e)),
        };
        self.outbox
            .line(&self.stream, &control::encode_answer(&answer))
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// It is gone.
    pub fn flush(&mut self) -> Result<(), Errno> {
        self.outbox.flush(&self.stream)
    }

    /// Reads from the socket. `false`: it hung up.
    pub fn receive(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => false,
                Ok(n) => {
                    if self.attached.is_some() {
                        self.inbox.feed(&buffer[..n]);
                    } else {
                        self.line.extend_from_slice(&buffer[..n]);
                    }
                    true
                }
                Err(e) if e.kind() == IoKind::Interrupted => continue,
                Err(e) => e.kind() == IoKind::WouldBlock,
            };
        }
    }

    /// The next message of what was read.
    ///
    /// # Errors
    /// It talks nonsense. A malformed line is answered by the caller, a malformed frame ends it.
    pub fn next_message(&mut self) -> Result<Option<Message>> {
        if self.attached.is_some() {
            // What followed the attach request in the same packet.
            if !self.line.is_empty() {
                let rest = std::mem::take(&mut self.line);
                self.inbox.feed(&rest);
            }
            return self.next_frame();
        }
        let Some(end) = self.line.iter().position(|b| *b == b'\n') else {
            if self.line.len() > control::LINE_LIMIT {
                self.done = true;
                return Err(Error::invalid("control socket: endless request"));
            }
            return Ok(None);
        };
        let line: Vec<u8> = self.line.drain(..=end).collect();
        control::decode(line.trim_ascii()).map(|r| Some(Message::Request(r)))
    }

    fn next_frame(&mut self) -> Result<Option<Message>> {
        let stdin = self.has_input();
        let bad = |what: &str| Error::new(ErrorKind::Corrupt, format!("attach stream: {what}"));
        while let Some((kind, bytes)) = self.inbox.next_frame()? {
            let message = match kind {
                Kind::Stdin if stdin => {
                    let Some(left) = self.credit.checked_sub(bytes.len()) else {
                        return Err(bad("more input than was asked for"));
                    };
                    self.credit = left;
                    Message::Stdin(bytes.to_vec())
                }
                Kind::StdinEnd if stdin => {
                    self.stdin_ended = true;
                    Message::StdinEnd
                }
                // Input that nobody asked for.
                Kind::Stdin | Kind::StdinEnd => continue,
                Kind::Resize => match *bytes {
                    [a, b, c, d] => Message::Resize(Size {
                        rows: u16::from_be_bytes([a, b]),
                        columns: u16::from_be_bytes([c, d]),
                    }),
                    _ => return Err(bad("malformed size")),
                },
                Kind::Signal => match *bytes {
                    [n] => Message::Signal(n.into()),
                    _ => return Err(bad("malformed signal")),
                },
                _ => return Err(bad("unexpected frame")),
            };
            return Ok(Some(message));
        }
        Ok(None)
    }
}
