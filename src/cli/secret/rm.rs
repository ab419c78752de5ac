//! `secret rm`.

use super::super::output::Out;
use crate::base::filter::Filters;
use crate::base::{Error, Kind, Result};
use crate::operations::secret;
use crate::operations::session::Session;

/// Remove secrets
///
/// Containers that have a secret keep it until they are started again.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Remove all secrets
    #[arg(short, long)]
    all: bool,
    /// Say nothing about secrets that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Names or ids
    #[arg(value_name = "SECRET")]
    secrets: Vec<String>,
}

/// Runs `secret rm`: prints each id.
///
/// # Errors
/// `Invalid` without a secret to remove. A secret that cannot be removed is reported and the
/// others go on; the exit code is then 125.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let names = match (args.all, args.secrets.is_empty()) {
        (true, true) => secret::list(session, &Filters::default())?
            .into_iter()
            .map(|record| record.id)
            .collect(),
        (false, false) => args.secrets,
        (true, false) => {
            return Err(Error::invalid("--all and names exclude each other"));
        }
        (false, true) => {
            return Err(Error::invalid("name at least one secret, or give --all"));
        }
    };
    let mut code = 0;
    for name in names {
        match secret::remove(session, &name) {
            Ok(id) => out.line(id)?,
            Err(e) if args.ignore && e.kind() == Kind::NotFound => {}
            Err(e) => {
                out.error(&e);
                code = 125;
            }
        }
    }
    Ok(code)
}
