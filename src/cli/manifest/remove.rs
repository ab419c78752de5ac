//! `manifest remove`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::image::manifest;
use crate::operations::session::Session;

/// Take a member out of a list
///
/// Prints the list's id and the member's digest.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// The member, by digest or by its image
    #[arg(value_name = "DIGEST|IMAGE")]
    pub member: String,
}

/// Runs `manifest remove`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: RemoveArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let id = manifest::remove(session, &args.list, &args.member)?;
    out.line(id.hex())?;
    Ok(0)
}
