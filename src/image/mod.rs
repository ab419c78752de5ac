//! Images on this machine: names, records, manifests, configurations, and what can be said of them.
//!
//! `store/images/<hex of the id>.json` is one image; `store/names.json` is the only index. Both are
//! replaced atomically under one lock, readers take none. Blobs and unpacked layers are storage's;
//! a record names them by digest and chain id.
//!
//! This domain moves no bytes: pulling, loading and saving are operations.

pub mod artifact;
pub mod change;
mod check;
pub mod filter;
pub mod list;
pub mod manifest;
pub mod record;
pub mod store;

pub use list::Member;
pub use record::{ImageRecord, LayerRecord, StoredManifest};
pub use store::{Found, Images, NameEntry, Names, has_registry};
