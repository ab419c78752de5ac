//! The layer store: `store/layers/<chain id>/{diff,layer.json}`.
//!
//! `diff` is in the kernel overlay's `userxattr` form (docs/formats/layer.md). A layer is known by
//! its chain id, since the folders that a tar only implies take after the layers below.
//!
//! Invariants: a layer under its final name is complete and flushed; it is never changed again.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::staging::Staging;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::spec::digest::Digest;

/// The layer folder.
#[derive(Clone, Debug)]
pub struct Layers {
    dir: PathBuf,
    staging: Staging,
}

/// `layer.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Schema number.
    pub version: u32,
    /// Chain id: which layer on which others.
    pub chain_id: Digest,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Chain id of the layer below.
    pub parent: Option<Digest>,
    /// Bytes of all regular files.
    pub size: u64,
    /// Files, folders and all else.
    pub inodes: u64,
    /// When it was unpacked.
    pub created: Timestamp,
    /// Every owner became the one id there is; the true ones are in `user.coracle.owner`.
    #[serde(default)]
    pub squashed: bool,
}

/// Bounds on what one layer may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of the tar for each compressed byte, beyond the first GiB.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000_000,
            bytes: 1 << 40,
            ratio: 200,
        }
    }
}

/// What to unpack.
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'a> {
    /// Chain id of the layer below, which must be there.
    pub parent: Option<&'a Digest>,
    /// The expected digest of the uncompressed tar; without one it is what comes.
    pub diff_id: Option<&'a Digest>,
    /// Bounds.
    pub limits: Limits,
}

/// The chain id of `diff_id` on `parent`.
///
/// Spec: image-spec, config, "Layer ChainID".
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        None => diff_id.clone(),
        Some(parent) => Digest::from_sha256(
            sha2::Sha256::digest(format!("{parent} {diff_id}").as_bytes()).as_ref(),
        ),
    }
}

impl Layers {
    pub(super) fn new(store: &Path, staging: Staging) -> Self {
        Self {
            dir: store.join("layers"),
            staging,
        }
    }

    /// The layer's folder, there or not.
    pub fn path(&self, chain: &Digest) -> PathBuf {
        // A chain of SHA-512 diff ids may begin with one: the name tells which.
        match chain.algorithm() {
            crate::spec::digest::Algorithm::Sha256 => self.dir.join(chain.hex()),
            crate::spec::digest::Algorithm::Sha512 => {
                self.dir.join(format!("sha512-{}", chain.hex()))
            }
        }
    }

    /// Whether it is there.
    pub fn has(&self, chain: &Digest) -> bool {
        self.path(chain).exists()
    }

    /// Its record, if it is there.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn get(&self, chain: &Digest) -> Result<Option<LayerInfo>> {
        let _ = (chain, &self.staging);
        Err(Error::unsupported("layers are not built in yet"))
    }

    /// All layers, in no order.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn list(&self) -> Result<Vec<LayerInfo>> {
        Err(Error::unsupported("layers are not built in yet"))
    }

    /// Unpacks a layer. `stream` may be gzip, zstd or plain: its first bytes tell. It is inflated
    /// and hashed in a thread of its own. If the layer is there already, the stream is left alone.
    ///
    /// # Errors
    /// `Corrupt` when the digest is another than expected; `Invalid` for a hostile or damaged
    /// tar; `Unavailable` when the disk is full. Nothing is left then.
    pub fn unpack<R: Read + Send>(&self, what: &Unpack<'_>, stream: R) -> Result<LayerInfo> {
        let _ = (what, stream);
        Err(Error::unsupported("layers are not built in yet"))
    }

    /// Removes a layer. The caller made sure that nothing reaches it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, chain: &Digest) -> Result<()> {
        let _ = chain;
        Err(Error::unsupported("layers are not built in yet"))
    }
}
