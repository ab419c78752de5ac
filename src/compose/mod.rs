//! Compose projects: files to one merged, interpolated, normalised model, and that to the words of
//! `create` and `build`.
//!
//! Pure but for [`load`], which reads the files that it is asked for. The model is a JSON value in
//! the long form of every key ([`canonical`]), checked against a table of all keys ([`schema`]):
//! what has no effect here is known by name.
//!
//! Spec: the Compose Specification (compose-spec.io), with what version-2 and -3 files had.

pub mod canonical;
pub mod convert;
pub mod dotenv;
pub mod export;
pub mod interpolate;
pub mod load;
pub mod merge;
pub mod plan;
pub mod project;
pub mod schema;
pub mod short;
mod table;
pub mod yaml;

#[cfg(test)]
mod golden_tests;

pub use project::Project;
