//! From the merged files to a project: its name, profiles, networks, variables, what is implied.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::read;
use super::settings::{Request, Settled, normalise_name};
use crate::base::{Error, Result};
use crate::compose::dotenv;
use crate::compose::interpolate::Met;
use crate::compose::project::{Keys, Project};
use crate::compose::schema::text;

pub(super) fn finish(
    request: &Request<'_>,
    settled: Settled,
    model: Value,
    met: BTreeMap<String, Met>,
) -> Result<Project> {
    let name = name(request, &settled, &model)?;
    let Value::Object(mut model) = model else {
        return Err(Error::invalid("the project is empty"));
    };
    let mut notices: Vec<String> = met
        .iter()
        .filter(|(_, met)| met.missing)
        .map(|(name, _)| format!("The {name:?} variable is not set. Defaulting to a blank string."))
        .collect();
    if model.contains_key("version") {
        notices.push("`version` is obsolete and ignored".to_owned());
    }
    let mut env = settled.env;
    env.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let (mut on, off) = split(&mut model, &settled.profiles, request.targets)?;
    for (service, keys) in &mut on {
        let Value::Object(keys) = keys else { continue };
        if !keys.contains_key("image")
            && !keys.contains_key("build")
            && !keys.contains_key("provider")
        {
            return Err(Error::invalid(format!(
                "services.{service}: neither an image nor a build context is given"
            )));
        }
        implied(keys);
        if request.resolve_env {
            variables(keys, &env, service, request.interpolate)?;
        }
        label_files(keys)?;
        networks(keys, service)?;
    }
    check(&on, &off, &model)?;
    top(&mut model, &on, &name);
    model.insert("services".to_owned(), Value::Object(on));
    Ok(Project {
        name,
        dir: settled.dir,
        files: settled.files,
        env_files: settled.env_files,
        model: Value::Object(model),
        disabled: off,
        env,
        notices,
    })
}

fn name(request: &Request<'_>, settled: &Settled, model: &Value) -> Result<String> {
    let asked = request.name.map(str::to_owned);
    let asked = asked.or_else(|| {
        settled
            .env
            .get("COMPOSE_PROJECT_NAME")
            .filter(|n| !n.is_empty())
            .cloned()
    });
    let asked = asked.or_else(|| model.get("name").and_then(text).filter(|n| !n.is_empty()));
    if let Some(asked) = asked {
        if normalise_name(&asked) != asked {
            return Err(Error::invalid(format!(
                "invalid project name {asked:?}: lower case letters, digits, - and _ make one, and it begins with a letter or digit"
            )));
        }
        return Ok(asked);
    }
    let folder = settled
        .dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    match normalise_name(&folder) {
        name if name.is_empty() => {
            Err(Error::invalid("project name must not be empty").hint("give one with -p"))
        }
        name => Ok(name),
    }
}

type Services = Map<String, Value>;

/// The services that are on, and those whose profiles are not.
fn split(
    model: &mut Map<String, Value>,
    profiles: &[String],
    targets: &[String],
) -> Result<(Services, BTreeMap<String, Value>)> {
    let all = match model.remove("services") {
        Some(Value::Object(all)) => all,
        _ => Map::new(),
    };
    let is_on = |name: &str, keys: &Value| {
        let own = keys.get("profiles").and_then(Value::as_array);
        let own: Vec<String> = own.into_iter().flatten().filter_map(text).collect();
        own.is_empty()
            || targets.iter().any(|t| t == name)
            || own.iter().any(|p| profiles.contains(p))
            || profiles.iter().any(|p| p == "*")
    };
    let (mut on, mut off) = (Map::new(), BTreeMap::new());
    for (name, keys) in all {
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            return Err(Error::invalid(format!(
                "services.{name}: not a valid service name"
            )));
        }
        let keys = match keys {
            Value::Null => json!({}),
            keys => keys,
        };
        match is_on(&name, &keys) {
            true => drop(on.insert(name, keys)),
            false => drop(off.insert(name, keys)),
        }
    }
    Ok((on, off))
}

/// Dependencies that other keys imply.
fn implied(keys: &mut Keys) {
    let mut needed: Vec<(String, bool)> = Vec::new();
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(other) = keys
            .get(key)
            .and_then(Value::as_str)
            .and_then(|m| m.strip_prefix("service:"))
        {
            needed.push((other.to_owned(), true));
        }
    }
    let texts = |key: &str| -> Vec<String> {
        let list = keys.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(text).collect()
    };
    for link in texts("links") {
        needed.push((link.split(':').next().unwrap_or_default().to_owned(), true));
    }
    for from in texts("volumes_from") {
        if !from.starts_with("container:") {
            needed.push((from.split(':').next().unwrap_or_default().to_owned(), false));
        }
    }
    if needed.is_empty() {
        return;
    }
    let slot = keys.entry("depends_on").or_insert_with(|| json!({}));
    if let Value::Object(map) = slot {
        for (service, restart) in needed {
            let mut how = json!({"condition": "service_started", "required": true});
            if restart {
                how["restart"] = true.into();
            }
            map.entry(service).or_insert(how);
        }
    }
}

/// The files' variables below the ones given; those without a value are the caller's.
fn variables(
    keys: &mut Keys,
    env: &BTreeMap<String, String>,
    service: &str,
    interpolate: bool,
) -> Result<()> {
    let mut made = Map::new();
    if let Some(Value::Array(files)) = keys.remove("env_file") {
        for file in files {
            let path = file.get("path").and_then(text).unwrap_or_default();
            let path = Path::new(&path);
            if file.get("required") == Some(&Value::Bool(false)) && !path.exists() {
                continue;
            }
            if !path.is_file() {
                return Err(Error::not_found(format!(
                    "services.{service}: env file {} not found",
                    path.display()
                )));
            }
            let content = read(path)?;
            let known = |name: &str| {
                let above = made.get(name).and_then(text);
                if interpolate {
                    env.get(name).cloned().or(above)
                } else {
                    above
                }
            };
            let read = match file.get("format").and_then(text).as_deref() {
                Some("raw") => dotenv::raw(&content),
                None | Some("" | "dotenv") => {
                    dotenv::parse(&content, &path.to_string_lossy(), &known)?
                }
                Some(other) => {
                    return Err(Error::invalid(format!(
                        "services.{service}.env_file: unknown format {other:?}"
                    )));
                }
            };
            for (key, value) in read {
                if let Some(value) = value.or_else(|| env.get(&key).cloned()) {
                    made.insert(key, value.into());
                }
            }
        }
    }
    if let Some(Value::Object(own)) = keys.remove("environment") {
        for (key, value) in own {
            match text(&value).or_else(|| env.get(&key).cloned()) {
                Some(value) => drop(made.insert(key, value.into())),
                None => drop(made.remove(&key)),
            }
        }
    }
    if !made.is_empty() {
        keys.insert("environment".to_owned(), Value::Object(made));
    }
    Ok(())
}

fn label_files(keys: &mut Keys) -> Result<()> {
    let Some(Value::Array(files)) = keys.remove("label_file") else {
        return Ok(());
    };
    let mut made = Map::new();
    for file in files.iter().filter_map(text) {
        for (key, value) in dotenv::raw(&read(Path::new(&file))?) {
            made.insert(key, value.unwrap_or_default().into());
        }
    }
    if let Some(Value::Object(own)) = keys.remove("labels") {
        made.extend(own);
    }
    keys.insert("labels".to_owned(), Value::Object(made));
    Ok(())
}

fn networks(keys: &mut Keys, service: &str) -> Result<()> {
    let mode = keys.get("network_mode").and_then(text);
    let given = keys.get("networks").is_some_and(|n| !n.is_null());
    match (mode, given) {
        (Some(_), true) => Err(Error::invalid(format!(
            "services.{service}: network_mode and networks exclude each other"
        ))),
        (None, false) => {
            keys.insert("networks".to_owned(), json!({"default": null}));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// That everything that services name is there.
fn check(on: &Services, off: &BTreeMap<String, Value>, model: &Map<String, Value>) -> Result<()> {
    for (service, keys) in on {
        let Value::Object(keys) = keys else { continue };
        for needed in Project::dependencies(keys) {
            let name = &needed.service;
            if !on.contains_key(name) && needed.required {
                return Err(Error::invalid(match off.contains_key(name) {
                    true => {
                        format!("services.{service}: depends on {name:?}, whose profile is not on")
                    }
                    false => format!("services.{service}: depends on undefined service {name:?}"),
                }));
            }
            if ![
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]
            .contains(&needed.condition.as_str())
            {
                return Err(Error::invalid(format!(
                    "services.{service}.depends_on.{name}.condition: unknown condition {:?}",
                    needed.condition
                )));
            }
        }
        let has = |noun: &str, key: &str| model.get(noun).and_then(|n| n.get(key)).is_some();
        let undefined = |noun: &str, key: &str| {
            Err(Error::invalid(format!(
                "services.{service}: refers to undefined {noun} {key}"
            )))
        };
        if let Some(Value::Object(all)) = keys.get("networks") {
            for key in all.keys() {
                if key != "default" && !has("networks", key) {
                    return undefined("network", key);
                }
            }
        }
        let list = |key: &str| {
            keys.get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        for mount in list("volumes") {
            let source = mount.get("source").and_then(text).unwrap_or_default();
            let is_volume = mount.get("type").and_then(text).as_deref() == Some("volume");
            if is_volume && !source.is_empty() && !has("volumes", &source) {
                return undefined("volume", &source);
            }
        }
        for noun in ["secrets", "configs"] {
            for grant in list(noun) {
                let source = grant.get("source").and_then(text).unwrap_or_default();
                if !has(noun, &source) {
                    return undefined(noun.trim_end_matches('s'), &source);
                }
            }
        }
    }
    Ok(())
}

/// Networks, volumes, secrets and configs: their names; those that nobody uses go.
fn top(model: &mut Map<String, Value>, on: &Services, project: &str) {
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for keys in on.values() {
        if let Some(Value::Object(all)) = keys.get("networks") {
            used.entry("networks")
                .or_default()
                .extend(all.keys().cloned());
        }
        let list = |key: &str| {
            keys.get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let sources = |key: &str| -> Vec<String> {
            list(key)
                .filter_map(|v| v.get("source").and_then(text))
                .collect()
        };
        for noun in ["volumes", "secrets", "configs"] {
            used.entry(noun).or_default().extend(sources(noun));
        }
        let built = keys
            .get("build")
            .and_then(|b| b.get("secrets"))
            .and_then(Value::as_array);
        let built = built
            .into_iter()
            .flatten()
            .filter_map(|v| v.get("source").and_then(text));
        used.entry("secrets").or_default().extend(built);
    }
    if used.get("networks").is_some_and(|n| n.contains("default")) {
        let slot = model.entry("networks").or_insert_with(|| json!({}));
        if let Value::Object(all) = slot {
            all.entry("default").or_insert_with(|| json!({}));
        }
    }
    for noun in ["networks", "volumes", "secrets", "configs"] {
        let Some(Value::Object(all)) = model.get_mut(noun) else {
            continue;
        };
        let own = used.remove(noun).unwrap_or_default();
        all.retain(|key, _| noun == "volumes" || own.contains(key));
        for (key, value) in all {
            if value.is_null() {
                *value = json!({});
            }
            let external = value.get("external") == Some(&Value::Bool(true));
            if let Value::Object(map) = value {
                let usual = match external {
                    true => key.clone(),
                    false => format!("{project}_{key}"),
                };
                map.entry("name").or_insert_with(|| usual.into());
                if noun == "networks" {
                    map.entry("ipam").or_insert_with(|| json!({}));
                }
            }
        }
    }
}
