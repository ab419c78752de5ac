//! True owners of symbolic links and FIFOs in layers that were unpacked with one id: they cannot
//! have attributes, so `owners.json` beside the layer has them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::store::Store;
use super::unpack::attrs::TrueOwner;
use super::view;
use crate::base::fs as files;
use crate::base::{Context as _, Kind, Result};
use crate::spec::digest::{Digest, hex, unhex};
use crate::sys::at;

/// Bytes of such a file; a layer has far fewer links than this holds.
const LIMIT: u64 = 256 << 20;

/// The owners in one layer, by clean path.
pub(super) type Table = HashMap<Vec<u8>, TrueOwner>;

/// The owners in a root file system.
#[derive(Debug)]
pub struct LinkOwners {
    /// Top first; the first may be a container's own.
    layers: Vec<OwnedFd>,
    tables: Vec<Table>,
}

/// Writes the table of a layer being made.
pub(super) fn write(layer: &Path, owners: &[(Vec<u8>, String)]) -> Result<()> {
    let lines: Vec<(String, &str)> = owners
        .iter()
        .map(|(path, owner)| (hex(path), owner.as_str()))
        .collect();
    let bytes = serde_json::to_vec(&lines).what(|| "cannot write a record")?;
    std::fs::write(layer.join("owners.json"), bytes).what(|| "cannot write a record")
}

/// The table of the layer in `folder`; empty when it has none.
pub(super) fn read(folder: &Path) -> Result<Table> {
    let path = folder.join("owners.json");
    let what = || format!("{} is damaged", path.display());
    let Some(bytes) = files::read_if_exists(&path, LIMIT)? else {
        return Ok(Table::new());
    };
    let lines: Vec<(String, String)> =
        serde_json::from_slice(&bytes).what_kind(Kind::Corrupt, what)?;
    Ok(lines
        .iter()
        .filter_map(|(path, owner)| Some((unhex(path)?, TrueOwner::parse(owner.as_bytes())?)))
        .collect())
}

impl Store {
    /// The owners that the layers' files do not show (chain ids, bottom first), for a container
    /// with its own changes in `container`; `None` when there are none.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record; what the kernel says.
    pub fn link_owners(
        &self,
        layers: &[Digest],
        container: Option<&Path>,
    ) -> Result<Option<LinkOwners>> {
        if !self.layers().has_squashed() {
            return Ok(None);
        }
        let mut found = LinkOwners {
            layers: Vec::new(),
            tables: Vec::new(),
        };
        match container.map(|dir| at::open_host_dir(&dir.join("upper"))) {
            Some(Ok(upper)) => {
                found.layers.push(upper);
                found.tables.push(Table::new());
            }
            Some(Err(e)) if e.errno != libc::ENOENT => return Err(e.into()),
            _ => {}
        }
        for chain in layers.iter().rev() {
            found.layers.push(self.layers().open(chain)?);
            found.tables.push(read(&self.layers().path(chain))?);
        }
        let any = found.tables.iter().any(|table| !table.is_empty());
        Ok(any.then_some(found))
    }
}

impl LinkOwners {
    /// The owner of what the tree shows at a clean path, where its file does not say it.
    pub(super) fn of(&self, path: &[u8]) -> Result<Option<TrueOwner>> {
        if self.tables.iter().all(|table| !table.contains_key(path)) {
            return Ok(None);
        }
        // Something else may have taken its place further up.
        let found = view::lookup(&self.layers, path)?;
        Ok(found.and_then(|f| self.tables[f.layer].get(path).copied()))
    }
}
