//! A build cache outside of the store, as a document: which key gave which layer. It is the
//! configuration of an OCI manifest whose layers are the blobs, or a part of an image's own.
//!
//! It holds no instruction, no argument and no name: keys are hashes, and layers are content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StepRecord;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::manifest::{Compression, Descriptor, Manifest, media};

/// The media type of the document as a manifest's configuration.
pub const MEDIA_TYPE: &str = "application/vnd.coracle.cache.v1+json";

/// The schema.
const VERSION: u32 = 1;

/// More steps than this are no cache of a Dockerfile.
const STEPS: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    steps: Vec<Item>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    key: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    diff_id: Option<Digest>,
    created: Timestamp,
}

/// A step of a cache elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its layer and where that is; nothing for a step that changed nothing.
    pub layer: Option<(Digest, Descriptor)>,
    /// When it ran.
    pub created: Timestamp,
}

/// Steps by their keys.
pub type Steps = BTreeMap<Digest, Step>;

fn write(records: &[StepRecord]) -> Result<String> {
    let document = Document {
        version: VERSION,
        steps: records
            .iter()
            .map(|record| Item {
                key: record.key.clone(),
                diff_id: record.layer.as_ref().map(|l| l.diff_id.clone()),
                created: record.created,
            })
            .collect(),
    };
    serde_json::to_string(&document).what_kind(Kind::Internal, || "cannot write the cache")
}

/// The document for an image's configuration: its layers are the image's.
///
/// # Errors
/// Only by a mistake of ours.
pub fn inline(records: &[StepRecord]) -> Result<serde_json::Value> {
    serde_json::from_str(&write(records)?).what_kind(Kind::Internal, || "cannot write the cache")
}

/// Manifest and configuration of a cache of its own, and the blobs that it names.
///
/// # Errors
/// Only by a mistake of ours.
pub fn own(records: &[StepRecord]) -> Result<(Manifest, String)> {
    let mut layers: Vec<Descriptor> = Vec::new();
    for layer in records.iter().filter_map(|r| r.layer.as_ref()) {
        if layers.iter().any(|d| d.digest == layer.digest) {
            continue;
        }
        let mut descriptor =
            Descriptor::new(layer.media_type.clone(), layer.digest.clone(), layer.size);
        descriptor
            .annotations
            .insert(DIFF_ID.to_owned(), layer.diff_id.to_string());
        layers.push(descriptor);
    }
    let config = write(records)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        config: Descriptor::new(
            MEDIA_TYPE,
            Digest::sha256_of(config.as_bytes()),
            config.len() as u64,
        ),
        layers,
        artifact_type: None,
        subject: None,
        annotations: BTreeMap::new(),
    };
    Ok((manifest, config))
}

/// Says what a layer's tar hashes to; containerd's word.
const DIFF_ID: &str = "containerd.io/uncompressed";

/// Reads a cache of its own.
///
/// # Errors
/// `Corrupt` for what is none.
pub fn read_own(manifest: &Manifest, config: &[u8]) -> Result<Steps> {
    let mut layers = BTreeMap::new();
    for descriptor in &manifest.layers {
        let diff_id = descriptor.annotations.get(DIFF_ID);
        if let Some(diff_id) = diff_id.and_then(|d| d.parse::<Digest>().ok()) {
            layers.insert(diff_id, descriptor.clone());
        }
    }
    read(config, &layers)
}

/// Reads the cache in an image's configuration; `diff_ids` are its layers'.
///
/// # Errors
/// `Corrupt` for what is none.
pub fn read_inline(
    manifest: &Manifest,
    diff_ids: &[Digest],
    value: &serde_json::Value,
) -> Result<Steps> {
    let pairs = diff_ids
        .iter()
        .cloned()
        .zip(manifest.layers.iter().cloned());
    read(value.to_string().as_bytes(), &pairs.collect())
}

fn read(bytes: &[u8], layers: &BTreeMap<Digest, Descriptor>) -> Result<Steps> {
    let corrupt = |why: &str| Error::new(Kind::Corrupt, format!("the cache is malformed: {why}"));
    let document: Document =
        serde_json::from_slice(bytes).what_kind(Kind::Corrupt, || "the cache is malformed")?;
    if document.version != VERSION {
        return Err(Error::unsupported(format!(
            "the cache has version {}, this coracle knows {VERSION}",
            document.version
        )));
    }
    if document.steps.len() > STEPS {
        return Err(corrupt("too many steps"));
    }
    let mut found = Steps::new();
    for item in document.steps {
        let layer = match item.diff_id {
            None => None,
            Some(diff_id) => {
                let descriptor = layers
                    .get(&diff_id)
                    .ok_or_else(|| corrupt("a step has a layer that is not there"))?;
                Compression::of_media_type(&descriptor.media_type)?;
                Some((diff_id, descriptor.clone()))
            }
        };
        let created = item.created;
        found.insert(item.key, Step { layer, created });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::LayerRecord;

    fn record(n: u8, layer: bool) -> StepRecord {
        let digest = |text: &str| Digest::sha256_of(format!("{text}{n}").as_bytes());
        let layer = layer.then(|| LayerRecord {
            digest: digest("blob"),
            media_type: media::OCI_LAYER_ZSTD.to_owned(),
            size: 7,
            diff_id: digest("tar"),
            chain_id: digest("chain"),
            annotations: BTreeMap::new(),
        });
        super::super::Cache::record(
            digest("key"),
            layer,
            None,
            "RUN echo secret-word",
            BTreeMap::from([("args".to_owned(), "secret-word".to_owned())]),
        )
    }

    #[test]
    fn what_is_written_is_read_again_and_tells_no_instruction() {
        let records = [record(1, true), record(2, false), record(1, true)];
        let (manifest, config) = own(&records).unwrap();
        assert_eq!(manifest.layers.len(), 1);
        assert!(!config.contains("secret-word"));
        let steps = read_own(&manifest, config.as_bytes()).unwrap();
        assert_eq!(steps.len(), 2);
        let layer = steps[&records[0].key].layer.clone().unwrap();
        assert_eq!(layer.0, records[0].layer.as_ref().unwrap().diff_id);
        assert_eq!(layer.1.digest, records[0].layer.as_ref().unwrap().digest);
        assert_eq!(steps[&records[1].key].layer, None);
        // In an image the blobs may be compressed anew: the diff id finds them.
        let mut other = manifest.clone();
        other.layers[0] = Descriptor::new(media::OCI_LAYER_GZIP, Digest::sha256_of(b"gz"), 9);
        let value = inline(&records).unwrap();
        let steps = read_inline(&other, std::slice::from_ref(&layer.0), &value).unwrap();
        let found = steps[&records[0].key].layer.clone().unwrap();
        assert_eq!(found.1.digest, Digest::sha256_of(b"gz"));
    }

    #[test]
    fn layers_that_are_not_there_and_newer_versions_are_refused() {
        let (mut manifest, config) = own(&[record(1, true)]).unwrap();
        manifest.layers.clear();
        assert!(read_own(&manifest, config.as_bytes()).is_err());
        let newer = config.replace("\"version\":1", "\"version\":2");
        assert!(read_own(&manifest, newer.as_bytes()).is_err());
        assert!(read_own(&manifest, b"[]").is_err());
    }
}
