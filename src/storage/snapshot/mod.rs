//! The writable layer of a container: what changed, how large it is, packed as a layer or whole.

mod diff;

use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::codec::{Compression, Encoder};
use super::driver::COPY_DIR;
use super::owners::LinkOwners;
use super::pack::Packer;
use super::rootfs::View;
use super::store::Store;
use super::tree;
use crate::base::{Error, Result};
use crate::spec::digest::Digest;
use crate::spec::idmap::IdMaps;
use crate::sys::at::{self, Meta};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// `A`.
    Added,
    /// `C`; a folder in which something changed, too.
    Changed,
    /// `D`.
    Deleted,
}

impl ChangeKind {
    /// `A`, `C` or `D`.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One line of `diff`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute path inside, `/etc/passwd`; any bytes but NUL.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Which container's writable layer.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Chain ids of its image, bottom first.
    pub layers: &'a [Digest],
    /// `containers/<id>`.
    pub container_dir: &'a Path,
    /// How it sees owners.
    pub view: &'a View,
}

/// Sizes in bytes, as `ps --size` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The writable layer.
    pub upper: u64,
    /// Together with the image.
    pub virtual_size: u64,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub size: u64,
}

/// Whether `path` (absolute) is made by the runtime in every container, so that `diff` hides it.
pub fn is_runtime_path(path: &[u8]) -> bool {
    const PATHS: [&[u8]; 12] = [
        b"/dev",
        b"/etc/hostname",
        b"/etc/hosts",
        b"/etc/mtab",
        b"/etc/resolv.conf",
        b"/proc",
        b"/run",
        b"/run/.containerenv",
        b"/run/notify",
        b"/run/secrets",
        b"/sys",
        b"/.dockerenv",
    ];
    PATHS.contains(&path)
}

/// What the runtime put there for itself: an empty file or folder at one of its paths.
pub(super) fn is_runtime_made(
    path: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
    meta: &Meta,
) -> Result<bool> {
    if !is_runtime_path(&[b"/", path].concat()) {
        return Ok(false);
    }
    if meta.is_file() {
        return Ok(meta.size == 0);
    }
    if !meta.is_dir() {
        return Ok(false);
    }
    let inside = at::open_dir(dir, name)?;
    Ok(at::list(inside.as_fd())?.is_empty())
}

/// The container's tree, in one of the two forms.
enum Tree {
    /// The upper of an overlay.
    Upper(OwnedFd),
    /// The copy driver's whole copy.
    Copy(OwnedFd),
}

impl Snapshot<'_> {
    fn open(&self) -> Result<Option<Tree>> {
        match at::open_host_dir(&self.container_dir.join("upper")) {
            Ok(upper) => return Ok(Some(Tree::Upper(upper))),
            Err(e) if e.errno == libc::ENOENT => {}
            Err(e) => return Err(e.into()),
        }
        match at::open_host_dir(&self.container_dir.join(COPY_DIR)) {
            Ok(copy) => Ok(Some(Tree::Copy(copy))),
            // Never mounted: nothing changed.
            Err(e) if e.errno == libc::ENOENT => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn lower(&self, store: &Store) -> Result<Vec<OwnedFd>> {
        self.layers
            .iter()
            .rev()
            .map(|chain| store.layers().open(chain))
            .collect()
    }

    fn maps(&self) -> Option<&IdMaps> {
        match self.view {
            View::Same => None,
            View::Shifted(maps) => Some(maps),
        }
    }
}

impl Store {
    /// What the container changed against its image, sorted by path, with changed parents. Empty
    /// files and folders that the runtime made for its mounts are left out.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn changes(&self, snapshot: &Snapshot<'_>) -> Result<Vec<Change>> {
        let lower = snapshot.lower(self)?;
        let found = match snapshot.open()? {
            None => Vec::new(),
            Some(Tree::Upper(upper)) => diff::of_upper(upper.as_fd(), &lower, snapshot.view)?,
            Some(Tree::Copy(copy)) => diff::of_copy(copy.as_fd(), &lower, snapshot.view)?,
        };
        Ok(diff::with_parents(found))
    }

    /// What an image (chain ids, bottom first) changed against another one, else against its own
    /// layers but the uppermost.
    ///
    /// # Errors
    /// `Invalid` for an image without layers; what the kernel says.
    pub fn image_changes(
        &self,
        layers: &[Digest],
        other: Option<&[Digest]>,
    ) -> Result<Vec<Change>> {
        let open = |chain: &[Digest]| -> Result<Vec<OwnedFd>> {
            chain.iter().rev().map(|c| self.layers().open(c)).collect()
        };
        let found = match (other, layers) {
            (_, []) => return Err(Error::invalid("the image has no layers")),
            (None, [below @ .., top]) => {
                let top = self.layers().open(top)?;
                diff::of_upper(top.as_fd(), &open(below)?, &View::Same)?
            }
            (Some(other), _) => {
                let rootfs = self.mount_image(layers, &View::Same, None)?;
                diff::of_copy(rootfs.tree.as_fd(), &open(other)?, &View::Same)?
            }
        };
        Ok(diff::with_parents(found))
    }

    /// Writes the container's changes as the tar of an OCI layer, uncompressed, owners as the
    /// container sees them. The file system is flushed first.
    ///
    /// # Errors
    /// What the kernel or the sink says.
    pub fn pack_diff(&self, snapshot: &Snapshot<'_>, sink: &mut dyn Write) -> Result<Packed> {
        let encoder = Encoder::new(sink, Compression::None)?;
        let mut packer = Packer::new(encoder, snapshot.maps());
        match snapshot.open()? {
            None => {}
            Some(Tree::Upper(upper)) => {
                at::syncfs(upper.as_fd())?;
                packer.upper(upper.as_fd(), is_runtime_made)?;
            }
            Some(Tree::Copy(copy)) => {
                let lower = snapshot.lower(self)?;
                let found = diff::of_copy(copy.as_fd(), &lower, snapshot.view)?;
                diff::pack(&mut packer, copy.as_fd(), &diff::with_parents(found))?;
            }
        }
        packed(packer.finish()?)
    }

    /// Writes the whole tree below `root` as a tar (`export`). Other mounts in it are left out;
    /// `owners` are those of [`Store::link_owners`].
    ///
    /// # Errors
    /// What the kernel or the sink says.
    pub fn pack_tree(
        &self,
        root: BorrowedFd<'_>,
        view: &View,
        owners: Option<&LinkOwners>,
        sink: &mut dyn Write,
    ) -> Result<Packed> {
        let maps = match view {
            View::Same => None,
            View::Shifted(maps) => Some(maps),
        };
        let encoder = Encoder::new(sink, Compression::None)?;
        let mut packer = Packer::new(encoder, maps).with_owners(owners);
        packer.tree(root, b"", false)?;
        packed(packer.finish()?)
    }

    /// How large the writable layer and the whole are.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sizes(&self, snapshot: &Snapshot<'_>) -> Result<Sizes> {
        let mut image = 0;
        if let Some(top) = snapshot.layers.last() {
            for layer in self.layers().chain(top)? {
                image += layer.size;
            }
        }
        let upper = match snapshot.open()? {
            None => 0,
            Some(Tree::Upper(upper)) => tree::weigh(upper.as_fd())?.bytes,
            Some(Tree::Copy(copy)) => {
                let lower = snapshot.lower(self)?;
                diff::of_copy(copy.as_fd(), &lower, snapshot.view)?
                    .iter()
                    .map(|found| found.size)
                    .sum()
            }
        };
        Ok(Sizes {
            upper,
            virtual_size: image + upper,
        })
    }
}

/// Writes how the tree below `root` differs from `lower` (top first) as a layer's tar.
///
/// # Errors
/// What the kernel or the sink says.
pub(super) fn pack_against(
    root: BorrowedFd<'_>,
    lower: &[OwnedFd],
    sink: &mut dyn Write,
) -> Result<()> {
    let found = diff::of_copy(root, lower, &View::Same)?;
    let mut packer = Packer::new(sink, None);
    diff::pack(&mut packer, root, &diff::with_parents(found))?;
    packer.finish().map(drop)
}

fn packed<W>(encoder: Encoder<W>) -> Result<Packed>
where
    W: Write,
{
    let encoded = encoder.finish()?;
    Ok(Packed {
        diff_id: encoded.diff_id,
        size: encoded.diff_size,
    })
}

#[cfg(test)]
mod tests;
