//! `builder prune`.

use crate::base::{Error, Result, size, time};
use crate::cli::output::Out;
use crate::cli::prompt::confirm;
use crate::operations::build::usage::{self, Prune};
use crate::operations::session::Session;

/// Make the build cache smaller
///
/// Without --all what images also have stays, which costs nothing. The least recently used goes
/// first. What a build uses at the moment stays.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Forget everything
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only what this holds for: until=TIME, unused-for=TIME, id=ID, type=step|mount, shared=BOOL, private=BOOL, description=TEXT
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Keep so much in any case, the most recently used
    #[arg(long, alias = "keep-storage", value_name = "SIZE")]
    pub reserved_space: Option<String>,
    /// Keep no more than so much
    #[arg(long, value_name = "SIZE")]
    pub max_used_space: Option<String>,
    /// Stop when the disk has so much free
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<String>,
    /// Accepted for buildx's sake
    #[arg(long, hide = true)]
    pub verbose: bool,
    /// Accepted for buildx's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
}

/// Runs `prune`; answers the exit code.
///
/// # Errors
/// `Invalid` for an unknown filter; as the operation.
pub fn run(args: PruneArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let bytes = |text: Option<&str>| text.map(size::parse).transpose();
    let mut wish = Prune {
        all: args.all,
        reserved: bytes(args.reserved_space.as_deref())?,
        most: bytes(args.max_used_space.as_deref())?,
        free: bytes(args.min_free_space.as_deref())?,
        ..Prune::default()
    };
    filters(&mut wish, &args.filter)?;
    if !args.force && !confirm("This removes build cache. Continue? [y/N] ", out)? {
        return Ok(0);
    }
    let pruned = usage::prune(session, &wish)?;
    for entry in &pruned.entries {
        out.line(&entry.id)?;
    }
    out.line(format!(
        "Total reclaimed space: {}",
        size::human(pruned.bytes)
    ))?;
    Ok(0)
}

/// What `--filter` says.
///
/// # Errors
/// `Invalid` for an unknown one.
pub fn filters(wish: &mut Prune, list: &[String]) -> Result<()> {
    for filter in list {
        match filter.split_once('=') {
            Some(("until" | "unused-for", text)) => {
                wish.unused_for = Some(time::parse_duration(text)?);
            }
            Some(("id", id)) => wish.ids.push(id.to_owned()),
            Some(("type", kind @ ("step" | "mount"))) => wish.kind = Some(kind.to_owned()),
            // BuildKit's words for them.
            Some(("type", "regular")) => wish.kind = Some("step".to_owned()),
            Some(("type", "exec.cachemount")) => wish.kind = Some("mount".to_owned()),
            Some(("shared", text)) => wish.shared = Some(truth(filter, text)?),
            Some(("private", text)) => wish.shared = Some(!truth(filter, text)?),
            Some(("description", text)) => wish.text = Some(text.to_owned()),
            _ => {
                return Err(Error::invalid(format!("unknown filter {filter:?}")).hint(FILTERS));
            }
        }
    }
    Ok(())
}

const FILTERS: &str =
    "use until=TIME, unused-for=TIME, id=ID, type=step|mount, shared=, private= or description=";

fn truth(filter: &str, text: &str) -> Result<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(format!("{filter:?} is neither true nor false")).hint(FILTERS)),
    }
}
