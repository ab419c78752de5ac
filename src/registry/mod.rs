//! The client of the distribution protocol: names, credentials, trust, manifests and blobs.
//!
//! Blocking, on threads of the caller. Nothing here knows of images or of the store.
//!
//! Spec: distribution-spec 1.1; Docker's token authentication.

pub mod auth;
pub mod catalog;
pub mod client;
pub mod credentials;
pub mod fetch;
pub mod forward;
pub mod http;
pub mod policy;
pub mod proxy;
pub mod ranges;
pub mod registries_conf;
pub mod resolver;
pub mod tls;
pub mod trust;
pub mod upload;
