//! The client of the distribution protocol: names, credentials, trust, manifests and blobs.
//!
//! Blocking, on threads of the caller. Nothing here knows of images or of the store.

pub mod credentials;
pub mod resolver;
