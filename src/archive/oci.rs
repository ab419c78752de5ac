//! The OCI image layout, as a folder or in a tar.
//!
//! Spec: image-spec, image layout.

use super::pack::{Pack, Part};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::manifest::{DOCUMENT_LIMIT, Descriptor, Document, Index, Manifest};
use crate::spec::platform::Platform;

/// The annotation that names an image in a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's annotation with the full name.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// What the file `oci-layout` holds.
pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// One image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What the index says.
    pub descriptor: Descriptor,
    /// The full name, if it has one: containerd's, else the reference name when that is one.
    pub name: Option<String>,
}

/// Where a blob is in a layout.
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// A blob of a layout.
///
/// # Errors
/// `Invalid` when it is missing, or has another size.
pub fn blob(pack: &Pack, descriptor: &Descriptor) -> Result<Part> {
    let part = pack.part(&blob_name(&descriptor.digest))?;
    if part.size() != descriptor.size {
        return Err(Error::new(
            Kind::Corrupt,
            format!(
                "blob {} has {} bytes in the archive, and should have {}",
                descriptor.digest,
                part.size(),
                descriptor.size
            ),
        ));
    }
    Ok(part)
}

/// A small blob, verified.
///
/// # Errors
/// As [`blob`], and `Corrupt` for another digest.
pub fn document(pack: &Pack, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let bytes = blob(pack, descriptor)?.bytes(DOCUMENT_LIMIT)?;
    let found = Digest::of(descriptor.digest.algorithm(), &bytes);
    if found != descriptor.digest {
        return Err(Error::new(
            Kind::Corrupt,
            format!(
                "blob {} has digest {found} in the archive",
                descriptor.digest
            ),
        ));
    }
    Ok(bytes)
}

/// The images of a layout.
///
/// # Errors
/// `Invalid` when it is none; `Corrupt` for a malformed index.
pub fn read(pack: &Pack) -> Result<Vec<Item>> {
    let bytes = pack.part("index.json")?.bytes(DOCUMENT_LIMIT)?;
    let index: Index = serde_json::from_slice(&bytes)
        .what_kind(Kind::Corrupt, || "the layout's index.json is malformed")?;
    if index.manifests.is_empty() {
        return Err(Error::invalid("the layout holds no image"));
    }
    Ok(index
        .manifests
        .into_iter()
        .map(|descriptor| Item {
            name: descriptor
                .annotations
                .get(IMAGE_NAME)
                .or_else(|| descriptor.annotations.get(REF_NAME))
                .cloned(),
            descriptor,
        })
        .collect())
}

/// The image that `wanted` names by its annotation; without one the only image, or the best for
/// this platform.
///
/// # Errors
/// `NotFound`; `Invalid` when there are several.
pub fn choose<'a>(items: &'a [Item], wanted: Option<&str>, wish: &Platform) -> Result<&'a Item> {
    let named = |item: &&Item| {
        let annotations = &item.descriptor.annotations;
        [REF_NAME, IMAGE_NAME]
            .iter()
            .any(|key| annotations.get(*key).map(String::as_str) == wanted)
    };
    match wanted {
        Some(wanted) => items
            .iter()
            .find(named)
            .ok_or_else(|| Error::not_found(format!("the layout holds no image {wanted:?}"))),
        None if items.len() == 1 => Ok(&items[0]),
        None => {
            let best = items
                .iter()
                .filter_map(|i| {
                    let platform = i.descriptor.platform.as_ref()?;
                    Some((wish.rank(&platform.normalized())?, i))
                })
                .max_by_key(|(rank, _)| *rank);
            best.map(|(_, item)| item).ok_or_else(|| {
                Error::invalid("the layout holds several images").hint("name one: oci:PATH:NAME")
            })
        }
    }
}

/// Follows indexes down to one image: descriptor, bytes and manifest.
///
/// # Errors
/// `NotFound` when no member fits; `Corrupt` as for [`document`].
pub fn resolve(
    pack: &Pack,
    top: &Descriptor,
    wish: &Platform,
) -> Result<(Descriptor, Vec<u8>, Manifest)> {
    let mut current = top.clone();
    for _ in 0..3 {
        let bytes = document(pack, &current)?;
        match Document::parse(&bytes, &current.media_type)? {
            Document::Manifest(manifest) => return Ok((current, bytes, manifest)),
            Document::Index(index) => current = index.choose(wish)?.clone(),
        }
    }
    Err(Error::new(
        Kind::Corrupt,
        "the layout has indexes of indexes without end",
    ))
}
