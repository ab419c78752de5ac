//! A second tree with the merged content of layers: owners shifted, data copied or referred to.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::super::owners::Table;
use super::super::rootfs::View;
use super::super::unpack::attrs::{self, TrueOwner};
use super::super::view::{MergedDir, MergedEntry};
use super::shifted;
use crate::base::{Context as _, Error, Result};
use crate::spec::idmap::to_host;
pub(super) use crate::spec::ondisk::{METACOPY, REDIRECT};
use crate::sys::at::{self, Meta};

/// What becomes of the content of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Copied, or shared where the file system can.
    Copy,
    /// Left in its layer, and referred to.
    Refer,
}

/// Files from this size on are worth an attempt to share blocks.
const REFLINK_FROM: u64 = 64 << 10;

struct Frame {
    merged: MergedDir,
    out: OwnedFd,
    rest: std::collections::btree_map::IntoIter<Vec<u8>, MergedEntry>,
    path: Vec<u8>,
    meta: Meta,
}

struct Replica<'a> {
    view: &'a View,
    data: Data,
    /// Owners come out of attributes, and for links out of these tables, one a layer.
    restore: Option<&'a [Table]>,
    /// (layer, inode) of files with several names, to the first of them.
    linked: HashMap<(usize, u64), Vec<u8>>,
    root: OwnedFd,
}

/// Fills the empty folder `out` with what `layers` (top first) show together.
pub(super) fn replicate(
    layers: &[OwnedFd],
    out: BorrowedFd<'_>,
    view: &View,
    data: Data,
    restore: Option<&[Table]>,
) -> Result<()> {
    let mut replica = Replica {
        view,
        data,
        restore,
        linked: HashMap::new(),
        root: at::reopen_dir(out)?,
    };
    let merged = MergedDir::root(layers)?;
    let mut frames = vec![replica.begin(merged, at::reopen_dir(out)?, Vec::new())?];
    while let Some(frame) = frames.last_mut() {
        let Some((name, entry)) = frame.rest.next() else {
            // Its content is complete: now its time.
            at::futimens(frame.out.as_fd(), frame.meta.mtime, frame.meta.mtime_nsec)?;
            frames.pop();
            continue;
        };
        let mut path = frame.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let what = || format!("cannot copy {:?}", String::from_utf8_lossy(&path));
        if entry.meta.is_dir() {
            at::mkdir(frame.out.as_fd(), &name, 0o700).what(what)?;
            let child = frame.merged.child(&name, &entry).what(what)?;
            let out = at::open_dir(frame.out.as_fd(), &name)?;
            let next = replica.begin(child, out, path)?;
            frames.push(next);
        } else {
            replica.leaf(frame, &name, &entry, &path).what(what)?;
        }
    }
    Ok(())
}

impl Replica<'_> {
    fn begin(&mut self, merged: MergedDir, out: OwnedFd, path: Vec<u8>) -> Result<Frame> {
        let top = merged.parts.first().map(|(_, dir)| dir.as_fd());
        let meta = at::fstat(top.unwrap_or(out.as_fd()))?;
        if let Some(top) = top {
            let owner = self.attributes(top, out.as_fd())?;
            self.own(out.as_fd(), &meta, owner)?;
        }
        let rest: BTreeMap<_, _> = merged.entries()?;
        Ok(Frame {
            merged,
            out,
            rest: rest.into_iter(),
            path,
            meta,
        })
    }

    /// Copies what attributes an overlay would show, as they are stored.
    fn attributes(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Option<TrueOwner>> {
        let mut owner = None;
        for name in at::listxattr(from)? {
            if name.starts_with(b"user.overlay.") && !name.starts_with(b"user.overlay.overlay.") {
                continue;
            }
            let wanted = name.starts_with(b"user.")
                || name == attrs::CAPABILITY.to_bytes()
                || name.starts_with(b"system.posix_acl_");
            let Ok(name) = CString::new(name) else {
                continue;
            };
            if !wanted {
                continue;
            }
            let Some(mut value) = at::getxattr(from, &name)? else {
                continue;
            };
            if attrs::is_acl(name.to_bytes()) {
                shift_acl(self.view, &mut value)?;
            }
            if self.restore.is_some() && name.as_c_str() == attrs::OWNER {
                owner = TrueOwner::parse(&value);
                continue;
            }
            // Capabilities are set after the owner.
            if name.as_c_str() != attrs::CAPABILITY {
                at::setxattr(to, &name, &value)?;
            }
        }
        Ok(owner)
    }

    fn own(&self, fd: BorrowedFd<'_>, meta: &Meta, owner: Option<TrueOwner>) -> Result<()> {
        let (uid, gid) = owner.map_or((meta.uid, meta.gid), |o| (o.uid, o.gid));
        let (uid, gid) = shifted(self.view, uid, gid)?;
        at::fchown(fd, uid, gid)?;
        Ok(at::fchmod(fd, meta.permissions())?)
    }

    fn link_owner(&self, layer: usize, path: &[u8]) -> Option<TrueOwner> {
        self.restore?.get(layer)?.get(path).copied()
    }

    fn leaf(&mut self, frame: &Frame, name: &[u8], entry: &MergedEntry, path: &[u8]) -> Result<()> {
        let (layer, from) = &frame.merged.parts[entry.part];
        let (from, out, meta) = (from.as_fd(), frame.out.as_fd(), &entry.meta);
        if meta.nlink > 1 {
            match self.linked.get(&(*layer, meta.ino)) {
                Some(first) => {
                    let (dir, base) = match first.iter().rposition(|b| *b == b'/') {
                        Some(slash) => (
                            at::open_dir_beneath(self.root.as_fd(), &first[..slash])?,
                            &first[slash + 1..],
                        ),
                        None => (at::reopen_dir(self.root.as_fd())?, &first[..]),
                    };
                    return Ok(at::link(dir.as_fd(), base, out, name)?);
                }
                None => {
                    self.linked.insert((*layer, meta.ino), path.to_vec());
                }
            }
        }
        match meta.kind() {
            libc::S_IFREG => self.file(from, out, name, meta, path),
            libc::S_IFLNK => {
                at::symlink(&at::readlink(from, name)?, out, name)?;
                let owner = self.link_owner(*layer, path);
                let (uid, gid) = owner.map_or((meta.uid, meta.gid), |o| (o.uid, o.gid));
                let (uid, gid) = shifted(self.view, uid, gid)?;
                at::chown(out, name, uid, gid)?;
                Ok(at::utimens(out, name, meta.mtime, meta.mtime_nsec)?)
            }
            libc::S_IFIFO => {
                at::mkfifo(out, name, 0o600)?;
                let owner = self.link_owner(*layer, path);
                let (uid, gid) = owner.map_or((meta.uid, meta.gid), |o| (o.uid, o.gid));
                let (uid, gid) = shifted(self.view, uid, gid)?;
                at::chown(out, name, uid, gid)?;
                let mode = owner.map_or(meta.permissions(), |o| o.mode);
                at::chmod_path_fd(at::open_path(out, name)?.as_fd(), mode)?;
                Ok(at::utimens(out, name, meta.mtime, meta.mtime_nsec)?)
            }
            // Layers hold nothing else.
            _ => Ok(()),
        }
    }

    fn file(
        &self,
        from: BorrowedFd<'_>,
        out: BorrowedFd<'_>,
        name: &[u8],
        meta: &Meta,
        path: &[u8],
    ) -> Result<()> {
        let (source, _) = at::open_file(from, name)?;
        let to = at::create_file(out, name, 0o600)?;
        if meta.size > 0 {
            match self.data {
                Data::Copy => copy_content(source.as_fd(), to.as_fd(), meta.size)?,
                Data::Refer if refer(to.as_fd(), path)? => {
                    at::ftruncate(to.as_fd(), meta.size)?;
                }
                Data::Refer => copy_content(source.as_fd(), to.as_fd(), meta.size)?,
            }
        }
        let owner = self.attributes(source.as_fd(), to.as_fd())?;
        self.own(to.as_fd(), meta, owner)?;
        if let Some(capability) = at::getxattr(source.as_fd(), attrs::CAPABILITY)? {
            match at::setxattr(to.as_fd(), attrs::CAPABILITY, &capability) {
                Err(e) if e.errno != libc::EPERM => return Err(e.into()),
                _ => {}
            }
        }
        Ok(at::futimens(to.as_fd(), meta.mtime, meta.mtime_nsec)?)
    }
}

/// Marks an empty file as one whose data is at `path` in a data-only layer; `false` where the path
/// is too long for the kernel or for the attributes of this file system.
fn refer(to: BorrowedFd<'_>, path: &[u8]) -> Result<bool> {
    let redirect = [b"/", path].concat();
    if redirect.len() >= libc::PATH_MAX as usize {
        return Ok(false);
    }
    // First the long one: a mark without a redirect would mean an empty file.
    match at::setxattr(to, REDIRECT, &redirect) {
        Err(e) if matches!(e.errno, libc::ENOSPC | libc::E2BIG | libc::ERANGE) => return Ok(false),
        other => other?,
    }
    at::setxattr(to, METACOPY, b"")?;
    Ok(true)
}

fn shift_acl(view: &View, value: &mut [u8]) -> Result<()> {
    let View::Shifted(maps) = view else {
        return Ok(());
    };
    let all_known = attrs::shift_acl(
        value,
        |uid| to_host(&maps.uids, uid),
        |gid| to_host(&maps.gids, gid),
    );
    if all_known {
        return Ok(());
    }
    Err(Error::invalid(
        "an access control list of the image names an id that the container's user namespace does \
         not map",
    )
    .hint("give the namespace more ids, e.g. --userns auto:size=65536"))
}

/// Copies a file's bytes into an empty one: shared, inside the kernel, or through a buffer.
pub(super) fn copy_content(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<()> {
    if size >= REFLINK_FROM && at::reflink(from, to) {
        return Ok(());
    }
    let mut done = 0;
    while done < size {
        let want = usize::try_from(size - done)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match at::copy_range(from, to, want) {
            Ok(0) => return Ok(()),
            Ok(n) => done += n as u64,
            Err(e)
                if done == 0
                    && matches!(
                        e.errno,
                        libc::EXDEV | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP
                    ) =>
            {
                return copy_by_hand(from, to);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        let n = match rustix::io::pread(from, &mut buffer[..], offset) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) => return Err(crate::sys::Error::new("pread", "", e.raw_os_error()).into()),
        };
        at::pwrite_all(to, &buffer[..n], offset)?;
        offset += n as u64;
    }
}
