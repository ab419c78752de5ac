//! `unshare`.

use super::super::output::Out;
use crate::base::Result;
use crate::operations::session::Session;
use crate::operations::system::unshare;

/// Run a command in the user namespace of the containers
///
/// Files of containers and volumes belong to subordinate ids; in there you are their root. Without
/// a command your shell is started. Example: `coracle unshare ls -ln ~/.local/share/coracle`.
#[derive(Debug, clap::Args)]
pub struct UnshareArgs {
    /// Join the network namespace of the bridge networks, too
    #[arg(long)]
    rootless_netns: bool,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs `unshare`; the process becomes the command.
///
/// # Errors
/// What the operation says.
pub fn run(args: UnshareArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    out.flush()?;
    match unshare::unshare(session, &args.command, args.rootless_netns)? {}
}
