//! `--cache-to`: the steps of a build for other stores.

use std::path::Path;

use super::StepRecord;
use super::document;
use super::place::{Mode, Place};
use crate::archive::oci;
use crate::archive::write::{FolderOutput, Output as _, document as part};
use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Kind, Result};
use crate::image::StoredManifest;
use crate::operations::build::stage::State;
use crate::operations::image::RegistryOptions;
use crate::operations::image::destination::Destination;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::manifest::{DOCUMENT_LIMIT, Descriptor, Index, media};
use crate::storage::Store;

/// The steps that go into a cache: those of `target`, or of all stages. Each once, in the order in
/// which they ran.
pub fn steps<'a>(
    mode: Mode,
    target: &'a State,
    all: impl Iterator<Item = &'a State>,
) -> Vec<StepRecord> {
    let mut found: Vec<StepRecord> = Vec::new();
    let mut take = |state: &State| {
        for record in &state.steps {
            if !found.iter().any(|r| r.key == record.key) {
                found.push(record.clone());
            }
        }
    };
    take(target);
    if mode == Mode::Max {
        all.for_each(take);
    }
    found
}

/// Writes a cache where it is to be.
///
/// # Errors
/// What the registry or the disk says.
pub fn write(
    session: &Session,
    store: &Store,
    registry: &RegistryOptions,
    place: &Place,
    records: &[StepRecord],
) -> Result<()> {
    let (manifest, config) = document::own(records)?;
    let raw = serde_json::to_string(&manifest)
        .what_kind(Kind::Internal, || "cannot write the cache's manifest")?;
    let stored = StoredManifest {
        digest: Digest::sha256_of(raw.as_bytes()),
        media_type: manifest.media_type.clone(),
        raw,
    };
    let write = || match place {
        Place::Registry(reference) => {
            let destination = Destination::open(session, reference, registry)?;
            let blobs: Vec<(Digest, u64)> = manifest
                .layers
                .iter()
                .map(|l| (l.digest.clone(), l.size))
                .collect();
            destination.blobs(&blobs)?;
            let label = format!("Copying cache {}", manifest.config.digest.short());
            destination.bytes(&manifest.config.digest, config.as_bytes(), &label)?;
            destination.top(&stored).map(drop)
        }
        Place::Folder { path, tag, .. } => {
            folder(store, path, tag, &stored, &manifest.layers, &config)
        }
    };
    write().what(|| format!("cannot write the cache to {place}"))
}

/// Adds to a layout: what other tags have there stays, and the index is replaced last.
fn folder(
    store: &Store,
    path: &Path,
    tag: &str,
    manifest: &StoredManifest,
    layers: &[Descriptor],
    config: &str,
) -> Result<()> {
    let mut output = FolderOutput::new(path)?;
    for layer in layers {
        let name = oci::blob_name(&layer.digest);
        let there = std::fs::metadata(path.join(&name)).is_ok_and(|m| m.len() == layer.size);
        if !there {
            output.part(&name, layer.size, &mut store.blobs().open(&layer.digest)?)?;
        }
    }
    let digest = Digest::sha256_of(config.as_bytes());
    part(&mut output, &oci::blob_name(&digest), config.as_bytes())?;
    part(
        &mut output,
        &oci::blob_name(&manifest.digest),
        manifest.raw.as_bytes(),
    )?;
    part(&mut output, "oci-layout", oci::LAYOUT)?;
    output.finish()?;
    let place = path.join("index.json");
    let mut index = match files::read_if_exists(&place, DOCUMENT_LIMIT)? {
        None => Index {
            schema_version: 2,
            media_type: media::OCI_INDEX.to_owned(),
            manifests: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
            subject: None,
        },
        Some(bytes) => serde_json::from_slice(&bytes).what_kind(Kind::Corrupt, || {
            format!("{} is malformed", place.display())
        })?,
    };
    let named = |d: &Descriptor| d.annotations.get(oci::REF_NAME).is_some_and(|n| n == tag);
    index.manifests.retain(|d| !named(d));
    let mut descriptor = Descriptor::new(
        manifest.media_type.clone(),
        manifest.digest.clone(),
        manifest.raw.len() as u64,
    );
    descriptor
        .annotations
        .insert(oci::REF_NAME.to_owned(), tag.to_owned());
    index.manifests.push(descriptor);
    let bytes =
        serde_json::to_vec(&index).what_kind(Kind::Internal, || "cannot write index.json")?;
    files::replace(&place, &bytes, 0o644, Durability::Volatile)
}
