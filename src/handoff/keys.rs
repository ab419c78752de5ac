//! Detach keys: `ctrl-p,ctrl-q`, `ctrl-@`, `a,b`; an empty text switches detaching off.

use crate::base::{Error, Result};

/// What the keys are when nothing else was said. man docker-run, `--detach-keys`.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// The sequence that detaches. Empty: none does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// Parses comma-separated keys: one character, or `ctrl-` and one of a-z, @, \[, \\, \], ^, _.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(key).collect::<Result<_>>().map(Self)
    }

    /// Whether nothing detaches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn key(text: &str) -> Result<u8> {
    let bad = || {
        Error::invalid(format!("invalid detach key {text:?}"))
            .hint("write keys like ctrl-p,ctrl-q or a,b; an empty text switches detaching off")
    };
    if let Some(rest) = text.strip_prefix("ctrl-") {
        return match rest.as_bytes() {
            [c @ (b'a'..=b'z' | b'A'..=b'Z')] => Ok(c.to_ascii_lowercase() - b'a' + 1),
            [c @ b'@'..=b'_'] => Ok(c - b'@'),
            _ => Err(bad()),
        };
    }
    match text.as_bytes() {
        [c] if c.is_ascii() => Ok(*c),
        _ => Err(bad()),
    }
}

/// Watches typed bytes for the sequence.
///
/// Bytes that may begin it are held back until the next ones decide, as docker and podman do.
#[derive(Clone, Debug)]
pub struct Matcher {
    keys: DetachKeys,
    matched: usize,
}

impl Matcher {
    /// Begins with nothing typed.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys, matched: 0 }
    }

    /// Appends to `out` what goes to the container; `true` when the sequence is complete (what
    /// came after it is dropped).
    pub fn feed(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            // Falls back to the longest beginning that still fits.
            while self.matched > 0 && byte != self.keys.0[self.matched] {
                let shorter = (0..self.matched)
                    .rev()
                    .find(|&n| self.keys.0[..n] == self.keys.0[self.matched - n..self.matched])
                    .unwrap_or(0);
                out.extend_from_slice(&self.keys.0[..self.matched - shorter]);
                self.matched = shorter;
            }
            if byte == self.keys.0[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.0.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                out.push(byte);
            }
        }
        false
    }

    /// Input ended: gives out what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.keys.0[..self.matched]);
        self.matched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_as_docker_writes_them() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", vec![16, 17]),
            ("ctrl-P", vec![16]),
            (
                "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_",
                vec![0, 27, 28, 29, 30, 31],
            ),
            ("a,B", vec![b'a', b'B']),
            ("", vec![]),
        ] {
            assert_eq!(DetachKeys::parse(text).unwrap().0, bytes, "{text}");
        }
        for text in ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-pq", "é", ","] {
            assert!(DetachKeys::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_sequence_detaches_and_everything_else_passes() {
        type Case = (&'static str, &'static [&'static [u8]], &'static [u8], bool);
        let cases: [Case; 7] = [
            ("ctrl-p,ctrl-q", &[b"ab\x10\x11cd"], b"ab", true),
            ("ctrl-p,ctrl-q", &[b"\x10", b"\x11"], b"", true),
            ("ctrl-p,ctrl-q", &[b"\x10x"], b"\x10x", false),
            ("ctrl-p,ctrl-q", &[b"\x10\x10\x11"], b"\x10", true),
            ("a,a,b", &[b"aaab"], b"a", true),
            ("a,b,a,c", &[b"ababac"], b"ab", true),
            ("", &[b"\x10\x11"], b"\x10\x11", false),
        ];
        for (keys, typed, expected, detached) in cases {
            let mut matcher = Matcher::new(DetachKeys::parse(keys).unwrap());
            let mut out = Vec::new();
            let mut found = false;
            for piece in typed {
                found |= matcher.feed(piece, &mut out);
            }
            assert_eq!(
                (out.as_slice(), found),
                (expected, detached),
                "{keys} {typed:?}"
            );
        }
    }

    #[test]
    fn a_beginning_without_an_end_is_given_out_at_the_end_of_input() {
        let mut matcher = Matcher::new(DetachKeys::parse(DEFAULT).unwrap());
        let mut out = Vec::new();
        assert!(!matcher.feed(b"x\x10", &mut out));
        assert_eq!(out, b"x");
        matcher.finish(&mut out);
        assert_eq!(out, b"x\x10");
    }
}
