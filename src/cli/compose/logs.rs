//! `compose logs`, and what `up` shows while it stays.

use clap::Args;

use super::project::ProjectFlags;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::handoff::output::Stream;
use crate::operations::compose::observe::Member;
use crate::operations::container::logs::{LogsOptions, Show, logs};
use crate::operations::session::Session;
use crate::state::container::Container;

const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// Show the output of containers
///
/// The lines of all containers, in the order of their times, each with its container in front.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    project: ProjectFlags,
    /// Stay while the containers run
    #[arg(short, long)]
    follow: bool,
    /// The last lines only
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    tail: String,
    /// Not before this time, or so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Without colours
    #[arg(long)]
    no_color: bool,
    /// Without the container in front
    #[arg(long)]
    no_log_prefix: bool,
    /// The container with this number only
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    /// In colours.
    pub colours: bool,
    /// With the container in front.
    pub prefix: bool,
    /// With the time.
    pub timestamps: bool,
}

/// Runs `compose logs`.
///
/// # Errors
/// As `logs`.
pub fn run(args: LogsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let (mut members, _) = args.project.members(session, &args.services)?;
    members.retain(|m| !m.present.oneoff && args.index.is_none_or(|i| m.present.number == i));
    let now = Timestamp::now();
    let moment = |text: &Option<String>| {
        text.as_deref()
            .map(|t| Timestamp::parse_moment(t, now))
            .transpose()
    };
    let tail = match args.tail.as_str() {
        "all" | "-1" | "" => None,
        text => Some(
            text.parse()
                .map_err(|_| Error::invalid(format!("invalid number of lines {text:?}")))?,
        ),
    };
    let options = LogsOptions {
        follow: args.follow,
        tail,
        since: moment(&args.since)?,
        until: moment(&args.until)?,
    };
    let looks = Looks {
        colours: !args.no_color && args.project.colours(session, out)?,
        prefix: !args.no_log_prefix,
        timestamps: args.timestamps,
    };
    show(&members, &options, looks, out)?;
    Ok(0)
}

/// Shows the lines of containers.
///
/// # Errors
/// As `logs`.
pub fn show(members: &[Member], options: &LogsOptions, looks: Looks, out: &mut Out) -> Result<()> {
    let containers: Vec<Container> = members.iter().map(|m| m.container.clone()).collect();
    let heads = heads(members, looks);
    let mut open = vec![[false; 2]; containers.len()];
    logs(&containers, options, &mut |show| match show {
        Show::Idle => out.flush(),
        Show::Entry(index, entry) => {
            let mut line = Vec::with_capacity(entry.text.len() + 64);
            let open = &mut open[index][usize::from(entry.stream == Stream::Stderr)];
            if !*open {
                line.extend_from_slice(heads[index].as_bytes());
                if looks.timestamps {
                    line.extend_from_slice(entry.time.rfc3339_nanos().as_bytes());
                    line.push(b' ');
                }
            }
            line.extend_from_slice(&entry.text);
            *open = !entry.ends_line;
            if entry.ends_line {
                line.push(b'\n');
            }
            out.bytes(&line)
        }
    })?;
    out.flush()
}

/// What stands in front of the lines: `web-1  | `, as wide as the longest.
fn heads(members: &[Member], looks: Looks) -> Vec<String> {
    if !looks.prefix {
        return vec![String::new(); members.len()];
    }
    let name = |m: &Member| short(m);
    let width = members.iter().map(|m| name(m).len()).max().unwrap_or(0);
    let head = |(i, m): (usize, &Member)| {
        let text = format!("{:width$}  | ", name(m));
        match looks.colours {
            true => format!("\x1b[{}m{text}\x1b[0m", COLOURS[i % COLOURS.len()]),
            false => text,
        }
    };
    members.iter().enumerate().map(head).collect()
}

/// A container's name without the project's.
pub fn short(member: &Member) -> String {
    let project = member.label(crate::compose::convert::PROJECT);
    let name = member.present.name.as_str();
    let short = name.strip_prefix(project).and_then(|n| n.strip_prefix('-'));
    short.unwrap_or(name).to_owned()
}
