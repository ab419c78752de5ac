//! The specifications' types: digests, references, platforms, image and runtime documents.
//!
//! Names nothing of ours but `base`, so that it can be fuzzed and reasoned about alone. A type
//! here can only be made by a validating parser; paths are built from such types only
//! (security class H).

pub mod cidr;
pub mod digest;
pub mod id;
pub mod idmap;
pub mod image;
pub mod manifest;
pub mod ondisk;
pub mod platform;
pub mod reference;
pub mod resources;
pub mod runtime;
