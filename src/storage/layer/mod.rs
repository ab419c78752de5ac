//! The layer store: `store/layers/<chain id>/{diff,layer.json}`.
//!
//! `diff` is in the kernel overlay's `userxattr` form (docs/formats/layer.md). A layer is known by
//! its chain id, since the folders that a tar only implies take after the layers below.
//!
//! Invariants: a layer under its final name is complete and flushed; it is never changed again.

pub mod lazy;
pub mod parts;

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::codec::decoded;
use super::owners;
use super::staging::{StagedDir, Staging};
use super::tar::Reader;
use super::unpack::{Owners, Policy, unpack};
use crate::base::failpoint::failpoint;
use crate::base::fs as files;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Hint as _, Kind, Result, parallel};
use crate::config::dirs::Dirs;
use crate::spec::digest::{Algorithm, Digest};
use crate::spec::idmap::IdMaps;
use crate::sys::at;

/// The schema of the records that this program writes.
pub(super) const VERSION: u32 = 1;

/// Marks a store with squashed layers.
const SQUASHED: &str = ".squashed";

/// More layers than the kernel's overlay takes (500).
const MAX_CHAIN: usize = 500;

/// The layer folder.
#[derive(Clone, Debug)]
pub struct Layers {
    dir: PathBuf,
    /// Layer folders of others, only read.
    others: Vec<PathBuf>,
    /// Owners are kept beside the files, for users who do not have our ids.
    shared: bool,
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

/// Finds a file with the content of the entry with that clean path.
pub type Reuse<'a> = &'a dyn Fn(&[u8]) -> Option<File>;

/// Puts files beside the tree in that folder.
pub type Finishing<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// What is known of a layer besides its stream.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a> {
    /// Finds a file of this file system that has the content of the entry with that clean path:
    /// then the blocks are shared where that can be.
    pub reuse: Option<Reuse<'a>>,
    /// Puts more files beside the tree, before the layer gets its name.
    pub finish: Option<Finishing<'a>>,
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
    pub(super) fn new(dirs: &Dirs, staging: Staging) -> Self {
        Self {
            dir: dirs.store().join("layers"),
            others: dirs.others.iter().map(|s| s.join("layers")).collect(),
            shared: dirs.shared,
            staging,
        }
    }

    /// The layer's folder, there or not: our own, else that of the first other store that has it.
    pub fn path(&self, chain: &Digest) -> PathBuf {
        let own = self.own_path(chain);
        if self.others.is_empty() || own.exists() {
            return own;
        }
        let name = own.file_name().unwrap_or_default();
        let mut others = self.others.iter().map(|dir| dir.join(name));
        others.find(|path| path.exists()).unwrap_or(own)
    }

    /// Whether only a store of others has it.
    pub fn is_foreign(&self, chain: &Digest) -> bool {
        !self.others.is_empty() && !self.own_path(chain).exists() && self.has(chain)
    }

    /// The layer's folder in our own store, there or not.
    pub(super) fn own_path(&self, chain: &Digest) -> PathBuf {
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
    /// `Corrupt` for a damaged record, `Unsupported` for a newer one.
    pub fn get(&self, chain: &Digest) -> Result<Option<LayerInfo>> {
        read_record(&self.path(chain).join("layer.json"))
    }

    /// All layers, in no order.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn list(&self) -> Result<Vec<LayerInfo>> {
        let read = parallel::map(self.folders()?, |path| {
            read_record(&path.join("layer.json"))
        });
        // One that is removed meanwhile has no record.
        read.into_iter().filter_map(Result::transpose).collect()
    }

    /// The chain ids of all layers, by their folders' names alone.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn chains(&self) -> Result<Vec<Digest>> {
        Ok(self.folders()?.iter().filter_map(|f| chain_of(f)).collect())
    }

    /// The folders of all layers, sorted.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn folders(&self) -> Result<Vec<PathBuf>> {
        let what = || format!("cannot list {}", self.dir.display());
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.what(what)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.what(what)?;
            // Marks and claims.
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Opens the layer's tree.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn open(&self, chain: &Digest) -> Result<OwnedFd> {
        at::open_host_dir(&self.path(chain).join("diff"))
            .what(|| format!("layer {chain} is not in the store"))
            .hint(|| "pull the image again")
    }

    /// The layer and all below it, top first.
    ///
    /// # Errors
    /// `NotFound` when one is missing.
    pub fn chain(&self, top: &Digest) -> Result<Vec<LayerInfo>> {
        let mut chain = Vec::new();
        let mut next = Some(top.clone());
        while let Some(digest) = next {
            let info = match self.get(&digest)? {
                Some(info) => info,
                None => self.lazy_info(&digest)?,
            };
            next = info.parent.clone();
            chain.push(info);
            if chain.len() > MAX_CHAIN {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!("layer {top} has more than {MAX_CHAIN} layers below it"),
                ));
            }
        }
        Ok(chain)
    }

    /// Unpacks a layer. `stream` may be gzip, zstd or plain: its first bytes tell. It is inflated
    /// and hashed in a thread of its own. If the layer is there already, the stream is left alone.
    ///
    /// Two processes that unpack the same layer: the second waits, then finds it there (when
    /// `diff_id` is known beforehand), or discards its own.
    ///
    /// # Errors
    /// `Corrupt` when the digest is another than expected; `Invalid` for a hostile or damaged
    /// tar; `Unavailable` when the disk is full. Nothing is left then.
    pub fn unpack<R: Read + Send>(&self, what: &Unpack<'_>, stream: R) -> Result<LayerInfo> {
        self.unpack_beside(what, stream, &Beside::default())
    }

    /// As [`Layers::unpack`], with what is known besides the stream.
    ///
    /// # Errors
    /// As [`Layers::unpack`].
    pub fn unpack_beside<R: Read + Send>(
        &self,
        what: &Unpack<'_>,
        stream: R,
        beside: &Beside<'_>,
    ) -> Result<LayerInfo> {
        let _claim = match what.diff_id {
            Some(diff_id) => {
                let chain = chain_id(what.parent, diff_id);
                if let Some(info) = self.get(&chain)? {
                    return Ok(info);
                }
                let claim = self.claim(&chain)?;
                if let Some(info) = self.get(&chain)? {
                    return Ok(info);
                }
                Some(claim)
            }
            None => None,
        };
        let lower = match what.parent {
            Some(parent) => self
                .chain(parent)?
                .iter()
                .map(|layer| self.open(&layer.chain_id))
                .collect::<Result<Vec<_>>>()?,
            None => Vec::new(),
        };
        let algorithm = what.diff_id.map_or(Algorithm::Sha256, Digest::algorithm);
        let squashed = self.shared || is_single();
        let staged = self.staging.dir()?;
        failpoint("layer::staged")?;
        at::mkdir(staged.as_fd(), b"diff", 0o700)?;
        let policy = Policy {
            layer: true,
            owners: match (self.shared, squashed) {
                (true, _) => Owners::Shared,
                (false, true) => Owners::Squash,
                (false, false) => Owners::Keep,
            },
            overwrite: true,
            root: true,
            limits: what.limits,
            reuse: beside.reuse.map(super::unpack::Reuse),
        };
        let (summary, diff_id) = decoded(stream, (algorithm, what.limits.ratio), |pieces| {
            let root = at::open_dir(staged.as_fd(), b"diff")?;
            let mut reader = Reader::new(pieces);
            let summary = unpack(&mut reader, root, &lower, &policy)?;
            reader.drain()?;
            Ok(summary)
        })?;
        if let Some(wanted) = what.diff_id
            && *wanted != diff_id
        {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the layer has another content than its image says: {diff_id}, not {wanted}"
                ),
            ));
        }
        let info = LayerInfo {
            version: VERSION,
            chain_id: chain_id(what.parent, &diff_id),
            diff_id,
            parent: what.parent.cloned(),
            size: summary.size,
            inodes: summary.inodes,
            created: Timestamp::now(),
            squashed,
        };
        if !summary.owners.is_empty() {
            owners::write(staged.path(), &summary.owners)?;
        }
        if let Some(finish) = beside.finish {
            finish(staged.path())?;
        }
        write_json(&staged.path().join("layer.json"), &info)?;
        self.publish(staged, info)
    }

    /// Takes in a folder with `diff` that was made by a build step: writes its record, flushes and
    /// publishes it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn adopt(&self, staged: StagedDir, info: LayerInfo) -> Result<LayerInfo> {
        if let Some(info) = self.get(&info.chain_id)? {
            return Ok(info);
        }
        write_json(&staged.path().join("layer.json"), &info)?;
        self.publish(staged, info)
    }

    /// Whether some layer here may have been unpacked with one id.
    pub(super) fn has_squashed(&self) -> bool {
        let mut all = std::iter::once(&self.dir).chain(&self.others);
        all.any(|dir| dir.join(SQUASHED).exists())
    }

    /// Whether owners must be restored from attributes: a layer was unpacked with one id, and now
    /// there are more. `layers/.squashed` says that such layers may exist at all, so that a start
    /// reads no records otherwise.
    pub(super) fn need_owners(&self, top: &Digest) -> Result<bool> {
        if !self.has_squashed() || is_single() {
            return Ok(false);
        }
        Ok(self.chain(top)?.iter().any(|layer| layer.squashed))
    }

    fn publish(&self, staged: StagedDir, info: LayerInfo) -> Result<LayerInfo> {
        let path = self.own_path(&info.chain_id);
        self.publish_as(staged, info, &path)
    }

    fn publish_as(&self, staged: StagedDir, info: LayerInfo, path: &Path) -> Result<LayerInfo> {
        failpoint("layer::sync")?;
        at::syncfs(staged.as_fd()).what(|| "cannot flush a layer")?;
        failpoint("layer::publish")?;
        if info.squashed {
            files::create_private_dir_all(&self.dir)?;
            fs::write(self.dir.join(SQUASHED), "").what(|| "cannot mark the layers")?;
        }
        match staged.publish(path) {
            // Another process was faster: the same content.
            Err(e) if matches!(e.errno(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
                read_record(&path.join("layer.json"))?.ok_or(e)
            }
            Err(e) => Err(e),
            Ok(()) => {
                failpoint("layer::published")?;
                Ok(info)
            }
        }
    }

    /// Says that this process makes the layer; waits while another does.
    fn claim(&self, chain: &Digest) -> Result<File> {
        let dir = self.dir.join(".claims");
        let name = self.own_path(chain);
        let path = dir.join(name.file_name().unwrap_or_default());
        let what = || format!("cannot lock {}", path.display());
        loop {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let file = match options.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    files::create_private_dir_all(&dir)?;
                    options.open(&path).what(what)?
                }
                other => other.what(what)?,
            };
            file.lock().what(what)?;
            // A collection may have removed the file while we waited.
            let ours = file.metadata().what(what)?;
            if fs::metadata(&path).is_ok_and(|m| m.ino() == ours.ino()) {
                return Ok(file);
            }
        }
    }

    /// Removes claims that no process holds.
    pub(super) fn sweep_claims(&self) {
        let Ok(entries) = fs::read_dir(self.dir.join(".claims")) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if File::open(&path).is_ok_and(|f| f.try_lock().is_ok()) {
                drop(fs::remove_file(path));
            }
        }
    }

    /// Removes a layer. The caller made sure that nothing reaches it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, chain: &Digest) -> Result<()> {
        failpoint("layer::remove")?;
        self.staging.discard(&self.own_path(chain))
    }
}

/// The chain id that a layer's folder is named after.
pub fn chain_of(folder: &Path) -> Option<Digest> {
    let name = folder.file_name()?.to_str()?;
    match name.strip_prefix("sha512-") {
        Some(hex) => format!("sha512:{hex}").parse().ok(),
        None => format!("sha256:{name}").parse().ok(),
    }
}

/// Whether the namespace that we run in has one user id only.
pub(super) fn is_single() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    crate::spec::idmap::total(&IdMaps::parse(&map)) <= 1
}

pub(super) fn read_record(path: &Path) -> Result<Option<LayerInfo>> {
    let Some(bytes) = files::read_if_exists(path, 1 << 20)? else {
        return Ok(None);
    };
    let info: LayerInfo = serde_json::from_slice(&bytes)
        .what_kind(Kind::Corrupt, || format!("{} is damaged", path.display()))?;
    if info.version > VERSION {
        return Err(Error::unsupported(format!(
            "{} was written by a newer coracle (schema {})",
            path.display(),
            info.version
        )));
    }
    Ok(Some(info))
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).what(|| "cannot write a record")?;
    let mut open = fs::OpenOptions::new();
    // In staging, where nothing is yet.
    open.write(true).create_new(true).mode(0o600);
    open.open(path)
        .and_then(|mut file| file.write_all(&bytes))
        .map_err(super::blob::full)
        .what(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
