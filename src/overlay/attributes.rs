//! Owners, permissions, times and sizes: as they are on disk, and as they are shown.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use super::copyup::Keep;
use super::node::{Node, UPPER};
use super::{Overlay, lock};
use crate::spec::idmap::to_host;
use crate::spec::ondisk::{self, TrueOwner};
use crate::sys::bare::{self, Code, Result, Spot, Stat, Time};

/// Who nobody is (`overflowuid`).
const NOBODY: u32 = 65534;

/// Set-user-id, and set-group-id where a group may execute.
fn dangerous(mode: u32) -> u32 {
    let group = if mode & 0o010 != 0 { libc::S_ISGID } else { 0 };
    mode & (libc::S_ISUID | group)
}

/// A change of attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    /// Who asks: for others than root a change of size takes set-id bits away.
    pub(super) caller: u32,
}

impl Overlay {
    /// What is shown of a file in layer `level`: owners translated, or taken from where they are
    /// remembered.
    pub(super) fn shown(&self, spot: Spot<'_>, stat: &Stat, level: u16) -> Result<Stat> {
        let mut shown = *stat;
        let lower = level != UPPER;
        if ((lower && self.restore.is_some()) || self.squash)
            && let Some(owner) = remembered(spot, stat)?
        {
            (shown.uid, shown.gid) = (owner.uid, owner.gid);
            shown.mode = stat.kind() | owner.mode;
        }
        if lower && let Some(maps) = &self.maps {
            shown.uid = to_host(&maps.uids, shown.uid).unwrap_or(NOBODY);
            shown.gid = to_host(&maps.gids, shown.gid).unwrap_or(NOBODY);
        }
        Ok(shown)
    }

    /// Whether [`Overlay::shown`] differs from what is on disk.
    fn is_translated(&self, level: u16) -> bool {
        self.squash || (level != UPPER && (self.maps.is_some() || self.restore.is_some()))
    }

    /// The attributes of a node as they are shown.
    pub(super) fn attributes(&self, node: &Arc<Node>) -> Result<Stat> {
        let stat = self.stat(node)?;
        self.present(node, stat)
    }

    /// The attributes of a node as they are shown, after what is on disk.
    pub(super) fn present(&self, node: &Arc<Node>, stat: Stat) -> Result<Stat> {
        let place = lock(&node.place);
        let mut shown = if self.is_translated(place.level) {
            let mut shown = self.at(node, &place, |spot| self.shown(spot, &stat, place.level))?;
            if place.level != UPPER
                && !matches!(stat.kind(), libc::S_IFREG | libc::S_IFDIR)
                && place.gone.is_none()
            {
                self.restore_nameless(node, place.level, &mut shown);
            }
            shown
        } else {
            stat
        };
        drop(place);
        // A merged folder has its subfolders in several places: nobody may count on their number.
        if node.is_dir() && !self.is_pure(node) {
            shown.nlink = 1;
        }
        Ok(shown)
    }

    /// Whether all of a folder is in the upper.
    fn is_pure(&self, node: &Node) -> bool {
        lock(&node.parts)
            .as_ref()
            .is_some_and(|parts| parts.len() == 1 && parts[0].level == UPPER)
    }

    /// Links and FIFOs cannot have attributes: a table beside the layer has their owners.
    fn restore_nameless(&self, node: &Arc<Node>, level: u16, shown: &mut Stat) {
        let Some(tables) = &self.restore else { return };
        let Some(table) = tables.get(usize::from(level).wrapping_sub(1)) else {
            return;
        };
        if table.is_empty() {
            return;
        }
        if let Some(owner) = table.get(&self.path(node)) {
            (shown.uid, shown.gid) = (owner.uid, owner.gid);
            if let Some(maps) = &self.maps {
                shown.uid = to_host(&maps.uids, owner.uid).unwrap_or(NOBODY);
                shown.gid = to_host(&maps.gids, owner.gid).unwrap_or(NOBODY);
            }
            if shown.kind() != libc::S_IFLNK {
                shown.mode = shown.kind() | owner.mode;
            }
        }
    }

    /// The clean path of a node.
    pub(super) fn path(&self, node: &Arc<Node>) -> Vec<u8> {
        let mut names = Vec::new();
        let mut here = node.clone();
        while let Some((parent, name)) = here.name() {
            names.push(name);
            here = parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Gives a file in the upper to somebody, or remembers that.
    pub(super) fn set_owner(&self, spot: Spot<'_>, now: &Stat, uid: u32, gid: u32) -> Result<()> {
        if !self.squash {
            return bare::chown(spot, Some(uid), Some(gid));
        }
        remember(spot, now, uid, gid, now.mode)
    }

    /// Changes permissions in the upper, or remembers them.
    pub(super) fn set_mode(&self, spot: Spot<'_>, now: &Stat, mode: u32) -> Result<()> {
        if !self.squash {
            return bare::chmod(spot, mode);
        }
        remember(spot, now, now.uid, now.gid, mode)
    }

    /// Changes attributes; gives those that are shown then.
    pub(super) fn change(&self, node: &Arc<Node>, change: &Change) -> Result<Stat> {
        let keep = change.size.map_or(Keep::All, Keep::First);
        self.raise_with(node, keep)?;
        if let Some(size) = change.size {
            let data = self.data(node, true)?;
            bare::truncate(data.handle.as_fd(), size)?;
            if change.caller != 0 {
                self.drop_privileges(node)?;
            }
        }
        let place = lock(&node.place);
        let stat = self.at(node, &place, |spot| {
            let stat = bare::stat(spot)?;
            let shown = self.shown(spot, &stat, UPPER)?;
            let is_link = stat.kind() == libc::S_IFLNK;
            let given = change.uid.is_some() || change.gid.is_some();
            if given {
                if self.squash {
                    let mode = if stat.is_dir() {
                        shown.mode
                    } else {
                        shown.mode & !dangerous(shown.mode)
                    };
                    let uid = change.uid.unwrap_or(shown.uid);
                    let gid = change.gid.unwrap_or(shown.gid);
                    remember(spot, &shown, uid, gid, mode)?;
                } else {
                    bare::chown(spot, change.uid, change.gid)?;
                }
            }
            if let Some(mode) = change.mode {
                if is_link {
                    return Err(Code(libc::EOPNOTSUPP));
                }
                let now = match given {
                    true => self.shown(spot, &bare::stat(spot)?, UPPER)?,
                    false => shown,
                };
                self.set_mode(spot, &now, mode)?;
            }
            if change.atime != Time::Keep || change.mtime != Time::Keep {
                bare::set_times(spot, change.atime, change.mtime)?;
            }
            bare::stat(spot)
        })?;
        drop(place);
        self.present(node, stat)
    }

    /// Takes set-id bits away, as the kernel does when somebody without the right to them writes.
    pub(super) fn drop_privileges(&self, node: &Arc<Node>) -> Result<()> {
        let place = lock(&node.place);
        self.at(node, &place, |spot| {
            let stat = self.shown(spot, &bare::stat(spot)?, place.level)?;
            match dangerous(stat.mode) {
                0 => Ok(()),
                bits => self.set_mode(spot, &stat, stat.mode & !bits),
            }
        })
    }
}

/// The owner that a file's attribute remembers; links and FIFOs cannot have one.
fn remembered(spot: Spot<'_>, stat: &Stat) -> Result<Option<TrueOwner>> {
    if !matches!(stat.kind(), libc::S_IFREG | libc::S_IFDIR) {
        return Ok(None);
    }
    let value = bare::xattr(spot, ondisk::OWNER)?;
    Ok(value.and_then(|value| TrueOwner::parse(&value)))
}

/// Keeps owner and permissions of a file in an attribute. Those of links and FIFOs cannot be kept:
/// they stay the caller's.
fn remember(spot: Spot<'_>, stat: &Stat, uid: u32, gid: u32, mode: u32) -> Result<()> {
    if !matches!(stat.kind(), libc::S_IFREG | libc::S_IFDIR) {
        return Ok(());
    }
    let owner = TrueOwner {
        uid,
        gid,
        mode: mode & 0o7777,
    };
    bare::setxattr(spot, ondisk::OWNER, owner.render().as_bytes(), 0)
}
