//! `kill`.

use super::targets::{self, Choice, Named};
use crate::base::{Result, signal};
use crate::cli::output::Out;
use crate::operations::container::stop::kill;
use crate::operations::session::Session;
use crate::state::container::State;

/// Send a signal to the first process of running containers
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// All running containers
    #[arg(short, long)]
    pub all: bool,
    /// Name or number of the signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,
    #[command(flatten)]
    named: Named,
}

/// Runs `kill`; answers the exit code.
///
/// # Errors
/// A selection or signal that makes no sense.
pub fn run(args: KillArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let number = signal::parse(&args.signal)?;
    let choice = Choice {
        all: args.all,
        filters: Vec::new(),
        ignore: false,
    };
    let found = args
        .named
        .find(session, choice, &[State::Running, State::Paused])?;
    targets::each(out, found, &mut |container, _| {
        kill(session, container, number)
    })
}
