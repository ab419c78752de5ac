//! `HostConfig`: how it was asked to run.

use serde_json::{Map, Value, json};

use super::Context;
use crate::operations::container::filter::{network_name, policy_name};
use crate::operations::container::summary::Summary;
use crate::state::options::{
    CgroupManager, DeviceLimitKind, LogDriver, MountSource, NamespaceMode, Resources,
    RestartPolicy, UsernsMode,
};

/// The limits of single devices of one kind, as podman shows them.
fn devices(r: &Resources, kind: DeviceLimitKind) -> Vec<Value> {
    let key = match kind {
        DeviceLimitKind::Weight => "weight",
        _ => "rate",
    };
    let own = r.devices.iter().filter(|d| d.kind == kind);
    own.map(|d| json!({"path": d.path, key: d.value})).collect()
}

pub(super) fn host_config(s: &Summary, cx: &Context<'_>) -> Value {
    let record = &s.container.record;
    let o = &record.options;
    let r = &o.resources;
    let nano_cpus = r.cpus.map_or(0, |c| (c * 1e9) as i64);
    let mut security: Vec<String> = Vec::new();
    if let Some(seccomp) = &o.security.seccomp {
        security.push(format!("seccomp={seccomp}"));
    }
    if o.security.no_new_privileges {
        security.push("no-new-privileges".to_owned());
    }
    security.extend(o.security.apparmor.iter().map(|a| format!("apparmor={a}")));
    security.extend(o.security.label.iter().map(|l| format!("label={l}")));
    security.extend(o.security.mask.iter().map(|m| format!("mask={m}")));
    security.extend(o.security.unmask.iter().map(|m| format!("unmask={m}")));
    let maximum = match o.restart {
        RestartPolicy::OnFailure(n) => n.unwrap_or(0),
        _ => 0,
    };
    let is_scope = |path: &str| path.contains(".scope/");
    let manager = match o.cgroup_manager {
        CgroupManager::Systemd => "systemd",
        _ if s
            .status
            .as_ref()
            .and_then(|st| st.cgroup.as_deref())
            .is_some_and(is_scope) =>
        {
            "systemd"
        }
        _ => "cgroupfs",
    };
    // In two halves: the macro recurses once for each key.
    let mut value = json!({
        "Binds": binds(s),
        "CgroupManager": manager,
        "CgroupMode": namespace(&o.cgroupns, "private"),
        "ContainerIDFile": o.cidfile.as_ref().map_or_else(String::new, |p| p.display().to_string()),
        "LogConfig": {
            "Type": log_driver(o.log.driver),
            "Config": null,
            "Path": super::log_path(s),
            "Tag": o.log.tag.clone().unwrap_or_default(),
            "Size": o.log.max_size.map_or_else(|| "0B".to_owned(), crate::base::size::human),
        },
        "NetworkMode": network_name(&o.network.mode),
        "PortBindings": super::network::ports_map(&o.network.publish),
        "RestartPolicy": { "Name": policy_name(&o.restart), "MaximumRetryCount": maximum },
        "AutoRemove": o.remove,
        "AutoRemoveImage": o.remove_image,
        "Annotations": o.annotations,
        "VolumeDriver": "",
        "VolumesFrom": o.volumes_from,
        "CapAdd": prefixed(&o.cap_add),
        "CapDrop": prefixed(&o.cap_drop),
        "Dns": o.network.dns,
        "DnsOptions": o.network.dns_options,
        "DnsSearch": o.network.dns_search,
        "ExtraHosts": o.network.add_hosts.iter()
            .flat_map(|(names, ip)| names.iter().map(move |n| format!("{n}:{ip}")))
            .collect::<Vec<_>>(),
        "GroupAdd": o.groups,
        "IpcMode": namespace(&o.ipc, "shareable"),
        "Cgroup": "",
        "Cgroups": o.cgroups.clone().unwrap_or_else(|| "default".to_owned()),
        "Links": null,
        "OomScoreAdj": o.oom_score_adj.unwrap_or(0),
        "PidMode": namespace(&o.pid, "private"),
        "Privileged": o.privileged,
        "PublishAllPorts": o.network.publish_all,
        "ReadonlyRootfs": o.read_only,
        "SecurityOpt": security,
        "Tmpfs": tmpfs(s),
        "UTSMode": namespace(&o.uts, "private"),
        "UsernsMode": userns(&o.userns),
        "IDMappings": id_mappings(cx),
        "ShmSize": o.shm_size.unwrap_or(65_536_000),
        "Runtime": "oci",
    });
    let limits = json!({
        "ConsoleSize": [0, 0],
        "Isolation": "",
        "CpuShares": r.cpu_shares.unwrap_or(0),
        "Memory": r.memory.unwrap_or(0),
        "NanoCpus": nano_cpus,
        "CgroupParent": o.cgroup_parent.clone().unwrap_or_default(),
        "BlkioWeight": r.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": devices(r, DeviceLimitKind::Weight),
        "BlkioDeviceReadBps": devices(r, DeviceLimitKind::ReadBps),
        "BlkioDeviceWriteBps": devices(r, DeviceLimitKind::WriteBps),
        "BlkioDeviceReadIOps": devices(r, DeviceLimitKind::ReadIops),
        "BlkioDeviceWriteIOps": devices(r, DeviceLimitKind::WriteIops),
        "CpuPeriod": r.cpu_period.unwrap_or(0),
        "CpuQuota": r.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": r.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": r.cpuset_mems.clone().unwrap_or_default(),
        "Devices": o.devices.iter().map(|d| json!({
            "PathOnHost": d.host, "PathInContainer": d.inside, "CgroupPermissions": d.permissions,
        })).collect::<Vec<_>>(),
        "DiskQuota": 0,
        "KernelMemory": 0,
        "MemoryReservation": r.memory_reservation.unwrap_or(0),
        "MemorySwap": r.memory_swap.unwrap_or(0),
        "MemorySwappiness": r.memory_swappiness.map_or(-1, |m| i64::try_from(m).unwrap_or(-1)),
        "OomKillDisable": r.oom_kill_disable,
        "Init": o.init,
        "PidsLimit": r.pids_limit.unwrap_or(0),
        "Ulimits": o.ulimits.iter().map(|u| json!({"Name": u.kind, "Soft": limit(u.soft), "Hard": limit(u.hard)})).collect::<Vec<_>>(),
        "Sysctls": o.sysctls,
        "MaskedPaths": cx.spec.and_then(|s| s.linux.as_ref()).map(|l| l.masked_paths.clone()),
        "ReadonlyPaths": cx.spec.and_then(|s| s.linux.as_ref()).map(|l| l.readonly_paths.clone()),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "CgroupConf": r.unified,
    });
    if let (Some(all), Value::Object(more)) = (value.as_object_mut(), limits) {
        all.extend(more);
    }
    value
}

/// Unlimited is -1 in Docker's JSON.
fn limit(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

fn prefixed(caps: &[String]) -> Vec<String> {
    caps.iter()
        .map(|c| match c.as_str() {
            "ALL" => c.clone(),
            c => format!("CAP_{c}"),
        })
        .collect()
}

fn namespace(mode: &NamespaceMode, default: &str) -> String {
    match mode {
        NamespaceMode::Default => default.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Private => "private".to_owned(),
        NamespaceMode::Shareable => "shareable".to_owned(),
        NamespaceMode::None => "none".to_owned(),
        NamespaceMode::Container(c) => format!("container:{c}"),
        NamespaceMode::Path(p) => format!("ns:{}", p.display()),
    }
}

fn userns(mode: &UsernsMode) -> String {
    match mode {
        UsernsMode::Host => String::new(),
        UsernsMode::KeepId { uid, gid, size } => {
            let parts: Vec<String> = [("uid", uid), ("gid", gid), ("size", size)]
                .into_iter()
                .filter_map(|(k, v)| v.map(|v| format!("{k}={v}")))
                .collect();
            if parts.is_empty() {
                "keep-id".to_owned()
            } else {
                format!("keep-id:{}", parts.join(","))
            }
        }
        UsernsMode::Nested => "nested".to_owned(),
        UsernsMode::Nomap => "nomap".to_owned(),
        UsernsMode::Auto { .. } => "auto".to_owned(),
        UsernsMode::Container(c) => format!("container:{c}"),
        UsernsMode::Path(p) => format!("ns:{}", p.display()),
        UsernsMode::Maps { .. } => "private".to_owned(),
    }
}

fn id_mappings(cx: &Context<'_>) -> Value {
    let Some(linux) = cx.spec.and_then(|s| s.linux.as_ref()) else {
        return Value::Null;
    };
    if linux.uid_mappings.is_empty() {
        return Value::Null;
    }
    let lines = |map: &[crate::spec::runtime::IdMapping]| -> Vec<String> {
        map.iter()
            .map(|m| format!("{}:{}:{}", m.container_id, m.host_id, m.size))
            .collect()
    };
    json!({ "UidMap": lines(&linux.uid_mappings), "GidMap": lines(&linux.gid_mappings) })
}

fn binds(s: &Summary) -> Vec<String> {
    let record = &s.container.record;
    let volumes = record.volumes.iter().map(|v| {
        let ro = record
            .options
            .mounts
            .iter()
            .any(|m| m.destination == v.destination && m.read_only);
        format!(
            "{}:{}:{},rprivate,nosuid,nodev,rbind",
            v.name,
            v.destination,
            if ro { "ro" } else { "rw" }
        )
    });
    let paths = record
        .options
        .mounts
        .iter()
        .filter_map(|m| match &m.source {
            MountSource::Bind {
                path, recursive, ..
            } => {
                let mut words = vec![if m.read_only { "ro" } else { "rw" }];
                words.extend(m.options.iter().map(String::as_str));
                if !words.iter().any(|w| w.ends_with("bind")) {
                    words.push(if *recursive { "rbind" } else { "bind" });
                }
                Some(format!(
                    "{}:{}:{}",
                    path.display(),
                    m.destination,
                    words.join(",")
                ))
            }
            MountSource::Overlay { path, .. } => {
                Some(format!("{}:{}:O", path.display(), m.destination))
            }
            _ => None,
        });
    paths.chain(volumes).collect()
}

fn tmpfs(s: &Summary) -> Map<String, Value> {
    s.container
        .record
        .options
        .mounts
        .iter()
        .filter_map(|m| match &m.source {
            MountSource::Tmpfs { size, mode, .. } => {
                let mut words = m.options.clone();
                words.extend(size.map(|s| format!("size={s}")));
                words.extend(mode.map(|m| format!("mode={m:o}")));
                if m.read_only {
                    words.push("ro".to_owned());
                }
                Some((m.destination.clone(), words.join(",").into()))
            }
            _ => None,
        })
        .collect()
}

/// podman's word for a log driver.
pub(super) fn log_driver(driver: LogDriver) -> &'static str {
    match driver {
        LogDriver::K8sFile => "k8s-file",
        LogDriver::JsonFile => "json-file",
        LogDriver::Journald => "journald",
        LogDriver::None => "none",
        LogDriver::Passthrough => "passthrough",
    }
}
