//! `pod prune`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::pod::remove;
use crate::operations::session::Session;

/// Remove all pods that do not run
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Runs `pod prune`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PruneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let question = "WARNING! This will remove all pods that do not run.\nAre you sure you want to continue? [y/N] ";
    if !args.force && !crate::cli::prompt::confirm(question, out)? {
        return Ok(0);
    }
    let (gone, bad) = remove::prune(session)?;
    for id in &gone {
        out.line(id)?;
    }
    for error in &bad {
        out.error(error);
    }
    Ok(if bad.is_empty() { 0 } else { 125 })
}
