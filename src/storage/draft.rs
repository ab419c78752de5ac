//! A layer in the making: a build step's writable layer becomes a layer of the store as it is.
//!
//! Nothing is copied: the upper is renamed. One pass reads what changed, hashes it (the diff id),
//! compresses it and hashes that (the blob); a large layer does so in two threads.
//!
//! Invariants: a draft lies in staging, locked by its maker; the folders that mounting made, and
//! copied-up folders in which nothing changed, are not part of the layer.

use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use super::blob::BlobSink;
use super::layer::{Limits, Unpack};
use super::pack::Packer;
use super::rootfs::View;
use super::snapshot::{Snapshot, is_runtime_made, is_runtime_path};
use super::staging::StagedDir;
use super::store::Store;
use super::tree::{self, Walker};
use super::view;
use super::{LayerInfo, layer};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::sys::at;

/// Zstandard's level, as for every layer made here.
const LEVEL: i32 = 3;

/// Layers of more bytes are compressed in a thread of its own.
const LARGE: u64 = 1 << 20;

/// Bytes that travel between the two threads at a time.
const PIECE: usize = 256 << 10;

/// A writable layer that becomes one of the store; gone when dropped.
#[derive(Debug)]
pub struct Draft {
    staged: StagedDir,
}

/// A layer that was made of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The layer.
    pub info: LayerInfo,
    /// Digest of its blob, compressed with Zstandard.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

/// What happens to times in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Seconds since 1970.
    pub at: i64,
    /// All times become this one; else only later ones.
    pub all: bool,
}

/// How a draft becomes a layer.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    /// Chain ids of what it was mounted on, bottom first.
    pub lower: &'a [Digest],
    /// Chain id of the layer below in the image; none for the first.
    pub parent: Option<&'a Digest>,
    /// Folders that were made to mount something on, `a/b` each.
    pub mount_points: &'a [Vec<u8>],
    /// What happens to times.
    pub times: Option<Times>,
}

impl Draft {
    /// Its folder: what `Store::mount` calls the container's.
    pub fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Leaves it to the process that this one was forked from, which has it too.
    pub fn leave(self) {
        self.staged.leave();
    }
}

impl Store {
    /// Begins a layer. Inside the user namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn draft(&self) -> Result<Draft> {
        Ok(Draft {
            staged: self.staging.dir()?,
        })
    }

    /// Discards what dead processes left in staging.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep(&self) -> Result<usize> {
        self.staging.sweep()
    }

    /// A layer with nothing in it, to mount where an image has no layers yet.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn empty_layer(&self) -> Result<Digest> {
        let diff_id = Digest::sha256_of(&EMPTY_TAR);
        let what = Unpack {
            parent: None,
            diff_id: Some(&diff_id),
            limits: Limits::default(),
        };
        if !self.layers().has(&diff_id) {
            self.layers().unpack(&what, &EMPTY_TAR[..])?;
        }
        Ok(diff_id)
    }

    /// Makes the draft a layer; `None` when nothing changed. It must not be mounted any more.
    ///
    /// # Errors
    /// What the kernel says; `Unavailable` when the disk is full. Nothing is left then.
    pub fn seal(&self, draft: Draft, how: &Seal<'_>) -> Result<Option<Sealed>> {
        let staged = draft.staged;
        let upper = match at::open_dir(staged.as_fd(), b"upper") {
            Err(e) if e.errno == libc::ENOENT => return self.seal_copy(&staged, how),
            other => other?,
        };
        let lower: Vec<OwnedFd> = how
            .lower
            .iter()
            .rev()
            .map(|chain| self.layers().open(chain))
            .collect::<Result<_>>()?;
        tidy(upper.as_fd(), &lower, how.mount_points)?;
        if at::list(upper.as_fd())?.is_empty() && view::opaque_mark(upper.as_fd())?.is_none() {
            return Ok(None);
        }
        if let Some(times) = how.times {
            set_times(upper.as_fd(), times)?;
        }
        let weight = tree::weigh(upper.as_fd())?;
        let (diff_id, (digest, size)) =
            compressed(self.blobs().sink()?, weight.bytes > LARGE, |sink| {
                let mut packer = Packer::new(sink, None);
                packer.upper(upper.as_fd(), |_, _, _, _| Ok(false))?;
                packer.finish().map(drop)
            })?;
        let chain_id = layer::chain_id(how.parent, &diff_id);
        at::rename(staged.as_fd(), b"upper", staged.as_fd(), b"diff")?;
        for entry in at::list(staged.as_fd())? {
            if entry.name != b"diff" {
                tree::remove_at(staged.as_fd(), &entry.name)?;
            }
        }
        let info = LayerInfo {
            version: layer::VERSION,
            chain_id,
            diff_id,
            parent: how.parent.cloned(),
            size: weight.bytes,
            inodes: weight.inodes,
            created: crate::base::time::Timestamp::now(),
            squashed: layer::is_single(),
        };
        let info = self.layers().adopt(staged, info)?;
        Ok(Some(Sealed { info, digest, size }))
    }

    /// The copy driver has a whole tree in place of an upper: what differs is packed and unpacked.
    fn seal_copy(&self, staged: &StagedDir, how: &Seal<'_>) -> Result<Option<Sealed>> {
        let snapshot = Snapshot {
            layers: how.lower,
            container_dir: staged.path(),
            view: &View::Same,
        };
        if self.changes(&snapshot)?.is_empty() {
            return Ok(None);
        }
        let (diff_id, (digest, size)) = compressed(self.blobs().sink()?, true, |sink| {
            self.pack_diff(&snapshot, sink).map(drop)
        })?;
        let info = self.restore(how.parent, &diff_id, &digest)?;
        Ok(Some(Sealed { info, digest, size }))
    }

    /// Unpacks a layer from its blob on top of `parent`, unless it is there already.
    ///
    /// # Errors
    /// `NotFound` without the blob; `Corrupt` when it is another content.
    pub fn restore(
        &self,
        parent: Option<&Digest>,
        diff_id: &Digest,
        blob: &Digest,
    ) -> Result<LayerInfo> {
        let what = Unpack {
            parent,
            diff_id: Some(diff_id),
            limits: Limits::default(),
        };
        if let Some(info) = self.layers().get(&layer::chain_id(parent, diff_id))? {
            return Ok(info);
        }
        self.layers().unpack(&what, self.blobs().open(blob)?)
    }

    /// Writes what `layers` changed against `base`, the first of them, as one layer's tar.
    ///
    /// # Errors
    /// What the kernel or the sink says.
    pub fn pack_changes(
        &self,
        layers: &[Digest],
        base: &[Digest],
        sink: &mut dyn Write,
    ) -> Result<()> {
        let rootfs = self.mount_image(layers, &View::Same, None)?;
        let lower: Vec<OwnedFd> = base
            .iter()
            .rev()
            .map(|chain| self.layers().open(chain))
            .collect::<Result<_>>()?;
        super::snapshot::pack_against(rootfs.tree.as_fd(), &lower, sink)
    }
}

/// A tar without entries: two blocks of zeros.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// Hashes what `pack` writes, compresses it into `sink` and commits that.
fn compressed(
    sink: BlobSink,
    threads: bool,
    pack: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(Digest, (Digest, u64))> {
    let encoder = zstd::Encoder::new(sink, LEVEL)
        .what_kind(Kind::Internal, || "cannot compress the layer")?;
    let done = |encoder: zstd::Encoder<'static, BlobSink>| {
        encoder
            .finish()
            .what(|| "cannot write the layer's blob")?
            .commit()
    };
    if !threads {
        let mut hashing = Hashing {
            sink: encoder,
            hasher: Sha256::new(),
        };
        let mut buffered = BufWriter::with_capacity(64 << 10, &mut hashing);
        pack(&mut buffered)?;
        buffered.flush().what(|| "cannot write the layer's blob")?;
        drop(buffered);
        let diff_id = Digest::from_sha256(hashing.hasher.finalize().as_ref());
        return Ok((diff_id, done(hashing.sink)?));
    }
    let (sender, receiver) = sync_channel::<Vec<u8>>(8);
    std::thread::scope(|scope| {
        let compressor = scope.spawn(move || -> Result<(Digest, u64)> {
            let mut encoder = encoder;
            drain(&receiver, &mut encoder).what(|| "cannot write the layer's blob")?;
            done(encoder)
        });
        let mut hashing = Hashing {
            sink: Channel {
                sender: Some(sender),
                piece: Vec::with_capacity(PIECE),
            },
            hasher: Sha256::new(),
        };
        let packed = pack(&mut hashing).and_then(|()| {
            hashing
                .sink
                .flush()
                .what_kind(Kind::Internal, || "the layer's writer ended")
        });
        let diff_id = Digest::from_sha256(hashing.hasher.clone().finalize().as_ref());
        drop(hashing);
        let committed = compressor
            .join()
            .unwrap_or_else(|_| Err(Error::internal("the compressing thread panicked")));
        // Why the writer gave up is the reason for a cut-off archive.
        let blob = match (packed, committed) {
            (_, Err(e)) | (Err(e), Ok(_)) => return Err(e),
            (Ok(()), Ok(blob)) => blob,
        };
        Ok((diff_id, blob))
    })
}

fn drain(from: &Receiver<Vec<u8>>, to: &mut impl Write) -> io::Result<()> {
    for piece in from {
        to.write_all(&piece)?;
    }
    Ok(())
}

struct Hashing<W> {
    sink: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Pieces for another thread.
struct Channel {
    sender: Option<SyncSender<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Channel {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let sender = self.sender.as_ref().ok_or_else(gone)?;
        sender.send(piece).map_err(|_| gone())
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.piece.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}

/// Takes away what mounting left: empty files and folders of the runtime, mount points, and
/// folders that were copied up for them and are as they were.
fn tidy(upper: BorrowedFd<'_>, lower: &[OwnedFd], mount_points: &[Vec<u8>]) -> Result<()> {
    for path in mount_points {
        remove_empty(upper, lower, path)?;
    }
    let mut made: Vec<Vec<u8>> = Vec::new();
    let mut folders: Vec<Vec<u8>> = Vec::new();
    let mut walker = Walker::new(upper)?;
    while let Some(item) = walker.next()? {
        let path = walker.path().to_vec();
        let runtime = is_runtime_path(&[b"/", &path[..]].concat());
        if runtime && is_runtime_made(&path, walker.dir(), &item.name, &item.meta)? {
            made.push(path.clone());
        }
        if item.meta.is_dir() && walker.enter(&item.name)? {
            folders.push(path);
        }
    }
    // What is deepest goes first.
    for path in made.iter().rev() {
        remove_empty(upper, lower, path)?;
    }
    for path in folders.iter().rev() {
        remove_unchanged(upper, lower, path)?;
    }
    Ok(())
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b".", path),
    }
}

/// Removes an empty file or folder that no lower layer has, and parents that are so then.
fn remove_empty(upper: BorrowedFd<'_>, lower: &[OwnedFd], path: &[u8]) -> Result<()> {
    let mut path = path;
    while !path.is_empty() && path != b"." {
        let (parent, name) = split(path);
        // A link or a whiteout on the way: the step made it, it stays.
        let Ok(dir) = at::open_dir_beneath(upper, parent) else {
            return Ok(());
        };
        let Some(meta) = at::stat_if_exists(dir.as_fd(), name)? else {
            path = match parent {
                b"." => return Ok(()),
                parent => parent,
            };
            continue;
        };
        if view::lookup(lower, path)?.is_some() {
            return Ok(());
        }
        let removed = match meta.is_dir() {
            true => at::rmdir(dir.as_fd(), name),
            false if meta.is_file() && meta.size == 0 => at::unlink(dir.as_fd(), name),
            false => return Ok(()),
        };
        match removed {
            Ok(()) => {}
            Err(e) if matches!(e.errno, libc::ENOTEMPTY | libc::EEXIST) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        path = match parent {
            b"." => return Ok(()),
            parent => parent,
        };
    }
    Ok(())
}

/// Removes an empty folder that is in a lower layer with the same owner and mode.
fn remove_unchanged(upper: BorrowedFd<'_>, lower: &[OwnedFd], path: &[u8]) -> Result<()> {
    let (parent, name) = split(path);
    let Ok(dir) = at::open_dir_beneath(upper, parent) else {
        return Ok(());
    };
    let Ok(folder) = at::open_dir(dir.as_fd(), name) else {
        return Ok(());
    };
    let meta = at::fstat(folder.as_fd())?;
    let Some(below) = view::lookup(lower, path)?.map(|f| f.meta) else {
        return Ok(());
    };
    let same = below.is_dir()
        && below.permissions() == meta.permissions()
        && (below.uid, below.gid) == (meta.uid, meta.gid);
    if !same || view::opaque_mark(folder.as_fd())? == Some(b'y') {
        return Ok(());
    }
    match at::rmdir(dir.as_fd(), name) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.errno, libc::ENOTEMPTY | libc::EEXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Sets or clamps the times of everything, folders last.
fn set_times(upper: BorrowedFd<'_>, times: Times) -> Result<()> {
    let mut walker = Walker::new(upper)?;
    while let Some(item) = walker.next()? {
        let late = (item.meta.mtime, item.meta.mtime_nsec) > (times.at, 0);
        if (times.all || late) && !item.meta.is_whiteout() {
            at::utimens(walker.dir(), &item.name, times.at, 0)?;
        }
        if item.meta.is_dir() {
            walker.enter(&item.name)?;
        }
    }
    Ok(())
}
