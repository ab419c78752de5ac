//! Containers that stand in the way of removing an image.

use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::state::container::Container;

/// Removes a container of an image that is being removed by force.
///
/// # Errors
/// What its removal says.
pub fn remove_container(_session: &Session, container: &Container) -> Result<()> {
    Err(Error::new(
        Kind::InUse,
        format!("container {:?} uses the image", container.name()),
    )
    .hint(format!("coracle rm --force {}", container.name()))
    .exit_code(2))
}
