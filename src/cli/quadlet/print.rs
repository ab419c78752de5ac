//! `quadlet print`.

use crate::base::{Context as _, Result};
use crate::cli::output::Out;
use crate::operations::quadlet::find;
use crate::operations::session::Session;

/// Show the file of a quadlet
#[derive(Debug, clap::Args)]
pub struct PrintArgs {
    /// Its file name, or its service's
    #[arg(value_name = "QUADLET")]
    pub name: String,
}

/// Runs `quadlet print`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PrintArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let source = find(&super::scope(session), &args.name)?;
    let bytes =
        std::fs::read(&source.path).what(|| format!("cannot read {}", source.path.display()))?;
    out.bytes(&bytes)?;
    Ok(0)
}
