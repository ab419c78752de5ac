//! The record of a volume, and what one is asked for with.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::id::ObjectName;

/// The schema of the records that this program writes.
pub(super) const VERSION: u32 = 1;

/// A record larger than this is damaged.
const LIMIT: u64 = 1 << 20;

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
    /// A container had it: content of images is not copied into it any more.
    #[serde(default)]
    pub used: bool,
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

/// Reads the record of the volume in `folder`, if there is one.
///
/// # Errors
/// `Corrupt`, or `Unsupported` when a newer coracle wrote it.
pub(super) fn read_record(folder: &Path) -> Result<Option<VolumeRecord>> {
    let path = folder.join("volume.json");
    let Some(bytes) = files::read_if_exists(&path, LIMIT)? else {
        return Ok(None);
    };
    let record: VolumeRecord = serde_json::from_slice(&bytes).what_kind(Kind::Corrupt, || {
        format!("the record {} is damaged", path.display())
    })?;
    if record.version > VERSION {
        return Err(Error::unsupported(format!(
            "{} was written by a newer coracle",
            path.display()
        ))
        .hint("use the newer coracle"));
    }
    Ok(Some(record))
}

/// Replaces the record of the volume in `folder`.
///
/// # Errors
/// What the kernel says.
pub(super) fn write_record(
    folder: &Path,
    record: &VolumeRecord,
    durability: Durability,
) -> Result<()> {
    let bytes =
        serde_json::to_vec(record).what_kind(Kind::Internal, || "cannot encode a volume record")?;
    files::replace(&folder.join("volume.json"), &bytes, 0o600, durability)
}
