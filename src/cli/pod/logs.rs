//! `pod logs`.

use crate::base::{Error, Result};
use crate::cli::container::logs;
use crate::cli::output::Out;
use crate::operations::pod::{members, select::Selection};
use crate::operations::session::Session;

/// Show what the containers of a pod wrote
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Only this container of the pod, by name or id
    #[arg(short, long, value_name = "CONTAINER")]
    container: Option<String>,
    /// Give every container a colour
    #[arg(long)]
    color: bool,
    /// Stay and show what is written, until all have ended
    #[arg(short, long)]
    follow: bool,
    /// The newest pod
    #[arg(short, long)]
    latest: bool,
    /// Put the containers' names in front, not their ids
    #[arg(short = 'n', long)]
    names: bool,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// So many lines from the end; all for everything
    #[arg(
        long,
        value_name = "N",
        default_value = "all",
        hide_default_value = true
    )]
    tail: String,
    /// Put the time in front
    #[arg(short, long)]
    timestamps: bool,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or id
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

/// Runs `pod logs`; answers the exit code.
///
/// # Errors
/// As `logs`.
pub fn run(args: LogsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let selection = Selection {
        names: args.pod.into_iter().collect(),
        latest: args.latest,
        ..Selection::default()
    };
    let mut containers = Vec::new();
    for pod in selection.resolve(session)? {
        let pod = pod?;
        let mut all = members(session, &pod)?;
        // It says nothing, and keeps no log.
        all.retain(|c| !c.record.options.infra);
        if let Some(wanted) = &args.container {
            all.retain(|c| c.name() == wanted || c.id().as_str().starts_with(wanted.as_str()));
            if all.is_empty() {
                return Err(Error::not_found(format!(
                    "no such container in pod {:?}: {wanted:?}",
                    pod.name.as_str()
                )));
            }
        }
        containers.extend(all.iter().map(|c| c.id().to_string()));
    }
    if containers.is_empty() {
        return Ok(0);
    }
    let args = logs::LogsArgs {
        color: args.color,
        details: false,
        follow: args.follow,
        latest: false,
        names: args.names,
        since: args.since,
        tail: args.tail,
        timestamps: args.timestamps,
        until: args.until,
        containers,
    };
    logs::run(args, session, out)
}
