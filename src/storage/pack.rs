//! Trees to archives: the upper of a container as an OCI layer, whole root file systems, `cp`.
//!
//! The same tree gives the same bytes: names are sorted, nothing of this host is written (user and
//! group names, device and inode numbers, access times).

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::owners::LinkOwners;
use super::tar::read::from_io;
use super::tar::{Entry, Kind, Writer, show};
use super::tree::Walker;
use super::unpack::attrs::{self, NODE, Node, OWNER, TrueOwner};
use super::view;
use crate::base::{Context as _, Result};
use crate::spec::idmap::{self, IdMaps};
use crate::sys::at::{self, Meta};

/// The id of what no map knows.
const OVERFLOW: u32 = 65_534;

/// Writes files of a tree into an archive.
pub(super) struct Packer<'a, W: Write> {
    writer: Writer<W>,
    /// Files with several names: device and inode to the first name written.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Ids on disk are `host_id`s.
    maps: Option<&'a IdMaps>,
    /// What links and FIFOs cannot say themselves.
    owners: Option<&'a LinkOwners>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    pub(super) fn new(sink: W, maps: Option<&'a IdMaps>) -> Self {
        Self {
            writer: Writer::new(sink),
            linked: HashMap::new(),
            maps,
            owners: None,
            buffer: vec![0; 128 << 10],
        }
    }

    /// With the owners that files cannot say themselves.
    pub(super) fn with_owners(mut self, owners: Option<&'a LinkOwners>) -> Self {
        self.owners = owners;
        self
    }

    pub(super) fn finish(self) -> Result<W> {
        self.writer
            .finish()
            .map_err(|e| from_io(e, "cannot write the archive"))
    }

    fn ids(&self, uid: u32, gid: u32) -> (u32, u32) {
        match self.maps {
            None => (uid, gid),
            Some(maps) => (
                idmap::to_container(&maps.uids, uid).unwrap_or(OVERFLOW),
                idmap::to_container(&maps.gids, gid).unwrap_or(OVERFLOW),
            ),
        }
    }

    fn entry(&self, path: &[u8], kind: Kind, meta: &Meta) -> Entry {
        let (uid, gid) = self.ids(meta.uid, meta.gid);
        Entry {
            mode: meta.permissions(),
            uid,
            gid,
            mtime: meta.mtime,
            nsec: meta.mtime_nsec,
            ..Entry::new(path, kind)
        }
    }

    /// As [`Packer::entry`], for what cannot have attributes.
    fn bare_entry(&self, path: &[u8], kind: Kind, meta: &Meta) -> Result<Entry> {
        let mut entry = self.entry(path, kind, meta);
        let owner = self.owners.map(|o| o.of(path)).transpose()?.flatten();
        if let Some(owner) = owner {
            (entry.uid, entry.gid) = (owner.uid, owner.gid);
            if kind != Kind::Symlink {
                entry.mode = owner.mode;
            }
        }
        Ok(entry)
    }

    fn put(&mut self, entry: &Entry) -> Result<()> {
        self.writer
            .entry(entry)
            .map_err(|e| from_io(e, "cannot write the archive"))
    }

    /// Attributes and overrides of an open file or folder.
    fn describe(&self, entry: &mut Entry, fd: BorrowedFd<'_>) -> Result<()> {
        entry.xattrs = attrs::read_all(fd)?;
        if let Some(maps) = self.maps {
            for (_, value) in entry.xattrs.iter_mut().filter(|(n, _)| attrs::is_acl(n)) {
                attrs::shift_acl(
                    value,
                    |uid| Some(idmap::to_container(&maps.uids, uid).unwrap_or(OVERFLOW)),
                    |gid| Some(idmap::to_container(&maps.gids, gid).unwrap_or(OVERFLOW)),
                );
            }
        }
        if let Some(owner) = at::getxattr(fd, OWNER)?.and_then(|v| TrueOwner::parse(&v)) {
            entry.uid = owner.uid;
            entry.gid = owner.gid;
            entry.mode = owner.mode;
        }
        Ok(())
    }

    /// A folder that is open already.
    pub(super) fn folder(&mut self, fd: BorrowedFd<'_>, path: &[u8], meta: &Meta) -> Result<()> {
        let mut entry = self.entry(path, Kind::Dir, meta);
        self.describe(&mut entry, fd)?;
        self.put(&entry)
    }

    /// What an O_PATH descriptor refers to, folders excepted.
    pub(super) fn leaf(&mut self, fd: BorrowedFd<'_>, path: &[u8], meta: &Meta) -> Result<()> {
        if meta.nlink > 1 {
            match self.linked.get(&(meta.dev, meta.ino)) {
                Some(first) => {
                    let link = first.clone();
                    let mut entry = self.entry(path, Kind::HardLink, meta);
                    entry.link = link;
                    return self.put(&entry);
                }
                None => {
                    self.linked.insert((meta.dev, meta.ino), path.to_vec());
                }
            }
        }
        match meta.kind() {
            libc::S_IFREG => self.file(&at::reopen_file(fd)?, path, meta),
            libc::S_IFLNK => {
                let mut entry = self.bare_entry(path, Kind::Symlink, meta)?;
                entry.link = at::readlink(fd, b"")?;
                self.put(&entry)
            }
            libc::S_IFIFO => self.put(&self.bare_entry(path, Kind::Fifo, meta)?),
            kind @ (libc::S_IFCHR | libc::S_IFBLK) => {
                let kind = if kind == libc::S_IFCHR {
                    Kind::Char
                } else {
                    Kind::Block
                };
                let mut entry = self.entry(path, kind, meta);
                entry.device = (meta.major, meta.minor);
                self.put(&entry)
            }
            // A socket means nothing without the process that made it.
            _ => Ok(()),
        }
    }

    fn file(&mut self, fd: &OwnedFd, path: &[u8], meta: &Meta) -> Result<()> {
        let mut entry = self.entry(path, Kind::File, meta);
        self.describe(&mut entry, fd.as_fd())?;
        if meta.size == 0
            && let Some(node) = at::getxattr(fd.as_fd(), NODE)?.and_then(|v| Node::parse(&v))
        {
            entry.kind = node.kind;
            entry.device = (node.major, node.minor);
            entry.mode = node.mode;
            return self.put(&entry);
        }
        entry.size = meta.size;
        self.put(&entry)?;
        let mut offset = 0;
        while self.writer.owed() > 0 {
            let n = match rustix::io::pread(fd, &mut self.buffer[..], offset) {
                Err(rustix::io::Errno::INTR) => continue,
                // It was cut meanwhile: zeros follow.
                Ok(0) => break,
                Ok(n) => n,
                Err(e) => {
                    return Err(
                        crate::sys::Error::new("pread", show(path), e.raw_os_error()).into(),
                    );
                }
            };
            self.writer
                .data(&self.buffer[..n])
                .map_err(|e| from_io(e, "cannot write the archive"))?;
            offset += n as u64;
        }
        Ok(())
    }

    /// Everything below `root`, each path behind `prefix`; other mounts only as empty folders
    /// unless `mounts`.
    pub(super) fn tree(&mut self, root: BorrowedFd<'_>, prefix: &[u8], mounts: bool) -> Result<()> {
        let mut walker = Walker::new(root)?;
        while let Some(item) = walker.next()? {
            let path = joined(prefix, walker.path());
            let foreign = item.meta.mount_root && !mounts;
            if item.meta.is_dir() {
                if foreign {
                    let fd = at::open_dir(walker.dir(), &item.name)?;
                    self.folder(fd.as_fd(), &path, &item.meta)?;
                } else if walker.enter(&item.name)? {
                    self.folder(walker.entered(), &path, &item.meta)
                        .what(|| format!("cannot read {:?}", show(&path)))?;
                }
            } else if !foreign {
                self.name(walker.dir(), &item.name, &path)?;
            }
        }
        Ok(())
    }

    /// One name that is no folder; fine if it vanished meanwhile.
    pub(super) fn name(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        let fd = match at::open_path(dir, name) {
            Err(e) if e.errno == libc::ENOENT => return Ok(()),
            other => other?,
        };
        let meta = at::fstat(fd.as_fd())?;
        if meta.is_dir() {
            return Ok(());
        }
        self.leaf(fd.as_fd(), path, &meta)
            .what(|| format!("cannot read {:?}", show(path)))
    }

    /// The whiteout of `path`.
    pub(super) fn whiteout(&mut self, path: &[u8], meta: Option<&Meta>) -> Result<()> {
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let mut entry = Entry::new(&joined(parent, &[b".wh.", name].concat()), Kind::File);
        if let Some(meta) = meta {
            entry.mtime = meta.mtime;
        }
        self.put(&entry)
    }

    /// An upper in the kernel overlay's form, as an OCI layer. What `skip` says is left out.
    pub(super) fn upper(
        &mut self,
        upper: BorrowedFd<'_>,
        mut skip: impl FnMut(&[u8], BorrowedFd<'_>, &[u8], &Meta) -> Result<bool>,
    ) -> Result<()> {
        let mut marks = vec![view::opaque_mark(upper)?];
        let mut walker = Walker::new(upper)?;
        while let Some(item) = walker.next()? {
            marks.truncate(walker.depth());
            let marked = marks.last().copied().flatten() == Some(b'x');
            let path = walker.path().to_vec();
            if view::is_whiteout(walker.dir(), &item.name, &item.meta, marked)? {
                self.whiteout(&path, Some(&item.meta))?;
                continue;
            }
            if skip(&path, walker.dir(), &item.name, &item.meta)? {
                continue;
            }
            if !item.meta.is_dir() {
                self.name(walker.dir(), &item.name, &path)?;
                continue;
            }
            if !walker.enter(&item.name)? {
                continue;
            }
            self.folder(walker.entered(), &path, &item.meta)
                .what(|| format!("cannot read {:?}", show(&path)))?;
            let mark = view::opaque_mark(walker.entered())?;
            marks.push(mark);
            if mark == Some(b'y') {
                let path = joined(&path, b".wh..wh..opq");
                self.put(&Entry::new(&path, Kind::File))?;
            }
        }
        Ok(())
    }
}

/// `prefix/path`, without a slash when one is empty.
pub(super) fn joined(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    if !prefix.is_empty() && !path.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(path);
    out
}
