//! A validation of `coracle runtime` against config-linux.md of the runtime specification. `MUSTS`
//! lists what it demands; `oci_runtime` checks that each line has its test. What takes real root and
//! cgroup v2 is in the script `tests/engines/limits`.

use std::os::fd::AsFd as _;

use serde_json::json;

use crate::support::{Bundle, peer};

/// Section, what must be in our own words, the test that shows it.
pub const MUSTS: &[(&str, &str, &str)] = &[
    (
        "config-linux: Default filesystems",
        "/proc, /sys, /dev/pts and /dev/shm can be had",
        "the_default_file_systems_are_there",
    ),
    (
        "config-linux: Namespaces",
        "without a path a new one is made",
        "namespaces_are_new_inherited_or_joined",
    ),
    (
        "config-linux: Namespaces",
        "with a path the process is in that one",
        "namespaces_are_new_inherited_or_joined",
    ),
    (
        "config-linux: Namespaces",
        "a path that is absolute only",
        "bad_namespaces_are_refused",
    ),
    (
        "config-linux: Namespaces",
        "a path of another type is an error",
        "bad_namespaces_are_refused",
    ),
    (
        "config-linux: Namespaces",
        "a type that is not listed is the runtime's own",
        "namespaces_are_new_inherited_or_joined",
    ),
    (
        "config-linux: Namespaces",
        "the same type twice is an error",
        "bad_namespaces_are_refused",
    ),
    (
        "config-linux: User namespace mappings",
        "ids are those of the maps",
        "user_namespaces_have_the_maps",
    ),
    (
        "config-linux: Time offsets",
        "the clocks of a time namespace have them",
        "clocks_have_their_offsets",
    ),
    (
        "config-linux: Network devices",
        "devices that cannot be moved are an error",
        "network_devices_move_or_are_refused",
    ),
    (
        "config-linux: Network devices",
        "a name that is taken inside is an error, one that ends in %d gets a number",
        "network_devices_move_or_are_refused",
    ),
    (
        "config-linux: Network devices",
        "lasting addresses of global scope stay, others do not",
        "network_devices_move_or_are_refused",
    ),
    (
        "config-linux: Network devices",
        "they are up inside",
        "network_devices_move_or_are_refused",
    ),
    (
        "config-linux: Network devices",
        "they are not moved out again: they go with the namespace",
        "network_devices_move_or_are_refused",
    ),
    (
        "config-linux: Devices",
        "listed devices are there",
        "devices_are_there",
    ),
    (
        "config-linux: Devices",
        "another file at that place is an error",
        "another_file_in_place_of_a_device_is_an_error",
    ),
    (
        "config-linux: Default devices",
        "null zero full random urandom tty console ptmx",
        "devices_are_there",
    ),
    (
        "config-linux: Control groups",
        "limits that cannot be applied are an error",
        "limits_without_a_group_are_refused",
    ),
    (
        "config-linux: Control groups",
        "a group that is not fit for the container is an error",
        "unit cgroups.rs: a_frozen_group_is_not_fit",
    ),
    (
        "config-linux: Cgroups path",
        "an absolute path starts at the mount point",
        "engines/limits: an absolute path starts at the mount point",
    ),
    (
        "config-linux: Cgroups path",
        "the same path is the same place",
        "engines/limits: the same path is the same place",
    ),
    (
        "config-linux: Cgroups path",
        "bad paths are an error",
        "bad_cgroup_paths_are_refused",
    ),
    (
        "config-linux: Cgroup ownership",
        "a writable group is given away, what is missing in it is no error",
        "engines/limits: a writable group belongs to the container",
    ),
    (
        "config-linux: Allowed device list",
        "rules count in the listed order",
        "engines/limits: device rules count in order",
    ),
    (
        "config-linux: Memory, CPU, PIDs",
        "limits are written, bad ones are errors",
        "limits_without_a_group_are_refused",
    ),
    (
        "config-linux: Memory",
        "checkBeforeUpdate refuses a limit below what is used",
        "unit cgroups.rs: a_new_limit_below_what_is_used_is_refused_when_asked",
    ),
    (
        "config-linux: CPU",
        "the burst is not larger than the quota",
        "unit limits.rs: what_v2_has_not_is_refused_and_v1_has_its_own_files",
    ),
    (
        "config-linux: Block IO, RDMA",
        "an entry without any value is an error",
        "unit limits.rs: what_v2_has_not_is_refused_and_v1_has_its_own_files",
    ),
    (
        "config-linux: Huge page limits",
        "what is reserved is limited where the kernel counts it, else what is used",
        "unit limits.rs: limits_become_files_of_v2",
    ),
    (
        "config-linux: PIDs",
        "0 is a limit, -1 is none",
        "unit limits.rs: limits_become_files_of_v2",
    ),
    (
        "config-linux: Unified",
        "controllers that are needed are turned on, or it is an error",
        "engines/limits: a missing controller is an error",
    ),
    (
        "config-linux: Unified",
        "files that are not known are written all the same",
        "engines/limits: unified files are written",
    ),
    (
        "config-linux: Unified",
        "a setting of v1 that has no counterpart is an error",
        "unit limits.rs: what_v2_has_not_is_refused_and_v1_has_its_own_files",
    ),
    (
        "config-linux: IntelRdt",
        "without resctrl it is an error",
        "cache_allocation_without_resctrl_is_an_error",
    ),
    (
        "config-linux: IntelRdt",
        "the first process is in tasks of the class; without closID that is one of its own",
        "unit rdt.rs: without_a_name_the_class_is_the_containers_own",
    ),
    (
        "config-linux: IntelRdt",
        "closID / is the default class",
        "unit rdt.rs: a_class_that_is_there_must_have_the_same_limits",
    ),
    (
        "config-linux: IntelRdt",
        "l3CacheSchema, memBwSchema, schemata are written in this order, without any nothing is",
        "unit rdt.rs: limits_are_written_with_schemata_last",
    ),
    (
        "config-linux: IntelRdt",
        "a class that is missing is made with its limits; without limits that is an error",
        "unit rdt.rs: a_class_that_is_there_must_have_the_same_limits",
    ),
    (
        "config-linux: IntelRdt",
        "a class that is there must have the same limits",
        "unit rdt.rs: a_class_that_is_there_must_have_the_same_limits",
    ),
    (
        "config-linux: IntelRdt",
        "memBwSchema starts with MB:, no line has a newline",
        "unit rdt.rs: a_class_that_is_there_must_have_the_same_limits",
    ),
    (
        "config-linux: IntelRdt",
        "a class of its own goes with the container, any other stays",
        "unit rdt.rs: without_a_name_the_class_is_the_containers_own",
    ),
    (
        "config-linux: IntelRdt",
        "enableMonitoring makes a group that goes with the container, or it is an error",
        "unit rdt.rs: a_monitoring_group_is_the_containers_own_in_any_class",
    ),
    (
        "config-linux: IntelRdt",
        "without intelRdt no resctrl is touched",
        "cache_allocation_without_resctrl_is_an_error",
    ),
    (
        "config-linux: Sysctl",
        "parameters of own namespaces are set",
        "kernel_parameters_are_set",
    ),
    (
        "config-linux: Seccomp",
        "actions answer as they say",
        "filters_answer_as_they_say",
    ),
    (
        "config-linux: Seccomp",
        "an errno for an action that has none is an error",
        "bad_filters_are_refused",
    ),
    (
        "config-linux: Seccomp",
        "names has at least one entry",
        "bad_filters_are_refused",
    ),
    (
        "config-linux: Seccomp",
        "listenerMetadata needs listenerPath",
        "bad_filters_are_refused",
    ),
    (
        "config-linux: Seccomp",
        "an agent that cannot be reached is an error",
        "bad_filters_are_refused",
    ),
    (
        "config-linux: Container process state",
        "one state a connection, the descriptor with the first message",
        "an_agent_gets_the_state_and_decides",
    ),
    (
        "config-linux: Seccomp",
        "the agent's connection is used once and closed",
        "an_agent_gets_the_state_and_decides",
    ),
    (
        "config-linux: Rootfs propagation",
        "shared, slave, private, unbindable",
        "the_root_has_its_propagation",
    ),
    (
        "config-linux: Masked paths",
        "they cannot be read; they are absolute",
        "paths_are_masked_and_read_only",
    ),
    (
        "config-linux: Readonly paths",
        "they cannot be written; they are absolute",
        "paths_are_masked_and_read_only",
    ),
    (
        "config-linux: Personality",
        "LINUX32 changes what uname says; flags are an error",
        "personalities_are_taken",
    ),
    (
        "config-linux: Memory policy",
        "mode, nodes and flags are set, others are errors",
        "memory_policies_are_set",
    ),
];

#[test]
fn the_default_file_systems_are_there() {
    let mut b = Bundle::new();
    let script = "for p in /proc /dev/pts /dev/shm; do grep \" $p \" /proc/self/mounts | cut -d' ' -f3; done; test -d /sys/class && echo sys";
    assert_eq!(b.output(script), "proc\ndevpts\ntmpfs\nsys");
}

fn own(kind: &str) -> String {
    let file = file_of(kind);
    let link = std::fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
    link.to_str().unwrap().to_owned()
}

fn file_of(kind: &str) -> &str {
    match kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    }
}

#[test]
fn namespaces_are_new_inherited_or_joined() {
    let kinds = ["network", "ipc", "uts", "cgroup", "pid", "mount"];
    let inside =
        |b: &mut Bundle, kind: &str| b.output(&format!("readlink /proc/self/ns/{}", file_of(kind)));
    for kind in kinds {
        let mut b = Bundle::new();
        assert_ne!(inside(&mut b, kind), own(kind), "{kind}");
        if matches!(kind, "mount" | "pid" | "network") {
            continue;
        }
        b.namespace(kind, None);
        b.config.as_object_mut().unwrap().remove("hostname");
        if kind == "ipc" {
            // A queue file system needs a namespace of its own.
            b.config["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|m| m["type"] != "mqueue");
        }
        assert_eq!(inside(&mut b, kind), own(kind), "{kind}");
    }
    // With those of another container.
    let mut first = Bundle::new();
    first.set("/process/args", json!(["sleep", "100"]));
    first.create();
    first.runtime(&["start", "c"]).ok();
    let pid = first.state()["pid"].as_i64().unwrap();
    for kind in ["network", "ipc", "uts", "pid", "cgroup"] {
        let mut second = Bundle::new();
        second.config.as_object_mut().unwrap().remove("hostname");
        second.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|m| m["type"] != "mqueue");
        let user = std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
        if !peer::is_root() {
            // Whoever joins must have rights over them: by being in their user namespace.
            second.namespace("user", Some(&format!("/proc/{pid}/ns/user")));
            assert_ne!(user.to_str().unwrap(), own("user"));
        }
        second.namespace(kind, Some(&format!("/proc/{pid}/ns/{}", file_of(kind))));
        if peer::is_root() {
            let theirs = std::fs::read_link(format!("/proc/{pid}/ns/{}", file_of(kind))).unwrap();
            assert_eq!(
                inside(&mut second, kind),
                theirs.to_str().unwrap(),
                "{kind}"
            );
        }
    }
}

#[test]
fn bad_namespaces_are_refused() {
    let mut b = Bundle::new();
    b.namespace("uts", Some("/proc/self/ns/ipc"));
    b.refused().says("is not a uts namespace");
    b.namespace("uts", Some("proc/self/ns/uts"));
    b.refused().says("not absolute");
    b.namespace("uts", Some("/etc/passwd"));
    b.refused().says("/etc/passwd");
    b.namespace("uts", Some("/nowhere"));
    b.refused().says("/nowhere");
    let mut b = Bundle::new();
    b.set("/linux/namespaces/-", json!({"type": "ipc"}));
    b.refused().says("twice");
}

#[test]
fn user_namespaces_have_the_maps() {
    requires_subids!();
    let mut b = Bundle::new();
    if peer::is_root() {
        b.set("/linux/namespaces/-", json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        b.set("/linux/uidMappings", map.clone());
        b.set("/linux/gidMappings", map);
        for path in ["", "tmp", "mnt"] {
            let path = b.rootfs().join(path);
            nix::unistd::chown(&path, Some(100_000.into()), Some(100_000.into())).unwrap();
        }
        let map = b.output("tr -s ' ' < /proc/self/uid_map; touch /mnt/x; stat -c %u /mnt/x");
        assert_eq!(map, " 0 100000 1000\n0");
        use std::os::unix::fs::MetadataExt as _;
        let made = std::fs::metadata(b.rootfs().join("mnt/x")).unwrap();
        assert_eq!(made.uid(), 100_000);
    } else {
        let map = b.output("tr -s ' ' < /proc/self/uid_map");
        let expected: Vec<String> = b.config["linux"]["uidMappings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| format!(" {} {} {}", m["containerID"], m["hostID"], m["size"]))
            .collect();
        assert_eq!(map, expected.join("\n"));
    }
    b.set("/linux/uidMappings", json!([]));
    b.refused().says("uidMappings");
}

#[test]
fn clocks_have_their_offsets() {
    let mut b = Bundle::new();
    b.set(
        "/linux/timeOffsets",
        json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 86_400}}),
    );
    b.refused().says("time namespace");
    b.set("/linux/namespaces/-", json!({"type": "time"}));
    let inside: f64 = b.output("cut -d' ' -f1 /proc/uptime").parse().unwrap();
    let outside = std::fs::read_to_string("/proc/uptime").unwrap();
    let outside: f64 = outside.split(' ').next().unwrap().parse().unwrap();
    assert!(
        (inside - outside - 1_000_000.0).abs() < 60.0,
        "{inside} {outside}"
    );
    // exec is in the same one.
    b.set("/process/args", json!(["sleep", "100"]));
    b.create();
    b.runtime(&["start", "c"]).ok();
    let time = |args: &[&str]| b.runtime(args).ok();
    let pid = b.state()["pid"].to_string();
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/time"));
    if let Ok(theirs) = theirs {
        let own = time(&["exec", "c", "readlink", "/proc/self/ns/time"]);
        assert_eq!(own, theirs.to_str().unwrap());
    }
    b.set("/linux/timeOffsets", json!({"sundial": {"secs": 1}}));
    b.runtime(&["delete", "--force", "c"]).ok();
    b.refused();
}

#[test]
fn network_devices_move_or_are_refused() {
    let mut b = Bundle::new();
    b.set("/linux/netDevices", json!({"no-such-dev0": {}}));
    b.refused().says("no-such-dev0");
    b.namespace("network", None);
    b.refused().says("network namespace");
    if !peer::is_root() {
        // A plain user has no device to give.
        return;
    }
    let ip = |args: &[&str]| {
        let done = std::process::Command::new("ip")
            .args(args)
            .status()
            .unwrap();
        assert!(done.success(), "ip {args:?}");
    };
    let (first, second) = ("cor-it-a", "cor-it-b");
    ip(&["link", "add", first, "type", "veth", "peer", "name", second]);
    ip(&["addr", "add", "10.99.7.1/24", "dev", first]);
    let mut b = Bundle::new();
    b.set(
        "/linux/netDevices",
        json!({first: {"name": "eth0"}, second: {}}),
    );
    let seen = b.output("ip -o addr show; ip link show");
    // With the namespace the devices go.
    assert!(
        seen.contains("eth0") && seen.contains("10.99.7.1/24"),
        "{seen}"
    );
    assert!(seen.contains(second) && seen.contains("UP"), "{seen}");
    let mut b = Bundle::new();
    ip(&["link", "add", first, "type", "veth", "peer", "name", second]);
    b.set(
        "/linux/netDevices",
        json!({first: {"name": "same"}, second: {"name": "same"}}),
    );
    b.refused().says("cannot be called");
    b.set("/linux/netDevices", json!({first: {"name": "lo"}}));
    b.refused().says(first);
    for bad in ["a%db", "%s", "a/b", "a-name-that-is-too-long%d"] {
        b.set("/linux/netDevices", json!({first: {"name": bad}}));
        b.refused().says("cannot be called");
    }
    // A template gets the lowest number; addresses that do not last or are local do not go along.
    ip(&[
        "addr",
        "add",
        "10.99.7.2/24",
        "valid_lft",
        "1000",
        "preferred_lft",
        "1000",
        "dev",
        first,
    ]);
    ip(&["addr", "add", "10.99.8.1/24", "scope", "link", "dev", first]);
    ip(&["addr", "add", "10.99.9.1/24", "dev", first]);
    b.set(
        "/linux/netDevices",
        json!({first: {"name": "net%d"}, second: {"name": "net%d"}}),
    );
    let seen = b.output("ip -o addr show; ip link show");
    assert!(seen.contains("net0") && seen.contains("net1"), "{seen}");
    assert!(seen.contains("10.99.9.1/24"), "{seen}");
    assert!(
        !seen.contains("10.99.7.2") && !seen.contains("10.99.8.1"),
        "{seen}"
    );
    let left = std::path::Path::new("/sys/class/net").join(first);
    crate::support::peer::wait_for("the namespace's end", || !left.exists());
}

#[test]
fn devices_are_there() {
    let mut b = Bundle::new();
    b.set(
        "/linux/devices",
        json!([{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438}]),
    );
    if !std::path::Path::new("/dev/fuse").exists() {
        b.set("/linux/devices", json!([]));
    }
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; echo x > /dev/null; head -c 2 /dev/zero | wc -c; stat -c %t:%T /dev/fuse";
    assert_eq!(b.output(script), "2\na:e5");
}

#[test]
fn another_file_in_place_of_a_device_is_an_error() {
    let mut b = Bundle::new();
    std::fs::write(b.bundle().join("other"), "").unwrap();
    let mounts = b.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    std::fs::write(b.rootfs().join("dev/null"), "").unwrap();
    b.refused().says("null");
}

#[test]
fn limits_without_a_group_are_refused() {
    let mut b = Bundle::new();
    b.set(
        "/linux/resources",
        json!({"unified": {"nonsense.max": "1"}}),
    );
    b.refused();
    b.set(
        "/linux/resources",
        json!({"memory": {"limit": 5, "swap": 3}}),
    );
    b.refused();
}

#[test]
fn bad_cgroup_paths_are_refused() {
    let mut b = Bundle::new();
    b.set("/linux/cgroupsPath", json!("/a/../../b"));
    b.refused().says("cgroupsPath");
}

#[test]
fn cache_allocation_without_resctrl_is_an_error() {
    let mut b = Bundle::new();
    for asked in [
        json!({}),
        json!({"closID": "x"}),
        json!({"l3CacheSchema": "L3:0=f"}),
        json!({"enableMonitoring": true, "schemata": ["MB:0=10"]}),
    ] {
        b.set("/linux/intelRdt", asked);
        b.refused().says("needs a mounted resctrl");
    }
    // What is wrong in any case is said first.
    b.set("/linux/intelRdt", json!({"memBwSchema": "L3:0=f"}));
    b.refused().says("memBwSchema");
    b.set("/linux/intelRdt", json!(null));
    b.run().ok();
    b.create();
    b.runtime(&["update", "--l3-cache-schema", "L3:0=f", "c"])
        .code(1)
        .says("no class of service");
}

#[test]
fn kernel_parameters_are_set() {
    let mut b = Bundle::new();
    b.set(
        "/linux/sysctl",
        json!({"kernel.msgmax": "9999", "net.ipv4.ip_unprivileged_port_start": "77"}),
    );
    let script = "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(b.output(script), "9999\n77");
    b.set("/linux/sysctl", json!({"vm.swappiness": "1"}));
    b.refused().says("vm.swappiness");
}

fn filter(rules: serde_json::Value) -> serde_json::Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
}

#[test]
fn filters_answer_as_they_say() {
    let mut b = Bundle::new();
    b.set(
        "/linux/seccomp",
        filter(json!([
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["unlink", "unlinkat"], "action": "SCMP_ACT_KILL_PROCESS"},
        ])),
    );
    for nnp in [true, false] {
        b.set("/process/noNewPrivileges", json!(nnp));
        let script = "mkdir /tmp/x 2>&1; rm /tmp/y; echo $?; grep -c . /proc/self/status >/dev/null; grep Seccomp: /proc/self/status | cut -f2";
        b.script(&format!("touch /tmp/y; {script}"));
        let outcome = b.run().code(0);
        assert!(
            outcome.stdout.contains("No space left on device"),
            "{}",
            outcome.stdout
        );
        assert!(outcome.stdout.ends_with("159\n2\n"), "{}", outcome.stdout);
    }
    for flag in [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC",
    ] {
        b.set("/linux/seccomp/flags", json!([flag]));
        b.run().code(0);
    }
    b.set(
        "/linux/seccomp/flags",
        json!(["SECCOMP_FILTER_FLAG_UNKNOWN"]),
    );
    b.refused();
}

#[test]
fn bad_filters_are_refused() {
    let rule = |names: &[&str], action: &str| json!({"names": names, "action": action});
    let mut with_errno = rule(&["mkdir"], "SCMP_ACT_ALLOW");
    with_errno["errnoRet"] = json!(1);
    let mut default = filter(json!([]));
    default["defaultErrnoRet"] = json!(1);
    let mut metadata = filter(json!([]));
    metadata["listenerMetadata"] = json!("x");
    let mut gone = filter(json!([rule(&["mkdir"], "SCMP_ACT_NOTIFY")]));
    let no_path = gone.clone();
    gone["listenerPath"] = json!("/nowhere/agent");
    for (profile, says) in [
        (filter(json!([with_errno])), "errno"),
        (default, "errno"),
        (
            filter(json!([rule(&[], "SCMP_ACT_ERRNO")])),
            "without names",
        ),
        (metadata, "listenerPath"),
        (no_path, "listenerPath"),
        (gone, "agent"),
        (filter(json!([rule(&["sendmsg"], "SCMP_ACT_NOTIFY")])), ""),
    ] {
        let mut b = Bundle::new();
        b.set("/linux/seccomp", profile);
        b.refused().says(says);
    }
}

#[test]
fn an_agent_gets_the_state_and_decides() {
    let mut b = Bundle::new();
    let path = b.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut profile = filter(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]));
    profile["listenerPath"] = json!(path);
    profile["listenerMetadata"] = json!("opaque");
    b.set("/linux/seccomp", profile);
    b.script("mkdir /tmp/asked 2>&1; echo $?");
    b.create();
    let (socket, _) = listener.accept().unwrap();
    b.runtime(&["start", "c"]).ok();
    let (text, mut fds) = coracle::sys::fd::receive(socket.as_fd(), 1 << 16).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "opaque");
    assert_eq!(state["pid"], b.state()["pid"]);
    assert_eq!(state["state"]["id"], "c");
    assert_eq!(fds.len(), 1);
    let agent = fds.pop().unwrap();
    // Nothing more comes, and the connection is closed.
    let (more, _) = coracle::sys::fd::receive(socket.as_fd(), 16).unwrap();
    assert!(more.is_empty());
    // The call waits for an answer; an agent that goes away answers ENOSYS.
    assert!(
        coracle::sys::fd::wait_readable(&agent, Some(std::time::Duration::from_secs(20))).unwrap()
    );
    assert_eq!(b.printed(), "");
    drop(agent);
    b.wait_stopped();
    assert!(
        b.printed().contains("Function not implemented"),
        "{}",
        b.printed()
    );
}

#[test]
fn the_root_has_its_propagation() {
    for (word, has, has_not) in [
        ("shared", "shared:", "unbindable"),
        ("private", "", "shared:"),
        ("unbindable", "unbindable", "shared:"),
        ("slave", "", "shared:"),
    ] {
        let mut b = Bundle::new();
        b.set("/linux/rootfsPropagation", json!(word));
        let line = b.output("grep ' / / \\| /.* / ' /proc/self/mountinfo | head -n 1");
        let left = line.split(" - ").next().unwrap();
        assert!(
            left.contains(has) && !left.contains(has_not),
            "{word}: {line}"
        );
    }
}

#[test]
fn paths_are_masked_and_read_only() {
    let mut b = Bundle::new();
    std::fs::create_dir_all(b.rootfs().join("mnt/secrets")).unwrap();
    std::fs::write(b.rootfs().join("mnt/secrets/one"), "x").unwrap();
    std::fs::write(b.rootfs().join("mnt/file"), "secret").unwrap();
    b.set(
        "/linux/maskedPaths",
        json!(["/mnt/file", "/mnt/secrets", "/mnt/not/there"]),
    );
    b.set("/linux/readonlyPaths", json!(["/tmp", "/not/there"]));
    let script = "cat /mnt/file; ls /mnt/secrets; touch /tmp/x 2>/dev/null || echo read-only; touch /mnt/y && echo writable";
    assert_eq!(b.output(script), "read-only\nwritable");
    for key in ["maskedPaths", "readonlyPaths"] {
        let mut b = Bundle::new();
        b.set(&format!("/linux/{key}"), json!(["mnt"]));
        b.refused().says("not absolute");
    }
}

#[test]
fn personalities_are_taken() {
    let mut b = Bundle::new();
    b.set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_ne!(b.output("uname -m"), std::env::consts::ARCH);
    b.set("/linux/personality", json!({"domain": "LINUX"}));
    assert_eq!(b.output("uname -m"), std::env::consts::ARCH);
    b.set(
        "/linux/personality",
        json!({"domain": "LINUX", "flags": ["X"]}),
    );
    b.refused();
}

#[test]
fn memory_policies_are_set() {
    let mut b = Bundle::new();
    b.set(
        "/linux/memoryPolicy",
        json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
    );
    if std::path::Path::new("/proc/self/numa_maps").exists() {
        assert_ne!(
            b.output("grep -c interleave=static:0 /proc/self/numa_maps"),
            "0"
        );
    } else {
        // A kernel without NUMA says so.
        b.refused().says("memory policy");
    }
    for bad in [
        json!({"mode": "MPOL_X"}),
        json!({"mode": "MPOL_BIND", "nodes": "x"}),
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]}),
    ] {
        b.set("/linux/memoryPolicy", bad);
        b.refused();
    }
}
