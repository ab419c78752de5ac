//! `secret exists`.

use super::super::output::Out;
use crate::base::{Kind, Result};
use crate::operations::secret;
use crate::operations::session::Session;

/// Tell whether a secret exists
///
/// The exit code is 0 when it does, 1 when it does not.
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Name or id
    secret: String,
}

/// Runs `secret exists`.
///
/// # Errors
/// What reading the records says.
pub fn run(args: ExistsArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    match secret::find(session, &args.secret) {
        Ok(_) => Ok(0),
        Err(e) if e.kind() == Kind::NotFound => Ok(1),
        Err(e) => Err(e),
    }
}
