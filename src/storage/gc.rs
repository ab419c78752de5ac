//! Garbage: what no image and no container reaches, and what everything weighs.

use std::collections::BTreeSet;

use super::store::Store;
use crate::base::{Error, Result};
use crate::spec::digest::Digest;

/// What must stay.
#[derive(Clone, Debug, Default)]
pub struct Reachable {
    /// Chain ids of layers of images and of containers; their parents stay as well.
    pub layers: BTreeSet<Digest>,
    /// Blobs: manifests, configurations, layers.
    pub blobs: BTreeSet<Digest>,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers.
    pub layers: usize,
    /// Blobs.
    pub blobs: usize,
    /// Leftovers of dead processes.
    pub leftovers: usize,
    /// Bytes the disk got back.
    pub bytes: u64,
}

/// What a layer weighs on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerUsage {
    /// Which.
    pub chain_id: Digest,
    /// Bytes of disk blocks, hard links once.
    pub bytes: u64,
}

impl Store {
    /// Removes layers, metadata clones and blobs that are not reachable, and leftovers of dead
    /// processes. Partial downloads stay unless `partial`.
    ///
    /// # Errors
    /// The first failure; the rest is removed all the same.
    pub fn collect(&self, keep: &Reachable, partial: bool) -> Result<Collected> {
        let _ = (keep, partial);
        Err(Error::unsupported("garbage collection is not built in yet"))
    }

    /// What each layer weighs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn layer_usage(&self) -> Result<Vec<LayerUsage>> {
        Err(Error::unsupported("disk usage is not built in yet"))
    }

    /// Removes the whole store (`system reset`).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reset(&self) -> Result<()> {
        super::tree::remove_all(&self.dir)
    }
}
