//! `network rm`.

use super::super::args::ForceTime;
use super::super::output::Out;
use crate::base::{Error, Kind, Result};
use crate::operations::network;
use crate::operations::session::Session;

/// Remove networks
///
/// A network that a container has is refused, unless --force removes the container as well.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Remove containers that have the network, and say nothing about missing ones
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    force_time: ForceTime,
    /// Names or ids
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

/// Runs `network rm`: prints each name.
///
/// # Errors
/// One that cannot be removed is reported and the others go on; the exit code is then 1 for a missing
/// one, 2 for one in use, 125 else.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let time = args.force_time.get();
    if time.is_some() && !args.force {
        return Err(Error::invalid("--time is for --force"));
    }
    let mut code = 0;
    for name in args.networks {
        match network::remove(session, &name, args.force, time) {
            Ok(_) => out.line(&name)?,
            Err(e) if args.force && e.kind() == Kind::NotFound => {}
            Err(e) => {
                let own = match e.kind() {
                    Kind::NotFound => 1,
                    _ => e.asked_exit_code().unwrap_or(125),
                };
                out.error(&e);
                code = code.max(own);
            }
        }
    }
    Ok(code)
}
