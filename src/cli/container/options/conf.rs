//! What `containers.conf` says, put in the place of flags that were not given, so that the same
//! checks hold for both.

use super::flags::CreateFlags;
use super::security;
use crate::base::Result;
use crate::config::containers_conf::ContainersConf;
use crate::config::env::Env;
use crate::runtime::capabilities::{self, ALL};
use crate::state::options::CgroupManager;

/// Fills what was not given.
///
/// # Errors
/// `Invalid` for a capability in the file that does not exist.
pub(super) fn fill(flags: &mut CreateFlags, conf: &ContainersConf, env: &Env) -> Result<()> {
    let (file, engine) = (&conf.containers, &conf.engine);
    let text = |slot: &mut Option<String>, value: &Option<String>| {
        if slot.is_none() {
            *slot = value.clone().filter(|v| !v.is_empty());
        }
    };
    let list = |slot: &mut Vec<String>, value: &[String]| {
        if slot.is_empty() {
            slot.extend_from_slice(value);
        }
    };
    let CreateFlags {
        general,
        process,
        files,
        network,
        security,
        limits,
        image,
        ..
    } = flags;
    // Network, names and ids are a pod's own; one that is made now takes the container's.
    let pod = general.pod.as_deref().filter(|p| !p.is_empty());
    let has_pod = pod.is_some() || general.pod_id_file.is_some();
    let joins_pod = has_pod && !pod.is_some_and(|p| p.starts_with("new:"));
    text(&mut general.log_driver, &file.log_driver);
    text(
        &mut general.stop_timeout,
        &engine.stop_timeout.map(|s| s.to_string()),
    );
    for (key, value) in [
        (
            "max-size",
            file.log_size_max.filter(|s| *s > 0).map(|s| s.to_string()),
        ),
        ("tag", file.log_tag.clone().filter(|t| !t.is_empty())),
    ] {
        let given = general
            .log_opt
            .iter()
            .any(|o| o.split('=').next() == Some(key));
        if let (false, Some(value)) = (given, value) {
            general.log_opt.push(format!("{key}={value}"));
        }
    }
    general
        .annotation
        .splice(0..0, file.annotations.iter().cloned());
    text(&mut process.tz, &file.tz);
    text(&mut process.umask, &file.umask);
    process.http_proxy = process.http_proxy.or(file.http_proxy);
    process.env_host = process.env_host.or(file.env_host);
    process.init = process.init.or(file.init);
    if process.init == Some(true) {
        text(
            &mut process.init_path,
            &file.init_path.clone().or_else(|| engine.init_path.clone()),
        );
    }
    files.volume.splice(0..0, file.volumes.iter().cloned());
    files.mount.splice(0..0, file.mounts.iter().cloned());
    files.device.splice(0..0, file.devices.iter().cloned());
    files.read_only = files.read_only.or(file.read_only);
    text(&mut files.image_volume, &engine.image_volume_mode);
    if security.ipc.is_none() {
        text(&mut files.shm_size, &file.shm_size);
    }
    if network.network.is_empty() && !joins_pod {
        network
            .network
            .extend(file.netns.clone().filter(|n| !n.is_empty()));
    }
    let joins = joins_pod || network.network.iter().any(|n| n.starts_with("container:"));
    if !joins {
        list(&mut network.dns, &file.dns_servers);
        list(&mut network.dns_search, &file.dns_searches);
        list(&mut network.dns_option, &file.dns_options);
    }
    if network.add_host.is_empty() && network.hosts_file.is_none() {
        network.no_hosts = network.no_hosts.or(file.no_hosts);
    }
    security.privileged = security.privileged.or(file.privileged);
    text(&mut security.ipc, &file.ipcns);
    if !has_pod {
        text(&mut security.pid, &file.pidns);
    }
    text(&mut security.uts, &file.utsns);
    text(&mut security.cgroupns, &file.cgroupns);
    let mapped = !security.uidmap.is_empty()
        || !security.gidmap.is_empty()
        || security.subuidname.is_some()
        || security.subgidname.is_some();
    if !has_pod && !mapped {
        text(&mut security.userns, &env.podman_userns());
        text(&mut security.userns, &file.userns);
    }
    for (key, value) in [
        ("seccomp", &file.seccomp_profile),
        ("apparmor", &file.apparmor_profile),
    ] {
        let given = security.security_opt.iter().any(|o| o.starts_with(key));
        if let (false, Some(value)) = (given, value.as_ref().filter(|v| !v.is_empty())) {
            security.security_opt.push(format!("{key}={value}"));
        }
    }
    if file.label == Some(false) {
        security.security_opt.push("label=disable".to_owned());
    }
    let own_network = !joins_pod
        && !network
            .network
            .iter()
            .any(|n| n == "host" || n.starts_with("container:") || n.starts_with("ns:"));
    for sysctl in file.default_sysctls.iter().flatten() {
        // They are written through the container's own /proc.
        let own_proc = security.pid.as_deref() != Some("host");
        // What a pod shares, it has from the pod.
        let of_pod = joins_pod
            && ["kernel.", "fs.mqueue."]
                .iter()
                .any(|p| sysctl.starts_with(p));
        if own_proc && !of_pod && (own_network || !sysctl.starts_with("net.")) {
            security.sysctl.insert(0, sysctl.clone());
        }
    }
    if let Some(base) = &file.default_capabilities {
        base_capabilities(security, base)?;
    }
    if !limits.ulimit.iter().any(|l| l == "host") {
        limits
            .ulimit
            .splice(0..0, file.default_ulimits.iter().cloned());
    }
    limits.oom_score_adj = limits.oom_score_adj.or(file.oom_score_adj);
    limits.pids_limit = limits.pids_limit.or(file.pids_limit.filter(|n| *n > 0));
    text(&mut limits.cgroups, &file.cgroups);
    limits.cgroup_manager = match engine.cgroup_manager.as_deref() {
        Some("systemd") => CgroupManager::SystemdIfAny,
        Some("cgroupfs") => CgroupManager::Cgroupfs,
        _ => CgroupManager::Auto,
    };
    text(&mut image.pull, &engine.pull_policy);
    image.retry = image.retry.or(engine.retry);
    text(&mut image.retry_delay, &engine.retry_delay);
    Ok(())
}

/// Another list than ours as the base: what it lacks is dropped, what it has more is added.
fn base_capabilities(flags: &mut super::flags::Security, base: &[String]) -> Result<()> {
    let base = security::capability_names(base)?;
    let named = |words: &[String], name: &str| -> bool {
        security::capability_names(words).is_ok_and(|l| l.iter().any(|n| n == name || n == ALL))
    };
    if flags.privileged == Some(true) || named(&flags.cap_drop, ALL) || named(&flags.cap_add, ALL) {
        return Ok(());
    }
    let bare = |name: &'static str| name.strip_prefix("CAP_").unwrap_or(name);
    for name in capabilities::DEFAULT.map(bare) {
        if !base.iter().any(|b| b == name) && !named(&flags.cap_add, name) {
            flags.cap_drop.push(name.to_owned());
        }
    }
    for name in base {
        let ours = capabilities::DEFAULT.map(bare).contains(&name.as_str());
        if !ours && !named(&flags.cap_drop, &name) {
            flags.cap_add.push(name);
        }
    }
    Ok(())
}
