//! Records of pods: groups of containers that share namespaces.
//!
//! `pods/<name>/pod.json` is what a pod is; who is in it, the containers' own records say. The
//! folder is made exclusively, which keeps names unique; one without a record is nothing yet, or
//! nothing any more, and the next pod of that name takes it over.
//!
//! Lock: `flock` on the folder, held while a container is added to the pod and while the pod is
//! removed. Readers take none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::container::{read_json, write_json};
use super::options::{ContainerOptions, RestartPolicy, is_default};
use crate::base::failpoint::failpoint;
use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::dirs::Dirs;
use crate::spec::id::{ContainerId, ObjectName};

const RECORD: &str = "pod.json";

/// How long a command waits for a pod that another one changes.
const PATIENCE: Duration = Duration::from_secs(10);

/// `pod.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Schema number.
    pub version: u32,
    /// Its id, 64 digits as a container's.
    pub id: ContainerId,
    /// Its name.
    pub name: ObjectName,
    /// When it was made.
    pub created: Timestamp,
    /// `--label`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// `--share`.
    pub share: Vec<Share>,
    /// The container that holds what is shared; absent with `--infra=false`.
    #[serde(default)]
    pub infra: Option<Infra>,
    /// `--exit-policy`.
    #[serde(default)]
    pub exit_policy: ExitPolicy,
    /// `--restart`: for containers that say nothing themselves.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// `--pod-id-file`, removed with the pod.
    #[serde(default, skip_serializing_if = "is_default")]
    pub id_file: Option<PathBuf>,
    /// The whole command line.
    #[serde(default, skip_serializing_if = "is_default")]
    pub create_command: Vec<String>,
}

/// The container that holds a pod's namespaces. It is described here, so that it can be made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Infra {
    /// Its id, given before it exists.
    pub id: ContainerId,
    /// What it is made with: network, ports, names, ids, mounts of the pod.
    pub options: Box<ContainerOptions>,
}

impl PodRecord {
    /// Whether its containers share that namespace.
    pub fn shares(&self, what: Share) -> bool {
        self.infra.is_some() && self.share.contains(&what)
    }
}

/// A kind of namespace that a pod can share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// Message queues, semaphores and `/dev/shm`.
    Ipc,
    /// Network.
    Net,
    /// Host name.
    Uts,
    /// Process ids.
    Pid,
    /// View of the cgroups.
    Cgroup,
}

impl Share {
    /// What pods share unless told otherwise.
    pub const USUAL: [Self; 3] = [Self::Ipc, Self::Net, Self::Uts];

    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Uts => "uts",
            Self::Pid => "pid",
            Self::Cgroup => "cgroup",
        }
    }

    /// Reads `--share`: words with commas between them, `none`, or `+word` for one more than usual.
    ///
    /// # Errors
    /// `Invalid` for another word.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let (more, words) = match text.strip_prefix('+') {
            Some(words) => (true, words),
            None => (false, text),
        };
        let mut all: Vec<Self> = if more {
            Self::USUAL.to_vec()
        } else {
            Vec::new()
        };
        for word in words.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let share = match word {
                "ipc" => Self::Ipc,
                "net" => Self::Net,
                "uts" => Self::Uts,
                "pid" => Self::Pid,
                "cgroup" => Self::Cgroup,
                "none" => {
                    all.clear();
                    continue;
                }
                _ => {
                    return Err(Error::invalid(format!("cannot share {word:?} in a pod"))
                        .hint("--share takes cgroup, ipc, net, pid, uts, or none"));
                }
            };
            if !all.contains(&share) {
                all.push(share);
            }
        }
        all.sort_unstable();
        Ok(all)
    }
}

/// `--exit-policy`: what happens when the last container ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitPolicy {
    /// The pod's namespaces stay.
    #[default]
    Continue,
    /// The pod stops.
    Stop,
}

impl ExitPolicy {
    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }
}

impl std::str::FromStr for ExitPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "continue" => Ok(Self::Continue),
            "stop" => Ok(Self::Stop),
            _ => Err(Error::invalid(format!("invalid --exit-policy {text:?}"))
                .hint("use continue or stop")),
        }
    }
}

/// The lock of one pod; gone when dropped, or with the process.
#[derive(Debug)]
pub struct PodLock(#[expect(dead_code, reason = "held, not read")] File);

/// All pods of this user.
#[derive(Clone, Debug)]
pub struct Pods {
    folder: PathBuf,
}

impl Pods {
    /// The pods below `dirs`.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            folder: dirs.pods(),
        }
    }

    /// Makes a pod.
    ///
    /// # Errors
    /// `Exists` when the name is taken.
    pub fn create(&self, record: &PodRecord) -> Result<()> {
        let folder = self.folder.join(record.name.as_str());
        files::create_private_dir_all(&folder)?;
        let _lock = self.take(&record.name)?;
        // Whoever had the lock may have removed the folder with its pod.
        files::create_private_dir_all(&folder)?;
        failpoint("pod::folder")?;
        let path = folder.join(RECORD);
        if read_json::<PodRecord>(&path)?.is_some() {
            return Err(Error::new(
                Kind::Exists,
                format!("pod {:?} exists already", record.name.as_str()),
            )
            .hint(format!("coracle pod rm {}", record.name)));
        }
        write_json(&path, record, Durability::Durable)
    }

    /// The pod of that name, if there is one.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn get(&self, name: &ObjectName) -> Result<Option<PodRecord>> {
        read_json(&self.folder.join(name.as_str()).join(RECORD))
    }

    /// Finds by name, id, or unique id prefix.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when a prefix fits several.
    pub fn find(&self, text: &str) -> Result<PodRecord> {
        if let Ok(name) = text.parse::<ObjectName>()
            && let Some(record) = self.get(&name)?
        {
            return Ok(record);
        }
        let missing = || {
            Error::not_found(format!("no such pod: {text:?}"))
                .hint("`coracle pod ps` lists all pods")
        };
        if text.is_empty() {
            return Err(missing());
        }
        let mut found = self.list()?.0;
        found.retain(|pod| pod.id.as_str().starts_with(text));
        match found.len() {
            0 => Err(missing()),
            1 => Ok(found.remove(0)),
            _ => Err(
                Error::invalid(format!("pod id prefix {text:?} fits several pods"))
                    .hint("write more digits"),
            ),
        }
    }

    /// All readable pods, oldest first, and what is wrong with the others.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn list(&self) -> Result<(Vec<PodRecord>, Vec<Error>)> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
            other => other.what(|| format!("cannot list {}", self.folder.display()))?,
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            match read_json::<PodRecord>(&entry.path().join(RECORD)) {
                Ok(Some(record)) => good.push(record),
                // Being made or removed.
                Ok(None) => {}
                Err(e) => bad.push(e),
            }
        }
        good.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok((good, bad))
    }

    /// Locks a pod that exists.
    ///
    /// # Errors
    /// `NotFound` when it is gone; `TimedOut` when another command keeps it.
    pub fn lock(&self, pod: &PodRecord) -> Result<PodLock> {
        let gone = || Error::not_found(format!("no such pod: {:?}", pod.name.as_str()));
        let lock = match self.take(&pod.name) {
            Err(e) if e.kind() == Kind::NotFound => return Err(gone()),
            other => other?,
        };
        match self.get(&pod.name)? {
            Some(now) if now.id == pod.id => Ok(lock),
            _ => Err(gone()),
        }
    }

    fn take(&self, name: &ObjectName) -> Result<PodLock> {
        let folder = self.folder.join(name.as_str());
        let what = || format!("cannot lock pod {:?}", name.as_str());
        let file = File::open(&folder).what(what)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(PodLock(file)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    crate::sys::process::pause(Duration::from_millis(2));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        Kind::TimedOut,
                        format!("pod {:?} is busy", name.as_str()),
                    )
                    .hint("another command changes it: try again"));
                }
                Err(fs::TryLockError::Error(e)) => return Err(e).what(what),
            }
        }
    }

    /// Replaces the record. Lock: the pod's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, pod: &PodRecord, _lock: &PodLock) -> Result<()> {
        let folder = self.folder.join(pod.name.as_str());
        write_json(&folder.join(RECORD), pod, Durability::Durable)
    }

    /// Takes a pod's record away; nobody is in it any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, pod: &PodRecord, _lock: &PodLock) -> Result<()> {
        let folder = self.folder.join(pod.name.as_str());
        files::remove_file_if_exists(&folder.join(RECORD))?;
        failpoint("pod::record")?;
        // Another pod of that name may be on its way into it.
        drop(fs::remove_dir(&folder));
        files::sync_dir(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, digit: &str) -> PodRecord {
        PodRecord {
            version: 1,
            id: digit.repeat(64).parse().unwrap(),
            name: name.parse().unwrap(),
            created: Timestamp::now(),
            labels: BTreeMap::new(),
            share: Share::USUAL.to_vec(),
            infra: None,
            exit_policy: ExitPolicy::Continue,
            restart: RestartPolicy::No,
            id_file: None,
            create_command: Vec::new(),
        }
    }

    #[test]
    fn pods_are_made_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let pods = Pods::new(&Dirs::new(dir.path().join("data"), dir.path().join("run")));
        assert!(pods.list().unwrap().0.is_empty());
        let (web, db) = (record("web", "a"), record("db", "b"));
        pods.create(&web).unwrap();
        pods.create(&db).unwrap();
        assert_eq!(
            pods.create(&record("web", "c")).unwrap_err().kind(),
            Kind::Exists
        );
        assert_eq!(pods.find("web").unwrap(), web);
        assert_eq!(pods.find("bbb").unwrap(), db);
        assert_eq!(pods.find("c").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(pods.find("").unwrap_err().kind(), Kind::NotFound);
        let names = |list: Vec<PodRecord>| -> Vec<String> {
            list.iter().map(|p| p.name.to_string()).collect()
        };
        assert_eq!(names(pods.list().unwrap().0), ["web", "db"]);
        let lock = pods.lock(&web).unwrap();
        pods.remove(&web, &lock).unwrap();
        drop(lock);
        assert_eq!(pods.lock(&web).unwrap_err().kind(), Kind::NotFound);
        // Another pod of that name is another pod.
        pods.create(&record("web", "c")).unwrap();
        assert_eq!(pods.lock(&web).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn a_folder_without_a_record_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path().join("data"), dir.path().join("run"));
        fs::create_dir_all(dirs.pods().join("web")).unwrap();
        let pods = Pods::new(&dirs);
        assert!(pods.list().unwrap().0.is_empty());
        assert_eq!(pods.find("web").unwrap_err().kind(), Kind::NotFound);
        pods.create(&record("web", "a")).unwrap();
        assert_eq!(pods.find("web").unwrap().id.as_str(), "a".repeat(64));
    }

    #[test]
    fn shared_namespaces_are_read_as_podman_reads_them() {
        use Share::{Cgroup, Ipc, Net, Pid, Uts};
        for (text, want) in [
            ("", vec![]),
            ("none", vec![]),
            ("net", vec![Net]),
            ("net,ipc,uts", vec![Ipc, Net, Uts]),
            ("+pid", vec![Ipc, Net, Uts, Pid]),
            ("cgroup, pid ,pid", vec![Pid, Cgroup]),
        ] {
            assert_eq!(Share::parse(text).unwrap(), want, "{text:?}");
        }
        assert!(Share::parse("user2").is_err());
    }
}
