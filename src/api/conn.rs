//! One connection: bytes in, bodies cut, answers out. Blocking, with deadlines where a client could
//! hold us up.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{self, Chunks, Framing, HEAD_LIMIT, Head, Piece, Refusal};
use crate::base::{Context as _, Error, Kind, Result};

/// How long a head may take from its first byte on, and a body between two pieces.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that takes nothing for so long is gone. Streams of containers have no such limit.
const WRITE_PATIENCE: Duration = Duration::from_secs(120);

/// Where a body is.
#[derive(Clone, Copy, Debug)]
enum Body {
    Length(u64),
    Chunked(Chunks),
}

/// What was sent of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    /// The head; the body goes in chunks, or until the end of the connection.
    Head {
        chunked: bool,
    },
    /// Everything.
    Whole,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    stream: UnixStream,
    buffer: Vec<u8>,
    body: Body,
    expects: bool,
    old: bool,
    no_body: bool,
    /// The version that the answer names.
    pub version: String,
    sent: Sent,
    keep: bool,
}

impl Conn {
    /// Takes a connected socket.
    pub fn new(stream: UnixStream) -> Self {
        let _set = stream.set_write_timeout(Some(WRITE_PATIENCE));
        Self {
            stream,
            buffer: Vec::new(),
            body: Body::Length(0),
            expects: false,
            old: false,
            no_body: false,
            version: String::new(),
            sent: Sent::Nothing,
            keep: true,
        }
    }

    /// The socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Waits for the head of the next request; `None` when the client is done, or quiet for `idle`.
    ///
    /// # Errors
    /// A request that cannot be served.
    pub fn head(&mut self, idle: Option<Duration>) -> Result<Option<Head>, Refusal> {
        let mut deadline: Option<Instant> = None;
        loop {
            if let Some((head, length)) = http::head(&self.buffer)? {
                self.buffer.drain(..length);
                self.begin(&head);
                return Ok(Some(head));
            }
            if !self.buffer.is_empty() && deadline.is_none() {
                deadline = Some(Instant::now() + PATIENCE);
            }
            let wait = match deadline {
                None => idle,
                Some(end) => Some(end.saturating_duration_since(Instant::now())),
            };
            let late = || Refusal::new(408, "the request did not come in time");
            if wait.is_some_and(|w| w.is_zero()) {
                return deadline.map_or(Ok(None), |_| Err(late()));
            }
            let _set = self.stream.set_read_timeout(wait);
            match self.fill(16 << 10) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(e) if is_late(&e) => return deadline.map_or(Ok(None), |_| Err(late())),
                Err(_) => return Ok(None),
            }
        }
    }

    fn begin(&mut self, head: &Head) {
        self.body = match head.framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunks::default()),
        };
        self.expects = head
            .field("expect")
            .is_some_and(|e| e.eq_ignore_ascii_case("100-continue"));
        self.old = head.old;
        self.no_body = head.method == "HEAD";
        self.keep = head.keeps_alive();
        self.sent = Sent::Nothing;
        let _set = self.stream.set_read_timeout(Some(PATIENCE));
    }

    fn fill(&mut self, most: usize) -> std::io::Result<usize> {
        let from = self.buffer.len();
        self.buffer.resize(from + most, 0);
        let got = loop {
            match self.stream.read(&mut self.buffer[from..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(from + *got.as_ref().unwrap_or(&0));
        got
    }

    /// The whole body, which may have at most `limit` bytes.
    ///
    /// # Errors
    /// `Invalid` when it has more (status 413), or does not come.
    pub fn body(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Body::Length(length) = self.body
            && length > limit
        {
            return Err(too_long(limit));
        }
        Read::by_ref(self)
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .what_kind(Kind::Invalid, || "cannot read the body of the request")?;
        if bytes.len() as u64 > limit {
            return Err(too_long(limit));
        }
        Ok(bytes)
    }

    /// Whether the body was read to its end.
    fn is_consumed(&self) -> bool {
        match self.body {
            Body::Length(length) => length == 0,
            Body::Chunked(chunks) => chunks == Chunks::Over,
        }
    }

    /// Whether another request may follow on this connection.
    pub fn may_go_on(&self) -> bool {
        self.keep && self.sent == Sent::Whole && self.is_consumed() && self.buffer.is_empty()
    }

    /// Another process has read the body, which was in its copy of what came, too.
    pub fn forget(&mut self) {
        self.buffer.clear();
    }

    fn text(&self, status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {status} {}\r\n", http::reason(status));
        let server = concat!("coracle/", env!("CARGO_PKG_VERSION"), " (linux)");
        let docker = format!("Docker/{server}");
        let common = [
            ("Api-Version", self.version.as_str()),
            ("Libpod-Api-Version", super::LIBPOD),
            ("Docker-Experimental", "false"),
            ("Ostype", "linux"),
            ("Server", docker.as_str()),
        ];
        for (name, value) in common.iter().chain(fields) {
            text.push_str(name);
            text.push_str(": ");
            // A value with a line's end would be another field.
            text.extend(value.chars().filter(|c| !c.is_control()));
            text.push_str("\r\n");
        }
        text.into_bytes()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|e| {
            self.keep = false;
            gone(e)
        })
    }

    /// Answers with a whole body.
    ///
    /// # Errors
    /// The client went away.
    pub fn answer(&mut self, status: u16, kind: &str, body: &[u8]) -> Result<()> {
        self.answer_with(status, &[("Content-Type", kind)], body)
    }

    /// As [`Conn::answer`], with fields of its own.
    ///
    /// # Errors
    /// The client went away.
    pub fn answer_with(&mut self, status: u16, fields: &[(&str, &str)], body: &[u8]) -> Result<()> {
        if !self.is_consumed() {
            // Small rests are read, so that the connection can go on; nothing else is waited for.
            self.keep = self.keep && !self.expects && self.drain();
        }
        let mut text = self.text(status, fields);
        let bodiless = matches!(status, 204 | 304);
        if !bodiless {
            text.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
        }
        if !self.keep {
            text.extend(b"Connection: close\r\n");
        } else if self.old {
            text.extend(b"Connection: keep-alive\r\n");
        }
        text.extend(b"\r\n");
        if !self.no_body && !bodiless {
            text.extend(body);
        }
        self.sent = Sent::Whole;
        self.send(&text)
    }

    fn drain(&mut self) -> bool {
        const REST: usize = 64 << 10;
        if matches!(self.body, Body::Length(n) if n > REST as u64) {
            return false;
        }
        let mut left = [0; 4096];
        let mut seen = 0;
        while seen < REST && !self.is_consumed() {
            match self.read(&mut left) {
                Ok(n) => seen += n,
                Err(_) => return false,
            }
        }
        self.is_consumed()
    }

    /// Answers with JSON.
    ///
    /// # Errors
    /// The client went away.
    pub fn json(&mut self, status: u16, value: &Value) -> Result<()> {
        let mut text = value.to_string().into_bytes();
        text.push(b'\n');
        self.answer(status, "application/json", &text)
    }

    /// Answers without a body.
    ///
    /// # Errors
    /// The client went away.
    pub fn empty(&mut self, status: u16) -> Result<()> {
        self.answer_with(status, &[], b"")
    }

    /// Begins an answer of unknown length; its bytes follow by [`Write`], its end by
    /// [`Conn::finish`].
    ///
    /// # Errors
    /// The client went away.
    pub fn begin_stream(&mut self, status: u16, fields: &[(&str, &str)]) -> Result<()> {
        if !self.is_consumed() {
            // The body is still being read while the answer goes out.
            self.keep = self.keep && !self.expects;
        }
        let text = self.stream_head(status, fields);
        self.streamed();
        self.send(&text)
    }

    /// The head of an answer of unknown length that somebody else sends; then [`Conn::streamed`].
    pub fn stream_head(&mut self, status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut text = self.text(status, fields);
        if self.chunks() {
            text.extend(b"Transfer-Encoding: chunked\r\n");
        } else {
            self.keep = false;
        }
        if !self.keep {
            text.extend(b"Connection: close\r\n");
        }
        text.extend(b"\r\n");
        text
    }

    /// Whether an answer of unknown length goes in chunks; to HTTP/1.0 it does not.
    pub fn chunks(&self) -> bool {
        !self.old
    }

    /// Somebody sent the head of [`Conn::stream_head`], and what follows.
    pub fn streamed(&mut self) {
        self.sent = Sent::Head { chunked: !self.old };
    }

    /// Whether an answer was begun.
    pub fn has_begun(&self) -> bool {
        self.sent != Sent::Nothing
    }

    /// Ends an answer that was begun.
    ///
    /// # Errors
    /// The client went away.
    pub fn finish(&mut self) -> Result<()> {
        if let Sent::Head { chunked } = self.sent {
            if chunked && !self.no_body {
                self.send(b"0\r\n\r\n")?;
            }
            if !self.is_consumed() {
                self.keep = self.keep && self.drain();
            }
            self.sent = Sent::Whole;
        }
        Ok(())
    }

    /// An answer that was begun ends in the middle: the client sees that by the cut.
    pub fn cut(&mut self) {
        self.keep = false;
    }

    /// The connection is no longer HTTP's: answers the upgrade, or what clients without one expect, and
    /// hands out the socket with what came already.
    ///
    /// # Errors
    /// The client went away.
    pub fn hijack(
        &mut self,
        upgrade: Option<&str>,
        field: (&str, &str),
    ) -> Result<(UnixStream, Vec<u8>)> {
        self.keep = false;
        let fields = [field];
        let mut text = match upgrade {
            Some(protocol) => {
                let mut text = self.text(101, &fields);
                text.extend(format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n").into_bytes());
                text
            }
            None => self.text(200, &fields),
        };
        text.extend(b"\r\n");
        self.sent = Sent::Whole;
        self.send(&text)?;
        let clear = |s: &UnixStream| {
            s.set_read_timeout(None)?;
            s.set_write_timeout(None)
        };
        clear(&self.stream).what(|| "cannot clear the deadline of a connection")?;
        let copy = self
            .stream
            .try_clone()
            .what(|| "cannot duplicate a connection")?;
        Ok((copy, std::mem::take(&mut self.buffer)))
    }

    fn go_on(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.expects) && self.sent == Sent::Nothing {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }
}

/// The body of the request.
impl Read for Conn {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.is_consumed() || out.is_empty() {
            return Ok(0);
        }
        self.go_on()?;
        let cut = || std::io::Error::new(ErrorKind::UnexpectedEof, "the request's body was cut");
        loop {
            let piece = match &mut self.body {
                Body::Length(0) => return Ok(0),
                Body::Length(_) if self.buffer.is_empty() => Piece::More,
                Body::Length(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let taken = most.min(self.buffer.len()).min(out.len());
                    *left -= taken as u64;
                    Piece::Data(taken)
                }
                Body::Chunked(chunks) => {
                    // As many bytes of data as there is room for; lines of the framing in full.
                    let seen = match chunks {
                        Chunks::Data(_) => self.buffer.len().min(out.len()),
                        _ => self.buffer.len(),
                    };
                    chunks
                        .next(&self.buffer[..seen])
                        .map_err(|e| std::io::Error::new(ErrorKind::InvalidData, e.message))?
                }
            };
            match piece {
                Piece::Data(n) => {
                    out[..n].copy_from_slice(&self.buffer[..n]);
                    self.buffer.drain(..n);
                    return Ok(n);
                }
                Piece::Skip(n) => {
                    self.buffer.drain(..n);
                }
                Piece::End => return Ok(0),
                Piece::More => {
                    if self.fill((64 << 10).max(HEAD_LIMIT))? == 0 {
                        return Err(cut());
                    }
                }
            }
        }
    }
}

/// The body of the answer.
impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.no_body || bytes.is_empty() {
            return Ok(bytes.len());
        }
        let bytes = &bytes[..bytes.len().min(1 << 20)];
        let written = match self.sent {
            Sent::Head { chunked: true } => {
                let mut all = format!("{:x}\r\n", bytes.len()).into_bytes();
                all.extend_from_slice(bytes);
                all.extend_from_slice(b"\r\n");
                self.stream.write_all(&all)
            }
            _ => self.stream.write_all(bytes),
        };
        if written.is_err() {
            self.keep = false;
        }
        written.map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn is_late(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn too_long(limit: u64) -> Error {
    Error::invalid(format!(
        "the body of the request is longer than {limit} bytes"
    ))
    .exit_code(TOO_LONG)
}

/// Marks the error of a body that is too long.
pub const TOO_LONG: u8 = 113;

/// The client went away.
pub fn gone(e: std::io::Error) -> Error {
    Error::new(Kind::Interrupted, "the client went away").because(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that was sent this, and the client's end.
    fn conn(text: &[u8]) -> (Conn, UnixStream) {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(text).unwrap();
        (Conn::new(server), client)
    }

    #[test]
    fn requests_follow_each_other_on_a_connection() {
        let (mut conn, mut client) = conn(
            b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiPOST /b HTTP/1.1\r\n\
              Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        );
        let head = conn.head(None).unwrap().unwrap();
        assert_eq!(head.path, ["a"]);
        assert_eq!(conn.body(10).unwrap(), b"hi");
        let head = conn.head(None).unwrap().unwrap();
        assert_eq!(head.path, ["b"]);
        assert_eq!(conn.body(10).unwrap(), b"abc");
        conn.empty(204).unwrap();
        assert!(conn.may_go_on());
        drop(conn);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 204 No Content\r\n"), "{text}");
        assert!(!text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn a_body_that_is_too_long_or_cut_is_refused() {
        let (mut long, _client) = conn(b"POST /a HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n");
        long.head(None).unwrap().unwrap();
        assert_eq!(
            long.body(100).unwrap_err().asked_exit_code(),
            Some(TOO_LONG)
        );
        long.json(413, &Value::Null).unwrap();
        assert!(!long.may_go_on());
        let (mut chunked, _client) =
            conn(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n");
        chunked.head(None).unwrap().unwrap();
        assert_eq!(
            chunked.body(5).unwrap_err().asked_exit_code(),
            Some(TOO_LONG)
        );
        let (mut cut, client) = conn(b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc");
        cut.head(None).unwrap().unwrap();
        drop(client);
        assert!(cut.body(10).is_err());
    }

    #[test]
    fn who_waits_for_a_hundred_gets_it_when_the_body_is_read() {
        let (mut conn, mut client) =
            conn(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
        conn.head(None).unwrap().unwrap();
        let sender = std::thread::spawn(move || {
            let mut seen = [0; 25];
            client.read_exact(&mut seen).unwrap();
            client.write_all(b"x").unwrap();
            seen.to_vec()
        });
        assert_eq!(conn.body(1).unwrap(), b"x");
        assert_eq!(sender.join().unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn a_stream_goes_in_chunks_and_to_old_clients_until_the_end() {
        for (line, tail) in [
            ("GET / HTTP/1.1", "\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
            ("GET / HTTP/1.0", "\r\n\r\nhi"),
        ] {
            let (mut conn, mut client) = conn(format!("{line}\r\n\r\n").as_bytes());
            conn.head(None).unwrap().unwrap();
            conn.begin_stream(200, &[("X", "a\r\nB: c")]).unwrap();
            conn.write_all(b"hi").unwrap();
            conn.finish().unwrap();
            drop(conn);
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert!(text.ends_with(tail), "{text}");
            assert!(text.contains("X: aB: c\r\n"), "{text}");
        }
    }
}
