//! `attach/ws`: a container's streams as the messages of a websocket (RFC 6455).
//!
//! The framing is pure. A process of its own stands between the client and the streams, which are then
//! the same as those of a hijacked connection.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::base::{Error, Result};

/// What is put behind a client's key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A message's piece is no longer, bytes.
const LIMIT: u64 = 1 << 20;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// Bytes for standard input.
    Data(Vec<u8>),
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// An answer that nobody waits for.
    Pong,
    /// The end.
    Close,
}

/// The answer to a client's key.
///
/// # Errors
/// `Invalid` for a key that is none.
pub fn accept(key: Option<&str>, version: Option<&str>) -> Result<String> {
    let key = key.filter(|k| STANDARD.decode(k).is_ok_and(|bytes| bytes.len() == 16));
    let (Some(key), Some("13")) = (key, version) else {
        return Err(Error::invalid(
            "the request does not begin a websocket of version 13",
        ));
    };
    let text = format!("{key}{GUID}");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    Ok(STANDARD.encode(digest))
}

/// The next frame and its length; `None` when more must come.
fn frame(bytes: &[u8]) -> Result<Option<(Frame, usize)>> {
    let bad = |what: &str| Error::invalid(format!("malformed websocket frame: {what}"));
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(bad("an extension that was not agreed on"));
    }
    if second & 0x80 == 0 {
        return Err(bad("no mask"));
    }
    let (length, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let control = first & 0x08 != 0;
    if length > LIMIT || (control && (length > 125 || first & 0x80 == 0)) {
        return Err(bad("too long"));
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some(payload) = usize::try_from(length).ok().and_then(|l| rest.get(..l)) else {
        return Ok(None);
    };
    let head = bytes.len() - rest.len();
    let unmasked = || {
        let bytes = payload.iter().enumerate();
        bytes.map(|(at, byte)| byte ^ mask[at % 4]).collect()
    };
    let found = match first & 0x0f {
        0..=2 => Frame::Data(unmasked()),
        8 => Frame::Close,
        9 => Frame::Ping(unmasked()),
        10 => Frame::Pong,
        _ => return Err(bad("an unknown kind")),
    };
    Ok(Some((found, head + payload.len())))
}

/// A whole frame of ours: they are not masked.
fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | kind];
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        middle @ 126..=0xffff => {
            out.push(126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// Carries messages to `streams` and back, until one side ends.
///
/// # Errors
/// Frames that are none; that a side went away.
pub fn carry(mut client: &UnixStream, early: Vec<u8>, mut streams: &UnixStream) -> Result<()> {
    let gone = super::conn::gone;
    streams.set_nonblocking(true).map_err(gone)?;
    // What came of frames, and what waits for a container that does not read.
    let (mut came, mut typed) = (early, Vec::new());
    let mut open = true;
    let mut buffer = vec![0; 32 << 10];
    loop {
        while typed.is_empty() && open {
            let Some((found, length)) = frame(&came)? else {
                break;
            };
            came.drain(..length);
            match found {
                Frame::Data(bytes) => typed = bytes,
                Frame::Ping(bytes) => client.write_all(&framed(10, &bytes)).map_err(gone)?,
                Frame::Pong => {}
                Frame::Close => {
                    open = false;
                    streams.shutdown(std::net::Shutdown::Write).map_err(gone)?;
                }
            }
        }
        let mut events = PollFlags::IN;
        events.set(PollFlags::OUT, !typed.is_empty());
        let mut fds = vec![PollFd::new(&streams, events)];
        if open && typed.is_empty() {
            fds.push(PollFd::new(&client, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(gone(e.into())),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        if ready[0].contains(PollFlags::OUT) {
            match streams.write(&typed) {
                Ok(n) => drop(typed.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                // Nobody reads it any more; what is written still comes.
                Err(_) => typed.clear(),
            }
        }
        if ready[0].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match streams.read(&mut buffer) {
                Ok(0) => {
                    // 1000: a normal end.
                    return client
                        .write_all(&framed(8, &1000_u16.to_be_bytes()))
                        .map_err(gone);
                }
                Ok(n) => client.write_all(&framed(2, &buffer[..n])).map_err(gone)?,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(gone(e)),
            }
        }
        if ready.get(1).is_some_and(|r| !r.is_empty()) {
            match client.read(&mut buffer).map_err(gone)? {
                0 => return Ok(()),
                n => came.extend_from_slice(&buffer[..n]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = framed(first & 0x0f, payload);
        out[0] = first;
        out[1] |= 0x80;
        let head = out.len() - payload.len();
        let mask = [1, 2, 3, 4];
        for (at, byte) in out[head..].iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        out.splice(head..head, mask);
        out
    }

    #[test]
    fn the_answer_to_a_key_is_the_standards() {
        let key = Some("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(
            accept(key, Some("13")).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        for (key, version) in [
            (None, Some("13")),
            (Some("x"), Some("13")),
            (key, Some("8")),
            (key, None),
        ] {
            assert!(accept(key, version).is_err());
        }
    }

    #[test]
    fn frames_are_read_however_they_are_cut() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let text = vec![b'x'; length];
            let whole = masked(0x82, &text);
            for cut in [1, 2, 5, whole.len() - 1] {
                assert_eq!(frame(&whole[..cut.min(whole.len() - 1)]).unwrap(), None);
            }
            assert_eq!(
                frame(&whole).unwrap(),
                Some((Frame::Data(text), whole.len()))
            );
        }
        assert_eq!(
            frame(&masked(0x89, b"hi")).unwrap().unwrap().0,
            Frame::Ping(b"hi".to_vec())
        );
        assert_eq!(frame(&masked(0x88, b"")).unwrap().unwrap().0, Frame::Close);
    }

    #[test]
    fn frames_that_lie_are_refused() {
        let endless = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes()].concat();
        for bad in [
            framed(2, b"no mask"),
            masked(0xc2, b"compressed"),
            masked(0x83, b"unknown"),
            masked(0x09, b"a ping in pieces"),
            masked(0x89, &[0; 126]),
            endless,
        ] {
            assert!(frame(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn messages_become_bytes_and_bytes_messages() {
        let (mut client, ours) = UnixStream::pair().unwrap();
        let (mut inside, theirs) = UnixStream::pair().unwrap();
        let early = masked(0x82, b"one ");
        let carrier = std::thread::spawn(move || carry(&ours, early, &theirs).is_ok());
        client.write_all(&masked(0x89, b"?")).unwrap();
        client.write_all(&masked(0x81, b"two")).unwrap();
        client.write_all(&masked(0x88, b"")).unwrap();
        let mut text = String::new();
        inside.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        inside.write_all(b"out").unwrap();
        drop(inside);
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).unwrap();
        let wanted = [framed(10, b"?"), framed(2, b"out"), framed(8, &[3, 232])].concat();
        assert_eq!(seen, wanted);
        assert!(carrier.join().unwrap());
    }
}
