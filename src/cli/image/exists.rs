//! `image exists`.

use crate::base::{Kind, Result};
use crate::cli::output::Out;
use crate::operations::image;
use crate::operations::session::Session;

/// Tell by the exit code whether an image is here
///
/// Exit code 0: it is. 1: it is not. 125: something went wrong.
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Runs `image exists`; answers the exit code.
///
/// # Errors
/// As the lookup, except `NotFound`.
pub fn run(args: ExistsArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    match image::lookup_any(session, &args.image) {
        Ok(_) => Ok(0),
        Err(e) if e.kind() == Kind::NotFound => Ok(1),
        Err(e) => Err(e),
    }
}
