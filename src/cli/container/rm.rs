//! `rm`.

use super::targets::{self, Choice, Named};
use crate::base::{Error, Kind, Result};
use crate::cli::args::ForceTime;
use crate::cli::output::Out;
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::container::select::Target;
use crate::operations::session::Session;

/// Remove containers
///
/// Running containers are refused without --force. Exit code 1: no such container; 2: it runs.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Remove all containers
    #[arg(short, long)]
    pub all: bool,
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
    #[command(flatten)]
    force_time: ForceTime,
    /// podman's, for containers of other programs in its store
    #[arg(long, hide = true)]
    pub storage: bool,
    /// Remove their anonymous volumes, too
    #[arg(short, long)]
    pub volumes: bool,
    #[command(flatten)]
    named: Named,
}

/// Runs `rm`; answers the exit code.
///
/// # Errors
/// A selection that makes no sense.
pub fn run(args: RmArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.storage {
        return Err(
            Error::unsupported("cannot use --storage: no other program shares the store")
                .hint("`coracle system prune` removes what killed commands left"),
        );
    }
    let choice = Choice {
        all: args.all,
        filters: args.filter,
        ignore: args.ignore || args.force,
    };
    let options = RemoveOptions {
        force: args.force,
        volumes: args.volumes,
        time: args.force_time.get(),
        depend: args.depend,
        infra: false,
    };
    let found = args
        .named
        .find(session, choice, &[])?
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
