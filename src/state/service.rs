//! Records of services: one name and one address in front of several containers.
//!
//! `services/<name>/service.json` is what was asked for and the addresses that were given; which
//! containers are a service's replicas, their own records say. The folder is made exclusively.
//!
//! Lock: `flock` on the folder, held while a command changes the service or its replicas. Readers
//! take none. A record whose progress says `updating` while nobody holds the lock was left by a
//! command that was interrupted: the next one goes on from there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::container::{read_json, write_json};
use super::options::{ContainerOptions, PortMapping, Protocol, is_default};
use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::dirs::Dirs;
use crate::spec::id::{ContainerId, ObjectName};

const RECORD: &str = "service.json";

/// How long a command waits for a service that another one changes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The labels of replicas, docker's words.
pub const SERVICE_ID: &str = "com.docker.swarm.service.id";
/// See [`SERVICE_ID`].
pub const SERVICE_NAME: &str = "com.docker.swarm.service.name";
/// The replica's own id.
pub const TASK_ID: &str = "com.docker.swarm.task.id";
/// The replica's own name.
pub const TASK_NAME: &str = "com.docker.swarm.task.name";
/// Which of the replicas it is, from 1.
pub const SLOT: &str = "coracle.service.slot";
/// What it was made from ([`Desired::revision`]).
pub const REVISION: &str = "coracle.service.revision";

/// `service.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Schema number.
    pub version: u32,
    /// Its id, 64 digits as a container's.
    pub id: ContainerId,
    /// Its name.
    pub name: ObjectName,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// What it should be.
    pub desired: Desired,
    /// What it should have been before that: where a rollback leads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub previous: Option<Box<Desired>>,
    /// Its address on each of its networks, by the network's name. None where the name leads to the
    /// replicas themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub addresses: BTreeMap<String, IpAddr>,
    /// Counts the changes of what the role `net` is told.
    #[serde(default)]
    pub changes: u64,
    /// How the last change of its replicas goes or went.
    #[serde(default, skip_serializing_if = "is_default")]
    pub progress: Option<Progress>,
}

/// What a service should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// Counts what replicas are made from: one that bears another number is outdated.
    pub revision: u64,
    /// What was asked for, by the names of docker's flags: `update` edits it.
    #[serde(skip_serializing_if = "is_default")]
    pub words: BTreeMap<String, Vec<String>>,
    /// `--label`.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// What a replica is made with; absent for a service that others make containers for.
    #[serde(skip_serializing_if = "is_default")]
    pub options: Option<Box<ContainerOptions>>,
    /// The id of the image that they are made of.
    #[serde(skip_serializing_if = "is_default")]
    pub image: String,
    /// How many.
    pub replicas: u32,
    /// One on each machine, of which there is one (`--mode global`).
    #[serde(skip_serializing_if = "is_default")]
    pub global: bool,
    /// The networks that it is on, by name.
    pub networks: Vec<String>,
    /// Further names on them.
    #[serde(skip_serializing_if = "is_default")]
    pub names: Vec<String>,
    /// Its name leads to the replicas themselves (`--endpoint-mode dnsrr`).
    #[serde(skip_serializing_if = "is_default")]
    pub direct: bool,
    /// Ports of its address that lead to other ports of the replicas; none means that every port
    /// leads to the same.
    #[serde(skip_serializing_if = "is_default")]
    pub ports: Vec<ServicePort>,
    /// Ports of the host that lead to any replica.
    #[serde(skip_serializing_if = "is_default")]
    pub publish: Vec<PortMapping>,
    /// `--update-*`.
    pub update: Rolling,
    /// `--rollback-*`.
    pub rollback: Rolling,
}

/// A port of a service's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// The address's.
    pub port: u16,
    /// The replicas'.
    pub target: u16,
    /// tcp or udp.
    pub protocol: Protocol,
}

/// How replicas are replaced: `--update-*`, `--rollback-*`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rolling {
    /// How many at a time; 0 means all.
    pub parallelism: u32,
    /// Nanoseconds between two groups.
    pub delay: u64,
    /// Nanoseconds for which a new replica is watched.
    pub monitor: u64,
    /// Which part of the replicas may fail, 0 to 1.
    pub max_failure_ratio: f64,
    /// What is done when more fail.
    pub on_failure: OnFailure,
    /// What comes first.
    pub order: Order,
}

impl Default for Rolling {
    /// docker's.
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: 0,
            monitor: 5_000_000_000,
            max_failure_ratio: 0.0,
            on_failure: OnFailure::Pause,
            order: Order::StopFirst,
        }
    }
}

/// What a failed update comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It stops there.
    #[default]
    Pause,
    /// It goes on.
    Continue,
    /// It is undone.
    Rollback,
}

impl OnFailure {
    /// docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Continue => "continue",
            Self::Rollback => "rollback",
        }
    }
}

/// What comes first when a replica is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The end of the old one.
    #[default]
    StopFirst,
    /// The start of the new one.
    StartFirst,
}

impl Order {
    /// docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::StopFirst => "stop-first",
            Self::StartFirst => "start-first",
        }
    }
}

/// How a change of replicas goes or went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is.
    pub state: ProgressState,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub completed: Option<Timestamp>,
    /// In words.
    pub message: String,
}

/// docker's `UpdateStatus.State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressState {
    /// Under way, or interrupted.
    Updating,
    /// It failed and stopped there.
    Paused,
    /// Done.
    Completed,
    /// Undone under way, or interrupted.
    RollbackStarted,
    /// That failed, too.
    RollbackPaused,
    /// Undone.
    RollbackCompleted,
}

impl ProgressState {
    /// docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Updating => "updating",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::RollbackStarted => "rollback_started",
            Self::RollbackPaused => "rollback_paused",
            Self::RollbackCompleted => "rollback_completed",
        }
    }
}

/// What the role `net` is told of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Front {
    /// Its name.
    pub name: String,
    /// Its id: another service of that name is another one.
    pub id: String,
    /// The larger one is the newer one.
    pub changes: u64,
    /// See [`ServiceRecord::addresses`].
    pub addresses: BTreeMap<String, IpAddr>,
    /// Further names.
    pub names: Vec<String>,
    /// See [`Desired::ports`].
    pub ports: Vec<ServicePort>,
    /// See [`Desired::publish`].
    pub publish: Vec<PortMapping>,
}

impl ServiceRecord {
    /// What the role is told.
    pub fn front(&self) -> Front {
        Front {
            name: self.name.to_string(),
            id: self.id.to_string(),
            changes: self.changes,
            addresses: self.addresses.clone(),
            names: self.desired.names.clone(),
            ports: self.desired.ports.clone(),
            publish: self.desired.publish.clone(),
        }
    }
}

/// The lock of one service; gone when dropped, or with the process.
#[derive(Debug)]
pub struct ServiceLock(RefCell<Option<File>>);

impl ServiceLock {
    /// For a fork that leaves processes behind: those must not keep the lock. Whoever forked has it
    /// still.
    pub fn leave(&self) {
        drop(self.0.take());
    }
}

/// All services of this user.
#[derive(Clone, Debug)]
pub struct Services {
    folder: PathBuf,
}

impl Services {
    /// The services below `dirs`.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            folder: dirs.services(),
        }
    }

    /// Makes a service, locked.
    ///
    /// # Errors
    /// `Exists` when the name is taken.
    pub fn create(&self, record: &ServiceRecord) -> Result<ServiceLock> {
        let folder = self.folder.join(record.name.as_str());
        files::create_private_dir_all(&folder)?;
        let lock = self.take(&record.name)?;
        // Whoever had the lock may have removed the folder with its service.
        files::create_private_dir_all(&folder)?;
        if self.get(&record.name)?.is_some() {
            return Err(Error::new(
                Kind::Exists,
                format!("service {:?} exists already", record.name.as_str()),
            )
            .hint(format!("coracle service rm {}", record.name)));
        }
        write_json(&folder.join(RECORD), record, Durability::Durable)?;
        Ok(lock)
    }

    /// The service of that name, if there is one.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn get(&self, name: &ObjectName) -> Result<Option<ServiceRecord>> {
        read_json(&self.folder.join(name.as_str()).join(RECORD))
    }

    /// Finds by name, id, or unique id prefix.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when a prefix fits several.
    pub fn find(&self, text: &str) -> Result<ServiceRecord> {
        if let Ok(name) = text.parse::<ObjectName>()
            && let Some(record) = self.get(&name)?
        {
            return Ok(record);
        }
        let missing = || {
            Error::not_found(format!("no such service: {text:?}"))
                .hint("`coracle service ls` lists all services")
        };
        if text.is_empty() {
            return Err(missing());
        }
        let mut found = self.list()?.0;
        found.retain(|s| s.id.as_str().starts_with(text));
        match found.len() {
            0 => Err(missing()),
            1 => Ok(found.remove(0)),
            _ => Err(
                Error::invalid(format!("service id prefix {text:?} fits several services"))
                    .hint("write more digits"),
            ),
        }
    }

    /// All readable services, by name, and what is wrong with the others.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn list(&self) -> Result<(Vec<ServiceRecord>, Vec<Error>)> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
            other => other.what(|| format!("cannot list {}", self.folder.display()))?,
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            match read_json::<ServiceRecord>(&entry.path().join(RECORD)) {
                Ok(Some(record)) => good.push(record),
                // Being made or removed.
                Ok(None) => {}
                Err(e) => bad.push(e),
            }
        }
        good.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Ok((good, bad))
    }

    /// Locks a service that exists, and reads it again.
    ///
    /// # Errors
    /// `NotFound` when it is gone; `TimedOut` when another command keeps it.
    pub fn lock(&self, service: &ServiceRecord) -> Result<(ServiceRecord, ServiceLock)> {
        let gone = || Error::not_found(format!("no such service: {:?}", service.name.as_str()));
        let lock = match self.take(&service.name) {
            Err(e) if e.kind() == Kind::NotFound => return Err(gone()),
            other => other?,
        };
        match self.get(&service.name)? {
            Some(now) if now.id == service.id => Ok((now, lock)),
            _ => Err(gone()),
        }
    }

    fn take(&self, name: &ObjectName) -> Result<ServiceLock> {
        let folder = self.folder.join(name.as_str());
        let what = || format!("cannot lock service {:?}", name.as_str());
        let file = File::open(&folder).what(what)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(ServiceLock(RefCell::new(Some(file)))),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    crate::sys::process::pause(Duration::from_millis(2));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        Kind::TimedOut,
                        format!("service {:?} is busy", name.as_str()),
                    )
                    .hint("another command changes it: `coracle service ps` shows how far it is"));
                }
                Err(fs::TryLockError::Error(e)) => return Err(e).what(what),
            }
        }
    }

    /// Replaces the record. Lock: the service's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, service: &ServiceRecord, _lock: &ServiceLock) -> Result<()> {
        let folder = self.folder.join(service.name.as_str());
        write_json(&folder.join(RECORD), service, Durability::Durable)
    }

    /// Takes a service's record away.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, service: &ServiceRecord, _lock: &ServiceLock) -> Result<()> {
        let folder = self.folder.join(service.name.as_str());
        files::remove_file_if_exists(&folder.join(RECORD))?;
        // Another service of that name may be on its way into it.
        drop(fs::remove_dir(&folder));
        files::sync_dir(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, digit: &str) -> ServiceRecord {
        ServiceRecord {
            version: 1,
            id: digit.repeat(64).parse().unwrap(),
            name: name.parse().unwrap(),
            created: Timestamp::now(),
            updated: Timestamp::now(),
            desired: Desired {
                networks: vec!["podman".to_owned()],
                ..Desired::default()
            },
            previous: None,
            addresses: BTreeMap::new(),
            changes: 1,
            progress: None,
        }
    }

    #[test]
    fn services_are_made_found_changed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let services = Services::new(&Dirs::new(dir.path().join("data"), dir.path().join("run")));
        assert!(services.list().unwrap().0.is_empty());
        let web = record("web", "a");
        drop(services.create(&web).unwrap());
        assert_eq!(services.create(&web).unwrap_err().kind(), Kind::Exists);
        assert_eq!(services.find("aaa").unwrap(), web);
        assert_eq!(services.find("b").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(services.find("").unwrap_err().kind(), Kind::NotFound);
        let (mut now, lock) = services.lock(&web).unwrap();
        now.desired.replicas = 3;
        services.write(&now, &lock).unwrap();
        assert_eq!(services.find("web").unwrap().desired.replicas, 3);
        services.remove(&now, &lock).unwrap();
        drop(lock);
        assert_eq!(services.lock(&web).unwrap_err().kind(), Kind::NotFound);
        // Another service of that name is another one.
        drop(services.create(&record("web", "c")).unwrap());
        assert_eq!(services.lock(&web).unwrap_err().kind(), Kind::NotFound);
    }
}
