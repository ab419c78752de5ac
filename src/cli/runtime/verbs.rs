//! The flags of the runtime's commands, and what they print.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::Globals;
use crate::base::{Context as _, Error, Kind, Result, signal, time};
use crate::cli::output::Out;
use crate::cli::output::table::align;
use crate::config::env::Env;
use crate::operations::ociruntime::create::{self, Terminal};
use crate::operations::ociruntime::events::Woken;
use crate::operations::ociruntime::kill::Whom;
use crate::operations::ociruntime::record::Container;
use crate::operations::ociruntime::run::After;
use crate::operations::ociruntime::{
    self as ops, cgroups, delete as removal, freeze, limits, list as listing, process, rdt,
};
use crate::spec::resources::{BlockIo, Cpu, Memory, Pids, Resources};
use crate::spec::runtime::IntelRdt;

/// The newest version of the specification that is understood.
pub(super) const SPEC_VERSION: &str = "1.3.0";

/// Limits read from standard input or a file are not larger.
const LIMIT: u64 = 1 << 20;

/// No options
#[derive(Debug, clap::Args)]
pub(super) struct NoArgs {}

/// One container
#[derive(Debug, clap::Args)]
pub(super) struct IdArgs {
    /// Container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// Anything
#[derive(Debug, clap::Args)]
pub(super) struct RefusedArgs {
    /// Anything
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "WORDS"
    )]
    _words: Vec<String>,
}

/// What create and run have in common
#[derive(Debug, clap::Args)]
struct BundleArgs {
    /// Folder of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Another file than the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send its terminal to who listens at this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write its pid to a file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Pass so many further descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Change the root without pivot_root, for hosts that run from a ramdisk
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl BundleArgs {
    fn request(self, relay: bool) -> create::Request {
        let terminal = match self.console_socket {
            Some(socket) => Terminal::Socket(socket),
            None if relay => Terminal::Relay,
            None => Terminal::None,
        };
        create::Request {
            id: self.id,
            bundle: self.bundle,
            config: self.config,
            terminal,
            pid_file: self.pid_file,
            preserve_fds: self.preserve_fds,
            listen_fds: Env::process().listen_fds(std::process::id()),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
        }
    }
}

/// Create a container from a bundle, up to its start
#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    bundle: BundleArgs,
}

/// Runs `create`.
pub(super) fn create(args: CreateArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    create::create(&globals.place()?, &args.bundle.request(false))?;
    Ok(0)
}

/// Create and start a container
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    /// Do not delete it when it ended
    #[arg(long)]
    keep: bool,
    /// Understood for runc's sake: no process is adopted anyway
    #[arg(long, hide = true)]
    no_subreaper: bool,
}

/// Runs `run`; answers the process's exit code.
pub(super) fn run(args: RunArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    let after = match (args.detach, args.keep) {
        (true, _) => After::Detach,
        (_, true) => After::Keep,
        _ => After::Delete,
    };
    let request = args.bundle.request(!args.detach);
    ops::run::run(&globals.place()?, &request, after)
}

/// Runs `start`.
pub(super) fn start(args: IdArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    ops::start::start(&globals.place()?, &args.id)?;
    Ok(0)
}

/// Runs `state`.
pub(super) fn state(args: IdArgs, globals: &Globals, out: &mut Out) -> Result<u8> {
    out.json(&listing::state(&globals.place()?, &args.id)?)?;
    Ok(0)
}

/// Send a signal to a container
#[derive(Debug, clap::Args)]
pub(super) struct KillArgs {
    /// To every process of the container, also of one that has stopped
    #[arg(short, long)]
    all: bool,
    /// Container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// Name or number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
}

/// Runs `kill`.
pub(super) fn kill(args: KillArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    let number = match args.signal.as_str() {
        // Only asks whether it is there.
        "0" => 0,
        other => signal::parse(other)?,
    };
    let whom = if args.all { Whom::All } else { Whom::First };
    ops::kill::kill(&globals.place()?, &args.id, number, whom)?;
    Ok(0)
}

/// Delete a container that has stopped
#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// Kill it first if it runs; it is fine if there is none
    #[arg(short, long)]
    force: bool,
    /// Container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// Runs `delete`.
pub(super) fn delete(args: DeleteArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    removal::delete(&globals.place()?, &args.id, args.force)?;
    Ok(0)
}

/// Runs `pause`.
pub(super) fn pause(args: IdArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    freeze::set(&globals.place()?, &args.id, true)?;
    Ok(0)
}

/// Runs `resume`.
pub(super) fn resume(args: IdArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    freeze::set(&globals.place()?, &args.id, false)?;
    Ok(0)
}

/// Runs `features`.
pub(super) fn features(_args: NoArgs, _globals: &Globals, out: &mut Out) -> Result<u8> {
    out.json(&ops::features::features())?;
    Ok(0)
}

/// Refuses `checkpoint` and `restore`.
pub(super) fn checkpoint(_args: RefusedArgs, _globals: &Globals, _out: &mut Out) -> Result<u8> {
    Err(Error::unsupported(
        "checkpoint and restore are not supported: coracle does not use CRIU",
    ))
}

/// List containers
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `list`.
pub(super) fn list(args: ListArgs, globals: &Globals, out: &mut Out) -> Result<u8> {
    let list = listing::list(&globals.place()?)?;
    let field = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    if args.quiet {
        for value in &list {
            out.line(field(value, "id"))?;
        }
        return Ok(0);
    }
    match args.format.as_str() {
        "json" => out.line(Value::Array(list).to_string())?,
        "table" => {
            let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
            let mut rows = vec![head.join("\t")];
            rows.extend(list.iter().map(|value| {
                let keys = ["id", "pid", "status", "bundle", "created", "owner"];
                keys.map(|key| field(value, key)).join("\t")
            }));
            out.text(&align(&rows.join("\n"), 12, 1))?;
        }
        other => return Err(Error::invalid(format!("invalid format option {other:?}"))),
    }
    Ok(0)
}

/// List the processes of a container
#[derive(Debug, clap::Args)]
pub(super) struct PsArgs {
    /// table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Container, then options for ps
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "CONTAINER [OPTION…]"
    )]
    words: Vec<String>,
}

/// Runs `ps`.
pub(super) fn ps(args: PsArgs, globals: &Globals, out: &mut Out) -> Result<u8> {
    let place = globals.place()?;
    let (id, options) = args
        .words
        .split_first()
        .ok_or_else(|| Error::invalid("ps needs a container"))?;
    match args.format.as_str() {
        "json" => out.line(serde_json::json!(process::list(&place, id)?).to_string())?,
        "table" => out.text(&process::table(&place, id, options)?)?,
        other => return Err(Error::invalid(format!("invalid format option {other:?}"))),
    }
    Ok(0)
}

/// Print what a container uses, from time to time
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Once only
    #[arg(long)]
    stats: bool,
    /// Time in between
    #[arg(long, value_name = "TIME", default_value = "5s")]
    interval: String,
    /// Container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// Runs `events`, until the container has stopped.
pub(super) fn events(args: EventsArgs, globals: &Globals, out: &mut Out) -> Result<u8> {
    let place = globals.place()?;
    let interval = time::parse_duration(&args.interval)?.max(Duration::from_millis(10));
    out.line(ops::events::stats(&place, &args.id)?.to_string())?;
    out.flush()?;
    if args.stats {
        return Ok(0);
    }
    let mut watch = ops::events::Watch::new(&place, &args.id)?;
    loop {
        let line = match watch.wait(interval)? {
            Woken::Ended => return Ok(0),
            Woken::OutOfMemory => json!({"type": "oom", "id": args.id}),
            Woken::Interval => match ops::events::stats(&place, &args.id) {
                // It ended and was deleted meanwhile.
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Invalid) => return Ok(0),
                other => other?,
            },
        };
        out.line(line.to_string())?;
        out.flush()?;
    }
}

/// Write a configuration to begin with
#[derive(Debug, clap::Args)]
pub(super) struct SpecArgs {
    /// Folder of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For the caller's own user namespace
    #[arg(long)]
    rootless: bool,
}

/// Runs `spec`.
pub(super) fn spec(args: SpecArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    let rootless = args.rootless || globals.rootless.as_deref() == Some("true");
    ops::spec::write(&args.bundle, rootless)?;
    Ok(0)
}

/// Change the limits of a container
#[derive(Debug, clap::Args)]
pub(super) struct UpdateArgs {
    /// Take all limits from a file in the form of linux.resources; - is standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<String>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
    /// Processor time a period, in microseconds
    #[arg(long, value_name = "N")]
    cpu_quota: Option<i64>,
    /// Period, in microseconds
    #[arg(long, value_name = "N")]
    cpu_period: Option<u64>,
    /// Processor time that may be saved up, in microseconds
    #[arg(long, value_name = "N")]
    cpu_burst: Option<u64>,
    /// Weight of processor time, 2 to 262144
    #[arg(long, visible_alias = "cpu-share", value_name = "N")]
    cpu_shares: Option<u64>,
    /// Processors, as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Run only when nothing else does: 0 or 1
    #[arg(long, value_name = "N")]
    cpu_idle: Option<i64>,
    /// Memory, in bytes
    #[arg(long, value_name = "N")]
    memory: Option<i64>,
    /// Memory that is kept for it, in bytes
    #[arg(long, value_name = "N")]
    memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes
    #[arg(long, value_name = "N")]
    memory_swap: Option<i64>,
    /// Number of processes
    #[arg(long, value_name = "N")]
    pids_limit: Option<i64>,
    /// Cache of level 3 (resctrl), as L3:0=7f0;1=1f
    #[arg(long, value_name = "LINE")]
    l3_cache_schema: Option<String>,
    /// Memory bandwidth (resctrl), as MB:0=20;1=70
    #[arg(long, value_name = "LINE")]
    mem_bw_schema: Option<String>,
    /// Container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// Runs `update`.
pub(super) fn update(args: UpdateArgs, globals: &Globals, _out: &mut Out) -> Result<u8> {
    let place = globals.place()?;
    let rdt = IntelRdt {
        l3_cache_schema: args.l3_cache_schema.clone().unwrap_or_default(),
        mem_bw_schema: args.mem_bw_schema.clone().unwrap_or_default(),
        ..IntelRdt::default()
    };
    let resources = match args.resources.as_deref() {
        Some(file) => {
            let text = match file {
                "-" => {
                    let mut text = Vec::new();
                    std::io::stdin()
                        .take(LIMIT)
                        .read_to_end(&mut text)
                        .what(|| "cannot read standard input")?;
                    text
                }
                file => crate::base::fs::read(std::path::Path::new(file), LIMIT)?,
            };
            serde_json::from_slice(&text)
                .map_err(|e| Error::invalid(format!("{file} has no valid limits")).because(e))?
        }
        None => Resources {
            memory: Some(Memory {
                limit: args.memory,
                reservation: args.memory_reservation,
                swap: args.memory_swap,
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: args.cpu_shares,
                quota: args.cpu_quota,
                burst: args.cpu_burst,
                period: args.cpu_period,
                cpus: args.cpuset_cpus,
                mems: args.cpuset_mems,
                idle: args.cpu_idle,
                ..Cpu::default()
            }),
            pids: Some(Pids {
                limit: args.pids_limit,
            }),
            block_io: Some(BlockIo {
                weight: args.blkio_weight,
                ..BlockIo::default()
            }),
            ..Resources::default()
        },
    };
    let container = Container::open(&place, &args.id)?;
    // For these alone there need not be a cgroup.
    let no_limits = limits::v2(&resources).is_ok_and(|files| files.list.is_empty());
    if rdt == IntelRdt::default() || !no_limits {
        cgroups::update(&container.record, &resources)?;
    }
    rdt::update(&container.record, &rdt)?;
    Ok(0)
}
