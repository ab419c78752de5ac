//! Container records.
//!
//! `containers/<id>/config.json` is written once at creation and replaced by `rename` and
//! `update` only; `exit.json` by the monitor, or by the command that finds it dead;
//! `<runtime>/containers/<id>/status.json` by the monitor only. `names/<name>` is a symbolic link
//! to the id, made exclusively: that is what keeps names unique. `containers/<id>/run` says that it
//! was started, for after a power cut (`mark`).
//!
//! Lock: `containers/<id>` itself, by `flock` on the directory. Held while a container is started,
//! removed, renamed or updated; never while it runs. Readers take none.

mod all;
mod file;
mod mark;
mod record;

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use all::link_name;
pub use all::{Containers, Remains, remove_tree};
pub use file::{read_json, write_json};
use mark::Mark;
pub use record::{BoundVolume, ContainerImage, ContainerRecord, ExitRecord, State, Status};

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::id::{ContainerId, ObjectName};
use crate::state::health::HealthRecord;
use crate::sys::process::{Identity, boot_id};

/// See [`crate::state::health`].
const HEALTH: &str = "health.json";

/// One container's record together with its folders.
#[derive(Clone, Debug)]
pub struct Container {
    /// The record, as read. Boxed: it has a hundred fields, and lists of containers are sorted.
    pub record: Box<ContainerRecord>,
    dir: PathBuf,
    runtime_dir: PathBuf,
    names: PathBuf,
}

/// The lock of one container; gone when dropped, or with the process.
#[derive(Debug)]
pub struct ContainerLock(File);

impl ContainerLock {
    /// The lock of a folder that was made just now.
    fn of_new(dir: &Path) -> Result<Self> {
        let what = || format!("cannot lock {}", dir.display());
        let file = File::open(dir).what(what)?;
        file.lock().what(what)?;
        Ok(Self(file))
    }
}

impl AsFd for ContainerLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a container is doing, its status while there is one, and the exit record where it had a say.
pub type Situation = (State, Option<Status>, Option<ExitRecord>);

impl Container {
    /// A container that no command finds: a step of a build, with folders of its maker's.
    pub fn unrecorded(record: ContainerRecord, dir: PathBuf, runtime_dir: PathBuf) -> Self {
        Self {
            record: Box::new(record),
            names: dir.clone(),
            dir,
            runtime_dir,
        }
    }

    /// `data/containers/<id>`: `config.json`, `exit.json`, `run`, `upper`, `work`, `log`, generated files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `<runtime>/containers/<id>`: `status.json`, `control.sock`.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// The control socket's path.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir.join("control.sock")
    }

    /// Where its monitor's pid is, when systemd started it.
    pub fn monitor_pidfile(&self) -> PathBuf {
        self.runtime_dir.join("monitor.pid")
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.record.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.record.name.as_str()
    }

    /// Whether its name is its own: made last at creation, removed first at removal.
    fn has_its_name(&self) -> bool {
        fs::read_link(self.names.join(self.name()))
            .is_ok_and(|target| target.to_str() == Some(self.id().as_str()))
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// `TimedOut` after `patience`; `NotFound` when the container went away meanwhile.
    pub fn lock(&self, patience: Duration) -> Result<ContainerLock> {
        let what = || format!("cannot lock container {:?}", self.name());
        let file = File::open(&self.dir).what(what)?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    crate::sys::process::pause(Duration::from_millis(2));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        Kind::TimedOut,
                        format!("container {:?} is busy", self.name()),
                    )
                    .hint("another command is starting or removing it: try again"));
                }
                Err(fs::TryLockError::Error(e)) => return Err(e).what(what),
            }
        }
        // Whoever held the lock may have removed it.
        if !is_recorded(&self.dir) {
            return Err(Error::not_found(format!(
                "no such container: {}",
                self.name()
            )));
        }
        Ok(ContainerLock(file))
    }

    /// Reads the record again.
    ///
    /// # Errors
    /// As [`Containers::open`].
    pub fn reload(&mut self) -> Result<()> {
        *self.record = read_record(&self.dir.join("config.json"))?;
        Ok(())
    }

    /// The status, if a monitor wrote one since boot.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn status(&self) -> Result<Option<Status>> {
        read_json(&self.runtime_dir.join("status.json"))
    }

    /// The last exit.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn exit(&self) -> Result<Option<ExitRecord>> {
        read_json(&self.dir.join("exit.json"))
    }

    /// Whether `run --rm` made it and was killed before anybody started it. Its maker would have
    /// the lock, and a monitor lets go of that only after its mark is there.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn is_abandoned(&self) -> Result<bool> {
        let record = &self.record;
        if !(record.by_run && record.options.remove) || self.state()? != State::Created {
            return Ok(false);
        }
        match self.lock(Duration::ZERO) {
            // It may have been started in between.
            Ok(_lock) => Ok(self.state()? == State::Created),
            Err(e) if matches!(e.kind(), Kind::TimedOut | Kind::NotFound) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Concludes what it is doing.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn state(&self) -> Result<State> {
        Ok(self.state_and_status()?.0)
    }

    /// As [`Container::state`], with the status it was concluded from.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn state_and_status(&self) -> Result<(State, Option<Status>)> {
        self.situation().map(|(state, status, _)| (state, status))
    }

    /// As [`Container::state_and_status`], with the exit record where it had a say.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn situation(&self) -> Result<Situation> {
        let Some(status) = self.status()? else {
            return self.without_status();
        };
        let state = if !status.monitor.is_alive() {
            State::Lost
        } else if status.init.as_ref().is_some_and(Identity::is_alive) {
            if status.paused {
                State::Paused
            } else {
                State::Running
            }
        } else if status.waiting {
            State::Waiting
        } else {
            State::Restarting
        };
        Ok((state, Some(status), None))
    }

    /// As [`Container::situation`], for a container that had no runtime folder a moment ago: saves
    /// looking for its status, unless it seems to have been started since.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn situation_at_rest(&self) -> Result<Situation> {
        match self.without_status()? {
            rest @ (State::Created | State::Exited, ..) => Ok(rest),
            _ => self.situation(),
        }
    }

    /// Without a status it ended, was never started, or lost its runtime folder while it ran: to
    /// a power cut or to whoever empties that folder at logout.
    fn without_status(&self) -> Result<Situation> {
        let exit = self.exit()?;
        let mark = Mark::read(&self.dir);
        let (state, status) = match (mark, &exit) {
            (Some(mark), Some(exit)) if mark.is_settled_by(exit) => (State::Exited, None),
            (None, Some(_)) => (State::Exited, None),
            (None, None) => (State::Created, None),
            (Some(mark), _) => {
                let status = mark.status();
                let state = match status.monitor.is_alive() {
                    true => State::Restarting,
                    false => State::Lost,
                };
                (state, Some(status))
            }
        };
        Ok((state, status, exit))
    }

    /// Notes for good that `status` begins a run. The monitor only, before the process runs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mark_start(&self, status: &Status) -> Result<()> {
        Mark::put(&self.dir, status)
    }

    /// Writes the status. The monitor only.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write_status(&self, status: &Status) -> Result<()> {
        write_json(
            &self.runtime_dir.join("status.json"),
            status,
            Durability::Volatile,
        )
    }

    /// How its checks went in the present or last run, since boot.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn health(&self) -> Result<Option<HealthRecord>> {
        read_json(&self.runtime_dir.join(HEALTH))
    }

    /// Writes how its checks went. The monitor only.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write_health(&self, health: &HealthRecord) -> Result<()> {
        write_json(&self.runtime_dir.join(HEALTH), health, Durability::Volatile)
    }

    /// Takes that record away: this run has no checks. The monitor only.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clear_health(&self) -> Result<()> {
        files::remove_file_if_exists(&self.runtime_dir.join(HEALTH))
    }

    /// Removes the status and the control socket: the run is over and recorded.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clear_status(&self) -> Result<()> {
        files::remove_file_if_exists(&self.control_socket())?;
        files::remove_file_if_exists(&self.runtime_dir.join("status.json"))
    }

    /// Writes the exit record. The monitor, or whoever holds the lock and found the monitor dead.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write_exit(&self, exit: &ExitRecord) -> Result<()> {
        write_json(&self.dir.join("exit.json"), exit, Durability::Volatile)
    }

    /// Replaces the record. Lock: the container's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write_record(&self) -> Result<()> {
        let durability = match self.record.transient {
            Some(_) => Durability::Volatile,
            None => Durability::Durable,
        };
        write_json(&self.dir.join("config.json"), &self.record, durability)
    }

    /// Gives it another name. Lock: the container's.
    ///
    /// # Errors
    /// `Exists` when the name is taken.
    pub fn rename(&mut self, name: ObjectName) -> Result<()> {
        link_name(&self.names, &name, self.id())?;
        files::sync_dir(&self.names)?;
        let old = std::mem::replace(&mut self.record.name, name);
        self.write_record()?;
        files::remove_file_if_exists(&self.names.join(old.as_str()))
    }

    /// Replaces the record without waiting for the disk. Lock: the container's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write_record_soon(&self) -> Result<()> {
        write_json(
            &self.dir.join("config.json"),
            &self.record,
            Durability::Volatile,
        )
    }

    /// Brings the record to the disk, when it was written without waiting for that.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sync(&self) -> Result<()> {
        if self.record.transient.is_some() {
            return Ok(());
        }
        let sync = |path: &Path| File::open(path)?.sync_all();
        sync(&self.dir.join("config.json"))
            .and_then(|()| sync(&self.dir))
            .and_then(|()| sync(&self.names))
            .what(|| format!("cannot flush the record of container {:?}", self.name()))
    }

    /// Makes the runtime folder.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make_runtime_dir(&self) -> Result<()> {
        files::create_private_dir_all(&self.runtime_dir)
    }
}

/// The link in the folder of a transient container.
const BOOT: &str = "boot";

/// Whether a container's folder holds its record. An empty one was caught by a power cut; that of a
/// transient one of another boot does not count.
fn is_recorded(folder: &Path) -> bool {
    fs::metadata(folder.join("config.json")).is_ok_and(|m| m.len() > 0)
        && fs::read_link(folder.join(BOOT)).map_or(true, |boot| boot.as_os_str() == boot_id())
}

fn read_record(path: &Path) -> Result<ContainerRecord> {
    let record: Option<ContainerRecord> = read_json(path)?;
    record
        .filter(|r| r.transient.as_ref().is_none_or(|boot| boot == boot_id()))
        .ok_or_else(|| Error::not_found(format!("no such container record: {}", path.display())))
}

#[cfg(test)]
mod tests;
