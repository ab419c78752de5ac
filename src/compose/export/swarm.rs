//! What a Swarm manager is asked for: the objects of its interface, made of a stack.
//!
//! Made of the stack file that `export swarm` writes, so both say the same. Pure.
//!
//! Spec: Docker Engine API 1.41, `ServiceCreate`, `NetworkCreate`, `SecretCreate`, `ConfigCreate`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{below, list, number, pairs, put, time, word};
use crate::base::{Error, Result};
use crate::compose::convert::{grant_target, texts};
use crate::compose::project::Keys;
use crate::compose::schema::text;

/// The label that ties objects to a stack.
pub const STACK: &str = "com.docker.stack.namespace";

/// The name of a stack's object.
pub fn real_name(stack: &str, keys: &Keys, key: &str) -> String {
    match word(keys, &["name"]) {
        Some(name) => name,
        None => format!("{stack}_{key}"),
    }
}

fn labels(stack: &str, more: Option<&Value>) -> Value {
    let mut all: Keys = pairs(more).map(|(k, v)| (k.clone(), v.into())).collect();
    all.insert(STACK.to_owned(), stack.into());
    all.into()
}

fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

/// A network to be made.
pub fn network(stack: &str, key: &str, keys: &Keys) -> Value {
    let mut made = json!({
        "Name": real_name(stack, keys, key),
        "Driver": word(keys, &["driver"]).unwrap_or_else(|| "overlay".to_owned()),
        "Scope": "swarm",
        "Internal": keys.get("internal") == Some(&Value::Bool(true)),
        "Attachable": keys.get("attachable") == Some(&Value::Bool(true)),
        "Labels": labels(stack, keys.get("labels")),
    });
    let options: Keys = pairs(keys.get("driver_opts"))
        .map(|(k, v)| (k.clone(), v.into()))
        .collect();
    if !options.is_empty() {
        made["Options"] = options.into();
    }
    let subnets: Vec<Value> = list(below(keys, &["ipam", "config"]))
        .filter_map(|c| c.get("subnet").and_then(text))
        .map(|s| json!({ "Subnet": s }))
        .collect();
    if !subnets.is_empty() {
        made["IPAM"] = json!({ "Config": subnets });
    }
    made
}

/// A secret or config to be made, under a name that changes with its content: it cannot be changed
/// afterwards, and whoever uses it is updated by the new name.
pub fn data(stack: &str, key: &str, keys: &Keys, content: &[u8]) -> Value {
    use base64::Engine as _;
    let digest = crate::spec::digest::Digest::sha256_of(content);
    let short = &digest.hex()[..12];
    json!({
        "Name": format!("{}-{short}", real_name(stack, keys, key)),
        "Labels": labels(stack, keys.get("labels")),
        "Data": base64::engine::general_purpose::STANDARD.encode(content),
    })
}

/// Ids of what services name, by noun and key: the name that the swarm knows, and its id.
pub type Known = BTreeMap<(String, String), (String, String)>;

/// A service to be made.
///
/// # Errors
/// `Invalid` for values that have no meaning.
pub fn service(
    stack: &str,
    key: &str,
    keys: &Keys,
    volumes: &Keys,
    known: &Known,
) -> Result<Value> {
    let image = word(keys, &["image"]).unwrap_or_default();
    let mut container = Map::new();
    put(&mut container, "Image", image.as_str());
    put(&mut container, "Labels", labels(stack, keys.get("labels")));
    put(&mut container, "Command", texts(keys.get("entrypoint")));
    put(&mut container, "Args", texts(keys.get("command")));
    for (from, to) in [
        ("hostname", "Hostname"),
        ("working_dir", "Dir"),
        ("user", "User"),
        ("stop_signal", "StopSignal"),
    ] {
        put(&mut container, to, word(keys, &[from]).unwrap_or_default());
    }
    for (from, to) in [
        ("tty", "TTY"),
        ("stdin_open", "OpenStdin"),
        ("read_only", "ReadOnly"),
        ("init", "Init"),
    ] {
        if let Some(Value::Bool(given)) = keys.get(from) {
            container.insert(to.to_owned(), (*given).into());
        }
    }
    let env: Vec<String> = pairs(keys.get("environment"))
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    put(&mut container, "Env", env);
    let hosts: Vec<String> = texts(keys.get("extra_hosts"))
        .iter()
        .filter_map(|h| h.split_once(':'))
        .map(|(host, ip)| format!("{ip} {host}"))
        .collect();
    put(&mut container, "Hosts", hosts);
    let mut dns = Map::new();
    put(&mut dns, "Nameservers", texts(keys.get("dns")));
    put(&mut dns, "Search", texts(keys.get("dns_search")));
    put(&mut container, "DNSConfig", dns);
    if let Some(grace) = time(keys, &["stop_grace_period"]) {
        container.insert("StopGracePeriod".to_owned(), nanoseconds(grace).into());
    }
    put(
        &mut container,
        "CapabilityAdd",
        capabilities(keys, "cap_add"),
    );
    put(
        &mut container,
        "CapabilityDrop",
        capabilities(keys, "cap_drop"),
    );
    let sysctls: Keys = pairs(keys.get("sysctls"))
        .map(|(k, v)| (k.clone(), v.into()))
        .collect();
    put(&mut container, "Sysctls", sysctls);
    let ulimits = keys
        .get("ulimits")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let ulimits: Vec<Value> = ulimits
        .map(|(name, l)| json!({"Name": name, "Soft": l["soft"], "Hard": l["hard"]}))
        .collect();
    put(&mut container, "Ulimits", ulimits);
    put(&mut container, "Healthcheck", health(keys));
    put(&mut container, "Mounts", mounts(stack, keys, volumes)?);
    for (noun, to, id, name) in [
        ("secrets", "Secrets", "SecretID", "SecretName"),
        ("configs", "Configs", "ConfigID", "ConfigName"),
    ] {
        let mut grants = Vec::new();
        for grant in list(keys.get(noun)) {
            let of = |key: &str| grant.get(key).and_then(text);
            let source = of("source").unwrap_or_default();
            let (real, own_id) =
                known
                    .get(&(noun.to_owned(), source.clone()))
                    .ok_or_else(|| {
                        Error::invalid(format!("services.{key}.{noun}: {source:?} is not declared"))
                    })?;
            let target = match noun {
                // Secrets are below /run/secrets whatever they are called.
                "secrets" => of("target").unwrap_or(source),
                _ => grant_target(noun, &source, of("target")),
            };
            let mode = grant.get("mode").and_then(Value::as_u64).unwrap_or(0o444);
            grants.push(json!({
                "File": {
                    "Name": target,
                    "UID": of("uid").unwrap_or_else(|| "0".to_owned()),
                    "GID": of("gid").unwrap_or_else(|| "0".to_owned()),
                    "Mode": mode,
                },
                id: own_id,
                name: real,
            }));
        }
        put(&mut container, to, grants);
    }
    let mut task = Map::new();
    task.insert("ContainerSpec".to_owned(), container.into());
    put(&mut task, "Resources", resources(keys));
    put(&mut task, "RestartPolicy", restart(keys));
    put(&mut task, "Placement", placement(keys));
    let networks = keys.get("networks").and_then(Value::as_object);
    let networks: Vec<Value> = networks
        .into_iter()
        .flatten()
        .map(|(net, how)| {
            let real = known.get(&("networks".to_owned(), net.clone()));
            let mut aliases = vec![key.to_owned()];
            aliases.extend(texts(how.get("aliases")));
            json!({"Target": real.map_or(net.as_str(), |(_, id)| id), "Aliases": aliases})
        })
        .collect();
    put(&mut task, "Networks", networks);
    if let Some(driver) = word(keys, &["logging", "driver"]) {
        let options: Keys = pairs(below(keys, &["logging", "options"]))
            .map(|(k, v)| (k.clone(), v.into()))
            .collect();
        task.insert(
            "LogDriver".to_owned(),
            json!({"Name": driver, "Options": options}),
        );
    }
    let mut own = labels(stack, below(keys, &["deploy", "labels"]));
    own["com.docker.stack.image"] = image.into();
    let mut made = Map::new();
    put(&mut made, "Name", format!("{stack}_{key}"));
    put(&mut made, "Labels", own);
    made.insert("TaskTemplate".to_owned(), task.into());
    made.insert("Mode".to_owned(), mode(keys));
    for (from, to) in [
        ("update_config", "UpdateConfig"),
        ("rollback_config", "RollbackConfig"),
    ] {
        put(&mut made, to, update(keys, from));
    }
    put(&mut made, "EndpointSpec", endpoint(keys));
    Ok(made.into())
}

fn capabilities(keys: &Keys, key: &str) -> Vec<String> {
    let all = texts(keys.get(key)).into_iter();
    all.map(|c| match c.starts_with("CAP_") || c == "ALL" {
        true => c,
        false => format!("CAP_{c}"),
    })
    .collect()
}

fn health(keys: &Keys) -> Keys {
    let mut made = Map::new();
    let Some(Value::Object(check)) = keys.get("healthcheck") else {
        return made;
    };
    let test = match check.get("disable") == Some(&Value::Bool(true)) {
        true => vec!["NONE".to_owned()],
        false => texts(check.get("test")),
    };
    put(&mut made, "Test", test);
    for (from, to) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
    ] {
        if let Some(seconds) = time(check, &[from]) {
            made.insert(to.to_owned(), nanoseconds(seconds).into());
        }
    }
    if let Some(retries) = number(check, &["retries"]) {
        made.insert("Retries".to_owned(), retries.into());
    }
    made
}

fn mounts(stack: &str, keys: &Keys, volumes: &Keys) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for mount in list(keys.get("volumes")) {
        let Some(mount) = mount.as_object() else {
            continue;
        };
        let kind = word(mount, &["type"]).unwrap_or_default();
        let source = word(mount, &["source"]);
        let mut made = json!({
            "Type": kind,
            "Target": word(mount, &["target"]),
            "ReadOnly": mount.get("read_only") == Some(&Value::Bool(true)),
        });
        match (kind.as_str(), source) {
            ("volume", Some(source)) => {
                let none = Map::new();
                let about = volumes
                    .get(&source)
                    .and_then(Value::as_object)
                    .unwrap_or(&none);
                made["Source"] = real_name(stack, about, &source).into();
                let mut options = json!({"Labels": labels(stack, about.get("labels"))});
                if let Some(driver) = word(about, &["driver"]) {
                    let opts: Keys = pairs(about.get("driver_opts"))
                        .map(|(k, v)| (k.clone(), v.into()))
                        .collect();
                    options["DriverConfig"] = json!({"Name": driver, "Options": opts});
                }
                if below(mount, &["volume", "nocopy"]) == Some(&Value::Bool(true)) {
                    options["NoCopy"] = true.into();
                }
                made["VolumeOptions"] = options;
            }
            ("bind", Some(source)) => {
                made["Source"] = source.into();
                if let Some(propagation) = word(mount, &["bind", "propagation"]) {
                    made["BindOptions"] = json!({ "Propagation": propagation });
                }
            }
            ("tmpfs", _) => {
                if let Some(size) = number(mount, &["tmpfs", "size"]) {
                    made["TmpfsOptions"] = json!({ "SizeBytes": size });
                }
            }
            ("volume", None) => {}
            (other, _) => {
                return Err(Error::invalid(format!(
                    "a swarm has no mounts of the type {other:?}"
                )));
            }
        }
        all.push(made);
    }
    Ok(all)
}

fn resources(keys: &Keys) -> Keys {
    let mut made = Map::new();
    for (from, to) in [("limits", "Limits"), ("reservations", "Reservations")] {
        let of = |key: &str| word(keys, &["deploy", "resources", from, key]);
        let mut part = Map::new();
        if let Some(cpus) = of("cpus").and_then(|c| c.parse::<f64>().ok()) {
            part.insert("NanoCPUs".to_owned(), nanoseconds(cpus).into());
        }
        if let Some(bytes) = of("memory").and_then(|m| crate::base::size::parse(&m).ok()) {
            part.insert("MemoryBytes".to_owned(), bytes.into());
        }
        if let Some(pids) = of("pids")
            .and_then(|p| p.parse::<i64>().ok())
            .filter(|_| from == "limits")
        {
            part.insert("Pids".to_owned(), pids.into());
        }
        let generic: Vec<Value> = list(below(
            keys,
            &["deploy", "resources", from, "generic_resources"],
        ))
        .filter_map(|g| g.get("discrete_resource_spec"))
        .map(|g| json!({"DiscreteResourceSpec": {"Kind": g["kind"], "Value": g["value"]}}))
        .collect();
        put(&mut part, "GenericResources", generic);
        put(&mut made, to, part);
    }
    made
}

fn restart(keys: &Keys) -> Keys {
    let of = |key: &str| word(keys, &["deploy", "restart_policy", key]);
    let mut made = Map::new();
    put(&mut made, "Condition", of("condition").unwrap_or_default());
    for (from, to) in [("delay", "Delay"), ("window", "Window")] {
        if let Some(seconds) = time(keys, &["deploy", "restart_policy", from]) {
            made.insert(to.to_owned(), nanoseconds(seconds).into());
        }
    }
    if let Some(most) = number(keys, &["deploy", "restart_policy", "max_attempts"]) {
        made.insert("MaxAttempts".to_owned(), most.into());
    }
    made
}

fn placement(keys: &Keys) -> Keys {
    let mut made = Map::new();
    put(
        &mut made,
        "Constraints",
        texts(below(keys, &["deploy", "placement", "constraints"])),
    );
    let spread: Vec<Value> = list(below(keys, &["deploy", "placement", "preferences"]))
        .filter_map(|p| p.get("spread").and_then(text))
        .map(|by| json!({"Spread": {"SpreadDescriptor": by}}))
        .collect();
    put(&mut made, "Preferences", spread);
    if let Some(most) = number(keys, &["deploy", "placement", "max_replicas_per_node"]) {
        made.insert("MaxReplicas".to_owned(), most.into());
    }
    made
}

/// How many tasks a service is to have; 1 without a word.
pub fn replicas(keys: &Keys) -> u64 {
    let given = number(keys, &["deploy", "replicas"]);
    given.and_then(|n| u64::try_from(n).ok()).unwrap_or(1)
}

fn mode(keys: &Keys) -> Value {
    let count = replicas(keys);
    match word(keys, &["deploy", "mode"]).as_deref() {
        Some("global") => json!({"Global": {}}),
        Some("global-job") => json!({"GlobalJob": {}}),
        Some("replicated-job") => {
            json!({"ReplicatedJob": {"MaxConcurrent": count, "TotalCompletions": count}})
        }
        _ => json!({"Replicated": {"Replicas": count}}),
    }
}

fn update(keys: &Keys, which: &str) -> Keys {
    let mut made = Map::new();
    let at = |key: &'static str| ["deploy", which, key];
    if below(keys, &["deploy", which]).is_none() {
        return made;
    }
    let width = number(keys, &at("parallelism")).unwrap_or(1);
    made.insert("Parallelism".to_owned(), width.into());
    for (from, to) in [("delay", "Delay"), ("monitor", "Monitor")] {
        if let Some(seconds) = time(keys, &at(from)) {
            made.insert(to.to_owned(), nanoseconds(seconds).into());
        }
    }
    for (from, to) in [("failure_action", "FailureAction"), ("order", "Order")] {
        put(&mut made, to, word(keys, &at(from)).unwrap_or_default());
    }
    if let Some(ratio) = word(keys, &at("max_failure_ratio")).and_then(|r| r.parse::<f64>().ok()) {
        made.insert("MaxFailureRatio".to_owned(), ratio.into());
    }
    made
}

fn endpoint(keys: &Keys) -> Keys {
    let mut made = Map::new();
    put(
        &mut made,
        "Mode",
        word(keys, &["deploy", "endpoint_mode"]).unwrap_or_default(),
    );
    let ports: Vec<Value> = list(keys.get("ports"))
        .map(|p| {
            let mut port = json!({
                "Protocol": p.get("protocol").and_then(text).unwrap_or_else(|| "tcp".to_owned()),
                "TargetPort": p["target"],
                "PublishMode": p.get("mode").and_then(text).unwrap_or_else(|| "ingress".to_owned()),
            });
            if let Some(published) = p.get("published") {
                port["PublishedPort"] = published.clone();
            }
            port
        })
        .collect();
    put(&mut made, "Ports", ports);
    made
}

/// Whether what is there has all that is wanted. A manager leaves out what is zero, false or empty, and
/// adds what it thinks of.
pub fn agrees(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| agrees(there.get(key).unwrap_or(&Value::Null), value)),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(t, w)| agrees(t, w))
        }
        (Value::Null, Value::Object(wanted)) => wanted.values().all(|w| agrees(&Value::Null, w)),
        (Value::Null, wanted) => {
            wanted.is_null()
                || wanted == &Value::Bool(false)
                || wanted.as_f64() == Some(0.0)
                || wanted.as_str() == Some("")
                || wanted.as_array().is_some_and(Vec::is_empty)
        }
        (Value::Number(there), Value::Number(wanted)) => there.as_f64() == wanted.as_f64(),
        _ => there == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(value: Value) -> Keys {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_service_has_what_its_stack_says() {
        let service_keys = keys(json!({
            "image": "r:5000/web:1", "command": ["serve"], "environment": {"A": "b"},
            "healthcheck": {"test": ["CMD", "true"], "interval": "5s", "retries": 2},
            "secrets": [{"source": "key", "mode": 256}],
            "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
            "networks": {"default": {"aliases": ["www"]}},
            "ports": [{"target": 80, "published": 8080, "protocol": "tcp"}],
            "deploy": {
                "replicas": 3, "labels": {"tier": "front"},
                "update_config": {"parallelism": 2, "delay": "1s", "order": "start-first",
                    "failure_action": "rollback", "max_failure_ratio": 0.5},
                "resources": {"limits": {"cpus": "0.5", "memory": "64m"}},
                "placement": {"constraints": ["node.role==worker"], "max_replicas_per_node": 1},
            },
        }));
        let mut known = Known::new();
        let mut know = |noun: &str, key: &str, name: &str, id: &str| {
            known.insert((noun.into(), key.into()), (name.into(), id.into()));
        };
        know("networks", "default", "p_default", "n1");
        know("secrets", "key", "p_key-0", "s1");
        let made = service("p", "web", &service_keys, &Keys::new(), &known).unwrap();
        assert_eq!(made["Name"], "p_web");
        assert_eq!(
            made["Labels"],
            json!({"tier": "front", STACK: "p", "com.docker.stack.image": "r:5000/web:1"})
        );
        assert_eq!(made["Mode"], json!({"Replicated": {"Replicas": 3}}));
        assert_eq!(
            made["UpdateConfig"],
            json!({"Parallelism": 2, "Delay": 1_000_000_000, "FailureAction": "rollback",
                "Order": "start-first", "MaxFailureRatio": 0.5})
        );
        assert_eq!(
            made["EndpointSpec"]["Ports"],
            json!([{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress", "PublishedPort": 8080}])
        );
        let task = &made["TaskTemplate"];
        assert_eq!(
            task["Networks"],
            json!([{"Target": "n1", "Aliases": ["web", "www"]}])
        );
        assert_eq!(
            task["Resources"],
            json!({"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864}})
        );
        let container = &task["ContainerSpec"];
        assert_eq!(container["Args"], json!(["serve"]));
        assert_eq!(container["Env"], json!(["A=b"]));
        assert_eq!(container["Healthcheck"]["Interval"], 5_000_000_000_i64);
        assert_eq!(container["Mounts"][0]["Source"], "p_data");
        assert_eq!(
            container["Secrets"],
            json!([{"File": {"Name": "key", "UID": "0", "GID": "0", "Mode": 256},
                "SecretID": "s1", "SecretName": "p_key-0"}])
        );
        let unknown = service("p", "web", &service_keys, &Keys::new(), &Known::new());
        assert!(unknown.is_err(), "a secret that nobody declared");
    }

    #[test]
    fn the_name_of_data_changes_with_its_content() {
        let name = |content: &[u8]| data("p", "key", &Keys::new(), content)["Name"].clone();
        assert_eq!(name(b"a"), name(b"a"));
        assert_ne!(name(b"a"), name(b"b"));
        assert!(name(b"a").as_str().unwrap().starts_with("p_key-"));
    }

    #[test]
    fn what_is_wanted_is_looked_for_in_what_is_there() {
        let there = json!({"A": {"B": [1, {"C": "x", "D": 1}]}, "E": 0.5, "F": {}});
        for (wanted, same) in [
            (json!({"A": {"B": [1, {"C": "x"}]}}), true),
            (json!({"A": {"B": [1, {"C": "y"}]}}), false),
            (json!({"A": {"B": [1]}}), false),
            (
                json!({"G": false, "H": 0, "I": "", "J": [], "K": {"L": false}}),
                true,
            ),
            (json!({"G": true}), false),
            (json!({"F": {"G": 1}}), false),
            (json!({"E": 0.5}), true),
            (json!({"E": "0.5"}), false),
        ] {
            assert_eq!(agrees(&there, &wanted), same, "{wanted}");
        }
    }
}
