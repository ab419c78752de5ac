//! `network reload`.

use super::super::output::Out;
use crate::base::{Error, Result};
use crate::operations::network;
use crate::operations::session::Session;

/// Make the rules of running containers' networks anew
///
/// Nothing needs this: the rules live in a namespace of this user's own, where no firewall changes
/// them. It is here for scripts.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    /// All containers
    #[arg(short, long)]
    all: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs `network reload`: prints the ids of the containers.
///
/// # Errors
/// `Invalid` without a container; what the operation says.
pub fn run(args: ReloadArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.all != args.containers.is_empty() {
        return Err(Error::invalid("name at least one container, or give --all"));
    }
    for id in network::reload(session, &args.containers)? {
        out.line(id)?;
    }
    Ok(0)
}
