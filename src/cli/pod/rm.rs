//! `pod rm`.

use std::path::PathBuf;

use super::targets::{Named, each};
use crate::base::Result;
use crate::cli::args::ForceTime;
use crate::cli::output::Out;
use crate::operations::pod::remove::{RemoveOptions, remove};
use crate::operations::session::Session;

/// Remove pods with their containers
///
/// A pod of which something runs is refused without --force.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Kill what runs first; what is not there is no error
    #[arg(short, long)]
    force: bool,
    /// What is not there is no error
    #[arg(short, long)]
    ignore: bool,
    /// Read a pod id from this file
    #[arg(long, value_name = "FILE")]
    pod_id_file: Vec<PathBuf>,
    #[command(flatten)]
    force_time: ForceTime,
    #[command(flatten)]
    named: Named,
}

/// Runs `pod rm`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let options = RemoveOptions {
        force: args.force,
        time: args.force_time.get(),
    };
    let found = args
        .named
        .find(session, args.ignore || args.force, args.pod_id_file)?;
    each(out, found, &mut |pod, _| remove(session, pod, &options))
}
