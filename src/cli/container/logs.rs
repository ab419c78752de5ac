//! `logs`.

use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::cli::output::Out;
use crate::handoff::output::Stream;
use crate::logs::Entry;
use crate::operations::container::logs::{LogsOptions, Show, logs};
use crate::operations::container::select::Selection;
use crate::operations::session::Session;
use crate::state::container::Container;

/// Colours of names, as ANSI codes.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// Show what containers wrote
///
/// Standard output and standard error come out where they went in. Times are RFC 3339, a date,
/// seconds since 1970, or how long ago (10m).
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Give every container a colour
    #[arg(long)]
    pub color: bool,
    /// docker's attributes of a line; there are none here, so nothing is added
    #[arg(long, hide = true)]
    pub details: bool,
    /// Stay and show what is written, until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Put the container's name in front (called as docker: the number of lines, as --tail)
    #[arg(short = 'n', long)]
    pub names: bool,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// So many lines from the end; all for everything
    #[arg(
        long,
        value_name = "N",
        default_value = "all",
        hide_default_value = true
    )]
    pub tail: String,
    /// Put the time in front
    #[arg(short, long)]
    pub timestamps: bool,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Runs `logs`; answers the exit code.
///
/// # Errors
/// A container that is not there, or keeps no log; what the kernel says.
pub fn run(mut args: LogsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if out.is_docker() && args.names && args.containers.len() > 1 {
        // docker's -n takes the number of lines: `logs -n 10 web`.
        args.tail = args.containers.remove(0);
        args.names = false;
    }
    let selection = Selection {
        names: args.containers.clone(),
        latest: args.latest,
        ..Selection::default()
    };
    let containers = selection
        .resolve(session)?
        .into_iter()
        .map(|target| target.container)
        .collect::<Result<Vec<Container>>>()?;
    let names = names(&containers, &args);
    show(&containers, names, &args, out)?;
    Ok(0)
}

/// Shows what containers wrote, with these names in front.
///
/// # Errors
/// As [`run`].
pub(in crate::cli) fn show(
    containers: &[Container],
    names: Vec<String>,
    args: &LogsArgs,
    out: &mut Out,
) -> Result<()> {
    let options = request(args, Timestamp::now())?;
    let mut heads = Heads {
        open: vec![[false; 2]; containers.len()],
        timestamps: args.timestamps,
        names,
    };
    logs(containers, &options, &mut |show| match show {
        Show::Idle => out.flush(),
        Show::Entry(index, entry) => {
            let line = heads.line(index, entry);
            match entry.stream {
                Stream::Stdout => out.bytes(&line),
                Stream::Stderr => out.error_bytes(&line),
            }
        }
    })
}

fn request(args: &LogsArgs, now: Timestamp) -> Result<LogsOptions> {
    let moment = |text: &Option<String>| {
        text.as_deref()
            .map(|t| Timestamp::parse_moment(t, now))
            .transpose()
    };
    let tail = match args.tail.as_str() {
        "all" | "" => None,
        // podman's and docker's way to say "all".
        text if text.starts_with('-') && text[1..].parse::<u64>().is_ok() => None,
        text => Some(text.parse().map_err(|_| {
            Error::invalid(format!("invalid number of lines {text:?}"))
                .hint("write --tail 10, or --tail all")
        })?),
    };
    Ok(LogsOptions {
        follow: args.follow,
        tail,
        since: moment(&args.since)?,
        until: moment(&args.until)?,
    })
}

/// What stands in front of lines: name and time, at the beginning of each line only.
struct Heads {
    names: Vec<String>,
    timestamps: bool,
    /// Whether the last entry of that container and stream left its line open.
    open: Vec<[bool; 2]>,
}

/// What stands in front of each container's lines.
fn names(containers: &[Container], args: &LogsArgs) -> Vec<String> {
    let several = containers.len() > 1;
    let all = containers.iter().enumerate().map(|(index, container)| {
        let name = match (args.names, several) {
            (true, _) => container.name(),
            (false, true) => container.id().short(),
            (false, false) => return String::new(),
        };
        if args.color {
            let colour = COLOURS[index % COLOURS.len()];
            format!("\x1b[{colour}m{name}\x1b[0m ")
        } else {
            format!("{name} ")
        }
    });
    all.collect()
}

impl Heads {
    fn line(&mut self, index: usize, entry: &Entry) -> Vec<u8> {
        let open = &mut self.open[index][usize::from(entry.stream == Stream::Stderr)];
        let mut line = Vec::with_capacity(entry.text.len() + 64);
        if !*open {
            line.extend_from_slice(self.names[index].as_bytes());
            if self.timestamps {
                line.extend_from_slice(entry.time.rfc3339_nanos().as_bytes());
                line.push(b' ');
            }
        }
        line.extend_from_slice(&entry.text);
        if entry.ends_line {
            line.push(b'\n');
        }
        *open = !entry.ends_line;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> LogsArgs {
        use clap::{Args as _, FromArgMatches as _};
        let command = LogsArgs::augment_args(clap::Command::new("logs"));
        let words = ["logs"].iter().chain(words);
        LogsArgs::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    #[test]
    fn words_become_a_request() {
        let now = Timestamp(1_700_000_000_000_000_000);
        let ask = |words: &[&str]| request(&args(words), now);
        assert_eq!(ask(&["web"]).unwrap().tail, None);
        assert_eq!(ask(&["--tail=all", "web"]).unwrap().tail, None);
        assert_eq!(ask(&["--tail=-1", "web"]).unwrap().tail, None);
        assert_eq!(ask(&["--tail", "0", "web"]).unwrap().tail, Some(0));
        assert_eq!(ask(&["--tail", "25", "-ft", "web"]).unwrap().tail, Some(25));
        assert!(ask(&["--tail", "x", "web"]).is_err());
        let since = ask(&["--since", "10m", "web"]).unwrap().since.unwrap();
        assert_eq!(now.0 - since.0, 600_000_000_000);
        let until = ask(&["--until", "2023-11-14T22:13:20Z", "web"])
            .unwrap()
            .until;
        assert_eq!(until, Some(now));
        assert!(ask(&["--since", "soon", "web"]).is_err());
    }

    #[test]
    fn heads_stand_at_the_beginning_of_lines_only() {
        let mut heads = Heads {
            names: vec!["web ".to_owned()],
            timestamps: true,
            open: vec![[false; 2]],
        };
        let mut entry = Entry {
            time: Timestamp(0),
            stream: Stream::Stdout,
            text: b"one".to_vec(),
            ends_line: false,
        };
        let mut text = heads.line(0, &entry);
        entry.ends_line = true;
        text.extend(heads.line(0, &entry));
        text.extend(heads.line(0, &entry));
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "web 1970-01-01T00:00:00.000000000Z oneone\nweb 1970-01-01T00:00:00.000000000Z one\n"
        );
    }
}
