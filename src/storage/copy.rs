//! `cp`: files out of a root file system as a tar, and a tar into one, by descriptor.
//!
//! The rules for `SRC/.`, destinations that exist or not, and symbolic links are `docker cp`'s.
//! FIFOs and devices are never opened.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use crate::base::{Error, Result};
use crate::spec::idmap::IdMaps;

/// What lies at a path, as `cp` must know before it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// Last component, `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `st_mode`.
    pub mode: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// For a symbolic link: the text of it.
    pub link_target: Option<String>,
}

impl PathStat {
    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// Whose the copied files become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `--archive`: those of the tar.
    Keep,
    /// One for all.
    Fixed {
        /// User id in the namespace we run in.
        uid: u32,
        /// Group id in the namespace we run in.
        gid: u32,
    },
}

/// How files are written into a tree.
#[derive(Clone, Debug)]
pub struct CopyIn<'a> {
    /// Whose the files become.
    pub owner: Owner,
    /// Maps of the container, when it has its own: ids of the tar are ids inside.
    pub maps: Option<&'a IdMaps>,
    /// `--overwrite`: a folder may replace a file and the other way round.
    pub overwrite: bool,
}

/// Looks `path` up inside `root`; the last component is followed when `follow`. `None` if there is
/// nothing.
///
/// # Errors
/// What the kernel says.
pub fn stat(root: BorrowedFd<'_>, path: &str, follow: bool) -> Result<Option<PathStat>> {
    let _ = (root, path, follow);
    Err(Error::unsupported("cp is not built in yet"))
}

/// Writes `path` inside `root` as a tar. Names in it begin with `name` (the last component of the
/// path in most cases); an empty `name` (`SRC/.`) writes the folder's content alone.
///
/// # Errors
/// `NotFound`; what the kernel or the sink says.
pub fn copy_out(
    root: BorrowedFd<'_>,
    path: &str,
    follow: bool,
    name: &str,
    maps: Option<&IdMaps>,
    sink: &mut dyn Write,
) -> Result<()> {
    let _ = (root, path, follow, name, maps, sink);
    Err(Error::unsupported("cp is not built in yet"))
}

/// Unpacks a tar (also gzip or zstd) into the folder `path` inside `root`, which must be there.
///
/// # Errors
/// `NotFound`, `Invalid` when `path` is no folder, or for a hostile tar.
pub fn copy_in(
    tar: &mut dyn Read,
    root: BorrowedFd<'_>,
    path: &str,
    options: &CopyIn<'_>,
) -> Result<()> {
    let _ = (tar, root, path, options);
    Err(Error::unsupported("cp is not built in yet"))
}
