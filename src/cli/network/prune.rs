//! `network prune`.

use super::super::output::Out;
use crate::base::Result;
use crate::base::filter::Filters;
use crate::operations::network;
use crate::operations::session::Session;

/// Remove networks that no container has
///
/// Containers that do not run count too; the default network stays.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Only networks for which this holds (label=, label!=, until=)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Runs `network prune`: prints the names.
///
/// # Errors
/// As the operation.
pub fn run(args: PruneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, network::PRUNE_FILTERS)?;
    if !args.force
        && !crate::cli::prompt::confirm(
            "This removes all networks that no container has. Continue? [y/N] ",
            out,
        )?
    {
        return Ok(0);
    }
    let names = network::prune(session, &filters)?;
    if out.is_docker() && !names.is_empty() {
        out.line("Deleted Networks:")?;
    }
    for name in names {
        out.line(name)?;
    }
    Ok(0)
}
