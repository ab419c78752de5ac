//! `manifest exists`.

use crate::base::{Kind, Result};
use crate::cli::output::Out;
use crate::operations::image::manifest;
use crate::operations::session::Session;

/// Tell by the exit code whether a list is here
///
/// Exit code 0: it is. 1: it is not. 125: something went wrong.
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Name or id
    #[arg(value_name = "LIST")]
    pub list: String,
}

/// Runs `manifest exists`; answers the exit code.
///
/// # Errors
/// As the lookup, except `NotFound`, and for an image that is no list.
pub fn run(args: ExistsArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    match manifest::find(session, &args.list) {
        Ok(_) => Ok(0),
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Invalid) => Ok(1),
        Err(e) => Err(e),
    }
}
