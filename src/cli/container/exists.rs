//! `container exists`.

use crate::base::{Kind, Result};
use crate::cli::output::Out;
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Say by the exit code whether a container exists: 0 yes, 1 no
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// Look at containers of other programs, too (coracle's store has none)
    #[arg(long)]
    pub external: bool,
    /// Name or id
    pub container: String,
}

/// Runs `container exists`; answers the exit code.
///
/// # Errors
/// Anything but its absence.
pub fn run(args: ExistsArgs, session: &mut Session, _out: &mut Out) -> Result<u8> {
    match Containers::new(&session.dirs).find(&args.container) {
        Ok(_) => Ok(0),
        Err(e) if e.kind() == Kind::NotFound => Ok(1),
        Err(e) => Err(e),
    }
}
