//! `service logs`.

use crate::base::Result;
use crate::cli::container::logs;
use crate::cli::output::Out;
use crate::operations::service::{self, replicas};
use crate::operations::session::Session;

/// Show what the replicas of a service wrote
///
/// Each line says whose it is. A replica, by its name or id, may be named in place of its service.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each one is a flag of docker's"
)]
pub struct LogsArgs {
    /// docker's attributes of a line; there are none here, so nothing is added
    #[arg(long, hide = true)]
    details: bool,
    /// Stay and show what is written, until all have ended
    #[arg(short, long)]
    follow: bool,
    /// Accepted; names are never looked up
    #[arg(long, hide = true)]
    no_resolve: bool,
    /// Leave the replicas' ids out of their names
    #[arg(long)]
    no_task_ids: bool,
    /// Accepted; nothing is cut
    #[arg(long, hide = true)]
    no_trunc: bool,
    /// Put nothing in front
    #[arg(long)]
    raw: bool,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// So many lines from the end; all for everything
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "all",
        hide_default_value = true
    )]
    tail: String,
    /// Put the time in front
    #[arg(short, long)]
    timestamps: bool,
    /// Name or id
    #[arg(value_name = "SERVICE")]
    service: String,
}

/// Runs `service logs`.
///
/// # Errors
/// `NotFound`; as `logs`.
pub fn run(args: LogsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let list = match service::find(session, &args.service) {
        Ok(service) => replicas(session, &service)?,
        Err(missing) => {
            let all = service::all_replicas(session)?.into_values().flatten();
            let wanted = args.service.as_str();
            let task = crate::state::service::TASK_ID;
            let own: Vec<_> = all
                .filter(|r| {
                    r.summary.container.name() == wanted || r.summary.label(task) == Some(wanted)
                })
                .collect();
            if own.is_empty() {
                return Err(missing);
            }
            own
        }
    };
    if list.is_empty() {
        return Ok(0);
    }
    let node = super::node();
    let mut names: Vec<String> = list
        .iter()
        .map(|r| {
            let name = r.summary.container.name();
            let short = name.rsplit_once('.').map_or(name, |(short, _)| short);
            format!("{}@{node}", if args.no_task_ids { short } else { name })
        })
        .collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for name in &mut names {
        *name = match args.raw {
            true => String::new(),
            false => format!("{name:width$}    | "),
        };
    }
    let request = logs::LogsArgs {
        color: false,
        details: false,
        follow: args.follow,
        latest: false,
        names: false,
        since: args.since,
        tail: args.tail,
        timestamps: args.timestamps,
        until: None,
        containers: Vec::new(),
    };
    let containers: Vec<_> = list.into_iter().map(|r| r.summary.container).collect();
    logs::show(&containers, names, &request, out)?;
    Ok(0)
}
