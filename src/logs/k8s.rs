//! CRI's log format: `2016-10-06T00:17:09.669794202Z stdout P log content 1`, `P` for a piece of a
//! line, `F` where a line ends.
//!
//! Spec: kubernetes, "CRI log format" (podman's driver `k8s-file`).

use super::Entry;
use super::file::LogFile;
use crate::base::Result;
use crate::base::time::Timestamp;
use crate::handoff::output::{Sink, Stream};

/// Capacity that the scratch buffer may keep, bytes.
const IDLE: usize = 128 << 10;

/// The driver.
pub struct K8sLog {
    file: LogFile,
    scratch: Vec<u8>,
}

impl K8sLog {
    /// Writes to `file`.
    pub fn new(file: LogFile) -> Self {
        Self {
            file,
            scratch: Vec::new(),
        }
    }
}

impl Sink for K8sLog {
    fn write(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) -> Result<()> {
        self.scratch.clear();
        encode(stream, time, bytes, &mut self.scratch);
        let written = self.file.append(&self.scratch);
        self.scratch.clear();
        self.scratch.shrink_to(IDLE);
        written
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        self.file.reopen()
    }
}

fn encode(stream: Stream, time: Timestamp, bytes: &[u8], out: &mut Vec<u8>) {
    // Everything of one read has one time, as conmon does it.
    let mut prefix = time.rfc3339_nanos().into_bytes();
    prefix.push(b' ');
    prefix.extend_from_slice(stream.name().as_bytes());
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(&prefix);
        if line.ends_with(b"\n") {
            out.extend_from_slice(b" F ");
            out.extend_from_slice(line);
        } else {
            out.extend_from_slice(b" P ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
}

/// Reads one line, without its end; `None` when it is damaged.
pub fn decode(line: &[u8]) -> Option<Entry> {
    let mut fields = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags may follow the first one after colons.
    let ends_line = match fields.next()?.first()? {
        b'F' => true,
        b'P' => false,
        _ => return None,
    };
    Some(Entry {
        time: Timestamp::parse_rfc3339(time).ok()?,
        stream,
        text: fields.next().unwrap_or_default().to_vec(),
        ends_line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_pieces_are_written_as_cri_says_and_read_back() {
        let time = Timestamp::parse_rfc3339("2016-10-06T00:17:09.5Z").unwrap();
        let mut out = Vec::new();
        encode(Stream::Stdout, time, b"one\n\ntw", &mut out);
        encode(Stream::Stderr, time, b"o \xff\n", &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "2016-10-06T00:17:09.500000000Z stdout F one\n\
             2016-10-06T00:17:09.500000000Z stdout F \n\
             2016-10-06T00:17:09.500000000Z stdout P tw\n\
             2016-10-06T00:17:09.500000000Z stderr F o \u{fffd}\n"
        );
        let back: Vec<Entry> = out
            .trim_ascii_end()
            .split(|b| *b == b'\n')
            .map(|l| decode(l).unwrap())
            .collect();
        let seen: Vec<_> = back
            .iter()
            .map(|e| (e.text.as_slice(), e.ends_line))
            .collect();
        assert_eq!(
            seen,
            [
                (&b"one"[..], true),
                (b"", true),
                (b"tw", false),
                (b"o \xff", true)
            ]
        );
        assert!(back.iter().all(|e| e.time == time));
    }

    #[test]
    fn lines_of_conmon_are_read_and_damaged_ones_are_not() {
        let conmon = decode(b"2023-08-07T19:56:34.223758260-06:00 stdout F hi there").unwrap();
        assert_eq!(conmon.text, b"hi there");
        assert_eq!(conmon.time.rfc3339(), "2023-08-08T01:56:34.22375826Z");
        for bad in [
            "",
            "x",
            "2023-08-07T19:56:34Z stdout",
            "2023-08-07T19:56:34Z stdin F x",
            "to stdout F x",
        ] {
            assert!(decode(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }
}
