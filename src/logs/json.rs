//! Docker's `json-file`: `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}`.
//!
//! A line's end is part of `log`; an entry without one is a piece of a longer line.

use std::borrow::Cow;

use serde::Deserialize;

use super::Entry;
use super::file::LogFile;
use super::lines::Lines;
use crate::base::Result;
use crate::base::time::Timestamp;
use crate::handoff::output::{Sink, Stream};

/// Capacity that the scratch buffer may keep, bytes.
const IDLE: usize = 128 << 10;

/// The driver.
pub struct JsonLog {
    file: LogFile,
    lines: Lines,
    scratch: Vec<u8>,
}

impl JsonLog {
    /// Writes to `file`.
    pub fn new(file: LogFile) -> Self {
        Self {
            file,
            lines: Lines::default(),
            scratch: Vec::new(),
        }
    }

    fn store(&mut self) -> Result<()> {
        let written = self.file.append(&self.scratch);
        self.scratch.clear();
        self.scratch.shrink_to(IDLE);
        written
    }
}

impl Sink for JsonLog {
    fn write(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) -> Result<()> {
        let (time, scratch) = (time.rfc3339(), &mut self.scratch);
        self.lines.feed(stream, bytes, |text, ends| {
            encode(stream, &time, text, ends, scratch);
        });
        self.store()
    }

    fn flush(&mut self) -> Result<()> {
        let (time, scratch) = (Timestamp::now().rfc3339(), &mut self.scratch);
        self.lines.finish(|stream, text| {
            encode(stream, &time, text, false, scratch);
        });
        self.store()
    }

    fn reopen(&mut self) -> Result<()> {
        self.file.reopen()
    }
}

fn encode(stream: Stream, time: &str, text: &[u8], ends: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in text.utf8_chunks() {
        escape(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    if ends {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Escapes as Go's encoder does: also what HTML and JavaScript would misread.
fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let hex = |n: u8| b"0123456789abcdef"[usize::from(n & 15)];
        let code = [b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(*byte)];
        let (escaped, length): (&[u8], usize) = match byte {
            b'"' => (b"\\\"", 1),
            b'\\' => (b"\\\\", 1),
            b'\n' => (b"\\n", 1),
            b'\r' => (b"\\r", 1),
            b'\t' => (b"\\t", 1),
            0..0x20 | b'<' | b'>' | b'&' => (&code, 1),
            // U+2028 and U+2029.
            0xe2 if bytes[at..].starts_with(&[0xe2, 0x80, 0xa8]) => (b"\\u2028", 3),
            0xe2 if bytes[at..].starts_with(&[0xe2, 0x80, 0xa9]) => (b"\\u2029", 3),
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(escaped);
        plain = at + length;
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// Reads one line, without its end; `None` when it is damaged.
pub fn decode(line: &[u8]) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow, default)]
        log: Cow<'a, str>,
        #[serde(default)]
        stream: Option<Stream>,
        #[serde(borrow)]
        time: Cow<'a, str>,
    }
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let (text, ends_line) = match line.log.strip_suffix('\n') {
        Some(text) => (text, true),
        None => (&*line.log, false),
    };
    Some(Entry {
        time: Timestamp::parse_rfc3339(&line.time).ok()?,
        stream: line.stream.unwrap_or(Stream::Stdout),
        text: text.as_bytes().to_vec(),
        ends_line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_docker_and_are_read_back() {
        let mut out = Vec::new();
        let time = "2026-01-02T03:04:05.6Z";
        let text = "a\"b\\\t<&>\u{1}é\u{2028}x\u{2029}";
        encode(Stream::Stdout, time, text.as_bytes(), true, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"log\":\"a\\\"b\\\\\\t\\u003c\\u0026\\u003e\\u0001é\\u2028x\\u2029\\n\",\
             \"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.6Z\"}\n"
        );
        let entry = decode(&out).unwrap();
        assert_eq!(String::from_utf8(entry.text).unwrap(), text);
        assert!(entry.ends_line);
        assert_eq!(entry.time.rfc3339(), time);

        out.clear();
        encode(Stream::Stderr, time, b"\xff\xfe!", false, &mut out);
        let entry = decode(&out).unwrap();
        assert_eq!(String::from_utf8(entry.text).unwrap(), "\u{fffd}\u{fffd}!");
        assert_eq!((entry.stream, entry.ends_line), (Stream::Stderr, false));
        assert!(decode(b"{\"log\":\"to").is_none());
    }

    #[test]
    fn a_begun_line_is_written_when_the_process_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = JsonLog::new(LogFile::open(path.clone(), None, 1).unwrap());
        let time = Timestamp::now();
        log.write(Stream::Stdout, time, b"one\ntw").unwrap();
        log.write(Stream::Stdout, time, b"o").unwrap();
        log.flush().unwrap();
        let text = std::fs::read(&path).unwrap();
        let entries: Vec<_> = text
            .split_inclusive(|b| *b == b'\n')
            .filter_map(decode)
            .collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[1].text.as_slice(), entries[1].ends_line),
            (&b"two"[..], false)
        );
    }
}
