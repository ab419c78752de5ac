//! `volume exists`.

use super::super::output::Out;
use crate::base::Result;
use crate::operations::session::Session;
use crate::operations::volume;

/// Tell by the exit code whether a volume exists
///
/// 0: it does. 1: it does not. 125: that could not be found out.
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Name of the volume
    name: String,
}

/// Runs `volume exists`.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn run(args: ExistsArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    Ok(u8::from(!volume::exists(session, &args.name)?))
}
