//! `ps`.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::time::{Timestamp, human_duration};
use crate::base::{Error, Result, parallel, size};
use crate::cli::output::{Listing, Out, docker};
use crate::operations::container::filter::network_name;
use crate::operations::container::list::{self, ListOptions};
use crate::operations::container::summary::{Summary, ports_text};
use crate::operations::session::Session;
use crate::state::options::MountSource;
use crate::state::pod::Pods;
use crate::storage::snapshot::Sizes;

/// List containers
///
/// Running ones, unless --all or --filter status= ask for others. Newest first.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each one is a flag of podman's"
)]
pub struct PsArgs {
    /// Show containers that do not run as well
    #[arg(short, long)]
    pub all: bool,
    /// Show containers that other programs left in the store (coracle's store has none)
    #[arg(long, alias = "storage")]
    pub external: bool,
    /// Only containers for which this holds (name=, status=, label=, ancestor=, exited=, …)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template, json, or table
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// The newest so many, running or not
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub last: Option<i64>,
    /// The newest one, running or not
    #[arg(short, long)]
    pub latest: bool,
    /// Show namespaces
    #[arg(long, alias = "namespace")]
    pub ns: bool,
    /// Show ids and commands in full
    #[arg(long, alias = "notruncate")]
    pub no_trunc: bool,
    /// Leave out the headings
    #[arg(long)]
    pub noheading: bool,
    /// Show the pods
    #[arg(short, long)]
    pub pod: bool,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Show sizes
    #[arg(short, long)]
    pub size: bool,
    /// Order: created, command, id, image, names, runningfor, size or status
    #[arg(long, value_name = "KEY", default_value = "created")]
    pub sort: String,
    /// Look at the processes again first (coracle always does)
    #[arg(long)]
    pub sync: bool,
    /// Show it again every so many seconds
    #[arg(short, long, value_name = "SECONDS")]
    pub watch: Option<u64>,
}

/// Runs `ps`; answers the exit code.
///
/// # Errors
/// As the operation.
pub fn run(args: PsArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    let Some(seconds) = args.watch else {
        show(&args, session, out)?;
        return Ok(0);
    };
    loop {
        // Clears a terminal; in a pipe the lists follow each other.
        if out.is_terminal() {
            out.bytes(b"\x1b[2J\x1b[H")?;
        }
        show(&args, session, out)?;
        out.flush()?;
        crate::sys::process::pause(Duration::from_secs(seconds.max(1)));
    }
}

fn show(args: &PsArgs, session: &Session, out: &mut Out) -> Result<()> {
    let options = ListOptions {
        all: args.all,
        last: match (args.latest, args.last) {
            (true, _) => Some(1),
            (false, Some(n)) if n >= 0 => usize::try_from(n).ok(),
            _ => None,
        },
        filters: args.filter.clone(),
    };
    let (shown, bad) = list::list(session, &options)?;
    // Without --watch the process ends after this: giving back a thousand records piece by piece
    // takes a while.
    let mut shown = ManuallyDrop::new(shown);
    for error in &bad {
        out.error(error);
    }
    let with_size = args.size
        || args.sort == "size"
        || args.format.as_deref().is_some_and(|f| f.contains(".Size"));
    let mut sizes = Vec::new();
    if with_size {
        for s in shown.iter() {
            sizes.push(list::sizes(session, &s.container)?);
        }
    }
    sort(&mut shown, &mut sizes, &args.sort)?;
    if args.quiet && args.format.is_none() {
        for s in shown.iter() {
            out.line(id(s, args.no_trunc))?;
        }
        return Ok(());
    }
    let docker = out.is_docker();
    let pods = PodNames::of(session, &shown)?;
    let numbered: Vec<(usize, &Summary)> = shown.iter().enumerate().collect();
    let rows = ManuallyDrop::new(parallel::map(numbered, |(i, s)| {
        let sizes = sizes.get(i);
        if docker {
            as_docker(row(s, sizes, args, &pods), s, sizes, args.no_trunc)
        } else if args.format.is_none() && !args.ns {
            table_row(s, sizes, args, &pods)
        } else {
            row(s, sizes, args, &pods)
        }
    }));
    let mut default = if args.ns {
        "table {{.ID}}\t{{.Names}}\t{{.Pid}}\t{{.CGROUPNS}}\t{{.IPC}}\t{{.MNT}}\t{{.NET}}\t{{.PIDNS}}\t{{.USERNS}}\t{{.UTS}}".to_owned()
    } else {
        "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Created}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
            .to_owned()
    };
    if args.pod {
        default.push_str("\t{{.Pod}}\t{{.PodName}}");
    }
    if args.size {
        default.push_str("\t{{.Size}}");
    }
    Listing {
        default: &default,
        headers: &[
            ("ID", "CONTAINER ID"),
            ("CreatedHuman", "CREATED"),
            ("RunningFor", "CREATED"),
            ("CreatedAt", "CREATED AT"),
            ("Pod", "POD ID"),
            ("PodName", "PODNAME"),
            ("Restarts", "RESTARTS"),
        ],
        format: args.format.as_deref(),
        no_heading: args.noheading,
        docker: &[
            "Command",
            "CreatedAt",
            "ID",
            "Image",
            "Labels",
            "LocalVolumes",
            "Mounts",
            "Names",
            "Networks",
            "Ports",
            "RunningFor",
            "Size",
            "State",
            "Status",
        ],
    }
    .print(out, &rows, || {
        Value::Array(
            shown
                .iter()
                .enumerate()
                .map(|(i, s)| machine(s, sizes.get(i), &pods))
                .collect(),
        )
    })?;
    if args.watch.is_some() {
        drop((
            ManuallyDrop::into_inner(rows),
            ManuallyDrop::into_inner(shown),
        ));
    }
    Ok(())
}

/// Names of pods by their ids.
pub(crate) struct PodNames(BTreeMap<String, String>);

impl PodNames {
    /// Reads them where a container is in a pod.
    pub(crate) fn of(session: &Session, shown: &[Summary]) -> Result<Self> {
        let in_pods = |s: &Summary| s.container.record.options.pod.is_some();
        if !shown.iter().any(in_pods) {
            return Ok(Self(BTreeMap::new()));
        }
        let (pods, _) = Pods::new(&session.dirs).list()?;
        let names = pods
            .into_iter()
            .map(|p| (p.id.to_string(), p.name.to_string()));
        Ok(Self(names.collect()))
    }

    fn name(&self, s: &Summary) -> &str {
        let id = s.container.record.options.pod.as_ref();
        id.and_then(|id| self.0.get(id)).map_or("", String::as_str)
    }
}

fn pod(s: &Summary, full: bool) -> &str {
    let id = s
        .container
        .record
        .options
        .pod
        .as_deref()
        .unwrap_or_default();
    match full {
        true => id,
        false => id.get(..12).unwrap_or(id),
    }
}

fn id(s: &Summary, full: bool) -> &str {
    if full {
        s.container.id().as_str()
    } else {
        s.container.id().short()
    }
}

fn sort(shown: &mut Vec<Summary>, sizes: &mut Vec<Sizes>, key: &str) -> Result<()> {
    let mut order: Vec<usize> = (0..shown.len()).collect();
    let text = |s: &Summary| match key {
        "command" => s.command().join(" "),
        "id" => s.container.id().to_string(),
        "image" => image(s),
        "names" => s.container.name().to_owned(),
        "status" => s.status_text(),
        _ => String::new(),
    };
    match key {
        // Newest first is the order that they come in.
        "created" => return Ok(()),
        "runningfor" => order.sort_by_key(|i| shown[*i].started()),
        "size" => order.sort_by_key(|i| sizes.get(*i).map(|s| s.virtual_size)),
        "command" | "id" | "image" | "names" | "status" => {
            order.sort_by_cached_key(|i| text(&shown[*i]));
        }
        _ => {
            return Err(Error::invalid(format!("cannot sort by {key:?}"))
                .hint("use created, command, id, image, names, runningfor, size or status"));
        }
    }
    *shown = order.iter().map(|i| shown[*i].clone()).collect();
    if !sizes.is_empty() {
        *sizes = order.iter().map(|i| sizes[*i]).collect();
    }
    Ok(())
}

fn image(s: &Summary) -> String {
    let record = &s.container.record;
    match (&record.options.rootfs, &record.image) {
        (Some(rootfs), _) => rootfs.path.display().to_string(),
        (None, Some(image)) => image.name.clone(),
        (None, None) => record.options.image.clone(),
    }
}

/// podman cuts at 17 signs.
fn command_text(s: &Summary, full: bool) -> String {
    let text = s.command().join(" ");
    if full || text.chars().count() <= 18 {
        return text;
    }
    text.chars().take(17).chain("...".chars()).collect()
}

fn ago(t: Option<Timestamp>) -> String {
    t.map_or_else(String::new, |t| {
        format!("{} ago", human_duration(t.elapsed()))
    })
}

fn mounts(s: &Summary) -> Vec<String> {
    let record = &s.container.record;
    let mut all: Vec<String> = record
        .volumes
        .iter()
        .map(|v| v.destination.clone())
        .collect();
    for m in &record.options.mounts {
        if !all.contains(&m.destination) {
            all.push(m.destination.clone());
        }
    }
    all
}

fn size_text(sizes: Option<&Sizes>) -> String {
    sizes.map_or_else(String::new, |s| {
        format!(
            "{} (virtual {})",
            size::human(s.upper),
            size::human(s.virtual_size)
        )
    })
}

fn network(s: &Summary) -> String {
    let names = s.networks();
    if !names.is_empty() {
        return names.join(",");
    }
    match &s.status {
        Some(status) if !status.network.is_empty() => status.network.clone(),
        _ => network_name(&s.container.record.options.network.mode),
    }
}

/// The columns of the table: thousands of containers need no more.
fn table_row(s: &Summary, sizes: Option<&Sizes>, args: &PsArgs, pods: &PodNames) -> Value {
    let record = &s.container.record;
    json!({
        "ID": id(s, args.no_trunc),
        "Names": record.name,
        "Image": image(s),
        "Command": command_text(s, args.no_trunc),
        "Created": ago(Some(record.created)),
        "Status": s.status_text(),
        "Ports": ports_text(s.ports()),
        "Size": size_text(sizes),
        "Pod": pod(s, args.no_trunc),
        "PodName": pods.name(s),
    })
}

/// The fields that templates may name.
fn row(s: &Summary, sizes: Option<&Sizes>, args: &PsArgs, pods: &PodNames) -> Value {
    let record = &s.container.record;
    let image_id = record
        .image
        .as_ref()
        .map_or_else(String::new, |i| i.id.hex().to_owned());
    let mut row = json!({
        "ID": id(s, args.no_trunc),
        "Names": record.name,
        "Name": record.name,
        "Image": image(s),
        "ImageID": if args.no_trunc { image_id.clone() } else { image_id.chars().take(12).collect() },
        "Command": command_text(s, args.no_trunc),
        "Created": ago(Some(record.created)),
        "CreatedAt": record.created.local_text(),
        "CreatedHuman": ago(Some(record.created)),
        "RunningFor": ago(Some(record.created)),
        "Status": s.status_text(),
        "State": s.state.name(),
        "Ports": ports_text(s.ports()),
        "Labels": record.options.labels,
        "Mounts": mounts(s).join(","),
        "Networks": network(s),
        "Size": size_text(sizes),
        "Pod": pod(s, args.no_trunc),
        "PodName": pods.name(s),
        "Pid": s.pid(),
        "ExitCode": s.exit_code(),
        "Exited": s.ended(),
        "ExitedAt": s.finished().map_or(0, Timestamp::seconds),
        "StartedAt": s.started().map_or(0, Timestamp::seconds),
        "Restarts": s.restarts(),
        "AutoRemove": record.options.remove,
        "CIDFile": record.options.cidfile,
        "IsInfra": record.options.infra,
        "LocalVolumes": record.volumes.len().to_string(),
        "Platform": "linux",
    });
    if (args.ns
        || args
            .format
            .as_deref()
            .is_some_and(|f| f.contains("NS") || f.contains("MNT")))
        && let Some(map) = row.as_object_mut()
    {
        map.extend(namespaces(s.pid()));
    }
    row
}

/// The same with docker's texts where they differ.
fn as_docker(mut row: Value, s: &Summary, sizes: Option<&Sizes>, full: bool) -> Value {
    let record = &s.container.record;
    row["Command"] = docker::command(&s.command().join(" "), full).into();
    // As typed, where it was typed.
    row["Image"] = match record.options.image.as_str() {
        "" => image(s),
        typed => typed.to_owned(),
    }
    .into();
    row["Labels"] = docker::labels(&record.options.labels).into();
    row["Size"] = sizes
        .map_or_else(String::new, |s| {
            let (own, all) = (
                size::human_short(s.upper),
                size::human_short(s.virtual_size),
            );
            format!("{own} (virtual {all})")
        })
        .into();
    row["Status"] = s
        .status_text()
        .replace("(starting)", "(health: starting)")
        .into();
    // Whole seconds, and what is mounted in place of where.
    let at = record.created.local_text();
    row["CreatedAt"] = match (at.find('.'), at.find(" +").or_else(|| at.find(" -"))) {
        (Some(dot), Some(zone)) if dot < zone => format!("{}{}", &at[..dot], &at[zone..]),
        _ => at,
    }
    .into();
    let volumes = record.volumes.iter().map(|v| v.name.clone());
    let binds = record
        .options
        .mounts
        .iter()
        .filter_map(|m| match &m.source {
            MountSource::Bind { path, .. } => Some(path.display().to_string()),
            _ => None,
        });
    let mounts: Vec<String> = volumes
        .chain(binds)
        .map(|m| match full || m.chars().count() <= 15 {
            true => m,
            false => m.chars().take(14).chain(['…']).collect(),
        })
        .collect();
    row["Mounts"] = mounts.join(",").into();
    row
}

/// Inode numbers of the namespaces, as podman shows them.
fn namespaces(pid: i32) -> Map<String, Value> {
    let kinds = [
        ("CGROUPNS", "cgroup"),
        ("IPC", "ipc"),
        ("MNT", "mnt"),
        ("NET", "net"),
        ("PIDNS", "pid"),
        ("USERNS", "user"),
        ("UTS", "uts"),
    ];
    kinds
        .into_iter()
        .map(|(name, file)| {
            let link = std::fs::read_link(format!("/proc/{pid}/ns/{file}")).ok();
            let inode = link
                .as_deref()
                .and_then(|l| l.to_str())
                .and_then(|l| l.split(['[', ']']).nth(1))
                .unwrap_or_default();
            (name.to_owned(), inode.into())
        })
        .collect()
}

/// One object of `--format json`, with podman's names and types.
pub(crate) fn machine(s: &Summary, sizes: Option<&Sizes>, pods: &PodNames) -> Value {
    let record = &s.container.record;
    let ports: Vec<Value> = s
        .ports()
        .iter()
        .map(|p| {
            json!({
                "host_ip": p.host_ip.map_or_else(String::new, |ip| ip.to_string()),
                "container_port": p.container_port,
                "host_port": p.host_port,
                "range": p.range.max(1),
                "protocol": p.protocol.name(),
            })
        })
        .collect();
    json!({
        "AutoRemove": record.options.remove,
        "Command": s.command(),
        "Created": record.created.seconds(),
        "CreatedAt": ago(Some(record.created)),
        "CIDFile": record.options.cidfile,
        "ExitCode": s.exit_code(),
        "Exited": s.ended(),
        "ExitedAt": s.finished().map_or(-62_135_596_800, Timestamp::seconds),
        "Id": record.id,
        "Image": image(s),
        "ImageID": record.image.as_ref().map_or("", |i| i.id.hex()),
        "IsInfra": record.options.infra,
        "Labels": record.options.labels,
        "Mounts": mounts(s),
        "Names": [record.name],
        "Namespaces": {},
        "Networks": [network(s)],
        "Pid": s.pid(),
        "Pod": pod(s, true),
        "PodName": pods.name(s),
        "Ports": ports,
        "Restarts": s.restarts(),
        "Size": sizes.map(|z| json!({"rwSize": z.upper, "rootFsSize": z.virtual_size})),
        "StartedAt": s.started().map_or(-62_135_596_800, Timestamp::seconds),
        "State": s.state.name(),
        "Status": s.status_text(),
    })
}
