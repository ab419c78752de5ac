//! A client for one call: `grpc.health.v1.Health/Check` over HTTP/2 without TLS.
//!
//! Spec: RFC 9113 (frames), RFC 7541 (header fields; only literals are written, none is read),
//! the gRPC protocol over HTTP/2, and its health checking protocol.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::base::{Context as _, Error, Kind, Result};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The largest frame that a peer may send unasked.
const FRAME: usize = 16 << 10;

/// More frames than this are no answer.
const FRAMES: usize = 256;

/// What the service says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// Its number in `HealthCheckResponse.ServingStatus`.
    Status(u64),
    /// It ended the call without an answer: it does not know the service, or the protocol.
    Refused,
}

impl Serving {
    pub(super) fn is_serving(self) -> bool {
        self == Self::Status(1)
    }

    pub(super) fn text(self) -> String {
        match self {
            Self::Status(0) => "UNKNOWN".to_owned(),
            Self::Status(1) => "SERVING".to_owned(),
            Self::Status(2) => "NOT_SERVING".to_owned(),
            Self::Status(3) => "SERVICE_UNKNOWN".to_owned(),
            Self::Status(other) => format!("status {other}"),
            Self::Refused => "the service refused the call".to_owned(),
        }
    }
}

/// Asks. `patience` sets what is left of the time on the stream, before every wait.
///
/// # Errors
/// `Unavailable` when the connection breaks, `Corrupt` when it talks nonsense, or `patience`'s own.
pub(super) fn check(
    stream: &mut TcpStream,
    address: &str,
    service: &str,
    patience: &dyn Fn(&TcpStream) -> Result<()>,
) -> Result<Serving> {
    patience(stream)?;
    let gone = || "the connection broke";
    stream
        .write_all(&request(address, service))
        .what_kind(Kind::Unavailable, gone)?;
    let mut message = Vec::new();
    for _ in 0..FRAMES {
        patience(stream)?;
        let frame = match Frame::read(stream) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(Error::new(Kind::TimedOut, "no answer in time"));
            }
            other => other.what_kind(Kind::Unavailable, gone)?,
        };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => reply(stream, SETTINGS, &[])?,
            PING if frame.flags & ACK == 0 => reply(stream, PING, &frame.payload)?,
            DATA if frame.stream == 1 => {
                message.extend_from_slice(frame.content()?);
                if let Some(status) = status(&message)? {
                    return Ok(Serving::Status(status));
                }
            }
            RST_STREAM | GOAWAY => return Ok(Serving::Refused),
            _ => {}
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.stream == 1 && frame.flags & END_STREAM > 0
        {
            return Ok(Serving::Refused);
        }
    }
    Err(Error::new(Kind::Corrupt, "the service sends no answer"))
}

/// The whole call in one write.
fn request(address: &str, service: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "coracle-health"),
    ] {
        // A literal that is not to be remembered, with a literal name.
        headers.push(0);
        for text in [name, value] {
            integer(text.len(), 7, &mut headers);
            headers.extend_from_slice(text.as_bytes());
        }
    }
    let mut body = Vec::new();
    if !service.is_empty() {
        // Field 1, length-delimited.
        body.push(0x0a);
        varint(service.len() as u64, &mut body);
        body.extend_from_slice(service.as_bytes());
    }
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    message.extend(body);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(SETTINGS, 0, 0, &[], &mut bytes);
    frame(HEADERS, END_HEADERS, 1, &headers, &mut bytes);
    frame(DATA, END_STREAM, 1, &message, &mut bytes);
    bytes
}

fn reply(stream: &mut TcpStream, kind: u8, payload: &[u8]) -> Result<()> {
    let mut bytes = Vec::new();
    frame(kind, ACK, 0, payload, &mut bytes);
    stream
        .write_all(&bytes)
        .what_kind(Kind::Unavailable, || "the connection broke")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// RFC 7541, 5.1: an integer with a prefix of so many bits; the bits before it are zero.
fn integer(mut value: usize, bits: u32, out: &mut Vec<u8>) {
    let limit = (1_usize << bits) - 1;
    if value < limit {
        out.push(u8::try_from(value).unwrap_or(0));
        return;
    }
    out.push(u8::try_from(limit).unwrap_or(0));
    value -= limit;
    varint(value as u64, out);
}

/// Seven bits a byte, the lowest first; protobuf's and HPACK's alike.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn read(stream: &mut TcpStream) -> std::io::Result<Self> {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > FRAME {
            return Err(std::io::Error::other("a frame larger than allowed"));
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        Ok(Self {
            kind,
            flags,
            stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
            payload,
        })
    }

    /// A data frame's content without its padding.
    fn content(&self) -> Result<&[u8]> {
        if self.flags & PADDED == 0 {
            return Ok(&self.payload);
        }
        let bad = || Error::new(Kind::Corrupt, "a malformed frame");
        let (padding, rest) = self.payload.split_first().ok_or_else(bad)?;
        let end = rest.len().checked_sub((*padding).into()).ok_or_else(bad)?;
        Ok(&rest[..end])
    }
}

/// The status in a message, once it is whole.
fn status(message: &[u8]) -> Result<Option<u64>> {
    let bad = || Error::new(Kind::Corrupt, "a malformed answer");
    let [compressed, a, b, c, d, body @ ..] = message else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if *compressed != 0 || length > FRAME {
        return Err(bad());
    }
    let Some(mut body) = body.get(..length) else {
        return Ok(None);
    };
    // A field that has its default, 0, is left out.
    let mut status = 0;
    while !body.is_empty() {
        let key = read_varint(&mut body).ok_or_else(bad)?;
        match key & 7 {
            0 => {
                let value = read_varint(&mut body).ok_or_else(bad)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            2 => {
                let length = read_varint(&mut body).ok_or_else(bad)?;
                let length = usize::try_from(length).map_err(|_| bad())?;
                body = body.get(length..).ok_or_else(bad)?;
            }
            _ => return Err(bad()),
        }
    }
    Ok(Some(status))
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that reads the call and answers with these frames.
    fn served(frames: Vec<(u8, u8, Vec<u8>)>) -> Result<Serving> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let expected = request(&address.to_string(), "db");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = vec![0; expected.len()];
            stream.read_exact(&mut call).unwrap();
            assert_eq!(call, expected);
            for (kind, flags, payload) in frames {
                let mut bytes = Vec::new();
                let on = u32::from(!matches!(kind, SETTINGS | PING | GOAWAY));
                frame(kind, flags, on, &payload, &mut bytes);
                stream.write_all(&bytes).unwrap();
            }
            // Until the client is done.
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest));
            rest
        });
        let patience = std::time::Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&address, patience).unwrap();
        let got = check(&mut stream, &address.to_string(), "db", &|_| Ok(()));
        drop(stream);
        server.join().unwrap();
        got
    }

    #[test]
    fn the_answer_is_found_between_other_frames() {
        let data = |status: u8| vec![0, 0, 0, 0, 2, 8, status];
        for (status, serving) in [(1, true), (2, false), (3, false)] {
            let got = served(vec![
                (SETTINGS, 0, vec![0, 3, 0, 0, 0, 9]),
                (PING, 0, vec![7; 8]),
                (HEADERS, END_HEADERS, vec![0x88]),
                (DATA, 0, data(status)),
            ])
            .unwrap();
            assert_eq!(got.is_serving(), serving, "{got:?}");
        }
        let mut padded = vec![3];
        padded.extend(data(1));
        padded.extend([0; 3]);
        let got = served(vec![(DATA, PADDED | END_STREAM, padded)]).unwrap();
        assert!(got.is_serving());
        let halves = vec![
            (DATA, 0, data(1)[..3].to_vec()),
            (DATA, 0, data(1)[3..].to_vec()),
        ];
        assert!(served(halves).unwrap().is_serving());
        assert_eq!(
            served(vec![(DATA, 0, vec![0; 5])]).unwrap(),
            Serving::Status(0)
        );
    }

    #[test]
    fn a_refusal_is_no_answer_and_nonsense_an_error() {
        for frames in [
            vec![(HEADERS, END_HEADERS | END_STREAM, vec![0x88])],
            vec![(RST_STREAM, 0, vec![0; 4])],
            vec![(GOAWAY, 0, vec![0; 8])],
        ] {
            assert_eq!(served(frames).unwrap(), Serving::Refused);
        }
        for frames in [
            vec![(DATA, 0, vec![1, 0, 0, 0, 0])],
            vec![(DATA, 0, vec![0, 0, 0, 0, 2, 8, 0x80])],
            vec![(DATA, PADDED, vec![9, 0])],
        ] {
            assert_eq!(served(frames).unwrap_err().kind(), Kind::Corrupt);
        }
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let mut out = Vec::new();
        integer(126, 7, &mut out);
        integer(127, 7, &mut out);
        integer(127 + 300, 7, &mut out);
        assert_eq!(out, [126, 127, 0, 127, 0xac, 2]);
    }
}
