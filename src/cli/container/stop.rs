//! `stop`.

use super::targets::{self, Choice, Named, Stopping};
use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::container::stop::stop;
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
    /// Only containers for which this holds
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// What is not there is no error
    #[arg(short, long)]
    pub ignore: bool,
    #[command(flatten)]
    stopping: Stopping,
    #[command(flatten)]
    named: Named,
}

/// Runs `stop`; answers the exit code.
///
/// # Errors
/// A selection or signal that makes no sense.
pub fn run(args: StopArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = args.stopping.options()?;
    let choice = Choice {
        all: args.all,
        filters: args.filter,
        ignore: args.ignore,
    };
    let found = args.named.find(
        session,
        choice,
        &[
            State::Running,
            State::Paused,
            State::Restarting,
            State::Waiting,
        ],
    )?;
    targets::each(out, found, &mut |container, _| {
        stop(session, container, &options).map(drop)
    })
}
