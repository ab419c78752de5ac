//! `network exists`.

use super::super::output::Out;
use crate::base::Result;
use crate::operations::network;
use crate::operations::session::Session;

/// Tell by the exit code whether a network exists
///
/// 0: it does. 1: it does not. 125: that could not be found out.
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Name or id of the network
    network: String,
}

/// Runs `network exists`.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn run(args: ExistsArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    Ok(u8::from(!network::exists(session, &args.network)?))
}
