//! `inspect` of a container: the records as the JSON that Docker's and podman's users read.
//!
//! Field names and types are podman's, which are Docker's plus some; where both differ in type, the
//! one that podman 5 and Docker share is taken (`Entrypoint` a list, `StopSignal` a name).

mod config;
mod host_config;
mod mounts;
mod network;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::reap::lost_because;
use super::summary::Summary;
use crate::base::time::Timestamp;
use crate::spec::image::ImageConfig;
use crate::spec::runtime::Spec;
use crate::state::container::State;

pub use mounts::mounts;
pub use network::ports_map;

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the records do not say themselves.
#[derive(Debug, Default)]
pub struct Context<'a> {
    /// The image's configuration, if the image is still here.
    pub image: Option<&'a ImageConfig>,
    /// The specification: that of the running process, else one generated for looking at.
    pub spec: Option<&'a Spec>,
    /// `data/volumes`.
    pub volumes: PathBuf,
    /// Sizes, with `--size`: of the writable layer and of everything.
    pub sizes: Option<(u64, u64)>,
    /// Layers of the root file system, for `GraphDriver`.
    pub lower_dirs: Vec<PathBuf>,
}

/// The object that `inspect` prints.
pub fn inspect(s: &Summary, cx: &Context<'_>) -> Value {
    let record = &s.container.record;
    let options = &record.options;
    let dir = s.container.dir();
    let command = s.command();
    let generated = |name: &str| existing(s.container.runtime_dir(), name);
    let process = cx.spec.and_then(|spec| spec.process.as_ref());
    let caps = |pick: fn(&crate::spec::runtime::Capabilities) -> &Vec<String>| {
        process
            .and_then(|p| p.capabilities.as_ref())
            .map_or_else(Vec::new, |c| pick(c).clone())
    };
    let mut value = json!({
        "Id": record.id,
        "Created": record.created.rfc3339(),
        "Path": command.first().map_or("", String::as_str),
        "Args": command.get(1..).unwrap_or_default(),
        "State": state(s),
        "Image": record.image.as_ref().map_or_else(String::new, |i| i.id.hex().to_owned()),
        "ImageDigest": record.image.as_ref().and_then(|i| i.digest.as_ref()).map_or_else(String::new, ToString::to_string),
        "ImageName": record.image.as_ref().map_or("", |i| i.name.as_str()),
        "Rootfs": options.rootfs.as_ref().map_or_else(String::new, |r| r.path.display().to_string()),
        "Pod": options.pod.as_deref().unwrap_or_default(),
        "ResolvConfPath": generated("resolv.conf"),
        "HostnamePath": generated("hostname"),
        "HostsPath": generated("hosts"),
        "StaticDir": dir,
        "OCIConfigPath": s.container.runtime_dir().join("spec.json"),
        "OCIRuntime": "coracle",
        "ConmonPidFile": options.monitor_pidfile.as_ref().map_or_else(String::new, |p| p.display().to_string()),
        "PidFile": options.pidfile,
        "LogPath": log_path(s),
        "Name": record.name,
        "RestartCount": s.restarts(),
        "Driver": record.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": process.and_then(|p| p.apparmor_profile.clone()).unwrap_or_default(),
        "EffectiveCaps": caps(|c| &c.effective),
        "BoundingCaps": caps(|c| &c.bounding),
        "ExecIDs": [],
        "GraphDriver": {
            "Name": record.driver,
            "Data": graph_data(s, cx),
        },
        "Mounts": mounts(s, &cx.volumes),
        "Dependencies": dependencies(s),
        "NetworkSettings": network::settings(s, cx.image),
        "Namespace": "",
        "IsInfra": options.infra,
        "IsService": false,
        "lockNumber": 0,
        "Config": config::config(s, cx),
        "HostConfig": host_config::host_config(s, cx),
    });
    if let Some((own, all)) = cx.sizes
        && let Some(map) = value.as_object_mut()
    {
        map.insert("SizeRw".to_owned(), own.into());
        map.insert("SizeRootFs".to_owned(), all.into());
    }
    value
}

fn existing(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    if path.exists() {
        path.display().to_string()
    } else {
        String::new()
    }
}

fn state(s: &Summary) -> Value {
    let time = |t: Option<Timestamp>| t.map_or_else(|| NEVER.to_owned(), Timestamp::rfc3339);
    let status = s.status.as_ref();
    let exit = s.exit.as_ref();
    let live = s.state.is_active();
    json!({
        "OciVersion": crate::spec::runtime::OCI_VERSION,
        "Status": s.state.name(),
        // Docker says running of a paused container too; podman does not: podman's word.
        "Running": s.state == State::Running,
        "Paused": s.state == State::Paused,
        "Restarting": s.state == State::Restarting,
        "OOMKilled": match status.filter(|_| live) {
            Some(running) => running.out_of_memory,
            None => exit.is_some_and(|e| e.oom_killed),
        },
        "Dead": false,
        "Pid": s.pid(),
        "ConmonPid": status.filter(|_| live).map_or(0, |st| st.monitor.pid),
        "ExitCode": s.exit_code(),
        "Error": if matches!(s.state, State::Running | State::Paused) { String::new() } else { error_text(s) },
        "StartedAt": time(s.started()),
        "FinishedAt": time(s.finished()),
        "Health": health(s),
        // Older scripts for podman ask by this name.
        "Healthcheck": health(s),
        "CgroupPath": status.and_then(|st| st.cgroup.clone()).unwrap_or_default(),
        "CheckpointedAt": NEVER,
        "RestoredAt": NEVER,
        "StoppedByUser": exit.is_some_and(|e| e.stopped_by_user),
    })
}

fn error_text(s: &Summary) -> String {
    let unknown = |why: &str| format!("{why}, so how it ended is unknown");
    if let (State::Lost, Some(status)) = (s.state, &s.status) {
        return unknown(lost_because(&status.monitor));
    }
    if let Some(exit) = s.exit.as_ref().filter(|e| e.unknown) {
        return unknown(exit.error.as_deref().unwrap_or("its monitor was killed"));
    }
    s.exit
        .as_ref()
        .and_then(|e| e.error.clone())
        .unwrap_or_default()
}

fn health(s: &Summary) -> Value {
    match &s.health {
        Some(record) => record.json(),
        None => json!({ "Status": "", "FailingStreak": 0, "Log": null }),
    }
}

/// The log file, for drivers that write one.
pub fn log_path(s: &Summary) -> String {
    use crate::state::options::LogDriver;
    let log = &s.container.record.options.log;
    match log.driver {
        LogDriver::K8sFile | LogDriver::JsonFile => log
            .path
            .clone()
            .unwrap_or_else(|| s.container.dir().join("log"))
            .display()
            .to_string(),
        LogDriver::Journald | LogDriver::None | LogDriver::Passthrough => String::new(),
    }
}

fn graph_data(s: &Summary, cx: &Context<'_>) -> Value {
    let dir = s.container.dir();
    let lower: Vec<String> = cx
        .lower_dirs
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    json!({
        "LowerDir": lower.join(":"),
        "UpperDir": dir.join("upper"),
        "WorkDir": dir.join("work"),
    })
}

fn dependencies(s: &Summary) -> Vec<String> {
    namespace_dependencies(s).map(str::to_owned).collect()
}

/// Ids of containers whose namespaces it uses.
pub fn namespace_dependencies(s: &Summary) -> impl Iterator<Item = &str> {
    use crate::state::options::{NamespaceMode, NetworkMode, UsernsMode};
    let o = &s.container.record.options;
    let spaces = [&o.pid, &o.ipc, &o.uts, &o.cgroupns]
        .into_iter()
        .filter_map(|m| match m {
            NamespaceMode::Container(c) => Some(c.as_str()),
            _ => None,
        });
    let network = match &o.network.mode {
        NetworkMode::Container(c) => Some(c.as_str()),
        _ => None,
    };
    let user = match &o.userns {
        UsernsMode::Container(c) => Some(c.as_str()),
        _ => None,
    };
    spaces.chain(network).chain(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::container::summary::tests::sample;

    #[test]
    fn the_fields_that_scripts_read_are_there_with_their_types() {
        let s = sample();
        let v = inspect(&s, &Context::default());
        for (pointer, kind) in [
            ("/Id", "string"),
            ("/Created", "string"),
            ("/Path", "string"),
            ("/Args", "array"),
            ("/State/Status", "string"),
            ("/State/Running", "bool"),
            ("/State/Pid", "number"),
            ("/State/ExitCode", "number"),
            ("/State/StartedAt", "string"),
            ("/Name", "string"),
            ("/RestartCount", "number"),
            ("/Mounts", "array"),
            ("/Config/Env", "array"),
            ("/Config/Cmd", "array"),
            ("/Config/Labels", "object"),
            ("/Config/StopSignal", "string"),
            ("/Config/Tty", "bool"),
            ("/HostConfig/Binds", "array"),
            ("/HostConfig/NetworkMode", "string"),
            ("/HostConfig/RestartPolicy/Name", "string"),
            ("/HostConfig/PortBindings", "object"),
            ("/HostConfig/Memory", "number"),
            ("/NetworkSettings/Ports", "object"),
            ("/NetworkSettings/Networks", "object"),
        ] {
            let found = v.pointer(pointer);
            let actual = match found {
                Some(Value::String(_)) => "string",
                Some(Value::Array(_)) => "array",
                Some(Value::Bool(_)) => "bool",
                Some(Value::Number(_)) => "number",
                Some(Value::Object(_)) => "object",
                Some(Value::Null) => "null",
                None => "missing",
            };
            assert_eq!(actual, kind, "{pointer}");
        }
        assert_eq!(v["Config"]["Labels"]["app"], "demo");
        assert_eq!(
            v["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"],
            "8080"
        );
    }
}
