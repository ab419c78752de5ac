//! What is known of a container between two commands.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Place;
use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::runtime::hooks::State;
use crate::spec::runtime::Spec;
use crate::sys::process::Identity;

/// A record is not larger.
const LIMIT: u64 = 16 << 20;

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub version: u32,
    /// Its id.
    pub id: String,
    /// Its first process.
    pub process: Identity,
    /// The bundle's folder, absolute.
    pub bundle: String,
    /// The root file system, absolute.
    pub rootfs: String,
    /// RFC 3339.
    pub created: String,
    /// Who made it, a user id.
    pub owner: u32,
    /// The folders of its cgroups: one of v2, or one a hierarchy of v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<PathBuf>,
    /// Those of them that `create` made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_cgroups: Vec<PathBuf>,
    /// The resctrl groups of its processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rdt: Vec<PathBuf>,
    /// Those that go with it, in the order of their removal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_rdt: Vec<PathBuf>,
}

/// What becomes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// It waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process ended.
    Stopped,
}

impl Status {
    /// The specification's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    dir: PathBuf,
    /// Its record.
    pub record: Record,
    config: Vec<u8>,
}

/// Refuses what is not an id: it becomes a folder's name.
///
/// # Errors
/// `Invalid`.
pub fn check_id(id: &str) -> Result<()> {
    let good = !id.is_empty()
        && id.len() <= 1024
        && id != "."
        && id != ".."
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.'));
    if good {
        return Ok(());
    }
    Err(
        Error::invalid(format!("invalid container id format: {id:?}"))
            .hint("letters, digits and _ + - . make an id"),
    )
}

fn gone() -> Error {
    // runc's words: containerd looks for them.
    Error::not_found("container does not exist")
}

/// A folder that was made for a new container; removed with everything in it unless kept.
#[derive(Debug)]
pub struct Fresh {
    dir: PathBuf,
    kept: bool,
}

impl Fresh {
    /// Makes the folder: this is what keeps ids unique.
    ///
    /// # Errors
    /// `Exists`.
    pub fn make(place: &Place, id: &str) -> Result<Self> {
        let dir = place.root.join(id);
        let make = || fs::DirBuilder::new().mode(0o700).create(&dir);
        let made = match make() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                files::create_private_dir_all(&place.root)?;
                make()
            }
            other => other,
        };
        match made {
            Ok(()) => Ok(Self { dir, kept: false }),
            // What a `create` that was killed left behind is nobody's.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                if sweep(place, id)? {
                    make().what(|| format!("cannot make {}", dir.display()))?;
                    return Ok(Self { dir, kept: false });
                }
                Err(Error::new(
                    Kind::Exists,
                    format!("container with given ID already exists: {id}"),
                ))
            }
            Err(e) => Err(e).what(|| format!("cannot make {}", dir.display())),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder, opened and claimed for this `create`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn claimed(&self) -> Result<OwnedFd> {
        let dir = open_dir(&self.dir)?;
        claim(&dir).what(|| "cannot lock the container")?;
        Ok(dir)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, record: &Record, config: &[u8]) -> Result<()> {
        let mut bytes = serde_json::to_vec(record).what(|| "cannot write the record")?;
        bytes.push(b'\n');
        bytes.extend_from_slice(config);
        let path = self.dir.join("record");
        files::replace(&path, &bytes, 0o600, files::Durability::Volatile)
    }

    /// The container is created: others may start it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keep(mut self) -> Result<()> {
        fs::rename(self.dir.join(".start"), self.dir.join("start"))
            .what(|| "cannot publish the container")?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.dir);
        }
    }
}

/// Removes a container's folder; what is in it is ours alone.
fn remove(dir: &Path) {
    for name in ["start", ".start", "record"] {
        drop(fs::remove_file(dir.join(name)));
    }
    if fs::remove_dir(dir).is_err() {
        // A record that was being written when its writer was killed.
        drop(fs::remove_dir_all(dir));
    }
}

/// Removes a folder without a record that no `create` works on; whether there was one.
///
/// # Errors
/// What the kernel says.
pub fn sweep(place: &Place, id: &str) -> Result<bool> {
    check_id(id)?;
    let dir = place.root.join(id);
    if !dir.is_dir() || dir.join("record").exists() {
        return Ok(false);
    }
    let opened = open_dir(&dir)?;
    match claim(&opened) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e).what(|| "cannot lock the container"),
        Ok(()) if dir.join("record").exists() => Ok(false),
        Ok(()) => {
            remove(&dir);
            Ok(true)
        }
    }
}

/// Keeps others from taking a folder for a leftover, until it is closed.
fn claim(dir: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::flock(
        dir.as_fd(),
        rustix::fs::FlockOperation::NonBlockingLockExclusive,
    )
}

/// Gives up what [`Fresh::claimed`] took, whoever has copies of the descriptor.
///
/// # Errors
/// What the kernel says.
pub fn release(dir: &OwnedFd) -> Result<()> {
    rustix::fs::flock(dir.as_fd(), rustix::fs::FlockOperation::Unlock)
        .what(|| "cannot unlock the container")
}

/// The path of a file in an opened folder, short enough for a socket's address.
pub fn short(dir: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

/// Opens a container's folder.
///
/// # Errors
/// What the kernel says.
pub fn open_dir(dir: &Path) -> Result<OwnedFd> {
    let opened = File::open(dir).what(|| format!("cannot open {}", dir.display()))?;
    Ok(opened.into())
}

impl Container {
    /// Finds a container.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for a record that cannot be read.
    pub fn open(place: &Place, id: &str) -> Result<Self> {
        check_id(id)?;
        let dir = place.root.join(id);
        let Some(bytes) = files::read_if_exists(&dir.join("record"), LIMIT)? else {
            return Err(gone());
        };
        let bad = || Error::new(Kind::Corrupt, format!("the record of {id} cannot be read"));
        let at = bytes.iter().position(|b| *b == b'\n').ok_or_else(bad)?;
        let (line, config) = bytes.split_at(at);
        let record = serde_json::from_slice(line).map_err(|e| bad().because(e))?;
        Ok(Self {
            dir,
            record,
            config: config.to_vec(),
        })
    }

    /// All containers below a root, by id; folders without a record are left out.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn all(place: &Place) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(&place.root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.what(|| format!("cannot read {}", place.root.display()))?,
        };
        let mut all: Vec<Self> = entries
            .filter_map(std::result::Result::ok)
            .filter_map(|e| Self::open(place, &e.file_name().to_string_lossy()).ok())
            .collect();
        all.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        Ok(all)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration as it was at `create`.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn spec(&self) -> Result<Spec> {
        serde_json::from_slice(&self.config).what_kind(
            Kind::Corrupt,
            || "the container's configuration cannot be read",
        )
    }

    /// Locks it until the answer is dropped.
    ///
    /// # Errors
    /// `NotFound` when it is gone meanwhile.
    pub fn lock(&self) -> Result<OwnedFd> {
        let dir = match open_dir(&self.dir) {
            Err(e) if e.kind() == Kind::NotFound => return Err(gone()),
            other => other?,
        };
        loop {
            match rustix::fs::flock(dir.as_fd(), rustix::fs::FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).what(|| "cannot lock the container"),
            }
        }
        // Whoever had the lock before may have deleted it.
        if self.dir.join("record").exists() {
            Ok(dir)
        } else {
            Err(gone())
        }
    }

    /// Concludes its status.
    pub fn status(&self) -> Status {
        if !self.record.process.is_alive() {
            Status::Stopped
        } else if self.dir.join("start").exists() {
            Status::Created
        } else if self.dir.join(".start").exists() {
            Status::Creating
        } else if super::freeze::is_frozen(&self.record) {
            Status::Paused
        } else {
            Status::Running
        }
    }

    /// The state as hooks and `state` show it.
    pub fn state(&self, spec: &Spec, status: Status) -> State {
        State {
            oci_version: spec.oci_version.clone(),
            id: self.record.id.clone(),
            status: status.word(),
            pid: if status == Status::Stopped {
                0
            } else {
                self.record.process.pid
            },
            bundle: self.record.bundle.clone(),
            annotations: spec.annotations.clone(),
        }
    }

    /// It was started.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mark_started(&self) -> Result<()> {
        files::remove_file_if_exists(&self.dir.join("start"))
    }

    /// Forgets it.
    pub fn remove(self) {
        remove(&self.dir);
    }
}

/// A record of this process.
#[cfg(test)]
pub(super) fn example() -> Record {
    Record {
        version: 1,
        id: "x".into(),
        process: Identity::of(std::process::id().cast_signed()).unwrap(),
        bundle: "/b".into(),
        rootfs: "/b/r".into(),
        created: String::new(),
        owner: 0,
        cgroups: Vec::new(),
        own_cgroups: Vec::new(),
        rdt: Vec::new(),
        own_rdt: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_lead_elsewhere() {
        for (id, good) in [
            ("a", true),
            ("libpod-1.2_x+y", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(check_id(id).is_ok(), good, "{id:?}");
        }
    }

    #[test]
    fn a_folder_that_is_not_kept_goes_and_keeps_ids_unique_meanwhile() {
        let temp = tempfile::tempdir().unwrap();
        let place = Place {
            root: temp.path().join("a/b"),
            ..Place::default()
        };
        let first = Fresh::make(&place, "x").unwrap();
        let claimed = first.claimed().unwrap();
        let e = Fresh::make(&place, "x").unwrap_err();
        assert_eq!(e.kind(), Kind::Exists);
        assert_eq!(
            Container::open(&place, "x").unwrap_err().what(),
            "container does not exist"
        );
        let record = example();
        first.write(&record, br#"{"hostname":"h"}"#).unwrap();
        drop(claimed);
        fs::write(first.dir().join(".start"), "").unwrap();
        let open = || Container::open(&place, "x").unwrap();
        assert_eq!(open().status(), Status::Creating);
        first.keep().unwrap();
        assert_eq!(open().status(), Status::Created);
        open().mark_started().unwrap();
        assert_eq!(open().status(), Status::Running);
        assert_eq!(open().spec().unwrap().hostname.as_deref(), Some("h"));
        let lock = open().lock().unwrap();
        open().remove();
        drop(lock);
        assert!(Container::all(&place).unwrap().is_empty());
        drop(Fresh::make(&place, "x").unwrap());
        assert!(!place.root.join("x").exists());
        // A folder that a killed `create` left is taken over, one that is in work is not.
        fs::create_dir(place.root.join("x")).unwrap();
        let second = Fresh::make(&place, "x").unwrap();
        let claimed = second.claimed().unwrap();
        assert!(Fresh::make(&place, "x").is_err());
        assert!(!sweep(&place, "x").unwrap());
        drop(claimed);
        assert!(sweep(&place, "x").unwrap());
    }
}
