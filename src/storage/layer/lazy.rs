//! Layers whose files are fetched when they are first opened: `store/lazy/<chain id>/`.
//!
//! `diff` is the layer's tree, made of its table of contents, with holes for the files' content and
//! `user.coracle.lazy` on them; `origin.json` says where the blob is. Our own overlay over FUSE fills
//! them in. Nothing else reads it. When the blob is here whole it is unpacked as any other layer's,
//! and this folder is garbage. While a server uses it, it holds a shared lock on `origin.json`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    LayerInfo, Layers, MAX_CHAIN, Unpack, VERSION, chain_id, is_single, parts, write_json,
};
use crate::base::fs as files;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::storage::chunked::Annotations;
use crate::storage::chunked::recipe::keep;
use crate::storage::chunked::table::{Table, locate};
use crate::storage::owners;
use crate::storage::unpack::{Owners, Policy, skeleton};
use crate::sys::at;

/// Where the blob of a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What its descriptor says besides.
    pub annotations: Annotations,
    /// Who has it, in the words of whoever fetches it.
    pub source: serde_json::Value,
}

const ORIGIN: &str = "origin.json";

impl Layers {
    /// The folder of a layer that is not all here, there or not.
    fn lazy_path(&self, chain: &Digest) -> PathBuf {
        let name = self.own_path(chain);
        let root = self.dir.with_file_name("lazy");
        root.join(name.file_name().unwrap_or_default())
    }

    /// Whether a layer is here with a tree, but not all of its content.
    pub fn is_lazy(&self, chain: &Digest) -> bool {
        !self.has(chain) && self.lazy_path(chain).exists()
    }

    /// The folder of a layer, all here or not.
    pub(in crate::storage) fn folder(&self, chain: &Digest) -> PathBuf {
        if self.is_lazy(chain) {
            self.lazy_path(chain)
        } else {
            self.path(chain)
        }
    }

    /// Opens the tree of a layer, all here or not.
    pub(in crate::storage) fn open_tree(&self, chain: &Digest) -> Result<OwnedFd> {
        if self.is_lazy(chain) {
            let path = self.lazy_path(chain).join("diff");
            return at::open_host_dir(&path).what(|| format!("cannot open {}", path.display()));
        }
        self.open(chain)
    }

    /// Where the blob of a lazy layer is, and a lock on the folder that lasts as long as the file.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub fn origin(&self, chain: &Digest) -> Result<(Origin, File)> {
        let path = self.lazy_path(chain).join(ORIGIN);
        let what = || format!("cannot read {}", path.display());
        let file = File::open(&path).what(what)?;
        file.lock_shared().what(what)?;
        let origin = serde_json::from_reader(&file).what_kind(Kind::Corrupt, what)?;
        Ok((origin, file))
    }

    /// The table of contents of a lazy layer.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn lazy_table(&self, chain: &Digest, origin: &Origin) -> Result<Table> {
        let damaged = || Error::new(Kind::Corrupt, "the table of contents of a layer is gone");
        let place = locate(&origin.annotations, origin.size)?.ok_or_else(damaged)?;
        let path = self.lazy_path(chain).join(parts::TABLE);
        let kept = files::read_if_exists(&path, parts::LIMIT)?.ok_or_else(damaged)?;
        place.read_kept(origin.size, &kept)
    }

    /// The record of a lazy layer.
    ///
    /// # Errors
    /// `Corrupt`, `NotFound`.
    pub fn lazy_info(&self, chain: &Digest) -> Result<LayerInfo> {
        super::read_record(&self.lazy_path(chain).join("layer.json"))?
            .ok_or_else(|| Error::not_found(format!("layer {chain} is not in the store")))
    }

    /// Makes the tree of a layer out of its table; `kept` is the table as it came.
    ///
    /// # Errors
    /// `Invalid` for a hostile table; what the kernel says.
    pub fn make_lazy(
        &self,
        what: &Unpack<'_>,
        (table, kept): (&Table, &[u8]),
        origin: &Origin,
    ) -> Result<LayerInfo> {
        let diff_id = what
            .diff_id
            .ok_or_else(|| Error::internal("a lazy layer without a diff id"))?;
        let chain = chain_id(what.parent, diff_id);
        let _claim = self.claim(&chain)?;
        if self.is_lazy(&chain) {
            return self.lazy_info(&chain);
        }
        let mut lower = Vec::new();
        let mut next = what.parent.cloned();
        while let Some(parent) = next {
            lower.push(self.open_tree(&parent)?);
            if lower.len() > MAX_CHAIN {
                return Err(Error::new(
                    Kind::Corrupt,
                    "a layer has too many layers below it",
                ));
            }
            next = self.info(&parent)?.parent;
        }
        let squashed = is_single();
        let staged = self.staging.dir()?;
        at::mkdir(staged.as_fd(), b"diff", 0o700)?;
        let policy = Policy {
            layer: true,
            owners: if squashed {
                Owners::Squash
            } else {
                Owners::Keep
            },
            overwrite: true,
            root: true,
            limits: what.limits,
            reuse: None,
        };
        let root = at::open_dir(staged.as_fd(), b"diff")?;
        let entries = table.items.iter().map(|item| &item.entry);
        let summary = skeleton(entries, root, &lower, &policy)?;
        if !summary.owners.is_empty() {
            owners::write(staged.path(), &summary.owners)?;
        }
        let info = LayerInfo {
            version: VERSION,
            chain_id: chain.clone(),
            diff_id: diff_id.clone(),
            parent: what.parent.cloned(),
            size: summary.size,
            inodes: summary.inodes,
            created: Timestamp::now(),
            squashed,
        };
        keep(&staged.path().join(parts::TABLE), kept)?;
        write_json(&staged.path().join(ORIGIN), origin)?;
        write_json(&staged.path().join("layer.json"), &info)?;
        self.publish_as(staged, info, &self.lazy_path(&chain))
    }

    /// The record of a layer, all here or not.
    fn info(&self, chain: &Digest) -> Result<LayerInfo> {
        match self.get(chain)? {
            Some(info) => Ok(info),
            None => self.lazy_info(chain),
        }
    }

    /// Removes lazy layers that nobody needs or that are here by now, unless a server uses them;
    /// answers their bytes on disk.
    pub(in crate::storage) fn sweep_lazy(
        &self,
        wanted: impl Fn(&Digest) -> bool,
        weigh: impl Fn(&std::path::Path) -> u64,
    ) -> Result<u64> {
        let mut gained = 0;
        let root = self.dir.with_file_name("lazy");
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            let path = entry.path();
            let needed = super::read_record(&path.join("layer.json"))
                .ok()
                .flatten()
                .is_some_and(|info| wanted(&info.chain_id) && !self.has(&info.chain_id));
            let used = match File::open(path.join(ORIGIN)) {
                Ok(file) => file.try_lock().is_err(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => false,
                Err(_) => true,
            };
            if !needed && !used {
                gained += weigh(&path);
                self.staging.discard(&path)?;
            }
        }
        Ok(gained)
    }
}
