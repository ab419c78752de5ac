//! Tar archives: a strict reader and a deterministic writer. Nothing here touches a file system.
//!
//! Reads V7, ustar, PAX and GNU (long names, sparse files). Where parsers of the world disagree
//! about an archive (two sizes, two names, repeated records) it is refused, not guessed at: what
//! we unpack is what a scanner saw (CVE-2025-62518, RUSTSEC-2026-0112).

mod header;
mod pax;
pub(in crate::storage) mod read;
pub(in crate::storage) mod write;

pub(in crate::storage) use read::Reader;
pub(in crate::storage) use write::Writer;

/// Bytes of a block.
pub(in crate::storage) const BLOCK: usize = 512;

/// Longest path that an entry may have, and a symbolic link's text.
pub(in crate::storage) const PATH_MAX: usize = 4096;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A folder.
    Dir,
    /// A FIFO.
    Fifo,
}

/// One entry, with all headers merged and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Entry {
    /// Clean path: no leading slash, no `.`, `..` or empty components; empty for the root itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds.
    pub nsec: u32,
    /// Bytes of a regular file once unpacked, holes included.
    pub size: u64,
    /// Text of a symbolic link, clean path of a hard link's target.
    pub link: Vec<u8>,
    /// Major and minor of a device.
    pub device: (u32, u32),
    /// Extended attributes in the archive's order, full names.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// For a sparse file: where the data goes, as (offset, length).
    pub sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// An entry with the common parts left zero.
    pub(in crate::storage) fn new(path: &[u8], kind: Kind) -> Self {
        Self {
            path: path.to_vec(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            nsec: 0,
            size: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

/// The path as people may see it in an error.
pub(in crate::storage) fn show(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut out: String = text
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(200).is_some() {
        out.push('…');
    }
    out
}
