//! `system check`.

use std::time::Duration;

use super::super::output::Out;
use crate::base::time::parse_duration;
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::operations::system::check::{self, Request};

/// Look for damage in the store, and mend it
///
/// One line for each thing that is wrong: layers nobody needs, blobs that are missing or have
/// another content than their name says, files of layers that changed, half-removed containers,
/// mounts without a server, leftovers of killed commands, damaged records. The exit code is 125
/// while something is wrong. --repair unpacks damaged layers again where it can, and removes
/// images that lost a part for good; containers stay without --force.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Look at records and sizes only, at no content
    #[arg(short, long)]
    quick: bool,
    /// Mend what is found
    #[arg(short, long)]
    repair: bool,
    /// Remove also containers that cannot be kept
    #[arg(short, long, requires = "repair")]
    force: bool,
    /// Leave alone leftovers and unused layers that are younger
    #[arg(short, long, value_name = "DURATION", default_value = "24h")]
    max: String,
}

/// Runs `system check`.
///
/// # Errors
/// `Corrupt` when something is damaged, or could not be mended.
pub fn run(args: CheckArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let max = match args.max.as_str() {
        "0" => Duration::ZERO,
        text => parse_duration(text)?,
    };
    let request = Request {
        quick: args.quick,
        repair: args.repair,
        force: args.force,
        max,
    };
    let report = check::check(session, &request)?;
    for finding in &report.findings {
        out.line(finding.line())?;
    }
    match (report.remaining, args.repair) {
        (0, _) => Ok(0),
        (_, false) => Err(
            Error::new(Kind::Corrupt, "damage detected in local storage")
                .hint("coracle system check --repair"),
        ),
        (n, true) => Err(Error::new(
            Kind::Corrupt,
            format!("damage in local storage still present after the repair: {n}"),
        )),
    }
}
