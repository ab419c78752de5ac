//! `/images/…`, `/commit` and `/distribution/…`.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};

use super::conn::Conn;
use super::progress::Lines;
use super::{Cx, tool};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::cli::output::filter::{Filters, point_in_time};
use crate::cli::output::{docker, docker_objects};
use crate::image::filter::{self, Listed};
use crate::operations::container::commit::{CommitOptions, commit as commit_operation};
use crate::operations::image::policy::RegistryOptions;
use crate::operations::image::remove::{Options as RemoveOptions, Removed};
use crate::operations::image::{self, inspect, list, pull, push, remove, search};
use crate::spec::reference::Reference;
use crate::state::container::Containers;

/// What podman's object of an image has and Docker's has not.
const PODMANS: &[&str] = &[
    "Digest",
    "Version",
    "Labels",
    "Annotations",
    "ManifestType",
    "User",
    "History",
    "NamesHistory",
    "Healthcheck",
    "Container",
];

/// Answers; false for a route that there is not.
///
/// # Errors
/// What the operation says.
pub fn route(cx: &Cx<'_>, conn: &mut Conn, path: &[&str]) -> Result<bool> {
    match (cx.method(), path) {
        ("GET", ["json"]) => list_all(cx, conn)?,
        ("POST", ["create"]) if cx.head.given("fromSrc").is_some() => import(cx, conn)?,
        ("POST", ["create"] | ["pull"]) => pull_one(cx, conn)?,
        ("POST", ["load"]) => load(cx, conn)?,
        ("GET", ["get"] | ["export"]) => {
            let names: Vec<String> = cx
                .head
                .values("names")
                .chain(cx.head.values("references"))
                .flat_map(|n| n.split(','))
                .map(str::to_owned)
                .collect();
            save(cx, conn, &names)?;
        }
        ("GET", ["search"]) => find(cx, conn)?,
        ("POST", ["prune"]) => prune(cx, conn)?,
        (_, [name @ .., last]) if !name.is_empty() && is_verb(cx.method(), last) => {
            return one(cx, conn, &name.join("/"), last);
        }
        ("DELETE", name) if !name.is_empty() => delete(cx, conn, &name.join("/"))?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn is_verb(method: &str, word: &str) -> bool {
    match method {
        "GET" => matches!(word, "json" | "history" | "get" | "exists"),
        "POST" => matches!(word, "push" | "tag" | "untag"),
        _ => false,
    }
}

fn one(cx: &Cx<'_>, conn: &mut Conn, name: &str, verb: &str) -> Result<bool> {
    let session = cx.session;
    let found = || image::lookup(session, name).map_err(|e| no_such(e, name));
    match verb {
        "json" => {
            let value = inspect::inspect(session, &found()?.record)?;
            let value = match cx.libpod {
                true => value,
                false => super::containers::without(docker_objects::object(value), "", PODMANS),
            };
            conn.json(200, &value)?;
        }
        "exists" if cx.libpod => {
            found()?;
            conn.empty(204)?;
        }
        "history" => {
            let lines = inspect::history(session, &found()?.record)?;
            let lines: Vec<Value> = lines
                .into_iter()
                .map(|l| {
                    let id =
                        l.id.map_or_else(|| "<missing>".to_owned(), |id| format!("sha256:{id}"));
                    let tags: Vec<&str> = l.tags.iter().map(|t| docker::familiar(t)).collect();
                    json!({
                        "Id": id, "Created": l.created.seconds(), "CreatedBy": l.created_by,
                        "Tags": if tags.is_empty() { Value::Null } else { json!(tags) },
                        "Size": l.size, "Comment": l.comment,
                    })
                })
                .collect();
            conn.json(200, &Value::Array(lines))?;
        }
        "get" => save(cx, conn, &[name.to_owned()])?,
        "push" => push_one(cx, conn, name)?,
        "tag" => {
            let repository = cx.head.given("repo").unwrap_or_default();
            let name_ = with_tag(repository, cx.head.given("tag"));
            image::tag(session, &found()?.record.id.to_string(), &[name_.parse()?])?;
            conn.empty(201)?;
        }
        "untag" if cx.libpod => {
            let names: Vec<String> = match cx.head.given("repo") {
                Some(repository) => vec![with_tag(repository, cx.head.given("tag"))],
                None => Vec::new(),
            };
            image::untag(session, name, &names)?;
            conn.empty(201)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn no_such(e: Error, name: &str) -> Error {
    match e.kind() {
        Kind::NotFound => Error::not_found(format!("No such image: {name}")),
        _ => e,
    }
}

/// The name with its tag or digest.
fn with_tag(name: &str, tag: Option<&str>) -> String {
    match tag {
        None => name.to_owned(),
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
    }
}

/// What `X-Registry-Auth` says.
///
/// # Errors
/// `Invalid`.
pub fn registry(cx: &Cx<'_>) -> Result<RegistryOptions> {
    let mut options = RegistryOptions {
        tls_verify: cx
            .head
            .given("tlsVerify")
            .map(|_| cx.head.flag("tlsVerify")),
        ..RegistryOptions::default()
    };
    if let Some(text) = cx.head.field("x-registry-auth").filter(|t| !t.is_empty()) {
        options.credentials = credentials(text)?;
    }
    Ok(options)
}

fn credentials(text: &str) -> Result<Option<(String, String)>> {
    let wrong = || Error::invalid("the field X-Registry-Auth is not what Docker's clients send");
    // Both alphabets are in use, with and without padding.
    let plain: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(plain)
        .map_err(|_| wrong())?;
    if bytes.trim_ascii().is_empty() || bytes.trim_ascii() == b"null" {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    if value["identitytoken"]
        .as_str()
        .is_some_and(|t| !t.is_empty())
    {
        return Err(Error::unsupported(
            "identity tokens of registries are not supported over the socket",
        )
        .hint("log in with `coracle login`"));
    }
    let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let (user, password) = (field("username"), field("password"));
    Ok((!user.is_empty()).then_some((user, password)))
}

fn row(listed: &Listed) -> Value {
    let record = &listed.record;
    let tags: Vec<String> = listed
        .tags
        .iter()
        .map(|t| docker::familiar(&t.to_string()).to_owned())
        .collect();
    let mut digests: Vec<String> = listed.digests.iter().map(ToString::to_string).collect();
    if let Some(digest) = record.manifest_digest() {
        for name in &listed.tags {
            let text = format!("{}@{digest}", name.name());
            if !digests.contains(&text) {
                digests.push(text);
            }
        }
    }
    let digests: Vec<&str> = digests.iter().map(|d| docker::familiar(d)).collect();
    let labels = json!(record.config.config.labels);
    json!({
        "Id": record.id.to_string(),
        "ParentId": record.parent.as_ref().map_or_else(String::new, ToString::to_string),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": record.created().seconds(),
        "Size": record.size,
        "VirtualSize": record.size,
        "SharedSize": -1,
        "Labels": labels,
        "Containers": -1,
    })
}

/// A row of `GET /system/df`, too.
pub fn usage_row(listed: &Listed, size: u64, shared: u64) -> Value {
    let mut value = row(listed);
    value["Size"] = size.into();
    value["SharedSize"] = shared.into();
    value["Containers"] = listed.containers.into();
    value
}

fn list_all(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let known: Vec<&str> = filter::KEYS
        .iter()
        .copied()
        .filter(|k| !k.ends_with('!'))
        .collect();
    let mut words = cx.filters()?;
    if let Some(name) = cx.head.given("filter") {
        words.push(format!("reference={name}"));
    }
    let filters = Filters::parse(&words, &known)?;
    let now = Timestamp::now();
    let moment = |text: &str| point_in_time(text, now);
    let find = |text: &str| Ok(image::lookup_any(cx.session, text)?.record.created());
    let mut shown = Vec::new();
    for listed in list::list(cx.session)? {
        if !cx.head.flag("all") && listed.is_intermediate() {
            continue;
        }
        if filters.accept(|key, value| filter::holds(&listed, key, value, &find, &moment))? {
            shown.push(match cx.libpod {
                true => super::spec::image_row(row(&listed)),
                false => row(&listed),
            });
        }
    }
    conn.json(200, &Value::Array(shown))
}

fn pull_one(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let head = cx.head;
    let from = head.given("fromImage").or_else(|| head.given("reference"));
    let from = from.ok_or_else(|| Error::invalid("no image was named"))?;
    let from = from.strip_prefix("docker://").unwrap_or(from);
    let name = with_tag(from, head.given("tag"));
    let platform = head.given("platform").map(str::parse).transpose()?;
    let options = registry(cx)?;
    cx.line.may_be_cut();
    let lines = Arc::new(Lines::new(conn)?);
    let mut session = cx.session.clone();
    session.progress = Arc::clone(&lines) as _;
    let pulled = pull::pull(&session, &name, platform.as_ref(), &options);
    let shown = docker::familiar(&name);
    let found = match pulled {
        Ok(found) => found,
        Err(e) if lines.has_begun() => {
            lines.failure(&e);
            return lines.finish(conn);
        }
        Err(e) => {
            return Err(match e.kind() {
                Kind::Denied | Kind::NotFound => e.with_kind(Kind::NotFound),
                _ => e,
            });
        }
    };
    if cx.libpod {
        let id = found.record.id.hex();
        lines.say(&json!({"images": [id], "id": id}));
        return lines.finish(conn);
    }
    if let Some(digest) = found.record.manifest_digest() {
        lines.say(&json!({"status": format!("Digest: {digest}")}));
    }
    lines.say(&json!({"status": format!("Status: Downloaded newer image for {shown}")}));
    lines.finish(conn)
}

fn push_one(cx: &Cx<'_>, conn: &mut Conn, name: &str) -> Result<()> {
    let name = match cx.head.given("destination") {
        Some(_) => name.to_owned(),
        None => with_tag(name, cx.head.given("tag")),
    };
    image::lookup_any(cx.session, &name).map_err(|e| match e.kind() {
        Kind::NotFound => Error::not_found(format!(
            "An image does not exist locally with the tag: {name}"
        )),
        _ => e,
    })?;
    let options = push::Options {
        registry: registry(cx)?,
        ..push::Options::default()
    };
    let lines = Arc::new(Lines::new(conn)?);
    let mut session = cx.session.clone();
    session.progress = Arc::clone(&lines) as _;
    lines.say(&json!({"status": format!("The push refers to repository [{name}]")}));
    match push::push(&session, &name, cx.head.given("destination"), &options) {
        Ok(digest) => {
            let tag = cx.head.given("tag").unwrap_or("latest");
            lines.say(&json!({"status": format!("{tag}: digest: {digest} size: 0")}));
            lines.say(&json!({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest.to_string(), "Size": 0}}));
        }
        Err(e) => lines.failure(&e),
    }
    lines.finish(conn)
}

fn save(cx: &Cx<'_>, conn: &mut Conn, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Err(Error::invalid("no image was named"));
    }
    image::save::select(cx.session, names, None).map_err(|e| no_such(e, &names.join(", ")))?;
    let mut words = vec!["save"];
    if names.len() > 1 {
        words.push("--multi-image-archive");
    }
    words.extend(names.iter().map(String::as_str));
    cx.line.may_be_cut();
    let command = tool::command(cx.session, &words)?;
    tool::stream(command, conn, &[("Content-Type", "application/x-tar")])
}

fn load(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let text = tool::feed(tool::command(cx.session, &["load", "--quiet"])?, conn)?;
    let names: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_once(": ").map(|(_, name)| name))
        .collect();
    if cx.libpod {
        return conn.json(200, &json!({"Names": names}));
    }
    let mut out = String::new();
    for name in names {
        let line = json!({"stream": format!("Loaded image: {}\n", docker::familiar(name))});
        out.push_str(&format!("{line}\n"));
    }
    conn.answer(200, "application/json", out.as_bytes())
}

fn import(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let head = cx.head;
    let source = head.given("fromSrc").unwrap_or("-");
    let message = head.given("message").map(|m| format!("--message={m}"));
    let name = head.given("repo").map(|r| with_tag(r, head.given("tag")));
    let changes: Vec<String> = head
        .values("changes")
        .map(|c| format!("--change={c}"))
        .collect();
    let mut words = vec!["import", "--quiet"];
    words.extend(message.as_deref());
    words.extend(changes.iter().map(String::as_str));
    words.extend(["--", source]);
    words.extend(name.as_deref());
    let text = tool::feed(tool::command(cx.session, &words)?, conn)?;
    let id = text
        .lines()
        .last()
        .unwrap_or_default()
        .trim()
        .trim_start_matches("sha256:");
    let line = format!("{}\n", json!({"status": format!("sha256:{id}")}));
    conn.answer(200, "application/json", line.as_bytes())
}

fn delete(cx: &Cx<'_>, conn: &mut Conn, name: &str) -> Result<()> {
    let options = RemoveOptions {
        force: cx.head.flag("force"),
        no_prune: cx.head.flag("noprune"),
    };
    let gone = remove::remove(cx.session, name, options).map_err(|e| no_such(e, name))?;
    if cx.libpod {
        let pick = |untagged: bool| -> Vec<String> {
            let all = gone.iter();
            all.filter_map(|r| match r {
                Removed::Untagged(name) if untagged => Some(name.clone()),
                Removed::Deleted(id) if !untagged => Some(id.hex().to_owned()),
                _ => None,
            })
            .collect()
        };
        let value =
            json!({"Untagged": pick(true), "Deleted": pick(false), "Errors": [], "ExitCode": 0});
        return conn.json(200, &value);
    }
    let list: Vec<Value> = gone.iter().map(gone_value).collect();
    conn.json(200, &Value::Array(list))
}

fn gone_value(removed: &Removed) -> Value {
    match removed {
        Removed::Untagged(name) => json!({"Untagged": docker::familiar(name)}),
        Removed::Deleted(id) => json!({"Deleted": id.to_string()}),
    }
}

fn find(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let term = cx.head.given("term");
    let term = term.ok_or_else(|| Error::invalid("no word to search for"))?;
    let limit = cx
        .head
        .given("limit")
        .and_then(|l| l.parse().ok())
        .unwrap_or(25);
    let found = search::search(cx.session, term, limit, &registry(cx)?)?;
    let list: Vec<Value> = found
        .iter()
        .map(|f| {
            json!({
                "name": docker::familiar(&f.name), "description": f.description,
                "star_count": f.stars, "is_official": f.official, "is_automated": f.automated,
            })
        })
        .collect();
    conn.json(200, &Value::Array(list))
}

fn prune(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let known = [
        "until",
        "label",
        "dangling",
        "containers",
        "id",
        "reference",
    ];
    let mut wanted = Filters::parse(&cx.filters()?, &known)?;
    let all = cx.head.flag("all")
        || wanted
            .values("dangling")
            .any(|v| matches!(v, "false" | "0"));
    wanted.0.retain(|f| f.key != "dangling");
    let now = Timestamp::now();
    let moment = |text: &str| point_in_time(text, now);
    let find = |_: &str| Ok(now);
    let pruned = remove::prune(cx.session, all, &|listed| {
        wanted.accept(|key, value| filter::holds(listed, key, value, &find, &moment))
    })?;
    if cx.libpod {
        let list: Vec<Value> = pruned
            .images
            .iter()
            .map(|id| json!({"Id": id.hex(), "Err": null, "Size": 0}))
            .collect();
        return conn.json(200, &Value::Array(list));
    }
    let list: Vec<Value> = pruned.lines.iter().map(gone_value).collect();
    conn.json(
        200,
        &json!({"ImagesDeleted": list, "SpaceReclaimed": pruned.bytes}),
    )
}

/// `POST /commit`.
///
/// # Errors
/// `NotFound` without the container; as the operation.
pub fn commit(cx: &Cx<'_>, conn: &mut Conn) -> Result<()> {
    let head = cx.head;
    let container = head.given("container").unwrap_or_default();
    let container = Containers::new(&cx.session.dirs).find(container)?;
    let text = |key: &str| head.given(key).map(str::to_owned);
    let name = head.given("repo").map(|r| with_tag(r, head.given("tag")));
    let body = cx.body(conn)?;
    let mut changes: Vec<String> = head
        .values("changes")
        .flat_map(str::lines)
        .map(str::to_owned)
        .collect();
    changes.extend(config_changes(&body));
    let options = CommitOptions {
        name: name.map(|n| n.parse::<Reference>()).transpose()?,
        author: text("author"),
        message: text("comment"),
        changes,
        pause: head.value("pause").is_none() || head.flag("pause"),
        ..CommitOptions::default()
    };
    let record = commit_operation(cx.session, &container, &options)?;
    conn.json(201, &json!({"Id": record.id.to_string()}))
}

/// The container's configuration that a commit may bring, as instructions.
fn config_changes(body: &Value) -> Vec<String> {
    let mut changes = Vec::new();
    for (field, word) in [("Cmd", "CMD"), ("Entrypoint", "ENTRYPOINT")] {
        if let Some(list) = body[field].as_array().filter(|l| !l.is_empty()) {
            changes.push(format!("{word} {}", Value::from(list.clone())));
        }
    }
    for (field, word) in [
        ("User", "USER"),
        ("WorkingDir", "WORKDIR"),
        ("StopSignal", "STOPSIGNAL"),
    ] {
        if let Some(text) = body[field].as_str().filter(|t| !t.is_empty()) {
            changes.push(format!("{word} {text}"));
        }
    }
    for variable in body["Env"].as_array().into_iter().flatten() {
        if let Some((key, value)) = variable.as_str().and_then(|v| v.split_once('=')) {
            changes.push(format!("ENV {key}={}", Value::from(value)));
        }
    }
    for (key, value) in body["Labels"].as_object().into_iter().flatten() {
        changes.push(format!("LABEL {}={value}", Value::from(key.as_str())));
    }
    for port in body["ExposedPorts"].as_object().into_iter().flatten() {
        changes.push(format!("EXPOSE {}", port.0));
    }
    changes
}

/// `GET /distribution/{name}/json`.
///
/// # Errors
/// What the registry says.
pub fn distribution(cx: &Cx<'_>, conn: &mut Conn, name: &str) -> Result<()> {
    let text = image::manifest::inspect(cx.session, name, &registry(cx)?)?;
    let value: Value = serde_json::from_str(&text).what_kind(
        Kind::Corrupt,
        || "a registry answered with a damaged manifest",
    )?;
    let digest = crate::spec::digest::Digest::sha256_of(text.as_bytes());
    let platforms: Vec<Value> = value["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| m["platform"].clone())
        .filter(|p| !p.is_null())
        .collect();
    conn.json(
        200,
        &json!({
            "Descriptor": {"mediaType": value["mediaType"], "digest": digest.to_string(), "size": text.len()},
            "Platforms": platforms,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_two_alphabets() {
        let text = r#"{"username":"a","password":"??>>"}"#;
        for engine in [
            base64::engine::general_purpose::URL_SAFE,
            base64::engine::general_purpose::STANDARD,
        ] {
            let got = credentials(&engine.encode(text)).unwrap();
            assert_eq!(got, Some(("a".to_owned(), "??>>".to_owned())));
        }
        assert_eq!(credentials("e30=").unwrap(), None);
        assert!(credentials("!").is_err());
        let token = base64::engine::general_purpose::URL_SAFE.encode(r#"{"identitytoken":"x"}"#);
        assert_eq!(credentials(&token).unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn a_tag_may_be_a_digest() {
        assert_eq!(with_tag("a", Some("1")), "a:1");
        assert_eq!(with_tag("a", Some("sha256:ab")), "a@sha256:ab");
        assert_eq!(with_tag("a:2", None), "a:2");
    }

    #[test]
    fn a_commits_configuration_becomes_instructions() {
        let body = json!({"Cmd": ["a", "b c"], "Env": ["X=1 2"], "Labels": {"k": "v"}, "User": ""});
        let got = config_changes(&body);
        assert_eq!(
            got,
            [r#"CMD ["a","b c"]"#, r#"ENV X="1 2""#, r#"LABEL "k"="v""#]
        );
    }
}
