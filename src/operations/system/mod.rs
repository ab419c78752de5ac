//! What people do with coracle itself.

pub mod info;
pub mod unshare;
pub mod version;
