//! `exec`.

use super::exec_options::ExecArgs;
use crate::base::{Context as _, Result};
use crate::cli::output::Out;
use crate::operations::container::exec::{Executed, exec};
use crate::operations::container::select;
use crate::operations::session::Session;

/// Runs `exec`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: ExecArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let cwd = std::env::current_dir().what(|| "cannot tell the working directory")?;
    let latest = if args.latest {
        Some(select::latest(session)?.id().to_string())
    } else {
        None
    };
    let options = args.request(&session.env, &cwd, latest)?;
    Ok(match exec(session, &options)? {
        Executed::Ended(outcome) => outcome.exit_code(),
        Executed::Detached(id) => {
            out.line(id)?;
            0
        }
    })
}
