//! The relay between the caller and a process that this command started by `exec`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::OFlags;

use super::parts::{Broken, Console, Signal, Signals, Typed, Writer, not_now, wait};
use super::{Caller, Local, Options, Outcome};
use crate::base::Result;
use crate::sys::memory::Buffer;
use crate::sys::{Call as _, pidfd};

/// What is read at once, bytes.
const CHUNK: usize = 64 << 10;

/// What the process may have left behind when it ended: at most so many chunks are read then, so
/// that a child of it that still writes does not hold up the end.
const DRAIN: usize = 64;

/// Input that the process has not taken yet, bytes; no more is read from the caller then.
const HIGH: usize = 64 << 10;

/// Relays until the process of `exec` ends or the caller detaches.
///
/// # Errors
/// What the kernel says. What ends the command (without `proxy_signals`) ends it, terminal
/// restored.
pub fn local(process: Local, caller: Caller, options: &Options) -> Result<Outcome> {
    let signals = Signals::take(options.proxy_signals)?;
    let screen = caller.stdout.as_ref().map(AsFd::as_fd);
    let mut console = Console::new(caller.stdin, screen, options.tty, &options.detach_keys)?;
    let terminal = process.pty.is_some();
    let (stdin, stdout) = match process.pty {
        Some(master) => {
            let copy = master.try_clone().call("dup", || "pty".to_owned())?;
            (Some(copy), Some(master))
        }
        None => (process.stdin, process.stdout),
    };
    let mut sink = stdin.map(|fd| Sink::new(fd, terminal)).transpose()?;
    let mut taps = [
        Tap::new(stdout, caller.stdout.map(|fd| options.writer(fd, 1)))?,
        Tap::new(
            process.stderr,
            caller.stderr.map(|fd| options.writer(fd, 2)),
        )?,
    ];
    resize(&console, &taps[0]);
    let mut buffer = Buffer::new(CHUNK);
    let mut typed_bytes = Vec::new();
    loop {
        let [out, err] = &taps;
        let room = sink.as_ref().is_none_or(|s| s.waiting.len() < HIGH);
        let [
            ended,
            signalled,
            typed,
            takes,
            read_out,
            read_err,
            write_out,
            write_err,
        ] = wait([
            Some((process.pidfd.as_fd(), PollFlags::IN)),
            Some((signals.as_fd(), PollFlags::IN)),
            console
                .input()
                .filter(|_| room)
                .map(|fd| (fd, PollFlags::IN)),
            sink.as_ref()
                .filter(|s| !s.waiting.is_empty())
                .map(|s| (s.file.as_fd(), PollFlags::OUT)),
            out.source(),
            err.source(),
            out.sink(),
            err.sink(),
        ])?;
        if signalled {
            while let Some(signal) = signals.next() {
                match signal {
                    Signal::Resized => resize(&console, &taps[0]),
                    Signal::Continued => {
                        console.resume();
                        resize(&console, &taps[0]);
                    }
                    Signal::Proxy(number) => {
                        let _ended = pidfd::send_signal(&process.pidfd, number);
                    }
                    Signal::Ends(number) => {
                        drop(console);
                        return Err(signals.surrender(number));
                    }
                }
            }
        }
        if typed {
            let what = console.read(&mut buffer, &mut typed_bytes);
            if let Some(sink) = &mut sink {
                sink.waiting.extend_from_slice(&typed_bytes);
                sink.ending |= what == Typed::End;
            }
            if what == Typed::Detach {
                return Ok(Outcome::Detached);
            }
        }
        if (typed || takes) && sink.as_mut().is_some_and(|s| !s.flush()) {
            sink = None;
        }
        for (tap, (read, write)) in taps
            .iter_mut()
            .zip([(read_out, write_out), (read_err, write_err)])
        {
            if (write && tap.flush()?.is_err()) || (read && tap.relay(&mut buffer)?.is_err()) {
                return Ok(Outcome::BrokenPipe);
            }
        }
        if ended {
            let code = pidfd::wait(&process.pidfd)?.code();
            for tap in &mut taps {
                if tap.drain(&mut buffer)?.is_err() {
                    return Ok(Outcome::BrokenPipe);
                }
            }
            return Ok(Outcome::Exited(code));
        }
    }
}

fn resize(console: &Console, tap: &Tap) {
    if let (Some(size), Some(file)) = (console.size(), &tap.file) {
        // Not a terminal: nothing to resize.
        let _without = size.apply(file);
    }
}

fn nonblocking(fd: OwnedFd) -> Result<File> {
    let flags = rustix::fs::fcntl_getfl(&fd).call("fcntl", || "F_GETFL".to_owned())?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)
        .call("fcntl", || "F_SETFL".to_owned())?;
    Ok(File::from(fd))
}

/// The process's input.
struct Sink {
    file: File,
    terminal: bool,
    waiting: Vec<u8>,
    ending: bool,
}

impl Sink {
    fn new(fd: OwnedFd, terminal: bool) -> Result<Self> {
        Ok(Self {
            file: nonblocking(fd)?,
            terminal,
            waiting: Vec::new(),
            ending: false,
        })
    }

    /// Writes what it takes now; `false` when it is to be closed.
    fn flush(&mut self) -> bool {
        if self.ending && self.terminal {
            // A terminal is not closed: an end-of-file character says the same.
            self.ending = false;
            self.waiting.push(4);
        }
        let mut done = 0;
        let open = loop {
            if done == self.waiting.len() {
                break !self.ending;
            }
            match self.file.write(&self.waiting[done..]) {
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if not_now(&e) => break true,
                // Nobody reads any more.
                Err(_) => break false,
            }
        };
        self.waiting.drain(..done);
        open
    }
}

/// One output stream, from the process to the caller.
struct Tap {
    file: Option<File>,
    writer: Option<Writer>,
}

impl Tap {
    fn new(from: Option<OwnedFd>, to: Option<Writer>) -> Result<Self> {
        Ok(Self {
            file: from.map(nonblocking).transpose()?,
            writer: to,
        })
    }

    fn is_waiting(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_waiting)
    }

    fn source(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let file = self.file.as_ref().filter(|_| !self.is_waiting())?;
        Some((file.as_fd(), PollFlags::IN))
    }

    fn sink(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let writer = self.writer.as_ref().filter(|w| w.is_waiting())?;
        Some((writer.as_fd(), PollFlags::OUT))
    }

    fn flush(&mut self) -> Result<Result<(), Broken>> {
        self.writer.as_mut().map_or(Ok(Ok(())), Writer::flush)
    }

    /// Passes one chunk on.
    fn relay(&mut self, buffer: &mut [u8]) -> Result<Result<(), Broken>> {
        let Some(file) = &mut self.file else {
            return Ok(Ok(()));
        };
        match file.read(buffer) {
            Err(e) if not_now(&e) => Ok(Ok(())),
            // The end; a terminal says so by EIO.
            Ok(0) | Err(_) => {
                self.file = None;
                Ok(Ok(()))
            }
            Ok(n) => match &mut self.writer {
                Some(writer) => writer.write(&buffer[..n]),
                None => Ok(Ok(())),
            },
        }
    }

    /// The process ended: passes on what it left.
    fn drain(&mut self, buffer: &mut [u8]) -> Result<Result<(), Broken>> {
        for _ in 0..DRAIN {
            let Some(file) = &self.file else {
                break;
            };
            let [ready] = super::parts::ready([file.as_fd()])?;
            if !ready {
                break;
            }
            if let Err(broken) = self.relay(buffer)? {
                return Ok(Err(broken));
            }
        }
        self.writer.as_mut().map_or(Ok(Ok(())), Writer::finish)
    }
}
