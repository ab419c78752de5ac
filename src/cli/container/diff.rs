//! `diff`.

use serde_json::json;

use crate::base::{Error, Result};
use crate::cli::output::{Out, listing};
use crate::operations::container::select;
use crate::operations::container::tree;
use crate::operations::session::Session;
use crate::state::container::Containers;
use crate::storage::snapshot::{Change, ChangeKind};

/// Show what a container changed in its file system: A added, C changed, D deleted
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// json for a machine
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Name or id
    pub container: Option<String>,
}

/// Runs `diff`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: DiffArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let container = match (&args.container, args.latest) {
        (Some(name), false) => Containers::new(&session.dirs).find(name)?,
        (None, true) => select::latest(session)?,
        _ => return Err(Error::invalid("diff takes one container")),
    };
    let changes = tree::diff(session, &container)?;
    show(&changes, args.format.as_deref(), out)?;
    Ok(0)
}

/// Prints changes: a letter and a path each, or JSON.
///
/// # Errors
/// `Invalid` for an unknown format.
pub fn show(changes: &[Change], format: Option<&str>, out: &mut Out) -> Result<()> {
    match format {
        None => {
            for change in changes {
                let path = String::from_utf8_lossy(&change.path);
                out.line(format!("{} {path}", change.kind.letter()))?;
            }
        }
        Some(format) if listing::is_json(format) => {
            let of = |kind: ChangeKind| -> Vec<String> {
                changes
                    .iter()
                    .filter(|c| c.kind == kind)
                    .map(|c| String::from_utf8_lossy(&c.path).into_owned())
                    .collect()
            };
            out.json(&json!({
                "changed": of(ChangeKind::Changed),
                "added": of(ChangeKind::Added),
                "deleted": of(ChangeKind::Deleted),
            }))?;
        }
        Some(other) => {
            return Err(Error::invalid(format!("unknown format {other:?}")).hint("use json"));
        }
    }
    Ok(())
}
