//! `volume rm`.

use super::super::args::ForceTime;
use super::super::output::Out;
use crate::base::filter::Filters;
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::operations::volume;

/// Remove volumes
///
/// A volume that a container has is refused, unless --force removes the container as well.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Remove all volumes
    #[arg(short, long)]
    all: bool,
    /// Remove containers that have the volume, and say nothing about missing ones
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    force_time: ForceTime,
    /// Names
    #[arg(value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Runs `volume rm`: prints each name.
///
/// # Errors
/// `Invalid` without a volume. One that cannot be removed is reported and the others go on; the exit
/// code is then 1 for a missing one, 2 for one in use, 125 else.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let names = match (args.all, args.volumes.is_empty()) {
        (true, true) => volume::list(session, &Filters::default())?
            .into_iter()
            .map(|record| record.name.to_string())
            .collect(),
        (false, false) => args.volumes,
        (true, false) => return Err(Error::invalid("--all and names exclude each other")),
        (false, true) => return Err(Error::invalid("name at least one volume, or give --all")),
    };
    if args.force_time.get().is_some() && !args.force {
        return Err(Error::invalid("--time is for --force"));
    }
    let time = args.force_time.get();
    let mut code = 0;
    for name in names {
        match volume::remove(session, &name, args.force, time) {
            Ok(record) => out.line(if out.is_docker() {
                &name
            } else {
                record.name.as_str()
            })?,
            Err(e) if args.force && e.kind() == Kind::NotFound => {}
            Err(e) => {
                let own = if e.kind() == Kind::NotFound {
                    1
                } else {
                    e.asked_exit_code().unwrap_or(125)
                };
                out.error(&e);
                code = code.max(own);
            }
        }
    }
    Ok(code)
}
