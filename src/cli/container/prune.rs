//! `container prune`.

use crate::base::{Result, size};
use crate::cli::output::Out;
use crate::operations::container::prune;
use crate::operations::session::Session;

/// Remove all containers that do not run
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only containers for which this holds (label=, until=, …)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

/// Runs `container prune`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PruneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if !args.force
        && !crate::cli::prompt::confirm(
            "WARNING! This will remove all containers that do not run.\nAre you sure you want to continue? [y/N] ",
            out,
        )?
    {
        return Ok(0);
    }
    let pruned = prune::prune(session, &args.filter)?;
    if out.is_docker() {
        if !pruned.ids.is_empty() {
            out.line("Deleted Containers:")?;
        }
        for id in &pruned.ids {
            out.line(id)?;
        }
        out.line(format!(
            "\nTotal reclaimed space: {}",
            size::human(pruned.bytes)
        ))?;
    } else {
        for id in &pruned.ids {
            out.line(id)?;
        }
    }
    for error in &pruned.failures {
        out.error(error);
    }
    Ok(if pruned.failures.is_empty() { 0 } else { 125 })
}
