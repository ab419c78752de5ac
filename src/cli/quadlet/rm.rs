//! `quadlet rm`.

use crate::base::{Error, Kind, Result};
use crate::cli::output::Out;
use crate::operations::quadlet::{list, reload, remove};
use crate::operations::session::Session;

/// Remove quadlets
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// All of them
    #[arg(short, long)]
    pub all: bool,
    /// Stop their services first
    #[arg(short, long)]
    pub force: bool,
    /// One that is not there is no error
    #[arg(short, long)]
    pub ignore: bool,
    /// Make systemd read its units again (on by default)
    #[arg(long)]
    pub reload_systemd: Option<bool>,
    /// File names, or the names of applications
    #[arg(value_name = "QUADLET")]
    pub names: Vec<String>,
}

/// Runs `quadlet rm`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let scope = super::scope(session);
    let names = match (args.all, args.names.is_empty()) {
        (true, true) => list(&scope).0.into_iter().map(|l| l.name).collect(),
        (false, false) => args.names,
        _ => {
            return Err(Error::invalid("which quadlet?").hint("name some, or use --all alone"));
        }
    };
    for name in names {
        match remove(&scope, &name, args.force) {
            Err(e) if args.ignore && e.kind() == Kind::NotFound => {}
            other => {
                for gone in other? {
                    out.line(gone)?;
                }
            }
        }
    }
    if args.reload_systemd.unwrap_or(true) {
        reload(&scope)?;
    }
    Ok(0)
}
