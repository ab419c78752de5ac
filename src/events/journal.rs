//! The journal's files: `events/journal`, and `events/journal.1` with what was before.
//!
//! Lock: `flock` on the open journal, for the one append or rotation, so that no line goes into a
//! file that was just rotated away.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Event;
use crate::base::fs::create_private_dir_all;
use crate::config::dirs::Dirs;

/// A journal larger than this is rotated, bytes: some twenty thousand events.
const LIMIT: u64 = 8 << 20;

/// A lock that is held for longer is not waited for: one write is whole in any case.
const PATIENCE: Duration = Duration::from_millis(50);

/// The journal of one data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    dir: PathBuf,
    limit: u64,
}

impl Journal {
    /// The journal below `dirs`. Nothing is made until something is written.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            dir: dirs.events(),
            limit: LIMIT,
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// The present file.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// The one before.
    pub(super) fn older(&self) -> PathBuf {
        self.dir.join("journal.1")
    }

    /// Appends an event. Never fails: an event that cannot be written is lost.
    pub fn write(&self, event: &Event) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            let _lost = self.append(&line);
        }
    }

    fn append(&self, line: &[u8]) -> std::io::Result<()> {
        let mut file = self.locked()?;
        let size = file.metadata()?.len();
        if size > self.limit {
            fs::rename(self.path(), self.older())?;
            file = self.locked()?;
        } else if size > 0 && ends_torn(&file, size) {
            // A power cut left half a line: it must not swallow this one.
            file.write_all(b"\n")?;
        }
        file.write_all(line)
    }

    /// The present file, locked.
    fn locked(&self) -> std::io::Result<File> {
        let path = self.path();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let file = match open(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    create_private_dir_all(&self.dir).map_err(std::io::Error::other)?;
                    open(&path)?
                }
                other => other?,
            };
            while let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
                if Instant::now() > deadline {
                    return Ok(file);
                }
                crate::sys::process::pause(Duration::from_micros(200));
            }
            // Whoever held the lock may have rotated it.
            let same = fs::metadata(&path).is_ok_and(|m| {
                file.metadata()
                    .is_ok_and(|f| (f.dev(), f.ino()) == (m.dev(), m.ino()))
            });
            if same || Instant::now() > deadline {
                return Ok(file);
            }
        }
    }

    /// A journal that is rotated at another size.
    #[cfg(test)]
    pub(super) fn limited(dir: &Path, limit: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            limit,
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn ends_torn(file: &File, size: u64) -> bool {
    let mut last = [b'\n'];
    let read = std::os::unix::fs::FileExt::read_at(file, &mut last, size - 1);
    read.is_ok() && last[0] != b'\n'
}
