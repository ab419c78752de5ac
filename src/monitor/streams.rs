//! The monitor's ends of the container's standard streams.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use super::{AttemptStdio, StdioPlan};
use crate::base::Result;
use crate::handoff::output::Stream;
use crate::sys::Call as _;

/// Asked for, so that the container seldom waits; the kernel may grant less.
const PIPE: usize = 256 << 10;

/// The monitor's side and the container's side of pipes. A terminal's side comes from the launch.
///
/// # Errors
/// What the kernel says.
pub fn make(plan: StdioPlan) -> Result<(Ends, AttemptStdio)> {
    let stdin = match plan {
        StdioPlan::Passthrough => return Ok((Ends::default(), AttemptStdio::Passthrough)),
        StdioPlan::Terminal { size } => {
            return Ok((Ends::default(), AttemptStdio::Terminal(size)));
        }
        StdioPlan::Pipes { stdin } => stdin,
    };
    let pipe = || {
        // O_NONBLOCK belongs to each end's own file description: the container's stays blocking.
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).call("pipe2", String::new)
    };
    let (input, theirs_in) = if stdin {
        let (read, write) = pipe()?;
        (Some(Input::new(write, false)?), read)
    } else {
        let null = rustix::fs::open(
            "/dev/null",
            OFlags::RDONLY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        (None, null.call("open", || "/dev/null".to_owned())?)
    };
    let (out, theirs_out) = pipe()?;
    let (err, theirs_err) = pipe()?;
    // Refused when the user holds many large pipes already: the default size serves as well.
    let _granted = rustix::pipe::fcntl_setpipe_size(&out, PIPE);
    let ends = Ends {
        input,
        out: Some(Source::new(out, Stream::Stdout, false)?),
        err: Some(Source::new(err, Stream::Stderr, false)?),
    };
    Ok((ends, AttemptStdio::Fds([theirs_in, theirs_out, theirs_err])))
}

/// The monitor's side.
#[derive(Debug, Default)]
pub struct Ends {
    /// Standard input, or the terminal.
    pub input: Option<Input>,
    /// Standard output, or the terminal.
    pub out: Option<Source>,
    /// Standard error.
    pub err: Option<Source>,
}

impl Ends {
    /// Both directions of a terminal's master.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of_terminal(master: OwnedFd) -> Result<Self> {
        let copy = master.try_clone().call("dup", || "pty".to_owned())?;
        Ok(Self {
            input: Some(Input::new(copy, true)?),
            out: Some(Source::new(master, Stream::Stdout, true)?),
            err: None,
        })
    }
}

fn nonblocking(fd: &OwnedFd) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd).call("fcntl", || "F_GETFL".to_owned())?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
        .call("fcntl", || "F_SETFL".to_owned())
        .map_err(Into::into)
}

/// What one read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// A terminal that nobody has open at the moment.
    HungUp,
    /// Nothing ever again.
    End,
}

/// An output stream's read end.
#[derive(Debug)]
pub struct Source {
    file: File,
    /// Which it is.
    pub stream: Stream,
    terminal: bool,
}

impl Source {
    fn new(fd: OwnedFd, stream: Stream, terminal: bool) -> Result<Self> {
        nonblocking(&fd)?;
        Ok(Self {
            file: File::from(fd),
            stream,
            terminal,
        })
    }

    /// Reads what is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> Found {
        loop {
            return match self.file.read(buffer) {
                Ok(0) if self.terminal => Found::HungUp,
                Ok(0) => Found::End,
                Ok(n) => Found::Bytes(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => Found::Nothing,
                Err(e) if self.terminal && e.raw_os_error() == Some(libc::EIO) => Found::HungUp,
                Err(_) => Found::End,
            };
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Standard input's write end, with what it has not taken yet.
#[derive(Debug)]
pub struct Input {
    file: File,
    terminal: bool,
    /// Who sent it, the bytes, and how many of them are written.
    queue: VecDeque<(u64, Vec<u8>, usize)>,
    ending: bool,
}

/// How far input got.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything is written.
    Idle,
    /// The container takes no more now.
    Waiting,
    /// It is written and was to end, or nobody reads any more: close it.
    Closed,
}

impl Input {
    fn new(fd: OwnedFd, terminal: bool) -> Result<Self> {
        nonblocking(&fd)?;
        Ok(Self {
            file: File::from(fd),
            terminal,
            queue: VecDeque::new(),
            ending: false,
        })
    }

    /// Takes bytes of a client; its credit bounds them.
    pub fn push(&mut self, client: u64, bytes: &[u8]) {
        if !bytes.is_empty() && !self.ending {
            self.queue.push_back((client, bytes.to_vec(), 0));
        }
    }

    /// No client will send more. A terminal gets an end-of-file character instead of being closed.
    pub fn end(&mut self) {
        if self.terminal {
            self.queue.push_back((u64::MAX, vec![4], 0));
        } else {
            self.ending = true;
        }
    }

    /// Writes what the container takes now; `written` gets client and count of every piece that is
    /// through, so that its credit can be renewed.
    pub fn flush(&mut self, mut written: impl FnMut(u64, usize)) -> Progress {
        while let Some((client, bytes, done)) = self.queue.front_mut() {
            match self.file.write(&bytes[*done..]) {
                Ok(n) => {
                    *done += n;
                    if *done == bytes.len() {
                        written(*client, bytes.len());
                        self.queue.pop_front();
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Progress::Waiting,
                Err(_) => {
                    // Nobody reads. Senders may go on sending into nothing, as into /dev/null.
                    for (client, bytes, _) in self.queue.drain(..) {
                        written(client, bytes.len());
                    }
                    return Progress::Closed;
                }
            }
        }
        if self.ending {
            Progress::Closed
        } else {
            Progress::Idle
        }
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
