//! `kube generate`: manifests of what is here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::base::{Error, Kind, Result};
use crate::operations::pod::members;
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};
use crate::state::options::{
    ContainerOptions, MountOption, MountSource, NamespaceMode, NetworkMode, RestartPolicy,
};
use crate::state::pod::{PodRecord, Pods, Share};
use crate::storage::volume::Volumes;

/// `--type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrap {
    /// A pod as it is.
    #[default]
    Pod,
    /// A Deployment of it.
    Deployment,
    /// A DaemonSet of it.
    DaemonSet,
    /// A Job of it.
    Job,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Pods, containers and volumes, by name or id.
    pub names: Vec<String>,
    /// `--type`.
    pub wrap: Wrap,
    /// `--replicas`.
    pub replicas: Option<u32>,
    /// `--service`.
    pub service: bool,
}

/// The objects, and what they leave out.
///
/// # Errors
/// `NotFound` for a name of nothing; `Invalid` for what does not go together.
pub fn generate(session: &Session, request: &Request) -> Result<(Vec<Value>, Vec<String>)> {
    let (pods, containers) = (Pods::new(&session.dirs), Containers::new(&session.dirs));
    if request.replicas.is_some_and(|n| n > 1) && request.wrap != Wrap::Deployment {
        return Err(Error::invalid("--replicas is for --type deployment"));
    }
    let mut notices = Vec::new();
    let mut loose: Vec<Container> = Vec::new();
    let mut found: Vec<(String, Option<PodRecord>, Vec<Container>)> = Vec::new();
    let mut claims = BTreeMap::new();
    for name in &request.names {
        match pods.find(name) {
            Ok(pod) => {
                let all = members(session, &pod)?;
                found.push((pod.name.to_string(), Some(pod), all));
                continue;
            }
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
        match containers.find(name) {
            Ok(container) if container.record.options.pod.is_some() => {
                return Err(Error::invalid(format!(
                    "container {name:?} is in a pod: name the pod"
                )));
            }
            Ok(container) => {
                loose.push(container);
                continue;
            }
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
        match Volumes::new(&session.dirs).find(name) {
            Ok(volume) => {
                claims.insert(volume.name.to_string(), claim(volume.name.as_str()));
            }
            Err(e) if e.kind() == Kind::NotFound => {
                return Err(Error::not_found(format!(
                    "there is no pod, container or volume {name:?}"
                )));
            }
            Err(e) => return Err(e),
        }
    }
    if let Some(first) = loose.first() {
        // The name is a pod's now: the container itself keeps its own.
        found.push((format!("{}-pod", first.name()), None, loose));
    }
    let mut objects = Vec::new();
    for (name, pod, all) in &found {
        let made = pod_object(name, pod.as_ref(), all, &mut claims, &mut notices)?;
        if request.service {
            objects.push(service(name, &made));
        }
        objects.push(wrapped(made, name, request));
    }
    let claims = claims.into_values();
    Ok((claims.chain(objects).collect(), notices))
}

/// YAML documents.
///
/// # Errors
/// `Internal` for what cannot be written.
pub fn yaml(objects: &[Value]) -> Result<String> {
    let mut text = String::new();
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            text.push_str("---\n");
        }
        let document = serde_yaml::to_string(object)
            .map_err(|e| Error::internal("cannot write YAML").because(e))?;
        text.push_str(&document);
    }
    Ok(text)
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "annotations": {"volume.podman.io/driver": "local"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
}

fn wrapped(pod: Value, name: &str, request: &Request) -> Value {
    let labels = pod["metadata"]["labels"].clone();
    let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    let mut spec = json!({"template": template});
    let kind = match request.wrap {
        Wrap::Pod => return pod,
        Wrap::Deployment => {
            spec["replicas"] = request.replicas.unwrap_or(1).into();
            "Deployment"
        }
        Wrap::DaemonSet => "DaemonSet",
        Wrap::Job => {
            spec["template"]["spec"]["restartPolicy"] = "Never".into();
            return json!({
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": format!("{name}-job"), "labels": labels},
                "spec": spec,
            });
        }
    };
    spec["selector"] = json!({"matchLabels": {"app": pod["metadata"]["labels"]["app"]}});
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": format!("{name}-{}", kind.to_lowercase()), "labels": labels},
        "spec": spec,
    })
}

fn service(name: &str, pod: &Value) -> Value {
    let containers = pod["spec"]["containers"].as_array();
    let ports: Vec<Value> = containers
        .into_iter()
        .flatten()
        .filter_map(|c| c["ports"].as_array())
        .flatten()
        .map(|p| {
            json!({
                "name": p["containerPort"].to_string(),
                "port": p["containerPort"],
                "targetPort": p["containerPort"],
            })
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": pod["metadata"]["labels"]},
        "spec": {
            "type": "NodePort",
            "selector": {"app": pod["metadata"]["labels"]["app"]},
            "ports": ports,
        },
    })
}

fn pod_object(
    name: &str,
    pod: Option<&PodRecord>,
    all: &[Container],
    claims: &mut BTreeMap<String, Value>,
    notices: &mut Vec<String>,
) -> Result<Value> {
    let mut labels = pod.map_or_else(BTreeMap::new, |p| p.labels.clone());
    labels
        .entry("app".to_owned())
        .or_insert_with(|| name.to_owned());
    let holder = pod.and_then(|p| p.infra.as_ref()).map(|i| &*i.options);
    let mut volumes: BTreeMap<String, Value> = BTreeMap::new();
    let (mut containers, mut inits) = (Vec::new(), Vec::new());
    let mut first_ports = match holder {
        Some(holder) => ports(holder),
        None => Vec::new(),
    };
    for container in all.iter().filter(|c| !c.record.options.infra) {
        let options = &container.record.options;
        let mut value = container_object(container, name, claims, &mut volumes, notices);
        let mut own = match pod {
            Some(_) => Vec::new(),
            None => ports(options),
        };
        if options.init_ctr.is_none() {
            own.append(&mut first_ports);
        }
        if !own.is_empty() {
            value.insert("ports".to_owned(), own.into());
        }
        match options.init_ctr {
            Some(_) => inits.push(Value::Object(value)),
            None => containers.push(Value::Object(value)),
        }
    }
    if containers.is_empty() {
        return Err(Error::invalid(format!(
            "pod {name:?} has no containers of its own"
        )));
    }
    let restart = all
        .iter()
        .filter(|c| !c.record.options.infra)
        .map(|c| c.record.options.restart)
        .next()
        .unwrap_or_default();
    let mut spec = json!({
        "containers": containers,
        "restartPolicy": match restart {
            RestartPolicy::No => "Never",
            RestartPolicy::OnFailure(_) => "OnFailure",
            _ => "Always",
        },
    });
    if !inits.is_empty() {
        spec["initContainers"] = inits.into();
    }
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into_values().collect();
    }
    let network = holder.or_else(|| all.first().map(|c| &c.record.options));
    if let Some(options) = network {
        shared_fields(options, pod, name, &mut spec);
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }))
}

/// Network, names and namespaces of a pod.
fn shared_fields(
    options: &ContainerOptions,
    pod: Option<&PodRecord>,
    name: &str,
    spec: &mut Value,
) {
    let net = &options.network;
    if net.mode == NetworkMode::Host {
        spec["hostNetwork"] = true.into();
    }
    if options.pid == NamespaceMode::Host {
        spec["hostPID"] = true.into();
    } else if pod.is_some_and(|p| p.shares(Share::Pid)) {
        spec["shareProcessNamespace"] = true.into();
    }
    if let Some(host) = options.hostname.as_deref().filter(|h| *h != name) {
        spec["hostname"] = host.into();
    }
    let aliases: Vec<Value> = net
        .add_hosts
        .iter()
        .filter(|(_, ip)| ip != "host-gateway")
        .map(|(names, ip)| json!({"ip": ip, "hostnames": names}))
        .collect();
    if !aliases.is_empty() {
        spec["hostAliases"] = aliases.into();
    }
    if !net.dns.is_empty() || !net.dns_search.is_empty() || !net.dns_options.is_empty() {
        let options: Vec<Value> = net
            .dns_options
            .iter()
            .map(|o| match o.split_once(':') {
                Some((name, value)) => json!({"name": name, "value": value}),
                None => json!({"name": o}),
            })
            .collect();
        spec["dnsConfig"] = json!({
            "nameservers": net.dns,
            "searches": net.dns_search,
            "options": options,
        });
    }
    if !options.sysctls.is_empty() {
        let list: Vec<Value> = options
            .sysctls
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        spec["securityContext"] = json!({"sysctls": list});
    }
}

fn ports(options: &ContainerOptions) -> Vec<Value> {
    let mut all = Vec::new();
    for port in &options.network.publish {
        for i in 0..port.range.max(1) {
            let mut value = json!({
                "containerPort": port.container_port + i,
                "protocol": port.protocol.name().to_uppercase(),
            });
            if port.host_port > 0 {
                value["hostPort"] = (port.host_port + i).into();
            }
            if let Some(ip) = port.host_ip {
                value["hostIP"] = ip.to_string().into();
            }
            all.push(value);
        }
    }
    all
}

fn container_object(
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
    put("securityContext", security(options));
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
        (options.healthcheck.is_some(), "the health check"),
        (!options.ulimits.is_empty(), "ulimits"),
    ] {
        if given {
            notices.push(format!("container {own:?}: {what} are left out"));
        }
    }
    value
}

fn security(options: &ContainerOptions) -> Value {
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
    match limits.is_empty() {
        true => Value::Null,
        false => json!({"limits": limits}),
    }
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
