//! Artifacts on this machine: manifests of files that are no images.
//!
//! `store/artifacts/<hash of the name>.json` is one; its content lies among the blobs, which
//! [`Images::referenced_blobs`] keeps. Records change under the lock of the images.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::list::Member;
use super::store::{Images, candidates};
use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

const VERSION: u32 = 1;

/// A record larger than this is damaged: its manifest and its configuration are bounded.
const LIMIT: u64 = 16 << 20;

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    version: u32,
    /// Its full name.
    pub name: String,
    /// When it came here.
    pub stored: Timestamp,
    /// Its manifest and configuration.
    pub member: Member,
}

impl ArtifactRecord {
    /// A new one.
    pub fn new(name: &Reference, member: Member) -> Self {
        Self {
            version: VERSION,
            name: name.to_string(),
            stored: Timestamp::now(),
            member,
        }
    }

    /// Digest of its manifest.
    pub fn digest(&self) -> &Digest {
        &self.member.manifest.digest
    }

    /// Its full name.
    ///
    /// # Errors
    /// `Corrupt` for a damaged one.
    pub fn reference(&self) -> Result<Reference> {
        Reference::parse_untagged(&self.name)
            .what_kind(Kind::Corrupt, || "the artifact's record is damaged")
    }
}

impl Images {
    fn artifacts_dir(&self) -> PathBuf {
        self.names.with_file_name("artifacts")
    }

    fn artifact_path(&self, name: &str) -> PathBuf {
        let hash = Digest::sha256_of(name.as_bytes());
        self.artifacts_dir().join(format!("{}.json", hash.hex()))
    }

    /// All artifacts, by name.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record; `Unsupported` for a newer one.
    pub fn artifacts(&self) -> Result<Vec<ArtifactRecord>> {
        let dir = self.artifacts_dir();
        let entries = match std::fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.what(|| format!("cannot list {}", dir.display()))?,
        };
        let mut found = Vec::new();
        for path in entries.flatten().map(|e| e.path()) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let Some(bytes) = files::read_if_exists(&path, LIMIT)? else {
                continue;
            };
            let record: ArtifactRecord = serde_json::from_slice(&bytes)
                .what_kind(Kind::Corrupt, || format!("{} is damaged", path.display()))?;
            if record.version > VERSION {
                return Err(Error::unsupported(format!(
                    "{} was written by a newer coracle",
                    path.display()
                )));
            }
            found.push(record);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Finds one by name, or by its digest or the beginning of it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a digest's beginning that several have.
    pub fn artifact(&self, text: &str) -> Result<ArtifactRecord> {
        let all = self.artifacts()?;
        for name in candidates(text) {
            let name = name.to_string();
            if let Some(found) = all.iter().find(|a| a.name == name) {
                return Ok(found.clone());
            }
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let mut fits = all
            .into_iter()
            .filter(|a| hex.len() >= 3 && a.digest().hex().starts_with(hex));
        match (fits.next(), fits.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "the digest {text:?} fits several artifacts"
            ))),
            _ => Err(Error::not_found(format!("no such artifact: {text:?}"))
                .hint("`coracle artifact ls` lists them")),
        }
    }

    /// Stores one in place of another of its name.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put_artifact(&self, record: &ArtifactRecord) -> Result<()> {
        let _lock = self.lock()?;
        files::create_private_dir_all(&self.artifacts_dir())?;
        let bytes = serde_json::to_vec(record)
            .what_kind(Kind::Internal, || "cannot write the artifact's record")?;
        files::replace(
            &self.artifact_path(&record.name),
            &bytes,
            0o600,
            Durability::Durable,
        )
    }

    /// Removes one; its blobs stay for the caller to collect.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_artifact(&self, record: &ArtifactRecord) -> Result<()> {
        let _lock = self.lock()?;
        files::remove_file_if_exists(&self.artifact_path(&record.name))
    }
}
