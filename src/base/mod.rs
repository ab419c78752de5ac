//! Vocabulary without a domain: errors, files, sizes, time.
//!
//! Each file is one noun with users in several modules. There is no catch-all here.

pub mod error;
pub mod failpoint;
pub mod filter;
pub mod fs;
pub mod glob;
pub mod journald;
pub mod lines;
pub mod parallel;
pub mod progress;
pub mod random;
pub mod signal;
pub mod size;
pub mod time;

pub use error::{Context, Error, Hint, Kind, Result};
