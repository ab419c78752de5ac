//! `stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::{Error, Kind, Result, size};
use crate::cli::output::{Listing, Out};
use crate::operations::container::select::Selection;
use crate::operations::container::stats::{Sample, sample};
use crate::operations::session::Session;
use crate::state::container::Container;

/// podman's columns.
const DEFAULT: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDS}}\t{{.UpTime}}\t{{.AvgCPU}}";

/// docker's.
const DOCKER: &str = "table {{.Container}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsageBytes}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// Show what running containers use
///
/// Without a control group of its own, a container's processor time and memory are summed over its
/// processes, and disk traffic is not known.
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// Containers that do not run as well
    #[arg(short, long)]
    pub all: bool,
    /// Go template, json, or table
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5)]
    pub interval: u64,
    /// The newest container
    #[arg(short, long)]
    pub latest: bool,
    /// Do not clear the screen between two looks
    #[arg(long)]
    pub no_reset: bool,
    /// One look only
    #[arg(long)]
    pub no_stream: bool,
    /// Show ids in full
    #[arg(long, alias = "notruncate")]
    pub no_trunc: bool,
    /// Names or ids; running ones when there are none
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Runs `stats`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: StatsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let looking = Looking {
        format: args.format.clone(),
        default: match out.is_docker() {
            true => DOCKER,
            false => DEFAULT,
        },
        interval: args.interval,
        reset: !args.no_reset,
        stream: !args.no_stream,
        full: args.no_trunc,
    };
    watch(&looking, session, out, &mut |session| {
        selected(&args, session)
    })
}

/// How containers are watched.
#[derive(Debug)]
pub(in crate::cli) struct Looking {
    /// `--format`.
    pub format: Option<String>,
    /// The table without it.
    pub default: &'static str,
    /// Seconds between two looks.
    pub interval: u64,
    /// Clear the screen in between.
    pub reset: bool,
    /// More than one look.
    pub stream: bool,
    /// Ids in full.
    pub full: bool,
}

/// Shows what containers use, again and again.
///
/// # Errors
/// As the operation, and as `containers`.
pub(in crate::cli) fn watch(
    looking: &Looking,
    session: &Session,
    out: &mut Out,
    containers: &mut dyn FnMut(&Session) -> Result<Vec<Container>>,
) -> Result<u8> {
    let mut before: BTreeMap<String, Sample> = BTreeMap::new();
    let mut warned = false;
    loop {
        let mut rows = Vec::new();
        let mut after = BTreeMap::new();
        for container in &containers(session)? {
            let now = match sample(session, container) {
                // It ended while we looked.
                Err(e) if e.kind() == Kind::NotFound => continue,
                other => other?,
            };
            if !now.exact && now.at > 0 && !warned {
                warned = true;
                out.warn("no control group: processor time and memory are summed over the processes, disk traffic is unknown");
            }
            let id = container.id().to_string();
            rows.push(row(container, &now, before.get(&id), looking.full));
            after.insert(id, now);
        }
        before = after;
        if looking.stream && looking.reset && out.is_terminal() && looking.format.is_none() {
            out.bytes(b"\x1b[2J\x1b[H")?;
        }
        Listing {
            default: looking.default,
            headers: &[
                ("CPUPerc", "CPU %"),
                ("MemUsage", "MEM USAGE / LIMIT"),
                ("MemPerc", "MEM %"),
                ("NetIO", if out.is_docker() { "NET I/O" } else { "NET IO" }),
                (
                    "BlockIO",
                    if out.is_docker() {
                        "BLOCK I/O"
                    } else {
                        "BLOCK IO"
                    },
                ),
                ("Container", "CONTAINER ID"),
                ("PIDS", "PIDS"),
                ("PIDs", "PIDS"),
                ("UpTime", "CPU TIME"),
                ("AvgCPU", "AVG CPU %"),
                ("MemUsageBytes", "MEM USAGE / LIMIT"),
            ],
            format: looking.format.as_deref(),
            no_heading: false,
            docker: &[
                "BlockIO",
                "CPUPerc",
                "Container",
                "ID",
                "MemPerc",
                "MemUsage",
                "Name",
                "NetIO",
                "PIDs",
            ],
        }
        .print(out, &rows, || {
            Value::Array(rows.iter().map(machine).collect())
        })?;
        out.flush()?;
        if !looking.stream {
            return Ok(0);
        }
        crate::sys::process::pause(Duration::from_secs(looking.interval.max(1)));
    }
}

fn selected(args: &StatsArgs, session: &Session) -> Result<Vec<Container>> {
    let everything = args.containers.is_empty() && !args.latest;
    if args.all && !args.containers.is_empty() {
        return Err(Error::invalid("--all takes no names"));
    }
    let selection = Selection {
        names: args.containers.clone(),
        all: everything,
        latest: args.latest,
        ..Selection::default()
    };
    let mut found = Vec::new();
    for target in selection.resolve(session)? {
        let container = target.container?;
        if everything && !args.all && !container.state()?.is_active() {
            continue;
        }
        found.push(container);
    }
    Ok(found)
}

fn pair(a: Option<u64>, b: Option<u64>) -> String {
    match (a, b) {
        (Some(a), Some(b)) => format!("{} / {}", size::human(a), size::human(b)),
        _ => "-- / --".to_owned(),
    }
}

fn row(container: &Container, now: &Sample, before: Option<&Sample>, full: bool) -> Value {
    let id = if full {
        container.id().as_str()
    } else {
        container.id().short()
    };
    json!({
        "ID": id,
        "Container": id,
        "ContainerID": id,
        "CID": id,
        "Pod": container.record.options.pod.as_deref().map_or("", |p| if full { p } else { p.get(..12).unwrap_or(p) }),
        "Name": container.name(),
        "CPUPerc": format!("{:.2}%", now.cpu_percent(before)),
        "CPU": now.cpu_percent(before),
        "AvgCPU": format!("{:.2}%", now.cpu_percent(None)),
        "MemUsage": pair(Some(now.memory), Some(now.memory_limit)),
        "MemUsageBytes": format!("{} / {}", size::human_binary(now.memory), size::human_binary(now.memory_limit)),
        "MemPerc": format!("{:.2}%", now.memory_percent()),
        "MemLimit": now.memory_limit,
        "NetIO": pair(Some(now.received), Some(now.sent)),
        "BlockIO": pair(now.read, now.written),
        "PIDS": now.pids.to_string(),
        "PIDs": now.pids.to_string(),
        "UpTime": format!("{:.6}s", now.cpu_usec as f64 / 1e6),
        "CPUNano": now.cpu_usec * 1000,
    })
}

/// podman's names for `--format json`.
fn machine(row: &Value) -> Value {
    json!({
        "id": row["ID"],
        "name": row["Name"],
        "cpu_time": row["UpTime"],
        "cpu_percent": row["CPUPerc"],
        "avg_cpu": row["AvgCPU"],
        "mem_usage": row["MemUsage"],
        "mem_percent": row["MemPerc"],
        "net_io": row["NetIO"],
        "block_io": row["BlockIO"],
        "pids": row["PIDS"],
    })
}
