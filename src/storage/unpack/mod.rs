//! Unpacking an archive into a tree, by descriptor only.
//!
//! Invariants: nothing is ever followed; what is in the way is removed, never written through; no
//! device is ever made (a character device 0/0 excepted, the overlay's whiteout); a set-id bit is
//! set after the owner. Security: classes A, E and M of docs/security.md.

pub(in crate::storage) mod attrs;
mod dirs;

use std::collections::HashMap;
use std::io::BufRead;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use self::attrs::{NODE, Node, OPAQUE, OWNER, TrueOwner, WHITEOUT};
use self::dirs::{Dirs, split};
use super::layer::Limits;
use super::tar::{Entry, Kind, Reader, show};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::spec::idmap::{self, IdMaps};
use crate::spec::ondisk::LAZY;
use crate::sys::at;

/// Whose the files become.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owners<'a> {
    /// As the archive says.
    Keep,
    /// As the archive says, translated: its ids are `container_id`s.
    Mapped(&'a IdMaps),
    /// One for all.
    Fixed(u32, u32),
    /// The one id that we have; the true one is kept in an attribute.
    Squash,
    /// As above, and root's is kept as well: for users who see our id as nobody's.
    Shared,
}

/// How to unpack.
#[derive(Clone, Debug)]
pub(super) struct Policy<'a> {
    /// An OCI layer: `.wh.` names are whiteouts, and the later entry wins. Else a copy into a tree
    /// that may be in use.
    pub(super) layer: bool,
    /// Whose the files become.
    pub(super) owners: Owners<'a>,
    /// In a copy: a folder may replace a file and the other way round.
    pub(super) overwrite: bool,
    /// Whether an entry for the root itself changes it.
    pub(super) root: bool,
    /// Bounds.
    pub(super) limits: Limits,
    /// Files that are on this file system already.
    pub(super) reuse: Option<Reuse<'a>>,
}

/// Finds a file with the very content that the entry of a path has.
#[derive(Clone, Copy)]
pub(super) struct Reuse<'a>(pub(super) &'a dyn Fn(&[u8]) -> Option<std::fs::File>);

impl std::fmt::Debug for Reuse<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reuse")
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    /// Bytes of regular files.
    pub(super) size: u64,
    /// Files, folders and all else.
    pub(super) inodes: u64,
    /// True owners of links, FIFOs and sockets, which cannot have attributes: path to
    /// `uid:gid:mode`. Only when squashed.
    pub(super) owners: Vec<(Vec<u8>, String)>,
}

/// What is left to do for a folder when its content is complete.
#[derive(Clone, Copy, Debug)]
struct Late {
    mode: Option<u32>,
    mtime: i64,
    nsec: u32,
}

struct Extractor<'a> {
    policy: &'a Policy<'a>,
    dirs: Dirs,
    lower: &'a [OwnedFd],
    late: HashMap<Vec<u8>, Late>,
    /// Whiteouts that must be in xattr form.
    marked: Vec<Vec<u8>>,
    umask: u32,
    summary: Summary,
    /// The number of the present entry, when files get no content but a mark.
    mark: Option<u64>,
}

/// Unpacks all of `reader` below `root`. `lower` are the layers below, top first.
pub(super) fn unpack<R: BufRead>(
    reader: &mut Reader<R>,
    root: OwnedFd,
    lower: &[OwnedFd],
    policy: &Policy<'_>,
) -> Result<Summary> {
    let mut extractor = Extractor::new(root, lower, policy)?;
    let mut entries = 0;
    while let Some(entry) = reader.next()? {
        failpoint("unpack::entry")?;
        entries += 1;
        if entries > policy.limits.entries {
            return Err(Error::invalid(format!(
                "the archive has more than {} entries",
                policy.limits.entries
            )));
        }
        extractor
            .entry(&entry, reader)
            .what(|| format!("cannot unpack {:?}", show(&entry.path)))
            .map_err(explain)?;
    }
    extractor.finish()
}

/// Makes the tree of `entries` below `root` without the files' content: each file that has some is a
/// hole of its length, with its number in [`LAZY`].
pub(super) fn skeleton<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    root: OwnedFd,
    lower: &[OwnedFd],
    policy: &Policy<'_>,
) -> Result<Summary> {
    let mut extractor = Extractor::new(root, lower, policy)?;
    for (number, entry) in (0_u64..).zip(entries) {
        extractor.mark = (entry.kind == Kind::File && entry.size > 0).then_some(number);
        let mut entry = entry.clone();
        if extractor.mark.is_some() {
            entry.sparse = Some(Vec::new());
        }
        extractor
            .entry(&entry, &mut Reader::new(&[][..]))
            .what(|| format!("cannot make {:?}", show(&entry.path)))
            .map_err(explain)?;
        if extractor.mark.is_some() {
            extractor.summary.size = extractor.summary.size.saturating_add(entry.size);
        }
    }
    extractor.finish()
}

/// Adds the next step where the errno tells it.
fn explain(error: Error) -> Error {
    match error.errno() {
        Some(libc::ENOSPC | libc::EDQUOT) => error
            .with_kind(crate::base::Kind::Unavailable)
            .hint("the disk is full: free some space, e.g. with \"coracle system prune\""),
        _ => error,
    }
}

/// The process's file mode mask; reading it by umask(2) would change it for other threads.
fn umask() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        // All of it: then every mode is set by hand.
        .unwrap_or(0o777)
}

impl<'a> Extractor<'a> {
    /// At the top of a tree in which nothing is yet.
    fn new(root: OwnedFd, lower: &'a [OwnedFd], policy: &'a Policy<'a>) -> Result<Self> {
        let mut extractor = Self {
            policy,
            dirs: Dirs::new(root),
            lower,
            late: HashMap::new(),
            marked: Vec::new(),
            umask: umask(),
            summary: Summary::default(),
            mark: None,
        };
        extractor.begin()?;
        Ok(extractor)
    }

    fn begin(&mut self) -> Result<()> {
        if !self.policy.layer {
            return Ok(());
        }
        // A default ACL of the folder above would go through the whole tree.
        at::removexattr(self.dirs.root(), c"system.posix_acl_default")?;
        at::removexattr(self.dirs.root(), c"system.posix_acl_access")?;
        at::fchmod(self.dirs.root(), 0o755)?;
        self.keep_owner(self.dirs.root(), &Entry::new(b"", Kind::Dir))?;
        if let Some(top) = self.lower.first() {
            let meta = at::fstat(top.as_fd())?;
            dirs::take_after(self.dirs.root(), top.as_fd(), &meta)?;
            self.late.insert(
                Vec::new(),
                Late {
                    mode: None,
                    mtime: meta.mtime,
                    nsec: meta.mtime_nsec,
                },
            );
        }
        self.summary.inodes = 1;
        Ok(())
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        if entry.path.is_empty() {
            if self.policy.root {
                let root = at::reopen_dir(self.dirs.root())?;
                self.dir_attributes(root.as_fd(), entry)?;
            }
            return Ok(());
        }
        let (parent_path, name) = split(&entry.path);
        if self.policy.layer
            && let Some(hidden) = name.strip_prefix(b".wh.")
        {
            return self.whiteout(parent_path, hidden);
        }
        let parent = self.parent(parent_path)?;
        let dir = parent.as_fd();
        self.summary.inodes += 1;
        match entry.kind {
            Kind::Dir => self.directory(dir, name, entry),
            Kind::File => self.file(dir, name, entry, reader),
            Kind::HardLink => self.hard_link(dir, name, entry),
            Kind::Symlink => {
                self.place(dir, name, |d| at::symlink(&entry.link, d, name))?;
                let (uid, gid) = self.owner(entry)?;
                if self.must_chown(uid, gid) {
                    at::chown(dir, name, uid, gid).map_err(|e| unmapped(e, entry))?;
                }
                self.note_owner(entry);
                Ok(at::utimens(dir, name, entry.mtime, entry.nsec)?)
            }
            Kind::Fifo => {
                self.place(dir, name, |d| at::mkfifo(d, name, 0o600))?;
                let (uid, gid) = self.owner(entry)?;
                let fifo = at::open_path(dir, name)?;
                if self.must_chown(uid, gid) {
                    at::chown(dir, name, uid, gid).map_err(|e| unmapped(e, entry))?;
                }
                if !at::fstat(fifo.as_fd())?.is_symlink() {
                    at::chmod_path_fd(fifo.as_fd(), entry.mode)?;
                }
                self.note_owner(entry);
                Ok(at::utimens(dir, name, entry.mtime, entry.nsec)?)
            }
            Kind::Char | Kind::Block => {
                let fd = self.place(dir, name, |d| at::create_file(d, name, 0o600))?;
                let node = Node {
                    kind: entry.kind,
                    major: entry.device.0,
                    minor: entry.device.1,
                    mode: entry.mode,
                };
                self.file_attributes(fd.as_fd(), entry, 0o600)?;
                match at::setxattr(fd.as_fd(), NODE, node.render().as_bytes()) {
                    Err(e) if e.errno != libc::ENOTSUP => Err(e.into()),
                    _ => Ok(()),
                }
            }
        }
    }

    fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        let mut made = 0;
        let dir = self.dirs.open(path, self.lower, &mut made)?;
        self.summary.inodes += made;
        Ok(dir)
    }

    /// Makes something at `name`, removing what is in the way.
    fn place<T>(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> crate::sys::Result<T>,
    ) -> Result<T> {
        for _ in 0..16 {
            match make(dir) {
                Err(e) if e.errno == libc::EEXIST => self.clear(dir, name)?,
                other => return Ok(other?),
            }
        }
        // Somebody in the container makes it again and again.
        Ok(make(dir)?)
    }

    fn clear(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let Some(meta) = at::stat_if_exists(dir, name)? else {
            return Ok(());
        };
        if !meta.is_dir() {
            self.summary.inodes = self.summary.inodes.saturating_sub(1);
            return match at::unlink(dir, name) {
                Err(e) if e.errno == libc::ENOENT => Ok(()),
                other => Ok(other?),
            };
        }
        if !self.policy.layer && !self.policy.overwrite {
            return Err(Error::new(
                crate::base::Kind::Exists,
                format!("folder {:?} is in the way of a file", show(name)),
            )
            .hint("use --overwrite to replace it"));
        }
        self.dirs.forget();
        super::tree::remove_at(dir, name)
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
        let mut opaque = false;
        for _ in 0..16 {
            match at::mkdir(dir, name, 0o700) {
                Ok(()) => break,
                Err(e) if e.errno == libc::EEXIST => {}
                Err(e) => return Err(e.into()),
            }
            let Some(meta) = at::stat_if_exists(dir, name)? else {
                continue;
            };
            if meta.is_dir() {
                self.summary.inodes = self.summary.inodes.saturating_sub(1);
                break;
            }
            opaque |= self.policy.layer && meta.is_whiteout();
            if !self.policy.layer && !self.policy.overwrite {
                return Err(Error::new(
                    crate::base::Kind::Exists,
                    format!("file {:?} is in the way of a folder", show(name)),
                )
                .hint("use --overwrite to replace it"));
            }
            self.clear(dir, name)?;
        }
        let fd = at::open_dir(dir, name)?;
        if opaque {
            at::setxattr(fd.as_fd(), OPAQUE, b"y")?;
        }
        self.marked.retain(|path| *path != entry.path);
        self.dir_attributes(fd.as_fd(), entry)?;
        self.dirs.remember(&entry.path, Rc::new(fd));
        Ok(())
    }

    fn dir_attributes(&mut self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        let (uid, gid) = self.owner(entry)?;
        if self.must_chown(uid, gid) || entry.path.is_empty() {
            at::fchown(fd, uid, gid).map_err(|e| unmapped(e, entry))?;
        }
        attrs::set_all(fd, &entry.xattrs)?;
        self.keep_owner(fd, entry)?;
        // With the set-gid bit, what is made inside would take the group: that bit comes last.
        let late = entry.mode & 0o2000 != 0;
        at::fchmod(fd, entry.mode & !0o2000)?;
        self.late.insert(
            entry.path.clone(),
            Late {
                mode: late.then_some(entry.mode),
                mtime: entry.mtime,
                nsec: entry.nsec,
            },
        );
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let payload = match &entry.sparse {
            Some(map) => map.iter().map(|(_, len)| len).sum(),
            None => entry.size,
        };
        self.summary.size = self.summary.size.saturating_add(payload);
        if self.summary.size > self.policy.limits.bytes {
            return Err(Error::invalid(format!(
                "the archive has more than {} bytes",
                self.policy.limits.bytes
            )));
        }
        // Not world-readable before it has its owner.
        let plain = entry.mode & 0o7000 == 0 && self.policy.layer;
        let created = if plain { entry.mode & 0o777 } else { 0o600 };
        let fd = match self.place(dir, name, |d| at::create_file(d, name, created)) {
            // A bind mount, /etc/hosts for one: it cannot go, but it can be written.
            Err(e) if e.errno() == Some(libc::EBUSY) && !self.policy.layer => {
                let fd = at::open_file_for_write(dir, name)?;
                at::ftruncate(fd.as_fd(), 0)?;
                fd
            }
            other => other?,
        };
        let out = fd.as_fd();
        match &entry.sparse {
            None if self.shared(out, entry) => skip(reader, entry.size)?,
            None => write_piece(reader, out, 0, entry.size)?,
            Some(map) => {
                for (offset, len) in map {
                    write_piece(reader, out, *offset, *len)?;
                }
                at::ftruncate(out, entry.size)?;
            }
        }
        if let Some(number) = self.mark {
            at::setxattr(out, LAZY, number.to_string().as_bytes())?;
        }
        self.file_attributes(out, entry, created & !self.umask)
    }

    /// Shares the blocks of a file that is here with the new one; `false` where it cannot be.
    fn shared(&self, out: BorrowedFd<'_>, entry: &Entry) -> bool {
        let Some(found) = self.policy.reuse.and_then(|reuse| reuse.0(&entry.path)) else {
            return false;
        };
        found.metadata().is_ok_and(|m| m.len() == entry.size)
            && crate::sys::bare::reflink(found.as_fd(), out).is_ok()
    }

    /// Owner, then mode (chown clears set-id bits), attributes, time.
    fn file_attributes(&self, fd: BorrowedFd<'_>, entry: &Entry, has: u32) -> Result<()> {
        let (uid, gid) = self.owner(entry)?;
        if self.must_chown(uid, gid) {
            at::fchown(fd, uid, gid).map_err(|e| unmapped(e, entry))?;
        }
        // A device's stand-in is nobody's to read or write.
        let mode = match entry.kind {
            Kind::Char | Kind::Block => 0o000,
            _ => entry.mode,
        };
        if mode != has {
            at::fchmod(fd, mode)?;
        }
        if !entry.xattrs.is_empty() {
            attrs::set_all(fd, &entry.xattrs)?;
        }
        self.keep_owner(fd, entry)?;
        Ok(at::futimens(fd, entry.mtime, entry.nsec)?)
    }

    fn hard_link(&mut self, dir: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
        let (target_parent, target_name) = split(&entry.link);
        let missing = || {
            Error::invalid(format!(
                "it is a hard link to {:?}, which is not in the archive before it",
                show(&entry.link)
            ))
        };
        if target_name.is_empty() || entry.link == entry.path {
            return Err(missing());
        }
        // Not `parent`: nothing may be made for a link's sake.
        let from = if target_parent.is_empty() {
            at::reopen_dir(self.dirs.root())?
        } else {
            at::open_dir_beneath(self.dirs.root(), target_parent)
                .map_err(|e| missing().because(e))?
        };
        match at::stat_if_exists(from.as_fd(), target_name)? {
            Some(meta) if !meta.is_dir() && !meta.is_whiteout() => {}
            _ => return Err(missing()),
        }
        self.summary.inodes -= 1;
        self.place(dir, name, |d| at::link(from.as_fd(), target_name, d, name))
    }

    fn whiteout(&mut self, parent_path: &[u8], hidden: &[u8]) -> Result<()> {
        if hidden == b".wh..opq" {
            if self.lower.is_empty() {
                return Ok(());
            }
            let dir = self.parent(parent_path)?;
            return Ok(at::setxattr(dir.as_fd(), OPAQUE, b"y")?);
        }
        if hidden.starts_with(b".wh.") {
            // AUFS's own files (.wh..wh.plnk, .wh..wh.aufs): they mean nothing here.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::invalid("it is a malformed whiteout"));
        }
        if self.lower.is_empty() {
            return Ok(());
        }
        let parent = self.parent(parent_path)?;
        let dir = parent.as_fd();
        // It hides what is below. What this layer itself has there stays.
        match at::stat_if_exists(dir, hidden)? {
            Some(meta) if meta.is_dir() => {
                let fd = at::open_dir(dir, hidden)?;
                return Ok(at::setxattr(fd.as_fd(), OPAQUE, b"y")?);
            }
            Some(_) => return Ok(()),
            None => {}
        }
        match at::mkwhiteout(dir, hidden) {
            Ok(()) => self.summary.inodes += 1,
            Err(e) if matches!(e.errno, libc::EPERM | libc::ENOTSUP | libc::EINVAL) => {
                let mut path = parent_path.to_vec();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(hidden);
                self.marked.push(path);
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Owner in the namespace we run in.
    fn owner(&self, entry: &Entry) -> Result<(u32, u32)> {
        match self.policy.owners {
            Owners::Keep => Ok((entry.uid, entry.gid)),
            Owners::Fixed(uid, gid) => Ok((uid, gid)),
            Owners::Squash | Owners::Shared => Ok((0, 0)),
            Owners::Mapped(maps) => {
                let pair = (
                    idmap::to_host(&maps.uids, entry.uid),
                    idmap::to_host(&maps.gids, entry.gid),
                );
                match pair {
                    (Some(uid), Some(gid)) => Ok((uid, gid)),
                    _ => Err(no_such_id(entry)),
                }
            }
        }
    }

    /// New files are root's; in a tree in use, a set-gid folder may have given the group away.
    fn must_chown(&self, uid: u32, gid: u32) -> bool {
        !matches!(self.policy.owners, Owners::Squash | Owners::Shared)
            && (!self.policy.layer || (uid, gid) != (0, 0))
    }

    fn true_owner(&self, entry: &Entry) -> Option<TrueOwner> {
        let keep = match self.policy.owners {
            Owners::Squash => (entry.uid, entry.gid) != (0, 0),
            Owners::Shared => true,
            _ => false,
        };
        keep.then_some(TrueOwner {
            uid: entry.uid,
            gid: entry.gid,
            mode: entry.mode,
        })
    }

    fn keep_owner(&self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        if let Some(owner) = self.true_owner(entry) {
            match at::setxattr(fd, OWNER, owner.render().as_bytes()) {
                Err(e) if e.errno != libc::ENOTSUP => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn note_owner(&mut self, entry: &Entry) {
        if let Some(owner) = self.true_owner(entry) {
            self.summary
                .owners
                .push((entry.path.clone(), owner.render()));
        }
    }

    fn finish(mut self) -> Result<Summary> {
        for path in std::mem::take(&mut self.marked) {
            self.mark(&path)
                .what(|| format!("cannot hide {:?}", show(&path)))?;
        }
        // Times of folders, when nothing is made in them any more.
        let late = std::mem::take(&mut self.late);
        for (path, late) in late {
            let dir = match self.late_dir(&path) {
                Ok(dir) => dir,
                // Something else took its place later.
                Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => continue,
                Err(e) => return Err(e.into()),
            };
            if let Some(mode) = late.mode {
                at::fchmod(dir.as_fd(), mode)?;
            }
            at::futimens(dir.as_fd(), late.mtime, late.nsec)?;
        }
        Ok(self.summary)
    }

    fn late_dir(&self, path: &[u8]) -> crate::sys::Result<OwnedFd> {
        if path.is_empty() {
            return at::reopen_dir(self.dirs.root());
        }
        at::open_dir_beneath(self.dirs.root(), path)
    }

    /// A whiteout in xattr form: honoured by lookups, and by listings when the folder says `x`.
    fn mark(&mut self, path: &[u8]) -> Result<()> {
        let (parent_path, name) = split(path);
        let parent = self.parent(parent_path)?;
        let dir = parent.as_fd();
        if at::stat_if_exists(dir, name)?.is_some() {
            return Ok(());
        }
        if at::getxattr(dir, OPAQUE)?.as_deref() == Some(b"y") {
            return Ok(());
        }
        let fd = at::create_file(dir, name, 0o600)?;
        at::setxattr(fd.as_fd(), WHITEOUT, b"y")?;
        at::setxattr(dir, OPAQUE, b"x")?;
        self.summary.inodes += 1;
        Ok(())
    }
}

fn write_piece<R: BufRead>(
    reader: &mut Reader<R>,
    out: BorrowedFd<'_>,
    mut offset: u64,
    len: u64,
) -> Result<()> {
    let end = offset + len;
    while offset < end {
        let piece = reader.data()?;
        let n = piece
            .len()
            .min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        if n == 0 {
            return Err(Error::invalid("its data ends early"));
        }
        at::pwrite_all(out, &piece[..n], offset)?;
        reader.consume(n);
        offset += n as u64;
    }
    Ok(())
}

/// Takes data that is there already: it is hashed on its way here.
fn skip<R: BufRead>(reader: &mut Reader<R>, mut left: u64) -> Result<()> {
    while left > 0 {
        let n = reader.data()?.len();
        if n == 0 {
            return Err(Error::invalid("its data ends early"));
        }
        reader.consume(n);
        left -= n as u64;
    }
    Ok(())
}

fn no_such_id(entry: &Entry) -> Error {
    Error::invalid(format!(
        "owner {}:{} is not mapped into the user namespace",
        entry.uid, entry.gid
    ))
}

fn unmapped(error: crate::sys::Error, entry: &Entry) -> Error {
    if error.errno != libc::EINVAL {
        return error.into();
    }
    let failed: Result<()> = Err(no_such_id(entry).because(error));
    failed
        .hint(|| "give the user more subordinate ids in /etc/subuid and /etc/subgid")
        .err()
        .unwrap_or_else(|| Error::internal("no error"))
}

#[cfg(test)]
mod tests;
