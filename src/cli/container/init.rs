//! `init` and `container cleanup`.

use super::targets::{self, Choice, Named};
use crate::base::{Error, Kind, Result};
use crate::cli::output::Out;
use crate::operations::container::select::Target;
use crate::operations::container::{alter, remove};
use crate::operations::session::Session;
use crate::state::container::State;

/// Check that containers can be started, and fill their volumes
///
/// Everything but the process is prepared once, and let go again: coracle prepares at every start.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// All containers that do not run
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    named: Named,
}

/// The containers named, or all, that do not run.
fn idle(named: Named, all: bool, session: &mut Session) -> Result<Vec<Target>> {
    let choice = Choice {
        all,
        filters: Vec::new(),
        ignore: false,
    };
    named.find(
        session,
        choice,
        &[State::Created, State::Exited, State::Lost],
    )
}

/// Runs `init`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn run(args: InitArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let found = idle(args.named, args.all, session)?;
    targets::each(out, found, &mut |container, out| {
        alter::init(session, container, &mut |text| out.warn(text))
    })
}

/// Clean up after containers that ended
///
/// The monitor of a container does so by itself; this is for one whose monitor was killed.
#[derive(Debug, clap::Args)]
pub struct CleanupArgs {
    /// All containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Remove the containers, too
    #[arg(long)]
    rm: bool,
    /// Remove their images, too, unless others use them
    #[arg(long)]
    rmi: bool,
    /// Clean up after a command of exec: there is never anything left
    #[arg(long, value_name = "ID")]
    exec: Option<String>,
    #[command(flatten)]
    named: Named,
}

/// Runs `container cleanup`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn cleanup(args: CleanupArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let found = idle(args.named, args.all, session)?;
    let removing = args.rm || args.rmi;
    targets::each(out, found, &mut |container, _| {
        if args.exec.is_some() {
            return Ok(());
        }
        if container.state()?.is_active() {
            return Err(Error::new(
                Kind::InUse,
                format!(
                    "container {:?} runs: there is nothing to clean up",
                    container.name()
                ),
            ));
        }
        remove::clean_up(session, container, removing, args.rmi)
    })
}
