//! `kill`.

use std::path::PathBuf;

use super::targets;
use crate::base::{Result, signal};
use crate::cli::output::Out;
use crate::operations::container::select::Selection;
use crate::operations::container::stop::kill;
use crate::operations::session::Session;
use crate::state::container::State;

/// Send a signal to the first process of running containers
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// All running containers
    #[arg(short, long)]
    pub all: bool,
    /// Read a container id from this file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Vec<PathBuf>,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Name or number of the signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Runs `kill`; answers the exit code.
///
/// # Errors
/// A selection or signal that makes no sense.
pub fn run(args: KillArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let number = signal::parse(&args.signal)?;
    let all = args.all;
    let selection = Selection {
        names: args.containers,
        all: args.all,
        latest: args.latest,
        cidfiles: args.cidfile,
        ..Selection::default()
    };
    let mut found = selection.resolve(session)?;
    if all {
        found = targets::in_states(found, &[State::Running, State::Paused])?;
    }
    targets::each(out, found, &mut |container, _| {
        kill(session, container, number)
    })
}
