//! What people do with images: bring them here, look at them, give them away, remove them.

pub mod policy;

pub use policy::{PullPolicy, RegistryOptions};
