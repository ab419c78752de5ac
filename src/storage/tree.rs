//! Whole trees: removal and weight, by descriptor and without recursion: a container may have
//! nested folders deeper than our stack.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::base::{Context as _, Error, Result};
use crate::sys::at;

/// Removes a file or a tree; fine if there is none.
///
/// # Errors
/// What the kernel says.
pub(super) fn remove_all(path: &Path) -> Result<()> {
    let what = || format!("cannot remove {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::invalid(format!("cannot remove {}", path.display())));
    };
    match at::open_host_dir(parent) {
        Ok(dir) => remove_at(dir.as_fd(), name.as_bytes()).what(what),
        Err(e) if e.errno == libc::ENOENT => Ok(()),
        Err(e) => Err(e).what(what),
    }
}

/// Removes `name` below `dir` with all that is in it; fine if there is none.
///
/// # Errors
/// What the kernel says.
pub(super) fn remove_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match at::unlink(dir, name) {
        Err(e) if matches!(e.errno, libc::EISDIR | libc::EPERM) => {}
        Err(e) if e.errno == libc::ENOENT => return Ok(()),
        other => return Ok(other?),
    }
    // Only the way down is open: depth many descriptors would be too many.
    let mut way: Vec<Vec<u8>> = vec![name.to_vec()];
    let mut inodes: Vec<u64> = Vec::new();
    let mut here = match open_writable(dir, name) {
        Err(e) if e.errno == libc::ENOENT => return Ok(()),
        other => other?,
    };
    loop {
        let mut deeper = None;
        for entry in at::list(here.as_fd())? {
            if entry.kind != libc::S_IFDIR {
                match at::unlink(here.as_fd(), &entry.name) {
                    Ok(()) => continue,
                    Err(e) if e.errno == libc::ENOENT => continue,
                    Err(e) if matches!(e.errno, libc::EISDIR | libc::EPERM) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            match at::rmdir(here.as_fd(), &entry.name) {
                Ok(()) => {}
                Err(e) if e.errno == libc::ENOENT => {}
                Err(e) if matches!(e.errno, libc::ENOTEMPTY | libc::EEXIST | libc::EACCES) => {
                    deeper = Some(entry.name);
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        if let Some(name) = deeper {
            inodes.push(at::fstat(here.as_fd())?.ino);
            here = open_writable(here.as_fd(), &name)?;
            way.push(name);
            continue;
        }
        let Some(emptied) = way.pop() else {
            return Ok(());
        };
        if way.is_empty() {
            return match at::rmdir(dir, &emptied) {
                Err(e) if e.errno == libc::ENOENT => Ok(()),
                other => Ok(other?),
            };
        }
        here = up(here.as_fd(), inodes.pop())?;
        match at::rmdir(here.as_fd(), &emptied) {
            Err(e) if e.errno != libc::ENOENT => return Err(e.into()),
            _ => {}
        }
    }
}

/// Opens a folder that may have been made unreadable by its owner: us.
fn open_writable(dir: BorrowedFd<'_>, name: &[u8]) -> crate::sys::Result<OwnedFd> {
    match at::open_dir(dir, name) {
        Err(e) if e.errno == libc::EACCES => {
            let path = at::open_path(dir, name)?;
            if at::fstat(path.as_fd())?.is_dir() {
                at::chmod_path_fd(path.as_fd(), 0o700)?;
            }
            at::open_dir(dir, name)
        }
        other => other,
    }
}

/// What a tree weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Bytes of disk blocks, hard links once.
    pub(super) disk: u64,
    /// Bytes of regular files, hard links once.
    pub(super) bytes: u64,
    /// Files, folders and all else.
    pub(super) inodes: u64,
}

/// Weighs the tree below `root`. Names that vanish meanwhile are left out.
///
/// # Errors
/// What the kernel says.
pub(super) fn weigh(root: BorrowedFd<'_>) -> Result<Weight> {
    let own = at::fstat(root)?;
    let mut weight = Weight {
        disk: own.blocks * 512,
        bytes: 0,
        inodes: 1,
    };
    let mut linked = BTreeSet::new();
    let mut walker = Walker::new(root)?;
    while let Some(item) = walker.next()? {
        let meta = item.meta;
        if meta.mount_root || meta.dev != own.dev {
            continue;
        }
        if !meta.is_dir() && meta.nlink > 1 && !linked.insert(meta.ino) {
            continue;
        }
        weight.inodes += 1;
        weight.disk += meta.blocks * 512;
        if meta.is_file() {
            weight.bytes += meta.size;
        }
        if meta.is_dir() {
            walker.enter(&item.name)?;
        }
    }
    Ok(weight)
}

/// Goes to the folder above, which must be the one that we came through.
fn up(here: BorrowedFd<'_>, inode: Option<u64>) -> Result<OwnedFd> {
    let above = at::open_parent(here)?;
    if inode != Some(at::fstat(above.as_fd())?.ino) {
        return Err(Error::new(
            crate::base::Kind::InUse,
            "a folder was moved away while its tree was read",
        ));
    }
    Ok(above)
}

/// Walks a tree in the order of names, folders before their content, with one descriptor
/// whatever the depth.
#[derive(Debug)]
pub(super) struct Walker {
    dir: OwnedFd,
    frames: Vec<Frame>,
    path: Vec<u8>,
    named: usize,
}

#[derive(Debug)]
struct Frame {
    rest: std::vec::IntoIter<at::DirEntry>,
    inode: u64,
    /// Length of the folder's own path.
    path: usize,
}

/// A name that a [`Walker`] came to.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The name.
    pub(super) name: Vec<u8>,
    /// What it is.
    pub(super) meta: at::Meta,
}

impl Walker {
    /// Begins in `root`, whose own attributes are not given.
    pub(super) fn new(root: BorrowedFd<'_>) -> Result<Self> {
        let dir = at::reopen_dir(root)?;
        let frame = Frame {
            rest: at::list(dir.as_fd())?.into_iter(),
            inode: at::fstat(dir.as_fd())?.ino,
            path: 0,
        };
        Ok(Self {
            dir,
            frames: vec![frame],
            path: Vec::new(),
            named: 0,
        })
    }

    /// The folder that the last item lies in.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The clean path of the last item.
    pub(super) fn path(&self) -> &[u8] {
        &self.path[..self.named]
    }

    /// How many folders are open above the last item: 1 below the root.
    pub(super) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// The next name. Those that vanish meanwhile are left out.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(None);
            };
            let Some(entry) = frame.rest.next() else {
                self.frames.pop();
                if let Some(above) = self.frames.last() {
                    self.dir = up(self.dir.as_fd(), Some(above.inode))?;
                }
                continue;
            };
            let Some(meta) = at::stat_if_exists(self.dir.as_fd(), &entry.name)? else {
                continue;
            };
            self.path.truncate(frame.path);
            if frame.path > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&entry.name);
            self.named = self.path.len();
            return Ok(Some(Item {
                name: entry.name,
                meta,
            }));
        }
    }

    /// Goes into the folder that was given last; `false` when it is gone meanwhile.
    pub(super) fn enter(&mut self, name: &[u8]) -> Result<bool> {
        let child = match at::open_dir(self.dir.as_fd(), name) {
            Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => {
                return Ok(false);
            }
            other => other?,
        };
        self.frames.push(Frame {
            rest: at::list(child.as_fd())?.into_iter(),
            inode: at::fstat(child.as_fd())?.ino,
            path: self.named,
        });
        self.dir = child;
        Ok(true)
    }

    /// The folder that was entered last, to read its attributes.
    pub(super) fn entered(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_deep_trees_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = at::open_host_dir(dir.path()).unwrap();
        at::mkdir(root.as_fd(), b"t", 0o755).unwrap();
        let mut here = at::open_dir(root.as_fd(), b"t").unwrap();
        let mut closed = None;
        for depth in 0..3000 {
            at::create_file(here.as_fd(), b"f", 0o600).unwrap();
            at::mkdir(here.as_fd(), b"d", 0o755).unwrap();
            let next = at::open_dir(here.as_fd(), b"d").unwrap();
            if depth == 2000 {
                closed = Some(at::reopen_dir(next.as_fd()).unwrap());
            }
            here = next;
        }
        at::symlink(b"/etc", here.as_fd(), b"l").unwrap();
        at::fchmod(closed.unwrap().as_fd(), 0).unwrap();
        remove_all(&dir.path().join("t")).unwrap();
        remove_all(&dir.path().join("t")).unwrap();
        assert!(!dir.path().join("t").exists());
    }

    #[test]
    fn hard_links_weigh_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/a"), [1; 10_000]).unwrap();
        std::fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        let root = at::open_host_dir(dir.path()).unwrap();
        let weight = weigh(root.as_fd()).unwrap();
        assert_eq!((weight.bytes, weight.inodes), (10_000, 3));
    }
}
