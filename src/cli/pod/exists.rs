//! `pod exists`.

use crate::base::{Kind, Result};
use crate::cli::output::Out;
use crate::operations::session::Session;
use crate::state::pod::Pods;

/// Tell whether a pod exists
///
/// The exit code is 0 when it does, 1 when it does not.
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Name or id
    pod: String,
}

/// Runs `pod exists`.
///
/// # Errors
/// What reading the records says.
pub fn run(args: ExistsArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    match Pods::new(&session.dirs).find(&args.pod) {
        Ok(_) => Ok(0),
        Err(e) if e.kind() == Kind::NotFound => Ok(1),
        Err(e) => Err(e),
    }
}
