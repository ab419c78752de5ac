//! The merged view of layers without mounting them: what overlay would show at a path, and a walk
//! over all of it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::unpack::attrs::{OPAQUE, WHITEOUT};
use crate::base::Result;
use crate::sys::at::{self, Meta};

/// What a path is, and in which layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Index into the layers, top first.
    pub(super) layer: usize,
    /// Its attributes there.
    pub(super) meta: Meta,
}

/// Whether `meta` at `name` is a whiteout; `marked`: the folder may have some in xattr form.
pub(super) fn is_whiteout(
    dir: BorrowedFd<'_>,
    name: &[u8],
    meta: &Meta,
    marked: bool,
) -> Result<bool> {
    if meta.is_whiteout() {
        return Ok(true);
    }
    if !marked || !meta.is_file() || meta.size != 0 {
        return Ok(false);
    }
    let (fd, _) = at::open_file(dir, name)?;
    Ok(at::getxattr(fd.as_fd(), WHITEOUT)?.is_some())
}

/// The folder's opaque mark: `y`, `x` or none.
pub(super) fn opaque_mark(dir: BorrowedFd<'_>) -> Result<Option<u8>> {
    Ok(at::getxattr(dir, OPAQUE)?.and_then(|value| value.first().copied()))
}

/// Looks a clean path up in `layers`, top first; nothing is followed.
pub(super) fn lookup(layers: &[OwnedFd], path: &[u8]) -> Result<Option<Found>> {
    'layers: for (index, layer) in layers.iter().enumerate() {
        let mut dir: Option<OwnedFd> = None;
        let mut closed = false;
        let mut parts = path.split(|b| *b == b'/').peekable();
        while let Some(name) = parts.next() {
            let here = dir.as_ref().map_or(layer.as_fd(), |d| d.as_fd());
            if name.is_empty() {
                let meta = at::fstat(here)?;
                return Ok(Some(Found { layer: index, meta }));
            }
            let mark = opaque_mark(here)?;
            closed |= mark == Some(b'y');
            let Some(meta) = at::stat_if_exists(here, name)? else {
                if closed {
                    return Ok(None);
                }
                continue 'layers;
            };
            if is_whiteout(here, name, &meta, mark == Some(b'x'))? {
                return Ok(None);
            }
            if parts.peek().is_none() {
                return Ok(Some(Found { layer: index, meta }));
            }
            if !meta.is_dir() {
                return Ok(None);
            }
            dir = Some(at::open_dir(here, name)?);
        }
    }
    Ok(None)
}

/// One folder of the merged view: its parts in the layers, top first.
#[derive(Debug)]
pub(super) struct MergedDir {
    /// Layer index and descriptor of each part; the first gives the folder its attributes.
    pub(super) parts: Vec<(usize, OwnedFd)>,
}

/// A name in a merged folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergedEntry {
    /// Position in [`MergedDir::parts`] of the part that shows it.
    pub(super) part: usize,
    /// Its attributes there.
    pub(super) meta: Meta,
}

impl MergedDir {
    /// The root of `layers`, top first.
    pub(super) fn root(layers: &[OwnedFd]) -> Result<Self> {
        let mut parts = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let dir = at::reopen_dir(layer.as_fd())?;
            let closed = opaque_mark(dir.as_fd())? == Some(b'y');
            parts.push((index, dir));
            if closed {
                break;
            }
        }
        Ok(Self { parts })
    }

    /// Its names, sorted.
    pub(super) fn entries(&self) -> Result<BTreeMap<Vec<u8>, MergedEntry>> {
        let mut shown: BTreeMap<Vec<u8>, Option<MergedEntry>> = BTreeMap::new();
        for (part, (_, dir)) in self.parts.iter().enumerate() {
            let dir = dir.as_fd();
            let marked = opaque_mark(dir)? == Some(b'x');
            for entry in at::list(dir)? {
                if shown.contains_key(&entry.name) {
                    continue;
                }
                let Some(meta) = at::stat_if_exists(dir, &entry.name)? else {
                    continue;
                };
                let hidden = is_whiteout(dir, &entry.name, &meta, marked)?;
                let value = (!hidden).then_some(MergedEntry { part, meta });
                shown.insert(entry.name, value);
            }
        }
        Ok(shown
            .into_iter()
            .filter_map(|(name, entry)| Some((name, entry?)))
            .collect())
    }

    /// The merged folder `name`, which `entry` says is one.
    pub(super) fn child(&self, name: &[u8], entry: &MergedEntry) -> Result<Self> {
        let mut parts = Vec::new();
        for (part, (layer, dir)) in self.parts.iter().enumerate().skip(entry.part) {
            let dir = dir.as_fd();
            match at::stat_if_exists(dir, name)? {
                None => continue,
                // A file or a whiteout ends the merge.
                Some(meta) if !meta.is_dir() => break,
                Some(_) => {}
            }
            let child = at::open_dir(dir, name)?;
            let closed = opaque_mark(child.as_fd())? == Some(b'y');
            parts.push((*layer, child));
            debug_assert!(part >= entry.part, "parts go downwards");
            if closed {
                break;
            }
        }
        Ok(Self { parts })
    }
}
