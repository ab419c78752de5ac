//! What people do with coracle itself.

pub mod boot;
pub mod check;
pub mod df;
pub mod info;
pub mod prune;
pub mod reset;
pub mod unshare;
pub mod version;
