//! `artifact rm`.

use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::operations::image::artifact;
use crate::operations::session::Session;

/// Remove artifacts
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// All of them
    #[arg(short, long, conflicts_with = "names")]
    pub all: bool,
    /// Pass over those that are not here
    #[arg(short, long)]
    pub ignore: bool,
    /// Names or digests
    #[arg(value_name = "ARTIFACT")]
    pub names: Vec<String>,
}

/// Runs `artifact rm`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.names.is_empty() && !args.all {
        return Err(Error::invalid("artifact rm takes an artifact, or --all"));
    }
    for digest in artifact::remove(session, &args.names, args.all, args.ignore)? {
        out.line(digest.hex())?;
    }
    Ok(0)
}
