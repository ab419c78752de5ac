//! Kernel parameters of a container's own namespaces.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::OFlags;

use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::NamespaceKind;
use crate::sys::{fd, resolve};

/// The namespace that a parameter belongs to; `None` for one of the whole host.
pub(in crate::runtime) fn owner(key: &str) -> Option<NamespaceKind> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if key.starts_with("net.") {
        Some(NamespaceKind::Network)
    } else if IPC.contains(&key) || key.starts_with("fs.mqueue.") {
        Some(NamespaceKind::Ipc)
    } else if matches!(key, "kernel.domainname" | "kernel.hostname") {
        Some(NamespaceKind::Uts)
    } else {
        None
    }
}

/// The path below `/proc/sys`: dots are separators, and a slash stands for a dot in a name.
fn path_of(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// Refuses what is not the container's.
///
/// # Errors
/// `Denied`.
pub(crate) fn check(
    sysctls: &BTreeMap<String, String>,
    owns: impl Fn(NamespaceKind) -> bool,
) -> Result<()> {
    for key in sysctls.keys() {
        let own = owner(key).is_some_and(&owns);
        let sane = key
            .split(['.', '/'])
            .all(|part| !part.is_empty() && part != "..");
        if !own || !sane {
            return Err(Error::new(
                Kind::Denied,
                format!("cannot set {key}: it does not belong to a namespace of the container"),
            ));
        }
    }
    Ok(())
}

/// Sets them through `proc_sys`, `/proc/sys` of a mount of ours or the host's that no image can
/// reach into (CVE-2025-52881). Whose parameters a mount shows depends on the process that opens
/// them, not on the mount.
///
/// # Errors
/// `NotFound` for what this kernel does not have, `Denied`, `Invalid`.
pub(crate) fn apply(
    sysctls: &BTreeMap<String, String>,
    proc_sys: Option<BorrowedFd<'_>>,
) -> Result<()> {
    for (key, value) in sysctls {
        let what = || format!("cannot set {key} to {value:?}");
        let proc_sys = proc_sys.ok_or_else(|| {
            Error::unsupported(format!(
                "cannot set {key}: this container has no /proc of its own"
            ))
        })?;
        let file = resolve::beneath(proc_sys, path_of(key), OFlags::WRONLY).what(what)?;
        fd::write_all(file.as_fd(), value.as_bytes()).what(what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_own_namespaces_pass() {
        for (key, own_net, good) in [
            ("net.ipv4.ip_forward", true, true),
            ("net.ipv4.ip_forward", false, false),
            ("kernel.shmmax", false, true),
            ("kernel.core_pattern", true, false),
            ("vm.swappiness", true, false),
            ("net...x", true, false),
            ("net.ipv4/../x", true, false),
        ] {
            let map = BTreeMap::from([(key.to_owned(), "1".to_owned())]);
            let owns = |k| k != NamespaceKind::Network || own_net;
            assert_eq!(check(&map, owns).is_ok(), good, "{key}");
        }
        assert_eq!(
            path_of("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }
}
