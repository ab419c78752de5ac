//! Everything people do with containers, one verb a file.

pub mod filter;
pub mod names;
pub mod pattern;
pub mod summary;
