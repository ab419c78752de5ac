//! `image prune`.

use crate::base::time::Timestamp;
use crate::base::{Result, size};
use crate::cli::output::Out;
use crate::cli::output::filter::{Filters, point_in_time};
use crate::image::filter as filters;
use crate::operations::image;
use crate::operations::session::Session;

/// Remove images that nothing uses
///
/// Without --all only dangling ones go: those without a name that no other image is based on.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Remove every image that no container uses
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only images for which this holds (until=, label=, label!=, dangling=)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

/// Runs `image prune`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PruneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let known = [
        "until",
        "label",
        "dangling",
        "containers",
        "id",
        "reference",
    ];
    let mut wanted = Filters::parse(&args.filter, &known)?;
    // docker: dangling=false means all.
    let everything = wanted.values("dangling").any(|v| v == "false");
    wanted.0.retain(|f| f.key != "dangling");
    let all = args.all || everything;
    if !args.force {
        let what = if all {
            "all images without a container"
        } else {
            "all dangling images"
        };
        if !crate::cli::prompt::confirm(&format!("This removes {what}. Continue? [y/N] "), out)? {
            return Ok(0);
        }
    }
    let now = Timestamp::now();
    let moment = |text: &str| point_in_time(text, now);
    let find = |_: &str| Ok(now);
    let pruned = image::remove::prune(session, all, &|listed| {
        wanted.accept(|key, value| filters::holds(listed, key, value, &find, &moment))
    })?;
    for id in &pruned.images {
        out.line(id.hex())?;
    }
    if pruned.bytes > 0 {
        out.note(&format!("Reclaimed {}", size::human(pruned.bytes)));
    }
    Ok(0)
}
