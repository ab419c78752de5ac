//! Lines of files that grow and follow each other: logs and journals.

use std::fs::File;
use std::io::{self, Read as _};

/// Read at once, bytes.
pub const CHUNK: usize = 64 << 10;

/// A longer line is damaged: it is skipped.
pub const LIMIT: usize = 1 << 20;

/// What was read and not yet given.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    start: usize,
    skipping: bool,
}

impl Lines {
    /// The next whole line, without its end; `None` when more must be read first.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        while let Some(end) = self.buffer[self.start..].iter().position(|b| *b == b'\n') {
            let (from, to) = (self.start, self.start + end);
            self.start = to + 1;
            if !std::mem::take(&mut self.skipping) {
                return Some(&self.buffer[from..to]);
            }
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > LIMIT {
            self.buffer.clear();
            self.skipping = true;
        }
        None
    }

    /// Reads on; `false` at the present end of the file.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn fill(&mut self, file: &mut File) -> io::Result<bool> {
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK, 0);
        let read = file.read(&mut self.buffer[old..]);
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// Another file follows: what the last one left is torn, and nobody will end it.
    pub fn tear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use super::*;

    #[test]
    fn whole_lines_come_and_torn_or_endless_ones_do_not() {
        let mut file = tempfile::tempfile().unwrap();
        let mut lines = Lines::default();
        let append = |file: &mut File, bytes: &[u8]| {
            let at = file.stream_position().unwrap();
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(bytes).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
        };
        fn all(lines: &mut Lines, file: &mut File) -> Vec<String> {
            let mut found = Vec::new();
            loop {
                while let Some(line) = lines.next_line() {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                }
                if !lines.fill(file).unwrap() {
                    return found;
                }
            }
        }
        append(&mut file, b"one\n\ntw");
        assert_eq!(all(&mut lines, &mut file), ["one", ""]);
        append(&mut file, b"o\n");
        assert_eq!(all(&mut lines, &mut file), ["two"]);
        append(&mut file, &vec![b'x'; LIMIT + CHUNK]);
        append(&mut file, b"\nthree\ntorn");
        assert_eq!(all(&mut lines, &mut file), ["three"]);
        lines.tear();
        let mut next = tempfile::tempfile().unwrap();
        append(&mut next, b"four\n");
        lines.fill(&mut next).unwrap();
        assert_eq!(lines.next_line(), Some(&b"four"[..]));
    }
}
