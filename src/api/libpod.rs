//! What only podman's clients ask for: `/libpod/secrets/…`, `/libpod/pods/…` and `/libpod/containers/stats`.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::conn::{Conn, gone};
use super::{Cx, tool};
use crate::base::filter::Filters;
use crate::base::{Error, Kind, Result};
use crate::cli::secret::inspect::value as secret_value;
use crate::operations::container::list::{self, ListOptions};
use crate::operations::container::stats as figures;
use crate::operations::pod::list::{PodSummary, list as list_pods};
use crate::operations::secret;
use crate::secrets::Taken;
use crate::state::container::{Container, Containers};
use crate::state::pod::Pods;
use crate::sys::process;

/// A secret is no longer, bytes.
const SECRET: u64 = 512 << 10;

/// `/libpod/secrets/…`; false for a route that there is not.
///
/// # Errors
/// What the operation says.
pub fn secrets(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    let session = cx.session;
    match (cx.method(), path) {
        ("GET", ["json"]) => {
            let filters = Filters::parse(&cx.filters()?, secret::FILTERS)?;
            let list = secret::list(session, &filters)?;
            conn.json(200, &list.iter().map(secret_value).collect())?;
        }
        ("POST", ["create"]) => {
            let request = secret::Create {
                name: cx.head.given("name").unwrap_or_default().to_owned(),
                source: secret::Source::Bytes(conn.body(SECRET)?),
                driver: cx.head.given("driver").map(str::to_owned),
                options: object(cx.head.given("driveropts"))?,
                labels: object(cx.head.given("labels"))?,
                taken: match (cx.head.flag("replace"), cx.head.flag("ignore")) {
                    (true, _) => Taken::Replace,
                    (_, true) => Taken::Keep,
                    _ => Taken::Refuse,
                },
            };
            let record = secret::create(session, &request)?;
            conn.json(200, &json!({"ID": record.id}))?;
        }
        ("GET", [name, "json"]) => {
            conn.json(200, &secret_value(&secret::find(session, name)?))?;
        }
        ("GET", [name, "exists"]) => {
            secret::find(session, name)?;
            conn.empty(204)?;
        }
        ("DELETE", [name]) => {
            secret::remove(session, name)?;
            conn.empty(204)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `GET /libpod/containers/stats`: of the containers that are named, or all that run.
///
/// # Errors
/// `NotFound` for one that is not there; that the client went away.
pub fn stats(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let session = cx.session;
    let stream = cx.head.value("stream").is_none() || cx.head.flag("stream");
    let interval = cx.head.given("interval").and_then(|i| i.parse().ok());
    let named: Vec<&str> = cx
        .head
        .values("containers")
        .flat_map(|n| n.split(','))
        .collect();
    let chosen: Vec<Container> = match named.is_empty() {
        true => {
            let running = ListOptions::default();
            let (shown, _) = list::list(session, &running)?;
            shown.into_iter().map(|s| s.container).collect()
        }
        false => {
            let all = Containers::new(&session.dirs);
            named.iter().map(|n| all.find(n)).collect::<Result<_>>()?
        }
    };
    cx.line.may_be_cut();
    let mut before: Vec<Option<figures::Sample>> = vec![None; chosen.len()];
    loop {
        let mut rows = Vec::new();
        for (container, before) in chosen.iter().zip(&mut before) {
            if !container.dir().exists() {
                continue;
            }
            let now = figures::sample(session, container)?;
            rows.push(json!({
                "ContainerID": container.id(),
                "Name": container.name(),
                "CPU": now.cpu_percent(before.as_ref()),
                "AvgCPU": now.cpu_percent(None),
                "CPUNano": now.cpu_usec * 1000,
                "SystemNano": now.at,
                "MemUsage": now.memory,
                "MemLimit": now.memory_limit,
                "MemPerc": now.memory_percent(),
                "NetInput": now.received,
                "NetOutput": now.sent,
                "BlockInput": now.read.unwrap_or(0),
                "BlockOutput": now.written.unwrap_or(0),
                "PIDs": now.pids,
                "UpTime": now.cpu_usec * 1000,
                "Duration": now.cpu_usec * 1000,
            }));
            *before = Some(now);
        }
        let value = json!({"Error": null, "Stats": rows});
        if !stream {
            return conn.json(200, &value);
        }
        if !conn.has_begun() {
            conn.begin_stream(200, &[("Content-Type", "application/json")])?;
        }
        conn.write_all(format!("{value}\n").as_bytes())
            .map_err(gone)?;
        if rows_are_gone(&chosen) {
            return conn.finish();
        }
        process::pause(Duration::from_secs(interval.unwrap_or(5).clamp(1, 3600)));
    }
}

/// Whether nothing can follow.
fn rows_are_gone(chosen: &[Container]) -> bool {
    chosen.iter().all(|c| !c.dir().exists())
}

/// Texts by name, as JSON in the query.
fn object(text: Option<&str>) -> Result<std::collections::BTreeMap<String, String>> {
    let wrong = |_| Error::invalid("a value of the query is no object of texts");
    text.map_or_else(
        || Ok(Default::default()),
        |t| serde_json::from_str(t).map_err(wrong),
    )
}

/// `/libpod/pods/…`; false for a route that there is not.
///
/// # Errors
/// What the operation says.
pub fn pods(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    let session = cx.session;
    let find = |name: &str| {
        Pods::new(&session.dirs)
            .find(name)
            .map_err(|e| match e.kind() {
                Kind::NotFound => Error::not_found(format!("no such pod: {name}")),
                _ => e,
            })
    };
    let act = |words: &[&str]| tool::run(tool::command(session, words)?);
    match (cx.method(), path) {
        ("GET", ["json"]) => {
            let filters = cx.filters()?;
            let known: Vec<&str> = filters.iter().filter_map(|f| f.split('=').next()).collect();
            let (shown, _) = list_pods(session, &Filters::parse(&filters, &known)?)?;
            let rows: Vec<Value> = shown
                .iter()
                .map(|pod| {
                    let record = &pod.record;
                    json!({
                        "Id": record.id, "Name": record.name, "Status": pod.status(),
                        "Created": record.created.rfc3339(), "Labels": record.labels,
                        "Networks": pod.networks(),
                    })
                })
                .collect();
            conn.json(200, &Value::Array(rows))?;
        }
        ("POST", ["create"]) => {
            let body = cx.body(conn)?;
            let fields = body.as_object().into_iter().flatten();
            let mut words = vec!["pod".to_owned(), "create".to_owned()];
            for (field, value) in fields {
                match (field.as_str(), value) {
                    (_, Value::Null | Value::Bool(false)) => {}
                    ("name", Value::String(name)) => words.push(format!("--name={name}")),
                    ("hostname", Value::String(name)) => words.push(format!("--hostname={name}")),
                    ("no_infra", Value::Bool(true)) => words.push("--infra=false".to_owned()),
                    ("labels", Value::Object(labels)) => {
                        for (key, value) in labels {
                            let value = value.as_str().unwrap_or_default();
                            words.push(format!("--label={key}={value}"));
                        }
                    }
                    (_, Value::Object(map)) if map.is_empty() => {}
                    (_, Value::Array(list)) if list.is_empty() => {}
                    (other, _) => {
                        return Err(Error::unsupported(format!(
                            "the field {other} of a pod is not supported over the socket"
                        )));
                    }
                }
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let id = act(&words)?;
            conn.json(201, &json!({"Id": id.trim()}))?;
        }
        ("POST", ["prune"]) => {
            let gone = act(&["pod", "prune", "--force"])?;
            let rows = gone.lines().map(|id| json!({"Id": id, "Err": null}));
            conn.json(200, &rows.collect())?;
        }
        ("GET", [name, "exists"]) => {
            find(name)?;
            conn.empty(204)?;
        }
        ("GET", [name, "json"]) => {
            let summary = PodSummary::of(session, find(name)?)?;
            conn.json(200, &crate::operations::pod::inspect::value(&summary))?;
        }
        (
            "POST",
            [
                name,
                verb @ ("start" | "stop" | "restart" | "kill" | "pause" | "unpause"),
            ],
        ) => {
            let record = find(name)?;
            let signal = cx.head.given("signal").map(|s| format!("--signal={s}"));
            let time = cx.head.given("t").map(|t| format!("--time={t}"));
            let mut words = vec!["pod", verb];
            words.extend(signal.as_deref().filter(|_| *verb == "kill"));
            words.extend(time.as_deref().filter(|_| *verb == "stop"));
            let id = record.id.to_string();
            words.push(&id);
            act(&words)?;
            conn.json(200, &json!({"Id": id, "Errs": null}))?;
        }
        ("DELETE", [name]) => {
            let id = find(name)?.id.to_string();
            let mut words = vec!["pod", "rm"];
            if cx.head.flag("force") {
                words.extend(["--force", "--time=0"]);
            }
            words.push(&id);
            act(&words)?;
            conn.json(200, &json!({"Id": id, "Err": null}))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
