//! `network update`.

use super::super::output::Out;
use super::create::addresses;
use crate::base::{Error, Result};
use crate::operations::network;
use crate::operations::session::Session;

/// Change the name servers of a network
///
/// Names of the outside are asked of these; running containers notice at once.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// Ask this server as well
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns_add: Vec<String>,
    /// Do not ask this server any more
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns_drop: Vec<String>,
    /// Name or id of the network
    network: String,
}

/// Runs `network update`: prints the name.
///
/// # Errors
/// What the operation says.
pub fn run(args: UpdateArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (add, drop) = (addresses(&args.dns_add)?, addresses(&args.dns_drop)?);
    if add.is_empty() && drop.is_empty() {
        return Err(Error::invalid("give --dns-add or --dns-drop"));
    }
    let record = network::update(session, &args.network, &add, &drop)?;
    out.line(record.name.as_str())?;
    Ok(0)
}
