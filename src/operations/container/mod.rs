//! Everything people do with containers, one verb a file.

pub mod filter;
pub mod inspect;
pub mod names;
pub mod pattern;
pub mod request;
pub use crate::base::signal;
pub mod summary;
