//! `pause` and `unpause`.

use std::path::PathBuf;

use super::targets;
use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::container::pause;
use crate::operations::container::select::Selection;
use crate::operations::session::Session;
use crate::state::container::{Container, State};

/// Freeze or thaw all processes of containers
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// All containers in the right state
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
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Runs `pause`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn run(args: PauseArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    act(args, session, out, State::Running, pause::pause)
}

/// Runs `unpause`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn unpause(args: PauseArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    act(args, session, out, State::Paused, pause::unpause)
}

fn act(
    args: PauseArgs,
    session: &Session,
    out: &mut Out,
    wanted: State,
    verb: fn(&Session, &Container) -> Result<()>,
) -> Result<u8> {
    let by_name = !args.containers.is_empty() || !args.cidfile.is_empty() || args.latest;
    let selection = Selection {
        names: args.containers,
        all: args.all,
        latest: args.latest,
        cidfiles: args.cidfile,
        filters: args.filter,
        ..Selection::default()
    };
    let mut found = selection.resolve(session)?;
    if !by_name {
        found = targets::in_states(found, &[wanted])?;
    }
    targets::each(out, found, &mut |container, _| verb(session, container))
}
