//! The keys of containers.conf(5) that coracle does not follow, each with the reason: whoever wrote
//! one expects something of it, and hears once that nothing comes of it. Unknown keys are told, too.
//!
//! Spec: containers.conf(5) up to podman 5.

/// Section, key, why it has no effect; without a reason it works. A section that stands alone is
/// told as a whole.
const KEYS: &[(&str, &str, &str)] = &[
    ("containers", "enable_labeled_users", NO_LABELS),
    (
        "containers",
        "interface_name",
        "interfaces inside have one name",
    ),
    (
        "containers",
        "keyring",
        "a container always has its own session keyring, or none",
    ),
    ("containers", "label_users", NO_LABELS),
    (
        "containers",
        "log_path",
        "a log lies in its container's folder",
    ),
    (
        "containers",
        "prepare_volume_on_create",
        "volumes are filled by the first start",
    ),
    ("containers", "userns_size", "--userns=auto:size=N sets it"),
    (
        "network",
        "default_network",
        "without --network a container has a network of its own; --network podman is the bridge",
    ),
    (
        "network",
        "dns_bind_port",
        "names are answered on the gateways of networks, where nobody else listens",
    ),
    ("engine", "active_service", NO_DAEMON),
    (
        "engine",
        "add_compression",
        "an image is pushed in one compression",
    ),
    ("engine", "compat_api_enforce_docker_hub", NO_DAEMON),
    ("engine", "compose_providers", NO_COMPOSE),
    ("engine", "compose_warning_logs", NO_COMPOSE),
    ("engine", "conmon_env_vars", OWN_MONITOR),
    ("engine", "conmon_path", OWN_MONITOR),
    ("engine", "conmonrs_path", OWN_MONITOR),
    ("engine", "database_backend", "there is no database"),
    (
        "engine",
        "enable_port_reservation",
        "published ports are always held",
    ),
    (
        "engine",
        "events_container_create_inspect_data",
        "events do not carry it",
    ),
    ("engine", "exit_command_delay", OWN_MONITOR),
    (
        "engine",
        "image_copy_tmp_dir",
        "images are unpacked in the store itself",
    ),
    ("engine", "image_build_format", "--format sets it"),
    ("engine", "image_default_format", "--format sets it"),
    (
        "engine",
        "image_default_transport",
        "names without a transport mean docker://",
    ),
    ("engine", "infra_command", "pods are held by coracle itself"),
    ("engine", "infra_image", "pods are held by coracle itself"),
    ("engine", "kube_generate_type", NO_DAEMON),
    ("engine", "lock_type", "locks are the kernel's, on files"),
    (
        "engine",
        "namespace",
        "there are no namespaces in the store",
    ),
    ("engine", "no_pivot_root", "the root is always pivoted"),
    (
        "engine",
        "num_locks",
        "locks are the kernel's: there is no number to run out of",
    ),
    ("engine", "platform_to_oci_runtime", OWN_RUNTIME),
    (
        "engine",
        "pod_exit_policy",
        "pods come with a later version",
    ),
    ("engine", "remote", NO_DAEMON),
    ("engine", "remote_identity", NO_DAEMON),
    ("engine", "remote_uri", NO_DAEMON),
    ("engine", "runtime", OWN_RUNTIME),
    ("engine", "runtime_supports_json", OWN_RUNTIME),
    ("engine", "runtime_supports_kvm", OWN_RUNTIME),
    ("engine", "runtime_supports_nocgroups", OWN_RUNTIME),
    ("engine", "runtimes", OWN_RUNTIME),
    ("engine", "runtimes_flags", OWN_RUNTIME),
    ("engine", "service_destinations", NO_DAEMON),
    ("engine", "service_timeout", NO_DAEMON),
    ("engine", "ssh_config", NO_DAEMON),
    ("engine", "static_dir", "--root says where everything lies"),
    (
        "engine",
        "tmp_dir",
        "--runroot says where volatile things lie",
    ),
    ("engine", "volume_plugin_timeout", NO_PLUGINS),
    ("engine", "volume_plugins", NO_PLUGINS),
    ("network", "cni_plugin_dirs", OWN_NETWORK),
    ("network", "firewall_driver", OWN_NETWORK),
    ("network", "netavark_plugin_dirs", OWN_NETWORK),
    ("network", "network_backend", OWN_NETWORK),
    ("farms", "", "coracle builds on this machine only"),
    ("machine", "", "coracle needs no virtual machine"),
    ("podmansh", "", "there is no podmansh"),
];

/// Keys that work, by section.
const WORK: &[(&str, &[&str])] = &[
    (
        "containers",
        &[
            "annotations",
            "apparmor_profile",
            "base_hosts_file",
            "cgroups",
            "cgroupns",
            "container_name_as_hostname",
            "default_capabilities",
            "default_sysctls",
            "default_ulimits",
            "devices",
            "dns_options",
            "dns_searches",
            "dns_servers",
            "env",
            "env_host",
            "host_containers_internal_ip",
            "http_proxy",
            "init",
            "init_path",
            "ipcns",
            "label",
            "log_driver",
            "log_size_max",
            "log_tag",
            "mounts",
            "netns",
            "no_hosts",
            "oom_score_adj",
            "pidns",
            "pids_limit",
            "privileged",
            "read_only",
            "seccomp_profile",
            "shm_size",
            "tz",
            "umask",
            "userns",
            "utsns",
            "volumes",
        ],
    ),
    (
        "engine",
        &[
            "cdi_spec_dirs",
            "cgroup_manager",
            "compression_format",
            "compression_level",
            "detach_keys",
            "env",
            "events_logfile_max_size",
            "events_logfile_path",
            "events_logger",
            "healthcheck_events",
            "helper_binaries_dir",
            "hooks_dir",
            "image_parallel_copies",
            "image_volume_mode",
            "init_path",
            "multi_image_archive",
            "network_cmd_options",
            "network_cmd_path",
            "pull_policy",
            "retry",
            "retry_delay",
            "stop_timeout",
            "volume_path",
        ],
    ),
    (
        "network",
        &[
            "default_host_ips",
            "default_rootless_network_cmd",
            "default_subnet",
            "default_subnet_pools",
            "network_config_dir",
            "pasta_options",
        ],
    ),
    ("secrets", &["driver", "opts"]),
    ("configmaps", &["driver", "opts"]),
];

const NO_COMPOSE: &str = "coracle has its own way to bring up several containers";
const NO_DAEMON: &str = "coracle has no daemon and no remote client";
const NO_LABELS: &str = "no SELinux labels are set";
const NO_PLUGINS: &str = "volumes are folders, without plugins";
const OWN_MONITOR: &str = "coracle has its own monitor";
const OWN_NETWORK: &str = "coracle makes networks itself";
const OWN_RUNTIME: &str = "coracle starts containers itself";

/// A sentence for each key of a file that has no effect, and for each unknown one. `keys`: section
/// and key.
pub(super) fn notices<'a>(keys: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut told = Vec::new();
    for (section, key) in keys {
        let works = WORK
            .iter()
            .any(|(s, all)| *s == section && all.contains(&key));
        let known = KEYS
            .iter()
            .find(|(s, k, _)| *s == section && (*k == key || k.is_empty()));
        let sentence = match known {
            _ if works => continue,
            Some((_, "", why)) => format!("[{section}] has no effect: {why}"),
            Some((_, _, why)) => format!("{key} in [{section}] has no effect: {why}"),
            None => format!("unknown key {key} in [{section}]"),
        };
        if !told.contains(&sentence) {
            told.push(sentence);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(keys: &[(&str, &str)]) -> Vec<String> {
        notices(keys.iter().copied())
    }

    #[test]
    fn what_works_is_silent_and_the_rest_is_told_once() {
        assert!(told(&[("containers", "tz"), ("engine", "volume_path")]).is_empty());
        assert_eq!(
            told(&[
                ("engine", "num_locks"),
                ("engine", "num_loks"),
                ("machine", "cpus"),
                ("machine", "memory"),
                ("networks", "default_subnet"),
            ]),
            [
                "num_locks in [engine] has no effect: locks are the kernel's: there is no number to run out of",
                "unknown key num_loks in [engine]",
                "[machine] has no effect: coracle needs no virtual machine",
                "unknown key default_subnet in [networks]",
            ]
        );
    }

    #[test]
    fn no_key_both_works_and_does_not() {
        for (section, key, why) in KEYS {
            let works = WORK
                .iter()
                .any(|(s, all)| s == section && all.contains(key));
            assert!(!works && !why.is_empty(), "{section} {key}");
        }
    }
}
