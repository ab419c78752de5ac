//! Content-addressed files: `store/blobs/<algorithm>/<hex>`.
//!
//! Invariants: a file under its final name has that digest, because only [`BlobWriter::finish`]
//! and [`Blobs::ingest`] give a name, after hashing every byte. A download in progress is
//! `<hex>.part`; it stays when the process dies, so that the next one resumes.
//!
//! Lock: `flock` on the `.part` file, held by the one process that downloads. Others wait in
//! [`Blobs::writer`] and then find the blob present.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::staging::Staging;
use crate::base::failpoint::failpoint;
use crate::base::fs as files;
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::config::dirs::Dirs;
use crate::spec::digest::{Algorithm, Digest};

const CHUNK: usize = 256 << 10;

/// The blob folder.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: PathBuf,
    /// Blob folders of others, only read.
    others: Vec<PathBuf>,
    staging: Staging,
}

/// What [`Blobs::writer`] found.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a download; a box would have io::Write's own `write`"
)]
pub enum Claim {
    /// The blob is there already, perhaps because another process just finished it.
    Present,
    /// It is this process's to write.
    Write(BlobWriter),
}

/// One download, exclusive to this process until dropped.
#[derive(Debug)]
pub struct BlobWriter {
    digest: Digest,
    size: Option<u64>,
    file: File,
    part: PathBuf,
    path: PathBuf,
    hasher: Hasher,
    written: u64,
}

/// SHA-256 or SHA-512, by the digest's algorithm.
#[derive(Clone, Debug)]
pub struct Hasher(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Starts one.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Inner::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Inner::Sha512(sha2::Sha512::new()),
        })
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Inner::Sha256(h) => h.update(bytes),
            Inner::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        match self.0 {
            Inner::Sha256(h) => Digest::from_sha256(h.finalize().as_ref()),
            Inner::Sha512(h) => Digest::from_sha512(h.finalize().as_ref()),
        }
    }
}

impl Blobs {
    pub(super) fn new(dirs: &Dirs, staging: Staging) -> Self {
        Self {
            dir: dirs.store().join("blobs"),
            others: dirs.others.iter().map(|s| s.join("blobs")).collect(),
            staging,
        }
    }

    /// Where the blob is or would be: in our own store, else in the first other one that has it.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let below = Path::new(digest.algorithm().name()).join(digest.hex());
        let own = self.dir.join(&below);
        if self.others.is_empty() || own.exists() {
            return own;
        }
        let mut others = self.others.iter().map(|dir| dir.join(&below));
        others.find(|path| path.exists()).unwrap_or(own)
    }

    /// Its size in bytes, if it is there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|m| m.len())
    }

    /// Whether it is there.
    pub fn has(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        File::open(self.path(digest)).what(|| format!("cannot open blob {digest}"))
    }

    /// Opens it, or what is here of it: the beginning, which nobody has verified.
    pub fn whole_or_beginning(&self, digest: &Digest) -> Option<File> {
        let path = self.path(digest);
        File::open(&path)
            .or_else(|_| File::open(path.with_extension("part")))
            .ok()
    }

    /// Reads a small blob (a manifest, a configuration) of at most `limit` bytes and verifies it.
    ///
    /// # Errors
    /// `NotFound`, or `Corrupt` when it is larger or its digest is another.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let bytes = files::read_if_exists(&self.path(digest), limit)?
            .ok_or_else(|| Error::not_found(format!("no such blob: {digest}")))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            return Err(Error::new(
                Kind::Corrupt,
                format!("blob {digest} is damaged: its content has digest {found}"),
            ));
        }
        Ok(bytes)
    }

    /// Claims the writing of `digest`. Waits while another process writes it, then says
    /// [`Claim::Present`]. `size` is the declared one; more bytes are refused.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn writer(&self, digest: &Digest, size: Option<u64>) -> Result<Claim> {
        let what = || format!("cannot store blob {digest}");
        let path = self.path(digest);
        let part = path.with_extension("part");
        loop {
            if self.has(digest) {
                return Ok(Claim::Present);
            }
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).mode(0o600);
            let file = match options.open(&part) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    files::create_private_dir_all(path.parent().unwrap_or(&self.dir))?;
                    options.open(&part).what(what)?
                }
                other => other.what(what)?,
            };
            file.lock().what(what)?;
            // The one before us may have finished (renamed) or given up (removed) this very file.
            let ours = file.metadata().what(what)?;
            match fs::metadata(&part) {
                Ok(m) if m.ino() == ours.ino() && m.dev() == ours.dev() => {}
                _ => continue,
            }
            let mut writer = BlobWriter {
                digest: digest.clone(),
                size,
                file,
                part,
                path,
                hasher: Hasher::new(digest.algorithm()),
                written: 0,
            };
            writer.take_over(ours.len()).what(what)?;
            return Ok(Claim::Write(writer));
        }
    }

    /// Stores what `reader` gives under its SHA-256.
    ///
    /// # Errors
    /// What the reader or the kernel says; nothing is stored then.
    pub fn ingest(&self, reader: &mut dyn Read) -> Result<(Digest, u64)> {
        let mut sink = self.sink()?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).what(|| "cannot read the content of a new blob"),
            };
            sink.write_all(&buffer[..n]).map_err(full)?;
        }
        sink.commit()
    }

    /// A blob whose digest is known only when it is complete.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sink(&self) -> Result<BlobSink> {
        let staged = self.staging.file()?;
        Ok(BlobSink {
            blobs: self.clone(),
            staged: Some(staged),
            hasher: Hasher::new(Algorithm::Sha256),
            written: 0,
        })
    }

    /// Removes it; fine if there is none.
    ///
    /// # Errors
    /// What the kernel says.
    #[cfg(test)]
    pub(super) fn remove(&self, digest: &Digest) -> Result<()> {
        files::remove_file_if_exists(&self.path(digest))
    }

    /// All blobs with their sizes; partial ones are left out.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.dir.join(algorithm.name());
            let entries = match fs::read_dir(&dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.what(|| format!("cannot list {}", dir.display()))?,
            };
            for entry in entries {
                let entry = entry.what(|| format!("cannot list {}", dir.display()))?;
                let name = entry.file_name();
                let digest = format!("{}:{}", algorithm.name(), name.to_string_lossy());
                if let (Ok(digest), Ok(meta)) = (digest.parse(), entry.metadata()) {
                    found.push((digest, meta.len()));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes partial downloads that no process writes; returns the bytes gained.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_partial(&self) -> Result<u64> {
        let mut gained = 0;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let Ok(entries) = fs::read_dir(self.dir.join(algorithm.name())) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if path.extension().is_none_or(|e| e != "part") {
                    continue;
                }
                let Ok(file) = File::open(&path) else {
                    continue;
                };
                match file.try_lock() {
                    Ok(()) => {
                        gained += file.metadata().map(|m| m.blocks() * 512).unwrap_or(0);
                        files::remove_file_if_exists(&path)?;
                    }
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(e)) => {
                        return Err(e).what(|| format!("cannot lock {}", path.display()));
                    }
                }
            }
        }
        Ok(gained)
    }
}

impl BlobWriter {
    /// Hashes what an earlier process left, so that writing goes on behind it.
    fn take_over(&mut self, len: u64) -> io::Result<()> {
        if self.size.is_some_and(|size| len > size) {
            self.file.set_len(0)?;
            return Ok(());
        }
        let mut buffer = vec![0; CHUNK.min(usize::try_from(len).unwrap_or(CHUNK))];
        self.file.seek(SeekFrom::Start(0))?;
        while self.written < len {
            let n = self.file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            self.hasher.update(&buffer[..n]);
            self.written += n as u64;
        }
        Ok(())
    }

    /// How many bytes are there already: ask the registry for the rest. With all of them there,
    /// only [`BlobWriter::finish`] is left to do.
    pub fn resume_offset(&self) -> u64 {
        self.written
    }

    /// The declared size.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Throws away what is there: the registry cannot resume.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn restart(&mut self) -> Result<()> {
        (|| {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))
        })()
        .what(|| format!("cannot store blob {}", self.digest))?;
        self.hasher = Hasher::new(self.digest.algorithm());
        self.written = 0;
        Ok(())
    }

    /// Reads bytes already written, for unpacking while downloading; 0 at the present end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file
            .read_at(buffer, offset)
            .what(|| format!("cannot read partial blob {}", self.digest))
    }

    /// A second handle on the partial file.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.part).what(|| format!("cannot read partial blob {}", self.digest))
    }

    /// Appends. What was written stays for a resume when this fails.
    ///
    /// # Errors
    /// `Corrupt` when more than the declared size comes; `Unavailable` when the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        failpoint("blob::write")?;
        let end = self.written + bytes.len() as u64;
        if let Some(size) = self.size
            && end > size
        {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "blob {} is longer than its declared size of {size} bytes",
                    self.digest
                ),
            ));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = match self.file.write(rest) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(full(e)),
            };
            self.hasher.update(&rest[..n]);
            self.written += n as u64;
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Verifies size and digest and gives the blob its name.
    ///
    /// # Errors
    /// `Unavailable` when bytes are missing (they can still be resumed); `Corrupt` when the digest
    /// is another: then the partial file is removed.
    pub fn finish(self) -> Result<()> {
        if let Some(size) = self.size
            && self.written < size
        {
            return Err(Error::new(
                Kind::Unavailable,
                format!(
                    "blob {} ended after {} of {size} bytes",
                    self.digest, self.written
                ),
            ));
        }
        let found = self.hasher.clone().finish();
        if found != self.digest {
            drop(fs::remove_file(&self.part));
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "blob {} has another content: its digest is {found}",
                    self.digest
                ),
            ));
        }
        let what = || format!("cannot store blob {}", self.digest);
        failpoint("blob::sync")?;
        self.file.sync_all().what(what)?;
        failpoint("blob::rename")?;
        fs::rename(&self.part, &self.path).what(what)
    }

    /// Gives up for good and removes the partial file.
    pub fn discard(self) {
        drop(fs::remove_file(&self.part));
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob being made here; gone when dropped without [`BlobSink::commit`].
#[derive(Debug)]
pub struct BlobSink {
    blobs: Blobs,
    staged: Option<super::staging::StagedFile>,
    hasher: Hasher,
    written: u64,
}

impl BlobSink {
    /// Gives the blob its name. A blob of that digest which is there already stays.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn commit(mut self) -> Result<(Digest, u64)> {
        let digest = self.hasher.clone().finish();
        let path = self.blobs.path(&digest);
        if let Some(staged) = self.staged.take()
            && !self.blobs.has(&digest)
        {
            files::create_private_dir_all(path.parent().unwrap_or(&self.blobs.dir))?;
            failpoint("blob::commit")?;
            staged.publish(&path)?;
        }
        Ok((digest, self.written))
    }
}

impl Write for BlobSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(staged) = &mut self.staged else {
            return Err(io::Error::other("the blob is closed"));
        };
        let n = staged.file().write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Explains a failed write.
pub(super) fn full(error: io::Error) -> Error {
    let no_space = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
    let failed = Err::<(), _>(error).what(|| {
        if no_space {
            "no space is left in the store"
        } else {
            "cannot write to the store"
        }
    });
    let failed = if no_space {
        failed.hint(|| "free some space, e.g. with \"coracle system prune\", and try again")
    } else {
        failed
    };
    failed.err().unwrap_or_else(|| Error::internal("no error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(dir: &Path) -> Blobs {
        let dirs = Dirs::new(dir.to_owned(), dir.to_owned());
        Blobs::new(&dirs, Staging::new(dir))
    }

    fn claim(blobs: &Blobs, digest: &Digest, size: u64) -> BlobWriter {
        match blobs.writer(digest, Some(size)).unwrap() {
            Claim::Write(writer) => writer,
            Claim::Present => panic!("present"),
        }
    }

    #[test]
    fn a_broken_download_resumes_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = Digest::sha256_of(b"hello world");
        let mut writer = claim(&blobs, &digest, 11);
        writer.write(b"hello").unwrap();
        drop(writer);
        assert!(!blobs.has(&digest));
        let mut writer = claim(&blobs, &digest, 11);
        assert_eq!(writer.resume_offset(), 5);
        writer.write(b" world").unwrap();
        let mut start = [0; 5];
        assert_eq!(writer.read_at(&mut start, 0).unwrap(), 5);
        assert_eq!(&start, b"hello");
        writer.finish().unwrap();
        assert_eq!(blobs.read(&digest, 100).unwrap(), b"hello world");
        assert!(matches!(
            blobs.writer(&digest, None).unwrap(),
            Claim::Present
        ));
        assert_eq!(blobs.list().unwrap(), [(digest, 11)]);
    }

    #[test]
    fn wrong_content_and_wrong_sizes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = Digest::sha256_of(b"hello");
        let mut writer = claim(&blobs, &digest, 5);
        assert_eq!(
            writer.write(b"hello!").unwrap_err().kind(),
            Kind::Corrupt,
            "too long"
        );
        writer.write(b"hel").unwrap();
        assert_eq!(writer.finish().unwrap_err().kind(), Kind::Unavailable);
        let mut writer = claim(&blobs, &digest, 5);
        assert_eq!(writer.resume_offset(), 3);
        writer.write(b"LO").unwrap();
        assert_eq!(writer.finish().unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(claim(&blobs, &digest, 5).resume_offset(), 0);
        assert!(blobs.list().unwrap().is_empty());
        assert_eq!(blobs.remove_partial().unwrap(), 0);
    }

    #[test]
    fn two_that_want_the_same_blob_write_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = Digest::sha256_of(b"once");
        let mut first = claim(&blobs, &digest, 4);
        let second = std::thread::spawn({
            let (blobs, digest) = (blobs.clone(), digest.clone());
            move || matches!(blobs.writer(&digest, Some(4)).unwrap(), Claim::Present)
        });
        first.write(b"once").unwrap();
        first.finish().unwrap();
        assert!(second.join().unwrap());
    }

    #[test]
    fn content_made_here_is_named_by_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let (digest, size) = blobs.ingest(&mut &b"abc"[..]).unwrap();
        assert_eq!((digest.clone(), size), (Digest::sha256_of(b"abc"), 3));
        assert_eq!(blobs.ingest(&mut &b"abc"[..]).unwrap().0, digest);
        blobs.remove(&digest).unwrap();
        assert!(!blobs.has(&digest));
        drop(blobs.sink().unwrap());
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }
}
