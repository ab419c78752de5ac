//! Containers that stand in the way of removing an image.

use crate::base::Result;
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::session::Session;
use crate::state::container::Container;

/// Removes a container of an image that is being removed by force.
///
/// # Errors
/// What its removal says.
pub fn remove_container(
    session: &Session,
    container: &Container,
    time: Option<std::time::Duration>,
) -> Result<()> {
    let options = RemoveOptions {
        force: true,
        volumes: true,
        depend: true,
        infra: true,
        time,
    };
    remove(session, container.clone(), &options).map(drop)
}
