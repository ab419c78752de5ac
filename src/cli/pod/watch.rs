//! `pod stats` and `pod top`.

use crate::base::{Error, Result};
use crate::cli::container::{stats as container_stats, top as container_top};
use crate::cli::output::Out;
use crate::operations::container::top::{self as processes, DESCRIPTORS};
use crate::operations::pod::{members, select::Selection};
use crate::operations::session::Session;
use crate::state::container::State;

/// podman's columns.
const DEFAULT: &str = "table {{.Pod}}\t{{.CID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDS}}";

/// Show what the containers of pods use
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// All pods that run
    #[arg(short, long)]
    all: bool,
    /// Go template, json, or table
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// The newest pod
    #[arg(short, long)]
    latest: bool,
    /// Do not clear the screen between two looks
    #[arg(long)]
    no_reset: bool,
    /// One look only
    #[arg(long)]
    no_stream: bool,
    /// Names or ids; all that run when there are none
    #[arg(value_name = "POD")]
    pods: Vec<String>,
}

/// Show the processes of a pod
///
/// Columns by name, as `coracle top` takes them.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// The newest pod
    #[arg(short, long)]
    latest: bool,
    /// Pod, and columns
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "POD [COLUMNS]"
    )]
    words: Vec<String>,
}

/// Runs `pod stats`; answers the exit code.
///
/// # Errors
/// As `stats`.
pub fn stats(args: StatsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let selection = Selection {
        all: args.all || (args.pods.is_empty() && !args.latest),
        names: args.pods,
        latest: args.latest,
        ..Selection::default()
    };
    let mut containers = Vec::new();
    for pod in selection.resolve(session)? {
        for container in members(session, &pod?)? {
            if container.state()?.is_active() {
                containers.push(container);
            }
        }
    }
    let looking = container_stats::Looking {
        format: args.format,
        default: DEFAULT,
        interval: 5,
        reset: !args.no_reset,
        stream: !args.no_stream,
        full: false,
    };
    container_stats::watch(&looking, session, out, &mut |_| Ok(containers.clone()))
}

/// Runs `pod top`; answers the exit code.
///
/// # Errors
/// As `top`.
pub fn top(args: TopArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let mut words = args.words;
    let names = match (args.latest, words.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => return Err(Error::invalid("which pod?").hint("coracle pod top POD")),
        (false, false) => vec![words.remove(0)],
    };
    let selection = Selection {
        names,
        latest: args.latest,
        ..Selection::default()
    };
    let columns = processes::parse(&words).ok_or_else(|| {
        Error::invalid(format!("unknown columns {:?}", words.join(" ")))
            .hint("`coracle top --list-descriptors` lists them")
    })?;
    let mut rows = Vec::new();
    for pod in selection.resolve(session)? {
        for container in members(session, &pod?)? {
            if matches!(container.state()?, State::Running | State::Paused) {
                for row in processes::top(session, &container, &columns)? {
                    // Containers that share their process ids show the same ones.
                    if !rows.contains(&row) {
                        rows.push(row);
                    }
                }
            }
        }
    }
    let headers: Vec<&str> = columns
        .iter()
        .filter_map(|c| DESCRIPTORS.iter().find(|(name, _)| name == c))
        .map(|(_, header)| *header)
        .collect();
    container_top::print(&headers, &rows, (12, 2), out)
}
