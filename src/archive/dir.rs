//! skopeo's `dir`: `version`, `manifest.json`, and blobs named by the hex of their digests.

use super::pack::{Pack, Part};
use crate::base::{Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::manifest::{DOCUMENT_LIMIT, Descriptor, Document, Manifest};

/// What the file `version` holds.
pub const VERSION: &str = "Directory Transport Version: 1.1\n";

/// The manifest and its bytes.
///
/// # Errors
/// `Invalid` when it is missing or an index.
pub fn read(pack: &Pack) -> Result<(Vec<u8>, Manifest)> {
    let bytes = pack.part("manifest.json")?.bytes(DOCUMENT_LIMIT)?;
    match Document::parse(&bytes, "")? {
        Document::Manifest(manifest) => Ok((bytes, manifest)),
        Document::Index(_) => Err(Error::unsupported(
            "the folder holds several images (an index)",
        )),
    }
}

/// The name of a blob's file.
pub fn blob_name(digest: &Digest) -> String {
    digest.hex().to_owned()
}

/// A blob.
///
/// # Errors
/// `Invalid` when it is missing; `Corrupt` when it has another size.
pub fn blob(pack: &Pack, descriptor: &Descriptor) -> Result<Part> {
    let part = pack.part(&blob_name(&descriptor.digest))?;
    if part.size() == descriptor.size {
        return Ok(part);
    }
    Err(Error::new(
        Kind::Corrupt,
        format!("blob {} has another size in the folder", descriptor.digest),
    ))
}

/// A small blob, verified.
///
/// # Errors
/// As [`blob`], and `Corrupt` for another digest.
pub fn document(pack: &Pack, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let bytes = blob(pack, descriptor)?.bytes(DOCUMENT_LIMIT)?;
    if Digest::of(descriptor.digest.algorithm(), &bytes) == descriptor.digest {
        return Ok(bytes);
    }
    Err(Error::new(
        Kind::Corrupt,
        format!(
            "blob {} has another digest in the folder",
            descriptor.digest
        ),
    ))
}
