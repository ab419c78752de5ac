//! The relay between the caller and a monitor's attach stream.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use super::super::frame::{self, Decoder, Kind};
use super::parts::{Broken, Console, Signal, Signals, Typed, Writer, not_now, wait};
use super::{Caller, Options, Outcome};
use crate::base::{Context as _, Error, Kind as ErrorKind, Result};
use crate::sys::memory::Buffer;

/// What is read at once, bytes: more than a monitor's largest frame usually is.
const CHUNK: usize = 128 << 10;

/// Input that is read at once, bytes.
const INPUT: usize = 32 << 10;

/// Relays until the container's process ends or the caller detaches.
///
/// # Errors
/// `Unavailable` when the stream was cut: the monitor went away, or this caller was too slow while
/// others were attached. What ends the command (`--sig-proxy=false`) ends it, terminal restored.
pub fn attached(stream: UnixStream, caller: Caller, options: &Options) -> Result<Outcome> {
    let signals = Signals::take(options.proxy_signals)?;
    let screen = caller.stdout.as_ref().map(|fd| fd.as_fd());
    let console = Console::new(caller.stdin, screen, options.tty, &options.detach_keys)?;
    let mut relay = Relay {
        stream,
        console,
        out: caller.stdout.map(|fd| options.writer(fd, 1)),
        err: caller.stderr.map(|fd| options.writer(fd, 2)),
        decoder: Decoder::default(),
        credit: 0,
        typed: Vec::new(),
        exit: None,
    };
    relay.send_size()?;
    let mut buffer = Buffer::new(CHUNK);
    loop {
        let idle = !relay.is_waiting();
        let [talks, signalled, typed, out, err] = wait([
            // What was received must be written first.
            idle.then(|| (relay.stream.as_fd(), PollFlags::IN)),
            Some((signals.as_fd(), PollFlags::IN)),
            relay
                .console
                .input()
                .filter(|_| relay.credit > 0)
                .map(|fd| (fd, PollFlags::IN)),
            waiting(relay.out.as_ref()),
            waiting(relay.err.as_ref()),
        ])?;
        if signalled {
            while let Some(signal) = signals.next() {
                match signal {
                    Signal::Resized => relay.send_size()?,
                    Signal::Continued => {
                        relay.console.resume();
                        relay.send_size()?;
                    }
                    Signal::Proxy(number) => {
                        relay.send(Kind::Signal, &[u8::try_from(number).unwrap_or(0)])?;
                    }
                    Signal::Ends(number) => {
                        drop(relay);
                        return Err(signals.surrender(number));
                    }
                }
            }
        }
        if typed && relay.input(&mut buffer[..INPUT])? {
            // Detached: what came meanwhile is the next client's, or the log's.
            return Ok(Outcome::Detached);
        }
        let written = match (out, err) {
            (false, false) => Ok(()),
            _ => relay.flush()?,
        };
        if written.is_err() {
            return Ok(Outcome::BrokenPipe);
        }
        if talks && relay.receive(&mut buffer)?.is_err() {
            return Ok(Outcome::BrokenPipe);
        }
        if let Some(code) = relay.exit {
            return relay.finish(code);
        }
    }
}

fn waiting(writer: Option<&Writer>) -> Option<(std::os::fd::BorrowedFd<'_>, PollFlags)> {
    writer
        .filter(|w| w.is_waiting())
        .map(|w| (w.as_fd(), PollFlags::OUT))
}

struct Relay {
    stream: UnixStream,
    console: Console,
    out: Option<Writer>,
    err: Option<Writer>,
    decoder: Decoder,
    credit: usize,
    typed: Vec<u8>,
    exit: Option<i32>,
}

impl Relay {
    fn is_waiting(&self) -> bool {
        [&self.out, &self.err]
            .into_iter()
            .flatten()
            .any(Writer::is_waiting)
    }

    /// Sends a frame. The monitor always reads, so this does not block for long.
    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        match self.stream.write_all(&frame::small(kind, payload)) {
            // It has ended; its last frames are still to be read.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.what(|| "cannot reach the container's monitor"),
        }
    }

    fn send_size(&mut self) -> Result<()> {
        let Some(size) = self.console.size() else {
            return Ok(());
        };
        let ([a, b], [c, d]) = (size.rows.to_be_bytes(), size.columns.to_be_bytes());
        self.send(Kind::Resize, &[a, b, c, d])
    }

    /// Passes on what was typed; `true` when the keys were.
    fn input(&mut self, buffer: &mut [u8]) -> Result<bool> {
        // Bytes held back for the detach keys may join these.
        let room = self.credit.saturating_sub(16).clamp(1, buffer.len());
        let mut typed = std::mem::take(&mut self.typed);
        let what = self.console.read(&mut buffer[..room], &mut typed);
        if !typed.is_empty() {
            self.credit = self.credit.saturating_sub(typed.len());
            self.send(Kind::Stdin, &typed)?;
        }
        self.typed = typed;
        if what == Typed::End {
            self.send(Kind::StdinEnd, b"")?;
        }
        Ok(what == Typed::Detach)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Result<(), Broken>> {
        match self.stream.read(buffer) {
            Ok(0) => return Err(cut()),
            Ok(n) => self.decoder.feed(&buffer[..n]),
            Err(e) if not_now(&e) => return Ok(Ok(())),
            Err(e) => return Err(cut().because(e)),
        }
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).unwrap_or(0);
        while let Some((kind, bytes)) = self.decoder.next_frame()? {
            let writer = match kind {
                Kind::Stdout => &mut self.out,
                Kind::Stderr => &mut self.err,
                Kind::Credit => {
                    self.credit += number(bytes) as usize;
                    continue;
                }
                Kind::Exit => {
                    self.exit = Some(number(bytes).cast_signed());
                    break;
                }
                _ => {
                    return Err(Error::new(
                        ErrorKind::Corrupt,
                        "attach stream: unexpected frame",
                    ));
                }
            };
            if let Some(writer) = writer
                && let Err(broken) = writer.write(bytes)?
            {
                return Ok(Err(broken));
            }
        }
        Ok(Ok(()))
    }

    fn flush(&mut self) -> Result<Result<(), Broken>> {
        for writer in [&mut self.out, &mut self.err].into_iter().flatten() {
            if let Err(broken) = writer.flush()? {
                return Ok(Err(broken));
            }
        }
        Ok(Ok(()))
    }

    /// The exit code came: the rest of the output first.
    fn finish(mut self, code: i32) -> Result<Outcome> {
        for writer in [&mut self.out, &mut self.err].into_iter().flatten() {
            if writer.finish()?.is_err() {
                return Ok(Outcome::BrokenPipe);
            }
        }
        Ok(Outcome::Exited(code))
    }
}

fn cut() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the container's monitor closed the stream without an exit code",
    )
    .hint("`coracle ps -a` tells what became of the container; `coracle logs` has its output")
}
