//! Being told that a folder's files change: inotify.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::error::{Call as _, Result};

/// Folders that are watched. Readable after something happened in one of them.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// `EMFILE` when the user has too many (`fs.inotify.max_user_instances`).
    pub fn new() -> Result<Self> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .call("inotify_init1", String::new)
            .map(|fd| Self { fd })
    }

    /// Watches a folder: files that are made, written, renamed or removed in it, and its own end.
    ///
    /// # Errors
    /// `ENOENT`; `ENOSPC` when the user has too many (`fs.inotify.max_user_watches`).
    pub fn add(&self, folder: &Path) -> Result<()> {
        let what = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.fd, folder, what)
            .map(drop)
            .call("inotify_add_watch", || folder.display().to_string())
    }

    /// Takes what happened, so that it is no longer readable. What it was does not matter: the
    /// caller looks again, and so misses nothing that the kernel merged or dropped.
    pub fn clear(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|(read, _)| !read.is_empty()) {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rename_into_a_folder_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let watch = Watch::new().unwrap();
        watch.add(&inside).unwrap();
        let ready = || super::super::fd::wait_readable(&watch, Some(Duration::ZERO)).unwrap();
        assert!(!ready());
        std::fs::write(dir.path().join("a"), "x").unwrap();
        std::fs::rename(dir.path().join("a"), inside.join("a")).unwrap();
        assert!(ready());
        watch.clear();
        assert!(!ready());
        assert_eq!(
            watch.add(&dir.path().join("none")).unwrap_err().errno,
            libc::ENOENT
        );
    }
}
