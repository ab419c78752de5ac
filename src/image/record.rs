//! The record of one image.
//!
//! It keeps the configuration and the manifests as the bytes that were received: their digests are
//! the image's identity, so nothing is ever written again from parsed values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::list::ImageList;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::image::{ImageConfig, chain_ids};
use crate::spec::platform::Platform;

/// The schema of the records that this program writes.
pub const VERSION: u32 = 1;

/// One image: configuration, manifests and layers.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRecord {
    /// The image id: digest of the configuration's bytes.
    pub id: Digest,
    /// The configuration, parsed.
    pub config: ImageConfig,
    /// The configuration's bytes; JSON, so always text.
    pub raw_config: String,
    /// Every manifest that describes this image here; the first is the one it is pushed with.
    pub manifests: Vec<StoredManifest>,
    /// Layers of the first manifest, bottom first.
    pub layers: Vec<LayerRecord>,
    /// When it came to this machine.
    pub stored: Timestamp,
    /// Bytes of all layers unpacked; shared ones count in full.
    pub size: u64,
    /// The image it was built or committed from, if it is here.
    pub parent: Option<Digest>,
    /// What makes it a manifest list in place of an image.
    pub list: Option<ImageList>,
}

/// A manifest as received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredManifest {
    /// Digest of `raw`.
    pub digest: Digest,
    /// OCI's or Docker's.
    pub media_type: String,
    /// The bytes.
    pub raw: String,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Digest of the blob, as the manifest has it.
    pub digest: Digest,
    /// The blob's media type.
    pub media_type: String,
    /// Bytes of the blob.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Identity of this layer on top of those below; names the unpacked layer in the store.
    pub chain_id: Digest,
    /// What its descriptor says besides, e.g. where its table of contents is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// `store/images/<id>.json`.
#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    id: Digest,
    stored: Timestamp,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<Digest>,
    layers: Vec<LayerRecord>,
    manifests: Vec<StoredManifest>,
    config: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<ImageList>,
}

impl ImageRecord {
    /// Makes a record from what was received; `layers` are `(blob digest, media type, size)`.
    ///
    /// # Errors
    /// `Corrupt` when the configuration is no JSON of the right shape, or lists another number of
    /// layers than the manifest.
    pub fn new(
        raw_config: String,
        manifest: StoredManifest,
        layers: Vec<(Digest, String, u64)>,
    ) -> Result<Self> {
        let config = parse_config(&raw_config)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the image's manifest has {} layers and its configuration {}",
                    layers.len(),
                    diff_ids.len()
                ),
            ));
        }
        let mut annotations = super::manifest::layer_annotations(&manifest.raw).into_iter();
        let layers = layers
            .into_iter()
            .zip(diff_ids.iter().zip(chain_ids(diff_ids)))
            .map(
                |((digest, media_type, size), (diff_id, chain_id))| LayerRecord {
                    digest,
                    media_type,
                    size,
                    diff_id: diff_id.clone(),
                    chain_id,
                    annotations: annotations.next().unwrap_or_default(),
                },
            )
            .collect();
        Ok(Self {
            id: Digest::sha256_of(raw_config.as_bytes()),
            config,
            raw_config,
            manifests: vec![manifest],
            layers,
            stored: Timestamp::now(),
            size: 0,
            parent: None,
            list: None,
        })
    }

    /// Digest of the first manifest.
    pub fn manifest_digest(&self) -> Option<&Digest> {
        self.manifests.first().map(|m| &m.digest)
    }

    /// The layers' chain ids, bottom first: what storage mounts.
    pub fn chain(&self) -> Vec<Digest> {
        self.layers.iter().map(|l| l.chain_id.clone()).collect()
    }

    /// Time of creation: the configuration's, else when it came here.
    pub fn created(&self) -> Timestamp {
        self.config
            .created
            .as_deref()
            .and_then(|t| Timestamp::parse_rfc3339(t).ok())
            .unwrap_or(Timestamp(0))
    }

    /// The platform that the configuration names.
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// Whether a manifest with this digest describes it.
    pub fn has_manifest(&self, digest: &Digest) -> bool {
        self.manifests.iter().any(|m| m.digest == *digest)
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&File {
            version: VERSION,
            id: self.id.clone(),
            stored: self.stored,
            size: self.size,
            parent: self.parent.clone(),
            layers: self.layers.clone(),
            manifests: self.manifests.clone(),
            config: self.raw_config.clone(),
            list: self.list.clone(),
        })
        .what_kind(Kind::Internal, || "cannot write the image's record")
    }

    pub(super) fn from_json(bytes: &[u8], name: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let damaged = || format!("the record of image {name} is damaged");
        let file: File = match serde_json::from_slice(bytes) {
            Ok(file) => file,
            Err(e) => {
                // A newer schema may not parse at all: its number is the better answer.
                return Err(match serde_json::from_slice::<Head>(bytes) {
                    Ok(head) if head.version > VERSION => newer(name, head.version),
                    _ => Error::new(Kind::Corrupt, damaged()).because(e),
                });
            }
        };
        if file.version > VERSION {
            return Err(newer(name, file.version));
        }
        let config = parse_config(&file.config).what_kind(Kind::Corrupt, damaged)?;
        Ok(Self {
            id: file.id,
            config,
            raw_config: file.config,
            manifests: file.manifests,
            layers: file.layers,
            stored: file.stored,
            size: file.size,
            parent: file.parent,
            list: file.list,
        })
    }
}

fn newer(name: &str, version: u32) -> Error {
    Error::unsupported(format!(
        "image {name} was stored by a newer coracle (record version {version}, this one knows {VERSION})"
    ))
    .hint("update coracle, or use another --root")
}

fn parse_config(raw: &str) -> Result<ImageConfig> {
    let config: ImageConfig = serde_json::from_str(raw)
        .what_kind(Kind::Corrupt, || "the image's configuration is malformed")?;
    for entry in &config.config.env {
        // Without a value it would name one of the caller's own variables (CVE-2026-57231).
        if !entry.contains('=') || entry.starts_with('=') {
            return Err(Error::new(
                Kind::Corrupt,
                format!("the image's configuration has a variable without a value: {entry:?}"),
            ));
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> StoredManifest {
        StoredManifest {
            digest: Digest::sha256_of(b"{}"),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            raw: "{}".to_owned(),
        }
    }

    #[test]
    fn records_round_trip_and_keep_the_configuration_byte_for_byte() {
        let diff = Digest::sha256_of(b"layer");
        let raw = format!(
            r#"{{ "os":"linux","architecture":"amd64","unknown":1,"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#
        );
        let record = ImageRecord::new(
            raw.clone(),
            manifest(),
            vec![(Digest::sha256_of(b"blob"), "x".to_owned(), 4)],
        )
        .unwrap();
        assert_eq!(record.id, Digest::sha256_of(raw.as_bytes()));
        assert_eq!(record.layers[0].chain_id, diff);
        let back = ImageRecord::from_json(&record.to_json().unwrap(), "x").unwrap();
        assert_eq!(back, record);
    }

    #[test]
    fn mismatching_layers_newer_schemas_and_bare_variables_are_refused() {
        let none = r#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let layers = vec![(Digest::sha256_of(b"blob"), "x".to_owned(), 4)];
        assert!(ImageRecord::new(none.to_owned(), manifest(), layers).is_err());
        let e = ImageRecord::from_json(br#"{"version":99}"#, "x").unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported);
        let env =
            r#"{"os":"linux","config":{"Env":["HOME"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert!(ImageRecord::new(env.to_owned(), manifest(), vec![]).is_err());
    }
}
