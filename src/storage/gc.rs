//! Garbage: what no image and no container reaches, and what everything weighs.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::store::Store;
use super::{driver, tree};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Result};
use crate::spec::digest::{Algorithm, Digest};
use crate::sys::at;

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
        let mut wanted: BTreeSet<Digest> = BTreeSet::new();
        for top in &keep.layers {
            let mut next = Some(top.clone());
            while let Some(chain) = next.filter(|c| !wanted.contains(c)) {
                next = layers
                    .iter()
                    .find(|l| l.chain_id == chain)
                    .and_then(|l| l.parent.clone());
                wanted.insert(chain);
            }
        }
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

    /// What each layer weighs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn layer_usage(&self) -> Result<Vec<LayerUsage>> {
        let layers = self.layers().list()?;
        Ok(layers
            .into_iter()
            .map(|l| LayerUsage {
                bytes: disk_usage(&self.layers().path(&l.chain_id)),
                chain_id: l.chain_id,
            })
            .collect())
    }

    /// Removes the whole store (`system reset`).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reset(&self) -> Result<()> {
        tree::remove_all(&self.dir)
    }
}

/// Bytes of disk blocks of a tree, hard links once; 0 where it cannot be read.
pub fn disk_usage(path: &Path) -> u64 {
    let weigh = || -> Result<u64> {
        let root = at::open_host_dir(path)?;
        Ok(tree::weigh(root.as_fd())?.disk)
    };
    weigh().unwrap_or(0)
}
