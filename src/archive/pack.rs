//! A tar or a folder as a set of named parts that can be read at any time, in any order.
//!
//! Invariants: at most a bounded number of entries; a name that comes twice with different content
//! is refused, because tools disagree over which one counts; links are followed inside the archive
//! only, a few steps; a folder is read beneath its descriptor without following links.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::resolve;

const ENTRIES: usize = 100_000;
const NAME: usize = 4096;
const STEPS: usize = 8;

/// A set of named parts.
#[derive(Debug)]
pub struct Pack(Inner);

#[derive(Debug)]
enum Inner {
    Folder(OwnedFd),
    Tar {
        file: Arc<File>,
        entries: HashMap<String, Entry>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Bytes { offset: u64, size: u64 },
    Link(String),
}

/// One part: bytes of a file.
#[derive(Clone, Debug)]
pub struct Part {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Pack {
    /// A folder.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn folder(path: &Path) -> Result<Self> {
        let what = || format!("cannot open {}", path.display());
        let file = File::open(path).what(what)?;
        if !file.metadata().what(what)?.is_dir() {
            return Err(Error::invalid(format!("{} is no folder", path.display())));
        }
        Ok(Self(Inner::Folder(file.into())))
    }

    /// A tar that is not compressed.
    ///
    /// # Errors
    /// `Invalid` for what is no tar, or is ambiguous or too large.
    pub fn tar(file: File) -> Result<Self> {
        let bad = || "the archive is damaged";
        let file = Arc::new(file);
        let length = file.metadata().what(|| "cannot read the archive")?.len();
        let mut entries: HashMap<String, Entry> = HashMap::new();
        let mut archive = tar::Archive::new(Cursor {
            file: &file,
            position: 0,
        });
        let list = archive.entries_with_seek().what_kind(Kind::Invalid, bad)?;
        for entry in list {
            let entry = entry.what_kind(Kind::Invalid, bad)?;
            let path = entry.path_bytes();
            let name = std::str::from_utf8(&path)
                .ok()
                .filter(|n| n.len() <= NAME)
                .and_then(normal)
                .ok_or_else(|| Error::invalid("the archive has an entry with an invalid name"))?;
            if name.is_empty() {
                continue;
            }
            let kind = entry.header().entry_type();
            let found = match kind {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let offset = entry.raw_file_position();
                    let size = entry.size();
                    if offset.checked_add(size).is_none_or(|end| end > length) {
                        return Err(Error::invalid(format!(
                            "the archive ends in the middle of {name:?}"
                        )));
                    }
                    Entry::Bytes { offset, size }
                }
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = std::str::from_utf8(&target).unwrap_or_default();
                    // A hard link names from the top, a symbolic one from its own folder.
                    let target = if kind == tar::EntryType::Link {
                        normal(target)
                    } else {
                        let parent = name.rsplit_once('/').map_or("", |(p, _)| p);
                        normal(&format!("{parent}/{target}"))
                    };
                    match target {
                        Some(target) => Entry::Link(target),
                        None => continue,
                    }
                }
                tar::EntryType::Directory => continue,
                _ => {
                    return Err(Error::invalid(format!(
                        "the archive has an entry of an unexpected kind: {name:?}"
                    )));
                }
            };
            if let Some(old) = entries.get(&name)
                && !same(&file, old, &found)
            {
                return Err(Error::invalid(format!(
                    "the archive has {name:?} twice, with different content"
                )));
            }
            entries.insert(name, found);
            if entries.len() > ENTRIES {
                return Err(Error::invalid(format!(
                    "the archive has more than {ENTRIES} entries"
                )));
            }
        }
        Ok(Self(Inner::Tar { file, entries }))
    }

    /// A part by name; `None` when there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(&self, name: &str) -> Result<Option<Part>> {
        let Some(mut name) = normal(name) else {
            return Ok(None);
        };
        match &self.0 {
            Inner::Folder(dir) => {
                let opened = resolve::beneath(dir, &name, OFlags::RDONLY | OFlags::NONBLOCK);
                let file = match opened {
                    Ok(fd) => File::from(fd),
                    Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => return Ok(None),
                    Err(e) => return Err(e.into()),
                };
                let meta = file.metadata().what(|| format!("cannot read {name:?}"))?;
                if !meta.is_file() {
                    return Err(Error::invalid(format!("{name:?} is no regular file")));
                }
                Ok(Some(Part {
                    file: Arc::new(file),
                    offset: 0,
                    size: meta.len(),
                }))
            }
            Inner::Tar { file, entries } => {
                for _ in 0..STEPS {
                    match entries.get(&name) {
                        None => return Ok(None),
                        Some(Entry::Bytes { offset, size }) => {
                            return Ok(Some(Part {
                                file: Arc::clone(file),
                                offset: *offset,
                                size: *size,
                            }));
                        }
                        Some(Entry::Link(target)) => name.clone_from(target),
                    }
                }
                Err(Error::invalid(format!(
                    "the archive has links without end at {name:?}"
                )))
            }
        }
    }

    /// A part that must be there.
    ///
    /// # Errors
    /// `Invalid` when it is missing.
    pub fn part(&self, name: &str) -> Result<Part> {
        self.find(name)?
            .ok_or_else(|| Error::invalid(format!("the archive lacks {name:?}")))
    }
}

/// Whether two entries of one name are the same bytes: some tools write a file twice.
fn same(file: &Arc<File>, a: &Entry, b: &Entry) -> bool {
    let part = |entry: &Entry| match entry {
        Entry::Bytes { offset, size } => Some(Part {
            file: Arc::clone(file),
            offset: *offset,
            size: *size,
        }),
        Entry::Link(_) => None,
    };
    match (part(a), part(b)) {
        (Some(x), Some(y)) if x.size == y.size => {
            let (mut x, mut y) = (x.reader(), y.reader());
            let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
            loop {
                let (Ok(n), Ok(m)) = (x.read(&mut left), y.read(&mut right)) else {
                    return false;
                };
                if n != m || left[..n] != right[..m] {
                    return false;
                }
                if n == 0 {
                    return true;
                }
            }
        }
        (None, None) => a == b,
        _ => false,
    }
}

/// `./a//b/../c` as `a/c`; `None` when it leaves the top or has a NUL.
fn normal(path: &str) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

impl Part {
    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads it from its beginning.
    pub fn reader(&self) -> PartReader {
        PartReader {
            part: self.clone(),
            position: 0,
        }
    }

    /// Reads all of it, at most `limit` bytes.
    ///
    /// # Errors
    /// `Invalid` when it is larger.
    pub fn bytes(&self, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            return Err(Error::invalid(format!(
                "a document in the archive has {} bytes, more than {limit}",
                self.size
            )));
        }
        let mut bytes = Vec::new();
        self.reader()
            .read_to_end(&mut bytes)
            .what(|| "cannot read the archive")?;
        Ok(bytes)
    }

    /// As [`Part::reader`], from `offset` on.
    pub fn reader_from(&self, offset: u64) -> PartReader {
        PartReader {
            part: self.clone(),
            position: offset.min(self.size),
        }
    }
}

/// Reads a part.
#[derive(Debug)]
pub struct PartReader {
    part: Part,
    position: u64,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.part.size - self.position).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let at = self.part.offset + self.position;
        let n = self.part.file.read_at(&mut buffer[..most], at)?;
        self.position += n as u64;
        Ok(n)
    }
}

/// Reads a shared file without its offset.
struct Cursor<'a> {
    file: &'a File,
    position: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl io::Seek for Cursor<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let target = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::Current(by) => self.position.checked_add_signed(by),
            io::SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(entries: &[(&str, tar::EntryType, &str)]) -> File {
        let file = tempfile::tempfile().unwrap();
        let mut builder = tar::Builder::new(file);
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            let link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
            header.set_size(if link { 0 } else { content.len() as u64 });
            let raw = name.as_bytes();
            header.as_mut_bytes()[..raw.len()].copy_from_slice(raw);
            if link {
                header.set_link_name(content).unwrap();
            }
            header.set_cksum();
            let body = if link { &[][..] } else { content.as_bytes() };
            builder.append(&header, body).unwrap();
        }
        builder.into_inner().unwrap()
    }

    use tar::EntryType::{Fifo, Link, Regular, Symlink};

    #[test]
    fn parts_are_found_through_links_inside_the_archive() {
        let pack = Pack::tar(tar_of(&[
            ("./a/x", Regular, "content"),
            ("b/y", Symlink, "../a/x"),
            ("c", Link, "b/y"),
            ("loop", Symlink, "loop"),
            ("out", Symlink, "../../etc/passwd"),
        ]))
        .unwrap();
        for name in ["a/x", "./a//x", "b/y", "c"] {
            let bytes = pack.part(name).unwrap().bytes(100).unwrap();
            assert_eq!(bytes, b"content", "{name}");
        }
        assert!(pack.find("loop").is_err());
        for name in ["out", "../x", "nothing"] {
            assert!(pack.find(name).unwrap().is_none(), "{name}");
        }
        assert!(pack.part("a/x").unwrap().bytes(3).is_err());
    }

    #[test]
    fn ambiguous_damaged_and_strange_archives_are_refused() {
        let twice = [("x", Regular, "1"), ("x", Regular, "2")];
        assert!(Pack::tar(tar_of(&twice)).is_err());
        assert!(Pack::tar(tar_of(&[("x", Regular, "1"), ("x", Regular, "1")])).is_ok());
        assert!(Pack::tar(tar_of(&[("x", Fifo, "")])).is_err());
        assert!(Pack::tar(tar_of(&[("../x", Regular, "1")])).is_err());
        let cut = tar_of(&[("x", Regular, &"1".repeat(2000))]);
        cut.set_len(1024).unwrap();
        assert!(Pack::tar(cut).is_err());
    }

    #[test]
    fn folders_are_read_beneath_themselves_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/x"), "1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let pack = Pack::folder(dir.path()).unwrap();
        assert_eq!(pack.part("sub/x").unwrap().bytes(9).unwrap(), b"1");
        assert!(pack.find("link").is_err());
        assert!(pack.find("sub").is_err());
        assert!(pack.find("../x").unwrap().is_none());
        assert!(pack.find("none").unwrap().is_none());
    }
}
