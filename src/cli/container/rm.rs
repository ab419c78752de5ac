//! `rm`.

use std::path::PathBuf;

use super::targets;
use crate::base::{Kind, Result};
use crate::cli::output::Out;
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::container::select::{Selection, Target};
use crate::operations::session::Session;

/// Remove containers
///
/// Running containers are refused without --force. Exit code 1: no such container; 2: it runs.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Remove all containers
    #[arg(short, long)]
    pub all: bool,
    /// Read a container id from this file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Vec<PathBuf>,
    /// Remove containers that depend on it, too
    #[arg(long)]
    pub depend: bool,
    /// Only containers for which this holds
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Kill running containers first; what is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// What is not there is no error
    #[arg(short, long)]
    pub ignore: bool,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Seconds that the stop signal may take with --force (-1: no limit)
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        alias = "timeout",
        allow_negative_numbers = true
    )]
    pub time: Option<i64>,
    /// Remove their anonymous volumes, too
    #[arg(short, long)]
    pub volumes: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Runs `rm`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let selection = Selection {
        names: args.containers,
        all: args.all,
        latest: args.latest,
        ignore: args.ignore || args.force,
        cidfiles: args.cidfile,
        filters: args.filter,
    };
    let options = RemoveOptions {
        force: args.force,
        volumes: args.volumes,
        time: args.time.map(targets::seconds),
        depend: args.depend,
    };
    let found = selection
        .resolve(session)?
        .into_iter()
        .map(|target| Target {
            shown: target.shown,
            container: target.container.map_err(|e| match e.kind() {
                Kind::NotFound => e.exit_code(1),
                _ => e,
            }),
        })
        .collect();
    targets::each(out, found, &mut |container, _| {
        match remove(session, container.clone(), &options) {
            // It went with one that came before (--depend), or by itself.
            Err(e) if e.kind() == Kind::NotFound && (args.force || args.depend || args.all) => {
                Ok(())
            }
            other => other.map(drop),
        }
    })
}
