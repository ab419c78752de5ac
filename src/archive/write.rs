//! Writing archives: parts into a tar or into a folder, each name once.
//!
//! Owners, modes and times are constant, so the same image makes the same archive.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Kind, Result};

/// Where parts go.
pub trait Output {
    /// Whether a part of this name was written already.
    fn has(&self, name: &str) -> bool;
    /// Writes a part of exactly `size` bytes.
    ///
    /// # Errors
    /// `Corrupt` when the reader gives another number of bytes; what the kernel says.
    fn part(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<()>;
    /// Ends the archive.
    ///
    /// # Errors
    /// What the kernel says.
    fn finish(&mut self) -> Result<()>;
}

/// Writes a small part.
///
/// # Errors
/// As [`Output::part`].
pub fn document(output: &mut dyn Output, name: &str, bytes: &[u8]) -> Result<()> {
    output.part(name, bytes.len() as u64, &mut &bytes[..])
}

/// A tar.
pub struct TarOutput<W: Write> {
    sink: W,
    names: BTreeSet<String>,
}

impl<W: Write> TarOutput<W> {
    /// Writes to `sink`.
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            names: BTreeSet::new(),
        }
    }

    fn header(&mut self, name: &str, kind: tar::EntryType, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        if header.set_path(name).is_err() {
            // A SHA-512 is longer than a name may be: POSIX's extension has it whole.
            self.long_name(name)?;
            header
                .set_path(name.get(..100).unwrap_or("long"))
                .what_kind(Kind::Internal, || format!("cannot write part {name:?}"))?;
        }
        header.set_entry_type(kind);
        header.set_mode(if kind == tar::EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Beyond 8 GiB the number is in base 256, which every tar reads.
        header.set_size(size);
        header.set_cksum();
        self.sink.write_all(header.as_bytes()).what(full)
    }

    fn long_name(&mut self, name: &str) -> Result<()> {
        let rest = format!(" path={name}\n");
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        let record = format!("{length}{rest}");
        self.header("long-name", tar::EntryType::XHeader, record.len() as u64)?;
        self.sink.write_all(record.as_bytes()).what(full)?;
        self.pad(record.len() as u64)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
        self.sink.write_all(&[0_u8; 512][..padding]).what(full)
    }

    fn folders_of(&mut self, name: &str) -> Result<()> {
        for (at, _) in name.match_indices('/') {
            let folder = format!("{}/", &name[..at]);
            if self.names.insert(folder.clone()) {
                self.header(&folder, tar::EntryType::Directory, 0)?;
            }
        }
        Ok(())
    }
}

fn full() -> &'static str {
    "cannot write the archive"
}

impl<W: Write> Output for TarOutput<W> {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn part(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        self.folders_of(name)?;
        self.header(name, tar::EntryType::Regular, size)?;
        copy_exactly(from, &mut self.sink, size, name)?;
        self.pad(size)
    }

    fn finish(&mut self) -> Result<()> {
        self.sink.write_all(&[0_u8; 1024]).what(full)?;
        self.sink.flush().what(full)
    }
}

/// A folder.
#[derive(Debug)]
pub struct FolderOutput {
    dir: PathBuf,
    names: BTreeSet<String>,
}

impl FolderOutput {
    /// Writes below `dir`, which is made if it is missing; files in it are replaced.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).what(|| format!("cannot create {}", dir.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            names: BTreeSet::new(),
        })
    }
}

impl Output for FolderOutput {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn part(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        // Names come from digests and constants of ours.
        let path = self.dir.join(name);
        let what = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).what(what)?;
        }
        let mut file = File::create(&path).what(what)?;
        copy_exactly(from, &mut file, size, name)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn copy_exactly(from: &mut dyn Read, to: &mut dyn Write, size: u64, name: &str) -> Result<()> {
    let mut buffer = vec![0_u8; 256 << 10];
    let mut left = size;
    let other = || {
        Error::new(
            Kind::Corrupt,
            format!("part {name:?} has another size than its {size} bytes"),
        )
    };
    while left > 0 {
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = match from.read(&mut buffer[..most]) {
            Ok(0) => return Err(other()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).what(|| format!("cannot read part {name:?}")),
        };
        to.write_all(&buffer[..n]).what(full)?;
        left -= n as u64;
    }
    match from.read(&mut buffer[..1]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(other()),
        Err(e) => Err(e).what(|| format!("cannot read part {name:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::Pack;
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_wrong_sizes_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = FolderOutput::new(&dir.path().join("x")).unwrap();
        let mut whole = tempfile::tempfile().unwrap();
        let mut tar = TarOutput::new(&mut whole);
        let long = |n| format!("blobs/sha512/{}", "f".repeat(n));
        for output in [&mut tar as &mut dyn Output, &mut folder] {
            document(output, "blobs/sha256/a", &[7; 1000]).unwrap();
            for length in [86, 87, 128] {
                document(output, &long(length), long(length).as_bytes()).unwrap();
            }
            document(output, "index.json", b"{}").unwrap();
            assert!(output.has("index.json") && !output.has("x"));
            output.finish().unwrap();
        }
        let packs = [
            Pack::tar(whole).unwrap(),
            Pack::folder(&dir.path().join("x")).unwrap(),
        ];
        for pack in packs {
            let bytes = pack.part("blobs/sha256/a").unwrap().bytes(2000).unwrap();
            assert_eq!(bytes, [7; 1000]);
            for length in [86, 87, 128] {
                let bytes = pack.part(&long(length)).unwrap().bytes(2000).unwrap();
                assert_eq!(bytes, long(length).as_bytes());
            }
        }
        let mut tar = TarOutput::new(Vec::new());
        for output in [&mut tar as &mut dyn Output, &mut folder] {
            assert!(output.part("short", 5, &mut &b"1234"[..]).is_err());
        }
    }
}
