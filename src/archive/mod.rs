//! Images in files: docker-archive, oci-archive, the OCI layout and skopeo's `dir`.
//!
//! Reading: a [`Pack`] is a tar or a folder as a set of named parts; [`docker`], [`oci`] and
//! [`dir`] say what the parts mean. Nothing is unpacked to a file system here. Names in an archive
//! are keys, never paths on this machine.

pub mod dir;
pub mod docker;
pub mod oci;
pub mod pack;
pub mod write;

pub use pack::{Pack, Part};
