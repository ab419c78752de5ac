//! Manifests, indexes and descriptors, OCI's and Docker's, and the choice among an index's members.
//!
//! Our own types rather than `oci_spec`'s, because every digest that comes in must be the validated
//! [`Digest`]: paths are built from it. Unknown fields are ignored: what is stored and pushed are
//! the received bytes, never these values.
//!
//! Spec: image-spec, descriptor, manifest, image index; Docker image manifest v2, schema 2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::image::null_default;
use super::platform::Platform;
use crate::base::{Context as _, Error, Kind, Result};

/// The most bytes of a manifest, an index or a configuration that are read.
pub const DOCUMENT_LIMIT: u64 = 4 << 20;

/// The most layers of an image.
pub const LAYER_LIMIT: usize = 1024;

/// Media types by name.
pub mod media {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// The configuration of what has none.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// OCI layer, not compressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, not compressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker manifest, schema 1: refused.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker manifest, schema 1, signed: refused.
    pub const DOCKER_SCHEMA1_SIGNED: &str =
        "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// Points to a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default, deserialize_with = "null_default")]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// For which platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
    /// What it points to, when that is an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Metadata.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Where else it can be fetched: foreign layers.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
}

impl Descriptor {
    /// One without platform, annotations and addresses.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
            urls: Vec::new(),
        }
    }
}

/// `platform` of a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorPlatform {
    /// CPU architecture.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// Operating system.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// CPU variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system.
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Features that the operating system must have.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Features that the CPU must have; Docker's lists have them.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub features: Vec<String>,
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it is; OCI allows it to be absent.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub media_type: String,
    /// What kind of artifact it is; absent for images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// Another manifest that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Metadata.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An image index or a manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What it is; OCI allows it to be absent.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub media_type: String,
    /// The members.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// Another manifest that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Metadata.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest address answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a document; a box would have to be opened everywhere"
)]
pub enum Document {
    /// An image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

impl Document {
    /// Parses a manifest or an index; `content_type` is what the server called it, or empty.
    ///
    /// # Errors
    /// `Unsupported` for Docker's schema 1 and artifacts; `Corrupt` for anything ambiguous
    /// (CVE-2021-41190) or malformed.
    pub fn parse(bytes: &[u8], content_type: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            schema_version: Option<u32>,
            #[serde(default, deserialize_with = "null_default")]
            media_type: String,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            layers: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            config: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let what = || "the manifest is malformed";
        let head: Head = serde_json::from_slice(bytes).what_kind(Kind::Corrupt, what)?;
        let outer = content_type.split(';').next().unwrap_or_default().trim();
        let known = |t: &str| {
            matches!(
                t,
                media::OCI_MANIFEST
                    | media::OCI_INDEX
                    | media::DOCKER_MANIFEST
                    | media::DOCKER_LIST
            )
        };
        if head.schema_version == Some(1)
            || head.fs_layers.is_some()
            || outer == media::DOCKER_SCHEMA1
            || outer == media::DOCKER_SCHEMA1_SIGNED
        {
            return Err(Error::unsupported(
                "the image has a Docker schema 1 manifest, which no tool makes since 2017",
            )
            .hint("convert it once: skopeo copy --format v2s2 docker://NAME docker://NAME"));
        }
        if head.schema_version != Some(2) {
            return Err(Error::new(
                Kind::Corrupt,
                "the manifest has no schema version 2",
            ));
        }
        if !head.media_type.is_empty() && known(outer) && outer != head.media_type {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the registry calls the manifest {outer:?}, the manifest itself {:?}",
                    head.media_type
                ),
            ));
        }
        if head.manifests.is_some() && (head.layers.is_some() || head.config.is_some()) {
            return Err(Error::new(
                Kind::Corrupt,
                "the manifest is an image and an index at once",
            ));
        }
        if head.manifests.is_some() {
            let index: Index = serde_json::from_slice(bytes).what_kind(Kind::Corrupt, what)?;
            return Ok(Self::Index(index));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).what_kind(Kind::Corrupt, what)?;
        if manifest.layers.len() > LAYER_LIMIT {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the image has {} layers, more than {LAYER_LIMIT}",
                    manifest.layers.len()
                ),
            ));
        }
        Ok(Self::Manifest(manifest))
    }
}

impl Manifest {
    /// Checks that this is an image we can unpack.
    ///
    /// # Errors
    /// `Unsupported` for artifacts, encrypted, foreign and unknown layers.
    pub fn check_image(&self) -> Result<()> {
        let config = self.config.media_type.as_str();
        if !matches!(config, media::OCI_CONFIG | media::DOCKER_CONFIG | "") {
            return Err(Error::unsupported(format!(
                "this is no container image but an artifact of type {config:?}"
            )));
        }
        for layer in &self.layers {
            Compression::of_media_type(&layer.media_type)?;
        }
        Ok(())
    }

    /// The media type, guessed from the configuration's when it is absent.
    pub fn media_type_or_guess(&self) -> &str {
        match self.media_type.as_str() {
            "" if self.config.media_type == media::DOCKER_CONFIG => media::DOCKER_MANIFEST,
            "" => media::OCI_MANIFEST,
            own => own,
        }
    }
}

impl Index {
    /// The best member for `wish`.
    ///
    /// # Errors
    /// `NotFound`, naming the platforms that there are.
    pub fn choose(&self, wish: &Platform) -> Result<&Descriptor> {
        let mut best: Option<(u32, &Descriptor)> = None;
        let mut bare = None;
        for member in &self.manifests {
            let Some(p) = &member.platform else {
                bare = bare.or(Some(member));
                continue;
            };
            if let Some(rank) = wish.rank(&p.normalized())
                && best.is_none_or(|(r, _)| rank > r)
            {
                best = Some((rank, member));
            }
        }
        if let Some((_, member)) = best {
            return Ok(member);
        }
        // An index with one member of no stated platform: its configuration will tell.
        if self.manifests.len() == 1
            && let Some(only) = bare
        {
            return Ok(only);
        }
        let mut there: Vec<String> = self
            .manifests
            .iter()
            .filter_map(|m| m.platform.as_ref())
            .filter(|p| p.os != "unknown")
            .map(|p| p.normalized().to_string())
            .collect();
        there.sort();
        there.dedup();
        let there = if there.is_empty() {
            "none".to_owned()
        } else {
            there.join(", ")
        };
        Err(Error::not_found(format!(
            "no image for platform {wish}; there is: {there}"
        )))
    }
}

impl DescriptorPlatform {
    /// With the names that we compare.
    pub fn normalized(&self) -> Platform {
        let text = match &self.variant {
            Some(v) if !v.is_empty() => format!("{}/{}/{v}", self.os, self.architecture),
            _ => format!("{}/{}", self.os, self.architecture),
        };
        text.parse().unwrap_or_else(|_| Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        })
    }
}

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// bzip2; read only.
    Bzip2,
    /// xz; read only.
    Xz,
}

impl Compression {
    /// So many first bytes tell.
    pub const MAGIC: usize = 6;

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// What a layer's media type promises.
    ///
    /// # Errors
    /// `Unsupported` for encrypted, foreign and unknown types.
    pub fn of_media_type(media_type: &str) -> Result<Self> {
        Ok(match media_type {
            media::OCI_LAYER_GZIP | media::DOCKER_LAYER_GZIP => Self::Gzip,
            media::OCI_LAYER_ZSTD | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
                Self::Zstd
            }
            media::OCI_LAYER | media::DOCKER_LAYER => Self::None,
            t if t.ends_with("+encrypted") => {
                return Err(Error::unsupported(
                    "the image has encrypted layers, which coracle cannot read",
                ));
            }
            t if t.contains("nondistributable") || t.contains("foreign") => {
                return Err(Error::unsupported(
                    "the image has foreign layers (Windows base images), which coracle does not fetch",
                ));
            }
            t => {
                return Err(Error::unsupported(format!(
                    "the image has a layer of the unknown type {t:?}"
                )));
            }
        })
    }

    /// What the first bytes show; anything unknown counts as plain.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a skippable one before it (zstd:chunked, pzstd).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// OCI's layer type. bzip2 and xz have none: whoever reads them looks at the bytes.
    pub fn oci_layer(self) -> &'static str {
        match self {
            Self::None | Self::Bzip2 | Self::Xz => media::OCI_LAYER,
            Self::Gzip => media::OCI_LAYER_GZIP,
            Self::Zstd => media::OCI_LAYER_ZSTD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> String {
        Digest::sha256_of(&[n]).to_string()
    }

    #[test]
    fn documents_are_told_apart_and_ambiguous_ones_refused() {
        let config = format!(
            r#""config":{{"mediaType":"x","digest":"{}","size":2}}"#,
            digest(1)
        );
        let manifest = format!(r#"{{"schemaVersion":2,{config},"layers":[]}}"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(
            Document::parse(manifest.as_bytes(), ""),
            Ok(Document::Manifest(_))
        ));
        assert!(matches!(
            Document::parse(index.as_bytes(), ""),
            Ok(Document::Index(_))
        ));
        for bad in [
            "".to_owned(),
            "[]".to_owned(),
            r#"{"schemaVersion":2}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,{config},"layers":[],"manifests":[]}}"#),
            manifest.replace("sha256:", "sha256:../"),
            manifest.replace(":2}", ":-2}"),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}",{config}}}"#,
                media::OCI_INDEX
            ),
        ] {
            let e = Document::parse(bad.as_bytes(), media::OCI_MANIFEST);
            assert!(e.is_err(), "{bad}");
        }
        let e = Document::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#, "").unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported);
    }

    #[test]
    fn the_best_platform_is_chosen_and_a_miss_names_what_there_is() {
        let member = |n: u8, os: &str, arch: &str, variant: Option<&str>| Descriptor {
            platform: Some(DescriptorPlatform {
                os: os.to_owned(),
                architecture: arch.to_owned(),
                variant: variant.map(str::to_owned),
                ..DescriptorPlatform::default()
            }),
            ..Descriptor::new(media::OCI_MANIFEST, Digest::sha256_of(&[n]), 1)
        };
        let index = Index {
            schema_version: 2,
            media_type: String::new(),
            subject: None,
            annotations: BTreeMap::new(),
            manifests: vec![
                member(0, "unknown", "unknown", None),
                member(1, "linux", "arm", Some("v5")),
                member(2, "linux", "arm", Some("v6")),
                member(3, "linux", "amd64", None),
                member(4, "linux", "arm64", Some("v8")),
            ],
        };
        for (wish, chosen) in [
            ("linux/arm/v7", 2),
            ("linux/arm/v5", 1),
            ("linux/amd64", 3),
            ("linux/amd64/v3", 3),
            ("linux/arm64", 4),
        ] {
            let found = index.choose(&wish.parse().unwrap()).unwrap();
            assert_eq!(found.digest, Digest::sha256_of(&[chosen]), "{wish}");
        }
        let e = index.choose(&"linux/s390x".parse().unwrap()).unwrap_err();
        assert_eq!(
            e.what(),
            "no image for platform linux/s390x; there is: linux/amd64, linux/arm/v5, linux/arm/v6, linux/arm64/v8"
        );
    }

    #[test]
    fn compression_is_known_by_type_and_by_first_bytes() {
        assert_eq!(Compression::sniff(&[0x1f, 0x8b, 8]), Compression::Gzip);
        assert_eq!(
            Compression::sniff(&[0x28, 0xb5, 0x2f, 0xfd]),
            Compression::Zstd
        );
        assert_eq!(Compression::sniff(b"BZh9"), Compression::Bzip2);
        assert_eq!(Compression::sniff(b"\xfd7zXZ\0"), Compression::Xz);
        for plain in [&b"abc"[..], b"BZh", b"BZh0", b"\xfd7zXZ"] {
            assert_eq!(Compression::sniff(plain), Compression::None);
        }
        assert!(
            Compression::of_media_type("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
                .is_err()
        );
    }
}
