//! `network connect`.

use super::super::output::Out;
use crate::base::Result;
use crate::cli::container::options::network_wish;
use crate::operations::network::{self, Connection};
use crate::operations::session::Session;

/// Put a container on a network
///
/// A running container has it at once. It must be on a network with a name already.
#[derive(Debug, clap::Args)]
pub struct ConnectArgs {
    /// Name by which others on the network find the container
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// IPv4 address on the network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Hardware address on the network
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
}

/// Runs `network connect`.
///
/// # Errors
/// What the operation says.
pub fn run(args: ConnectArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    let wish = network_wish(
        args.alias,
        args.ip.as_deref(),
        args.ip6.as_deref(),
        args.mac_address.as_deref(),
    )?;
    network::connect(
        session,
        &Connection {
            network: args.network,
            container: args.container,
            wish,
        },
    )?;
    Ok(0)
}
