//! New files, folders, links and other names.
//!
//! What gets the place of a whiteout is made in the work folder first and renamed over it: until
//! then the whiteout hides what lies beneath.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use super::node::{Data, Listing, Name, Node, Part, Slot, UPPER};
use super::{Overlay, discard, lock};
use crate::spec::ondisk;
use crate::sys::bare::{self, Code, Rename, Result, Spot, Stat};

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    /// A regular file, a FIFO, a socket or a device: type and permissions, and the device.
    Node(u32, u64),
    /// A folder: permissions.
    Folder(u32),
    /// A symbolic link: its text.
    Link(&'a [u8]),
}

/// Who makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) umask: u32,
}

/// How something takes the place of a whiteout.
#[derive(Clone, Copy, Debug)]
struct Over {
    owner: (u32, u32),
    /// The whiteout hides something: a folder must go on doing so.
    beneath: bool,
    /// The folder gives its access control list to what is new in it.
    inherits: bool,
}

impl What<'_> {
    fn mode(self) -> u32 {
        match self {
            Self::Node(mode, _) | Self::Folder(mode) => mode & 0o7777,
            Self::Link(_) => 0o777,
        }
    }

    fn kind(self) -> u32 {
        match self {
            Self::Node(mode, _) if mode & libc::S_IFMT == 0 => libc::S_IFREG,
            Self::Node(mode, _) => mode & libc::S_IFMT,
            Self::Folder(_) => libc::S_IFDIR,
            Self::Link(_) => libc::S_IFLNK,
        }
    }
}

impl Overlay {
    /// Makes something; the kernel is told of it.
    pub(super) fn make(
        &self,
        caller: Caller,
        parent: &Arc<Node>,
        name: &[u8],
        what: What<'_>,
    ) -> Result<(Arc<Node>, Stat)> {
        bare::check(name)?;
        if what.kind() == libc::S_IFCHR && matches!(what, What::Node(_, 0)) {
            // It would be a whiteout.
            return Err(Code(libc::EPERM));
        }
        self.raise(parent)?;
        let mut listed = self.listing(parent)?;
        let listing = listed.get();
        let old = listing.slot(name);
        if old.is_some_and(|old| !old.is_whiteout()) {
            return Err(Code(libc::EEXIST));
        }
        let dir = self.part(parent, UPPER)?;
        let dir = dir.as_fd();
        let folder = bare::stat(Spot::Open(dir))?;
        let folder = self.shown(Spot::Open(dir), &folder, UPPER)?;
        let inherits = self.inherits(listing, dir)?;
        let mut mode = what.mode();
        if !inherits {
            mode &= !caller.umask;
        }
        let in_group = folder.mode & libc::S_ISGID != 0;
        if in_group && what.kind() == libc::S_IFDIR {
            mode |= libc::S_ISGID;
        }
        let gid = if in_group { folder.gid } else { caller.gid };
        let made = match old {
            None => Self::create_in(dir, name, what, mode).and_then(|file| {
                self.dress(Spot::Name(dir, name), caller.uid, gid, mode)
                    .inspect_err(|_| remove(dir, name, what))?;
                Ok(file)
            }),
            Some(old) => {
                let over = Over {
                    owner: (caller.uid, gid),
                    beneath: old.beneath,
                    inherits,
                };
                self.make_over(dir, name, what, mode, over)
            }
        };
        let file = made?;
        let stat = bare::stat(Spot::Name(dir, name))?;
        let name = Name::from(name);
        let node = self.table.add(&stat, UPPER, self.base, parent, &name);
        if node.is_dir() {
            *lock(&node.parts) = Some(vec![Part {
                level: UPPER,
                handle: None,
                marked: false,
            }]);
            *lock(&node.list) = Some(Listing::default());
        }
        listing.put(&name, Slot::made(&stat, node.id, old));
        drop(listed);
        if !inherits && old.is_none() && !self.squash {
            lock(&node.place).attributed = Some(false);
        }
        if let Some(file) = file {
            *lock(&node.data) = Some(Data {
                handle: self.handles.keep(file),
                writable: true,
            });
            self.handles.enlist(&node);
        }
        let shown = self.present(&node, stat)?;
        Ok((node, shown))
    }

    /// Whether what is new in a folder gets an access control list from it.
    fn inherits(&self, listing: &mut Listing, dir: BorrowedFd<'_>) -> Result<bool> {
        if let Some(known) = listing.inherits {
            return Ok(known);
        }
        let found = bare::xattr(Spot::Open(dir), ondisk::ACL_DEFAULT)?.is_some();
        listing.inherits = Some(found);
        Ok(found)
    }

    fn create_in(
        dir: BorrowedFd<'_>,
        name: &[u8],
        what: What<'_>,
        mode: u32,
    ) -> Result<Option<std::os::fd::OwnedFd>> {
        match what {
            What::Node(..) if what.kind() == libc::S_IFREG => {
                return bare::create(dir, name, mode).map(Some);
            }
            What::Node(_, device) => bare::mknod(dir, name, what.kind() | mode, device)?,
            What::Folder(_) => bare::mkdir(dir, name, mode)?,
            What::Link(text) => bare::symlink(text, dir, name)?,
        }
        Ok(None)
    }

    /// Gives what was just made its owner, and the permissions that go with a change of it.
    fn dress(&self, spot: Spot<'_>, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let stat = bare::stat(spot)?;
        if (stat.uid, stat.gid) == (uid, gid) && !self.squash {
            return Ok(());
        }
        self.set_owner(spot, &stat, uid, gid)?;
        if mode & 0o6000 != 0 && matches!(stat.kind(), libc::S_IFREG | libc::S_IFDIR) {
            // An access control list may have changed the lower nine.
            let now = self.shown(spot, &bare::stat(spot)?, UPPER)?;
            self.set_mode(spot, &now, (now.mode & 0o777) | (mode & 0o7000))?;
        }
        Ok(())
    }

    /// Makes something where a whiteout is.
    fn make_over(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        what: What<'_>,
        mode: u32,
        over: Over,
    ) -> Result<Option<std::os::fd::OwnedFd>> {
        let Over {
            owner,
            beneath,
            inherits,
        } = over;
        let work = self.work()?.as_fd();
        // What inherits must be born in a folder to inherit from.
        let nursery = if inherits {
            let nursery = self.fresh_name();
            bare::mkdir(work, &nursery, 0o700)?;
            let opened = bare::open_dir_path(work, &nursery)?;
            if let Some(list) = bare::xattr(Spot::Open(dir), ondisk::ACL_DEFAULT)? {
                bare::setxattr(Spot::Open(opened.as_fd()), ondisk::ACL_DEFAULT, &list, 0)?;
            }
            Some((nursery, opened))
        } else {
            None
        };
        let from = nursery.as_ref().map_or(work, |(_, opened)| opened.as_fd());
        let temporary = self.fresh_name();
        let made = Self::create_in(from, &temporary, what, mode).and_then(|file| {
            let spot = Spot::Name(from, &temporary);
            self.dress(spot, owner.0, owner.1, mode)?;
            if matches!(what, What::Folder(_)) {
                if beneath {
                    bare::setxattr(spot, ondisk::OPAQUE, b"y", 0)?;
                }
                bare::rename(from, &temporary, dir, name, Rename::Exchange)?;
                // The whiteout.
                bare::unlink(from, &temporary)?;
            } else {
                bare::rename(from, &temporary, dir, name, Rename::Replace)?;
            }
            Ok(file)
        });
        if made.is_err() {
            remove(from, &temporary, what);
        }
        if let Some((nursery, _)) = &nursery {
            bare::rmdir(work, nursery)?;
        }
        made
    }

    /// Gives a file another name; the kernel is told of it.
    pub(super) fn link(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<(Arc<Node>, Stat)> {
        bare::check(name)?;
        self.raise(node)?;
        self.raise(parent)?;
        let mut listed = self.listing(parent)?;
        let listing = listed.get();
        let old = listing.slot(name);
        if old.is_some_and(|old| !old.is_whiteout()) {
            return Err(Code(libc::EEXIST));
        }
        let to = self.part(parent, UPPER)?;
        let place = lock(&node.place);
        if place.gone.is_some() {
            return Err(Code(libc::ENOENT));
        }
        let (from_parent, from_name) = node.name().ok_or(Code(libc::EPERM))?;
        let from = self.part(&from_parent, UPPER)?;
        if old.is_none() {
            bare::link(from.as_fd(), &from_name, to.as_fd(), name)?;
        } else {
            let work = self.work()?.as_fd();
            let temporary = self.fresh_name();
            bare::link(from.as_fd(), &from_name, work, &temporary)?;
            bare::rename(work, &temporary, to.as_fd(), name, Rename::Replace)
                .inspect_err(|_| discard(bare::unlink(work, &temporary)))?;
        }
        let stat = bare::stat(Spot::Name(to.as_fd(), name))?;
        let name = Name::from(name);
        node.add_name(parent, &name);
        drop(place);
        self.table.link(node, (stat.dev, stat.ino));
        listing.put(&name, Slot::made(&stat, node.id, old));
        drop(listed);
        let shown = self.present(node, stat)?;
        let node = self.table.told(node.id).ok_or(Code(libc::ESTALE))?;
        Ok((node, shown))
    }
}

/// Takes away what could not be finished.
fn remove(dir: BorrowedFd<'_>, name: &[u8], what: What<'_>) {
    let _ = match what {
        What::Folder(_) => bare::rmdir(dir, name),
        _ => bare::unlink(dir, name),
    };
}
