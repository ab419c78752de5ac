//! What people do with images: bring them here, look at them, give them away, remove them.

pub mod ensure;
pub mod policy;
pub mod pull;

pub use ensure::{Ensure, ensure, images};
pub use policy::{PullPolicy, RegistryOptions};

use crate::base::Result;
use crate::image::Found;
use crate::operations::session::Session;

/// Finds an image that is here, by name, digest, id or id prefix.
///
/// # Errors
/// `NotFound`; `Invalid` when an id prefix fits several.
pub fn lookup(session: &Session, text: &str) -> Result<Found> {
    images(session).find_named(text, &[])
}
