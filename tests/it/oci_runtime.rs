//! A validation of `coracle runtime` against the runtime specification: runtime.md and
//! runtime-linux.md. `MUSTS` lists what they demand, section by section; the tables of config.md and
//! config-linux.md are in `oci_config` and `oci_linux`, that of features.md and features-linux.md is in
//! `oci_features`, and all four are checked here. They were compared with the text of version 1.3;
//! where 1.2 says otherwise (a poststart hook that fails is a warning there) 1.3 counts.

use serde_json::json;

use crate::support::Bundle;

/// Section, what must be in our own words, the test that shows it.
pub const MUSTS: &[(&str, &str, &str)] = &[
    (
        "runtime: Scope",
        "who creates can use all operations on the container",
        "a_life_has_all_its_stations",
    ),
    (
        "runtime: State",
        "it has version, id, status, pid and bundle in the pattern's names",
        "the_state_has_every_field",
    ),
    (
        "runtime: State",
        "pid is the first process as the host counts",
        "the_state_has_every_field",
    ),
    (
        "runtime: State",
        "an id is unique among all containers",
        "an_id_is_taken_once",
    ),
    (
        "runtime: State",
        "further status words mean further states only",
        "a_life_has_all_its_stations",
    ),
    (
        "runtime: State",
        "annotations are those of the configuration",
        "the_state_has_every_field",
    ),
    (
        "runtime: Lifecycle 2",
        "an environment that cannot be made is an error",
        "what_fails_leaves_nothing",
    ),
    (
        "runtime: Lifecycle 2",
        "the program does not run at create",
        "create_runs_nothing_of_the_users",
    ),
    (
        "runtime: Lifecycle 2",
        "changes of config.json afterwards change nothing",
        "later_changes_of_the_bundle_do_nothing",
    ),
    (
        "runtime: Lifecycle 3-5",
        "prestart, createRuntime, createContainer run at create, in this order",
        "hooks_run_in_order_at_their_time",
    ),
    (
        "runtime: Lifecycle 3-5",
        "one that fails is an error and the container is torn down",
        "a_hook_that_fails_ends_the_container",
    ),
    (
        "runtime: Lifecycle 7",
        "startContainer runs at start; failing ends the container",
        "a_hook_that_fails_ends_the_container",
    ),
    (
        "runtime: Lifecycle 8",
        "start runs the program",
        "a_life_has_all_its_stations",
    ),
    (
        "runtime: Lifecycle 9",
        "poststart runs after the program started, before start returns",
        "hooks_run_in_order_at_their_time",
    ),
    (
        "runtime: Lifecycle 12",
        "delete undoes what create did",
        "delete_undoes_create_and_nothing_else",
    ),
    (
        "runtime: Lifecycle 13",
        "poststop runs at delete; failures are told and change nothing",
        "poststop_failures_are_warnings",
    ),
    (
        "runtime: Errors",
        "a failed operation leaves all as it was",
        "what_fails_leaves_nothing",
    ),
    (
        "runtime: Warnings",
        "a warning changes nothing of what goes on",
        "poststop_failures_are_warnings",
    ),
    (
        "runtime: Operations",
        "state create start kill delete are there",
        "a_life_has_all_its_stations",
    ),
    (
        "runtime: Query State",
        "without an id, or of none, it is an error",
        "operations_need_an_existing_container",
    ),
    (
        "runtime: Query State",
        "it returns the state",
        "the_state_has_every_field",
    ),
    (
        "runtime: Create",
        "without an id, or with a bad bundle, it is an error",
        "create_needs_an_id_and_a_bundle",
    ),
    (
        "runtime: Create",
        "an id that is taken or not valid is an error and makes nothing",
        "an_id_is_taken_once",
    ),
    (
        "runtime: Create",
        "the container is made, the program does not run, status is created",
        "create_runs_nothing_of_the_users",
    ),
    (
        "runtime: Start",
        "without an id, or of none, it is an error",
        "operations_need_an_existing_container",
    ),
    (
        "runtime: Start",
        "one that is not created is left alone, with an error",
        "only_created_containers_start",
    ),
    (
        "runtime: Start",
        "the program runs, status is running",
        "a_life_has_all_its_stations",
    ),
    (
        "runtime: Start",
        "a configuration without process is an error",
        "a_configuration_needs_a_process",
    ),
    (
        "runtime: Kill",
        "without an id, or of none, it is an error",
        "operations_need_an_existing_container",
    ),
    (
        "runtime: Kill",
        "one that is neither created nor running is an error",
        "a_stopped_container_takes_no_signal",
    ),
    (
        "runtime: Kill",
        "the signal arrives at the process",
        "the_signal_named_arrives",
    ),
    (
        "runtime: Kill",
        "a process that ended makes status stopped",
        "a_life_has_all_its_stations",
    ),
    (
        "runtime: Delete",
        "without an id, or of none, it is an error",
        "operations_need_an_existing_container",
    ),
    (
        "runtime: Delete",
        "one that is not stopped is left alone, with an error",
        "only_stopped_containers_are_deleted",
    ),
    (
        "runtime: Delete",
        "what create made goes, what it did not make stays",
        "delete_undoes_create_and_nothing_else",
    ),
    (
        "runtime-linux: File descriptors",
        "only 0, 1, 2 and those asked for are open",
        "only_the_descriptors_asked_for_are_open",
    ),
    (
        "runtime-linux: Dev symbolic links",
        "fd, stdin, stdout, stderr are links into /proc/self/fd",
        "dev_has_its_links",
    ),
];

#[test]
fn every_must_names_a_test_that_exists() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let texts: String = [
        "it/oci_runtime.rs",
        "it/oci_config.rs",
        "it/oci_linux.rs",
        "it/oci_hooks.rs",
        "it/oci_features.rs",
    ]
    .iter()
    .map(|file| std::fs::read_to_string(format!("{folder}/{file}")).unwrap())
    .collect();
    let scripts = std::fs::read_to_string(format!("{folder}/engines/limits")).unwrap();
    let unit = |file: &str, test: &str| {
        let path = format!("{folder}/../src/operations/ociruntime/{file}");
        let text = std::fs::read_to_string(path).unwrap();
        text.contains(&format!("    #[test]\n    fn {test}()"))
    };
    let tables = [
        MUSTS,
        crate::oci_config::MUSTS,
        crate::oci_linux::MUSTS,
        crate::oci_features::MUSTS,
    ];
    for (section, sentence, test) in tables.into_iter().flatten() {
        let there = match test.split_once(": ") {
            Some(("engines/limits", part)) => scripts.contains(&format!("step \"{part}\"")),
            Some((place, test)) => unit(place.strip_prefix("unit ").unwrap(), test),
            None => texts.contains(&format!("#[test]\nfn {test}()")),
        };
        assert!(there, "{section}: {sentence}: no {test}");
    }
}

#[test]
fn a_life_has_all_its_stations() {
    let mut b = Bundle::new();
    b.script("trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done");
    b.create();
    assert_eq!(b.status(), "created");
    b.runtime(&["start", "c"]).ok();
    assert_eq!(b.status(), "running");
    crate::support::peer::wait_for("the trap", || b.printed() == "up\n");
    b.runtime(&["kill", "c", "TERM"]).ok();
    b.wait_stopped();
    b.runtime(&["delete", "c"]).ok();
    b.runtime(&["state", "c"])
        .code(1)
        .says("container does not exist");
}

#[test]
fn the_state_has_every_field() {
    let mut b = Bundle::new();
    b.set("/annotations", json!({"a.b": "c"}));
    b.set("/process/args", json!(["sleep", "100"]));
    b.create();
    b.runtime(&["start", "c"]).ok();
    let state = b.state();
    assert_eq!(state["ociVersion"], "1.2.0");
    assert_eq!(state["id"], "c");
    assert_eq!(state["bundle"], b.bundle().to_str().unwrap());
    assert_eq!(state["annotations"]["a.b"], "c");
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", state["pid"])).unwrap();
    assert_eq!(comm, "sleep\n");
}

#[test]
fn an_id_is_taken_once() {
    let b = Bundle::new();
    b.create();
    let pid = b.state()["pid"].clone();
    b.runtime(&["create", "c"]).code(1).says("already exists");
    assert_eq!(b.state()["pid"], pid);
    for bad in ["a/b", "..", "x y", ""] {
        b.runtime(&["create", bad]).code(1);
    }
    assert_eq!(b.runtime(&["list", "-q"]).ok(), "c");
}

#[test]
fn create_runs_nothing_of_the_users() {
    let mut b = Bundle::new();
    b.script("echo ran");
    b.create();
    assert_eq!((b.status().as_str(), b.printed().as_str()), ("created", ""));
    b.runtime(&["start", "c"]).ok();
    b.wait_stopped();
    assert_eq!(b.printed(), "ran\n");
}

#[test]
fn later_changes_of_the_bundle_do_nothing() {
    let mut b = Bundle::new();
    b.script("echo first");
    b.create();
    b.set("/annotations", json!({"late": "yes"}));
    b.script("echo second");
    b.write();
    b.runtime(&["start", "c"]).ok();
    b.wait_stopped();
    assert_eq!(b.printed(), "first\n");
    assert!(b.state().get("annotations").is_none());
}

#[test]
fn what_fails_leaves_nothing() {
    let mut b = Bundle::new();
    b.mount("/mnt", "bind", "/nowhere/at/all", &["rbind"]);
    b.refused().says("/nowhere/at/all");
    assert_eq!(b.runtime(&["list", "-q"]).ok(), "");
    // The same id can be used at once.
    b.config["mounts"].as_array_mut().unwrap().pop();
    b.create();
}

#[test]
fn operations_need_an_existing_container() {
    let b = Bundle::new();
    for verb in ["state", "start", "kill", "delete"] {
        b.runtime(&[verb]).code(1);
        b.runtime(&[verb, "none"])
            .code(1)
            .says("container does not exist");
    }
    b.runtime(&["delete", "--force", "none"]).ok();
}

#[test]
fn create_needs_an_id_and_a_bundle() {
    let b = Bundle::new();
    b.runtime(&["create"]).code(1);
    // No config.json yet.
    b.runtime(&["create", "c"]).code(1).says("config.json");
    b.runtime(&["create", "--bundle", "/nowhere", "c"]).code(1);
    std::fs::write(b.bundle().join("config.json"), "{").unwrap();
    b.runtime(&["create", "c"]).code(1).says("not valid");
}

#[test]
fn only_created_containers_start() {
    let mut b = Bundle::new();
    b.set("/process/args", json!(["sleep", "100"]));
    b.create();
    b.runtime(&["start", "c"]).ok();
    let pid = b.state()["pid"].clone();
    b.runtime(&["start", "c"]).code(1).says("already running");
    assert_eq!((b.status().as_str(), &b.state()["pid"]), ("running", &pid));
    b.runtime(&["kill", "c", "KILL"]).ok();
    b.wait_stopped();
    b.runtime(&["start", "c"]).code(1).says("stopped");
}

#[test]
fn a_configuration_needs_a_process() {
    let mut b = Bundle::new();
    b.config.as_object_mut().unwrap().remove("process");
    b.refused().says("process");
}

#[test]
fn a_stopped_container_takes_no_signal() {
    let b = Bundle::new();
    b.create();
    // A created one does.
    b.runtime(&["kill", "c", "KILL"]).ok();
    b.wait_stopped();
    b.runtime(&["kill", "c", "TERM"])
        .code(1)
        .says("container not running");
    b.runtime(&["kill", "c", "NONSENSE"]).code(1);
}

#[test]
fn the_signal_named_arrives() {
    let mut b = Bundle::new();
    b.script("for s in USR1 HUP WINCH; do trap \"echo $s\" $s; done; trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done");
    b.create();
    b.runtime(&["start", "c"]).ok();
    let wait = |text: &str| {
        crate::support::peer::wait_for(text, || b.printed().lines().any(|l| l == text));
    };
    wait("up");
    for (given, name) in [("USR1", "USR1"), ("1", "HUP"), ("SIGWINCH", "WINCH")] {
        b.runtime(&["kill", "c", given]).ok();
        wait(name);
    }
    b.runtime(&["kill", "c"]).ok();
    b.wait_stopped();
}

#[test]
fn only_stopped_containers_are_deleted() {
    let mut b = Bundle::new();
    b.set("/process/args", json!(["sleep", "100"]));
    b.create();
    b.runtime(&["delete", "c"]).code(1).says("not stopped");
    b.runtime(&["start", "c"]).ok();
    b.runtime(&["delete", "c"])
        .code(1)
        .says("not stopped: running");
    assert_eq!(b.status(), "running");
    b.runtime(&["delete", "--force", "c"]).ok();
    b.runtime(&["state", "c"]).code(1);
}

#[test]
fn delete_undoes_create_and_nothing_else() {
    let mut b = Bundle::new();
    std::fs::create_dir(b.path().join("volume")).unwrap();
    let volume = b.path().join("volume").to_str().unwrap().to_owned();
    b.mount("/mnt/made", "bind", &volume, &["rbind"]);
    b.script("echo x > /mnt/made/file; touch /tmp/in-rootfs");
    b.create();
    b.runtime(&["start", "c"]).ok();
    b.wait_stopped();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(b.path().to_str().unwrap()), "{mounts}");
    b.runtime(&["delete", "c"]).ok();
    assert!(b.path().join("volume/file").exists());
    assert!(b.rootfs().join("tmp/in-rootfs").exists());
    assert_eq!(
        std::fs::read_dir(b.path().join("state")).unwrap().count(),
        0
    );
    b.create();
}

#[test]
fn a_killed_create_leaves_nothing_that_stands_in_the_way() {
    let mut b = Bundle::new();
    let mark = b.path().join("mark");
    let script = format!("touch {}; sleep 100", mark.display());
    b.set(
        "/hooks",
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]}),
    );
    b.write();
    let mut creating = b
        .command(&["create", "c"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    crate::support::peer::wait_for("the hook", || mark.exists());
    assert_eq!(b.status(), "creating");
    b.runtime(&["start", "c"]).code(1).says("being created");
    let pid = b.state()["pid"].as_i64().unwrap();
    creating.kill().unwrap();
    creating.wait().unwrap();
    // The half-made process went with it.
    b.wait_stopped();
    assert!(pid > 0);
    b.runtime(&["delete", "c"]).ok();
    // So does a folder without a record.
    std::fs::create_dir(b.path().join("state/c")).unwrap();
    b.set("/hooks", json!({}));
    b.create();
    b.runtime(&["start", "c"]).ok();
    b.wait_stopped();
}

#[test]
fn only_the_descriptors_asked_for_are_open() {
    let mut b = Bundle::new();
    // ls opens one more, to read the folder.
    b.set("/process/args", json!(["ls", "/proc/self/fd"]));
    assert_eq!(b.run().ok(), "0\n1\n2\n3");
    b.write();
    let shell = |given: &str| {
        let binary = env!("CARGO_BIN_EXE_coracle");
        let script = format!(
            "exec {binary} runtime --root {}/state run {given} c 3</dev/null 5</dev/null",
            b.path().display()
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(b.bundle())
            .output()
            .unwrap();
        crate::support::Outcome::of(&[given], output)
    };
    assert_eq!(shell("--preserve-fds 0").ok(), "0\n1\n2\n3");
    assert_eq!(shell("--preserve-fds 1").ok(), "0\n1\n2\n3\n4");
    shell("--preserve-fds 2").code(1).says("descriptor 4");
}

#[test]
fn dev_has_its_links() {
    let mut b = Bundle::new();
    let script = "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done";
    let expected = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx";
    assert_eq!(b.output(script), expected);
}
