//! Making manifests for images that were made or changed here.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::record::{LayerRecord, StoredManifest};
use crate::base::{Context as _, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::manifest::{Compression, Descriptor, Manifest, media};

/// The two families of manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// OCI image-spec 1.
    #[default]
    Oci,
    /// Docker image manifest v2, schema 2.
    Docker,
}

/// Writes a manifest for a configuration and its layers.
///
/// # Errors
/// `Unsupported` when Docker's format cannot say how a layer is compressed.
pub fn build(format: Format, raw_config: &str, layers: &[LayerRecord]) -> Result<StoredManifest> {
    build_with(format, raw_config, layers, &BTreeMap::new())
}

/// As [`build`], with annotations.
///
/// # Errors
/// As [`build`].
pub fn build_with(
    format: Format,
    raw_config: &str,
    layers: &[LayerRecord],
    annotations: &BTreeMap<String, String>,
) -> Result<StoredManifest> {
    let (media_type, config_type) = match format {
        Format::Oci => (media::OCI_MANIFEST, media::OCI_CONFIG),
        Format::Docker => (media::DOCKER_MANIFEST, media::DOCKER_CONFIG),
    };
    let mut descriptors = Vec::with_capacity(layers.len());
    for layer in layers {
        let compression = Compression::of_media_type(&layer.media_type)?;
        let mut descriptor = Descriptor::new(
            layer_type(format, compression)?,
            layer.digest.clone(),
            layer.size,
        );
        if format == Format::Oci {
            descriptor.annotations.clone_from(&layer.annotations);
        }
        descriptors.push(descriptor);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type.to_owned(),
        artifact_type: None,
        config: Descriptor::new(
            config_type,
            Digest::sha256_of(raw_config.as_bytes()),
            raw_config.len() as u64,
        ),
        layers: descriptors,
        subject: None,
        annotations: annotations.clone(),
    };
    let raw = serde_json::to_string(&manifest)
        .what_kind(Kind::Internal, || "cannot write the manifest")?;
    Ok(StoredManifest {
        digest: Digest::sha256_of(raw.as_bytes()),
        media_type: media_type.to_owned(),
        raw,
    })
}

/// The media type of a layer in a manifest of `format`.
///
/// # Errors
/// `Unsupported` for zstd in Docker's format.
pub fn layer_type(format: Format, compression: Compression) -> Result<&'static str> {
    Ok(match (format, compression) {
        (Format::Oci, c) => c.oci_layer(),
        (Format::Docker, Compression::Gzip) => media::DOCKER_LAYER_GZIP,
        // Whoever reads bzip2 and xz looks at the bytes.
        (Format::Docker, Compression::None | Compression::Bzip2 | Compression::Xz) => {
            media::DOCKER_LAYER
        }
        (Format::Docker, Compression::Zstd) => {
            return Err(crate::base::Error::unsupported(
                "Docker's v2s2 manifests know no zstd layers",
            )
            .hint("use --format oci, or --compression-format gzip"));
        }
    })
}

/// The name of the configuration's blob in a manifest. It need not be the image's id: a manifest may
/// name it by its SHA-512.
///
/// # Errors
/// `Corrupt` for a malformed manifest.
pub fn config_digest(manifest: &StoredManifest) -> Result<Digest> {
    let parsed: Manifest = serde_json::from_str(&manifest.raw)
        .what_kind(Kind::Corrupt, || "the image's manifest is malformed")?;
    Ok(parsed.config.digest)
}

/// The layer blobs that a raw manifest names; none when it is malformed.
pub fn layer_digests(raw: &str) -> Vec<Digest> {
    #[derive(Deserialize)]
    struct Layers {
        #[serde(default)]
        layers: Vec<Layer>,
    }
    #[derive(Deserialize)]
    struct Layer {
        digest: Digest,
    }
    serde_json::from_str::<Layers>(raw)
        .map(|m| m.layers.into_iter().map(|l| l.digest).collect())
        .unwrap_or_default()
}

/// The annotations of the layers that a raw manifest names, in its order; none when it is malformed.
pub fn layer_annotations(raw: &str) -> Vec<BTreeMap<String, String>> {
    serde_json::from_str::<Manifest>(raw)
        .map(|m| m.layers.into_iter().map(|l| l.annotations).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_manifests_are_what_the_other_library_reads() {
        let layer = LayerRecord {
            digest: Digest::sha256_of(b"blob"),
            media_type: media::OCI_LAYER_ZSTD.to_owned(),
            size: 4,
            diff_id: Digest::sha256_of(b"tar"),
            chain_id: Digest::sha256_of(b"tar"),
            annotations: BTreeMap::new(),
        };
        let built = build(Format::Oci, "{}", std::slice::from_ref(&layer)).unwrap();
        let theirs: oci_spec::image::ImageManifest = serde_json::from_str(&built.raw).unwrap();
        assert_eq!(theirs.layers().len(), 1);
        assert_eq!(theirs.config().size(), 2);
        assert_eq!(
            layer_digests(&built.raw),
            std::slice::from_ref(&layer.digest)
        );
        assert!(build(Format::Docker, "{}", &[layer]).is_err());
    }
}
