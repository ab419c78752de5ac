//! The build cache: which step on which input gave which layer, and the folders of cache mounts.
//!
//! `store/build/steps/<key>.json` is a record, `store/build/mounts/<key>/` a cache mount. A key is
//! a hash over instruction and content, never over times or names of files on the host; a record
//! is written once, by rename, and read without a lock. `store/build/.claims/<key>` is locked while
//! a step runs, so that the same step never runs twice at a time, whoever builds.

pub mod document;
pub mod export;
pub mod import;
pub mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Kind, Result};
use crate::image::LayerRecord;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::state::container::{read_json, remove_tree, write_json};
use crate::storage::Store;
use crate::storage::gc::{Reachable, disk_usage};

/// The schema of the records.
const VERSION: u32 = 1;

/// One step's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Schema number.
    pub version: u32,
    /// The key.
    pub key: Digest,
    /// What it changed; nothing for a step that changed nothing.
    pub layer: Option<LayerRecord>,
    /// Chain id of what it ran on.
    pub parent: Option<Digest>,
    /// The instruction, for people.
    pub text: String,
    /// What went into the key, name to value; secrets are not among it. For `build --why`.
    pub inputs: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

/// A cache mount, or a step, as `builder du` lists them.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Its name in the store.
    pub id: String,
    /// `step` or `mount`.
    pub kind: &'static str,
    /// What it is, for people.
    pub text: String,
    /// Bytes on disk of what it alone holds.
    pub bytes: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
    /// Whether an image or a container has the layer too, so that a prune frees nothing.
    pub shared: bool,
    /// Whether a build uses it now.
    pub in_use: bool,
}

/// The cache of a store.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// A step that this process makes; others wait for it.
#[derive(Debug)]
pub struct Claim {
    _file: File,
}

impl Cache {
    /// The cache of a session.
    pub fn new(session: &Session) -> Self {
        Self {
            dir: session.dirs.store().join("build"),
        }
    }

    fn step(&self, key: &Digest) -> PathBuf {
        self.dir.join("steps").join(format!("{}.json", key.hex()))
    }

    /// The record of a key whose layer is here; it is unpacked again from its blob where needed.
    ///
    /// # Errors
    /// What the kernel says. A damaged record counts as none.
    pub fn get(
        &self,
        store: &Store,
        key: &Digest,
        parent: Option<&Digest>,
    ) -> Result<Option<StepRecord>> {
        let path = self.step(key);
        let record: Option<StepRecord> = match read_json(&path) {
            Err(e) if e.kind() == Kind::Corrupt => None,
            other => other?,
        };
        let Some(mut record) = record.filter(|r| r.version == VERSION && r.key == *key) else {
            return Ok(None);
        };
        if let Some(layer) = &mut record.layer {
            let chain = crate::storage::chain_id(parent, &layer.diff_id);
            if !store.layers().has(&chain) {
                if !store.blobs().has(&layer.digest) {
                    return Ok(None);
                }
                store.restore(parent, &layer.diff_id, &layer.digest)?;
            }
            if !store.blobs().has(&layer.digest) {
                // An image without its blobs could not be pushed or saved.
                return Ok(None);
            }
            layer.chain_id = chain;
        }
        touch(&path);
        Ok(Some(record))
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put(&self, record: &StepRecord) -> Result<()> {
        files::create_private_dir_all(&self.dir.join("steps"))?;
        write_json(&self.step(&record.key), record, Durability::Volatile)
    }

    /// A record with this layer and text, as new as can be.
    pub fn record(
        key: Digest,
        layer: Option<LayerRecord>,
        parent: Option<Digest>,
        text: &str,
        inputs: BTreeMap<String, String>,
    ) -> StepRecord {
        StepRecord {
            version: VERSION,
            key,
            layer,
            parent,
            text: text.to_owned(),
            inputs,
            created: Timestamp::now(),
        }
    }

    /// Says that this process makes the step; waits while another does, in this build or any.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn claim(&self, key: &Digest) -> Result<Claim> {
        lock(&self.dir.join(".claims"), key.hex(), true).map(|file| Claim { _file: file })
    }

    /// All records, in no order; damaged ones are left out.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn steps(&self) -> Result<Vec<(StepRecord, Timestamp)>> {
        let mut found = Vec::new();
        for path in entries(&self.dir.join("steps"))? {
            if let Ok(Some(record)) = read_json::<StepRecord>(&path)
                && record.version == VERSION
            {
                let used = fs::metadata(&path).map_or(0, |m| m.mtime());
                found.push((record, Timestamp(used.saturating_mul(1_000_000_000))));
            }
        }
        Ok(found)
    }

    /// The steps of the same text that were made last, for `--why`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn like(&self, text: &str) -> Result<Option<StepRecord>> {
        let steps = self.steps()?.into_iter().map(|(record, _)| record);
        Ok(steps.filter(|r| r.text == text).max_by_key(|r| r.created))
    }

    /// Where the folder of a cache mount is.
    pub fn mount_dir(&self, key: &Digest) -> PathBuf {
        self.dir.join("mounts").join(key.hex())
    }

    /// Makes and locks the folder of a cache mount: alone, or together with others. Without
    /// `wait` the answer is `None` when another has it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lock_mount(&self, key: &Digest, alone: bool, wait: bool) -> Result<Option<File>> {
        let dir = self.dir.join("mounts");
        files::create_private_dir_all(&dir)?;
        let path = dir.join(format!("{}.lock", key.hex()));
        let what = || format!("cannot lock {}", path.display());
        let file = open_lock(&path).what(what)?;
        let locked = match (alone, wait) {
            (true, true) => file.lock().map(|()| true),
            (false, true) => file.lock_shared().map(|()| true),
            (true, false) => tried(file.try_lock()),
            (false, false) => tried(file.try_lock_shared()),
        };
        if !locked.what(what)? {
            return Ok(None);
        }
        touch(&path);
        Ok(Some(file))
    }

    /// Notes what a cache mount is for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn describe_mount(&self, key: &Digest, text: &str) -> Result<()> {
        let path = self.dir.join("mounts").join(format!("{}.txt", key.hex()));
        if path.exists() {
            return Ok(());
        }
        files::replace(&path, text.as_bytes(), 0o600, Durability::Volatile)
    }

    /// Adds what the cache keeps.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reachable(&self, keep: &mut Reachable) -> Result<()> {
        for (record, _) in self.steps()? {
            if let Some(layer) = record.layer {
                keep.layers.insert(layer.chain_id);
                keep.blobs.insert(layer.digest);
            }
            keep.layers.extend(record.parent);
        }
        Ok(())
    }

    /// Everything with its weight; `held` are the chain ids of images and containers.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn usage(&self, store: &Store, held: &BTreeSet<Digest>) -> Result<Vec<Usage>> {
        let mut found = Vec::new();
        for (record, used) in self.steps()? {
            let (bytes, shared) = match &record.layer {
                None => (0, false),
                Some(layer) => (
                    disk_usage(&store.layers().path(&layer.chain_id)) + layer.size,
                    held.contains(&layer.chain_id),
                ),
            };
            found.push(Usage {
                id: record.key.hex().to_owned(),
                kind: "step",
                in_use: is_locked(&self.dir.join(".claims").join(record.key.hex())),
                text: record.text,
                bytes,
                created: record.created,
                used,
                shared,
            });
        }
        for path in entries(&self.dir.join("mounts"))? {
            if path.extension().is_some() || !path.is_dir() {
                continue;
            }
            let id = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let beside = |end: &str| path.with_extension(end);
            let text = fs::read_to_string(beside("txt")).unwrap_or_default();
            let time = |path: &Path| {
                let seconds = fs::metadata(path).map_or(0, |m| m.mtime());
                Timestamp(seconds.saturating_mul(1_000_000_000))
            };
            found.push(Usage {
                bytes: disk_usage(&path),
                kind: "mount",
                text,
                created: time(&beside("txt")),
                used: time(&beside("lock")),
                shared: false,
                in_use: is_locked(&beside("lock")),
                id,
            });
        }
        found.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    /// Forgets one entry; its layers go with the next collection. One that is in use stays.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(&self, usage: &Usage) -> Result<bool> {
        match usage.kind {
            "step" => {
                files::remove_file_if_exists(
                    &self.dir.join("steps").join(format!("{}.json", usage.id)),
                )?;
                Ok(true)
            }
            _ => {
                let path = self.dir.join("mounts").join(&usage.id);
                let lock = path.with_extension("lock");
                let file = open_lock(&lock).what(|| format!("cannot lock {}", lock.display()))?;
                if !tried(file.try_lock()).what(|| format!("cannot lock {}", lock.display()))? {
                    return Ok(false);
                }
                remove_tree(&path)?;
                files::remove_file_if_exists(&path.with_extension("txt"))?;
                files::remove_file_if_exists(&lock)?;
                Ok(true)
            }
        }
    }

    /// Removes claims that nobody holds.
    pub fn sweep_claims(&self) {
        for path in entries(&self.dir.join(".claims")).unwrap_or_default() {
            if File::open(&path).is_ok_and(|f| f.try_lock().is_ok()) {
                drop(fs::remove_file(path));
            }
        }
    }
}

fn tried(outcome: std::result::Result<(), fs::TryLockError>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|f| !matches!(tried(f.try_lock()), Ok(true)))
}

fn open_lock(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Locks a file of this name; one that was removed while we waited is not ours.
fn lock(dir: &Path, name: &str, wait: bool) -> Result<File> {
    files::create_private_dir_all(dir)?;
    let path = dir.join(name);
    let what = || format!("cannot lock {}", path.display());
    loop {
        let file = open_lock(&path).what(what)?;
        if wait {
            file.lock().what(what)?;
        }
        let ours = file.metadata().what(what)?;
        if fs::metadata(&path).is_ok_and(|m| m.ino() == ours.ino()) {
            return Ok(file);
        }
    }
}

/// Notes that it was used: the time of its file.
fn touch(path: &Path) {
    if let Ok(file) = File::options().append(true).open(path) {
        // A prune by age is all that reads it.
        drop(file.set_modified(std::time::SystemTime::now()));
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("cannot list {}", dir.display());
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).what(what),
        Ok(entries) => entries
            .map(|entry| entry.map(|e| e.path()).what(what))
            .collect(),
    }
}

/// Collects the parts of a key.
#[derive(Clone, Debug, Default)]
pub struct KeyMaker {
    inputs: BTreeMap<String, String>,
}

impl KeyMaker {
    /// Adds a named part.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.inputs.insert(name.to_owned(), value.into());
    }

    /// The key, and what went into it.
    pub fn finish(self) -> (Digest, BTreeMap<String, String>) {
        let mut text = String::from("coracle build 1\n");
        for (name, value) in &self.inputs {
            // Lengths in front: no value can look like the next name.
            text.push_str(&format!("{} {} {name} {value}\n", name.len(), value.len()));
        }
        (Digest::sha256_of(text.as_bytes()), self.inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_when_any_part_does() {
        let key = |parts: &[(&str, &str)]| {
            let mut maker = KeyMaker::default();
            for (name, value) in parts {
                maker.add(name, *value);
            }
            maker.finish().0
        };
        let a = key(&[("a", "b"), ("c", "d")]);
        assert_eq!(a, key(&[("c", "d"), ("a", "b")]));
        assert_ne!(a, key(&[("a", "b\n1 1 c d")]));
        assert_ne!(a, key(&[("a", "bc"), ("", "d")]));
    }
}
