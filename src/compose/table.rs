//! The table of all keys.

use super::schema::{Key, Kind};
use Kind::{Any, Bool, Each, Int, Map, Number, Object, Objects, Size, Text, Texts, Time};

const fn k(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        lost: "",
    }
}

/// A key without effect, and why.
const fn no(name: &'static str, kind: Kind, why: &'static str) -> Key {
    Key {
        name,
        kind,
        lost: why,
    }
}

const WINDOWS: &str = "it is for Windows";
const SWARM: &str = "it places containers on many machines";
const LINUX: &str = "the kernel's cgroup v2 has nothing like it";

/// The top level.
pub const TOP: &[Key] = &[
    k("name", Text),
    k("version", Text),
    k("include", Any),
    k("services", Each(SERVICE)),
    k("networks", Each(NETWORK)),
    k("volumes", Each(VOLUME)),
    k("secrets", Each(SECRET)),
    k("configs", Each(CONFIG)),
    no("models", Any, "no model runner is built in"),
];

const NETWORK: &[Key] = &[
    k("name", Text),
    k("driver", Text),
    k("driver_opts", Map),
    k("external", Bool),
    k("internal", Bool),
    no("attachable", Bool, "every container of yours may use it"),
    k("enable_ipv4", Bool),
    k("enable_ipv6", Bool),
    k("labels", Map),
    k(
        "ipam",
        Object(&[
            k("driver", Text),
            no("options", Map, "the address manager has none"),
            k(
                "config",
                Objects(&[
                    k("subnet", Text),
                    k("ip_range", Text),
                    k("gateway", Text),
                    k("aux_addresses", Map),
                ]),
            ),
        ]),
    ),
];

const VOLUME: &[Key] = &[
    k("name", Text),
    k("driver", Text),
    k("driver_opts", Map),
    k("external", Bool),
    k("labels", Map),
];

const SECRET: &[Key] = &[
    k("name", Text),
    k("file", Text),
    k("environment", Text),
    k("content", Text),
    k("external", Bool),
    k("labels", Map),
    no("driver", Text, "secrets are kept by coracle"),
    no("driver_opts", Map, "secrets are kept by coracle"),
    no("template_driver", Text, "there are no templates"),
];

const CONFIG: &[Key] = SECRET;

const GRANT: &[Key] = &[
    k("source", Text),
    k("target", Text),
    k("uid", Text),
    k("gid", Text),
    k("mode", Text),
];

const HOOK: &[Key] = &[
    k("command", Texts),
    k("user", Text),
    k("privileged", Bool),
    k("working_dir", Text),
    k("environment", Map),
];

const RATE: &[Key] = &[k("path", Text), k("rate", Size)];

const DEVICE: &[Key] = &[
    k("capabilities", Texts),
    k("driver", Text),
    k("count", Text),
    k("device_ids", Texts),
    no("options", Map, "devices are described by CDI files"),
];

/// Of the keys that ask for it.
const NO_WATCH: &str = "nobody watches a new container once it is up";

const UPDATE: &[Key] = &[
    k("parallelism", Int),
    k("delay", Time),
    no("failure_action", Text, NO_WATCH),
    no("monitor", Time, NO_WATCH),
    no("max_failure_ratio", Number, NO_WATCH),
    k("order", Text),
];

const DEPLOY: &[Key] = &[
    k("mode", Text),
    k("endpoint_mode", Text),
    k("replicas", Int),
    k("labels", Map),
    no("placement", Any, SWARM),
    k("update_config", Object(UPDATE)),
    no("rollback_config", Object(UPDATE), "a failed update stops"),
    k(
        "restart_policy",
        Object(&[
            k("condition", Text),
            no("delay", Time, "restarts wait longer each time"),
            k("max_attempts", Int),
            no("window", Time, "a start counts at once"),
        ]),
    ),
    k(
        "resources",
        Object(&[
            k(
                "limits",
                Object(&[
                    k("cpus", Text),
                    k("memory", Size),
                    k("pids", Int),
                    no("devices", Any, "devices are reserved, not limited"),
                    no("generic_resources", Any, SWARM),
                ]),
            ),
            k(
                "reservations",
                Object(&[
                    no("cpus", Text, "there is no scheduler that keeps them free"),
                    k("memory", Size),
                    k("devices", Objects(DEVICE)),
                    no("generic_resources", Any, SWARM),
                ]),
            ),
        ]),
    ),
];

const BUILD: &[Key] = &[
    k("context", Text),
    k("dockerfile", Text),
    k("dockerfile_inline", Text),
    k("args", Map),
    k("ssh", Texts),
    k("labels", Map),
    k("cache_from", Texts),
    k("cache_to", Texts),
    k("no_cache", Bool),
    k("no_cache_filter", Texts),
    k("additional_contexts", Map),
    k("network", Text),
    k("pull", Bool),
    k("target", Text),
    k("shm_size", Size),
    k("extra_hosts", Texts),
    no("isolation", Text, WINDOWS),
    k("privileged", Bool),
    k("secrets", Objects(GRANT)),
    k("tags", Texts),
    k("ulimits", Each(ULIMIT)),
    k("platforms", Texts),
    k("provenance", Text),
    k("sbom", Text),
    k("entitlements", Texts),
];

const ULIMIT: &[Key] = &[k("soft", Int), k("hard", Int)];

const HEALTH: &[Key] = &[
    k("test", Texts),
    k("interval", Time),
    k("timeout", Time),
    k("retries", Int),
    k("start_period", Time),
    k("start_interval", Time),
    k("disable", Bool),
];

const MOUNT: &[Key] = &[
    k("type", Text),
    k("source", Text),
    k("target", Text),
    k("read_only", Bool),
    k("consistency", Text),
    k(
        "bind",
        Object(&[
            k("propagation", Text),
            k("create_host_path", Bool),
            k("recursive", Text),
            k("selinux", Text),
        ]),
    ),
    k(
        "volume",
        Object(&[k("nocopy", Bool), k("subpath", Text), k("labels", Map)]),
    ),
    k("tmpfs", Object(&[k("size", Size), k("mode", Text)])),
    k("image", Object(&[k("subpath", Text)])),
];

const PORT: &[Key] = &[
    k("name", Text),
    k("mode", Text),
    k("host_ip", Text),
    k("target", Int),
    k("published", Text),
    k("protocol", Text),
    k("app_protocol", Text),
];

const ON_NETWORK: &[Key] = &[
    k("aliases", Texts),
    k("ipv4_address", Text),
    k("ipv6_address", Text),
    no(
        "link_local_ips",
        Texts,
        "addresses come from the network's subnets",
    ),
    k("mac_address", Text),
    k("interface_name", Text),
    no("driver_opts", Map, "a connection has no options"),
    k("priority", Int),
    no("gw_priority", Int, "the first network is the way out"),
];

const WATCH: &[Key] = &[
    k("action", Text),
    k("path", Text),
    k("target", Text),
    k("ignore", Texts),
    k("include", Texts),
    k("initial_sync", Bool),
    k("exec", Object(HOOK)),
];

/// A service.
pub const SERVICE: &[Key] = &[
    k("annotations", Map),
    k("attach", Bool),
    k("build", Object(BUILD)),
    k(
        "blkio_config",
        Object(&[
            k("weight", Int),
            k(
                "weight_device",
                Objects(&[k("path", Text), k("weight", Int)]),
            ),
            k("device_read_bps", Objects(RATE)),
            k("device_read_iops", Objects(RATE)),
            k("device_write_bps", Objects(RATE)),
            k("device_write_iops", Objects(RATE)),
        ]),
    ),
    k("cap_add", Texts),
    k("cap_drop", Texts),
    k("cgroup", Text),
    k("cgroup_parent", Text),
    k("command", Texts),
    k("configs", Objects(GRANT)),
    k("container_name", Text),
    no("cpu_count", Int, WINDOWS),
    no("cpu_percent", Number, WINDOWS),
    k("cpu_period", Text),
    k("cpu_quota", Text),
    no("cpu_rt_period", Text, LINUX),
    no("cpu_rt_runtime", Text, LINUX),
    k("cpu_shares", Int),
    k("cpus", Text),
    k("cpuset", Text),
    no("credential_spec", Any, WINDOWS),
    k(
        "depends_on",
        Each(&[
            k("condition", Text),
            k("restart", Bool),
            k("required", Bool),
        ]),
    ),
    k("deploy", Object(DEPLOY)),
    k("develop", Object(&[k("watch", Objects(WATCH))])),
    no(
        "device_cgroup_rules",
        Texts,
        "devices are given one by one with `devices`",
    ),
    k("devices", Texts),
    k("dns", Texts),
    k("dns_opt", Texts),
    k("dns_search", Texts),
    k("domainname", Text),
    k("entrypoint", Texts),
    k(
        "env_file",
        Objects(&[k("path", Text), k("required", Bool), k("format", Text)]),
    ),
    k("environment", Map),
    k("expose", Texts),
    k("extends", Any),
    no(
        "external_links",
        Texts,
        "put both containers on one external network",
    ),
    k("extra_hosts", Texts),
    k("gpus", Objects(DEVICE)),
    k("group_add", Texts),
    k("healthcheck", Object(HEALTH)),
    k("hostname", Text),
    k("image", Text),
    k("init", Bool),
    k("ipc", Text),
    no("isolation", Text, WINDOWS),
    k("label_file", Texts),
    k("labels", Map),
    k("links", Texts),
    k("logging", Object(&[k("driver", Text), k("options", Map)])),
    k("mac_address", Text),
    k("mem_limit", Size),
    k("mem_reservation", Size),
    k("mem_swappiness", Int),
    k("memswap_limit", Size),
    no("models", Any, "no model runner is built in"),
    k("network_mode", Text),
    k("networks", Each(ON_NETWORK)),
    k("oom_kill_disable", Bool),
    k("oom_score_adj", Int),
    k("pid", Text),
    k("pids_limit", Int),
    k("platform", Text),
    k("ports", Objects(PORT)),
    k("post_start", Objects(HOOK)),
    k("pre_stop", Objects(HOOK)),
    k("privileged", Bool),
    k("profiles", Texts),
    no("provider", Any, "no provider is run"),
    k("pull_policy", Text),
    k("pull_refresh_after", Text),
    k("read_only", Bool),
    k("restart", Text),
    no("runtime", Text, "coracle is its own runtime"),
    k("scale", Int),
    k("secrets", Objects(GRANT)),
    k("security_opt", Texts),
    k("shm_size", Size),
    k("stdin_open", Bool),
    k("stop_grace_period", Time),
    k("stop_signal", Text),
    no(
        "storage_opt",
        Map,
        "the storage of a container has no limit of its own",
    ),
    k("sysctls", Map),
    k("tmpfs", Texts),
    k("tty", Bool),
    k("ulimits", Each(ULIMIT)),
    no(
        "use_api_socket",
        Bool,
        "there is no daemon whose socket could be shared",
    ),
    k("user", Text),
    k("userns_mode", Text),
    k("uts", Text),
    no(
        "volume_driver",
        Text,
        "volumes are made by `volumes` at the top",
    ),
    k("volumes", Objects(MOUNT)),
    k("volumes_from", Texts),
    k("working_dir", Text),
];
