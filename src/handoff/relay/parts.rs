//! What both relays are made of: signals, the caller's input, writers that never block.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::super::keys::{DetachKeys, Matcher};
use super::super::terminal::{Raw, Size, is_terminal};
use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::{Call as _, signal};

/// Never proxied: not catchable, about this process's own children, pipes, terminal and faults.
const OWN: [i32; 15] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGPIPE,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// These end the command when they are not proxied; the terminal must be restored before.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// What a signal means to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The terminal has another size.
    Resized,
    /// The command was stopped and goes on: the shell had the terminal meanwhile.
    Continued,
    /// It goes to the container.
    Proxy(i32),
    /// It ends the command.
    Ends(i32),
}

/// The signals that a relay takes.
fn concerned(proxy: bool) -> signal::Set {
    let set = if proxy {
        OWN.iter()
            .fold(signal::Set::full(), |set, s| set.without(*s))
    } else {
        signal::Set::of(&ENDING)
    };
    set.with(libc::SIGWINCH).with(libc::SIGCONT)
}

/// Signals that wait for a relay which is about to begin; see [`super::hold`].
#[derive(Debug)]
pub struct Held(signal::Set);

impl Held {
    pub(super) fn begin(proxy: bool) -> Result<Self> {
        Ok(Self(signal::block(&concerned(proxy))?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _restored = signal::set_mask(&self.0);
    }
}

/// The command's signals as a descriptor, while it relays.
pub(super) struct Signals {
    fd: OwnedFd,
    before: signal::Set,
    proxy: bool,
}

impl Signals {
    /// Takes the signals that matter.
    pub(super) fn take(proxy: bool) -> Result<Self> {
        let set = concerned(proxy);
        let before = signal::block(&set)?;
        let fd = match signal::descriptor(&set) {
            Ok(fd) => fd,
            Err(e) => {
                let _undone = signal::set_mask(&before);
                return Err(e.into());
            }
        };
        Ok(Self { fd, before, proxy })
    }

    /// The next one that came.
    pub(super) fn next(&self) -> Option<Signal> {
        signal::next(&self.fd).ok().flatten().map(|n| match n {
            libc::SIGWINCH => Signal::Resized,
            libc::SIGCONT => Signal::Continued,
            n if self.proxy => Signal::Proxy(n),
            n => Signal::Ends(n),
        })
    }

    /// Lets signal `number` do to the command what it does by default.
    pub(super) fn surrender(self, number: i32) -> Error {
        drop(self);
        // Held by a caller, perhaps.
        let _open = signal::unblock(&signal::Set::of(&[number]));
        let _sent = signal::send(std::process::id().cast_signed(), number);
        Error::new(Kind::Interrupted, format!("ended by signal {number}"))
            .exit_code(u8::try_from(128 + number).unwrap_or(255))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _restored = signal::set_mask(&self.before);
    }
}

/// The caller's input and, with a terminal, its raw mode.
pub(super) struct Console {
    stdin: Option<OwnedFd>,
    screen: Option<OwnedFd>,
    raw: Option<Raw>,
    keys: Option<Matcher>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Some bytes (perhaps none that may be passed on yet).
    Bytes,
    /// The last ones.
    End,
    /// Some bytes, then the keys that detach.
    Detach,
}

impl Console {
    /// Makes the terminal raw when the container has one and this is one.
    pub(super) fn new(
        stdin: Option<OwnedFd>,
        screen: Option<BorrowedFd<'_>>,
        tty: bool,
        keys: &DetachKeys,
    ) -> Result<Self> {
        let terminal = stdin.as_ref().filter(|fd| tty && is_terminal(fd));
        let raw = terminal.map(Raw::enter).transpose()?;
        // The size comes from whatever of the two is a terminal.
        let screen = match (terminal, screen) {
            (Some(fd), _) => Some(fd.as_fd()),
            (None, Some(fd)) if tty && is_terminal(fd) => Some(fd),
            _ => None,
        };
        let screen = screen
            .map(|fd| {
                fd.try_clone_to_owned()
                    .call("dup", || "terminal".to_owned())
            })
            .transpose()?;
        Ok(Self {
            stdin,
            screen,
            raw,
            keys: tty.then(|| Matcher::new(keys.clone())),
        })
    }

    /// The terminal's size, if there is one.
    pub(super) fn size(&self) -> Option<Size> {
        self.screen.as_ref().and_then(Size::of)
    }

    /// The command goes on after a stop: the shell has changed the terminal.
    pub(super) fn resume(&mut self) {
        if let Some(raw) = &self.raw {
            raw.again();
        }
    }

    /// What to wait for, while there is input to come.
    pub(super) fn input(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there, at most as many bytes as `buffer` has, and leaves in `out` what goes
    /// to the container.
    pub(super) fn read(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> Typed {
        out.clear();
        let Some(stdin) = &self.stdin else {
            return Typed::End;
        };
        match rustix::io::read(stdin, &mut *buffer) {
            Err(Errno::INTR | Errno::AGAIN) => Typed::Bytes,
            // A terminal that went away reads as an error.
            Ok(0) | Err(_) => {
                if let Some(keys) = &mut self.keys {
                    keys.finish(out);
                }
                self.stdin = None;
                Typed::End
            }
            Ok(n) => match &mut self.keys {
                Some(keys) => {
                    if keys.feed(&buffer[..n], out) {
                        Typed::Detach
                    } else {
                        Typed::Bytes
                    }
                }
                None => {
                    out.extend_from_slice(&buffer[..n]);
                    Typed::Bytes
                }
            },
        }
    }
}

/// The caller is no longer there to read.
pub(super) struct Broken;

/// Writes to a descriptor of the caller without blocking and without changing its flags.
pub(super) struct Writer {
    fd: OwnedFd,
    socket: bool,
    waiting: Vec<u8>,
    written: usize,
    /// Every write becomes a frame of this kind, and is waited for.
    frame: Option<u8>,
}

impl Writer {
    /// Takes a descriptor.
    pub(super) fn new(fd: OwnedFd) -> Self {
        let kind = rustix::fs::fstat(&fd).map(|s| FileType::from_raw_mode(s.st_mode));
        let fd = match kind {
            // A pipe or terminal of its own: O_NONBLOCK on the caller's would hit his shell too.
            Ok(FileType::Fifo | FileType::CharacterDevice) => own(&fd).unwrap_or(fd),
            _ => fd,
        };
        Self {
            fd,
            socket: kind == Ok(FileType::Socket),
            waiting: Vec::new(),
            written: 0,
            frame: None,
        }
    }

    /// Takes a socket that standard output (1) and standard error (2) share: every write is one frame
    /// of Docker's attach stream, written whole, so that two writers may hold the same socket.
    pub(super) fn framed(fd: OwnedFd, stream: u8) -> Self {
        Self {
            frame: Some(stream),
            ..Self::new(fd)
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_waiting(&self) -> bool {
        self.written < self.waiting.len()
    }

    /// Writes, or keeps what is not taken now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Result<(), Broken>> {
        let Some(stream) = self.frame else {
            return self.raw(bytes);
        };
        let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut frame = vec![stream, 0, 0, 0, a, b, c, d];
        frame.extend_from_slice(bytes);
        match self.raw(&frame)? {
            Ok(()) => self.finish(),
            broken => Ok(broken),
        }
    }

    fn raw(&mut self, mut bytes: &[u8]) -> Result<Result<(), Broken>> {
        while !self.is_waiting() && !bytes.is_empty() {
            match self.put(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::PIPE) => return Ok(Err(Broken)),
                Err(e) => return Err(e).what(|| "cannot write the container's output"),
            }
        }
        if !bytes.is_empty() {
            if !self.is_waiting() {
                self.waiting.clear();
                self.written = 0;
            }
            self.waiting.extend_from_slice(bytes);
        }
        Ok(Ok(()))
    }

    /// Writes what waits, as far as it is taken.
    pub(super) fn flush(&mut self) -> Result<Result<(), Broken>> {
        let waiting = std::mem::take(&mut self.waiting);
        let from = std::mem::take(&mut self.written);
        self.raw(&waiting[from..])
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        if self.socket {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            rustix::net::send(&self.fd, bytes, flags)
        } else {
            rustix::io::write(&self.fd, bytes)
        }
    }

    /// Writes everything that waits, however long the reader takes.
    pub(super) fn finish(&mut self) -> Result<Result<(), Broken>> {
        while self.is_waiting() {
            let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e).what(|| "cannot write the container's output"),
            }
            if let Err(broken) = self.flush()? {
                return Ok(Err(broken));
            }
        }
        Ok(Ok(()))
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The same file with an open file description of its own, non-blocking.
fn own(fd: &OwnedFd) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

/// Waits for any of the descriptors; the answer says which are ready, in their order.
pub(super) fn wait<const N: usize>(
    fds: [Option<(BorrowedFd<'_>, PollFlags)>; N],
) -> Result<[bool; N]> {
    let mut list: Vec<PollFd<'_>> = Vec::with_capacity(N);
    let mut places = Vec::with_capacity(N);
    for (place, (fd, flags)) in fds
        .iter()
        .enumerate()
        .filter_map(|(i, f)| f.map(|f| (i, f)))
    {
        list.push(PollFd::from_borrowed_fd(fd, flags));
        places.push(place);
    }
    let mut ready = [false; N];
    match poll(&mut list, None) {
        Ok(_) => {
            for (fd, place) in list.iter().zip(places) {
                ready[place] = !fd.revents().is_empty();
            }
        }
        Err(Errno::INTR) => {}
        Err(e) => return Err(e).what(|| "cannot wait for the container"),
    }
    Ok(ready)
}

/// Whether an error of a read says "not now".
pub(super) fn not_now(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Which of the descriptors can be read now.
pub(super) fn ready<const N: usize>(fds: [BorrowedFd<'_>; N]) -> Result<[bool; N]> {
    let mut list = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut list, Some(&now)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e).what(|| "cannot wait for the container"),
    }
    Ok(list.map(|fd| !fd.revents().is_empty()))
}
