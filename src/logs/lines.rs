//! Cuts a byte stream into lines for drivers whose entries are lines.

use crate::handoff::output::Stream;

/// A longer line is cut into pieces of so many bytes, as Docker does.
pub const PIECE: usize = 16 << 10;

/// The begun line of each stream.
#[derive(Debug, Default)]
pub struct Lines {
    begun: [Vec<u8>; 2],
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Lines {
    /// Takes bytes; `emit` gets every whole line (without its end, `true`), and pieces of lines
    /// that are too long (`false`).
    pub fn feed(&mut self, stream: Stream, bytes: &[u8], mut emit: impl FnMut(&[u8], bool)) {
        let begun = &mut self.begun[index(stream)];
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (mut text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            while begun.len() + text.len() > PIECE {
                let (now, later) = text.split_at(PIECE - begun.len());
                begun.extend_from_slice(now);
                emit(begun, false);
                begun.clear();
                text = later;
            }
            if !ends {
                begun.extend_from_slice(text);
            } else if begun.is_empty() {
                emit(text, true);
            } else {
                begun.extend_from_slice(text);
                emit(begun, true);
                *begun = Vec::new();
            }
        }
    }

    /// Gives out begun lines: nothing more comes.
    pub fn finish(&mut self, mut emit: impl FnMut(Stream, &[u8])) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.begun[index(stream)]);
            if !begun.is_empty() {
                emit(stream, &begun);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_over_reads_and_long_ones_are_cut() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for bytes in [&b"on"[..], b"e\ntwo\nth", b"ree\n\n", b"tail"] {
            lines.feed(Stream::Stdout, bytes, |text, ends| {
                seen.push((String::from_utf8_lossy(text).into_owned(), ends));
            });
        }
        lines.feed(Stream::Stderr, b"other", |_, _| panic!("not a line yet"));
        lines.finish(|stream, text| seen.push((format!("{stream:?} {}", text.len()), false)));
        let expected = [
            ("one", true),
            ("two", true),
            ("three", true),
            ("", true),
            ("Stdout 4", false),
            ("Stderr 5", false),
        ];
        assert_eq!(seen, expected.map(|(text, ends)| (text.to_owned(), ends)));

        let mut sizes = Vec::new();
        let long = vec![b'x'; 2 * PIECE + 5];
        lines.feed(Stream::Stdout, &long, |text, ends| {
            sizes.push((text.len(), ends));
        });
        lines.feed(Stream::Stdout, b"\n", |text, ends| {
            sizes.push((text.len(), ends));
        });
        assert_eq!(sizes, [(PIECE, false), (PIECE, false), (5, true)]);
    }
}
