//! Volumes: `volumes/<name>/{volume.json,_data}`.
//!
//! Lock: `flock` on `volumes/<name>`, held while it is copied up, imported or removed.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::config::dirs::Dirs;
use crate::spec::id::ObjectName;

/// `volume.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Schema number.
    pub version: u32,
    /// Its name.
    pub name: ObjectName,
    /// Always `local`.
    pub driver: String,
    /// When it was made.
    pub created: Timestamp,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Made for one container, not by name.
    #[serde(default)]
    pub anonymous: bool,
}

/// What to create.
#[derive(Clone, Debug, Default)]
pub struct VolumeSpec {
    /// Its name; without one it gets 64 random hex digits and is anonymous.
    pub name: Option<String>,
    /// `--driver`; absent means `local`.
    pub driver: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// Made for a container that removes it with itself.
    pub anonymous: bool,
}

/// A volume ready to be attached.
#[derive(Debug)]
pub struct VolumeMount {
    /// The detached mount.
    pub tree: OwnedFd,
    /// Keep it open while the mount lives.
    pub lock: Option<OwnedFd>,
}

/// All volumes of this user.
#[derive(Clone, Debug)]
pub struct Volumes {
    dir: PathBuf,
}

impl Volumes {
    /// The volumes below `dirs`.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            dir: dirs.volumes(),
        }
    }

    /// `volumes/<name>/_data`: what `inspect` shows as the mount point.
    pub fn data_path(&self, name: &ObjectName) -> PathBuf {
        self.dir.join(name.as_str()).join("_data")
    }

    /// Creates one.
    ///
    /// # Errors
    /// `Exists` when the name is taken; `Invalid` for a bad name or option; `Unsupported` for a
    /// driver or a file system that we do not have.
    pub fn create(&self, spec: &VolumeSpec) -> Result<VolumeRecord> {
        let _ = spec;
        Err(Error::unsupported("volumes are not built in yet"))
    }

    /// One by its exact name, if it is there.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn get(&self, name: &str) -> Result<Option<VolumeRecord>> {
        let _ = name;
        Err(Error::unsupported("volumes are not built in yet"))
    }

    /// One by name, or by a prefix that no other has.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a prefix of several.
    pub fn find(&self, name: &str) -> Result<VolumeRecord> {
        let _ = name;
        Err(Error::unsupported("volumes are not built in yet"))
    }

    /// All, by name.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn list(&self) -> Result<Vec<VolumeRecord>> {
        Err(Error::unsupported("volumes are not built in yet"))
    }

    /// Removes one. The caller made sure that no container uses it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&self, name: &ObjectName) -> Result<()> {
        let _ = name;
        Err(Error::unsupported("volumes are not built in yet"))
    }

    /// The volume as a detached mount: its folder, or what its options say (tmpfs, bind).
    /// `subpath` is resolved inside it and must be there.
    ///
    /// # Errors
    /// `NotFound`; `InUse` for a tmpfs volume that another container has.
    pub fn mount(&self, record: &VolumeRecord, subpath: Option<&str>) -> Result<VolumeMount> {
        let _ = (record, subpath);
        Err(Error::unsupported("volumes are not built in yet"))
    }

    /// First use: copies content and ownership of `path` in the image's tree into an empty
    /// volume. Nothing happens when the volume has content, or was copied up before. Returns
    /// whether it copied.
    ///
    /// # Errors
    /// What the kernel says; the volume is then still empty.
    pub fn copy_up(
        &self,
        record: &VolumeRecord,
        rootfs: BorrowedFd<'_>,
        path: &str,
    ) -> Result<bool> {
        let _ = (record, rootfs, path);
        Err(Error::unsupported("volumes are not built in yet"))
    }
}
