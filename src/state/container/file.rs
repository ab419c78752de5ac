//! Records as files: versioned JSON, replaced atomically.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};

/// The schema of the records that this program writes.
const VERSION: u32 = 1;

/// A record larger than this is damaged.
const LIMIT: u64 = 4 << 20;

/// Reads a versioned JSON record; `None` if there is none. An empty file is none: it was written
/// without waiting for the disk, and a power cut caught it with its name but without its bytes.
///
/// # Errors
/// `Corrupt` when it does not parse, `Unsupported` when a newer coracle wrote it.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Some(bytes) = files::read_regular_if_exists(path, LIMIT)?.filter(|b| !b.is_empty()) else {
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
