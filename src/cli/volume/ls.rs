//! `volume ls`.

use serde_json::Value;

use super::super::output::{Listing, Out, docker_objects};
use super::inspect;
use crate::base::Result;
use crate::base::filter::Filters;
use crate::operations::session::Session;
use crate::operations::volume;

/// List volumes
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// List those only for which KEY=VALUE holds: dangling, driver, label, name, opt, since, until, anonymous
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print by a Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Leave out the headings
    #[arg(short, long)]
    noheading: bool,
    /// Print the names only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
}

/// Runs `volume ls`.
///
/// # Errors
/// What the filters or the template say.
pub fn run(args: LsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let filters = Filters::parse(&args.filter, volume::FILTERS)?;
    let rows: Vec<Value> = volume::list(session, &filters)?
        .iter()
        .map(|record| inspect::value(session, record))
        .map(|row| match out.is_docker() {
            true => docker_objects::volume_row(row),
            false => row,
        })
        .collect();
    Listing {
        default: if args.quiet {
            "{{.Name}}"
        } else {
            "table {{.Driver}} {{.Name}}"
        },
        headers: &[("Name", "VOLUME NAME")],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: docker_objects::VOLUME_KEYS,
    }
    .print(out, &rows, || Value::Array(rows.clone()))?;
    Ok(0)
}
