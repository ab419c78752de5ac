//! `rename`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::container::alter;
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Give a container another name
#[derive(Debug, clap::Args)]
pub struct RenameArgs {
    /// Name or id
    pub container: String,
    /// The new name
    pub name: String,
}

/// Runs `rename`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: RenameArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    let container = Containers::new(&session.dirs).find(&args.container)?;
    alter::rename(session, &container, &args.name)?;
    Ok(0)
}
