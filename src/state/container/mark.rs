//! The mark of a start, which outlives a power cut.
//!
//! `containers/<id>/run` is a symbolic link that leads nowhere: its target says which monitor
//! started the container, and when. One system call makes it, short targets lie in the inode
//! itself, and file systems bring names to the disk in order with the folders around them, so the
//! start waits for no disk and the mark is there whenever anything is that the container wrote. It
//! is made before the process runs and stays when that ends: what supersedes it is an exit record
//! of the same start or a later one.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{ExitRecord, Status};
use crate::base::fs as files;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Result};
use crate::sys::process::{Identity, boot_id};

const NAME: &str = "run";

/// So much of a boot id tells boots apart (60 random bits), and the target stays short of the 60
/// bytes that ext4 keeps in an inode.
const BOOT: usize = 18;

/// Who started a container, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    monitor: Identity,
    started: Timestamp,
}

impl Mark {
    /// Puts the mark of this start in the place of the last one's.
    pub(super) fn put(folder: &Path, status: &Status) -> Result<()> {
        let path = folder.join(NAME);
        let Identity {
            boot_id,
            pid,
            start_time,
        } = &status.monitor;
        let boot = boot_id.get(..BOOT).unwrap_or(boot_id);
        let target = format!("{boot}:{pid:x}:{start_time:x}:{:x}", status.started.0);
        let made = match symlink(&target, &path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                files::remove_file_if_exists(&path)?;
                symlink(&target, &path)
            }
            other => other,
        };
        made.what(|| format!("cannot make {}", path.display()))
    }

    /// The mark of the last start, if there was one.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let target = std::fs::read_link(folder.join(NAME)).ok()?;
        let mut parts = target.to_str()?.split(':');
        let mut part = || parts.next();
        let boot = part()?;
        let monitor = Identity {
            boot_id: match boot_id() {
                now if !boot.is_empty() && now.starts_with(boot) => now.to_owned(),
                _ => boot.to_owned(),
            },
            pid: i32::from_str_radix(part()?, 16).ok()?,
            start_time: u64::from_str_radix(part()?, 16).ok()?,
        };
        let started = Timestamp(i64::from_str_radix(part()?, 16).ok()?);
        Some(Self { monitor, started })
    }

    /// Whether `exit` is the end of this start or of a later one.
    pub(super) fn is_settled_by(&self, exit: &ExitRecord) -> bool {
        exit.started >= self.started
    }

    /// What is known of a run whose status is gone.
    pub(super) fn status(self) -> Status {
        Status::begun(self.monitor, self.started)
    }
}
