//! The writable layer of a container: what changed, how large it is, packed as a layer or whole.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::rootfs::View;
use super::store::Store;
use crate::base::{Error, Result};
use crate::spec::digest::Digest;

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

impl Store {
    /// What the container changed against its image, sorted by path, with changed parents.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn changes(&self, snapshot: &Snapshot<'_>) -> Result<Vec<Change>> {
        let _ = snapshot;
        Err(Error::unsupported("diff is not built in yet"))
    }

    /// Writes the container's changes as the tar of an OCI layer, uncompressed, owners as the
    /// container sees them. The file system is flushed first.
    ///
    /// # Errors
    /// What the kernel or the sink says.
    pub fn pack_diff(&self, snapshot: &Snapshot<'_>, sink: &mut dyn Write) -> Result<Packed> {
        let _ = (snapshot, sink);
        Err(Error::unsupported("commit is not built in yet"))
    }

    /// Writes the whole tree below `root` as a tar (`export`). Other mounts in it are left out.
    ///
    /// # Errors
    /// What the kernel or the sink says.
    pub fn pack_tree(
        &self,
        root: BorrowedFd<'_>,
        view: &View,
        sink: &mut dyn Write,
    ) -> Result<Packed> {
        let _ = (root, view, sink);
        Err(Error::unsupported("export is not built in yet"))
    }

    /// How large the writable layer and the whole are.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sizes(&self, snapshot: &Snapshot<'_>) -> Result<Sizes> {
        let _ = snapshot;
        Err(Error::unsupported("sizes are not built in yet"))
    }
}
