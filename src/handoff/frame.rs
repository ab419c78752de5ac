//! The attach stream: frames of a kind, a length and bytes.
//!
//! Header: kind (1 byte), three zero bytes, length (4 bytes, big endian), as Docker's attach
//! stream has it. A payload has at most [`LIMIT`] bytes; a longer one ends the connection.
//!
//! Standard input has flow control of its own: a client sends no more than the credit it was
//! given. So the monitor always reads on, and a signal never waits behind input that the container
//! does not take. A stream that ends without an exit code was cut: the monitor is gone, or this
//! client took nothing for ten seconds while others waited for it.

use crate::base::{Error, Kind as ErrorKind, Result};

/// The longest payload, bytes.
pub const LIMIT: usize = 256 << 10;

/// Length of a header.
pub const HEADER: usize = 8;

/// How much input a client may have under way, bytes.
pub const CREDIT: u32 = 128 << 10;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the monitor: bytes for standard input.
    Stdin = 1,
    /// To the monitor: no more input will come.
    StdinEnd = 2,
    /// To the monitor: rows and columns, two bytes each.
    Resize = 3,
    /// To the monitor: one byte, the number of a signal for the container.
    Signal = 4,
    /// From the monitor: bytes of standard output, or of the terminal.
    Stdout = 16,
    /// From the monitor: bytes of standard error.
    Stderr = 17,
    /// From the monitor: four bytes, so much more input may be sent.
    Credit = 18,
    /// From the monitor, the last one: four bytes, the exit code (signed).
    Exit = 19,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Stdin,
            2 => Self::StdinEnd,
            3 => Self::Resize,
            4 => Self::Signal,
            16 => Self::Stdout,
            17 => Self::Stderr,
            18 => Self::Credit,
            19 => Self::Exit,
            _ => return None,
        })
    }
}

/// The header of a frame with `length` bytes, at most [`LIMIT`].
pub fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    debug_assert!(length <= LIMIT);
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind as u8, 0, 0, 0, a, b, c, d]
}

/// A whole frame of few bytes.
pub fn small(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&header(kind, payload.len()));
    bytes.extend_from_slice(payload);
    bytes
}

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// `Corrupt` for an unknown kind or a length above [`LIMIT`].
    pub fn next_frame(&mut self) -> Result<Option<(Kind, &[u8])>> {
        let rest = &self.buffer[self.start..];
        let Some((head, tail)) = rest.split_first_chunk::<HEADER>() else {
            if rest.is_empty() && self.buffer.capacity() > 0 {
                // An idle client costs nothing.
                self.buffer = Vec::new();
                self.start = 0;
            }
            return Ok(None);
        };
        let [kind, _, _, _, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let broken = |what: String| Error::new(ErrorKind::Corrupt, what);
        let kind = Kind::of(kind)
            .ok_or_else(|| broken(format!("attach stream: unknown frame kind {kind}")))?;
        if length > LIMIT {
            return Err(broken(format!(
                "attach stream: a frame of {length} bytes, the limit is {LIMIT}"
            )));
        }
        if tail.len() < length {
            return Ok(None);
        }
        let from = self.start + HEADER;
        self.start = from + length;
        Ok(Some((kind, &self.buffer[from..self.start])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cutting_of_the_stream() {
        let mut stream = small(Kind::Stdout, b"hello");
        stream.extend(small(Kind::Stderr, b""));
        stream.extend(small(Kind::Exit, &(-1_i32).to_be_bytes()));
        for step in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(step) {
                decoder.feed(piece);
                while let Some((kind, bytes)) = decoder.next_frame().unwrap() {
                    seen.push((kind, bytes.to_vec()));
                }
            }
            assert_eq!(
                seen,
                [
                    (Kind::Stdout, b"hello".to_vec()),
                    (Kind::Stderr, Vec::new()),
                    (Kind::Exit, vec![255; 4]),
                ],
                "step {step}"
            );
        }
    }

    #[test]
    fn unknown_kinds_and_giant_lengths_are_refused() {
        for bytes in [[99, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 255, 0, 0, 0]] {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            assert_eq!(decoder.next_frame().unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
