//! `healthcheck run`.

use crate::base::Result;
use crate::cli::output::Out;
use crate::operations::container::health::check;
use crate::operations::session::Session;
use crate::state::container::Containers;

/// Check a container's health now
///
/// Exits with 0 when the check succeeded and with 1 when it failed; the state is printed then. The
/// result counts as that of a check that was due.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Exit with 0 when the check failed, too
    #[arg(long)]
    pub ignore_result: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Runs `healthcheck run`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: RunArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let container = Containers::new(&session.dirs).find(&args.container)?;
    let (healthy, state) = check(&container)?;
    if !healthy {
        // One failure is told as podman tells it, though more of them make the state.
        out.line(match state.as_str() {
            "starting" => "starting",
            _ => "unhealthy",
        })?;
    }
    Ok(u8::from(!healthy && !args.ignore_result))
}
