//! Everything people do with containers, one verb a file.

pub mod filter;
pub mod inspect;
pub mod names;
pub mod pattern;
pub mod signal;
pub mod summary;
