//! `system prune`.

use super::super::output::Out;
use super::super::prompt::confirm;
use crate::base::{Error, Result, size};
use crate::operations::session::Session;
use crate::operations::system::prune::{self, Request, Which};

/// Remove everything that nothing uses
///
/// Containers that do not run go, and images without a name; with --all every image that no
/// container uses, with --volumes also volumes that no container has.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Remove every image that no container uses
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove volumes too
    #[arg(long)]
    volumes: bool,
    /// Only what this holds for: label=, label!=, until=
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Containers of other programs, too: there never are any in the store
    #[arg(long, hide = true)]
    external: bool,
    /// Containers left by builds, too: there never are any
    #[arg(long, hide = true)]
    build: bool,
}

/// Runs `system prune`.
///
/// # Errors
/// What the operation says. The exit code is 125 when something could not be removed.
pub fn run(args: PruneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if args.external && (args.all || args.volumes || !args.filter.is_empty()) {
        return Err(Error::invalid("--external stands alone"));
    }
    if args.external {
        out.line("Total reclaimed space: 0B")?;
        return Ok(0);
    }
    if !args.force && !confirm(&question(&args), out)? {
        return Ok(0);
    }
    let request = Request {
        all: args.all,
        volumes: args.volumes.then_some(if out.is_docker() {
            Which::Anonymous
        } else {
            Which::All
        }),
        filters: args.filter,
    };
    let pruned = prune::prune(session, &request)?;
    for (title, lines) in [
        ("Deleted Containers", &pruned.containers),
        ("Deleted Volumes", &pruned.volumes),
        ("Deleted Images", &pruned.images),
        ("Deleted build cache objects", &pruned.steps),
    ] {
        if !lines.is_empty() {
            out.line(title)?;
            for line in lines {
                out.line(line)?;
            }
        }
    }
    out.line(format!(
        "Total reclaimed space: {}",
        size::human(pruned.bytes)
    ))?;
    for error in &pruned.failures {
        out.error(error);
    }
    Ok(if pruned.failures.is_empty() { 0 } else { 125 })
}

fn question(args: &PruneArgs) -> String {
    let mut text = "WARNING! This command removes:\n\t- all stopped containers\n".to_owned();
    if args.volumes {
        text.push_str("\t- all volumes not used by at least one container\n");
    }
    text.push_str(if args.all {
        "\t- all images without at least one container associated with them\n"
    } else {
        "\t- all dangling images\n"
    });
    text.push_str(if args.all {
        "\t- all build cache\n"
    } else {
        "\t- unused build cache\n"
    });
    text.push_str("\nAre you sure you want to continue? [y/N] ");
    text
}
