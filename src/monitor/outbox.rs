//! What a client has still to take: bounded by the one who fills it, sent without ever blocking.

use std::io::IoSlice;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::handoff::frame::{self, Kind};

/// More than this waiting, bytes, and the container's output is not read on.
const HIGH: usize = 256 << 10;

/// Less than this waiting, and it is again.
const LOW: usize = 64 << 10;

/// A client that took nothing for so long while it held up the container is too slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// Capacity that an empty box may keep, bytes.
const IDLE: usize = 4 << 10;

/// The bytes that wait for one client.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// What of `bytes` was sent.
    sent: usize,
    /// Since when it holds more than it should without any progress.
    full_since: Option<Instant>,
}

impl Outbox {
    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether the container must wait for this client.
    pub fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// When patience ends, if it is full.
    pub fn deadline(&self) -> Option<Instant> {
        self.full_since.map(|since| since + PATIENCE)
    }

    /// Sends a frame, or keeps what the socket does not take.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn frame(&mut self, to: &UnixStream, kind: Kind, payload: &[u8]) -> Result<(), Errno> {
        for piece in payload.chunks(frame::LIMIT) {
            self.put(to, &frame::header(kind, piece.len()), piece)?;
        }
        if payload.is_empty() {
            self.put(to, &frame::header(kind, 0), b"")?;
        }
        Ok(())
    }

    /// Sends a line, or keeps it.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn line(&mut self, to: &UnixStream, text: &[u8]) -> Result<(), Errno> {
        self.put(to, text, b"")
    }

    fn put(&mut self, to: &UnixStream, head: &[u8], body: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        if self.is_empty() {
            done = send(to, &[IoSlice::new(head), IoSlice::new(body)])?;
            if done == head.len() + body.len() {
                return Ok(());
            }
            self.bytes.clear();
            self.sent = 0;
        }
        let head_done = done.min(head.len());
        self.bytes.extend_from_slice(&head[head_done..]);
        self.bytes.extend_from_slice(&body[done - head_done..]);
        if self.waiting() > HIGH && self.full_since.is_none() {
            self.full_since = Some(Instant::now());
        }
        Ok(())
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn flush(&mut self, to: &UnixStream) -> Result<(), Errno> {
        while !self.is_empty() {
            let n = send(to, &[IoSlice::new(&self.bytes[self.sent..])])?;
            if n == 0 {
                break;
            }
            self.sent += n;
            if self.full_since.is_some() {
                // It moves: patience begins anew, or ends.
                self.full_since = (self.waiting() > LOW).then(Instant::now);
            }
        }
        if self.is_empty() {
            self.sent = 0;
            self.bytes.clear();
            self.bytes.shrink_to(IDLE);
        } else if self.sent > HIGH {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

/// Sends without blocking and without SIGPIPE; 0 when the socket is full.
fn send(to: &UnixStream, pieces: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match rustix::net::sendmsg(to, pieces, &mut SendAncillaryBuffer::default(), flags) {
            Ok(n) => return Ok(n),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::frame::Decoder;
    use std::io::Read as _;

    #[test]
    fn a_slow_reader_gets_every_byte_and_is_seen_as_full() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        let chunk = vec![b'x'; 60_000];
        let mut pushed = 0;
        while !outbox.is_full() {
            outbox.frame(&ours, Kind::Stdout, &chunk).unwrap();
            pushed += chunk.len();
        }
        assert!(outbox.deadline().is_some());
        let (mut decoder, mut got) = (Decoder::default(), 0);
        let mut buffer = vec![0; 100_000];
        while got < pushed {
            let n = theirs.read(&mut buffer).unwrap();
            decoder.feed(&buffer[..n]);
            while let Some((kind, bytes)) = decoder.next_frame().unwrap() {
                assert_eq!(kind, Kind::Stdout);
                got += bytes.len();
            }
            outbox.flush(&ours).unwrap();
        }
        assert!(outbox.is_empty() && !outbox.is_full());
        assert!(outbox.bytes.capacity() <= IDLE);
        drop(theirs);
        assert!(outbox.frame(&ours, Kind::Exit, &[0; 4]).is_err());
    }
}
