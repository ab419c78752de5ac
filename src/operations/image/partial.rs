//! Layers that are pulled in parts: what other layers have is not fetched again.
//!
//! It is tried for zstd:chunked layers when something is saved. The layer's digest is verified as
//! always; should it not come out right, or the registry know no ranges, the whole blob is pulled.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::progress::Progress;
use crate::base::{Context as _, Error, Result};
use crate::image::{ImageRecord, LayerRecord};
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::storage::Store;
use crate::storage::chunked::splice::{Plan, Splice, plan};
use crate::storage::chunked::table::{Item, Place, Table, locate};
use crate::storage::layer::{Beside, Layers, Limits, Unpack, parts};

/// How a registry gives so many bytes of a blob from an offset on.
pub type Fetch<'a> = dyn Fn(&LayerRecord, (u64, u64)) -> Result<Vec<u8>> + 'a;

/// A layer that is pulled in parts.
pub struct Part {
    table: Table,
    packed: Vec<u8>,
    plan: Plan,
}

/// The layers that are pulled in parts, by their blobs, and the files that are here.
pub struct Parts {
    by_blob: HashMap<Digest, Part>,
    files: Files,
}

/// Files of layers here, by content.
pub struct Files {
    layers: Layers,
    places: HashMap<(Digest, u64), (Digest, Vec<u8>)>,
}

impl Files {
    /// Those of all layers whose table of contents is here.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn here(session: &Session, store: &Store) -> Result<Self> {
        let mut places = HashMap::new();
        for record in super::images(session).list()? {
            for layer in &record.layers {
                if !store.layers().has(&layer.chain_id) {
                    continue;
                }
                // A damaged table only means that its files are fetched.
                let Ok(Some(table)) = own_table(store, layer) else {
                    continue;
                };
                for item in table.items {
                    if let Some(digest) = &item.digest {
                        let place = (layer.chain_id.clone(), item.path().to_vec());
                        places.insert((digest.clone(), item.size()), place);
                    }
                }
            }
        }
        Ok(Self {
            layers: store.layers().clone(),
            places,
        })
    }

    /// Opens a file with such content.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn open(&self, digest: &Digest, size: u64) -> Result<File> {
        let (chain, path) = self
            .places
            .get(&(digest.clone(), size))
            .ok_or_else(|| Error::not_found("no such file is here"))?;
        let file = self.layers.file(chain, path)?;
        if file
            .metadata()
            .what(|| "cannot read a file of a layer")?
            .len()
            != size
        {
            return Err(Error::not_found("no such file is here"));
        }
        Ok(file)
    }

    fn of(&self, item: &Item) -> Result<File> {
        let digest = item.digest.as_ref();
        self.open(
            digest.ok_or_else(|| Error::internal("a file without a digest"))?,
            item.size(),
        )
    }
}

/// The table of contents of a layer that is here.
fn own_table(store: &Store, layer: &LayerRecord) -> Result<Option<Table>> {
    use std::os::unix::fs::FileExt as _;
    let Some(place) = locate(&layer.annotations, layer.size)? else {
        return Ok(None);
    };
    if let Ok(blob) = store.blobs().open(&layer.digest) {
        return place
            .read(layer.size, &mut |offset, length| {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                blob.read_exact_at(&mut bytes, offset)
                    .what(|| "cannot read a blob")?;
                Ok(bytes)
            })
            .map(Some);
    }
    match store.layers().kept_table(&layer.chain_id)? {
        Some(kept) => place.read_kept(layer.size, &kept).map(Some),
        None => Ok(None),
    }
}

impl Parts {
    /// Decides which layers of an image that is to be pulled come in parts.
    ///
    /// # Errors
    /// What the kernel says. What the registry says only means that the whole blob is pulled.
    pub fn plan(
        session: &Session,
        store: &Store,
        record: &ImageRecord,
        fetch: &Fetch<'_>,
    ) -> Result<Option<Self>> {
        let mut wanted = Vec::new();
        for layer in &record.layers {
            let here = store.layers().has(&layer.chain_id) || store.blobs().has(&layer.digest);
            if let (false, Ok(Some(place @ Place::Zstd { .. }))) =
                (here, locate(&layer.annotations, layer.size))
            {
                wanted.push((layer, place));
            }
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        let files = Files::here(session, store)?;
        if files.places.is_empty() {
            return Ok(None);
        }
        let mut by_blob = HashMap::new();
        for (layer, place) in wanted {
            let read = place.read_keeping(layer.size, &mut |offset, length| {
                fetch(layer, (offset, length))
            });
            let (table, packed) = match read {
                Ok(read) => read,
                Err(e) => {
                    log::info!("layer {}: {}", layer.digest.short(), e.one_line());
                    continue;
                }
            };
            let have = |digest: &Digest, size: u64| files.open(digest, size).is_ok();
            if let Some(plan) = plan(&table, &have) {
                by_blob.insert(
                    layer.digest.clone(),
                    Part {
                        table,
                        packed,
                        plan,
                    },
                );
            }
        }
        Ok((!by_blob.is_empty()).then_some(Self { by_blob, files }))
    }

    /// The part of a layer, if it is pulled so.
    pub fn of(&self, layer: &LayerRecord) -> Option<&Part> {
        self.by_blob.get(&layer.digest)
    }

    /// Unpacks a layer; `blob` gives the ranges that were asked for, one behind the other.
    ///
    /// # Errors
    /// `Corrupt` when the archive is another than the image says; what the registry says.
    pub fn unpack<'a>(
        &self,
        store: &Store,
        (layer, parent): (&LayerRecord, Option<&Digest>),
        blob: &mut dyn FnMut(Vec<(u64, u64)>) -> Box<dyn Read + Send + 'a>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let part = self
            .of(layer)
            .ok_or_else(|| Error::internal("the layer does not come in parts"))?;
        let key = layer.digest.to_string();
        let label = format!("Copying blob {}", layer.digest.short());
        progress.update(&key, &label, part.plan.saved, layer.size);
        let mut splice = Splice::new(
            &part.table,
            part.plan.clone(),
            blob(part.plan.ranges.clone()),
            |item: &Item| self.files.of(item),
        );
        let local: HashMap<&[u8], &Item> = part
            .table
            .items
            .iter()
            .filter(|item| item.digest.is_some())
            .map(|item| (item.path(), item))
            .collect();
        let done = splice.done();
        let reuse = |path: &[u8]| local.get(path).and_then(|item| self.files.of(item).ok());
        let finish = |staged: &Path| {
            let recipe = done.lock().ok().and_then(|mut done| done.take());
            let recipe =
                recipe.ok_or_else(|| Error::internal("a layer was not read to its end"))?;
            parts::write(staged, &recipe, &part.packed)
        };
        store.layers().unpack_beside(
            &Unpack {
                parent,
                diff_id: Some(&layer.diff_id),
                limits: Limits::default(),
            },
            &mut splice,
            &Beside {
                reuse: Some(&reuse),
                finish: Some(&finish),
            },
        )?;
        let kept = crate::base::size::human(part.plan.saved);
        progress.finish(&key, &label, &format!("done, {kept} were here"));
        Ok(())
    }
}
