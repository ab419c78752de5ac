//! A stack file of Swarm: version 3.8, as `docker stack deploy` takes it.

use serde_json::{Map, Value, json};

use super::{Export, Given, Ledger, below, image, is_external, list, pairs, put, rules, word};
use crate::base::{Context as _, Result};
use crate::compose::convert::texts;
use crate::compose::project::{Keys, Project};
use crate::compose::schema::text;

/// Content that a stack file only names: the file's name, and what it holds.
pub type Files = Vec<(String, Vec<u8>)>;

/// The stack of a project, as one document, and the files beside it.
///
/// # Errors
/// What reading a secret or config says.
pub fn export(project: &Project, given: &Given<'_>) -> Result<(Export, Files)> {
    let mut ledger = Ledger::default();
    let mut files = Files::new();
    let mut stack = Map::new();
    stack.insert("version".to_owned(), "3.8".into());
    let mut services = Map::new();
    for name in project.order(&[], true)? {
        let keys = project.service(&name)?;
        services.insert(
            name.clone(),
            service(project, given, &name, keys, &mut ledger),
        );
    }
    put(&mut stack, "services", services);
    let mut networks = Map::new();
    for (key, keys) in project.objects("networks") {
        networks.insert(key.clone(), network(project, key, keys, &mut ledger));
    }
    put(&mut stack, "networks", networks);
    let mut volumes = Map::new();
    for (key, keys) in project.objects("volumes") {
        let mut made = only(keys, &["driver", "driver_opts", "labels"]);
        external(project, "volumes", key, keys, &mut made);
        volumes.insert(key.clone(), made.into());
    }
    put(&mut stack, "volumes", volumes);
    for noun in ["secrets", "configs"] {
        let mut all = Map::new();
        for (key, keys) in project.objects(noun) {
            let more: &[&str] = match noun {
                "secrets" => &["labels", "driver", "driver_opts", "template_driver"],
                _ => &["labels", "template_driver"],
            };
            let mut made = only(keys, more);
            external(project, noun, key, keys, &mut made);
            if !is_external(keys) {
                let content = (given.content)(noun, key).what(|| format!("{noun}.{key}"))?;
                let file = match word(keys, &["file"]) {
                    Some(file) => file,
                    None => {
                        let file = format!("{}.{key}", noun.trim_end_matches('s'));
                        files.push((file.clone(), content));
                        format!("./{file}")
                    }
                };
                made.insert("file".to_owned(), file.into());
            }
            all.insert(key.clone(), made.into());
        }
        put(&mut stack, noun, all);
    }
    let export = Export {
        documents: vec![stack.into()],
        lines: ledger.lines(project, rules::SWARM),
    };
    Ok((export, files))
}

/// The keys that are taken as they are.
fn only(keys: &Keys, names: &[&str]) -> Keys {
    let mut made = Map::new();
    for name in names {
        put(
            &mut made,
            name,
            keys.get(*name).cloned().unwrap_or_default(),
        );
    }
    made
}

fn external(project: &Project, noun: &str, key: &str, keys: &Keys, made: &mut Keys) {
    if is_external(keys) {
        made.insert("external".to_owned(), true.into());
        made.insert("name".to_owned(), project.real_name(noun, key).into());
    } else if keys
        .get("name")
        .and_then(text)
        .is_some_and(|n| n != format!("{}_{key}", project.name))
    {
        put(made, "name", project.real_name(noun, key));
    }
}

fn network(project: &Project, key: &str, keys: &Keys, ledger: &mut Ledger) -> Value {
    let mut made = only(keys, &["internal", "attachable", "labels"]);
    external(project, "networks", key, keys, &mut made);
    if is_external(keys) {
        return made.into();
    }
    match word(keys, &["driver"]).as_deref() {
        None | Some("bridge" | "default" | "overlay") => put(&mut made, "driver", "overlay"),
        Some(other) => {
            ledger.say(format!("networks.{key}.driver"), super::Fate::Kept, "");
            put(&mut made, "driver", other);
            put(
                &mut made,
                "driver_opts",
                keys.get("driver_opts").cloned().unwrap_or_default(),
            );
        }
    }
    let subnets: Vec<Value> = list(below(keys, &["ipam", "config"]))
        .filter_map(|c| c.get("subnet").and_then(text))
        .map(|s| json!({ "subnet": s }))
        .collect();
    if !subnets.is_empty() {
        put(&mut made, "ipam", json!({ "config": subnets }));
    }
    made.into()
}

fn service(
    project: &Project,
    given: &Given<'_>,
    name: &str,
    keys: &Keys,
    ledger: &mut Ledger,
) -> Value {
    let at = |key: &str| format!("services.{name}.{key}");
    let mut made = only(
        keys,
        &[
            "cap_add",
            "cap_drop",
            "command",
            "configs",
            "dns",
            "dns_search",
            "entrypoint",
            "environment",
            "healthcheck",
            "hostname",
            "init",
            "labels",
            "logging",
            "read_only",
            "secrets",
            "stdin_open",
            "stop_grace_period",
            "stop_signal",
            "sysctls",
            "tty",
            "ulimits",
            "user",
            "working_dir",
        ],
    );
    put(&mut made, "image", image(project, given, name, keys));
    if let Some(Value::Object(check)) = made.get_mut("healthcheck") {
        check.remove("start_interval");
    }
    for noun in ["secrets", "configs"] {
        if let Some(Value::Array(grants)) = made.get_mut(noun) {
            for grant in grants {
                // A stack file has the bits as a number.
                let bits = grant.get("mode").and_then(text);
                if let Some(bits) = bits.and_then(|m| u32::from_str_radix(&m, 8).ok()) {
                    grant["mode"] = bits.into();
                }
            }
        }
    }
    let hosts: Vec<String> = texts(keys.get("extra_hosts"))
        .iter()
        .map(|h| h.replacen('=', ":", 1))
        .collect();
    put(&mut made, "extra_hosts", hosts);
    put(&mut made, "ports", ports(name, keys, ledger));
    put(&mut made, "volumes", mounts(name, keys, ledger));
    put(&mut made, "networks", networks(project, name, keys, ledger));
    let mut deploy = match keys.get("deploy") {
        Some(Value::Object(deploy)) => deploy.clone(),
        _ => Map::new(),
    };
    if let Some(scale) = keys.get("scale") {
        deploy.insert("replicas".to_owned(), scale.clone());
    }
    resources(keys, &mut deploy);
    if !deploy.contains_key("restart_policy")
        && let Some(policy) = word(keys, &["restart"])
    {
        let (kind, most) = policy.split_once(':').unwrap_or((&policy, ""));
        let condition = match kind {
            "no" => "none",
            "on-failure" => "on-failure",
            _ => "any",
        };
        let mut policy = json!({ "condition": condition });
        if let Ok(most) = most.parse::<u64>() {
            policy["max_attempts"] = most.into();
        }
        deploy.insert("restart_policy".to_owned(), policy);
    }
    if let Some(platform) = word(keys, &["platform"]) {
        let mut parts = platform.split('/');
        let mut rules = texts(deploy.get("placement").and_then(|p| p.get("constraints")));
        for key in ["os", "arch"] {
            rules.extend(parts.next().map(|v| format!("node.platform.{key}=={v}")));
        }
        let placement = deploy.entry("placement").or_insert_with(|| json!({}));
        placement["constraints"] = rules.into();
    }
    put(&mut made, "deploy", deploy);
    if let Some(mode) = word(keys, &["network_mode"]) {
        ledger.dropped(
            at("network_mode"),
            format!("services of a swarm are on networks, not {mode:?}"),
        );
    }
    made.into()
}

fn resources(keys: &Keys, deploy: &mut Keys) {
    let mut set = |part: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            let all = deploy.entry("resources").or_insert_with(|| json!({}));
            if all.get(part).is_none_or(|p| p.get(key).is_none()) {
                all[part][key] = value;
            }
        }
    };
    set("limits", "cpus", keys.get("cpus").cloned());
    set("limits", "memory", keys.get("mem_limit").cloned());
    set("limits", "pids", keys.get("pids_limit").cloned());
    set(
        "reservations",
        "memory",
        keys.get("mem_reservation").cloned(),
    );
    for (part, away) in [
        ("limits", ["devices", "generic_resources"].as_slice()),
        ("reservations", ["devices"].as_slice()),
    ] {
        let part = deploy.get_mut("resources").and_then(|r| r.get_mut(part));
        if let Some(Value::Object(part)) = part {
            part.retain(|k, _| !away.contains(&k.as_str()));
        }
    }
}

fn ports(name: &str, keys: &Keys, ledger: &mut Ledger) -> Vec<Value> {
    let mut made = Vec::new();
    for (i, port) in list(keys.get("ports")).enumerate() {
        let of = |key: &str| port.get(key).and_then(text).filter(|t| !t.is_empty());
        let mut one = Map::new();
        let number = |t: String| t.parse::<u16>().ok();
        put(
            &mut one,
            "target",
            of("target")
                .and_then(number)
                .map_or(Value::Null, Value::from),
        );
        let published = of("published");
        if published.as_ref().is_some_and(|p| p.contains('-')) {
            ledger.changed(
                format!("services.{name}.ports[{i}]"),
                "the swarm picks a port: a stack has no ranges",
            );
        } else if let Some(published) = published.and_then(number) {
            one.insert("published".to_owned(), published.into());
        }
        put(&mut one, "protocol", of("protocol").unwrap_or_default());
        put(&mut one, "mode", of("mode").unwrap_or_default());
        if let Some(ip) = of("host_ip") {
            ledger.changed(
                format!("services.{name}.ports[{i}]"),
                format!("not on {ip} only: a swarm publishes on all addresses of all nodes"),
            );
        }
        made.push(one.into());
    }
    made
}

fn mounts(name: &str, keys: &Keys, ledger: &mut Ledger) -> Vec<Value> {
    let mut made = Vec::new();
    for (i, mount) in list(keys.get("volumes")).enumerate() {
        let Some(mount) = mount.as_object() else {
            continue;
        };
        let path = format!("services.{name}.volumes[{i}]");
        let mut one = only(mount, &["type", "source", "target", "read_only"]);
        match word(mount, &["type"]).as_deref() {
            Some("bind") => {
                ledger.changed(path, "the path must be there on whatever node a task is on");
                if let Some(propagation) = word(mount, &["bind", "propagation"]) {
                    one.insert("bind".to_owned(), json!({ "propagation": propagation }));
                }
            }
            Some("volume") => {
                if word(mount, &["volume", "nocopy"]).as_deref() == Some("true") {
                    one.insert("volume".to_owned(), json!({ "nocopy": true }));
                }
                if word(mount, &["volume", "subpath"]).is_some() {
                    ledger.dropped(path, "a stack mounts whole volumes");
                }
            }
            Some("tmpfs") => {
                if let Some(size) = super::bytes(mount, &["tmpfs", "size"]) {
                    one.insert("tmpfs".to_owned(), json!({ "size": size }));
                }
            }
            other => {
                ledger.dropped(
                    path,
                    format!(
                        "a stack has no mounts of the type {:?}",
                        other.unwrap_or_default()
                    ),
                );
                continue;
            }
        }
        made.push(one.into());
    }
    for entry in texts(keys.get("tmpfs")) {
        let (target, options) = entry.split_once(':').unwrap_or((&entry, ""));
        let mut one = json!({"type": "tmpfs", "target": target});
        let size = options.split(',').find_map(|o| o.strip_prefix("size="));
        if let Some(size) = size.and_then(|s| crate::base::size::parse(s).ok()) {
            one["tmpfs"] = json!({ "size": size });
        }
        made.push(one);
    }
    if let Some(size) = super::bytes(keys, &["shm_size"]) {
        made.push(json!({"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": size}}));
    }
    made
}

/// The networks of a service, with the names that links of others give it.
fn networks(project: &Project, name: &str, keys: &Keys, ledger: &mut Ledger) -> Keys {
    let mut made = Map::new();
    let links = crate::compose::convert::link_names(project, name);
    for (key, how) in pairs(keys.get("networks")).map(|(k, _)| (k, keys["networks"].get(k))) {
        let mut aliases = texts(how.and_then(|h| h.get("aliases")));
        aliases.extend(links.iter().cloned());
        let fixed = ["ipv4_address", "ipv6_address", "mac_address"];
        if fixed.iter().any(|k| how.and_then(|h| h.get(*k)).is_some()) {
            ledger.changed(
                format!("services.{name}.networks"),
                "a swarm gives addresses itself",
            );
        }
        let mut one = Map::new();
        put(&mut one, "aliases", aliases);
        made.insert(
            key.clone(),
            if one.is_empty() {
                Value::Null
            } else {
                one.into()
            },
        );
    }
    made
}
