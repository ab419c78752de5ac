//! What the holder keeps ready for the next command: descriptors that take long to make.
//!
//! The holder listens at `<runtime>/userns.sock`. Whoever connects gets one message with the
//! descriptors, and the holder makes the next ones at once, beside the command that took the last.
//! Nobody depends on it: a command whom nobody answers within [`PATIENCE`] makes its own.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::base::{Context as _, Result};
use crate::config::dirs::Dirs;
use crate::spec::idmap::IdMaps;
use crate::sys::process::pause;
use crate::sys::{fd, namespace};

/// Makes what is kept ready, in a user namespace with these maps.
pub type Make = fn(&IdMaps) -> Result<Ready>;

/// What is ready.
#[derive(Debug)]
pub struct Ready {
    /// What it is like, in at most [`LONGEST`] bytes: whoever takes it compares.
    pub kind: String,
    /// The first is a namespace, which tells where they belong.
    pub fds: Vec<OwnedFd>,
}

/// The longest description, bytes.
pub const LONGEST: usize = 4096;

static MAKE: OnceLock<Make> = OnceLock::new();

/// How long a command waits for an answer: about as long as making one takes.
const PATIENCE: Duration = Duration::from_millis(1);

/// [`PATIENCE`], or what `CORACLE_HOLDER_PATIENCE` (milliseconds) says where failpoints are built
/// in: for tests.
fn patience() -> Duration {
    if cfg!(debug_assertions)
        && let Some(given) = std::env::var_os("CORACLE_HOLDER_PATIENCE")
        && let Some(given) = given.to_str().and_then(|s| s.parse().ok())
    {
        return Duration::from_millis(given);
    }
    PATIENCE
}

/// The first one is made so long after the holder began: the command that it comes from has enough
/// to do.
const SOON: Duration = Duration::from_millis(20);

/// After a failure, so many questions are answered with nothing before it is tried again.
const REST: u32 = 100;

/// What a holder that this process leaves behind keeps ready.
pub fn keep_ready(make: Make) {
    // The same function every time.
    let _known = MAKE.set(make);
}

/// A question to the holder.
#[derive(Debug)]
pub struct Asked(OwnedFd);

/// Asks for what the holder of the namespace that this process has entered keeps ready; `None`
/// when it keeps nothing, or is asked by others.
pub fn ask(dirs: &Dirs) -> Option<Asked> {
    fd::try_connect_packets(&path(&dirs.runtime))
        .ok()
        .map(Asked)
}

impl Asked {
    /// Whether there is an answer.
    pub fn is_answered(&self) -> bool {
        fd::wait_readable(&self.0, Some(Duration::ZERO)).unwrap_or(true)
    }

    /// Takes the answer; `None` when there is none in time, or when it is of another user
    /// namespace than `inode`.
    pub(super) fn take(self, inode: u64) -> Option<Ready> {
        fd::wait_readable(&self.0, Some(patience()))
            .ok()
            .filter(|answered| *answered)?;
        let (kind, fds) = fd::receive(&self.0, LONGEST).ok()?;
        let owner = namespace::owner(fds.first()?).ok()?;
        let kind = String::from_utf8(kind).ok()?;
        (namespace::inode(owner) == Ok(inode)).then_some(Ready { kind, fds })
    }
}

fn path(runtime: &Path) -> PathBuf {
    runtime.join("userns.sock")
}

/// Listens for the owner of the folder alone, whatever the mask of the command was.
fn listen(path: &Path) -> Result<OwnedFd> {
    let listener = fd::listen_packets(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .what(|| format!("cannot keep {} from others", path.display()))?;
    Ok(listener)
}

/// The holder's side.
pub(super) struct Shelf {
    /// `None` when nothing is kept, or nobody could ask.
    listener: Option<OwnedFd>,
    maps: IdMaps,
    ready: Option<Ready>,
    rest: u32,
}

impl Shelf {
    /// In the holder, whose record is in `runtime`. A path that is too long for a socket means that
    /// nothing is kept.
    pub(super) fn open(runtime: &Path, maps: IdMaps) -> Self {
        let path = path(runtime);
        // One of a holder before this one, whose record was replaced.
        drop(std::fs::remove_file(&path));
        Self {
            listener: MAKE.get().and_then(|_| listen(&path).ok()),
            maps,
            ready: None,
            rest: 0,
        }
    }

    /// Answers questions for so long.
    pub(super) fn serve(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let patience = match self.ready {
                None if self.rest == 0 => left.min(SOON),
                _ => left,
            };
            let asked = match &self.listener {
                Some(listener) => match fd::wait_readable(listener, Some(patience)) {
                    Ok(true) => fd::accept(listener).ok(),
                    Ok(false) if left.is_zero() => return,
                    Ok(false) => None,
                    Err(_) => return pause(left),
                },
                None => return pause(left),
            };
            if let (Some(asked), Some(ready)) = (asked, self.ready.take()) {
                let fds: Vec<_> = ready.fds.iter().map(OwnedFd::as_fd).collect();
                if fd::send(&asked, ready.kind.as_bytes(), &fds).is_err() {
                    // It did not wait so long.
                    self.ready = Some(ready);
                }
            }
            if self.ready.is_none() {
                self.refill();
            }
        }
    }

    fn refill(&mut self) {
        if let Some(rest) = self.rest.checked_sub(1) {
            self.rest = rest;
            return;
        }
        self.ready = MAKE.get().and_then(|make| make(&self.maps).ok());
        if self.ready.is_none() {
            self.rest = REST;
        }
    }

    /// Nobody asks any more.
    pub(super) fn close(&self, runtime: &Path) {
        if self.listener.is_some() {
            drop(std::fs::remove_file(path(runtime)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::namespace::Kind;

    fn own_network(_: &IdMaps) -> Result<Ready> {
        Ok(Ready {
            kind: "own".to_owned(),
            fds: vec![namespace::own(Kind::Net)?],
        })
    }

    #[test]
    fn one_question_gets_one_answer_and_strangers_get_none() {
        let temp = tempfile::tempdir().unwrap();
        let runtime = temp.path().to_owned();
        let connect = || fd::try_connect_packets(&path(&runtime)).map(Asked);
        assert!(connect().is_err());
        keep_ready(own_network);
        let mut shelf = Shelf::open(&runtime, IdMaps::single(0, 0));
        let served = std::thread::spawn(move || {
            // The second question comes while the first is answered.
            shelf.serve(Duration::from_millis(300));
            shelf
        });
        let net = namespace::own(Kind::Net).unwrap();
        let owner = namespace::inode(namespace::owner(&net).unwrap()).unwrap();
        // Whoever comes before there is anything hears so, and does not wait.
        let mut answers = 0;
        let until = Instant::now() + Duration::from_millis(250);
        while answers < 3 && Instant::now() < until {
            let asked = connect().unwrap();
            fd::wait_readable(&asked.0, None).unwrap();
            assert!(asked.is_answered());
            if let Some(ready) = asked.take(owner) {
                answers += 1;
                assert!(namespace::is_own(&ready.fds[0], Kind::Net).unwrap());
                assert_eq!(ready.kind, "own");
            }
        }
        assert_eq!(answers, 3);
        // What belongs to another user namespace is of no use.
        let asked = connect().unwrap();
        fd::wait_readable(&asked.0, None).unwrap();
        assert!(asked.take(owner + 1).is_none());
        served.join().unwrap().close(&runtime);
        assert!(connect().is_err() && !path(&runtime).exists());
    }
}
