//! Ctrl-C and SIGTERM while the store grows: what is half built goes, what can be resumed stays, and
//! the process ends at once by the signal, whatever its threads wait for.

use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

use super::staging::{self, Staging};
use super::store::Store;
use crate::base::{Context as _, Result};
use crate::sys::fd as descriptors;
use crate::sys::signal::{self, Set};

/// Cleans up before the process ends by a signal, until dropped.
#[derive(Debug)]
pub struct Interruptible {
    before: Set,
    /// Closing it ends the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Interruptible {
    /// Begins to listen, in a thread. Threads that are made from now on must be made by this one,
    /// so that they leave the signals alone; inside the user namespace.
    ///
    /// # Errors
    /// When there are no descriptors or threads left.
    pub fn begin(store: &Store) -> Result<Self> {
        let what = || "cannot listen for signals";
        let wanted = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
        let heard: Vec<i32> = wanted
            .into_iter()
            .filter(|s| !signal::is_ignored(*s))
            .collect();
        let set = Set::of(&heard);
        let signals = signal::descriptor(&set)?;
        let (hangup, stop) = descriptors::pipe()?;
        let before = signal::block(&set)?;
        let mut guard = Self {
            before,
            stop: Some(stop),
            thread: None,
        };
        let staging = store.staging.clone();
        let thread = std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || listen(&signals, &hangup, &staging))
            .what(what)?;
        guard.thread = Some(thread);
        Ok(guard)
    }
}

fn listen(signals: &OwnedFd, hangup: &OwnedFd, staging: &Staging) {
    loop {
        let mut fds = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(hangup, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        if let Ok(Some(signal)) = signal::next(signals.as_fd()) {
            let _held = staging::abandon(staging);
            signal::end_by(signal);
        }
        if !fds[1].revents().is_empty() {
            return;
        }
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has nothing to tell.
            drop(thread.join());
        }
        // A signal that came meanwhile takes effect now.
        drop(signal::set_mask(&self.before));
    }
}
