//! `coracle runtime features` against features.md and features-linux.md of the runtime
//! specification: each word that it lists is tried in a configuration.

use serde_json::{Value, json};

use crate::support::{Bundle, peer};

/// Section, what must be in our own words, the test that shows it.
pub const MUSTS: &[(&str, &str, &str)] = &[
    (
        "features: Specification version",
        "both ends of the range are versions, and configurations of them run",
        "versions_of_the_range_run",
    ),
    (
        "features: Hooks",
        "each is known in the configuration",
        "each_hook_and_namespace_is_known",
    ),
    (
        "features: Mount options",
        "each is known in the configuration",
        "each_mount_option_is_known",
    ),
    (
        "features: Annotations",
        "a map of strings",
        "versions_of_the_range_run",
    ),
    (
        "features-linux: Namespaces",
        "each is known in the configuration",
        "each_hook_and_namespace_is_known",
    ),
    (
        "features-linux: Capabilities",
        "each is known in the configuration",
        "each_capability_is_known",
    ),
    (
        "features-linux: Seccomp",
        "each action, operator, architecture and flag is known",
        "each_word_of_filters_is_known",
    ),
    (
        "features-linux: Memory policy",
        "each mode and flag is known",
        "each_memory_policy_is_known",
    ),
    (
        "features-linux: Intel RDT, AppArmor, SELinux, net devices, mount extensions",
        "what is said to be there is: the host's lack of it is told, not ours",
        "what_is_said_to_be_there_is",
    ),
];

fn features() -> Value {
    let b = Bundle::new();
    serde_json::from_str(&b.runtime(&["features"]).ok()).unwrap()
}

fn words<'a>(features: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = features.pointer(pointer).unwrap().as_array().unwrap();
    assert!(!list.is_empty(), "{pointer}");
    list.iter().map(|w| w.as_str().unwrap()).collect()
}

#[test]
fn versions_of_the_range_run() {
    let features = features();
    for end in ["ociVersionMin", "ociVersionMax"] {
        let mut b = Bundle::new();
        b.set("/ociVersion", features[end].clone());
        b.run().ok();
    }
    for (key, value) in features["annotations"].as_object().unwrap() {
        assert!(!key.is_empty() && value.is_string(), "{key}");
    }
}

#[test]
fn each_hook_and_namespace_is_known() {
    let features = features();
    for kind in words(&features, "/hooks") {
        let mut b = Bundle::new();
        let mark = b.path().join("mark");
        // The container's own are found in its tree.
        let hook = match kind {
            "startContainer" => {
                json!({"path": "/bin/sh", "args": ["sh", "-c", "echo x > /tmp/mark"], "env": ["PATH=/bin"]})
            }
            _ => json!({"path": "/usr/bin/touch", "args": ["touch", mark]}),
        };
        b.set("/hooks", json!({ kind: [hook] }));
        b.run().ok();
        let mark = match kind {
            "startContainer" => b.rootfs().join("tmp/mark"),
            _ => mark,
        };
        assert!(mark.exists(), "{kind}");
    }
    for kind in words(&features, "/linux/namespaces") {
        let mut b = Bundle::new();
        let there = b.config["linux"]["namespaces"].as_array().unwrap();
        if !there.iter().any(|n| n["type"] == kind) {
            b.set("/linux/namespaces/-", json!({ "type": kind }));
            if kind == "user" {
                let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                b.set("/linux/uidMappings", map.clone());
                b.set("/linux/gidMappings", map);
            }
        }
        b.run().ok();
    }
}

#[test]
fn each_mount_option_is_known() {
    for word in words(&features(), "/mountOptions") {
        let mut b = Bundle::new();
        match word {
            "bind" | "rbind" | "copy" | "nocopy" => {
                b.mount("/mnt", "bind", "/tmp", &["rbind", word])
            }
            "remount" => {
                b.mount("/mnt", "tmpfs", "tmpfs", &[])
                    .mount("/mnt", "tmpfs", "tmpfs", &["remount"])
            }
            "idmap" | "ridmap" => {
                let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
                let mount = json!({
                    "destination": "/mnt", "type": "bind", "source": b.rootfs().join("tmp"),
                    "options": ["rbind", word], "uidMappings": map, "gidMappings": map,
                });
                b.set("/mounts/-", mount)
            }
            _ => b.mount("/mnt", "tmpfs", "tmpfs", &[word]),
        };
        if word.ends_with("idmap") && !peer::is_root() {
            // Known, but the kernel lets only the owner of the file system do it.
            b.refused().says("cannot make the idmapped mount");
            continue;
        }
        let outcome = b.run();
        assert_eq!(outcome.code, 0, "{word}: {}", outcome.stderr);
    }
}

#[test]
fn each_capability_is_known() {
    let features = features();
    let mut b = Bundle::new();
    let all = words(&features, "/linux/capabilities");
    b.set("/process/capabilities", json!({ "bounding": all }));
    let outcome = b.run().code(0);
    assert!(!outcome.stderr.contains("not known"), "{}", outcome.stderr);
}

#[test]
fn each_word_of_filters_is_known() {
    let features = features();
    let rule = |more: Value| {
        let mut rule = json!({"names": ["swapon"], "action": "SCMP_ACT_ERRNO"});
        let map = rule.as_object_mut().unwrap();
        map.extend(more.as_object().unwrap().clone());
        rule
    };
    let run = |profile: Value, word: &str| {
        let mut b = Bundle::new();
        b.set("/linux/seccomp", profile);
        let outcome = b.run();
        assert_eq!(outcome.code, 0, "{word}: {}", outcome.stderr);
    };
    let profile = |rules: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let seccomp = |list: &str| format!("/linux/seccomp/{list}");
    for action in words(&features, &seccomp("actions")) {
        if action == "SCMP_ACT_NOTIFY" {
            // Without an agent it is known, and an error.
            let mut b = Bundle::new();
            b.set(
                "/linux/seccomp",
                profile(json!([rule(json!({ "action": action }))])),
            );
            b.refused().says("listenerPath");
            continue;
        }
        run(profile(json!([rule(json!({ "action": action }))])), action);
    }
    for op in words(&features, &seccomp("operators")) {
        let args = json!([{"index": 0, "value": 1, "valueTwo": 1, "op": op}]);
        run(profile(json!([rule(json!({ "args": args }))])), op);
    }
    for arch in words(&features, &seccomp("archs")) {
        let mut profile = profile(json!([rule(json!({}))]));
        profile["architectures"] = json!([arch]);
        run(profile, arch);
    }
    for flag in words(&features, &seccomp("knownFlags")) {
        let mut profile = profile(json!([rule(json!({}))]));
        profile["flags"] = json!([flag]);
        if flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
            // The kernel takes it with an agent only: seccomp(2).
            let mut b = Bundle::new();
            b.set("/linux/seccomp", profile);
            let outcome = b.run();
            assert!(!outcome.stderr.contains("unknown"), "{}", outcome.stderr);
            continue;
        }
        run(profile, flag);
    }
}

#[test]
fn each_memory_policy_is_known() {
    let features = features();
    let policy = |mode: &str, flags: &[&str]| {
        let mut b = Bundle::new();
        let nodes = match mode {
            "MPOL_DEFAULT" | "MPOL_LOCAL" => "",
            _ => "0",
        };
        b.set(
            "/linux/memoryPolicy",
            json!({"mode": mode, "nodes": nodes, "flags": flags}),
        );
        let outcome = b.run();
        assert!(
            outcome.code == 0 || outcome.stderr.contains("cannot set the memory policy"),
            "{mode} {flags:?}: {}",
            outcome.stderr
        );
    };
    for mode in words(&features, "/linux/memoryPolicy/modes") {
        policy(mode, &[]);
    }
    for flag in words(&features, "/linux/memoryPolicy/flags") {
        policy("MPOL_BIND", &[flag]);
    }
}

#[test]
fn what_is_said_to_be_there_is() {
    let features = features();
    let linux = &features["linux"];
    for pointer in [
        "/intelRdt/enabled",
        "/intelRdt/schemata",
        "/intelRdt/monitoring",
        "/apparmor/enabled",
        "/selinux/enabled",
        "/netDevices/enabled",
        "/mountExtensions/idmap/enabled",
        "/cgroup/v1",
        "/cgroup/v2",
        "/cgroup/systemd",
        "/cgroup/systemdUser",
    ] {
        assert_eq!(linux.pointer(pointer), Some(&json!(true)), "{pointer}");
    }
    // Each of them looks for something of the host's. (Groups are in engines and vm.)
    let refused = |pointer: &str, value: Value, says: &str| {
        let mut b = Bundle::new();
        b.set(pointer, value);
        b.refused().says(says);
    };
    let on = |file: &str| std::path::Path::new(file).exists();
    if !on("/sys/fs/resctrl/schemata") {
        let rdt = json!({"closID": "a", "schemata": ["MB:0=10"], "enableMonitoring": true});
        refused("/linux/intelRdt", rdt, "resctrl");
    }
    if !on("/sys/kernel/security/apparmor") {
        refused("/process/apparmorProfile", json!("x"), "AppArmor");
    }
    if !on("/sys/fs/selinux/enforce") {
        refused("/process/selinuxLabel", json!("x"), "SELinux");
    }
    refused("/linux/netDevices", json!({"nosuch0": {}}), "nosuch0");
}
