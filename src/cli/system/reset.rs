//! `system reset`.

use super::super::output::Out;
use super::super::prompt::confirm;
use crate::base::Result;
use crate::operations::session::Session;
use crate::operations::system::reset;

/// Remove everything: containers, images, volumes, secrets, events
///
/// Running containers are killed. What other programs keep in the same folders stays.
#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Runs `system reset`.
///
/// # Errors
/// What the operation says. The exit code is 125 when something could not be removed.
pub fn run(args: ResetArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let question = format!(
        "WARNING! This will remove:\n\t- all containers, running or not\n\t- all images\n\
         \t- all volumes\n\t- all secrets\n\t- all events\nfrom {} and {}\n\
         Are you sure you want to continue? [y/N] ",
        session.dirs.data.display(),
        session.dirs.runtime.display()
    );
    if !args.force && !confirm(&question, out)? {
        return Ok(0);
    }
    let failures = reset::reset(session)?;
    for error in &failures {
        out.error(error);
    }
    Ok(if failures.is_empty() { 0 } else { 125 })
}
