//! Finding what a container changed.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::{Change, ChangeKind, is_runtime_made};
use crate::base::Result;
use crate::spec::idmap::to_host;
use crate::storage::pack::{Packer, joined};
use crate::storage::rootfs::View;
use crate::storage::tree::Walker;
use crate::storage::view::{self, MergedDir, MergedEntry};
use crate::sys::at::{self, Meta};

/// A change, before parents are added.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: Vec<u8>,
    pub(super) kind: ChangeKind,
    /// Bytes of a regular file.
    pub(super) size: u64,
}

impl Found {
    fn new(path: &[u8], kind: ChangeKind, meta: Option<&Meta>) -> Self {
        Self {
            path: path.to_vec(),
            kind,
            size: meta.filter(|m| m.is_file()).map_or(0, |m| m.size),
        }
    }
}

fn on_disk(view: &View, meta: &Meta) -> (Option<u32>, Option<u32>) {
    match view {
        View::Same => (Some(meta.uid), Some(meta.gid)),
        View::Shifted(maps) => (to_host(&maps.uids, meta.uid), to_host(&maps.gids, meta.gid)),
    }
}

/// Whether a folder of the container has the attributes of the image's.
fn same_folder(view: &View, image: &Meta, here: &Meta) -> bool {
    image.is_dir()
        && here.is_dir()
        && image.permissions() == here.permissions()
        && on_disk(view, image) == (Some(here.uid), Some(here.gid))
}

/// Reads the upper of an overlay.
pub(super) fn of_upper(
    upper: BorrowedFd<'_>,
    lower: &[OwnedFd],
    view: &View,
) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut marks = vec![view::opaque_mark(upper)?];
    let mut walker = Walker::new(upper)?;
    while let Some(item) = walker.next()? {
        marks.truncate(walker.depth());
        let marked = marks.last().copied().flatten() == Some(b'x');
        let path = walker.path().to_vec();
        let below = view::lookup(lower, &path)?.map(|f| f.meta);
        if view::is_whiteout(walker.dir(), &item.name, &item.meta, marked)? {
            if below.is_some() {
                found.push(Found::new(&path, ChangeKind::Deleted, None));
            }
            continue;
        }
        if below.is_none() && is_runtime_made(&path, walker.dir(), &item.name, &item.meta)? {
            continue;
        }
        let kind = match below {
            None => Some(ChangeKind::Added),
            Some(below) if same_folder(view, &below, &item.meta) => None,
            Some(_) => Some(ChangeKind::Changed),
        };
        let at = found.len();
        if let Some(kind) = kind {
            found.push(Found::new(&path, kind, Some(&item.meta)));
        }
        if !item.meta.is_dir() || !walker.enter(&item.name)? {
            continue;
        }
        let mark = view::opaque_mark(walker.entered())?;
        marks.push(mark);
        if mark != Some(b'y') || !below.is_some_and(|m| m.is_dir()) {
            continue;
        }
        // It was removed and made again: what it had is gone unless it is here.
        if kind.is_none() {
            found.insert(at, Found::new(&path, ChangeKind::Changed, None));
        }
        for name in merged_names(lower, &path)? {
            if at::stat_if_exists(walker.entered(), &name)?.is_none() {
                found.push(Found::new(&joined(&path, &name), ChangeKind::Deleted, None));
            }
        }
    }
    Ok(found)
}

fn merged_names(lower: &[OwnedFd], path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut dir = MergedDir::root(lower)?;
    for name in path.split(|b| *b == b'/') {
        let entries = dir.entries()?;
        match entries.get(name) {
            Some(entry) if entry.meta.is_dir() => dir = dir.child(name, entry)?,
            _ => return Ok(Vec::new()),
        }
    }
    Ok(dir.entries()?.into_keys().collect())
}

struct Frame {
    here: OwnedFd,
    image: Option<MergedDir>,
    /// Names of both sides.
    names: std::collections::btree_map::IntoIter<Vec<u8>, (Option<Meta>, Option<MergedEntry>)>,
    path: Vec<u8>,
}

impl Frame {
    fn new(here: OwnedFd, image: Option<MergedDir>, path: Vec<u8>) -> Result<Self> {
        let mut names: BTreeMap<Vec<u8>, (Option<Meta>, Option<MergedEntry>)> = BTreeMap::new();
        for entry in at::list(here.as_fd())? {
            if let Some(meta) = at::stat_if_exists(here.as_fd(), &entry.name)? {
                names.entry(entry.name).or_default().0 = Some(meta);
            }
        }
        if let Some(image) = &image {
            for (name, entry) in image.entries()? {
                names.entry(name).or_default().1 = Some(entry);
            }
        }
        Ok(Self {
            here,
            image,
            names: names.into_iter(),
            path,
        })
    }
}

/// Compares a whole copy with the layers that it was made from.
pub(super) fn of_copy(copy: BorrowedFd<'_>, lower: &[OwnedFd], view: &View) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let root = Frame::new(
        at::reopen_dir(copy)?,
        Some(MergedDir::root(lower)?),
        Vec::new(),
    )?;
    let mut frames = vec![root];
    while let Some(frame) = frames.last_mut() {
        let Some((name, sides)) = frame.names.next() else {
            frames.pop();
            continue;
        };
        let path = joined(&frame.path, &name);
        let (here, below) = match sides {
            (None, _) => {
                found.push(Found::new(&path, ChangeKind::Deleted, None));
                continue;
            }
            (Some(here), below) => (here, below),
        };
        if below.is_none() && is_runtime_made(&path, frame.here.as_fd(), &name, &here)? {
            continue;
        }
        let kind = match &below {
            None => Some(ChangeKind::Added),
            Some(entry) if same_folder(view, &entry.meta, &here) => None,
            Some(entry) if same_file(view, &entry.meta, &here) => None,
            Some(_) => Some(ChangeKind::Changed),
        };
        if let Some(kind) = kind {
            found.push(Found::new(&path, kind, Some(&here)));
        }
        if here.is_dir() {
            let child = match (&frame.image, &below) {
                (Some(image), Some(entry)) if entry.meta.is_dir() => {
                    Some(image.child(&name, entry)?)
                }
                _ => None,
            };
            let dir = at::open_dir(frame.here.as_fd(), &name)?;
            let next = Frame::new(dir, child, path)?;
            frames.push(next);
        }
    }
    Ok(found)
}

/// Size, time, type, mode and owner, as rsync does; a link's text cannot change without its time.
fn same_file(view: &View, image: &Meta, here: &Meta) -> bool {
    !image.is_dir()
        && image.mode == here.mode
        && image.size == here.size
        && (image.mtime, image.mtime_nsec) == (here.mtime, here.mtime_nsec)
        && on_disk(view, image) == (Some(here.uid), Some(here.gid))
}

/// Adds the folders above as changed, and sorts.
pub(super) fn with_parents(found: Vec<Found>) -> Vec<Change> {
    let mut all: BTreeMap<Vec<u8>, ChangeKind> = BTreeMap::new();
    for change in &found {
        let mut path = &change.path[..];
        while let Some(slash) = path.iter().rposition(|b| *b == b'/') {
            path = &path[..slash];
            if all.contains_key(path) {
                break;
            }
            all.insert(path.to_vec(), ChangeKind::Changed);
        }
    }
    all.extend(found.into_iter().map(|f| (f.path, f.kind)));
    all.into_iter()
        .map(|(path, kind)| Change {
            path: [b"/", &path[..]].concat(),
            kind,
        })
        .collect()
}

/// Packs the changes of a whole copy as a layer.
pub(super) fn pack<W: Write>(
    packer: &mut Packer<'_, W>,
    copy: BorrowedFd<'_>,
    changes: &[Change],
) -> Result<()> {
    for change in changes {
        let path = &change.path[1..];
        if change.kind == ChangeKind::Deleted {
            packer.whiteout(path, None)?;
            continue;
        }
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (
                at::open_dir_beneath(copy, &path[..slash])?,
                &path[slash + 1..],
            ),
            None => (at::reopen_dir(copy)?, path),
        };
        let Some(meta) = at::stat_if_exists(parent.as_fd(), name)? else {
            continue;
        };
        if meta.is_dir() {
            let dir = at::open_dir(parent.as_fd(), name)?;
            packer.folder(dir.as_fd(), path, &meta)?;
        } else {
            packer.name(parent.as_fd(), name, path)?;
        }
    }
    Ok(())
}
