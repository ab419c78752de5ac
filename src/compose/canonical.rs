//! The long form of every key that has a short one, paths made absolute.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::schema::{Kind, check, text};
use super::table;
use super::yaml::{remark, unmark};
use crate::base::{Error, Result};

/// Where relative paths of a file begin.
pub struct Base<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// The home folder, for `~`.
    pub home: &'a Path,
}

impl Base<'_> {
    /// A path of the file, absolute; not looked up.
    pub fn path(&self, text: &str) -> String {
        if text == "~" || text.starts_with("~/") {
            return clean(
                &self
                    .home
                    .join(text.trim_start_matches('~').trim_start_matches('/')),
            );
        }
        clean(&self.dir.join(text))
    }
}

/// A path without `.` and `..`, by its words only.
pub fn clean(path: &Path) -> String {
    let mut parts: Vec<&std::ffi::OsStr> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    let joined: Vec<_> = parts.iter().map(|p| p.to_string_lossy()).collect();
    format!("/{}", joined.join("/"))
}

/// A document in the long form, checked.
///
/// # Errors
/// `Invalid`, beginning with the path of the key.
pub fn document(value: Value, base: &Base<'_>) -> Result<Value> {
    let Value::Object(map) = value else {
        return Err(Error::invalid("top-level object must be a mapping"));
    };
    let mut made = Map::new();
    let old = !map.contains_key("services") && is_version_1(&map);
    if old {
        return Err(Error::invalid(
            "services: missing; files of version 1 had none and are not read",
        )
        .hint("put everything below `services:`"));
    }
    for (key, value) in map {
        let (mark, value) = unmark(value);
        let value = match (key.as_str(), value) {
            ("services", Value::Object(all)) => each(all, "services", &|v, p| service(v, p, base))?,
            ("networks" | "volumes" | "secrets" | "configs", Value::Object(all)) => {
                each(all, &key, &|v, p| top(v, p, &key, base))?
            }
            (_, other) => other,
        };
        made.insert(key, remark(mark, value));
    }
    // Without the first dot of the paths.
    check(Value::Object(made), Kind::Object(table::TOP), "").map_err(|e| {
        let error = Error::invalid(e.what().trim_start_matches('.').to_owned());
        e.hints()
            .into_iter()
            .fold(error, |error, h| error.hint(h.to_owned()))
    })
}

fn is_version_1(map: &Map<String, Value>) -> bool {
    map.values()
        .any(|v| v.get("image").is_some() || v.get("build").is_some())
}

fn each(
    all: Map<String, Value>,
    path: &str,
    convert: &dyn Fn(Value, &str) -> Result<Value>,
) -> Result<Value> {
    let mut made = Map::new();
    for (name, value) in all {
        let (mark, value) = unmark(value);
        let value = convert(value, &format!("{path}.{name}"))?;
        made.insert(name, remark(mark, value));
    }
    Ok(Value::Object(made))
}

fn wrong(path: &str, what: &str) -> Error {
    Error::invalid(format!("{path}: {what}"))
}

/// Something of the top level that services use.
fn top(value: Value, path: &str, noun: &str, base: &Base<'_>) -> Result<Value> {
    let mut map = match value {
        Value::Null => return Ok(json!({})),
        Value::Object(map) => map,
        _ => return Err(wrong(path, "must be a mapping")),
    };
    // Version 2 and 3: `external: {name: x}`.
    if let Some(Value::Object(old)) = map.get("external") {
        if let Some(name) = old.get("name").cloned() {
            map.insert("name".to_owned(), name);
        }
        map.insert("external".to_owned(), Value::Bool(true));
    }
    for key in ["labels", "driver_opts"] {
        change(&mut map, key, |v| Ok(pairs(v)))?;
    }
    if matches!(noun, "secrets" | "configs") {
        change(&mut map, "file", |v| Ok(path_of(v, base)))?;
    }
    if noun == "volumes"
        && let Some(Value::Object(options)) = map.get_mut("driver_opts")
        && options
            .get("o")
            .and_then(Value::as_str)
            .is_some_and(|o| o.split(',').any(|w| w == "bind" || w == "rbind"))
    {
        change(options, "device", |v| Ok(path_of(v, base)))?;
    }
    Ok(Value::Object(map))
}

fn path_of(value: Value, base: &Base<'_>) -> Value {
    match text(&value) {
        Some(text) => Value::String(base.path(&text)),
        None => value,
    }
}

/// Changes the value of a key, if there is one, below its mark.
fn change(
    map: &mut Map<String, Value>,
    key: &str,
    convert: impl FnOnce(Value) -> Result<Value>,
) -> Result<()> {
    if let Some(slot) = map.get_mut(key) {
        let (mark, value) = unmark(slot.take());
        let value = match value {
            Value::Null => Value::Null,
            value => convert(value)?,
        };
        *slot = remark(mark, value);
    }
    Ok(())
}

/// `[A=1, B]` as `{A: 1, B: null}`.
fn pairs(value: Value) -> Value {
    let Value::Array(list) = value else {
        return value;
    };
    let mut map = Map::new();
    for item in list {
        let item = text(&item).unwrap_or_default();
        match item.split_once('=') {
            Some((key, value)) => map.insert(key.to_owned(), value.into()),
            None => map.insert(item, Value::Null),
        };
    }
    Value::Object(map)
}

/// A command: a text is split as a shell does.
fn words(value: Value, path: &str) -> Result<Value> {
    match value {
        Value::String(line) => {
            let words =
                shlex::split(&line).ok_or_else(|| wrong(path, "has a quote that is not closed"))?;
            Ok(words.into())
        }
        other => Ok(other),
    }
}

/// Lists whose items may be texts or objects.
fn items(
    value: Value,
    path: &str,
    short: &dyn Fn(&str, &str) -> Result<Vec<Value>>,
    long: &dyn Fn(Map<String, Value>) -> Result<Value>,
) -> Result<Value> {
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let mut made = Vec::new();
    for (i, item) in list.into_iter().enumerate() {
        let path = format!("{path}[{i}]");
        match item {
            Value::Object(map) => made.push(long(map)?),
            other => {
                let text =
                    text(&other).ok_or_else(|| wrong(&path, "must be a string or a mapping"))?;
                made.extend(short(&text, &path)?);
            }
        }
    }
    Ok(Value::Array(made))
}

/// A service.
///
/// # Errors
/// As [`document`].
pub fn service(value: Value, path: &str, base: &Base<'_>) -> Result<Value> {
    let mut map = match value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => return Err(wrong(path, "must be a mapping")),
    };
    let at = |key: &str| format!("{path}.{key}");
    for key in [
        "environment",
        "labels",
        "annotations",
        "sysctls",
        "storage_opt",
    ] {
        change(&mut map, key, |v| Ok(pairs(v)))?;
    }
    for key in ["command", "entrypoint"] {
        change(&mut map, key, |v| words(v, &at(key)))?;
    }
    for key in [
        "dns",
        "dns_search",
        "dns_opt",
        "tmpfs",
        "label_file",
        "expose",
    ] {
        change(&mut map, key, |v| {
            items(v, &at(key), &|t, _| Ok(vec![t.into()]), &|m| {
                Ok(Value::Object(m))
            })
        })?;
    }
    change(&mut map, "label_file", |v| {
        Ok(each_text(v, &|t| base.path(t)))
    })?;
    change(&mut map, "build", |v| build(v, &at("build"), base))?;
    change(&mut map, "healthcheck", |v| health(v, &at("healthcheck")))?;
    change(&mut map, "ports", |v| {
        items(v, &at("ports"), &super::short::port, &long_port)
    })?;
    change(&mut map, "volumes", |v| {
        items(
            v,
            &at("volumes"),
            &|t, p| Ok(vec![super::short::mount(t, p, base)?]),
            &|m| long_mount(m, base),
        )
    })?;
    change(&mut map, "env_file", |v| {
        let long = |mut m: Map<String, Value>| {
            change(&mut m, "path", |v| Ok(path_of(v, base)))?;
            m.entry("required").or_insert(Value::Bool(true));
            Ok(Value::Object(m))
        };
        let short = |t: &str, _: &str| Ok(vec![json!({"path": base.path(t), "required": true})]);
        items(v, &at("env_file"), &short, &long)
    })?;
    for key in ["secrets", "configs"] {
        change(&mut map, key, |v| grants(v, &at(key)))?;
    }
    change(&mut map, "depends_on", |v| {
        Ok(names(
            v,
            json!({"condition": "service_started", "required": true}),
            &|m| {
                m.entry("condition")
                    .or_insert_with(|| "service_started".into());
                m.entry("required").or_insert(Value::Bool(true));
            },
        ))
    })?;
    change(&mut map, "networks", |v| Ok(names(v, Value::Null, &|_| {})))?;
    change(&mut map, "extra_hosts", |v| Ok(hosts(v)))?;
    change(&mut map, "ulimits", |v| Ok(ulimits(v)))?;
    change(&mut map, "gpus", |v| match text(&v) {
        Some(word) => Ok(
            json!([{"capabilities": ["gpu"], "count": if word == "all" { "-1" } else { &word }}]),
        ),
        None => Ok(v),
    })?;
    change(&mut map, "devices", |v| {
        let long = |m: Map<String, Value>| {
            let of = |key: &str| m.get(key).and_then(text).unwrap_or_default();
            let (source, target, rights) = (of("source"), of("target"), of("permissions"));
            let parts = [source.as_str(), target.as_str(), rights.as_str()];
            let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
            Ok(parts.join(":").into())
        };
        items(v, &at("devices"), &|t, _| Ok(vec![t.into()]), &long)
    })?;
    change(&mut map, "logging", |v| Ok(below(v, &["options"], &pairs)))?;
    for key in ["post_start", "pre_stop"] {
        change(&mut map, key, |v| hooks(v, &at(key)))?;
    }
    change(&mut map, "extends", |v| match v {
        Value::String(name) => Ok(json!({"service": name})),
        Value::Object(mut m) => {
            change(&mut m, "file", |v| Ok(path_of(v, base)))?;
            Ok(Value::Object(m))
        }
        _ => Err(wrong(&at("extends"), "must be a name or a mapping")),
    })?;
    change(&mut map, "deploy", |v| deploy(v, &at("deploy")))?;
    change(&mut map, "develop", |v| develop(v, &at("develop"), base))?;
    old_keys(&mut map);
    // What is wrong is better told with the service's path.
    check(Value::Object(map), Kind::Object(table::SERVICE), path)
}

/// Keys of version 2 and 3 that have new names.
fn old_keys(map: &mut Map<String, Value>) {
    if let Some(Value::String(net)) = map.remove("net") {
        map.entry("network_mode").or_insert_with(|| net.into());
    }
    if let Some(value) = map.remove("log_driver") {
        map.entry("logging")
            .or_insert_with(|| json!({"driver": value}));
    }
}

fn each_text(value: Value, convert: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Array(list) => list
            .iter()
            .map(|v| Value::String(convert(&text(v).unwrap_or_default())))
            .collect(),
        other => other,
    }
}

fn below(value: Value, keys: &[&str], convert: &dyn Fn(Value) -> Value) -> Value {
    let Value::Object(mut map) = value else {
        return value;
    };
    for key in keys {
        if let Some(slot) = map.get_mut(*key) {
            let (mark, inner) = unmark(slot.take());
            *slot = remark(mark, convert(inner));
        }
    }
    Value::Object(map)
}

/// `[a, b]` as `{a: default, b: default}`; `settle` completes what is given in the long form.
fn names(value: Value, default: Value, settle: &dyn Fn(&mut Map<String, Value>)) -> Value {
    match value {
        Value::Array(list) => {
            let pairs = list
                .iter()
                .map(|v| (text(v).unwrap_or_default(), default.clone()));
            Value::Object(pairs.collect())
        }
        Value::Object(mut map) => {
            for slot in map.values_mut() {
                if let Value::Object(inner) = slot {
                    settle(inner);
                }
            }
            Value::Object(map)
        }
        other => other,
    }
}

fn build(value: Value, path: &str, base: &Base<'_>) -> Result<Value> {
    let mut map = match value {
        Value::Object(map) => map,
        other => {
            let context = text(&other).ok_or_else(|| wrong(path, "must be a path or a mapping"))?;
            Map::from_iter([("context".to_owned(), Value::String(context))])
        }
    };
    for key in ["args", "labels", "additional_contexts"] {
        change(&mut map, key, |v| Ok(pairs(v)))?;
    }
    map.entry("context").or_insert_with(|| ".".into());
    change(&mut map, "context", |v| {
        let context = text(&v).unwrap_or_default();
        Ok(match is_remote(&context) {
            true => context.into(),
            false => base.path(&context).into(),
        })
    })?;
    change(&mut map, "additional_contexts", |v| {
        let Value::Object(mut all) = v else {
            return Ok(v);
        };
        for slot in all.values_mut() {
            if let Some(text) = text(slot)
                && !is_remote(&text)
            {
                *slot = base.path(&text).into();
            }
        }
        Ok(Value::Object(all))
    })?;
    change(&mut map, "ssh", |v| {
        Ok(match v {
            Value::Object(all) => all
                .into_iter()
                .map(|(k, v)| match text(&v) {
                    Some(v) => Value::String(format!("{k}={v}")),
                    None => Value::String(k),
                })
                .collect(),
            other => other,
        })
    })?;
    change(&mut map, "extra_hosts", |v| Ok(hosts(v)))?;
    change(&mut map, "ulimits", |v| Ok(ulimits(v)))?;
    change(&mut map, "secrets", |v| {
        grants(v, &format!("{path}.secrets"))
    })?;
    Ok(Value::Object(map))
}

/// Whether a build context is no folder of this machine.
pub fn is_remote(text: &str) -> bool {
    [
        "http://",
        "https://",
        "git://",
        "git@",
        "ssh://",
        "github.com/",
        "docker-image://",
        "oci-layout://",
        "service:",
    ]
    .iter()
    .any(|p| text.starts_with(p))
}

fn health(value: Value, path: &str) -> Result<Value> {
    let Value::Object(mut map) = value else {
        return Err(wrong(path, "must be a mapping"));
    };
    change(&mut map, "test", |v| match v {
        Value::String(line) => Ok(json!(["CMD-SHELL", line])),
        Value::Array(list) => match list.first().and_then(Value::as_str) {
            Some("NONE" | "CMD" | "CMD-SHELL") | None => Ok(Value::Array(list)),
            Some(_) => Err(wrong(
                &format!("{path}.test"),
                "a list must begin with NONE, CMD or CMD-SHELL",
            )),
        },
        _ => Err(wrong(&format!("{path}.test"), "must be a string or a list")),
    })?;
    Ok(Value::Object(map))
}

fn long_port(mut map: Map<String, Value>) -> Result<Value> {
    map.entry("mode").or_insert_with(|| "ingress".into());
    map.entry("protocol").or_insert_with(|| "tcp".into());
    if let Some(published) = map.get("published").and_then(text) {
        map.insert("published".to_owned(), published.into());
    }
    Ok(Value::Object(map))
}

fn long_mount(mut map: Map<String, Value>, base: &Base<'_>) -> Result<Value> {
    let kind = map.get("type").and_then(text).unwrap_or_default();
    map.entry("type").or_insert_with(|| "volume".into());
    if kind == "bind" {
        change(&mut map, "source", |v| Ok(path_of(v, base)))?;
    }
    Ok(Value::Object(map))
}

fn grants(value: Value, path: &str) -> Result<Value> {
    let long = |mut map: Map<String, Value>| {
        if let Some(mode) = map.get("mode") {
            // Numbers are decimal as YAML 1.2 has them; texts are octal.
            let octal = match mode {
                Value::Number(n) => format!("{:04o}", n.as_u64().unwrap_or(0o444)),
                other => {
                    let bare = text(other).unwrap_or_default();
                    format!("{:0>4}", bare.trim_start_matches("0o"))
                }
            };
            map.insert("mode".to_owned(), octal.into());
        }
        Ok(Value::Object(map))
    };
    items(value, path, &|t, _| Ok(vec![json!({"source": t})]), &long)
}

/// `{host: ip}` and `host:ip` as `host=ip`.
fn hosts(value: Value) -> Value {
    let mut made: Vec<Value> = Vec::new();
    match value {
        Value::Object(map) => {
            for (host, value) in map {
                match value {
                    Value::Array(all) => {
                        let texts = all.iter().filter_map(text);
                        made.extend(texts.map(|ip| Value::String(format!("{host}={ip}"))));
                    }
                    other => {
                        made.push(format!("{host}={}", text(&other).unwrap_or_default()).into());
                    }
                }
            }
        }
        Value::Array(list) => {
            for item in list.iter().filter_map(text) {
                made.push(match item.contains('=') {
                    true => item.into(),
                    false => item.replacen(':', "=", 1).into(),
                });
            }
        }
        other => return other,
    }
    Value::Array(made)
}

fn ulimits(value: Value) -> Value {
    let Value::Object(mut map) = value else {
        return value;
    };
    for slot in map.values_mut() {
        if let Some(one) = text(slot) {
            *slot = json!({"soft": one, "hard": one});
        }
    }
    Value::Object(map)
}

fn hooks(value: Value, path: &str) -> Result<Value> {
    let Value::Array(list) = value else {
        return Err(wrong(path, "must be a list"));
    };
    let mut made = Vec::new();
    for item in list {
        made.push(hook(item, path)?);
    }
    Ok(Value::Array(made))
}

fn hook(value: Value, path: &str) -> Result<Value> {
    let Value::Object(mut map) = value else {
        return Err(wrong(path, "a hook must be a mapping"));
    };
    change(&mut map, "command", |v| words(v, path))?;
    change(&mut map, "environment", |v| Ok(pairs(v)))?;
    Ok(Value::Object(map))
}

fn deploy(value: Value, path: &str) -> Result<Value> {
    let Value::Object(mut map) = value else {
        return Err(wrong(path, "must be a mapping"));
    };
    change(&mut map, "labels", |v| Ok(pairs(v)))?;
    Ok(Value::Object(map))
}

fn develop(value: Value, path: &str, base: &Base<'_>) -> Result<Value> {
    let Value::Object(mut map) = value else {
        return Err(wrong(path, "must be a mapping"));
    };
    change(&mut map, "watch", |v| {
        let Value::Array(list) = v else {
            return Err(wrong(path, "watch must be a list"));
        };
        let mut made = Vec::new();
        for item in list {
            let Value::Object(mut rule) = item else {
                return Err(wrong(path, "a rule of watch must be a mapping"));
            };
            change(&mut rule, "path", |v| Ok(path_of(v, base)))?;
            change(&mut rule, "exec", |v| hook(v, path))?;
            made.push(Value::Object(rule));
        }
        Ok(Value::Array(made))
    })?;
    Ok(Value::Object(map))
}
