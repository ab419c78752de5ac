//! Layers with a table of contents, whose files can be fetched one by one: zstd:chunked of
//! containers/storage, and eStargz of the stargz snapshotter.
//!
//! Both are what every other tool reads as tar+zstd and tar+gzip: each file's content begins a
//! frame (a member) of its own, and a table in JSON says where. zstd:chunked has it in skippable
//! frames behind the archive, eStargz as the archive's last file, `stargz.index.json`, so there the
//! archive, and with it the diff id, is another one.
//!
//! Spec: containers/storage docs/containers-storage-zstd-chunked.md; stargz-snapshotter
//! docs/estargz.md.

pub mod recipe;
pub mod splice;
pub mod table;
pub mod write;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Digest of the compressed table of zstd:chunked.
pub const ZSTD_CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// Where it is: `offset:length:plain length:kind`.
pub const ZSTD_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// Digest of the compressed tar-split.
pub const SPLIT_CHECKSUM: &str = "io.github.containers.zstd-chunked.tarsplit-checksum";
/// Where it is: `offset:length:plain length`.
pub const SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// Digest of the plain table of eStargz.
pub const STARGZ_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Bytes of the archive that an eStargz layer inflates to.
pub const STARGZ_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// The file in an eStargz archive that is the table.
const STARGZ_NAME: &str = "stargz.index.json";
/// Files of eStargz that say what to fetch first; they are no part of the image.
const LANDMARKS: [&str; 2] = [".prefetch.landmark", ".no.prefetch.landmark"];
/// Bytes of the footer of eStargz.
const STARGZ_FOOTER: u64 = 51;
/// The kind of table in zstd:chunked's position and footer.
const KIND: u64 = 1;
/// The end of zstd:chunked's footer.
const ZSTD_MAGIC: &[u8; 8] = b"GNUlInUx";

/// The annotations of a layer.
pub type Annotations = BTreeMap<String, String>;

/// The table as it is written; both formats have the same words.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    entries: &'a [Line],
    #[serde(rename = "tarSplitDigest", skip_serializing_if = "Option::is_none")]
    split: Option<String>,
}

/// One line of a table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u64,
    #[serde(rename = "modtime", skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    xattrs: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    end_offset: u64,
    /// In eStargz: several files share a member, and this one begins so far into it.
    #[serde(skip_serializing_if = "is_zero")]
    inner_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    chunk_digest: String,
    /// `zeros` for a hole.
    #[serde(skip_serializing_if = "String::is_empty")]
    chunk_type: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests;
