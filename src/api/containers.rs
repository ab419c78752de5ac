//! `/containers/…`.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::conn::{Conn, gone};
use super::{Cx, archive, create, events, exec, libpod, spec, streams, tool, wait};
use crate::base::fs::Durability;
use crate::base::{Error, Kind, Result, signal};
use crate::cli::output::{docker, docker_objects};
use crate::handoff::control::Control;
use crate::handoff::output::Stream;
use crate::operations::container::filter::network_name;
use crate::operations::container::list::{self, ListOptions};
use crate::operations::container::logs::{LogsOptions, Show, logs};
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::container::stop::{StopOptions, kill, stop};
use crate::operations::container::summary::Summary;
use crate::operations::container::{alter, inspect, look, pause, prune, run, stats, top, tree};
use crate::operations::image;
use crate::state::container::{Container, Containers, State};
use crate::state::network::DEFAULT;
use crate::state::options::NetworkMode;
use crate::storage::snapshot::ChangeKind;
use crate::sys::process;

/// Answers; false for a route that there is not.
///
/// # Errors
/// What the operation says.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    match (cx.method(), path) {
        ("GET", ["json"]) => list_all(cx, conn)?,
        ("POST", ["create"]) => create_one(cx, conn)?,
        ("POST", ["prune"]) => prune_all(cx, conn)?,
        ("GET", ["stats"]) if cx.libpod => libpod::stats(cx, conn)?,
        (_, [name, rest @ ..]) => {
            if cx.libpod && (cx.method(), rest) == ("GET", &["exists"]) {
                Containers::new(&cx.session.dirs).find(name)?;
                conn.empty(204)?;
                return Ok(true);
            }
            return one(cx, conn, name, rest);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn one(cx: &Cx<'_>, conn: &mut Conn, name: &str, rest: &[&str]) -> Result<bool> {
    let (session, head) = (cx.session, cx.head);
    let container = || Containers::new(&session.dirs).find(name);
    match (cx.method(), rest) {
        ("GET", ["json"]) => {
            let value = look::container(session, container()?, head.flag("size"))?;
            let value = match cx.libpod {
                true => readable_logs(value),
                false => {
                    let mut value = docker_container(value);
                    value["HostConfig"]["NetworkMode"] = network_mode(&container()?).into();
                    value
                }
            };
            conn.json(200, &value)?;
        }
        ("POST", ["start"]) => {
            let container = container()?;
            // What is not there is in the container: it is there itself.
            let started = streams::start(session, &container).map_err(|e| match e.kind() {
                Kind::NotFound if container.dir().exists() => e.with_kind(Kind::Invalid),
                _ => e,
            })?;
            conn.empty(if started { 204 } else { 304 })?;
        }
        ("POST", ["stop"]) => {
            let ran = stop(session, &container()?, &stopping(cx)?)?;
            conn.empty(if ran { 204 } else { 304 })?;
        }
        ("POST", ["restart"]) => {
            let mut warn = |text: &str| log::warn!("{text}");
            run::restart(session, &container()?, &stopping(cx)?, &mut warn)?;
            conn.empty(204)?;
        }
        ("POST", ["kill"]) => {
            let number = signal::parse(head.given("signal").unwrap_or("KILL"))?;
            kill(session, &container()?, number)?;
            conn.empty(204)?;
        }
        ("POST", ["pause"]) => {
            pause::pause(session, &container()?)?;
            conn.empty(204)?;
        }
        ("POST", ["unpause"]) => {
            pause::unpause(session, &container()?)?;
            conn.empty(204)?;
        }
        ("POST", ["init"]) if cx.libpod => {
            alter::init(session, &container()?, &mut |text| log::warn!("{text}"))?;
            conn.empty(204)?;
        }
        ("POST", ["rename"]) => {
            let new = head
                .given("name")
                .unwrap_or_default()
                .trim_start_matches('/');
            alter::rename(session, &container()?, new)?;
            conn.empty(204)?;
        }
        ("POST", ["wait"]) => wait::wait(cx, conn, container()?)?,
        ("POST", ["attach"]) => streams::attach(cx, conn, &container()?, false)?,
        ("GET", ["attach", "ws"]) => streams::attach(cx, conn, &container()?, true)?,
        ("POST", ["resize"]) => {
            let size = streams::size(cx)?;
            let container = container()?;
            if !container.state()?.is_active() {
                return Err(not_running(&container));
            }
            Control::connect(&container.control_socket())?.resize(size)?;
            conn.empty(200)?;
        }
        ("POST", ["update"]) => update(cx, conn, &container()?)?,
        ("POST", ["exec"]) => exec::create(cx, conn, &container()?)?,
        ("GET", ["logs"]) => send_logs(cx, conn, container()?)?,
        ("GET", ["top"]) => send_top(cx, conn, &container()?)?,
        ("GET", ["stats"]) => send_stats(cx, conn, &container()?)?,
        ("GET", ["changes"]) => changes(cx, conn, &container()?)?,
        ("GET", ["export"]) => {
            let id = container()?.id().to_string();
            let command = tool::command(session, &["export", &id])?;
            cx.line.may_be_cut();
            tool::stream(command, conn, &[("Content-Type", "application/x-tar")])?;
        }
        ("GET" | "HEAD" | "PUT", ["archive"]) => archive::route(cx, conn, &container()?)?,
        ("DELETE", []) => {
            let options = RemoveOptions {
                force: head.flag("force"),
                volumes: head.flag("v"),
                ..RemoveOptions::default()
            };
            if head.flag("link") {
                return Err(Error::invalid("there are no links between containers"));
            }
            let gone = remove(session, container()?, &options)?;
            match cx.libpod {
                true => {
                    let list: Vec<Value> = gone
                        .iter()
                        .map(|id| json!({"Id": id, "Err": null}))
                        .collect();
                    conn.json(200, &Value::Array(list))?;
                }
                false => conn.empty(204)?,
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn not_running(container: &Container) -> Error {
    Error::new(
        Kind::InUse,
        format!("container {} is not running", container.id()),
    )
}

fn stopping(cx: &Cx<'_>) -> Result<StopOptions> {
    let timeout = match cx.head.given("t").or_else(|| cx.head.given("timeout")) {
        None => None,
        Some(text) => {
            let seconds: i64 = text
                .parse()
                .map_err(|_| Error::invalid(format!("invalid time {text:?}")))?;
            // A negative one waits for ever, which ends some day.
            Some(Duration::from_secs(
                u64::try_from(seconds).unwrap_or(u64::from(u32::MAX)),
            ))
        }
    };
    Ok(StopOptions {
        timeout,
        signal: cx.head.given("signal").map(signal::parse).transpose()?,
    })
}

/// Libraries read the logs of drivers that they know; this one can be read as well.
fn readable_logs(mut value: Value) -> Value {
    let log = &mut value["HostConfig"]["LogConfig"]["Type"];
    if log == "k8s-file" {
        *log = "json-file".into();
    }
    value
}

/// Docker's name of what a container's network is: that of its first one, by which clients look it up.
fn network_mode(container: &Container) -> String {
    match &container.record.options.network.mode {
        NetworkMode::Networks(list) => match list.first().map(|w| w.name.as_str()) {
            None | Some(DEFAULT) => "bridge".to_owned(),
            Some(name) => name.to_owned(),
        },
        mode => network_name(mode),
    }
}

/// What podman's object of a container has and Docker's has not.
const PODMANS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "ImageDigest",
            "ImageName",
            "Rootfs",
            "Pod",
            "StaticDir",
            "OCIConfigPath",
            "OCIRuntime",
            "ConmonPidFile",
            "PidFile",
            "EffectiveCaps",
            "BoundingCaps",
            "Dependencies",
            "Namespace",
            "IsInfra",
            "IsService",
            "lockNumber",
        ],
    ),
    (
        "/State",
        &[
            "OciVersion",
            "ConmonPid",
            "RestoredAt",
            "StoppedByUser",
            "CgroupPath",
            "CheckpointedAt",
        ],
    ),
    (
        "/Config",
        &[
            "Annotations",
            "HealthcheckOnFailureAction",
            "HealthLogDestination",
            "HealthcheckMaxLogCount",
            "HealthcheckMaxLogSize",
            "CreateCommand",
            "Umask",
            "Timeout",
            "Passwd",
            "sdNotifyMode",
            "SystemdMode",
        ],
    ),
    (
        "/HostConfig",
        &[
            "CgroupManager",
            "CgroupMode",
            "AutoRemoveImage",
            "Cgroups",
            "IDMappings",
            "DiskQuota",
            "KernelMemory",
            "CgroupConf",
        ],
    ),
    ("/HostConfig/LogConfig", &["Path", "Tag", "Size"]),
];

/// Takes fields away that Docker's description does not have.
pub fn without(mut value: Value, at: &str, fields: &[&str]) -> Value {
    if let Some(Value::Object(object)) = value.pointer_mut(at) {
        for field in fields {
            object.remove(*field);
        }
    }
    value
}

/// Docker's object, with what podman's has otherwise.
pub fn docker_container(value: Value) -> Value {
    let mut value = readable_logs(docker_objects::object(value));
    for (at, fields) in PODMANS {
        value = without(value, at, fields);
    }
    value["Mounts"] = docker_mounts(value["Mounts"].take());
    // Docker's name for the network that is always there.
    if let Some(networks) = value["NetworkSettings"]["Networks"].as_object_mut()
        && let Some(network) = networks.remove(DEFAULT)
    {
        networks.insert("bridge".to_owned(), network);
    }
    let state = &mut value["State"];
    if state["Paused"] == true {
        state["Running"] = true.into();
    }
    if state["Health"].is_null()
        && let Some(state) = state.as_object_mut()
    {
        state.remove("Health");
    }
    value
}

/// Mounts without podman's own field.
fn docker_mounts(list: Value) -> Value {
    let Value::Array(list) = list else {
        return list;
    };
    let each = list.into_iter();
    each.map(|mount| without(mount, "", &["Options"])).collect()
}

fn create_one(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let body = cx.body(conn)?;
    let name = cx.head.given("name").map(|n| n.trim_start_matches('/'));
    let (words, image) = match cx.libpod {
        true => (spec::words(&body)?, &body["image"]),
        false => (
            create::words(&body, name, cx.head.given("platform"))?,
            &body["Image"],
        ),
    };
    let image = image.as_str().unwrap_or_default();
    // Clients pull when they are told so in these words.
    image::lookup(cx.session, image).map_err(|e| match e.kind() {
        Kind::NotFound => Error::not_found(format!("No such image: {image}")),
        _ => e,
    })?;
    folders_of_binds(&body);
    let mut session = cx.session.clone();
    let (mut options, mut run) = crate::cli::container::run::of_words(&words, &mut session)?;
    options.create_command.clear();
    run.kept = true;
    let mut warnings = Vec::new();
    let created = crate::operations::container::create::create(
        &session,
        options,
        &run,
        // Whole or not there after a power cut, as a container of `run`.
        Durability::Volatile,
        &mut |text| warnings.push(text.to_owned()),
        &mut |_, _| Ok(()),
    )?;
    let id = created.container.id().as_str();
    conn.json(201, &json!({"Id": id, "Warnings": warnings}))
}

/// A folder of the host that is to be bound and is not there is made, as Docker does for `Binds`. What
/// cannot be made, the creation complains about.
fn folders_of_binds(body: &Value) {
    for bind in body["HostConfig"]["Binds"].as_array().into_iter().flatten() {
        let source = bind.as_str().and_then(|b| b.split(':').next());
        if let Some(path) = source.filter(|p| p.starts_with('/')) {
            let _made = std::fs::create_dir_all(path);
        }
    }
}

fn list_all(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let head = cx.head;
    let last = head.given("limit").or_else(|| head.given("last"));
    let last = last
        .and_then(|l| l.parse::<usize>().ok())
        .filter(|l| *l > 0);
    let filters = cx.filters()?;
    let options = ListOptions {
        all: head.flag("all"),
        last,
        filters: filters
            .iter()
            .map(|f| {
                f.replacen("name=/", "name=", 1)
                    .replacen("name=^/", "name=^", 1)
            })
            .collect(),
    };
    let (shown, bad) = list::list(cx.session, &options)?;
    for error in &bad {
        log::warn!("{}", error.one_line());
    }
    let pods = crate::cli::container::ps::PodNames::of(cx.session, &shown)?;
    let mut values = Vec::new();
    for summary in &shown {
        let sizes = match head.flag("size") {
            true => Some(list::sizes(cx.session, &summary.container)?),
            false => None,
        };
        values.push(match cx.libpod {
            true => crate::cli::container::ps::machine(summary, sizes.as_ref(), &pods),
            false => {
                let mut value = row(cx, summary);
                if let Some(sizes) = &sizes {
                    value["SizeRw"] = sizes.upper.into();
                    value["SizeRootFs"] = sizes.virtual_size.into();
                }
                value
            }
        });
    }
    conn.json(200, &Value::Array(values))
}

/// Docker's word for a state.
fn state_name(state: State) -> &'static str {
    match state {
        // One that the next connection starts serves its ports, as far as anybody can tell.
        State::Waiting => "running",
        other => other.name(),
    }
}

fn row(cx: &Cx<'_>, s: &Summary) -> Value {
    let record = &s.container.record;
    let networks = match s.state.is_active() {
        true => look::container(cx.session, s.container.clone(), false)
            .map(|v| docker_container(v)["NetworkSettings"]["Networks"].take())
            .unwrap_or_default(),
        false => {
            let names = s.networks().into_iter();
            Value::Object(names.map(|n| (n, json!({}))).collect::<Map<_, _>>())
        }
    };
    let mut ports = Vec::new();
    for p in s.ports() {
        for offset in 0..p.range.max(1) {
            ports.push(json!({
                "IP": p.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
                "PrivatePort": p.container_port + offset,
                "PublicPort": p.host_port.saturating_add(offset),
                "Type": p.protocol.name(),
            }));
        }
    }
    let image = match (record.options.image.as_str(), &record.image) {
        ("", Some(image)) => image.name.clone(),
        (typed, _) => typed.to_owned(),
    };
    let id = record
        .image
        .as_ref()
        .map_or_else(String::new, |i| i.id.to_string());
    json!({
        "Id": record.id,
        "Names": [format!("/{}", record.name)],
        "Image": docker::familiar(&image),
        "ImageID": id,
        "Command": s.command().join(" "),
        "Created": record.created.seconds(),
        "Ports": ports,
        "Labels": record.options.labels,
        "State": state_name(s.state),
        "Status": s.status_text(),
        "HostConfig": {"NetworkMode": network_mode(&s.container)},
        "NetworkSettings": {"Networks": networks},
        "Mounts": docker_mounts(inspect::mounts(s, &cx.session.dirs.volumes()).into()),
    })
}

fn prune_all(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let pruned = prune::prune(cx.session, &cx.filters()?)?;
    if cx.libpod {
        let list: Vec<Value> = pruned
            .ids
            .iter()
            .map(|id| json!({"Id": id, "Err": null, "Size": 0}))
            .collect();
        return conn.json(200, &Value::Array(list));
    }
    let value = json!({"ContainersDeleted": pruned.ids, "SpaceReclaimed": pruned.bytes});
    conn.json(200, &value)
}

fn update(cx: &Cx<'_>, conn: &mut Conn, container: &Container) -> Result<()> {
    let body = cx.body(conn)?;
    let words = create::update_words(&body)?;
    if !words.is_empty() {
        let id = container.id().to_string();
        let mut line = vec!["update"];
        line.extend(words.iter().map(String::as_str));
        line.push(&id);
        tool::run(tool::command(cx.session, &line)?)?;
    }
    conn.json(200, &json!({"Warnings": []}))
}

fn send_logs(cx: &Cx<'_>, conn: &mut Conn, container: Container) -> Result<()> {
    let head = cx.head;
    let (out, err) = (head.flag("stdout"), head.flag("stderr"));
    if !out && !err {
        return Err(Error::invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let tail = match head.given("tail") {
        None | Some("all") => None,
        Some(text) => text.parse().ok(),
    };
    let options = LogsOptions {
        follow: head.flag("follow"),
        tail,
        since: events::moment(head.value("since"))?,
        until: events::moment(head.value("until"))?,
    };
    let tty = container.record.options.tty;
    let timestamps = head.flag("timestamps");
    let fields = [("Content-Type", streams::kind(tty))];
    // Whether the last entry of a stream left its line open.
    let mut open = [false; 2];
    cx.line.may_be_cut();
    logs(&[container], &options, &mut |show| {
        if !conn.has_begun() {
            conn.begin_stream(200, &fields)?;
        }
        let Show::Entry(_, entry) = show else {
            return Ok(());
        };
        let wanted = match entry.stream {
            Stream::Stdout => out,
            Stream::Stderr => err,
        };
        if !wanted {
            return Ok(());
        }
        let mut line = Vec::with_capacity(entry.text.len() + 40);
        let open = &mut open[usize::from(entry.stream == Stream::Stderr)];
        if timestamps && !*open {
            line.extend(entry.time.rfc3339_nanos().into_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(&entry.text);
        if entry.ends_line {
            line.push(b'\n');
        }
        *open = !entry.ends_line;
        let bytes = match tty {
            true => line,
            false => streams::frame(entry.stream, &line),
        };
        conn.write_all(&bytes).map_err(gone)
    })?;
    if !conn.has_begun() {
        conn.begin_stream(200, &fields)?;
    }
    conn.finish()
}

fn send_top(cx: &Cx<'_>, conn: &mut Conn, container: &Container) -> Result<()> {
    let arguments = cx.head.given("ps_args").filter(|a| *a != "-ef");
    let words: Vec<String> = arguments
        .map(|a| {
            a.split([' ', ','])
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    let (columns, titles): (Vec<&str>, Vec<String>) = match words.is_empty() {
        true => top::DOCKER
            .iter()
            .map(|(name, title)| (*name, (*title).to_owned()))
            .unzip(),
        false => {
            let columns = top::parse(&words).ok_or_else(|| {
                Error::unsupported(format!("unknown columns of top: {words:?}"))
                    .hint("use podman's, e.g. pid,user,args")
            })?;
            let titles = columns.iter().map(|c| c.to_uppercase()).collect();
            (columns, titles)
        }
    };
    if container.state()? != State::Running {
        return Err(not_running(container));
    }
    let rows = top::top(cx.session, container, &columns)?;
    conn.json(200, &json!({"Titles": titles, "Processes": rows}))
}

/// Docker's object of one look, and the one before it.
fn stats_value(s: &Summary, now: &stats::Sample, before: Option<&stats::Sample>) -> Value {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let time = |at: i64| crate::base::time::Timestamp(at).rfc3339_nanos();
    let cpu = |sample: &stats::Sample| {
        let used = sample.cpu_usec * 1000;
        // The host's own time, as far as a share can be told from it: what all processors could do.
        let system = u64::try_from(sample.at)
            .unwrap_or(0)
            .saturating_mul(cpus as u64);
        json!({
            "cpu_usage": {
                "total_usage": used, "percpu_usage": null,
                "usage_in_kernelmode": 0, "usage_in_usermode": used,
            },
            "system_cpu_usage": system,
            "online_cpus": cpus,
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        })
    };
    let io = |read: Option<u64>, written: Option<u64>| {
        let one = |op: &str, value: u64| json!({"major": 0, "minor": 0, "op": op, "value": value});
        match (read, written) {
            (None, None) => json!([]),
            (read, written) => {
                json!([
                    one("read", read.unwrap_or(0)),
                    one("write", written.unwrap_or(0))
                ])
            }
        }
    };
    let zero = stats::Sample::default();
    let old = before.unwrap_or(&zero);
    json!({
        "name": format!("/{}", s.container.name()),
        "id": s.container.id(),
        "read": time(now.at),
        "preread": if before.is_some() { time(old.at) } else { "0001-01-01T00:00:00Z".to_owned() },
        "num_procs": 0,
        "pids_stats": {"current": now.pids},
        "cpu_stats": cpu(now),
        "precpu_stats": cpu(old),
        "memory_stats": {"usage": now.memory, "stats": {}, "limit": now.memory_limit},
        "blkio_stats": {"io_service_bytes_recursive": io(now.read, now.written)},
        "storage_stats": {},
        "networks": {"eth0": {
            "rx_bytes": now.received, "rx_packets": 0, "rx_errors": 0, "rx_dropped": 0,
            "tx_bytes": now.sent, "tx_packets": 0, "tx_errors": 0, "tx_dropped": 0,
        }},
    })
}

fn send_stats(cx: &Cx<'_>, conn: &mut Conn, container: &Container) -> Result<()> {
    let stream = cx.head.value("stream").is_none() || cx.head.flag("stream");
    let one_shot = cx.head.flag("one-shot");
    cx.line.may_be_cut();
    let mut before: Option<stats::Sample> = None;
    loop {
        let summary = Summary::of(container.clone())?;
        let now = stats::sample(cx.session, container)?;
        // Without a stream, the second look has the first one to compare with.
        if stream || one_shot || before.is_some() || summary.state != State::Running {
            if !conn.has_begun() {
                conn.begin_stream(200, &[("Content-Type", "application/json")])?;
            }
            let text = format!("{}\n", stats_value(&summary, &now, before.as_ref()));
            conn.write_all(text.as_bytes()).map_err(gone)?;
            if !stream {
                return conn.finish();
            }
        }
        before = Some(now);
        process::pause(Duration::from_secs(1));
        if !container.dir().exists() {
            return conn.finish();
        }
    }
}

fn changes(cx: &Cx<'_>, conn: &mut Conn, container: &Container) -> Result<()> {
    let changes = tree::diff(cx.session, container)?;
    let list: Vec<Value> = changes
        .iter()
        .map(|c| {
            let kind = match c.kind {
                ChangeKind::Changed => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            };
            json!({"Path": String::from_utf8_lossy(&c.path), "Kind": kind})
        })
        .collect();
    conn.json(200, &Value::Array(list))
}
