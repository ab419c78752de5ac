//! The folders of a tree being unpacked: a cache of descriptors, and the making of folders that an
//! archive only implies.
//!
//! Invariant: every descriptor was reached from the root without following a link.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use super::attrs::{self, OPAQUE};
use crate::base::{Error, Result};
use crate::storage::tar::show;
use crate::storage::view;
use crate::sys::at::{self, Meta};

/// Descriptors kept open.
const CAPACITY: usize = 200;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Dirs {
    root: Rc<OwnedFd>,
    cache: HashMap<Vec<u8>, Rc<OwnedFd>>,
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// The parent's path and the last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

impl Dirs {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root: Rc::new(root),
            cache: HashMap::new(),
            last: None,
        }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Forgets everything: a folder went away.
    pub(super) fn forget(&mut self) {
        self.cache.clear();
        self.last = None;
    }

    pub(super) fn remember(&mut self, path: &[u8], dir: Rc<OwnedFd>) {
        if self.cache.len() >= CAPACITY {
            self.cache.clear();
        }
        self.cache.insert(path.to_vec(), dir);
    }

    /// The folder at `path`, made with its parents where it is missing. `lower` are the layers
    /// below, top first: a folder that is there takes after theirs.
    pub(super) fn open(
        &mut self,
        path: &[u8],
        lower: &[OwnedFd],
        made: &mut u64,
    ) -> Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((last, dir)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(dir));
        }
        let dir = match self.cache.get(path) {
            Some(dir) => Rc::clone(dir),
            None => {
                let dir = Rc::new(self.walk(path, lower, made)?);
                self.remember(path, Rc::clone(&dir));
                dir
            }
        };
        self.last = Some((path.to_vec(), Rc::clone(&dir)));
        Ok(dir)
    }

    fn walk(&self, path: &[u8], lower: &[OwnedFd], made: &mut u64) -> Result<OwnedFd> {
        // From the nearest folder that is open already.
        let mut known = path;
        let start = loop {
            known = split(known).0;
            if known.is_empty() {
                break Rc::clone(&self.root);
            }
            if let Some(dir) = self.cache.get(known) {
                break Rc::clone(dir);
            }
        };
        let rest = if known.is_empty() {
            path
        } else {
            &path[known.len() + 1..]
        };
        match at::open_dir_beneath(start.as_fd(), rest) {
            Ok(dir) => return Ok(dir),
            Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => {}
            Err(e) => return Err(through_link(path, e)),
        }
        let mut dir: Option<OwnedFd> = None;
        let mut done = known.len();
        for name in rest.split(|b| *b == b'/') {
            done += name.len() + usize::from(done > 0);
            let here = dir.as_ref().map_or(start.as_fd(), |d| d.as_fd());
            dir = Some(match at::open_dir(here, name) {
                Ok(next) => next,
                Err(e) if e.errno == libc::ENOENT => {
                    *made += 1;
                    imply(here, name, &path[..done], lower)?
                }
                Err(e) if matches!(e.errno, libc::ENOTDIR | libc::ELOOP) => {
                    if !at::stat(here, name)?.is_whiteout() {
                        return Err(through_link(path, e));
                    }
                    at::unlink(here, name)?;
                    let next = imply(here, name, &path[..done], &[])?;
                    at::setxattr(next.as_fd(), OPAQUE, b"y")?;
                    next
                }
                Err(e) => return Err(e.into()),
            });
        }
        dir.ok_or_else(|| Error::internal("an empty path was walked"))
    }
}

fn through_link(path: &[u8], cause: crate::sys::Error) -> Error {
    Error::invalid(format!(
        "folder {:?} of the archive lies behind a link or a file",
        show(path)
    ))
    .because(cause)
}

/// Makes a folder that no entry describes.
fn imply(here: BorrowedFd<'_>, name: &[u8], path: &[u8], lower: &[OwnedFd]) -> Result<OwnedFd> {
    at::mkdir(here, name, 0o700)?;
    let dir = at::open_dir(here, name)?;
    match view::lookup(lower, path)? {
        Some(found) if found.meta.is_dir() => {
            let below = at::open_dir_beneath(lower[found.layer].as_fd(), path)?;
            take_after(dir.as_fd(), below.as_fd(), &found.meta)?;
        }
        _ => at::fchmod(dir.as_fd(), 0o755)?,
    }
    Ok(dir)
}

/// Gives a folder the owner, mode, attributes and time of the one in a layer below.
pub(super) fn take_after(dir: BorrowedFd<'_>, below: BorrowedFd<'_>, meta: &Meta) -> Result<()> {
    if (meta.uid, meta.gid) != (0, 0) {
        at::fchown(dir, meta.uid, meta.gid)?;
    }
    attrs::set_all(dir, &attrs::read_all(below)?)?;
    if let Some(owner) = at::getxattr(below, attrs::OWNER)? {
        at::setxattr(dir, attrs::OWNER, &owner)?;
    }
    at::fchmod(dir, meta.permissions())?;
    at::futimens(dir, meta.mtime, meta.mtime_nsec)?;
    Ok(())
}
