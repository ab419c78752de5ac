//! A container as a manifest has it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::claim;
use crate::state::container::Container;
use crate::state::health::{Checks, OnFailure, Probe};
use crate::state::options::{ContainerOptions, MountOption, MountSource};

/// A container of a pod. Its volumes go to `volumes`, their claims to `claims`, what it leaves out to
/// `notices`.
pub(super) fn object(
    container: &Container,
    pod: &str,
    claims: &mut BTreeMap<String, Value>,
    volumes: &mut BTreeMap<String, Value>,
    notices: &mut Vec<String>,
) -> Map<String, Value> {
    let record = &container.record;
    let options = &record.options;
    let own = container.name();
    let name = own.strip_prefix(&format!("{pod}-")).unwrap_or(own);
    let mut value = Map::new();
    let mut put = |key: &str, what: Value| {
        let empty = match &what {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !empty {
            value.insert(key.to_owned(), what);
        }
    };
    put("name", name.replace(['_', '.'], "-").into());
    let image = record
        .image
        .as_ref()
        .map_or(options.image.as_str(), |i| &i.name);
    put("image", image.into());
    put(
        "command",
        options.entrypoint.clone().unwrap_or_default().into(),
    );
    put("args", options.command.clone().into());
    put("workingDir", options.workdir.clone().into());
    put("tty", options.tty.into());
    put("stdin", options.interactive.into());
    let env: Vec<Value> = options
        .env
        .iter()
        .filter_map(|e| e.split_once('='))
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    put("env", env.into());
    put("securityContext", security(options, own, notices));
    for (key, probe) in probes(container, notices) {
        put(key, probe);
    }
    put("resources", resources(options));
    let mut mounts = Vec::new();
    for mount in &options.mounts {
        match volume_of(mount, own, record, claims) {
            Some((volume, subpath)) => {
                let key = volume["name"].as_str().unwrap_or_default().to_owned();
                let mut entry = json!({"name": key, "mountPath": mount.destination});
                if mount.read_only {
                    entry["readOnly"] = true.into();
                }
                if let Some(subpath) = subpath {
                    entry["subPath"] = subpath.into();
                }
                volumes.insert(key, volume);
                mounts.push(entry);
            }
            None => notices.push(format!(
                "container {own:?}: the mount at {} has no counterpart",
                mount.destination
            )),
        }
    }
    put("volumeMounts", mounts.into());
    for (given, what) in [
        (!options.devices.is_empty(), "devices"),
        (!options.secrets.is_empty(), "secrets"),
        (!options.ulimits.is_empty(), "ulimits"),
    ] {
        if given {
            notices.push(format!("container {own:?}: {what} are left out"));
        }
    }
    value
}

fn security(options: &ContainerOptions, own: &str, notices: &mut Vec<String>) -> Value {
    let mut value = Map::new();
    if let Some((user, group)) = options
        .user
        .as_deref()
        .map(|u| u.split_once(':').unwrap_or((u, "")))
    {
        if let Ok(user) = user.parse::<i64>() {
            value.insert("runAsUser".to_owned(), user.into());
        }
        if let Ok(group) = group.parse::<i64>() {
            value.insert("runAsGroup".to_owned(), group.into());
        }
    }
    for (given, key, what) in [
        (options.privileged, "privileged", true),
        (options.read_only, "readOnlyRootFilesystem", true),
        (
            options.security.no_new_privileges,
            "allowPrivilegeEscalation",
            false,
        ),
    ] {
        if given {
            value.insert(key.to_owned(), what.into());
        }
    }
    let mut capabilities = Map::new();
    for (key, list) in [("add", &options.cap_add), ("drop", &options.cap_drop)] {
        if !list.is_empty() {
            capabilities.insert(key.to_owned(), json!(list));
        }
    }
    if !capabilities.is_empty() {
        value.insert("capabilities".to_owned(), capabilities.into());
    }
    match options.security.seccomp.as_deref() {
        None => {}
        Some("unconfined") => {
            value.insert("seccompProfile".to_owned(), json!({"type": "Unconfined"}));
        }
        Some(path) => notices.push(format!(
            "container {own:?}: the seccomp profile {path} is left out: put it below a cluster's profile folder"
        )),
    }
    if options.security.unmask.iter().any(|u| u == "ALL") {
        value.insert("procMount".to_owned(), "Unmasked".into());
    }
    let labels: Map<String, Value> = options
        .security
        .label
        .iter()
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.to_owned(), v.into()))
        .collect();
    if !labels.is_empty() {
        value.insert("seLinuxOptions".to_owned(), labels.into());
    }
    Value::Object(value)
}

fn resources(options: &ContainerOptions) -> Value {
    let resources = &options.resources;
    let mut limits = Map::new();
    if let Some(memory) = resources.memory.filter(|m| *m > 0) {
        limits.insert("memory".to_owned(), memory.to_string().into());
    }
    if let Some(cpus) = resources.cpus.filter(|c| *c > 0.0) {
        let milli = (cpus * 1000.0).round();
        limits.insert("cpu".to_owned(), format!("{milli}m").into());
    } else if let (Some(quota), period) = (
        resources.cpu_quota.filter(|q| *q > 0),
        resources.cpu_period.unwrap_or(100_000),
    ) {
        let milli = i128::from(quota) * 1000 / i128::from(period.max(1));
        limits.insert("cpu".to_owned(), format!("{milli}m").into());
    }
    let mut requests = Map::new();
    if let Some(memory) = resources.memory_reservation.filter(|m| *m > 0) {
        requests.insert("memory".to_owned(), memory.to_string().into());
    }
    if let Some(shares) = resources.cpu_shares.filter(|s| *s > 0) {
        // The other way round than it is played: so many of 1024 are a processor.
        let milli = (shares * 1000).div_ceil(1024);
        requests.insert("cpu".to_owned(), format!("{milli}m").into());
    }
    let mut value = Map::new();
    for (key, map) in [("limits", limits), ("requests", requests)] {
        if !map.is_empty() {
            value.insert(key.to_owned(), map.into());
        }
    }
    Value::Object(value)
}

/// The pod's volume for a mount, and the path below it.
fn volume_of(
    mount: &MountOption,
    container: &str,
    record: &crate::state::container::ContainerRecord,
    claims: &mut BTreeMap<String, Value>,
) -> Option<(Value, Option<String>)> {
    let label = |text: &str| -> String {
        let text: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        text.trim_matches('-').chars().take(50).collect()
    };
    match &mount.source {
        MountSource::Bind { path, .. } => {
            let text = path.to_string_lossy();
            let name = format!("{}-host", label(&text));
            let host = json!({"path": text});
            Some((json!({"name": name, "hostPath": host}), None))
        }
        MountSource::Volume {
            name: Some(name),
            subpath,
            ..
        } => {
            claims.insert(name.clone(), claim(name));
            let source = json!({"claimName": name});
            let volume =
                json!({"name": format!("{}-pvc", label(name)), "persistentVolumeClaim": source});
            Some((volume, subpath.clone()))
        }
        MountSource::Volume { name: None, .. } => {
            let bound = record
                .volumes
                .iter()
                .find(|v| v.destination == mount.destination)?;
            Some((
                json!({"name": format!("{}-empty", &bound.name[..12.min(bound.name.len())]), "emptyDir": {}}),
                None,
            ))
        }
        MountSource::Tmpfs { size, .. } => {
            let name = format!("{}-{}-tmpfs", label(container), label(&mount.destination));
            let empty = match size {
                Some(size) => json!({"medium": "Memory", "sizeLimit": size.to_string()}),
                None => json!({"medium": "Memory"}),
            };
            Some((json!({"name": name, "emptyDir": empty}), None))
        }
        MountSource::Image { image, subpath, .. } => {
            let source = json!({"reference": image});
            Some((
                json!({"name": format!("{}-image", label(image)), "image": source}),
                subpath.clone(),
            ))
        }
        _ => None,
    }
}

/// The health check as a probe: one that restarts the container is its liveness, any other one its
/// readiness.
fn probes(container: &Container, notices: &mut Vec<String>) -> Vec<(&'static str, Value)> {
    let options = &container.record.options;
    // The image's own check is the image's: whoever runs it there has it as well.
    let given = match &options.healthcheck {
        Some(_) => Checks::of(options, None).ok().flatten(),
        None => None,
    };
    let Some(checks) = given else {
        return Vec::new();
    };
    let mut main = action(&checks.probe);
    let mut put = |key: &str, value: u64, usual: u64| {
        if value != usual {
            main[key] = value.into();
        }
    };
    put("initialDelaySeconds", checks.start_period.as_secs(), 0);
    match checks.interval {
        Some(interval) => put("periodSeconds", interval.as_secs().max(1), 10),
        None => notices.push(format!(
            "container {:?}: its check on demand is made every 10 seconds",
            container.name()
        )),
    }
    put("timeoutSeconds", checks.timeout.as_secs().max(1), 1);
    put("failureThreshold", checks.retries.into(), 3);
    let key = match checks.on_failure {
        OnFailure::None => "readinessProbe",
        _ => "livenessProbe",
    };
    let mut all = vec![(key, main)];
    if let Some(startup) = &checks.startup {
        let mut first = action(&startup.probe);
        first["periodSeconds"] = startup.interval.as_secs().max(1).into();
        first["failureThreshold"] = startup.retries.max(1).into();
        all.push(("startupProbe", first));
    }
    all
}

/// What a probe looks at.
fn action(probe: &Probe) -> Value {
    // `ADDRESS:PORT`, or the port alone.
    let parts = |address: &str| -> (Option<String>, Value) {
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (Some(host.trim_matches(['[', ']'])), port),
            None => (None, address),
        };
        let host = host.filter(|h| !matches!(*h, "127.0.0.1" | "localhost" | ""));
        let port = port
            .parse::<u16>()
            .map_or_else(|_| port.into(), Value::from);
        (host.map(str::to_owned), port)
    };
    let mut about = json!({});
    let mut place = |address: &str| {
        let (host, port) = parts(address);
        about["port"] = port;
        if let Some(host) = host {
            about["host"] = host.into();
        }
    };
    match probe {
        Probe::Exec(words) => json!({"exec": {"command": words}}),
        Probe::Http { address, path, .. } => {
            place(address);
            about["path"] = path.as_str().into();
            json!({"httpGet": about})
        }
        Probe::Tcp { address } => {
            place(address);
            json!({"tcpSocket": about})
        }
        Probe::Grpc { address, service } => {
            place(address);
            if !service.is_empty() {
                about["service"] = service.as_str().into();
            }
            json!({"grpc": about})
        }
    }
}
