//! `wait`.

use std::path::PathBuf;

use crate::base::{Kind, Result, time};
use crate::cli::output::{Out, report};
use crate::operations::container::select::Selection;
use crate::operations::container::wait::{Condition, wait, wait_first};
use crate::operations::session::Session;

/// Wait for containers and print their exit codes
///
/// One line for each container, in the order given: the exit code once it has ended, -1 when
/// another state was waited for.
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// Read the id from a file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Vec<PathBuf>,
    /// State to wait for: stopped (or exited), created, running, paused, healthy, unhealthy, removed
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub condition: Vec<String>,
    /// Return as soon as one of the containers is so far
    #[arg(long)]
    pub exit_first_match: bool,
    /// Only containers for which this holds
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Print -1 for containers that do not exist
    #[arg(long)]
    pub ignore: bool,
    /// For podman's scripts: coracle is told of every change and does not look at intervals
    #[arg(short, long, value_name = "TIME", default_value = "250ms")]
    pub interval: String,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Runs `wait`; answers the exit code of the command.
///
/// # Errors
/// A selection or a state that makes no sense; a container that is not there only changes the
/// exit code.
pub fn run(args: WaitArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    // A bare number counts milliseconds, as in podman.
    if args.interval.parse::<u64>().is_err() {
        time::parse_duration(&args.interval)?;
    }
    let mut conditions = args
        .condition
        .iter()
        .map(|c| Condition::parse(c))
        .collect::<Result<Vec<_>>>()?;
    if conditions.is_empty() {
        conditions.push(Condition::Stopped);
    }
    let selection = Selection {
        names: args.containers,
        latest: args.latest,
        cidfiles: args.cidfile,
        filters: args.filter,
        ..Selection::default()
    };
    if args.exit_first_match {
        let mut found = Vec::new();
        for target in selection.resolve(session)? {
            match target.container {
                Err(e) if args.ignore && e.kind() == Kind::NotFound => {}
                other => found.push(other?),
            }
        }
        out.line(wait_first(session, &found, &conditions)?.to_string())?;
        return Ok(0);
    }
    let mut worst = 0;
    for target in selection.resolve(session)? {
        let waited = target
            .container
            .and_then(|container| wait(session, &container, &conditions));
        match waited {
            Ok(code) => out.line(code.to_string())?,
            Err(e) if args.ignore && e.kind() == Kind::NotFound => out.line("-1")?,
            Err(e) => {
                out.error(&e);
                worst = report::exit_code(&e);
            }
        }
        out.flush()?;
    }
    Ok(worst)
}
