//! `volume prune`.

use super::super::output::Out;
use crate::base::filter::Filters;
use crate::base::{Result, size};
use crate::operations::session::Session;
use crate::operations::volume;

/// Remove volumes that no container has
///
/// Called as docker, without --all, only volumes without a name of their own go; podman removes all.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Remove named volumes as well (what podman does anyway)
    #[arg(short, long)]
    all: bool,
    /// Only volumes for which this holds (label=, label!=, until=, since=, anonymous=, all=)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Runs `volume prune`: prints the names, and what the disk got back.
///
/// # Errors
/// As the operation.
pub fn run(args: PruneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, volume::PRUNE_FILTERS)?;
    let all =
        args.all || !out.is_docker() || filters.values("all").any(|v| v == "true" || v == "1");
    if !args.force {
        let which = if all {
            "all volumes"
        } else {
            "all volumes without a name of their own"
        };
        if !crate::cli::prompt::confirm(
            &format!("This removes {which} that no container has. Continue? [y/N] "),
            out,
        )? {
            return Ok(0);
        }
    }
    let pruned = volume::prune(session, all, &filters)?;
    if out.is_docker() {
        if !pruned.names.is_empty() {
            out.line("Deleted Volumes:")?;
        }
        for name in &pruned.names {
            out.line(name)?;
        }
        out.line(format!(
            "\nTotal reclaimed space: {}",
            size::human(pruned.bytes)
        ))?;
    } else {
        for name in &pruned.names {
            out.line(name)?;
        }
    }
    Ok(0)
}
