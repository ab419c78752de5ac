//! Garbage: what no image and no container reaches, and what everything weighs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layer::LayerInfo;
use super::store::Store;
use super::{driver, tree};
use crate::base::failpoint::failpoint;
use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Result, parallel};
use crate::spec::digest::{Algorithm, Digest};
use crate::sys::at;

/// A file of weights larger than this is not ours.
const WEIGHTS_LIMIT: u64 = 64 << 20;

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

/// What the store weighs: bytes of disk blocks, hard links once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Each layer with its record.
    pub layers: BTreeMap<Digest, u64>,
    /// Each blob.
    pub blobs: BTreeMap<Digest, u64>,
    /// Clones, copies, layers that are not all here, what is being made, partial downloads, and
    /// `garbage`.
    pub other: u64,
    /// What waits to be deleted, and what dead processes left.
    pub garbage: u64,
}

/// `store/weights.json`: what layers weigh, since they never change and a walk through ten thousand
/// takes its time. Written after a flush: before it, some file systems have not given out blocks.
#[derive(Default, Serialize, Deserialize)]
struct Weights {
    version: u32,
    layers: BTreeMap<Digest, u64>,
}

impl Store {
    /// Removes layers, metadata clones and blobs that are not reachable, and leftovers of dead
    /// processes. Partial downloads stay unless `partial`.
    ///
    /// The caller holds the lock of the image names, so that no image is published meanwhile that
    /// counts on what is removed.
    ///
    /// # Errors
    /// The first failure; the rest is removed all the same.
    pub fn collect(&self, keep: &Reachable, partial: bool) -> Result<Collected> {
        let mut found = Collected::default();
        let mut outcome = Ok(());
        let mut note = |result: Result<()>| {
            if outcome.is_ok() {
                outcome = result;
            }
        };
        let layers = self.layers().list()?;
        let wanted = above(&layers, &keep.layers);
        for layer in layers.iter().filter(|l| !wanted.contains(&l.chain_id)) {
            found.bytes += disk_usage(&self.layers().path(&layer.chain_id));
            match self.layers().remove(&layer.chain_id) {
                Ok(()) => found.layers += 1,
                Err(e) => note(Err(e)),
            }
        }
        note(self.collect_clones(&wanted, &mut found));
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            note(self.collect_blobs(algorithm, &keep.blobs, partial, &mut found));
        }
        note(self.collect_copies(&wanted, &mut found));
        match self
            .layers()
            .sweep_lazy(|chain| keep.layers.contains(chain), disk_usage)
        {
            Ok(bytes) => found.bytes += bytes,
            Err(e) => note(Err(e)),
        }
        self.layers().sweep_claims();
        match self.staging.sweep() {
            Ok(n) => found.leftovers += n,
            Err(e) => note(Err(e)),
        }
        note(self.staging.empty_trash());
        outcome.map(|()| found)
    }

    /// A clone goes with the layer that it shows.
    fn collect_clones(&self, wanted: &BTreeSet<Digest>, found: &mut Collected) -> Result<()> {
        for entry in fs::read_dir(self.dir.join("clones"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let shown = driver::clone_top(&entry.path());
            if !shown.is_some_and(|top| wanted.contains(&top)) {
                found.bytes += disk_usage(&entry.path());
                self.staging.discard(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The copy driver's read-only copies are named after the layer that they show, and how.
    fn collect_copies(&self, wanted: &BTreeSet<Digest>, found: &mut Collected) -> Result<()> {
        for entry in fs::read_dir(self.dir.join("copies"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let shown = name.split('-').next().unwrap_or_default();
            if !wanted.iter().any(|top| shown == top.hex()) {
                found.bytes += disk_usage(&entry.path());
                self.staging.discard(&entry.path())?;
            }
        }
        Ok(())
    }

    fn collect_blobs(
        &self,
        algorithm: Algorithm,
        keep: &BTreeSet<Digest>,
        partial: bool,
        found: &mut Collected,
    ) -> Result<()> {
        let dir = self.dir.join("blobs").join(algorithm.name());
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let garbage = match format!("{}:{name}", algorithm.name()).parse::<Digest>() {
                Ok(digest) => !keep.contains(&digest),
                // What else lies here: partial downloads and their locks. One in use is locked.
                Err(_) => {
                    partial && fs::File::open(entry.path()).is_ok_and(|f| f.try_lock().is_ok())
                }
            };
            if garbage {
                failpoint("gc::blob")?;
                let bytes = entry.metadata().map_or(0, |m| m.blocks() * 512);
                match fs::remove_file(entry.path()) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    other => other.what(|| format!("cannot remove {}", entry.path().display()))?,
                }
                found.blobs += 1;
                found.bytes += bytes;
            }
        }
        Ok(())
    }

    /// Layers, and all below them.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn with_parents(&self, layers: &BTreeSet<Digest>) -> Result<BTreeSet<Digest>> {
        let mut wanted = BTreeSet::new();
        for top in layers {
            let mut next = Some(top.clone());
            while let Some(chain) = next.filter(|c| !wanted.contains(c)) {
                next = self.layers().get(&chain)?.and_then(|l| l.parent);
                wanted.insert(chain);
            }
        }
        Ok(wanted)
    }

    /// What everything weighs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn usage(&self) -> Result<StoreUsage> {
        let mut usage = StoreUsage {
            layers: self.layer_weights()?,
            ..StoreUsage::default()
        };
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.dir.join("blobs").join(algorithm.name());
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let bytes = entry.metadata().map_or(0, |m| m.blocks() * 512);
                let name = entry.file_name();
                let digest = format!("{}:{}", algorithm.name(), name.to_string_lossy());
                match digest.parse::<Digest>() {
                    Ok(digest) => drop(usage.blobs.insert(digest, bytes)),
                    Err(_) => usage.other += bytes,
                }
            }
        }
        usage.garbage = disk_usage(&self.dir.join("trash"));
        let parts = ["clones", "copies", "staging", "images", "lazy"];
        let parts = parts.map(|part| disk_usage(&self.dir.join(part)));
        usage.other += parts.iter().sum::<u64>() + usage.garbage;
        Ok(usage)
    }

    fn layer_weights(&self) -> Result<BTreeMap<Digest, u64>> {
        let path = self.dir.join("weights.json");
        // Damaged or newer: they are weighed again.
        let known: Weights = files::read_if_exists(&path, WEIGHTS_LIMIT)?
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|w: &Weights| w.version == 1)
            .unwrap_or_default();
        let mut weights = BTreeMap::new();
        let mut fresh = Vec::new();
        for chain in self.layers().chains()? {
            match known.layers.get(&chain) {
                Some(bytes) => drop(weights.insert(chain, *bytes)),
                None => fresh.push(chain),
            }
        }
        if fresh.is_empty() && weights.len() == known.layers.len() {
            return Ok(weights);
        }
        weights.extend(parallel::map(fresh, |chain| {
            let bytes = disk_usage(&self.layers().path(&chain));
            (chain, bytes)
        }));
        let kept = Weights {
            version: 1,
            layers: weights,
        };
        let bytes = serde_json::to_vec(&kept).what(|| "cannot note what layers weigh")?;
        files::replace(&path, &bytes, 0o600, Durability::Volatile)?;
        Ok(kept.layers)
    }

    /// Removes the whole store (`system reset`).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reset(&self) -> Result<()> {
        tree::remove_all(&self.dir)
    }
}

/// `tops` and all that lies below them.
fn above(layers: &[LayerInfo], tops: &BTreeSet<Digest>) -> BTreeSet<Digest> {
    let parents: BTreeMap<&Digest, &Digest> = layers
        .iter()
        .filter_map(|l| Some((&l.chain_id, l.parent.as_ref()?)))
        .collect();
    let mut wanted = BTreeSet::new();
    for top in tops {
        let mut next = Some(top);
        while let Some(chain) = next.filter(|c| !wanted.contains(*c)) {
            wanted.insert(chain.clone());
            next = parents.get(chain).copied();
        }
    }
    wanted
}

/// Bytes of disk blocks of a tree, hard links once; 0 where it cannot be read.
pub fn disk_usage(path: &Path) -> u64 {
    let weigh = || -> Result<u64> {
        let root = at::open_host_dir(path)?;
        Ok(tree::weigh(root.as_fd())?.disk)
    };
    weigh().unwrap_or(0)
}
