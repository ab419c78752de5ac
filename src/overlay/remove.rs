//! Names that go: from the upper, and behind a whiteout where a lower layer has them.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::node::{Listing, Name, Node, Slot, UPPER};
use super::{Overlay, discard, lock};
use crate::spec::ondisk::{OPAQUE, WHITEOUT};
use crate::sys::bare::{self, Code, Rename, Result, Spot};

impl Overlay {
    /// Removes a name that is no folder.
    pub(super) fn unlink(&self, parent: &Arc<Node>, name: &[u8]) -> Result<()> {
        bare::check(name)?;
        self.raise(parent)?;
        let mut listed = self.listing(parent)?;
        let listing = listed.get();
        let slot = listing.shown(name).ok_or(Code(libc::ENOENT))?;
        if slot.kind == libc::S_IFDIR {
            return Err(Code(libc::EISDIR));
        }
        let dir = self.part(parent, UPPER)?;
        let node = self.named(parent, name, slot);
        let mut place = node.as_ref().map(|node| lock(&node.place));
        if let (Some(node), Some(place)) = (&node, &mut place) {
            self.pin(node, place, parent, name)?;
        }
        let removed = if !slot.covers() {
            bare::unlink(dir.as_fd(), name)
        } else {
            self.hide(dir.as_fd(), name, slot.level == UPPER)
        };
        if let Err(code) = removed {
            if let (Some(node), Some(place)) = (&node, &mut place)
                && node.name().is_some()
            {
                place.gone = None;
            }
            return Err(code);
        }
        if let Some(node) = &node {
            node.drop_name(parent, name);
        }
        drop(place);
        bury(listing, name, slot);
        Ok(())
    }

    /// The node of a name, if the kernel knows it.
    pub(super) fn named(&self, parent: &Arc<Node>, name: &[u8], slot: Slot) -> Option<Arc<Node>> {
        let node = self.table.get(slot.node)?;
        node.is_called(parent, name).then_some(node)
    }

    /// Before a node loses a name: if it is the last, somebody may still use the node.
    pub(super) fn pin(
        &self,
        node: &Arc<Node>,
        place: &mut super::node::Place,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<()> {
        if lock(&node.names).len() > 1 || place.gone.is_some() {
            return Ok(());
        }
        let opened = lock(&node.data).clone();
        place.gone = match opened {
            Some(data) => Some(data.handle),
            None => {
                let dir = self.part(parent, place.level)?;
                let open = bare::open_path(dir.as_fd(), name)?;
                Some(self.handles.keep(open))
            }
        };
        Ok(())
    }

    /// Puts a whiteout at `name`, where something is in the upper if `present`.
    pub(super) fn hide(&self, dir: BorrowedFd<'_>, name: &[u8], present: bool) -> Result<()> {
        if !present {
            return self.whiteout(dir, name, dir);
        }
        let work = self.work()?.as_fd();
        let temporary = self.fresh_name();
        self.whiteout(work, &temporary, dir)?;
        bare::rename(work, &temporary, dir, name, Rename::Replace)
            .inspect_err(|_| discard(bare::unlink(work, &temporary)))
    }

    /// Makes a whiteout that is to lie in `folder`: a character device 0/0, or an empty file with
    /// a mark where that is refused.
    fn whiteout(&self, dir: BorrowedFd<'_>, name: &[u8], folder: BorrowedFd<'_>) -> Result<()> {
        if !self.marked_whiteouts.load(Ordering::Relaxed) {
            match bare::whiteout(dir, name) {
                Err(Code(libc::EPERM | libc::ENODEV | libc::EOPNOTSUPP)) => {
                    self.marked_whiteouts.store(true, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let spot = Spot::Open(folder);
        if bare::xattr(spot, OPAQUE)?.is_none() {
            bare::setxattr(spot, OPAQUE, b"x", 0)?;
        }
        drop(bare::create(dir, name, 0o600)?);
        bare::setxattr(Spot::Name(dir, name), WHITEOUT, b"y", 0)
            .inspect_err(|_| discard(bare::unlink(dir, name)))
    }

    /// Removes an empty folder.
    pub(super) fn rmdir(&self, parent: &Arc<Node>, name: &[u8]) -> Result<()> {
        bare::check(name)?;
        self.raise(parent)?;
        let mut listed = self.listing(parent)?;
        let listing = listed.get();
        let slot = listing.shown(name).ok_or(Code(libc::ENOENT))?;
        if slot.kind != libc::S_IFDIR {
            return Err(Code(libc::ENOTDIR));
        }
        let (node, _) = self
            .find_in(parent, listing, name)?
            .ok_or(Code(libc::ENOENT))?;
        let removed = self.remove_folder(parent, listing, name, &node);
        self.table.forget(node.id, 1);
        removed
    }

    fn remove_folder(
        &self,
        parent: &Arc<Node>,
        listing: &mut Listing,
        name: &[u8],
        node: &Arc<Node>,
    ) -> Result<()> {
        let mut inside = self.listing(node)?;
        if !inside.get().is_empty() {
            return Err(Code(libc::ENOTEMPTY));
        }
        let slot = listing.shown(name).ok_or(Code(libc::ENOENT))?;
        let dir = self.part(parent, UPPER)?;
        let mut place = lock(&node.place);
        self.pin(node, &mut place, parent, name)?;
        let _alone = self
            .topology
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let removed = if slot.level != UPPER {
            self.hide(dir.as_fd(), name, false)
        } else {
            self.take_folder(dir.as_fd(), name, slot.covers())
        };
        if let Err(code) = removed {
            place.gone = None;
            return Err(code);
        }
        node.drop_name(parent, name);
        *inside.get() = Listing::default();
        bury(listing, name, slot);
        Ok(())
    }

    /// Removes a folder of the upper that shows nothing, though whiteouts may be in it; a whiteout
    /// follows it if it `covers` something.
    fn take_folder(&self, dir: BorrowedFd<'_>, name: &[u8], covers: bool) -> Result<()> {
        if !covers {
            match bare::rmdir(dir, name) {
                Err(Code(libc::ENOTEMPTY | libc::EEXIST)) => {}
                other => return other,
            }
        }
        let work = self.work()?.as_fd();
        let temporary = self.fresh_name();
        if covers {
            self.whiteout(work, &temporary, dir)?;
            bare::rename(work, &temporary, dir, name, Rename::Exchange)
                .inspect_err(|_| discard(bare::unlink(work, &temporary)))?;
        } else {
            bare::rename(dir, name, work, &temporary, Rename::Replace)?;
        }
        // It is gone for those who look; what fails here goes with the next start.
        let _ = bare::open_dir_path(work, &temporary).and_then(|d| empty_folder(d.as_fd()));
        let _ = bare::rmdir(work, &temporary);
        Ok(())
    }

    /// Makes a folder of the upper that shows nothing truly empty, so that a rename can replace it.
    pub(super) fn clear_whiteouts(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let old = bare::open_dir_path(dir, name)?;
        let mut any = false;
        bare::list(old.as_fd(), |_| {
            any = true;
            Ok(())
        })?;
        if !any {
            return Ok(());
        }
        // An opaque one takes its place in one step: nothing from beneath may show meanwhile.
        let stat = bare::stat(Spot::Open(old.as_fd()))?;
        let work = self.work()?.as_fd();
        let temporary = self.fresh_name();
        bare::mkdir(work, &temporary, 0o700)?;
        let spot = Spot::Name(work, &temporary);
        bare::setxattr(spot, OPAQUE, b"y", 0)?;
        self.set_owner(spot, &stat, stat.uid, stat.gid)?;
        bare::chmod(spot, stat.mode)?;
        bare::rename(work, &temporary, dir, name, Rename::Exchange)?;
        empty_folder(old.as_fd())?;
        bare::rmdir(work, &temporary)
    }
}

/// Notes that a name is gone.
pub(super) fn bury(listing: &mut Listing, name: &[u8], slot: Slot) {
    if slot.covers() {
        listing.put(
            &Name::from(name),
            Slot {
                position: 0,
                kind: 0,
                ino: 0,
                level: UPPER,
                node: 0,
                beneath: true,
            },
        );
    } else {
        listing.remove(name);
    }
}

/// Removes all that is in a folder of ours. Whatever has a folder in it is emptied first.
pub(super) fn empty_folder(dir: BorrowedFd<'_>) -> Result<()> {
    let mut names = Vec::new();
    bare::list(dir, |entry| {
        names.push(entry.name.to_vec());
        Ok(())
    })?;
    for name in names {
        match bare::unlink(dir, &name) {
            Err(Code(libc::EISDIR | libc::EPERM)) => {}
            Err(Code(libc::ENOENT)) | Ok(()) => continue,
            Err(code) => return Err(code),
        }
        match bare::rmdir(dir, &name) {
            Err(Code(libc::ENOTEMPTY | libc::EEXIST)) => {
                // Only what was half made, or held whiteouts: one level deep.
                let inner = bare::open_dir_path(dir, &name)?;
                empty_folder(inner.as_fd())?;
                bare::rmdir(dir, &name)?;
            }
            other => other?,
        }
    }
    Ok(())
}
