//! Descriptors of files and folders, kept open as long as there are few enough of them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::lock;
use super::node::Node;

/// A descriptor that is counted while anybody holds it.
pub(super) type Handle = Arc<Counted>;

/// See [`Handle`].
#[derive(Debug)]
pub(super) struct Counted {
    fd: OwnedFd,
    open: Arc<AtomicUsize>,
}

impl AsFd for Counted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The nodes that have descriptors, the one to lose them first at the front.
#[derive(Debug)]
pub(super) struct Handles {
    open: Arc<AtomicUsize>,
    most: usize,
    queue: Mutex<VecDeque<Weak<Node>>>,
}

impl Handles {
    /// For a process that may open `limit` files.
    pub(super) fn new(limit: u64) -> Self {
        let most = usize::try_from(limit).unwrap_or(1024).clamp(64, 1 << 16);
        Self {
            open: Arc::default(),
            // The rest is for what is open for a moment, and for files that have lost their names.
            most: most / 2,
            queue: Mutex::default(),
        }
    }

    /// Counts a descriptor.
    pub(super) fn keep(&self, fd: OwnedFd) -> Handle {
        self.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Counted {
            fd,
            open: self.open.clone(),
        })
    }

    /// `node` got a descriptor that it can do without: others lose theirs if there are too many.
    /// Call it without a leaf lock.
    pub(super) fn enlist(&self, node: &Arc<Node>) {
        node.touch();
        let full = self.open.load(Ordering::Relaxed) > self.most;
        if node.enlist() {
            lock(&self.queue).push_back(Arc::downgrade(node));
        }
        if full {
            self.shed();
        }
    }

    fn shed(&self) {
        let mut rounds = lock(&self.queue).len() * 2;
        while rounds > 0 && self.open.load(Ordering::Relaxed) > self.most {
            rounds -= 1;
            let Some(weak) = lock(&self.queue).pop_front() else {
                return;
            };
            let Some(node) = weak.upgrade() else { continue };
            if node.was_touched() {
                lock(&self.queue).push_back(weak);
            } else {
                node.shed();
            }
        }
    }
}
