//! `pause` and `unpause`.

use super::targets::{self, Choice, Named};
use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::container::pause;
use crate::operations::session::Session;
use crate::state::container::{Container, State};

/// Freeze or thaw all processes of containers
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// All containers in the right state
    #[arg(short, long)]
    pub all: bool,
    /// Only containers for which this holds
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    #[command(flatten)]
    named: Named,
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
    let choice = Choice {
        all: args.all,
        filters: args.filter,
        ignore: false,
    };
    let found = args.named.find(session, choice, &[wanted])?;
    targets::each(out, found, &mut |container, _| verb(session, container))
}
