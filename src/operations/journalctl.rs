//! `journalctl`, which reads the systemd journal: its lines as they come.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};

use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::fd;

/// A line is never longer, bytes.
const LINE: usize = 4 << 20;

/// A running `journalctl`.
pub(super) struct Journalctl {
    child: duct::Handle,
    output: Option<std::fs::File>,
    buffer: Vec<u8>,
}

impl Journalctl {
    /// Starts it with the arguments of a query. With `follow` reading does not wait.
    ///
    /// # Errors
    /// `Unavailable` when it is not there.
    pub(super) fn start(query: &[String], follow: bool) -> Result<Self> {
        let (read, write) = fd::pipe()?;
        fd::set_nonblocking(&read, follow)?;
        let child = duct::cmd("journalctl", query)
            .stdin_null()
            .stdout_file(std::fs::File::from(write))
            .stderr_null()
            .unchecked()
            .start()
            .map_err(|e| {
                Error::new(Kind::Unavailable, "cannot run journalctl")
                    .because(e)
                    .hint("it is in the systemd journal: `apt install systemd` brings journalctl")
            })?;
        Ok(Self {
            child,
            output: Some(read.into()),
            buffer: Vec::new(),
        })
    }

    /// Readable when there is more; `None` at the end.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Whether nothing more can come.
    pub(super) fn is_over(&self) -> bool {
        self.output.is_none()
    }

    /// Ends it; what it wrote can still be read.
    pub(super) fn stop(&mut self) {
        let _ended = self.child.kill();
    }

    /// The next line that `decode` takes; `None` when there is none now.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn next<T>(&mut self, decode: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>> {
        loop {
            while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if let Some(entry) = decode(&line) {
                    return Ok(Some(entry));
                }
            }
            let Some(output) = &mut self.output else {
                return Ok(None);
            };
            if self.buffer.len() > LINE {
                return Err(Error::new(Kind::Corrupt, "journalctl: endless line"));
            }
            let old = self.buffer.len();
            self.buffer.resize(old + (64 << 10), 0);
            let read = output.read(&mut self.buffer[old..]);
            self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    self.output = None;
                    let _reaped = self.child.wait();
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e).what(|| "cannot read from journalctl"),
            }
        }
    }
}

impl Drop for Journalctl {
    fn drop(&mut self) {
        self.stop();
        let _reaped = self.child.wait();
    }
}
