//! `restart`.

use std::path::PathBuf;

use super::targets;
use crate::base::{Result, signal};
use crate::cli::output::Out;
use crate::operations::container::run::restart;
use crate::operations::container::select::Selection;
use crate::operations::container::stop::StopOptions;
use crate::operations::session::Session;
use crate::state::container::State;

/// Stop containers if they run, and start them
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// All containers
    #[arg(short, long)]
    pub all: bool,
    /// Read a container id from this file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Vec<PathBuf>,
    /// Only containers for which this holds
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Only running containers, with --all
    #[arg(long)]
    pub running: bool,
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

/// Runs `restart`; answers the exit code.
///
/// # Errors
/// A selection or signal that makes no sense.
pub fn run(args: RestartArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = StopOptions {
        timeout: args.time.map(targets::seconds),
        signal: args.signal.as_deref().map(signal::parse).transpose()?,
    };
    let selection = Selection {
        all: args.all || (args.running && args.containers.is_empty()),
        names: args.containers,
        latest: args.latest,
        cidfiles: args.cidfile,
        filters: args.filter,
        ..Selection::default()
    };
    let mut found = selection.resolve(session)?;
    if args.running {
        found = targets::in_states(found, &[State::Running, State::Paused, State::Restarting])?;
    }
    targets::each(out, found, &mut |container, out| {
        restart(session, container, &options, &mut |text| out.warn(text))
    })
}
