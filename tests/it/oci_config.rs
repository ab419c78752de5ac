//! A validation of `coracle runtime` against config.md of the runtime specification. `MUSTS` lists
//! what it demands; `oci_runtime` checks that each line has its test.

use serde_json::json;

use crate::support::Bundle;

/// Section, what must be in our own words, the test that shows it.
pub const MUSTS: &[(&str, &str, &str)] = &[
    (
        "config: Specification version",
        "ociVersion is a semantic version",
        "versions_are_checked",
    ),
    (
        "config: Root",
        "root is there, and its path a directory",
        "the_root_is_a_directory",
    ),
    (
        "config: Root",
        "readonly makes the root read-only inside",
        "a_read_only_root_is_read_only",
    ),
    (
        "config: Mounts",
        "mounts are made in the listed order",
        "mounts_are_made_in_order",
    ),
    (
        "config: Mounts",
        "options mean what mount(8) says",
        "mount_options_take_effect",
    ),
    (
        "config: Linux mount options",
        "every word marked MUST is understood",
        "every_demanded_mount_option_is_understood",
    ),
    (
        "config: Mounts",
        "a relative source starts at the bundle",
        "a_relative_source_starts_at_the_bundle",
    ),
    (
        "config: Mounts",
        "a relative destination starts at the root",
        "a_relative_destination_starts_at_the_root",
    ),
    (
        "config: Linux mount options",
        "r-options are for the whole tree, others for one mount",
        "recursive_options_are_for_the_tree",
    ),
    (
        "config: Linux mount options",
        "propagation words set the propagation",
        "propagation_is_as_the_word_says",
    ),
    (
        "config: Linux mount options",
        "tmpcopyup copies what the tmpfs covers",
        "tmpcopyup_copies_what_is_covered",
    ),
    (
        "config: Linux mount options",
        "idmap shows owners through the map, or is an error",
        "idmapped_mounts_show_other_owners",
    ),
    (
        "config: Linux mount options",
        "idmap and ridmap without any map are an error",
        "idmap_without_a_map_is_an_error",
    ),
    (
        "config: Linux mounts",
        "uidMappings and gidMappings come together",
        "idmapped_mounts_show_other_owners",
    ),
    (
        "config: Process",
        "terminal gives a terminal on 0, 1 and 2",
        "a_terminal_comes_over_the_console_socket",
    ),
    (
        "config: Process",
        "consoleSize is the terminal's size, and ignored without one",
        "a_terminal_comes_over_the_console_socket",
    ),
    (
        "config: Process",
        "cwd is absolute",
        "the_working_directory_is_absolute_and_entered",
    ),
    (
        "config: Process",
        "env is the environment",
        "the_environment_is_that_of_the_configuration",
    ),
    (
        "config: Process",
        "args has at least one entry, looked for as execvp does",
        "programs_are_found_as_execvp_does",
    ),
    (
        "config: POSIX process",
        "rlimits are set; unknown and double ones are errors",
        "rlimits_are_set_or_refused",
    ),
    (
        "config: POSIX process",
        "getrlimit gives the soft and the hard value",
        "rlimits_are_set_or_refused",
    ),
    (
        "config: POSIX process",
        "consoleSize and umask are applied",
        "ids_groups_and_umask_are_set",
    ),
    (
        "config: Linux process",
        "capabilities are those of the five sets",
        "capabilities_are_the_five_sets",
    ),
    (
        "config: Linux process",
        "capabilities that cannot be had are warned of",
        "unknown_capabilities_are_warned_of",
    ),
    (
        "config: Linux process",
        "noNewPrivileges sets the flag",
        "no_new_privileges_is_set",
    ),
    (
        "config: Linux process",
        "oomScoreAdj is set if given, and else untouched",
        "the_oom_score_is_set_or_untouched",
    ),
    (
        "config: Linux process",
        "scheduler sets the policy",
        "scheduler_and_io_priority_are_set",
    ),
    (
        "config: Linux process",
        "ioPriority sets class and level",
        "scheduler_and_io_priority_are_set",
    ),
    (
        "config: Linux process",
        "execCPUAffinity is for exec, not for the first process",
        "exec_has_its_own_processors",
    ),
    (
        "config: User",
        "uid, gid and additionalGids are those inside",
        "ids_groups_and_umask_are_set",
    ),
    (
        "config: Hostname",
        "hostname is seen inside",
        "names_need_a_uts_namespace",
    ),
    (
        "config: Domainname",
        "domainname is seen inside",
        "names_need_a_uts_namespace",
    ),
    (
        "config: Hooks",
        "the paths are absolute, timeouts more than zero",
        "bad_hooks_are_refused",
    ),
    (
        "config: Hooks",
        "the state is on standard input",
        "hooks_know_the_container",
    ),
    (
        "config: Hooks",
        "they run in the listed order",
        "hooks_run_in_order_at_their_time",
    ),
    (
        "config: Hooks",
        "one that takes longer than its timeout is aborted",
        "bad_hooks_are_refused",
    ),
    (
        "config: Prestart",
        "after the environment, before the program, in the runtime's namespaces",
        "hooks_are_where_they_should_be",
    ),
    (
        "config: Prestart",
        "before the createRuntime hooks",
        "hooks_run_in_order_at_their_time",
    ),
    (
        "config: CreateRuntime",
        "at create, before the root is changed, in the runtime's namespaces",
        "hooks_are_where_they_should_be",
    ),
    (
        "config: CreateContainer",
        "at create, path of the runtime's, run in the container's namespaces",
        "hooks_are_where_they_should_be",
    ),
    (
        "config: CreateContainer",
        "after the createRuntime hooks",
        "hooks_run_in_order_at_their_time",
    ),
    (
        "config: StartContainer",
        "at start, path and namespaces of the container's",
        "hooks_are_where_they_should_be",
    ),
    (
        "config: Poststart",
        "after the program, in the runtime's namespaces",
        "hooks_are_where_they_should_be",
    ),
    (
        "config: Poststart",
        "before start returns",
        "hooks_run_in_order_at_their_time",
    ),
    (
        "config: Poststop",
        "after the container is gone, in the runtime's namespaces",
        "hooks_are_where_they_should_be",
    ),
    (
        "config: Poststop",
        "before delete returns",
        "hooks_run_in_order_at_their_time",
    ),
    (
        "config: Annotations",
        "keys are not empty; unknown ones are no error",
        "annotations_have_keys",
    ),
    (
        "config: Annotations",
        "a map of strings; anything else is an error",
        "annotations_have_keys",
    ),
    (
        "config: Extensibility",
        "unknown properties are no error",
        "unknown_properties_are_ignored",
    ),
    (
        "config: Valid values",
        "values that are not valid are errors",
        "values_that_are_not_valid_are_errors",
    ),
];

#[test]
fn versions_are_checked() {
    let mut b = Bundle::new();
    for bad in [
        json!(""),
        json!("1"),
        json!("1.x.0"),
        json!("2.0.0"),
        json!(1),
    ] {
        b.set("/ociVersion", bad);
        b.refused();
    }
    for good in ["1.0.0", "1.0.2-dev", "1.3.0"] {
        b.set("/ociVersion", json!(good));
        b.run().ok();
    }
}

#[test]
fn the_root_is_a_directory() {
    let mut b = Bundle::new();
    b.set("/root/path", json!("nothing"));
    b.refused().says("nothing");
    b.set("/root/path", json!("config.json"));
    b.refused().says("no directory");
    b.config.as_object_mut().unwrap().remove("root");
    b.refused().says("root");
    let absolute = b.rootfs().to_str().unwrap().to_owned();
    b.set("/root", json!({"path": absolute}));
    b.run().ok();
}

#[test]
fn a_read_only_root_is_read_only() {
    let mut b = Bundle::new();
    assert_eq!(b.output("touch /tmp/x && echo yes"), "yes");
    b.set("/root/readonly", json!(true));
    assert_eq!(b.output("touch /tmp/y || echo no"), "no");
}

#[test]
fn mounts_are_made_in_order() {
    let mut b = Bundle::new();
    b.mount("/mnt", "tmpfs", "tmpfs", &[])
        .mount("/mnt/below", "tmpfs", "tmpfs", &["size=64k"]);
    let script = "grep ' /mnt' /proc/self/mounts | cut -d' ' -f2 | tr '\\n' ' '";
    assert_eq!(b.output(script), "/mnt /mnt/below ");
    // The other way round the first one is covered.
    let mounts = b.config["mounts"].as_array_mut().unwrap();
    let last = mounts.len() - 1;
    mounts.swap(last - 1, last);
    assert_eq!(b.output("ls -A /mnt"), "");
}

#[test]
fn mount_options_take_effect() {
    let options = |b: &mut Bundle| {
        let line = b.output("grep ' /mnt ' /proc/self/mounts | tail -n 1");
        line.split(' ').nth(3).unwrap().to_owned()
    };
    for (given, has) in [
        (vec!["ro"], "ro"),
        (vec!["nosuid"], "nosuid"),
        (vec!["nodev"], "nodev"),
        (vec!["noexec"], "noexec"),
        (vec!["noatime"], "noatime"),
        (vec!["nodiratime"], "nodiratime"),
        (vec!["nosymfollow"], "nosymfollow"),
        (vec!["strictatime", "nosuid"], "nosuid"),
        (vec!["sync"], "sync"),
        (vec!["size=64k"], "size=64k"),
        (vec!["mode=700"], "mode=700"),
        (vec!["defaults", "async", "silent", "loud"], "rw"),
    ] {
        let mut b = Bundle::new();
        b.mount("/mnt", "tmpfs", "tmpfs", &given);
        let found = options(&mut b);
        assert!(found.split(',').any(|o| o == has), "{given:?}: {found}");
    }
    // The later of two opposites counts.
    let mut b = Bundle::new();
    b.mount(
        "/mnt",
        "tmpfs",
        "tmpfs",
        &["ro", "nosuid", "noexec", "rw", "suid", "exec"],
    );
    let found = options(&mut b);
    assert!(found.starts_with("rw") && !found.contains("nosuid") && !found.contains("noexec"));
    // And what is mounted can be changed afterwards.
    let mut b = Bundle::new();
    b.mount("/mnt", "tmpfs", "tmpfs", &[])
        .mount("/mnt", "none", "", &["bind", "remount", "ro"]);
    assert!(options(&mut b).starts_with("ro"));
    let mut b = Bundle::new();
    b.mount("/mnt", "tmpfs", "tmpfs", &["no-such-option"]);
    b.refused().says("/mnt");
    let mut b = Bundle::new();
    b.mount("/mnt", "nosuchfs", "x", &[]);
    b.refused().says("/mnt");
}

#[test]
fn every_demanded_mount_option_is_understood() {
    // The table's words with MUST in the second column.
    for word in [
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "lazytime",
        "loud",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "private",
        "rbind",
        "relatime",
        "remount",
        "ro",
        "rprivate",
        "rshared",
        "rslave",
        "runbindable",
        "rw",
        "shared",
        "silent",
        "slave",
        "strictatime",
        "suid",
        "sync",
        "unbindable",
    ] {
        let mut b = Bundle::new();
        match word {
            "bind" | "rbind" => b.mount("/mnt", "none", "/tmp", &[word]),
            "remount" => b.mount("/mnt", "tmpfs", "tmpfs", &[]).mount(
                "/mnt",
                "tmpfs",
                "tmpfs",
                &["remount", "rw"],
            ),
            _ => b.mount("/mnt", "tmpfs", "tmpfs", &[word]),
        };
        b.set("/process/args", json!(["true"]));
        b.run().ok();
    }
}

#[test]
fn idmap_without_a_map_is_an_error() {
    for word in ["idmap", "ridmap"] {
        let mut b = Bundle::new();
        b.mount("/mnt", "none", "/tmp", &["rbind", word]);
        b.refused().says("neither it nor the container has a map");
    }
}

#[test]
fn a_relative_source_starts_at_the_bundle() {
    let mut b = Bundle::new();
    std::fs::create_dir(b.bundle().join("data")).unwrap();
    std::fs::write(b.bundle().join("data/file"), "here").unwrap();
    b.mount("/mnt", "none", "data", &["bind"]);
    assert_eq!(b.output("cat /mnt/file"), "here");
}

#[test]
fn a_relative_destination_starts_at_the_root() {
    let mut b = Bundle::new();
    b.mount("mnt/new", "tmpfs", "tmpfs", &["size=64k"]);
    assert_eq!(b.output("grep -c ' /mnt/new ' /proc/self/mounts"), "1");
}

/// A bind of /proc as the container sees it: one mount with others below it is at hand everywhere.
fn tree(options: &[&str]) -> (String, String) {
    let mut b = Bundle::new();
    // Under a tmpfs of the host's there is none: the runtime's own /sys has mounts below it.
    b.mount("/mnt", "bind", "/sys", options);
    b.script("cat /proc/self/mounts");
    let all = b.run().ok();
    let of = |wanted: &dyn Fn(&str) -> bool| {
        let line = all.lines().find(|l| wanted(l.split(' ').nth(1).unwrap()));
        line.map(|l| l.split(' ').nth(3).unwrap().to_owned())
    };
    let top = of(&|at| at == "/mnt").unwrap();
    let below = of(&|at| at.starts_with("/mnt/")).expect("a mount below /sys");
    (top, below)
}

#[test]
fn recursive_options_are_for_the_tree() {
    let has = |list: &str, word: &str| list.split(',').any(|w| w == word);
    let plain = tree(&["rbind"]).1;
    let (top, below) = tree(&["rbind", "ro", "nosymfollow"]);
    assert!(has(&top, "ro") && has(&top, "nosymfollow"));
    assert_eq!(has(&below, "ro"), has(&plain, "ro"));
    assert!(!has(&below, "nosymfollow"), "{below}");
    for (word, attribute) in [
        ("rro", "ro"),
        ("rnodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
    ] {
        if word == "rnodiratime" && !crate::support::peer::is_root() {
            // Access times of mounts that belong to somebody else are locked.
            continue;
        }
        let (top, below) = tree(&["rbind", word]);
        assert!(
            has(&top, attribute) && has(&below, attribute),
            "{word}: {top} {below}"
        );
    }
}

#[test]
fn propagation_is_as_the_word_says() {
    for (word, field) in [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        let mut b = Bundle::new();
        b.mount("/mnt", "bind", "/tmp", &["bind", word]);
        let line = b.output("grep ' /mnt ' /proc/self/mountinfo");
        let fields: Vec<&str> = line
            .split(" - ")
            .next()
            .unwrap()
            .split(' ')
            .skip(6)
            .collect();
        let found = fields.join(" ");
        assert!(
            if field.is_empty() {
                !found.contains("shared:")
            } else {
                found.contains(field)
            },
            "{word}: {line}"
        );
    }
}

#[test]
fn tmpcopyup_copies_what_is_covered() {
    let mut b = Bundle::new();
    std::fs::write(b.rootfs().join("mnt/file"), "old").unwrap();
    b.mount("/mnt", "tmpfs", "tmpfs", &["tmpcopyup"]);
    assert_eq!(b.output("cat /mnt/file; echo new > /mnt/file"), "old");
    let outside = std::fs::read_to_string(b.rootfs().join("mnt/file")).unwrap();
    assert_eq!(outside, "old");
}

#[test]
fn idmapped_mounts_show_other_owners() {
    let mut b = Bundle::new();
    let map = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
    let mount = json!({
        "destination": "/mnt", "type": "bind", "source": b.rootfs(),
        "options": ["bind"], "uidMappings": map, "gidMappings": map,
    });
    b.set("/mounts/-", mount.clone());
    if crate::support::peer::is_root() {
        assert_eq!(b.output("stat -c %u:%g /mnt"), "5:5");
    } else {
        // The kernel lets only the owner of the file system do that.
        b.refused().says("/mnt");
    }
    let last = b.config["mounts"].as_array().unwrap().len() - 1;
    b.config["mounts"][last]
        .as_object_mut()
        .unwrap()
        .remove("gidMappings");
    b.refused().says("not both");
}

#[test]
fn the_working_directory_is_absolute_and_entered() {
    let mut b = Bundle::new();
    b.set("/process/cwd", json!("/mnt/made/here"));
    assert_eq!(b.output("pwd"), "/mnt/made/here");
    for bad in ["mnt", ""] {
        b.set("/process/cwd", json!(bad));
        b.refused().says("absolute");
    }
}

#[test]
fn the_environment_is_that_of_the_configuration() {
    let mut b = Bundle::new();
    b.set("/process/env", json!(["A=b c", "PATH=/bin", "EMPTY="]));
    b.set("/process/args", json!(["env"]));
    assert_eq!(b.run().ok(), "A=b c\nPATH=/bin\nEMPTY=");
}

#[test]
fn programs_are_found_as_execvp_does() {
    let mut b = Bundle::new();
    b.set("/process/args", json!([]));
    b.refused().says("process.args");
    b.set("/process/args", json!(["nosuchprogram"]));
    b.refused().says("executable file not found in $PATH");
    b.set("/process/args", json!(["/bin"]));
    b.refused();
    b.set("/process/env", json!(["PATH=/nowhere:/bin"]));
    b.set("/process/args", json!(["echo", "found"]));
    assert_eq!(b.run().ok(), "found");
    b.set("/process/cwd", json!("/bin"));
    b.set("/process/args", json!(["./echo", "here"]));
    assert_eq!(b.run().ok(), "here");
}

#[test]
fn rlimits_are_set_or_refused() {
    let mut b = Bundle::new();
    let limit = |kind: &str| json!({"type": kind, "soft": 100, "hard": 200});
    b.set(
        "/process/rlimits",
        json!([limit("RLIMIT_NOFILE"), limit("RLIMIT_SIGPENDING")]),
    );
    let text = b.output("grep -E 'open files|pending signals' /proc/self/limits");
    for line in text.lines() {
        assert!(line.contains(" 100 ") && line.contains(" 200 "), "{line}");
    }
    b.set(
        "/process/rlimits",
        json!([limit("RLIMIT_NOFILE"), limit("RLIMIT_NOFILE")]),
    );
    b.refused().says("twice");
    b.set("/process/rlimits", json!([limit("RLIMIT_UNKNOWN")]));
    b.refused().says("RLIMIT_UNKNOWN");
}

#[test]
fn ids_groups_and_umask_are_set() {
    requires_subids!();
    let mut b = Bundle::new();
    b.set(
        "/process/user",
        json!({"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 63}),
    );
    let text = b.output("grep -E '^(Uid|Gid|Groups|Umask):' /proc/self/status | tr -s '\\t ' ' '");
    assert_eq!(
        text,
        "Umask: 0077\nUid: 7 7 7 7\nGid: 8 8 8 8\nGroups: 9 10 "
    );
}

#[test]
fn capabilities_are_the_five_sets() {
    let mut b = Bundle::new();
    let caps = |names: &[&str]| json!(names);
    b.set(
        "/process/capabilities",
        json!({
            "bounding": caps(&["CAP_CHOWN", "CAP_KILL"]),
            "permitted": caps(&["CAP_CHOWN", "CAP_KILL"]),
            "effective": caps(&["CAP_CHOWN"]),
            "inheritable": caps(&["CAP_KILL"]),
            "ambient": caps(&["CAP_KILL"]),
        }),
    );
    b.set("/process/user", json!({"uid": 0, "gid": 0}));
    let text = b.output("grep -E '^Cap(Inh|Bnd|Amb):' /proc/self/status | tr -s '\\t ' ' '");
    assert_eq!(
        text,
        "CapInh: 0000000000000020\nCapBnd: 0000000000000021\nCapAmb: 0000000000000020"
    );
    requires_subids!();
    // Over execve another user than root has the ambient ones only.
    b.set("/process/user", json!({"uid": 7, "gid": 7}));
    let text = b.output("grep -E '^Cap(Prm|Eff):' /proc/self/status | tr -s '\\t ' ' '");
    assert_eq!(text, "CapPrm: 0000000000000020\nCapEff: 0000000000000020");
}

#[test]
fn unknown_capabilities_are_warned_of() {
    let mut b = Bundle::new();
    b.set(
        "/process/capabilities/bounding",
        json!(["CAP_KILL", "CAP_FLYING"]),
    );
    let outcome = b.run().code(0);
    outcome.says("CAP_FLYING");
}

#[test]
fn no_new_privileges_is_set() {
    let mut b = Bundle::new();
    for (value, text) in [(true, "1"), (false, "0")] {
        b.set("/process/noNewPrivileges", json!(value));
        assert_eq!(
            b.output("grep NoNewPrivs /proc/self/status | cut -f2"),
            text
        );
    }
}

#[test]
fn the_oom_score_is_set_or_untouched() {
    let mut b = Bundle::new();
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(b.output("cat /proc/self/oom_score_adj"), own.trim());
    b.set("/process/oomScoreAdj", json!(777));
    assert_eq!(b.output("cat /proc/self/oom_score_adj"), "777");
    b.set("/process/oomScoreAdj", json!(1001));
    b.refused().says("oomScoreAdj");
}

#[test]
fn scheduler_and_io_priority_are_set() {
    let mut b = Bundle::new();
    b.set(
        "/process/scheduler",
        json!({"policy": "SCHED_BATCH", "nice": 7}),
    );
    b.set(
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}),
    );
    b.set("/process/args", json!(["sleep", "100"]));
    b.create();
    b.runtime(&["start", "c"]).ok();
    let pid = b.state()["pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // Fields 19 (nice) and 41 (policy) of proc_pid_stat(5).
    assert_eq!((fields[16], fields[38]), ("7", "3"));
    let said = std::process::Command::new("ionice")
        .args(["-p", &pid.to_string()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "idle");
    for bad in [
        json!({"policy": "SCHED_UNKNOWN"}),
        json!({"policy": "SCHED_OTHER", "priority": 3}),
        json!({"policy": "SCHED_OTHER", "runtime": 3}),
        json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UNKNOWN"]}),
    ] {
        let mut b = Bundle::new();
        b.set("/process/scheduler", bad);
        b.refused();
    }
    for bad in [
        json!({"class": "X", "priority": 0}),
        json!({"class": "IOPRIO_CLASS_BE", "priority": 9}),
    ] {
        let mut b = Bundle::new();
        b.set("/process/ioPriority", bad);
        b.refused();
    }
}

#[test]
fn exec_has_its_own_processors() {
    let mut b = Bundle::new();
    b.set(
        "/process/execCPUAffinity",
        json!({"initial": "0", "final": "0"}),
    );
    b.set("/process/args", json!(["sleep", "100"]));
    b.create();
    b.runtime(&["start", "c"]).ok();
    let allowed = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        let line = text
            .lines()
            .find(|l| l.starts_with("Cpus_allowed_list:"))
            .unwrap()
            .to_owned();
        line.split('\t').nth(1).unwrap().to_owned()
    };
    let first = allowed(&format!("/proc/{}/status", b.state()["pid"]));
    assert_eq!(first, allowed("/proc/self/status"));
    let script = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    assert_eq!(b.runtime(&["exec", "c", "sh", "-c", script]).ok(), "0");
    let mut b = Bundle::new();
    b.set("/process/execCPUAffinity", json!({"initial": "nine"}));
    b.refused();
}

#[test]
fn names_need_a_uts_namespace() {
    let mut b = Bundle::new();
    b.set("/hostname", json!("inside"));
    b.set("/domainname", json!("example"));
    let script = "hostname; cat /proc/sys/kernel/domainname";
    assert_eq!(b.output(script), "inside\nexample");
    b.namespace("uts", None);
    b.refused().says("UTS namespace");
}

#[test]
fn a_terminal_comes_over_the_console_socket() {
    use std::os::fd::AsFd as _;
    let mut b = Bundle::new();
    b.set("/process/terminal", json!(true));
    b.refused().says("console socket");
    b.set("/process/consoleSize", json!({"height": 33, "width": 44}));
    b.script("tty; stty size; readlink /proc/self/fd/2; test -c /dev/console && echo console");
    b.write();
    let path = b.path().join("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    b.runtime(&["create", "--console-socket", path.to_str().unwrap(), "c"])
        .ok();
    let (socket, _) = listener.accept().unwrap();
    let (_, mut fds) = coracle::sys::fd::receive(socket.as_fd(), 4096).unwrap();
    let master = fds.pop().unwrap();
    b.runtime(&["start", "c"]).ok();
    b.wait_stopped();
    let mut text = Vec::new();
    // The other end is closed: EIO ends what was printed.
    drop(std::io::Read::read_to_end(
        &mut std::fs::File::from(master),
        &mut text,
    ));
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text, "/dev/pts/0\r\n33 44\r\n/dev/pts/0\r\nconsole\r\n");
    // Without a terminal the size is ignored, and a socket refused.
    let mut b = Bundle::new();
    b.set("/process/consoleSize", json!({"height": 33, "width": 44}));
    b.run().ok();
    let path = path.to_str().unwrap().to_owned();
    b.runtime(&["create", "--console-socket", &path, "d"])
        .code(1);
}

#[test]
fn annotations_have_keys() {
    let mut b = Bundle::new();
    b.set("/annotations", json!({"org.example.unknown": "x"}));
    b.run().ok();
    b.set("/annotations", json!({"": "x"}));
    b.refused();
    b.set("/annotations", json!({"key": 5}));
    b.refused();
    b.set("/annotations", json!(["key"]));
    b.refused();
    b.set("/annotations", json!({"empty": ""}));
    b.run().ok();
}

#[test]
fn unknown_properties_are_ignored() {
    let mut b = Bundle::new();
    b.set("/future", json!({"a": [1]}));
    b.set("/process/future", json!(true));
    b.set("/linux/future", json!("x"));
    b.set("/windows", json!({"layerFolders": []}));
    b.run().ok();
}

#[test]
fn values_that_are_not_valid_are_errors() {
    for (pointer, value) in [
        ("/process/args", json!("sh")),
        ("/process/user/uid", json!(-1)),
        ("/mounts", json!({"a": 1})),
        ("/linux/namespaces/-", json!({"type": "mood"})),
        ("/linux/rootfsPropagation", json!("sideways")),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_DANCE"})),
        ("/linux/personality", json!({"domain": "PLAN9"})),
    ] {
        let mut b = Bundle::new();
        b.set(pointer, value);
        b.refused();
    }
}
