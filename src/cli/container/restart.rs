//! `restart`.

use super::targets::{self, Choice, Named, Stopping};
use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::container::run::restart;
use crate::operations::session::Session;
use crate::state::container::State;

/// Stop containers if they run, and start them
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// All containers
    #[arg(short, long)]
    pub all: bool,
    /// Only containers for which this holds
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Only running containers, with --all
    #[arg(long)]
    pub running: bool,
    #[command(flatten)]
    stopping: Stopping,
    #[command(flatten)]
    named: Named,
}

/// Runs `restart`; answers the exit code.
///
/// # Errors
/// A selection or signal that makes no sense.
pub fn run(args: RestartArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = args.stopping.options()?;
    let choice = Choice {
        all: args.all || (args.running && args.named.containers.is_empty()),
        filters: args.filter,
        ignore: false,
    };
    let mut found = args.named.find(session, choice, &[])?;
    if args.running {
        found = targets::in_states(
            found,
            &[
                State::Running,
                State::Paused,
                State::Restarting,
                State::Waiting,
            ],
        )?;
    }
    targets::each(out, found, &mut |container, out| {
        restart(session, container, &options, &mut |text| out.warn(text))
    })
}
