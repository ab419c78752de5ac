//! `pod inspect`: podman's JSON of a pod.

use serde_json::{Map, Value, json};

use super::list::PodSummary;
use crate::operations::container::filter::policy_name;
use crate::state::options::{
    ContainerOptions, DeviceLimitKind, MountSource, NamespaceMode, NetworkMode, PortMapping,
    Resources, UsernsMode,
};

/// podman's names and types.
pub fn value(pod: &PodSummary) -> Value {
    let record = &pod.record;
    let infra = record.infra.as_ref();
    let containers: Vec<Value> = pod
        .members
        .iter()
        .map(|m| {
            json!({
                "Id": m.container.id(),
                "Name": m.container.name(),
                "State": m.state.name(),
            })
        })
        .collect();
    let mut value = json!({
        "Id": record.id,
        "Name": record.name,
        "Created": record.created.rfc3339(),
        "CreateCommand": record.create_command,
        "ExitPolicy": record.exit_policy.name(),
        "State": pod.status(),
        "Hostname": infra.and_then(|i| i.options.hostname.clone()).unwrap_or_default(),
        "Labels": record.labels,
        "CreateCgroup": infra.is_some_and(|i| i.options.cgroup_parent.is_some()),
        "CgroupParent": infra.and_then(|i| i.options.cgroup_parent.clone()).unwrap_or_default(),
        "CgroupPath": group(pod),
        "CreateInfra": infra.is_some(),
        "InfraContainerID": infra.map_or("", |i| i.id.as_str()),
        "InfraConfig": infra.map(|i| config(pod, &i.options)),
        "SharedNamespaces": record.share.iter().map(|s| s.name()).collect::<Vec<_>>(),
        "RestartPolicy": policy_name(&record.restart),
        "NumContainers": containers.len(),
        "Containers": containers,
        "LockNumber": 0,
    });
    if let (Some(infra), Some(map)) = (infra, value.as_object_mut()) {
        if !infra.options.mounts.is_empty() {
            map.insert("mounts".to_owned(), mounts(&infra.options));
        }
        limits(&infra.options.resources, map);
        if !infra.options.volumes_from.is_empty() {
            map.insert("volumes_from".to_owned(), json!(infra.options.volumes_from));
        }
    }
    value
}

/// The group that its containers share, where the pod has limits and runs.
fn group(pod: &PodSummary) -> String {
    let holder = pod
        .members
        .iter()
        .find(|m| m.container.record.options.infra);
    let status = holder.and_then(|m| m.container.status().ok().flatten());
    let group = status.and_then(|s| s.cgroup);
    let shared = group.as_deref().and_then(crate::cgroup::of_holder);
    shared.map_or_else(String::new, |path| path.display().to_string())
}

/// The limits of all containers together, under podman's names; those that are set.
fn limits(r: &Resources, map: &mut Map<String, Value>) {
    let quota = r.cpus.map(|cpus| (cpus * 100_000.0).round());
    let devices = |kind: DeviceLimitKind| -> Option<Value> {
        let list: Vec<Value> = r
            .devices
            .iter()
            .filter(|d| d.kind == kind)
            .map(|d| json!({"Path": d.path, "Rate": d.value}))
            .collect();
        (!list.is_empty()).then(|| json!(list))
    };
    for (name, value) in [
        ("cpu_period", quota.map(|_| json!(100_000))),
        ("cpu_quota", quota.map(|q| json!(q))),
        ("cpu_shares", r.cpu_shares.map(|n| json!(n))),
        ("cpuset_cpus", r.cpuset_cpus.as_ref().map(|s| json!(s))),
        ("cpuset_mems", r.cpuset_mems.as_ref().map(|s| json!(s))),
        ("memory_limit", r.memory.map(|n| json!(n))),
        ("memory_swap", r.memory_swap.map(|n| json!(n))),
        ("blkio_weight", r.blkio_weight.map(|n| json!(n))),
        ("blkio_weight_device", devices(DeviceLimitKind::Weight)),
        ("device_read_bps", devices(DeviceLimitKind::ReadBps)),
        ("device_write_bps", devices(DeviceLimitKind::WriteBps)),
    ] {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    }
}

fn config(pod: &PodSummary, options: &ContainerOptions) -> Value {
    let net = &options.network;
    let holder = pod
        .members
        .iter()
        .find(|m| m.container.record.options.infra);
    let wishes = net.mode.networks();
    let first = wishes.first();
    json!({
        "PortBindings": bindings(holder.map_or(&net.publish, |h| h.ports())),
        "HostNetwork": net.mode == NetworkMode::Host,
        "StaticIP": first.and_then(|w| w.ip).map_or_else(String::new, |ip| ip.to_string()),
        "StaticMAC": first.and_then(|w| w.mac).map_or_else(String::new, |mac| {
            mac.map(|b| format!("{b:02x}")).join(":")
        }),
        "NoManageResolvConf": net.dns_none,
        "DNSServer": net.dns,
        "DNSSearch": net.dns_search,
        "DNSOption": net.dns_options,
        "NoManageHostname": options.no_hostname,
        "NoManageHosts": net.no_hosts,
        "HostAdd": net.add_hosts.iter()
            .map(|(names, ip)| format!("{}:{ip}", names.join(";")))
            .collect::<Vec<_>>(),
        "HostsFile": net.hosts_file.clone().unwrap_or_default(),
        "Networks": pod.networks(),
        "NetworkOptions": match &net.mode {
            NetworkMode::Pasta(words) => json!({"pasta": words}),
            NetworkMode::Slirp4netns(words) => json!({"slirp4netns": words}),
            _ => Value::Null,
        },
        "pid_ns": mode(&options.pid),
        "uts_ns": mode(&options.uts),
        "userns": match &options.userns {
            UsernsMode::Host => "host",
            UsernsMode::KeepId { .. } => "keep-id",
            UsernsMode::Nomap => "nomap",
            UsernsMode::Auto { .. } => "auto",
            _ => "private",
        },
    })
}

fn mode(mode: &NamespaceMode) -> &'static str {
    match mode {
        NamespaceMode::Host => "host",
        _ => "private",
    }
}

fn bindings(ports: &[PortMapping]) -> Value {
    let mut map = Map::new();
    for port in ports {
        for i in 0..port.range.max(1) {
            let key = format!("{}/{}", port.container_port + i, port.protocol.name());
            let host = match port.host_port {
                0 => 0,
                first => first + i,
            };
            let entry = json!({
                "HostIp": port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
                "HostPort": host.to_string(),
            });
            if let Some(list) = map.entry(key).or_insert_with(|| json!([])).as_array_mut() {
                list.push(entry);
            }
        }
    }
    Value::Object(map)
}

fn mounts(options: &ContainerOptions) -> Value {
    let all = options.mounts.iter().map(|m| {
        let (kind, source) = match &m.source {
            MountSource::Bind { path, .. } | MountSource::Overlay { path, .. } => {
                ("bind", path.display().to_string())
            }
            MountSource::Volume { name, .. } => ("volume", name.clone().unwrap_or_default()),
            MountSource::Image { image, .. } => ("image", image.clone()),
            MountSource::Tmpfs { .. } => ("tmpfs", String::new()),
            MountSource::Devpts => ("devpts", String::new()),
            MountSource::Ramfs => ("ramfs", String::new()),
        };
        json!({
            "Type": kind,
            "Source": source,
            "Destination": m.destination,
            "RW": !m.read_only,
            "Options": m.options,
        })
    });
    Value::Array(all.collect())
}
