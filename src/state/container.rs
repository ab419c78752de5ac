//! Container records.
//!
//! `containers/<id>/config.json` is written once at creation and replaced by `rename` and
//! `update` only; `exit.json` by the monitor, or by the command that finds it dead;
//! `<runtime>/containers/<id>/status.json` by the monitor only. `names/<name>` is a symbolic link
//! to the id, made exclusively: that is what keeps names unique.
//!
//! Lock: `containers/<id>` itself, by `flock` on the directory. Held while a container is started,
//! removed, renamed or updated; never while it runs. Readers take none.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::options::{ContainerOptions, PortMapping};
use crate::base::fs::{self as files, Durability};
use crate::base::parallel;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::dirs::Dirs;
use crate::spec::digest::Digest;
use crate::spec::id::{ContainerId, ObjectName};
use crate::spec::idmap::IdMaps;
use crate::sys::process::Identity;

/// The schema of the records that this program writes.
const VERSION: u32 = 1;

/// A record larger than this is damaged.
const LIMIT: u64 = 4 << 20;

/// `config.json`: what the container is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Schema number.
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ObjectName,
    /// When it was created.
    pub created: Timestamp,
    /// What was asked for.
    pub options: ContainerOptions,
    /// The image, resolved; absent with `--rootfs`.
    #[serde(default)]
    pub image: Option<ContainerImage>,
    /// Volumes bound at creation, anonymous ones included.
    #[serde(default)]
    pub volumes: Vec<BoundVolume>,
    /// The storage driver that made its root file system.
    #[serde(default)]
    pub driver: String,
    /// Entrypoint and arguments as they were resolved at creation.
    #[serde(default)]
    pub command: Vec<String>,
    /// The signal that `stop` sends first, as it was resolved at creation; 0 means 15.
    #[serde(default)]
    pub stop_signal: i32,
    /// `--userns=auto`: the range that it was given, relative to the shared user namespace.
    #[serde(default)]
    pub auto_maps: Option<IdMaps>,
}

/// The image of a container, as it was at creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerImage {
    /// The image id: digest of the configuration.
    pub id: Digest,
    /// The name it was found by, full form.
    pub name: String,
    /// The manifest's digest.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// A volume of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundVolume {
    /// The volume's name.
    pub name: String,
    /// Where it is mounted.
    pub destination: String,
    /// Whether it goes with the container.
    pub anonymous: bool,
}

/// `status.json`: the facts about a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Schema number.
    pub version: u32,
    /// The monitor.
    pub monitor: Identity,
    /// The container's first process, as seen from the host; absent while it is being launched or
    /// between two starts of a restart policy.
    pub init: Option<Identity>,
    /// When the present process was started.
    pub started: Timestamp,
    /// How often the restart policy started it again.
    #[serde(default)]
    pub restarts: u32,
    /// Whether it is frozen.
    #[serde(default)]
    pub paused: bool,
    /// The uplink's process.
    #[serde(default)]
    pub uplink: Option<Identity>,
    /// Published ports with random ones filled in.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// The kind of network in effect: pasta, slirp4netns, host, none, container, ns.
    #[serde(default)]
    pub network: String,
    /// Address inside, if the uplink gave one.
    #[serde(default)]
    pub ip_address: Option<String>,
    /// Path of the cgroup, if it has one.
    #[serde(default)]
    pub cgroup: Option<String>,
}

/// `exit.json`: how the last run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Schema number.
    pub version: u32,
    /// The exit code as `wait` prints it: 128 + n for signal n. -1 when unknown.
    pub code: i32,
    /// The monitor died and could not see the end.
    #[serde(default)]
    pub unknown: bool,
    /// The kernel's out-of-memory killer ended it.
    #[serde(default)]
    pub oom_killed: bool,
    /// When that run was started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Why it could not be started, in one line.
    #[serde(default)]
    pub error: Option<String>,
    /// A person stopped it (`stop`, `kill`), so `unless-stopped` and boot leave it alone.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// How often the restart policy had started it again by then.
    #[serde(default)]
    pub restarts: u32,
}

/// What a container is doing, concluded from the records and the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// The monitor is there, the process not yet or not again.
    Restarting,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// It ended.
    Exited,
    /// The monitor died without a record: the next command that changes it cleans up.
    Lost,
}

impl State {
    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Restarting => "restarting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited | Self::Lost => "exited",
        }
    }

    /// Whether a process or a monitor of it lives.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Restarting | Self::Running | Self::Paused)
    }
}

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

impl AsFd for ContainerLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Container {
    /// `data/containers/<id>`: `config.json`, `exit.json`, `upper`, `work`, `log`, generated files.
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

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.record.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.record.name.as_str()
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
        if !self.dir.join("config.json").exists() {
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
        let Some(status) = self.status()? else {
            let ended = self.dir.join("exit.json").exists();
            return Ok((if ended { State::Exited } else { State::Created }, None));
        };
        let state = if !status.monitor.is_alive() {
            State::Lost
        } else if status.init.as_ref().is_some_and(Identity::is_alive) {
            if status.paused {
                State::Paused
            } else {
                State::Running
            }
        } else {
            State::Restarting
        };
        Ok((state, Some(status)))
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
        write_json(
            &self.dir.join("config.json"),
            &self.record,
            Durability::Durable,
        )
    }

    /// Gives it another name. Lock: the container's.
    ///
    /// # Errors
    /// `Exists` when the name is taken.
    pub fn rename(&mut self, name: ObjectName) -> Result<()> {
        link_name(&self.names, &name, self.id())?;
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

/// All containers of this user.
#[derive(Clone, Debug)]
pub struct Containers {
    dirs: Dirs,
}

impl Containers {
    /// The containers below `dirs`.
    pub fn new(dirs: &Dirs) -> Self {
        Self { dirs: dirs.clone() }
    }

    /// Publishes a new container: folder and record first, the name last. A record that is not to
    /// be waited for (`Volatile`) is brought to the disk later by [`Container::sync`].
    ///
    /// # Errors
    /// `Exists` when the name is taken; nothing is left then.
    pub fn create(&self, record: ContainerRecord, durability: Durability) -> Result<Container> {
        let container = self.container_of(record);
        let make = || -> Result<()> {
            match fs::DirBuilder::new().mode(0o700).create(&container.dir) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    files::create_private_dir_all(&self.dirs.containers())?;
                    files::create_private_dir_all(&self.dirs.names())?;
                    fs::DirBuilder::new()
                        .mode(0o700)
                        .create(&container.dir)
                        .what(|| format!("cannot create {}", container.dir.display()))?;
                }
                other => other.what(|| format!("cannot create {}", container.dir.display()))?,
            }
            write_json(
                &container.dir.join("config.json"),
                &container.record,
                durability,
            )?;
            link_name(&container.names, &container.record.name, container.id())
        };
        match make() {
            Ok(()) => Ok(container),
            Err(e) => {
                drop(fs::remove_dir_all(&container.dir));
                Err(e)
            }
        }
    }

    /// Opens by exact id.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, or `Unsupported` when a newer coracle wrote it.
    pub fn open(&self, id: &ContainerId) -> Result<Container> {
        let path = self.dirs.containers().join(id.as_str()).join("config.json");
        Ok(self.container_of(read_record(&path)?))
    }

    /// Finds by name, id, or unique id prefix.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when a prefix fits several.
    pub fn find(&self, text: &str) -> Result<Container> {
        let missing = || {
            Error::not_found(format!("no such container: {text:?}"))
                .hint("`coracle ps -a` lists all containers")
        };
        if let Ok(name) = text.parse::<ObjectName>()
            && let Ok(target) = fs::read_link(self.dirs.names().join(name.as_str()))
            && let Some(id) = target.to_str().and_then(|t| t.parse::<ContainerId>().ok())
        {
            match self.open(&id) {
                Ok(container) if container.record.name == name => return Ok(container),
                // A rename or removal was cut short: the link is stale.
                Ok(_) => {}
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        if text.is_empty()
            || text.len() > 64
            || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(missing());
        }
        if let Ok(id) = text.parse::<ContainerId>() {
            return self.open(&id).map_err(|e| {
                if e.kind() == Kind::NotFound {
                    missing()
                } else {
                    e
                }
            });
        }
        let mut found: Option<ContainerId> = None;
        for id in self.ids()? {
            if id.as_str().starts_with(text) {
                if found.is_some() {
                    return Err(Error::invalid(format!(
                        "container id prefix {text:?} fits several containers"
                    ))
                    .hint("write more digits"));
                }
                found = Some(id);
            }
        }
        self.open(&found.ok_or_else(missing)?)
    }

    /// Every container id, in no order.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let dir = self.dirs.containers();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).what(|| format!("cannot list {}", dir.display())),
        };
        Ok(entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect())
    }

    /// Every readable container, oldest first; a damaged record disables that container only and
    /// is returned beside.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn list(&self) -> Result<(Vec<Container>, Vec<Error>)> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for opened in parallel::map(self.ids()?, |id| self.open(&id)) {
            match opened {
                Ok(container) => good.push(container),
                // Being created or removed right now.
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => bad.push(e),
            }
        }
        good.sort_by(|a, b| (a.record.created, a.id()).cmp(&(b.record.created, b.id())));
        Ok((good, bad))
    }

    /// Removes a container's records: the name first, then the folder under a new name (so that it
    /// is gone at once), then what it held. Files of other owners need the user namespace: the
    /// caller has entered it. Lock: the container's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, container: &Container) -> Result<()> {
        match self.discard(container)? {
            Some(trash) => remove_tree(&trash),
            None => Ok(()),
        }
    }

    /// The quick half of [`Containers::remove`]: name and records are gone, the files lie in the
    /// folder that is returned, for [`remove_tree`]. `None` when there was nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn discard(&self, container: &Container) -> Result<Option<PathBuf>> {
        let link = container.names.join(container.name());
        if fs::read_link(&link).is_ok_and(|t| t.to_str() == Some(container.id().as_str())) {
            files::remove_file_if_exists(&link)?;
        }
        drop(fs::remove_dir_all(&container.runtime_dir));
        let trash = self
            .dirs
            .containers()
            .join(format!(".removing-{}", container.id()));
        match fs::rename(&container.dir, &trash) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.what(|| format!("cannot remove container {:?}", container.name()))?,
        }
        Ok(Some(trash))
    }

    /// Removes what interrupted removals and creations left: `.removing-*` and folders without a
    /// record that are older than a minute, and names that lead nowhere.
    ///
    /// # Errors
    /// What the kernel says of the folders.
    pub fn sweep(&self) -> Result<()> {
        let dir = self.dirs.containers();
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let path = entry.path();
            let old = || {
                entry
                    .metadata()
                    .and_then(|m| m.modified())
                    .is_ok_and(|t| t.elapsed().is_ok_and(|e| e.as_secs() > 60))
            };
            let removing = name.to_str().is_some_and(|n| n.starts_with(".removing-"));
            if removing || (!path.join("config.json").exists() && old()) {
                remove_tree(&path)?;
            }
        }
        for entry in fs::read_dir(self.dirs.names())
            .into_iter()
            .flatten()
            .flatten()
        {
            let dangling = fs::read_link(entry.path()).is_ok_and(|t| !dir.join(t).exists());
            if dangling {
                files::remove_file_if_exists(&entry.path())?;
            }
        }
        Ok(())
    }

    fn container_of(&self, record: ContainerRecord) -> Container {
        let dir = self.dirs.containers().join(record.id.as_str());
        let runtime_dir = self.dirs.runtime_containers().join(record.id.as_str());
        Container {
            record: Box::new(record),
            dir,
            runtime_dir,
            names: self.dirs.names(),
        }
    }
}

/// Removes a tree of ours, inside the user namespace: its root may open what nobody else may.
///
/// # Errors
/// The first failure.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.what(|| format!("cannot remove {}", path.display())).map_err(|e| {
            e.hint("files of the container's users need the user namespace: try `coracle unshare rm -rf` on that path")
        }),
    }
}

fn link_name(names: &Path, name: &ObjectName, id: &ContainerId) -> Result<()> {
    let link = names.join(name.as_str());
    for _ in 0..2 {
        match std::os::unix::fs::symlink(id.as_str(), &link) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                files::create_private_dir_all(names)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                // A creation or removal that was killed leaves a name that leads nowhere.
                let stale = fs::read_link(&link).is_ok_and(|t| {
                    names.parent().is_some_and(|data| {
                        !data.join("containers").join(t).join("config.json").exists()
                    })
                });
                if !stale {
                    return Err(Error::new(
                        Kind::Exists,
                        format!("the container name {:?} is already in use", name.as_str()),
                    )
                    .hint("remove or rename that container, or use --replace"));
                }
                files::remove_file_if_exists(&link)?;
            }
            Err(e) => return Err(e).what(|| format!("cannot create {}", link.display())),
        }
    }
    Err(Error::new(
        Kind::Exists,
        format!("the container name {:?} is already in use", name.as_str()),
    ))
}

fn read_record(path: &Path) -> Result<ContainerRecord> {
    read_json(path)?
        .ok_or_else(|| Error::not_found(format!("no such container record: {}", path.display())))
}

/// Reads a versioned JSON record; `None` if there is none.
///
/// # Errors
/// `Corrupt` when it does not parse, `Unsupported` when a newer coracle wrote it.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Some(bytes) = files::read_if_exists(path, LIMIT)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(e) => match serde_json::from_slice::<Versioned>(&bytes) {
            Ok(v) if v.version > VERSION => Err(Error::unsupported(format!(
                "{} was written by a newer coracle (record version {}, this one reads up to {VERSION})",
                path.display(),
                v.version
            ))
            .hint("use the newer coracle")),
            _ => Err(Error::new(Kind::Corrupt, format!("the record {} is damaged", path.display()))
                .because(e)
                .hint("move that folder away; no other object is affected")),
        },
    }
}

/// Writes a JSON record atomically.
///
/// # Errors
/// What the kernel says.
pub fn write_json<T: Serialize>(path: &Path, value: &T, durability: Durability) -> Result<()> {
    let bytes = serde_json::to_vec(value).what_kind(Kind::Internal, || {
        format!("cannot encode {}", path.display())
    })?;
    files::replace(path, &bytes, 0o600, durability)
}
