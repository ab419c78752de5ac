//! `network disconnect`.

use super::super::output::Out;
use crate::base::Result;
use crate::operations::network;
use crate::operations::session::Session;

/// Take a container off a network
///
/// A running container loses it at once.
#[derive(Debug, clap::Args)]
pub struct DisconnectArgs {
    /// Say nothing when it is not on the network
    #[arg(short, long)]
    force: bool,
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
}

/// Runs `network disconnect`.
///
/// # Errors
/// What the operation says.
pub fn run(args: DisconnectArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    network::disconnect(session, &args.network, &args.container, args.force)?;
    Ok(0)
}
