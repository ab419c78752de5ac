//! Reading a log file and its rotated parts: from the end, and on while it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::Entry;
use super::file::rotated;
use super::{json, k8s};
use crate::base::fs::open_if_exists;
use crate::base::lines::{self, Lines};
use crate::base::{Context as _, Error, Kind, Result};
use crate::state::container::Container;
use crate::state::options::LogDriver;

/// So often the parts are looked through for the one that is read, while they move.
const SCANS: u32 = 10;

/// More parts are not looked for.
const PARTS: u32 = 1000;

/// How the lines of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `k8s-file`.
    K8s,
    /// `json-file`.
    Json,
}

impl Format {
    fn decode(self, line: &[u8]) -> Option<Entry> {
        match self {
            Self::K8s => k8s::decode(line),
            Self::Json => json::decode(line),
        }
    }

    /// Whether a line of the container's output ends with this line of the log.
    fn ends_line(self, line: &[u8]) -> bool {
        match self {
            // Cheaper than decoding: the tag is the third field.
            Self::K8s => line.splitn(4, |b| *b == b' ').nth(2) != Some(b"P"),
            Self::Json => json::decode(line).is_none_or(|e| e.ends_line),
        }
    }
}

/// A log, read entry by entry.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    path: PathBuf,
    /// Parts that come before the present one's successor, oldest first.
    parts: VecDeque<File>,
    file: Option<File>,
    lines: Lines,
}

/// Opens the log of a container, from its beginning or from its last `tail` lines.
///
/// # Errors
/// `Unsupported` when its driver keeps no file; what the kernel says.
pub fn open(container: &Container, tail: Option<u64>) -> Result<Reader> {
    let format = match container.record.options.log.driver {
        LogDriver::K8sFile => Format::K8s,
        LogDriver::JsonFile => Format::Json,
        LogDriver::None => return Err(unreadable(container, "none", "keeps no output")),
        LogDriver::Passthrough => {
            return Err(unreadable(
                container,
                "passthrough",
                "leaves the output to the caller",
            ));
        }
        LogDriver::Journald => {
            return Err(Error::internal("a journald log is read through journalctl"));
        }
    };
    let path = super::path(container).unwrap_or_default();
    Reader::open(path, format, tail)
        .what(|| format!("cannot read the log of container {:?}", container.name()))
}

fn unreadable(container: &Container, driver: &str, why: &str) -> Error {
    Error::unsupported(format!(
        "container {:?} has no log: its log driver {driver:?} {why}",
        container.name()
    ))
    .hint("create it with `--log-driver k8s-file` or `json-file` to keep a log")
}

impl Reader {
    /// Opens a log by the path of its newest part. A log that does not exist yet is empty.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: PathBuf, format: Format, tail: Option<u64>) -> Result<Self> {
        // The newest first, so that a rotation meanwhile can only show a part twice: those are
        // told apart by their inodes.
        let mut parts: VecDeque<File> = VecDeque::new();
        let mut seen = Vec::new();
        let mut left = tail;
        for file in Parts::new(&path) {
            let mut file = file?;
            let inode = inode(&file)?;
            if seen.contains(&inode) {
                continue;
            }
            seen.push(inode);
            if let Some(count) = &mut left {
                let (start, found) = seek_tail(&file, format, *count, &path)?;
                file.seek(SeekFrom::Start(start))
                    .what(|| format!("cannot read {}", path.display()))?;
                *count -= found;
            }
            parts.push_front(file);
            if left == Some(0) {
                break;
            }
        }
        let file = parts.pop_front();
        Ok(Self {
            format,
            path,
            parts,
            file,
            lines: Lines::default(),
        })
    }

    /// The folder to watch for growth and rotation.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The next entry; `None` when there is none now. Damaged lines are skipped; the last line
    /// counts once it is whole.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        loop {
            while let Some(line) = self.lines.next_line() {
                if let Some(entry) = self.format.decode(line) {
                    return Ok(Some(entry));
                }
            }
            if !self.fill()? && !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Reads on in the present part; `false` at its end.
    fn fill(&mut self) -> Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        self.lines
            .fill(file)
            .what(|| format!("cannot read {}", self.path.display()))
    }

    /// Goes to the next part; `false` when the present one is the newest.
    fn advance(&mut self) -> Result<bool> {
        let next = match self.parts.pop_front() {
            Some(part) => part,
            None => match self.successor()? {
                Some(part) => part,
                None => return Ok(false),
            },
        };
        // The writer has left the old part, so what was written last is there now.
        if self.fill()? {
            self.parts.push_front(next);
            return Ok(true);
        }
        // Torn, and nobody will end it.
        self.lines.tear();
        self.file = Some(next);
        Ok(true)
    }

    /// The part that came after the present one, by the present one's place among the rotated.
    fn successor(&self) -> Result<Option<File>> {
        let Some(newest) = open_if_exists(&self.path)? else {
            // Between two renames of a rotation, or not written yet.
            return Ok(None);
        };
        let Some(file) = &self.file else {
            return Ok(Some(newest));
        };
        let present = inode(file)?;
        if inode(&newest)? == present {
            return Ok(None);
        }
        let mut oldest = newest;
        for _ in 0..SCANS {
            let mut later: Option<File> = None;
            for part in Parts::new(&self.path) {
                let part = part?;
                if inode(&part)? == present {
                    // Found: the one looked at before came after it.
                    return Ok(later.or(Some(oldest)));
                }
                later = Some(part);
            }
            oldest = later.unwrap_or(oldest);
            let links = file.metadata().map_or(0, |m| m.nlink());
            if links == 0 {
                break;
            }
            // It still has a name: the parts moved while they were looked through.
        }
        // Rotated away already: the oldest that is left is next.
        Ok(Some(oldest))
    }
}

/// The parts of a log from new to old. While the writer moves them up by one, one place at a time
/// is empty: a single gap is stepped over.
struct Parts<'a> {
    path: &'a Path,
    number: u32,
    gaps: u32,
}

impl<'a> Parts<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            number: 0,
            gaps: 0,
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<File>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.gaps < 2 && self.number < PARTS {
            let name = match self.number {
                0 => self.path.to_owned(),
                n => rotated(self.path, n),
            };
            self.number += 1;
            match open_if_exists(&name).transpose() {
                None => self.gaps += 1,
                some => {
                    self.gaps = 0;
                    return some;
                }
            }
        }
        None
    }
}

fn inode(file: &File) -> Result<(u64, u64)> {
    let meta = file
        .metadata()
        .what_kind(Kind::Internal, || "cannot look at a log")?;
    Ok((meta.dev(), meta.ino()))
}

/// Where the last `count` lines of the container's output begin in a part, and how many there are.
/// Reads backwards, only as much as it must.
fn seek_tail(file: &File, format: Format, count: u64, path: &Path) -> Result<(u64, u64)> {
    let what = || format!("cannot read {}", path.display());
    let size = file.metadata().what(what)?.len();
    if count == 0 {
        return Ok((size, 0));
    }
    // `tail` holds the bytes from `from` on that are not yet cut into lines: always the part up
    // to the first line end that is known.
    let (mut from, mut tail, mut found) = (size, Vec::new(), 0);
    // Where the line begins that was looked at last.
    let mut begin = size;
    let mut last = true;
    while from > 0 || !tail.is_empty() {
        // Lines that lie whole in `tail`: those after its first line end, or all at the beginning.
        loop {
            let body = tail.strip_suffix(b"\n").unwrap_or(&tail);
            let at = match body.iter().rposition(|b| *b == b'\n') {
                Some(end) => end + 1,
                None if from == 0 && !tail.is_empty() => 0,
                None => break,
            };
            if format.ends_line(&body[at..]) || last {
                if found == count {
                    return Ok((begin, found));
                }
                found += 1;
            }
            last = false;
            begin = from + at as u64;
            tail.truncate(at);
        }
        if from == 0 {
            break;
        }
        if tail.len() > lines::LIMIT {
            // Damaged: no line is that long. What comes after it is what there is.
            return Ok((begin, found));
        }
        let step = from.min(lines::CHUNK as u64);
        from -= step;
        let mut block = vec![0; usize::try_from(step).unwrap_or(lines::CHUNK)];
        file.read_exact_at(&mut block, from).what(what)?;
        block.extend_from_slice(&tail);
        tail = block;
    }
    Ok((begin, found))
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;
    use crate::base::time::Timestamp;
    use crate::config::dirs::Dirs;
    use crate::handoff::output::Stream;
    use crate::state::container::{ContainerRecord, Containers};
    use crate::state::options::{ContainerOptions, LogOptions};

    pub fn container(dir: &Path, log: LogOptions) -> Container {
        let dirs = Dirs::new(dir.join("data"), dir.join("run"));
        let record: ContainerRecord = serde_json::from_value(serde_json::json!({
            "version": 1, "id": "07".repeat(32), "name": "web", "created": 0, "options": {}
        }))
        .unwrap();
        Containers::new(&dirs)
            .create(
                ContainerRecord {
                    options: ContainerOptions {
                        log,
                        ..ContainerOptions::default()
                    },
                    ..record
                },
                crate::base::fs::Durability::Volatile,
            )
            .unwrap()
    }

    fn all(reader: &mut Reader) -> String {
        let mut text = String::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            text.push_str(&String::from_utf8_lossy(&entry.text));
            if entry.ends_line {
                text.push('\n');
            }
        }
        text
    }

    #[test]
    fn both_formats_give_back_what_was_written() {
        for driver in [LogDriver::K8sFile, LogDriver::JsonFile] {
            let dir = tempfile::tempdir().unwrap();
            let container = container(
                dir.path(),
                LogOptions {
                    driver,
                    ..LogOptions::default()
                },
            );
            let mut sink = crate::logs::open(&container).unwrap();
            let now = Timestamp::now();
            sink.write(Stream::Stdout, now, b"one\ntwo\nthr").unwrap();
            sink.write(Stream::Stdout, now, b"ee\nfour").unwrap();
            sink.flush().unwrap();
            for (tail, expected) in [
                (None, "one\ntwo\nthree\nfour"),
                (Some(0), ""),
                (Some(1), "four"),
                (Some(2), "three\nfour"),
                (Some(3), "two\nthree\nfour"),
                (Some(9), "one\ntwo\nthree\nfour"),
            ] {
                let mut reader = open(&container, tail).unwrap();
                assert_eq!(all(&mut reader), expected, "{driver:?} {tail:?}");
            }
        }
    }

    #[test]
    fn the_tail_is_found_over_blocks_and_parts() {
        let dir = tempfile::tempdir().unwrap();
        let container = container(
            dir.path(),
            LogOptions {
                max_size: Some(300_000),
                max_file: Some(3),
                ..LogOptions::default()
            },
        );
        let mut sink = crate::logs::open(&container).unwrap();
        for number in 0..12_000 {
            let line = format!("line {number}\n");
            sink.write(Stream::Stdout, Timestamp::now(), line.as_bytes())
                .unwrap();
        }
        assert!(container.dir().join("log.2").exists());
        assert!(!container.dir().join("log.3").exists());
        for tail in [1, 3000, 9000] {
            let text = all(&mut open(&container, Some(tail)).unwrap());
            assert_eq!(text.lines().count() as u64, tail);
            assert!(
                text.starts_with(&format!("line {}\n", 12_000 - tail)),
                "{tail}"
            );
            assert!(text.ends_with("line 11999\n"));
        }
        let text = all(&mut open(&container, None).unwrap());
        let first: u64 = text.lines().next().unwrap()[5..].parse().unwrap();
        assert_eq!(
            text.lines().count() as u64,
            12_000 - first,
            "no gap between the parts"
        );
    }

    #[test]
    fn following_over_rotations_loses_and_repeats_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let container = container(
            dir.path(),
            LogOptions {
                max_size: Some(1000),
                max_file: Some(4),
                ..LogOptions::default()
            },
        );
        // Before the first line is written there is nothing to read, and no error.
        let mut reader = open(&container, None).unwrap();
        assert!(reader.next_entry().unwrap().is_none());
        let mut sink = crate::logs::open(&container).unwrap();
        let mut seen = String::new();
        for number in 0..1000 {
            let line = format!("line {number}\n");
            sink.write(Stream::Stdout, Timestamp::now(), line.as_bytes())
                .unwrap();
            // The reader comes by now and then, at most two parts late.
            if number % 37 == 0 {
                seen.push_str(&all(&mut reader));
            }
        }
        seen.push_str(&all(&mut reader));
        let expected: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn damaged_and_torn_lines_cost_themselves_only() {
        let dir = tempfile::tempdir().unwrap();
        let container = container(dir.path(), LogOptions::default());
        let good = |text: &str| format!("2026-01-02T03:04:05Z stdout F {text}\n");
        let torn = "2026-01-02T03:0";
        let mut bytes = good("one").into_bytes();
        bytes.extend_from_slice(b"\0\0\xff garbage\n");
        bytes.extend(vec![b'x'; 3 << 20]);
        bytes.push(b'\n');
        bytes.extend_from_slice(good("two").as_bytes());
        bytes.extend_from_slice(torn.as_bytes());
        std::fs::write(container.dir().join("log"), &bytes).unwrap();
        let mut reader = open(&container, None).unwrap();
        assert_eq!(all(&mut reader), "one\ntwo\n");
        // The next start ends the torn line and goes on.
        let mut sink = crate::logs::open(&container).unwrap();
        sink.write(Stream::Stdout, Timestamp::now(), b"three\n")
            .unwrap();
        assert_eq!(all(&mut reader), "three\n");
        assert_eq!(all(&mut open(&container, Some(1)).unwrap()), "three\n");
    }

    #[test]
    fn drivers_without_a_log_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            driver: LogDriver::None,
            ..LogOptions::default()
        };
        let error = open(&container(dir.path(), options), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(
            error.what().contains("log driver \"none\""),
            "{}",
            error.what()
        );
    }
}
