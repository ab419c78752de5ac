//! `spec`: a configuration to begin with.

use std::path::Path;

use serde_json::{Value, json};

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};

/// Writes `config.json` into a bundle. `rootless`: for the caller's own user namespace.
///
/// # Errors
/// `Exists`; what the kernel says.
pub fn write(bundle: &Path, rootless: bool) -> Result<()> {
    let path = bundle.join("config.json");
    if path.exists() {
        return Err(Error::new(
            Kind::Exists,
            format!("File {} exists. Remove it first", path.display()),
        ));
    }
    let ids = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let mut text = serde_json::to_vec_pretty(&config(rootless.then_some(ids)))
        .what(|| "cannot write the configuration")?;
    text.push(b'\n');
    files::replace(&path, &text, 0o644, files::Durability::Volatile)
}

/// The configuration; with a caller's ids the rootless one.
pub fn config(rootless: Option<(u32, u32)>) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "coracle",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": [
                    "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5",
                ],
            },
            {
                "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
            {
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            },
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}, {"type": "cgroup"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    });
    if let Some((uid, gid)) = rootless {
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        if let Some(linux) = config["linux"].as_object_mut() {
            linux.remove("resources");
            linux.insert("uidMappings".into(), map(uid));
            linux.insert("gidMappings".into(), map(gid));
        }
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            // The caller's network: a new one needs somebody to connect it.
            namespaces.retain(|n| n["type"] != "network");
            namespaces.push(json!({"type": "user"}));
        }
        for mount in config["mounts"].as_array_mut().into_iter().flatten() {
            match mount["destination"].as_str() {
                Some("/sys") => {
                    *mount = json!({
                        "destination": "/sys", "type": "none", "source": "/sys",
                        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
                    });
                }
                // One group is mapped only.
                Some("/dev/pts") => {
                    if let Some(options) = mount["options"].as_array_mut() {
                        options.retain(|o| o != "gid=5");
                    }
                }
                _ => {}
            }
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::runtime::Spec;

    #[test]
    fn both_forms_are_read_back() {
        for ids in [None, Some((1000, 1000))] {
            let spec: Spec = serde_json::from_value(config(ids)).unwrap();
            assert_eq!(spec.linux.unwrap().uid_mappings.is_empty(), ids.is_none());
        }
    }
}
