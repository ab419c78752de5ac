//! Answers to readdir(3), with and without attributes. Where one stops, the next goes on by the
//! position of the last name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use fuser::{FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::Overlay;
use super::node::{Name, Node, ROOT};
use super::reply::{FOREVER, NOTHING, kind, shown};
use crate::sys::bare::{Result, Stat};

/// Positions, numbers and names of the two that every folder has.
fn dots(node: &Arc<Node>) -> [(u64, u64, &'static str); 2] {
    let above = node.name().map_or(ROOT, |(parent, _)| parent.id);
    [(1, node.id, "."), (2, above, "..")]
}

/// Puts names into an answer until it is full.
pub(super) fn list(
    overlay: &Overlay,
    node: &Arc<Node>,
    offset: u64,
    reply: &mut ReplyDirectory,
) -> Result<()> {
    for (position, id, name) in dots(node) {
        if offset < position && reply.add(INodeNo(id), position, FileType::Directory, name) {
            return Ok(());
        }
    }
    let mut listed = overlay.listing(node)?;
    let listing = listed.get();
    let mut from = offset.max(2);
    while let Some((position, name)) = listing.after(from) {
        from = position;
        let Some(slot) = listing.shown(name) else {
            continue;
        };
        let id = if slot.node != 0 { slot.node } else { slot.ino };
        let name = OsStr::from_bytes(name);
        if reply.add(INodeNo(id), position, kind(slot.kind), name) {
            break;
        }
    }
    Ok(())
}

/// As [`list`], with attributes: the kernel is told of every node.
pub(super) fn list_plus(
    overlay: &Overlay,
    node: &Arc<Node>,
    offset: u64,
    reply: &mut ReplyDirectoryPlus,
) -> Result<()> {
    let mut add = |position, name: &OsStr, valid: &Duration, id, stat: &Stat| {
        let attributes = shown(id, stat);
        let generation = Generation(0);
        reply.add(INodeNo(id), position, name, valid, &attributes, generation)
    };
    let folder = Stat {
        mode: libc::S_IFDIR,
        ..NOTHING
    };
    for (position, id, name) in dots(node) {
        // The kernel takes the number from these two, and no attributes.
        if offset < position && add(position, OsStr::new(name), &Duration::ZERO, id, &folder) {
            return Ok(());
        }
    }
    let mut listed = overlay.listing(node)?;
    let listing = listed.get();
    let mut from = offset.max(2);
    while let Some((position, name)) = listing.after(from) {
        from = position;
        let name: Name = name.clone();
        // Gone on disk, or out of order there: the others are listed all the same.
        let Ok(Some((child, stat))) = overlay.find_in(node, listing, &name) else {
            continue;
        };
        let full = match overlay.present(&child, stat) {
            Ok(stat) => add(
                position,
                OsStr::from_bytes(&name),
                &FOREVER,
                child.id,
                &stat,
            ),
            Err(_) => true,
        };
        if full {
            overlay.table.forget(child.id, 1);
            break;
        }
    }
    Ok(())
}
