//! Renames and exchanges.
//!
//! As in the kernel's overlay with `userxattr`, a folder that a lower layer has a part of cannot be
//! renamed (EXDEV): there is no redirect that the kernel would follow. mv(1) copies it then.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::node::{Listing, Name, Node, Place, Slot, UPPER};
use super::remove::bury;
use super::{Overlay, lock};
use crate::spec::ondisk::OPAQUE;
use crate::sys::bare::{self, Code, Rename, Result, Spot};

/// What happens to what has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// It is replaced.
    Replaced,
    /// There must be none.
    Absent,
    /// It gets the old name.
    Exchanged,
}

/// A name in a folder, and what it is of.
struct End<'a> {
    parent: &'a Arc<Node>,
    name: &'a [u8],
    slot: Slot,
    node: Option<Arc<Node>>,
}

impl Overlay {
    /// Renames `old` in `from` to `new` in `to`.
    pub(super) fn rename(
        &self,
        from: &Arc<Node>,
        old: &[u8],
        to: &Arc<Node>,
        new: &[u8],
        target: Target,
    ) -> Result<()> {
        bare::check(old)?;
        bare::check(new)?;
        self.raise(from)?;
        self.raise(to)?;
        // Both ends are known to the kernel; their nodes are brought to the upper without a lock
        // on the folders.
        let source = self.prepare(from, old, true)?;
        let goal = self.prepare(to, new, target == Target::Exchanged)?;
        let result = self.rename_nodes((from, old), (to, new), target);
        for node in [source, goal].into_iter().flatten() {
            self.table.forget(node.id, 1);
        }
        result
    }

    /// The node at an end, in the upper if it is to move.
    fn prepare(&self, parent: &Arc<Node>, name: &[u8], moves: bool) -> Result<Option<Arc<Node>>> {
        let Some((node, _)) = self.find(parent, name)? else {
            return Ok(None);
        };
        let ready = || {
            if node.is_dir() {
                let levels = self.levels(&node)?;
                if moves && levels.iter().any(|(level, _)| *level != UPPER) {
                    return Err(Code(libc::EXDEV));
                }
            }
            if moves { self.raise(&node) } else { Ok(()) }
        };
        ready().inspect_err(|_| self.table.forget(node.id, 1))?;
        Ok(Some(node))
    }

    fn rename_nodes(
        &self,
        from: (&Arc<Node>, &[u8]),
        to: (&Arc<Node>, &[u8]),
        target: Target,
    ) -> Result<()> {
        if Arc::ptr_eq(from.0, to.0) {
            let mut listed = self.listing(from.0)?;
            return self.rename_in(from, to, target, Lists::One(listed.get()));
        }
        // Always in the same order.
        if from.0.id < to.0.id {
            let mut first = self.listing(from.0)?;
            let mut second = self.listing(to.0)?;
            self.rename_in(from, to, target, Lists::Two(first.get(), second.get()))
        } else {
            let mut first = self.listing(to.0)?;
            let mut second = self.listing(from.0)?;
            self.rename_in(from, to, target, Lists::Two(second.get(), first.get()))
        }
    }

    fn rename_in(
        &self,
        from: (&Arc<Node>, &[u8]),
        to: (&Arc<Node>, &[u8]),
        target: Target,
        mut lists: Lists<'_>,
    ) -> Result<()> {
        let slot = lists.from().shown(from.1).ok_or(Code(libc::ENOENT))?;
        let source = End {
            parent: from.0,
            name: from.1,
            slot,
            node: self.named(from.0, from.1, slot),
        };
        let there = lists.to().slot(to.1);
        let goal = there.map(|slot| End {
            parent: to.0,
            name: to.1,
            slot,
            node: (!slot.is_whiteout())
                .then(|| self.named(to.0, to.1, slot))
                .flatten(),
        });
        let shown = goal.as_ref().filter(|goal| !goal.slot.is_whiteout());
        match (shown, target) {
            (Some(_), Target::Absent) => return Err(Code(libc::EEXIST)),
            (None, Target::Exchanged) => return Err(Code(libc::ENOENT)),
            _ => {}
        }
        if slot.level != UPPER {
            // It went back to the lower layers meanwhile: nobody does that.
            return Err(Code(libc::EXDEV));
        }
        let (dir_from, dir_to) = (self.part(from.0, UPPER)?, self.part(to.0, UPPER)?);
        let dirs = (dir_from.as_fd(), dir_to.as_fd());
        if let Some(goal) = shown {
            check_kinds(&source.slot, &goal.slot, target)?;
            if target == Target::Replaced && goal.slot.kind == libc::S_IFDIR {
                self.make_replaceable(goal, dirs.1)?;
            }
        }
        // Something may lie beneath the new place: a folder must not show it.
        let covers = there.is_some_and(|there| there.covers());
        if covers && slot.kind == libc::S_IFDIR {
            bare::setxattr(Spot::Name(dirs.0, from.1), OPAQUE, b"y", 0)?;
        }
        if target == Target::Exchanged
            && slot.covers()
            && shown.is_some_and(|goal| goal.slot.kind == libc::S_IFDIR)
        {
            bare::setxattr(Spot::Name(dirs.1, to.1), OPAQUE, b"y", 0)?;
        }
        let mut places = Places::lock(source.node.as_ref(), shown.and_then(|g| g.node.as_ref()));
        if target == Target::Replaced
            && let Some(goal) = shown
            && let (Some(node), Some(place)) = (&goal.node, places.goal())
        {
            self.pin(node, place, goal.parent, goal.name)?;
        }
        let folders =
            slot.kind == libc::S_IFDIR || shown.is_some_and(|goal| goal.slot.kind == libc::S_IFDIR);
        let alone = folders.then(|| {
            self.topology
                .write()
                .unwrap_or_else(PoisonError::into_inner)
        });
        let renamed = if target == Target::Exchanged {
            bare::rename(dirs.0, from.1, dirs.1, to.1, Rename::Exchange)
        } else {
            let over_whiteout = there.is_some_and(|there| there.is_whiteout());
            self.move_one(dirs, (from.1, to.1), &slot, over_whiteout)
        };
        if let Err(code) = renamed {
            if target == Target::Replaced
                && let (Some(node), Some(place)) =
                    (shown.and_then(|goal| goal.node.as_ref()), places.goal())
                && node.name().is_some()
            {
                place.gone = None;
            }
            return Err(code);
        }
        let new_name = Name::from(to.1);
        let old_name = Name::from(from.1);
        if let Some(node) = shown.and_then(|goal| goal.node.as_ref()) {
            node.drop_name(to.0, to.1);
            if target == Target::Exchanged {
                node.add_name(from.0, &old_name);
            }
        }
        if let Some(node) = &source.node {
            node.drop_name(from.0, from.1);
            node.add_name(to.0, &new_name);
        }
        drop(alone);
        drop(places);
        let beneath = |covers| Slot {
            level: UPPER,
            beneath: covers,
            ..slot
        };
        match shown {
            Some(goal) if target == Target::Exchanged => {
                let back = Slot {
                    level: UPPER,
                    beneath: slot.covers(),
                    ..goal.slot
                };
                lists.from().put(&old_name, back);
            }
            _ => bury(lists.from(), from.1, slot),
        }
        lists.to().put(&new_name, beneath(covers));
        Ok(())
    }

    /// Moves what is in the upper; a whiteout stays at the old name if something lies beneath.
    fn move_one(
        &self,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        (old, new): (&[u8], &[u8]),
        slot: &Slot,
        over_whiteout: bool,
    ) -> Result<()> {
        if over_whiteout && slot.kind == libc::S_IFDIR {
            // A folder cannot replace a whiteout, but change places with it.
            bare::rename(from, old, to, new, Rename::Exchange)?;
            if !slot.covers() {
                bare::unlink(from, old)?;
            }
            return Ok(());
        }
        if !slot.covers() {
            return bare::rename(from, old, to, new, Rename::Replace);
        }
        match bare::rename(from, old, to, new, Rename::Whiteout) {
            Err(Code(libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP)) => {}
            other => return other,
        }
        bare::rename(from, old, to, new, Rename::Replace)?;
        self.hide(from, old, false)
    }

    /// The target of a rename is a folder that shows nothing; it must have nothing.
    fn make_replaceable(&self, goal: &End<'_>, dir: BorrowedFd<'_>) -> Result<()> {
        let node = goal.node.as_ref().ok_or(Code(libc::ESTALE))?;
        if !self.listing(node)?.get().is_empty() {
            return Err(Code(libc::ENOTEMPTY));
        }
        if goal.slot.level == UPPER {
            let _place = lock(&node.place);
            self.clear_whiteouts(dir, goal.name)?;
            // Its descriptors are of what was there before.
            node.shed();
        }
        Ok(())
    }
}

fn check_kinds(source: &Slot, goal: &Slot, target: Target) -> Result<()> {
    let folder = |slot: &Slot| slot.kind == libc::S_IFDIR;
    match (folder(source), folder(goal)) {
        _ if target == Target::Exchanged => Ok(()),
        (true, false) => Err(Code(libc::ENOTDIR)),
        (false, true) => Err(Code(libc::EISDIR)),
        _ => Ok(()),
    }
}

/// The listings of the two folders, which may be one.
enum Lists<'a> {
    One(&'a mut Listing),
    Two(&'a mut Listing, &'a mut Listing),
}

impl Lists<'_> {
    fn from(&mut self) -> &mut Listing {
        match self {
            Self::One(list) | Self::Two(list, _) => list,
        }
    }

    fn to(&mut self) -> &mut Listing {
        match self {
            Self::One(list) | Self::Two(_, list) => list,
        }
    }
}

/// The locks on where the two ends are, taken in the order of their numbers.
struct Places<'a> {
    _source: Option<MutexGuard<'a, Place>>,
    goal: Option<MutexGuard<'a, Place>>,
}

impl<'a> Places<'a> {
    fn lock(source: Option<&'a Arc<Node>>, goal: Option<&'a Arc<Node>>) -> Self {
        match (source, goal) {
            (Some(source), Some(goal)) if Arc::ptr_eq(source, goal) => Self {
                _source: Some(lock(&source.place)),
                goal: None,
            },
            (Some(source), Some(goal)) if goal.id < source.id => {
                let goal = lock(&goal.place);
                Self {
                    _source: Some(lock(&source.place)),
                    goal: Some(goal),
                }
            }
            (source, goal) => {
                let source = source.map(|node| lock(&node.place));
                Self {
                    _source: source,
                    goal: goal.map(|node| lock(&node.place)),
                }
            }
        }
    }

    fn goal(&mut self) -> Option<&mut Place> {
        self.goal.as_deref_mut()
    }
}
