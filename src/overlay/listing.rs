//! Folders: their parts in the layers, what they show together, and finding a name in them.
//!
//! A folder's listing is read once and is the truth from then on: nobody but this server changes
//! it. So a name that is not there costs no system call.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::handles::Handle;
use super::node::{Listing, Name, Node, Part, Place, Slot, UPPER};
use super::{Overlay, lock};
use crate::spec::ondisk::{OPAQUE, WHITEOUT};
use crate::sys::bare::{self, Code, Result, Spot, Stat};

/// The lock on what is in a folder, with what is in it.
pub(super) struct Listed<'a>(MutexGuard<'a, Option<Listing>>);

impl Listed<'_> {
    /// The listing.
    pub(super) fn get(&mut self) -> &mut Listing {
        self.0.get_or_insert_default()
    }
}

impl Overlay {
    /// A descriptor of the part of a folder in one layer.
    ///
    /// A folder has the same path in all layers that it is merged of, so one whose descriptor was
    /// given up is found again from the next folder above that has one.
    pub(super) fn part(&self, node: &Arc<Node>, level: u16) -> Result<Handle> {
        if let Some(handle) = held(node, level) {
            node.touch();
            return Ok(handle);
        }
        let handle = {
            let _still = self.topology.read().unwrap_or_else(PoisonError::into_inner);
            let mut way: Vec<Name> = Vec::new();
            let mut here = node.clone();
            let start = loop {
                if Arc::ptr_eq(&here, &self.root) {
                    let root = self.roots.get(usize::from(level));
                    break root.cloned().flatten().ok_or(Code(libc::ENOENT))?;
                }
                if !way.is_empty()
                    && let Some(handle) = held(&here, level)
                {
                    break handle;
                }
                let (parent, name) = here.name().ok_or(Code(libc::ENOENT))?;
                way.push(name);
                here = parent;
            };
            let mut handle = start;
            while let Some(name) = way.pop() {
                let next = bare::open_dir_path(handle.as_fd(), &name)?;
                handle = self.handles.keep(next);
            }
            handle
        };
        if let Some(parts) = lock(&node.parts).as_mut()
            && let Some(part) = parts.iter_mut().find(|part| part.level == level)
        {
            part.handle = Some(handle.clone());
        }
        self.handles.enlist(node);
        Ok(handle)
    }

    /// The layers that a folder is merged of, top first, and whether each may have whiteouts in
    /// xattr form.
    pub(super) fn levels(&self, node: &Arc<Node>) -> Result<Vec<(u16, bool)>> {
        let known = |node: &Node| {
            lock(&node.parts)
                .as_ref()
                .map(|parts| parts.iter().map(|p| (p.level, p.marked)).collect())
        };
        if let Some(levels) = known(node) {
            return Ok(levels);
        }
        let (parent, name) = node.name().ok_or(Code(libc::ENOENT))?;
        let above = self.levels(&parent)?;
        let place = lock(&node.place);
        // Somebody else may have been faster.
        if let Some(levels) = known(node) {
            return Ok(levels);
        }
        let mut parts: Vec<Part> = Vec::new();
        for (level, _) in above {
            if level < place.level {
                continue;
            }
            let dir = self.part(&parent, level)?;
            let child = match bare::open_dir_path(dir.as_fd(), &name) {
                Ok(child) => child,
                Err(Code(libc::ENOENT)) => continue,
                // A file or a whiteout ends the merge.
                Err(Code(libc::ENOTDIR | libc::ELOOP)) => break,
                Err(code) => return Err(code),
            };
            let mark = bare::xattr(Spot::Open(child.as_fd()), OPAQUE)?
                .and_then(|value| value.first().copied());
            parts.push(Part {
                level,
                handle: Some(self.handles.keep(child)),
                marked: mark == Some(b'x'),
            });
            if mark == Some(b'y') {
                break;
            }
        }
        let levels = parts.iter().map(|p| (p.level, p.marked)).collect();
        *lock(&node.parts) = Some(parts);
        drop(place);
        self.handles.enlist(node);
        Ok(levels)
    }

    /// Locks what is in a folder.
    pub(super) fn listing<'a>(&self, node: &'a Arc<Node>) -> Result<Listed<'a>> {
        let mut guard = lock(&node.list);
        if guard.is_none() {
            *guard = Some(self.read_listing(node)?);
            lock(&node.copied).clear();
        }
        let mut listed = Listed(guard);
        note_copies(node, listed.get());
        Ok(listed)
    }

    fn read_listing(&self, node: &Arc<Node>) -> Result<Listing> {
        let mut listing = Listing::default();
        if lock(&node.place).gone.is_some() {
            return Ok(listing);
        }
        for (level, marked) in self.levels(node)? {
            let dir = self.part(node, level)?;
            bare::list(dir.as_fd(), |entry| {
                let (mut kind, mut ino) = (entry.kind, entry.ino);
                let old = listing.slot(entry.name);
                // What is below the first of the lower layers decides nothing any more.
                if old.is_some_and(|old| old.level != UPPER || old.beneath) {
                    return Ok(());
                }
                if kind == 0 || kind == libc::S_IFCHR || (marked && kind == libc::S_IFREG) {
                    let stat = bare::stat(Spot::Name(dir.as_fd(), entry.name))?;
                    (kind, ino) = (stat.kind(), stat.ino);
                    if is_whiteout(dir.as_fd(), entry.name, &stat, marked)? {
                        kind = 0;
                    }
                }
                match old {
                    Some(_) if kind == 0 => {
                        // Hidden by a lower layer: nothing lies beneath, whatever follows.
                        if let Some(slot) = listing.slot_mut(entry.name) {
                            slot.node = DECIDED;
                        }
                    }
                    Some(old) if old.node == DECIDED => {}
                    Some(_) => {
                        if let Some(slot) = listing.slot_mut(entry.name) {
                            slot.beneath = true;
                        }
                    }
                    None => listing.put(
                        &Name::from(entry.name),
                        Slot {
                            position: 0,
                            kind,
                            ino,
                            level,
                            node: 0,
                            beneath: false,
                        },
                    ),
                }
                Ok(())
            })?;
        }
        listing.drop_lower_whiteouts();
        listing.settle();
        Ok(listing)
    }

    /// What the kernel is told when it asks for a name: the node, and its attributes on disk.
    /// `None` when there is nothing. It is told of the node once more.
    pub(super) fn find(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<Option<(Arc<Node>, Stat)>> {
        let mut listed = self.listing(parent)?;
        self.find_in(parent, listed.get(), name)
    }

    /// As [`Overlay::find`], in a listing that is locked.
    pub(super) fn find_in(
        &self,
        parent: &Arc<Node>,
        listing: &mut Listing,
        name: &[u8],
    ) -> Result<Option<(Arc<Node>, Stat)>> {
        let Some(slot) = listing.shown(name) else {
            return Ok(None);
        };
        if slot.node != 0
            && let Some(node) = self.table.told(slot.node)
        {
            if node.is_called(parent, name) {
                match self.stat(&node) {
                    Ok(stat) => return Ok(Some((node, stat))),
                    Err(code) => {
                        self.table.forget(node.id, 1);
                        return Err(code);
                    }
                }
            }
            self.table.forget(slot.node, 1);
        }
        let dir = self.part(parent, slot.level)?;
        let stat = match bare::stat(Spot::Name(dir.as_fd(), name)) {
            Err(Code(libc::ENOENT)) => return Ok(None),
            other => other?,
        };
        let name = listing.key(name);
        let add = || self.table.add(&stat, slot.level, self.base, parent, &name);
        let key = (stat.dev, stat.ino);
        let (mut node, known) = if stat.nlink > 1 && !stat.is_dir() {
            self.table.linked(key, add)
        } else {
            (add(), false)
        };
        let mut stat = stat;
        if known {
            let adopted = self.adopt(parent, listing, &name, slot, &node);
            if !matches!(adopted, Ok(true)) {
                self.table.forget(node.id, 1);
            }
            if adopted? {
                stat = self
                    .stat(&node)
                    .inspect_err(|_| self.table.forget(node.id, 1))?;
            } else {
                node = add();
                self.table.link(&node, key);
            }
        }
        if let Some(slot) = listing.slot_mut(&name) {
            slot.node = node.id;
        }
        Ok(Some((node, stat)))
    }

    /// Another name of a file that has a node: if the file was copied to the upper meanwhile, the
    /// name goes there, too. `false` when the copy has lost its names: this one is on its own.
    fn adopt(
        &self,
        parent: &Arc<Node>,
        listing: &mut Listing,
        name: &Name,
        slot: Slot,
        node: &Arc<Node>,
    ) -> Result<bool> {
        let mut place = lock(&node.place);
        let copied = place.level == UPPER && slot.level != UPPER;
        if copied && node.name().is_none() {
            return Ok(false);
        }
        if copied {
            drop(place);
            self.raise(parent)?;
            self.link_up(node, parent, name)?;
            if let Some(slot) = listing.slot_mut(name) {
                slot.level = UPPER;
                slot.beneath = true;
            }
        } else {
            // It lost the names that the kernel knew; here is another.
            place.gone = None;
        }
        node.add_name(parent, name);
        Ok(true)
    }

    /// Calls `with` with where a node is, which holds still meanwhile.
    pub(super) fn at<T>(
        &self,
        node: &Arc<Node>,
        place: &Place,
        with: impl FnOnce(Spot<'_>) -> Result<T>,
    ) -> Result<T> {
        if let Some(gone) = &place.gone {
            return with(Spot::Open(gone.as_fd()));
        }
        let Some((parent, name)) = node.name() else {
            if Arc::ptr_eq(node, &self.root) {
                let root = self.part(node, place.level)?;
                return with(Spot::Open(root.as_fd()));
            }
            return Err(Code(libc::ESTALE));
        };
        let dir = self.part(&parent, place.level)?;
        with(Spot::Name(dir.as_fd(), &name))
    }

    /// The attributes of a node on disk.
    pub(super) fn stat(&self, node: &Arc<Node>) -> Result<Stat> {
        let place = lock(&node.place);
        self.at(node, &place, bare::stat)
    }
}

/// In [`Slot::node`] while a listing is read: a lower layer hides what is beneath.
const DECIDED: u64 = u64::MAX;

impl Listing {
    /// Ends the reading.
    fn settle(&mut self) {
        self.each(|slot| slot.node = 0);
    }
}

/// What a folder's listing does not know yet: these names are in the upper now.
pub(super) fn note_copies(node: &Node, listing: &mut Listing) {
    let copied = std::mem::take(&mut *lock(&node.copied));
    for name in copied {
        if let Some(slot) = listing.slot_mut(&name)
            && slot.level != UPPER
        {
            slot.level = UPPER;
            slot.beneath = true;
        }
    }
}

fn held(node: &Node, level: u16) -> Option<Handle> {
    lock(&node.parts)
        .as_ref()?
        .iter()
        .find(|part| part.level == level)?
        .handle
        .clone()
}

/// Whether what lies there only hides what is beneath.
fn is_whiteout(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat, marked: bool) -> Result<bool> {
    if stat.is_whiteout() {
        return Ok(true);
    }
    if !marked || stat.kind() != libc::S_IFREG || stat.size != 0 {
        return Ok(false);
    }
    Ok(bare::xattr(Spot::Name(dir, name), WHITEOUT)?.is_some())
}
