//! `kube generate`: manifests of what is here.

mod container;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::{Error, Kind, Result};
use crate::operations::pod::members;
use crate::operations::session::Session;
use crate::state::container::{Container, Containers};
use crate::state::options::{ContainerOptions, NamespaceMode, NetworkMode, RestartPolicy};
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

/// The claim of a volume.
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
        let mut value = container::object(container, name, claims, &mut volumes, notices);
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
    let graces = all.iter().filter(|c| !c.record.options.infra);
    // The one that takes longest has the time that it was given.
    if let Some(grace) = graces.filter_map(|c| c.record.options.stop_timeout).max() {
        spec["terminationGracePeriodSeconds"] = grace.into();
    }
    let groups: std::collections::BTreeSet<i64> = all
        .iter()
        .flat_map(|c| &c.record.options.groups)
        .filter_map(|g| g.parse().ok())
        .collect();
    if !groups.is_empty() {
        spec["securityContext"] = json!({"supplementalGroups": groups});
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
        spec["securityContext"]["sysctls"] = list.into();
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
