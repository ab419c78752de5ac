//! `store/staging/<random>`: whatever is being built, and `store/trash/<random>`: whatever is
//! being removed.
//!
//! Invariants: nothing here is visible to a reader; one `rename` publishes. Each entry is locked
//! by `flock` by its maker, so that a sweep knows the leftovers of dead processes by trying. What
//! this process has in hand is on a list, for [`super::interrupt`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::base::failpoint::failpoint;
use crate::base::fs as files;
use crate::base::{Context as _, Result, random};
use crate::spec::digest::hex;

/// An entry is made, then locked: one younger than this may not be locked yet.
const SETTLE: Duration = Duration::from_secs(10);

/// The two folders.
#[derive(Clone, Debug)]
pub struct Staging {
    staging: PathBuf,
    trash: PathBuf,
}

/// A file being built; removed when dropped without [`StagedFile::publish`].
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    published: bool,
}

/// A folder being built; moved to the trash when dropped without [`StagedDir::publish`].
#[derive(Debug)]
pub struct StagedDir {
    dir: File,
    path: PathBuf,
    staging: Staging,
    published: bool,
}

/// What this process is building now.
static IN_HAND: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn in_hand() -> MutexGuard<'static, Vec<PathBuf>> {
    // A panic elsewhere leaves a list that is right or has one name too many.
    IN_HAND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets an entry that is finished or gone.
fn let_go(path: &Path) {
    in_hand().retain(|p| p != path);
}

/// Removes what this process is building. Until the answer is dropped nothing new is begun, and
/// whoever would finish or report something waits: the process is about to end.
pub(super) fn abandon(staging: &Staging) -> impl Sized + use<> {
    let mut list = in_hand();
    for path in list.drain(..) {
        if path.is_dir() {
            // Other threads may still write below it: out of sight first.
            drop(staging.discard(&path));
        } else {
            drop(fs::remove_file(&path));
        }
    }
    // Their folders vanish under them, so this converges.
    for _ in 0..100 {
        if staging.empty_trash().is_ok() {
            break;
        }
        crate::sys::process::pause(Duration::from_millis(2));
    }
    list
}

/// Eight random bytes in hex.
pub(super) fn random_name() -> Result<String> {
    Ok(hex(&random::bytes::<8>()?))
}

impl Staging {
    pub(super) fn new(store: &Path) -> Self {
        Self {
            staging: store.join("staging"),
            trash: store.join("trash"),
        }
    }

    /// Makes a locked file.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn file(&self) -> Result<StagedFile> {
        let mut list = in_hand();
        let path = self.staging.join(random_name()?);
        let what = || format!("cannot create {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = match options.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                files::create_private_dir_all(&self.staging)?;
                options.open(&path).what(what)?
            }
            other => other.what(what)?,
        };
        file.lock().what(what)?;
        list.push(path.clone());
        Ok(StagedFile {
            file,
            path,
            published: false,
        })
    }

    /// Makes a locked folder.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn dir(&self) -> Result<StagedDir> {
        let mut list = in_hand();
        let path = self.staging.join(random_name()?);
        let what = || format!("cannot create {}", path.display());
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match builder.create(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                files::create_private_dir_all(&self.staging)?;
                builder.create(&path).what(what)?;
            }
            other => other.what(what)?,
        }
        let dir = File::open(&path).what(what)?;
        dir.lock().what(what)?;
        list.push(path.clone());
        Ok(StagedDir {
            dir,
            path,
            staging: self.clone(),
            published: false,
        })
    }

    /// Moves `path` out of sight; it is gone for every reader when this returns, and its space
    /// comes back with [`Staging::empty_trash`]. Fine if there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn discard(&self, path: &Path) -> Result<()> {
        let to = self.trash.join(random_name()?);
        failpoint("trash::rename")?;
        match fs::rename(path, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.trash.exists() => {
                files::create_private_dir_all(&self.trash)?;
                match fs::rename(path, &to) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => {
                        other.what(|| format!("cannot remove {}", path.display()))?;
                        failpoint("trash::renamed")
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => {
                other.what(|| format!("cannot remove {}", path.display()))?;
                failpoint("trash::renamed")
            }
        }
    }

    /// Deletes what was discarded. Off every critical path; two at once do no harm.
    ///
    /// # Errors
    /// The first failure; the rest is deleted all the same.
    pub fn empty_trash(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.trash) else {
            return Ok(());
        };
        let mut outcome = Ok(());
        for entry in entries.flatten() {
            let removed = super::tree::remove_all(&entry.path());
            if outcome.is_ok() {
                outcome = removed;
            }
        }
        outcome
    }

    /// Discards the leftovers of dead processes in the staging folder; returns how many.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep(&self) -> Result<usize> {
        self.sweep_older_than(SETTLE)
    }

    pub(super) fn sweep_older_than(&self, age: Duration) -> Result<usize> {
        let Ok(entries) = fs::read_dir(&self.staging) else {
            return Ok(0);
        };
        let mut found = 0;
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let young = file
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|t| SystemTime::now().duration_since(t).unwrap_or_default() < age);
            match file.try_lock() {
                Ok(()) if !young => {
                    self.discard(&path)?;
                    found += 1;
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => {
                    return Err(e).what(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        Ok(found)
    }
}

impl StagedFile {
    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Flushes it and gives it its name.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn publish(mut self, to: &Path) -> Result<()> {
        let what = || format!("cannot write {}", to.display());
        self.file.sync_all().what(what)?;
        fs::rename(&self.path, to).what(what)?;
        self.published = true;
        let_go(&self.path);
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.published {
            let_go(&self.path);
            // Left behind it would be swept later.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl StagedDir {
    /// Leaves it to another process that has it too.
    pub(super) fn leave(mut self) {
        self.published = true;
    }

    /// Its path, for our own files only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. The content must be flushed already.
    ///
    /// # Errors
    /// `Exists` when another process published first: this one is then discarded.
    pub fn publish(mut self, to: &Path) -> Result<()> {
        let what = || format!("cannot create {}", to.display());
        if let Some(parent) = to.parent()
            && !parent.exists()
        {
            files::create_private_dir_all(parent)?;
        }
        fs::rename(&self.path, to).what(what)?;
        self.published = true;
        let_go(&self.path);
        Ok(())
    }
}

impl AsFd for StagedDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        let_go(&self.path);
        if !self.published && self.staging.discard(&self.path).is_ok() {
            drop(self.staging.empty_trash());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leftovers_of_dead_processes_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::new(dir.path());
        let live = staging.dir().unwrap();
        fs::write(live.path().join("x"), "x").unwrap();
        fs::create_dir(dir.path().join("staging/dead")).unwrap();
        fs::write(dir.path().join("staging/dead-file"), "x").unwrap();
        assert_eq!(staging.sweep().unwrap(), 0, "too young");
        assert_eq!(staging.sweep_older_than(Duration::ZERO).unwrap(), 2);
        assert!(live.path().exists());
        assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 2);
        staging.empty_trash().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
        live.publish(&dir.path().join("layers/a")).unwrap();
        assert!(dir.path().join("layers/a/x").exists());
        drop(staging.dir().unwrap());
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }
}
