//! An append-only file with rotation by size: `log`, then `log.1`, `log.2`, … from new to old.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Result};

/// The open log.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: Option<u64>,
    max_file: u32,
}

/// The name of the `number`th older part.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

impl LogFile {
    /// Opens or makes it. `max_file` counts all parts, the newest included, and is at least 1.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: PathBuf, max_size: Option<u64>, max_file: u32) -> Result<Self> {
        let (file, size) = append(&path)?;
        Ok(Self {
            path,
            file,
            size,
            max_size: max_size.filter(|s| *s > 0),
            max_file: max_file.max(1),
        })
    }

    /// Appends whole lines, each ended by `\n`, and rotates between two of them where the size
    /// demands it. A line longer than the size has a part of its own.
    ///
    /// # Errors
    /// What the kernel says; the rest is lost then.
    pub fn append(&mut self, mut lines: &[u8]) -> Result<()> {
        while !lines.is_empty() {
            let now = match self.max_size {
                Some(max) if self.size + lines.len() as u64 > max => {
                    let room = usize::try_from(max.saturating_sub(self.size)).unwrap_or(0);
                    let fitting = lines[..room.min(lines.len())]
                        .iter()
                        .rposition(|b| *b == b'\n');
                    match fitting {
                        Some(end) => end + 1,
                        None if self.size == 0 => lines
                            .iter()
                            .position(|b| *b == b'\n')
                            .map_or(lines.len(), |end| end + 1),
                        None => 0,
                    }
                }
                _ => lines.len(),
            };
            if now == 0 {
                self.rotate()?;
                continue;
            }
            self.file
                .write_all(&lines[..now])
                .what(|| format!("cannot write {}", self.path.display()))?;
            self.size += now as u64;
            lines = &lines[now..];
        }
        Ok(())
    }

    /// Opens the path again, after somebody else moved the file away.
    ///
    /// # Errors
    /// What the kernel says; the old file stays open then.
    pub fn reopen(&mut self) -> Result<()> {
        (self.file, self.size) = append(&self.path)?;
        Ok(())
    }

    /// Moves the parts up and begins a new one. A reader of the old part finds the next one by its
    /// path: nothing is ever added to an old part once the new one is there.
    fn rotate(&mut self) -> Result<()> {
        let what = || format!("cannot rotate {}", self.path.display());
        let mut fresh = self.path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let file = options().truncate(false).open(&fresh).what(what)?;
        for number in (1..self.max_file).rev() {
            let from = match number {
                1 => self.path.clone(),
                n => rotated(&self.path, n - 1),
            };
            match fs::rename(from, rotated(&self.path, number)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).what(what),
                _ => {}
            }
        }
        fs::rename(&fresh, &self.path).what(what)?;
        (self.file, self.size) = (file, 0);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).read(true).create(true).mode(0o600);
    options
}

/// Opens for appending; a torn last line is ended first, so that the next one is whole.
fn append(path: &Path) -> Result<(File, u64)> {
    let what = || format!("cannot open {}", path.display());
    let mut file = options().open(path).what(what)?;
    let mut size = file.metadata().what(what)?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).what(what)?;
        file.read_exact(&mut last).what(what)?;
        if last[0] != b'\n' {
            file.write_all(b"\n").what(what)?;
            size += 1;
        }
    }
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &Path) -> Vec<String> {
        let mut parts: Vec<PathBuf> = (1..9).rev().map(|n| rotated(path, n)).collect();
        parts.push(path.to_owned());
        parts
            .iter()
            .filter_map(|p| fs::read_to_string(p).ok())
            .collect()
    }

    #[test]
    fn parts_keep_to_size_and_number_and_cut_between_lines() {
        let dir = tempfile::tempdir().unwrap();
        for (max_file, expected) in [
            (1, vec!["g\n"]),
            (2, vec!["d\ne\nf\n", "g\n"]),
            (3, vec!["a\nb\nc\n", "d\ne\nf\n", "g\n"]),
        ] {
            let path = dir.path().join(format!("log{max_file}"));
            let mut log = LogFile::open(path.clone(), Some(6), max_file).unwrap();
            // One large write is cut like many small ones.
            for lines in ["a\nb\n", "c\nd\ne\nf\ng\n"] {
                log.append(lines.as_bytes()).unwrap();
            }
            assert_eq!(parts(&path), expected, "{max_file}");
        }
    }

    #[test]
    fn a_line_longer_than_the_size_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(path.clone(), Some(4), 3).unwrap();
        log.append(b"a\nlong line\nb\n").unwrap();
        assert_eq!(parts(&path), ["a\n", "long line\n", "b\n"]);
    }

    #[test]
    fn a_torn_line_is_ended_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "whole\nto").unwrap();
        let mut log = LogFile::open(path.clone(), None, 1).unwrap();
        log.append(b"next\n").unwrap();
        assert_eq!(parts(&path), ["whole\nto\nnext\n"]);
    }
}
