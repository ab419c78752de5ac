//! Hidden and read-only paths of `/proc` and `/sys`, and the sysctls a container may set.

use std::collections::BTreeMap;

use crate::base::glob;
use crate::base::{Error, Kind, Result};
use crate::runtime::sysctl;
use crate::spec::runtime::NamespaceKind;
use crate::state::options::{ContainerOptions, NamespaceMode};

/// Hidden unless unmasked: the union of podman's and Docker's lists.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Read-only unless unmasked.
const READ_ONLY: [&str; 6] = [
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The hidden and the read-only paths.
///
/// # Errors
/// `Invalid` for a `mask=` that is not absolute.
pub(super) fn masked_and_read_only(
    options: &ContainerOptions,
) -> Result<(Vec<String>, Vec<String>)> {
    let security = &options.security;
    let unmask = &security.unmask;
    let all = options.privileged || unmask.iter().any(|u| u.eq_ignore_ascii_case("all"));
    let keep = |path: &&str| !all && !unmask.iter().any(|pattern| matches(pattern, path));
    let owned = |paths: &[&str]| -> Vec<String> {
        paths
            .iter()
            .filter(|p| keep(p))
            .map(|p| (*p).to_owned())
            .collect()
    };
    let mut masked = owned(&MASKED);
    for path in &security.mask {
        if !path.starts_with('/') {
            return Err(Error::invalid(format!(
                "cannot mask {path:?}: the path is not absolute"
            )));
        }
        if !masked.contains(path) {
            masked.push(path.clone());
        }
    }
    Ok((masked, owned(&READ_ONLY)))
}

/// Go's `path.Match` as far as masks need it: `*` and `?` within one component; a pattern also
/// covers what is below it.
fn matches(pattern: &str, path: &str) -> bool {
    let mut wanted = pattern.trim_end_matches('/').split('/');
    let mut have = path.split('/');
    loop {
        match (wanted.next(), have.next()) {
            (None, _) => return true,
            (Some(_), None) => return false,
            (Some(w), Some(h)) if glob::matches(w, h) => {}
            _ => return false,
        }
    }
}

/// The sysctls to write: those asked for. What every network of our own has is set where it is
/// made (`network::namespace`), before the container is.
///
/// # Errors
/// `Denied` for one that is not bound to a namespace of the container: it would change the host.
pub(super) fn sysctls(options: &ContainerOptions) -> Result<BTreeMap<String, String>> {
    let own_network = options.network.mode.is_own();
    let mut all = BTreeMap::new();
    for (key, value) in &options.sysctls {
        let name = key.replace('/', ".");
        let (own, which) = match sysctl::owner(&name) {
            Some(NamespaceKind::Network) => (own_network, "network"),
            Some(NamespaceKind::Ipc) => (options.ipc != NamespaceMode::Host, "IPC"),
            Some(NamespaceKind::Uts) => (options.uts != NamespaceMode::Host, "UTS"),
            _ => {
                return Err(Error::new(
                    Kind::Denied,
                    format!("sysctl {name:?} belongs to the whole host, not to a container"),
                )
                .hint("a container has its own net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*"));
            }
        };
        if !own {
            return Err(Error::invalid(format!(
                "cannot set sysctl {name:?}: the container does not have its own {which} namespace"
            )));
        }
        if name.split('.').any(str::is_empty) || name.contains('\0') {
            return Err(Error::invalid(format!("invalid sysctl name {key:?}")));
        }
        all.insert(name, value.clone());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::options::NetworkMode;

    fn masks(mask: &str, unmask: &str) -> (Vec<String>, Vec<String>) {
        let list = |t: &str| t.split_whitespace().map(str::to_owned).collect();
        let mut options = ContainerOptions::default();
        options.security.mask = list(mask);
        options.security.unmask = list(unmask);
        masked_and_read_only(&options).unwrap()
    }

    #[test]
    fn masks_and_unmasks_apply_to_both_lists() {
        let (masked, ro) = masks("", "");
        assert_eq!((masked.len(), ro.len()), (MASKED.len(), READ_ONLY.len()));
        let (masked, ro) = masks("/etc/shadow", "/proc/kcore /proc/sys");
        assert!(masked.contains(&"/etc/shadow".to_owned()));
        assert!(!masked.contains(&"/proc/kcore".to_owned()));
        assert_eq!(ro.len(), READ_ONLY.len() - 1);
        assert!(ro.contains(&"/proc/sysrq-trigger".to_owned()));
        let (masked, ro) = masks("", "/proc/*");
        assert!(masked.iter().all(|p| p.starts_with("/sys")) && ro.is_empty());
        let (masked, ro) = masks("/x", "all");
        assert_eq!((masked, ro.len()), (vec!["/x".to_owned()], 0));
    }

    #[test]
    fn only_sysctls_of_own_namespaces_are_set() {
        let set = |key: &str, options: &ContainerOptions| {
            let mut options = options.clone();
            options.sysctls.insert(key.to_owned(), "1".to_owned());
            sysctls(&options)
        };
        let plain = ContainerOptions::default();
        assert!(sysctls(&plain).unwrap().is_empty());
        for good in [
            "net.ipv4.ip_forward",
            "net/core/somaxconn",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
        ] {
            assert!(set(good, &plain).is_ok(), "{good}");
        }
        for bad in [
            "vm.swappiness",
            "kernel.core_pattern",
            "net..x",
            "fs.file-max",
            "",
        ] {
            assert!(set(bad, &plain).is_err(), "{bad}");
        }
        let mut host = ContainerOptions::default();
        host.network.mode = NetworkMode::Host;
        assert!(sysctls(&host).unwrap().is_empty());
        // What is set does not depend on whose processes are seen.
        let pids = ContainerOptions {
            pid: NamespaceMode::Host,
            ..ContainerOptions::default()
        };
        assert_eq!(sysctls(&pids).unwrap(), sysctls(&plain).unwrap());
        assert!(set("kernel.shmmax", &pids).is_ok());
        assert!(set("net.ipv4.ip_forward", &host).is_err());
    }
}
