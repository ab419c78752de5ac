//! What this host and this installation are, in podman's words and in docker's.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::version;
use crate::base::Result;
use crate::base::time::Timestamp;
use crate::cgroup::{self, Version};
use crate::config::containers_conf::{self, ContainersConf};
use crate::config::subid;
use crate::image::Images;
use crate::network::facts;
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::spec::idmap::IdMaps;
use crate::spec::platform::Platform;
use crate::spec::runtime::IdMapping;
use crate::state::container::{Containers, State};
use crate::state::options::NetworkOptions;

/// A choice that coracle made, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What was chosen.
    pub name: String,
    /// Why, and what would change it.
    pub why: String,
}

/// The facts that need more than reading a file.
struct Facts {
    counts: Counts,
    images: usize,
    cgroup: cgroup::Support,
    host: facts::HostFacts,
    network: Choice,
    /// Absent until the user namespace is entered.
    storage: Option<Choice>,
    cgroups: Choice,
}

#[derive(Default)]
struct Counts {
    all: usize,
    running: usize,
    paused: usize,
    stopped: usize,
}

/// podman's `info`, with a section `choices` of our own.
///
/// # Errors
/// Damaged configuration.
pub fn info(session: &Session) -> Result<Value> {
    let conf = containers_conf::load()?;
    let mut facts = gather(session, conf)?;
    let host = host(session, conf, &facts);
    // This enters the user namespace: what the host is was asked before.
    let storage = facts.storage.insert(storage(session)).clone();
    Ok(json!({
        "host": host,
        "store": store(session, &facts),
        "registries": registries(session),
        "plugins": {
            "volume": ["local"],
            "network": ["pasta", "slirp4netns", "host", "none"],
            "log": ["k8s-file", "json-file", "journald", "none", "passthrough"],
            "authorization": null,
        },
        "version": version::version()["Client"],
        "choices": {
            "storage": {"name": storage.name, "why": storage.why},
            "network": {"name": facts.network.name, "why": facts.network.why},
            "cgroup": {"name": facts.cgroups.name, "why": facts.cgroups.why},
        },
    }))
}

/// As [`info`], with docker's fields beside podman's.
///
/// # Errors
/// As [`info`].
pub fn info_for_templates(session: &Session) -> Result<Value> {
    let mut value = info(session)?;
    let docker = docker(&value);
    if let (Some(all), Value::Object(docker)) = (value.as_object_mut(), docker) {
        for (key, field) in docker {
            all.entry(key).or_insert(field);
        }
    }
    Ok(value)
}

/// docker's fields only: what its clients decode.
///
/// # Errors
/// As [`info`].
pub fn info_for_docker(session: &Session) -> Result<Value> {
    info(session).map(|value| docker(&value))
}

fn gather(session: &Session, conf: &ContainersConf) -> Result<Facts> {
    let (containers, _damaged) = Containers::new(&session.dirs).list()?;
    let mut counts = Counts {
        all: containers.len(),
        ..Counts::default()
    };
    for container in &containers {
        match container.state() {
            Ok(State::Paused) => counts.paused += 1,
            Ok(state) if state.is_active() => counts.running += 1,
            _ => counts.stopped += 1,
        }
    }
    let (cgroup, place) = cgroup::usual(&session.env, session.user.uid == 0);
    let host = facts::probe(&session.env, conf, &NetworkOptions::default());
    Ok(Facts {
        counts,
        images: Images::open(&session.dirs).ids()?.len(),
        network: network(&host),
        host,
        storage: None,
        cgroups: cgroups(&cgroup, &place),
        cgroup,
    })
}

/// The network that a container gets without `--network`.
fn network(facts: &facts::HostFacts) -> Choice {
    let choice = |name: &str, why: String| Choice {
        name: name.to_owned(),
        why,
    };
    let found = match (&facts.pasta, &facts.slirp4netns) {
        (Some(path), _) => choice("pasta", format!("{} is there", path.display())),
        (None, Some(path)) => choice(
            "slirp4netns",
            format!(
                "{} is there and pasta is not; installing the package passt makes it faster",
                path.display()
            ),
        ),
        (None, None) => {
            return choice(
                "none",
                "neither pasta nor slirp4netns is installed; install the package passt".to_owned(),
            );
        }
    };
    match facts.tun {
        facts::Tun::Usable => found,
        facts::Tun::Missing => choice("none", "/dev/net/tun is missing".to_owned()),
        facts::Tun::Denied => choice("none", "this user may not open /dev/net/tun".to_owned()),
    }
}

fn cgroups(support: &cgroup::Support, place: &cgroup::Place) -> Choice {
    let (name, why) = match (&support.base, support.version) {
        (Some(_), _) if matches!(place, cgroup::Place::Scope(..)) => (
            "systemd",
            format!(
                "this session has no group of its own: a container with limits gets a scope, with \
                 the controllers {}",
                support.controllers.join(" ")
            ),
        ),
        (Some(base), _) => (
            "cgroupfs",
            format!(
                "{} is ours, with the controllers {}",
                base.display(),
                support.controllers.join(" ")
            ),
        ),
        (None, Version::None) => ("none", "no cgroup file system is mounted".to_owned()),
        (None, Version::V1 | Version::Hybrid) => (
            "none",
            "this host runs cgroup v1: limits need cgroup v2 \
             (boot with systemd.unified_cgroup_hierarchy=1)"
                .to_owned(),
        ),
        (None, Version::V2) => (
            "none",
            "no cgroup on the way to ours is delegated to this user, and there is no user manager"
                .to_owned(),
        ),
    };
    Choice {
        name: name.to_owned(),
        why,
    }
}

/// The driver, found by trying: inside the user namespace, and so last.
fn storage(session: &Session) -> Choice {
    let asked = session.options.storage_driver.as_deref();
    let report = enter(&session.dirs, Want::Default)
        .and_then(|_| crate::operations::image::store(session))
        .and_then(|store| store.driver_report());
    let report = match report {
        Ok(report) => report,
        Err(e) => {
            return Choice {
                name: asked.unwrap_or("unknown").to_owned(),
                why: e.one_line(),
            };
        }
    };
    let mut why = match (asked, report.overlay) {
        (Some(asked), None) => format!("{asked:?} was asked for"),
        (Some(asked), Some(e)) => format!("{asked:?} was asked for; overlay does not work: {e}"),
        (None, Some(e)) => format!("the kernel's overlay does not work: {e}"),
        (None, None) => "the kernel's overlay works".to_owned(),
    };
    if let Some(e) = &report.fuse {
        why.push_str(&format!("; our own overlay does not work: {e}"));
    }
    if let Some(e) = report.data_only {
        let instead = if report.fuse.is_none() {
            "goes through FUSE"
        } else {
            "copies"
        };
        why.push_str(&format!("; --userns=keep-id {instead}: {e}"));
    }
    Choice {
        name: report.driver.to_owned(),
        why,
    }
}

fn host(session: &Session, conf: &ContainersConf, facts: &Facts) -> Value {
    let names = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let memory = meminfo(&read("/proc/meminfo"));
    let release = os_release(&read("/etc/os-release"));
    let net = &facts.host;
    let mut host = json!({
        "arch": Platform::host().architecture,
        "cgroupControllers": facts.cgroup.controllers,
        "cgroupManager": session
            .options
            .cgroup_manager
            .as_deref()
            .or(conf.engine.cgroup_manager.as_deref())
            .unwrap_or(match facts.cgroups.name.as_str() {
                "systemd" => "systemd",
                _ => "cgroupfs",
            }),
        "cgroupVersion": match facts.cgroup.version {
            Version::V2 => "v2",
            Version::V1 | Version::Hybrid => "v1",
            Version::None => "none",
        },
        "cpuUtilization": cpu(&read("/proc/stat")),
        "cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "databaseBackend": "none",
        "distribution": {
            "codename": release.get("VERSION_CODENAME"),
            "distribution": release.get("ID").map_or("unknown", String::as_str),
            "version": release.get("VERSION_ID").map_or("unknown", String::as_str),
        },
        "eventLogger": session.options.events.name(),
        "hostname": text(names.nodename()),
        "idMappings": id_mappings(session),
        "kernel": text(names.release()),
        "linkmode": "static",
        "logDriver": conf.containers.log_driver.as_deref().unwrap_or("k8s-file"),
        "memFree": memory.get("MemFree"),
        "memTotal": memory.get("MemTotal"),
        "networkBackend": facts.network.name,
        "ociRuntime": {
            "name": "coracle",
            "package": "coracle",
            "path": program(),
            "version": version::VERSION,
        },
        "os": "linux",
        "remoteSocket": {"exists": false},
        "security": {
            "apparmorEnabled": read("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
            "capabilities": crate::runtime::capabilities::DEFAULT
                .join(","),
            "rootless": !session.user.is_root,
            "seccompEnabled": read("/proc/self/status").contains("\nSeccomp:"),
            "seccompProfilePath": "built-in",
            "selinuxEnabled": Path::new("/sys/fs/selinux/enforce").exists(),
        },
        "serviceIsRemote": false,
        "swapFree": memory.get("SwapFree"),
        "swapTotal": memory.get("SwapTotal"),
        "uptime": uptime(&read("/proc/uptime")),
    });
    for (name, path) in [("pasta", &net.pasta), ("slirp4netns", &net.slirp4netns)] {
        host[name] = json!({
            "executable": path.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
        });
    }
    host
}

fn program() -> String {
    fs::read_link("/proc/self/exe").map_or_else(|_| String::new(), |p| p.display().to_string())
}

/// The maps of the caller's shared user namespace.
fn id_mappings(session: &Session) -> Value {
    let ranges = subid::ranges(session.user);
    let pairs = |ranges: &[subid::IdRange]| -> Vec<(u32, u32)> {
        ranges.iter().map(|r| (r.start, r.count)).collect()
    };
    let caller = (session.user.uid, session.user.gid);
    let own = |file: &str| IdMaps::parse(&read(file));
    let maps = if session.user.is_root {
        IdMaps {
            uids: own("/proc/self/uid_map"),
            gids: own("/proc/self/gid_map"),
        }
    } else if ranges.is_usable() {
        IdMaps::with_ranges(caller, &pairs(&ranges.uids), &pairs(&ranges.gids))
    } else {
        IdMaps::single(caller.0, caller.1)
    };
    let lines = |map: &[IdMapping]| -> Value {
        map.iter()
            .map(|m| json!({"container_id": m.container_id, "host_id": m.host_id, "size": m.size}))
            .collect()
    };
    json!({"gidmap": lines(&maps.gids), "uidmap": lines(&maps.uids)})
}

fn store(session: &Session, facts: &Facts) -> Value {
    let data = &session.dirs.data;
    // Before the first use there is no folder yet: its disk is that of the parent.
    let disk = data
        .ancestors()
        .find_map(|p| rustix::fs::statvfs(p).ok())
        .map_or((0, 0), |s| {
            let total = s.f_blocks.saturating_mul(s.f_frsize);
            (
                total,
                total.saturating_sub(s.f_bfree.saturating_mul(s.f_frsize)),
            )
        });
    let config = if session.user.is_root {
        "/etc/containers/storage.conf".into()
    } else {
        session
            .env
            .config_home(&session.user.home)
            .join("containers/storage.conf")
    };
    json!({
        "configFile": config,
        "containerStore": {
            "number": facts.counts.all,
            "paused": facts.counts.paused,
            "running": facts.counts.running,
            "stopped": facts.counts.stopped,
        },
        "graphDriverName": facts.storage.as_ref().map(|s| &s.name),
        "graphOptions": {},
        "graphRoot": data,
        "graphRootAllocated": disk.0,
        "graphRootUsed": disk.1,
        "graphStatus": {},
        "imageCopyTmpDir": session.options.tmpdir.clone().unwrap_or_else(|| session.env.big_temp()),
        "imageStore": {"number": facts.images},
        "runRoot": session.dirs.runtime,
        "transientStore": false,
        "volumePath": session.dirs.volumes(),
    })
}

/// The registries that unqualified names are looked for in.
fn registries(_session: &Session) -> Value {
    json!({"search": ["docker.io"]})
}

/// docker's fields, from podman's.
fn docker(info: &Value) -> Value {
    let host = &info["host"];
    let store = &info["store"];
    let mut security = vec!["name=seccomp,profile=builtin".to_owned()];
    if host["security"]["rootless"] == true {
        security.push("name=rootless".to_owned());
    }
    let mut value = json!({
        "ID": "coracle",
        "Containers": store["containerStore"]["number"],
        "ContainersRunning": store["containerStore"]["running"],
        "ContainersPaused": store["containerStore"]["paused"],
        "ContainersStopped": store["containerStore"]["stopped"],
        "Images": store["imageStore"]["number"],
        "Driver": store["graphDriverName"],
        "DriverStatus": [],
        "LoggingDriver": host["logDriver"],
        "CgroupDriver": host["cgroupManager"],
        "CgroupVersion": host["cgroupVersion"].as_str().map(|v| v.trim_start_matches('v')),
        "KernelVersion": host["kernel"],
        "OperatingSystem": format!(
            "{} {}",
            host["distribution"]["distribution"].as_str().unwrap_or_default(),
            host["distribution"]["version"].as_str().unwrap_or_default()
        ),
        "OSVersion": host["distribution"]["version"],
        "OSType": "linux",
        "Architecture": rustix::system::uname().machine().to_string_lossy(),
        "NCPU": host["cpus"],
        "MemTotal": host["memTotal"],
        "DockerRootDir": store["graphRoot"],
        "Name": host["hostname"],
        "ServerVersion": version::VERSION,
        "SecurityOptions": security,
        "DefaultRuntime": "coracle",
        "Swarm": {"LocalNodeState": "inactive"},
        "IndexServerAddress": "https://index.docker.io/v1/",
        "Warnings": [],
    });
    let rest = docker_rest(info);
    if let (Some(all), Value::Object(rest)) = (value.as_object_mut(), rest) {
        all.extend(rest);
    }
    value
}

/// What docker tells of its engine: most of it has no meaning here and one value.
fn docker_rest(info: &Value) -> Value {
    let controllers = info["host"]["cgroupControllers"].as_array();
    let has = |name: &str| controllers.is_some_and(|all| all.iter().any(|c| c == name));
    let client = json!({
        "Context": "default",
        "Debug": false,
        "Plugins": [],
        "Warnings": null,
        "Version": version::VERSION,
        "Os": "linux",
        "Arch": info["host"]["arch"],
        "GitCommit": "",
        "GoVersion": "none",
        "BuildTime": "",
        "DefaultAPIVersion": version::API,
    });
    json!({
        "CPUSet": has("cpuset"),
        "CPUShares": has("cpu"),
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "MemoryLimit": has("memory"),
        "SwapLimit": has("memory"),
        "PidsLimit": has("pids"),
        "OomKillDisable": false,
        "IPv4Forwarding": read("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        "Debug": false,
        "ExperimentalBuild": false,
        "LiveRestoreEnabled": true,
        "NEventsListener": 0,
        "NFd": 0,
        "NGoroutines": 0,
        "Isolation": "",
        "Labels": [],
        "GenericResources": null,
        "CDISpecDirs": null,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "InitBinary": "",
        "InitCommit": {"ID": "", "Expected": ""},
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": "", "Expected": ""},
        "Runtimes": {"coracle": {"path": "coracle"}},
        "SystemTime": Timestamp::now().rfc3339_nanos(),
        "Plugins": {
            "Volume": info["plugins"]["volume"],
            "Network": info["plugins"]["network"],
            "Authorization": null,
            "Log": info["plugins"]["log"],
        },
        "RegistryConfig": {
            "IndexConfigs": {
                "docker.io": {"Mirrors": [], "Name": "docker.io", "Official": true, "Secure": true},
            },
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "Mirrors": [],
        },
        "ClientInfo": client,
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `/proc/meminfo` in bytes.
fn meminfo(text: &str) -> Map<String, Value> {
    text.lines()
        .filter_map(|line| {
            let (key, rest) = line.split_once(':')?;
            let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
            Some((key.to_owned(), (kib * 1024).into()))
        })
        .collect()
}

/// `/etc/os-release`: KEY=value, with or without quotes.
fn os_release(text: &str) -> std::collections::BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        })
        .collect()
}

/// Shares of user, system and idle time since boot, in percent.
fn cpu(text: &str) -> Value {
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|w| w.parse().ok())
        .collect();
    let total: f64 = ticks.iter().take(8).sum();
    let percent = |n: usize| {
        let share = ticks.get(n).copied().unwrap_or(0.0) * 100.0 / total.max(1.0);
        (share * 100.0).round() / 100.0
    };
    json!({"userPercent": percent(0), "systemPercent": percent(2), "idlePercent": percent(3)})
}

/// podman's form: `26h 3m 7.00s (Approximately 1.08 days)`.
fn uptime(text: &str) -> String {
    let seconds: f64 = text
        .split('.')
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0.0);
    let whole = seconds as u64;
    let mut result = format!("{}h {}m {}.00s", whole / 3600, whole / 60 % 60, whole % 60);
    if whole >= 24 * 3600 {
        result.push_str(&format!(" (Approximately {:.2} days)", seconds / 86400.0));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let memory = meminfo("MemTotal:       100 kB\nMemFree:  1 kB\nHugePages_Total:   0\n");
        assert_eq!(memory["MemTotal"], 102_400);
        assert_eq!(memory.len(), 2);
        let release = os_release("ID=debian\nVERSION_ID=\"12\"\n# x\n");
        assert_eq!(
            (release["ID"].as_str(), release["VERSION_ID"].as_str()),
            ("debian", "12")
        );
        assert_eq!(
            cpu("cpu  10 0 20 70 0 0 0 0 0 0\ncpu0 1 1 1 1\n"),
            json!({"userPercent": 10.0, "systemPercent": 20.0, "idlePercent": 70.0})
        );
        assert_eq!(
            uptime("93787.51 1.0"),
            "26h 3m 7.00s (Approximately 1.09 days)"
        );
        assert_eq!(uptime("61.2 1.0"), "0h 1m 1.00s");
    }
}
