//! Copies of lower files in the upper layer, made when somebody first changes them.
//!
//! A copy is made in the work folder and renamed to its place when it is whole: a crash leaves the
//! lower file, or the copy.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::node::{Data, Name, Node, Part, Place, UPPER};
use super::{Overlay, lock};
use crate::spec::ondisk;
use crate::sys::bare::{self, Code, Rename, Result, Spot, Stat, Time};

/// How much of a file's content is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// All.
    All,
    /// So many bytes from the start: the rest is about to be cut off.
    First(u64),
}

impl Overlay {
    /// Makes sure that a node is in the upper layer, with the folders that it is in.
    pub(super) fn raise(&self, node: &Arc<Node>) -> Result<()> {
        self.raise_with(node, Keep::All)
    }

    /// As [`Overlay::raise`]; of a file's content only `keep` is needed.
    pub(super) fn raise_with(&self, node: &Arc<Node>, keep: Keep) -> Result<()> {
        self.work()?;
        let mut way = Vec::new();
        let mut here = node.clone();
        loop {
            let place = lock(&here.place);
            let (upper, gone) = (place.level == UPPER, place.gone.is_some());
            drop(place);
            if upper {
                break;
            }
            let above = if gone { None } else { here.name() };
            way.push(here);
            let Some((parent, _)) = above else { break };
            here = parent;
        }
        while let Some(next) = way.pop() {
            let keep = if way.is_empty() { keep } else { Keep::All };
            self.copy_up(&next, keep)?;
        }
        Ok(())
    }

    /// Copies one node whose folder is in the upper.
    fn copy_up(&self, node: &Arc<Node>, keep: Keep) -> Result<()> {
        let mut place = lock(&node.place);
        if place.level == UPPER {
            return Ok(());
        }
        if place.gone.is_some() {
            return self.copy_nameless(node, &mut place, keep);
        }
        let (parent, name) = node.name().ok_or(Code(libc::ESTALE))?;
        let from = self.part(&parent, place.level)?;
        let to = self.part(&parent, UPPER)?;
        let source = Spot::Name(from.as_fd(), &name);
        let stat = bare::stat(source)?;
        let folder = bare::stat(Spot::Open(to.as_fd()))?;
        let work = self.work()?.as_fd();
        let temporary = self.fresh_name();
        let made = self
            .copy_to(source, &stat, place.level, work, &temporary, keep)
            .and_then(|()| bare::rename(work, &temporary, to.as_fd(), &name, Rename::Replace));
        if let Err(code) = made {
            // What is left there goes with the next start at the latest.
            let _ = match stat.kind() {
                libc::S_IFDIR => bare::rmdir(work, &temporary),
                _ => bare::unlink(work, &temporary),
            };
            return Err(code);
        }
        // Nothing in the folder changed for those who look.
        let (atime, mtime) = (folder.atime, folder.mtime);
        bare::set_times(
            Spot::Open(to.as_fd()),
            Time::At(atime.0, atime.1),
            Time::At(mtime.0, mtime.1),
        )?;
        place.level = UPPER;
        place.attributed = None;
        lock(&parent.copied).push(name.clone());
        drop(lock(&node.data).take());
        if node.is_dir() {
            if let Some(parts) = lock(&node.parts).as_mut() {
                parts.insert(
                    0,
                    Part {
                        level: UPPER,
                        handle: None,
                        marked: false,
                    },
                );
            }
            return Ok(());
        }
        if stat.nlink > 1 {
            let copy = bare::stat(Spot::Name(to.as_fd(), &name))?;
            self.table.link(node, (copy.dev, copy.ino));
        }
        drop(place);
        self.link_others(node, &parent, &name)
    }

    /// The names of a file that was just copied as `name`: they must show the copy, too.
    fn link_others(&self, node: &Arc<Node>, parent: &Arc<Node>, name: &Name) -> Result<()> {
        let others: Vec<_> = lock(&node.names)
            .iter()
            .filter(|(p, n)| !(Arc::ptr_eq(p, parent) && n == name))
            .cloned()
            .collect();
        for (parent, name) in others {
            self.raise(&parent)?;
            self.link_up(node, &parent, &name)?;
            lock(&parent.copied).push(name);
        }
        Ok(())
    }

    /// Gives a node that is in the upper another name there, where a lower layer has it.
    pub(super) fn link_up(&self, node: &Arc<Node>, parent: &Arc<Node>, name: &[u8]) -> Result<()> {
        let _place = lock(&node.place);
        let (old_parent, old) = node.name().ok_or(Code(libc::ESTALE))?;
        let from = self.part(&old_parent, UPPER)?;
        let to = self.part(parent, UPPER)?;
        match bare::link(from.as_fd(), &old, to.as_fd(), name) {
            Err(Code(libc::EEXIST)) => Ok(()),
            other => other,
        }
    }

    /// A file that has lost all its names while it is open: the copy has none either.
    fn copy_nameless(&self, node: &Node, place: &mut Place, keep: Keep) -> Result<()> {
        let gone = place.gone.clone().ok_or(Code(libc::ESTALE))?;
        let source = Spot::Open(gone.as_fd());
        let stat = bare::stat(source)?;
        if stat.is_dir() {
            return Err(Code(libc::ENOENT));
        }
        let work = self.work()?.as_fd();
        let name = self.fresh_name();
        self.copy_to(source, &stat, place.level, work, &name, keep)?;
        let copy = bare::open_path(work, &name)?;
        bare::unlink(work, &name)?;
        place.gone = Some(self.handles.keep(copy));
        place.level = UPPER;
        place.attributed = None;
        drop(lock(&node.data).take());
        Ok(())
    }

    /// Makes a copy of `source`, found in layer `level`, as `name` in `dir`.
    fn copy_to(
        &self,
        source: Spot<'_>,
        stat: &Stat,
        level: u16,
        dir: BorrowedFd<'_>,
        name: &[u8],
        keep: Keep,
    ) -> Result<()> {
        let shown = self.shown(source, stat, level)?;
        let copy = Spot::Name(dir, name);
        let mut file = None;
        match stat.kind() {
            libc::S_IFREG => {
                let to = bare::create(dir, name, 0o600)?;
                let size = match keep {
                    Keep::All => stat.size,
                    Keep::First(bytes) => bytes.min(stat.size),
                };
                if size > 0 {
                    let from = self.open_whole(source, level)?;
                    self.copy_content(from.as_fd(), to.as_fd(), size, stat)?;
                }
                file = Some(to);
            }
            libc::S_IFDIR => bare::mkdir(dir, name, 0o700)?,
            libc::S_IFLNK => bare::symlink(&bare::readlink(source)?, dir, name)?,
            kind => bare::mknod(dir, name, kind | 0o600, 0)?,
        }
        let is_link = stat.kind() == libc::S_IFLNK;
        let attributed = !is_link && self.copy_attributes(source, copy, level)?;
        self.set_owner(copy, &shown, shown.uid, shown.gid)?;
        if !is_link {
            // After the owner: changing that takes set-id bits away, and capabilities.
            self.set_mode(copy, &shown, shown.mode)?;
            if attributed && let Some(value) = bare::xattr(source, ondisk::CAPABILITY)? {
                match bare::setxattr(copy, ondisk::CAPABILITY, &value, 0) {
                    Err(Code(libc::EPERM)) | Ok(()) => {}
                    Err(code) => return Err(code),
                }
            }
        }
        bare::set_times(
            copy,
            Time::At(stat.atime.0, stat.atime.1),
            Time::At(stat.mtime.0, stat.mtime.1),
        )?;
        if let Some(file) = file.filter(|_| !self.volatile) {
            bare::sync(file.as_fd(), false)?;
        }
        Ok(())
    }

    /// Copies the first `size` bytes into an empty file: shared if that is all and the file systems
    /// can, else inside the kernel, holes kept.
    fn copy_content(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        size: u64,
        stat: &Stat,
    ) -> Result<()> {
        if size == stat.size && self.reflinks.load(Ordering::Relaxed) {
            match bare::reflink(from, to) {
                Ok(()) => return Ok(()),
                // The file system of both cannot. (On two of them it is EXDEV.)
                Err(Code(libc::EOPNOTSUPP | libc::ENOTTY)) => {
                    self.reflinks.store(false, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        }
        copy_parts(from, to, size, stat.blocks.saturating_mul(512) < stat.size)
    }

    /// Copies what extended attributes a lower file shows, as they are stored; says whether it has
    /// any at all.
    fn copy_attributes(&self, from: Spot<'_>, to: Spot<'_>, level: u16) -> Result<bool> {
        let names = bare::listxattr(from)?;
        for name in names.split(|b| *b == 0) {
            let marks = ondisk::is_ours(name) && ondisk::unescape(name).is_none();
            // What a placeholder stands for stays with it.
            let kept = !marks || name == ondisk::NODE.to_bytes();
            let wanted = name.starts_with(b"user.") || ondisk::is_acl(name);
            let Ok(name) = CString::new(name) else {
                continue;
            };
            if !kept || !wanted {
                continue;
            }
            if let Some(mut value) = bare::xattr(from, &name)? {
                self.translate_acl(name.to_bytes(), level, &mut value);
                bare::setxattr(to, &name, &value, 0)?;
            }
        }
        Ok(!names.is_empty())
    }

    /// Opens a file to read, with all its content.
    fn open_whole(&self, spot: Spot<'_>, level: u16) -> Result<OwnedFd> {
        let opened = bare::open_data(spot, false)?;
        if let (Some(content), Some(lower)) = (&self.content, usize::from(level).checked_sub(1))
            && let Some(mark) = bare::xattr(Spot::Open(opened.as_fd()), ondisk::LAZY)?
        {
            let file = bare::open_data(spot, true)?;
            if !content.fill(lower, &mark, file.as_fd()) {
                return Err(Code(libc::EIO));
            }
        }
        Ok(opened)
    }

    /// An opened regular file: to read, or in the upper to write.
    pub(super) fn data(&self, node: &Arc<Node>, write: bool) -> Result<Data> {
        if let Some(data) = lock(&node.data).clone()
            && (data.writable || !write)
        {
            node.touch();
            return Ok(data);
        }
        if !node.is_file() {
            return Err(Code(libc::EINVAL));
        }
        if write {
            self.raise(node)?;
        }
        let place = lock(&node.place);
        let writable = place.level == UPPER && self.work.is_some();
        let level = place.level;
        let opened = self.at(node, &place, |spot| {
            if writable {
                bare::open_data(spot, true)
            } else {
                self.open_whole(spot, level)
            }
        })?;
        let data = Data {
            handle: self.handles.keep(opened),
            writable,
        };
        *lock(&node.data) = Some(data.clone());
        drop(place);
        self.handles.enlist(node);
        Ok(data)
    }
}

/// Copies the first `size` bytes into an empty file inside the kernel; holes are looked for only
/// in what is `sparse`.
fn copy_parts(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64, sparse: bool) -> Result<()> {
    let mut offset = 0;
    // Where what was written ends.
    let mut reached = 0;
    while offset < size {
        let start = match sparse {
            false => offset,
            true => match bare::seek(from, offset, false) {
                Ok(start) => start,
                // Nothing but a hole follows.
                Err(Code(libc::ENXIO)) => break,
                Err(Code(libc::EINVAL)) => offset,
                Err(code) => return Err(code),
            },
        };
        let end = match sparse {
            false => size,
            true => bare::seek(from, start, true).unwrap_or(size).min(size),
        };
        let mut at = start;
        while at < end {
            match bare::copy_range(from, at, to, at, end - at) {
                Ok(0) => break,
                Ok(n) => at += n,
                Err(Code(libc::EXDEV | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP)) => {
                    copy_by_hand(from, to, at, end)?;
                    at = end;
                }
                Err(code) => return Err(code),
            }
        }
        reached = at;
        offset = end.max(offset + 1);
    }
    if reached == size {
        return Ok(());
    }
    bare::truncate(to, size)
}

fn copy_by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, mut at: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while at < end {
        let want = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = bare::read(from, &mut buffer[..want], at)?;
        if n == 0 {
            break;
        }
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let written = bare::write(to, rest, at)?;
            if written == 0 {
                return Err(Code(libc::ENOSPC));
            }
            rest = &rest[written..];
            at += written as u64;
        }
    }
    Ok(())
}
