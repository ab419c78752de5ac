//! `manifest rm`.

use crate::base::{Kind, Result};
use crate::cli::output::Out;
use crate::operations::image::{manifest, remove};
use crate::operations::session::Session;

/// Remove lists
///
/// Their images stay.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Pass over lists that are not here
    #[arg(short, long)]
    pub ignore: bool,
    /// Names or ids
    #[arg(value_name = "LIST", required = true)]
    pub lists: Vec<String>,
}

/// Runs `manifest rm`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    for list in &args.lists {
        let found = match manifest::find(session, list) {
            Err(e) if args.ignore && e.kind() == Kind::NotFound => continue,
            other => other?,
        };
        let options = remove::Options {
            force: true,
            no_prune: true,
        };
        let text = match &found.name {
            Some(name) => name.to_string(),
            None => found.record.id.hex().to_owned(),
        };
        for line in remove::remove(session, &text, options)? {
            out.line(line.line())?;
        }
    }
    Ok(0)
}
