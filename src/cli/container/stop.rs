//! `stop`.

use std::path::PathBuf;

use super::targets;
use crate::base::{Result, signal};
use crate::cli::output::Out;
use crate::operations::container::select::Selection;
use crate::operations::container::stop::{StopOptions, stop};
use crate::operations::session::Session;
use crate::state::container::State;

/// Stop running containers
///
/// Sends the container's stop signal (TERM as a rule), then KILL when it has not ended in time.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Stop all running containers
    #[arg(short, long)]
    pub all: bool,
    /// Read a container id from this file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Vec<PathBuf>,
    /// Only containers for which this holds
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// What is not there is no error
    #[arg(short, long)]
    pub ignore: bool,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// The signal to send first
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Seconds until KILL (0: at once, -1: never; default: the container's own, 10)
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        alias = "timeout",
        allow_negative_numbers = true
    )]
    pub time: Option<i64>,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Runs `stop`; answers the exit code.
///
/// # Errors
/// A selection or signal that makes no sense.
pub fn run(args: StopArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = StopOptions {
        timeout: args.time.map(targets::seconds),
        signal: args.signal.as_deref().map(signal::parse).transpose()?,
    };
    let by_name = !args.containers.is_empty() || !args.cidfile.is_empty() || args.latest;
    let selection = Selection {
        names: args.containers,
        all: args.all,
        latest: args.latest,
        ignore: args.ignore,
        cidfiles: args.cidfile,
        filters: args.filter,
    };
    let mut found = selection.resolve(session)?;
    if !by_name {
        found = targets::in_states(found, &[State::Running, State::Paused, State::Restarting])?;
    }
    targets::each(out, found, &mut |container, _| {
        stop(session, container, &options).map(drop)
    })
}
