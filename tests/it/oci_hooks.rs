//! Hooks of bundles: order, namespaces, state, failures, time limits. The sections are in the
//! tables of `oci_runtime` and `oci_config`.

use serde_json::{Value, json};

use crate::support::{Bundle, World, peer};

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that runs a shell script, of the host or (for startContainer) of the container.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

fn lines(b: &Bundle) -> Vec<String> {
    std::fs::read_to_string(b.path().join("log"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A bundle whose hooks note their kind and the status that they are told.
fn noting() -> Bundle {
    use std::os::unix::fs::PermissionsExt as _;
    let mut b = Bundle::new();
    let folder = b.path().to_str().unwrap().to_owned();
    let log = b.path().join("log");
    std::fs::write(&log, "").unwrap();
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o666)).unwrap();
    // The same path inside.
    b.mount(&folder, "bind", &folder, &["rbind", "rw"]);
    let mut hooks = serde_json::Map::new();
    for kind in KINDS {
        let note = |n: u32| {
            hook(&format!(
                "s=$(cat); s=${{s#*status\\\":\\\"}}; echo {kind} {n} ${{s%%\\\"*}} >> {folder}/log"
            ))
        };
        hooks.insert(kind.to_owned(), json!([note(1), note(2)]));
    }
    b.set("/hooks", Value::Object(hooks));
    b.script(&format!("echo program >> {folder}/log; sleep 100"));
    b
}

#[test]
fn hooks_run_in_order_at_their_time() {
    let b = noting();
    b.create();
    let mut expected = vec![
        "prestart 1 creating",
        "prestart 2 creating",
        "createRuntime 1 creating",
        "createRuntime 2 creating",
        "createContainer 1 creating",
        "createContainer 2 creating",
    ];
    assert_eq!(lines(&b), expected);
    b.runtime(&["start", "c"]).ok();
    peer::wait_for("the program", || lines(&b).iter().any(|l| l == "program"));
    // The program and poststart run side by side.
    let mut seen = lines(&b);
    seen.retain(|l| l != "program");
    expected.extend([
        "startContainer 1 created",
        "startContainer 2 created",
        "poststart 1 running",
        "poststart 2 running",
    ]);
    assert_eq!(seen, expected);
    let place = |text: &str| lines(&b).iter().position(|l| l == text).unwrap();
    assert!(place("program") > place("startContainer 2 created"));
    b.runtime(&["kill", "c", "KILL"]).ok();
    b.wait_stopped();
    assert!(!lines(&b).iter().any(|l| l.starts_with("poststop")));
    b.runtime(&["delete", "c"]).ok();
    assert_eq!(
        lines(&b)[11..],
        ["poststop 1 stopped", "poststop 2 stopped"]
    );
}

#[test]
fn a_hook_that_fails_ends_the_container() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut b = noting();
        b.set(
            &format!("/hooks/{kind}"),
            json!([hook("echo why >&2; exit 3"), hook("exit 0")]),
        );
        b.refused()
            .says(&format!("error running {kind} hook"))
            .says("exit status 3, stderr: why");
        // The clean-up goes on to the end.
        let last = lines(&b).pop().unwrap();
        assert_eq!(last, "poststop 2 stopped", "{kind}");
    }
    for kind in ["startContainer", "poststart"] {
        let mut b = noting();
        b.set(&format!("/hooks/{kind}"), json!([hook("exit 3")]));
        b.create();
        b.runtime(&["start", "c"])
            .code(1)
            .says(&format!("error running {kind} hook"));
        b.wait_stopped();
        // (After poststart it may have come that far, or not.)
        if kind == "startContainer" {
            assert!(!lines(&b).iter().any(|l| l == "program"));
        }
        b.runtime(&["delete", "c"]).ok();
        assert_eq!(lines(&b).pop().unwrap(), "poststop 2 stopped");
    }
}

#[test]
fn poststop_failures_are_warnings() {
    let mut b = noting();
    let mut list = vec![hook("exit 3")];
    list.extend(b.config["hooks"]["poststop"].as_array().unwrap().clone());
    b.set("/hooks/poststop", Value::Array(list));
    b.create();
    b.runtime(&["kill", "c", "KILL"]).ok();
    b.wait_stopped();
    b.runtime(&["delete", "c"]).code(0).says("poststop hook");
    assert_eq!(lines(&b).pop().unwrap(), "poststop 2 stopped");
    b.runtime(&["state", "c"]).code(1);
}

#[test]
fn hooks_are_where_they_should_be() {
    let mut b = noting();
    let folder = b.path().to_str().unwrap().to_owned();
    let mut hooks = serde_json::Map::new();
    for kind in KINDS {
        let note =
            format!("echo {kind} $(readlink /proc/self/ns/mnt) $0 $A {folder}/* >> {folder}/log");
        hooks.insert(
            kind.to_owned(),
            json!([{"path": "/bin/sh", "args": ["sh", "-c", note, "zero"], "env": ["A=b", "PATH=/bin"]}]),
        );
    }
    b.set("/hooks", Value::Object(hooks));
    b.script(&format!(
        "echo program $(readlink /proc/self/ns/mnt) >> {folder}/log; sleep 100"
    ));
    b.create();
    b.runtime(&["start", "c"]).ok();
    peer::wait_for("the program", || {
        lines(&b).iter().any(|l| l.starts_with("program"))
    });
    b.runtime(&["delete", "--force", "c"]).ok();
    let of = |kind: &str| {
        let all = lines(&b);
        let line = all.iter().find(|l| l.starts_with(&format!("{kind} ")));
        let words: Vec<String> = line.unwrap().split(' ').map(str::to_owned).collect();
        words
    };
    let inside = of("program")[1].clone();
    for kind in KINDS {
        let own = matches!(kind, "createContainer" | "startContainer");
        assert_eq!(of(kind)[1] == inside, own, "{kind}: {:?}", of(kind));
        assert_eq!(of(kind)[2..4], ["zero", "b"], "{kind}");
    }
    // As a plain user these run in the user namespace, as root where the caller is.
    if peer::is_root() {
        let here = std::fs::read_link("/proc/self/ns/mnt").unwrap();
        assert_eq!(of("createRuntime")[1], here.to_str().unwrap());
    }
}

#[test]
fn hooks_know_the_container() {
    let mut b = Bundle::new();
    let folder = b.path().to_str().unwrap().to_owned();
    b.set("/annotations", json!({"x": "y"}));
    let script = format!(
        "cat > {folder}/told; pid=$(sed 's/.*pid\":\\([0-9]*\\).*/\\1/' {folder}/told); readlink /proc/$pid/ns/uts > {folder}/uts || true"
    );
    b.set("/hooks", json!({"createRuntime": [hook(&script)]}));
    b.set("/process/args", json!(["readlink", "/proc/self/ns/uts"]));
    let inside = b.run().ok();
    let told: Value =
        serde_json::from_slice(&std::fs::read(b.path().join("told")).unwrap()).unwrap();
    assert_eq!(told["id"], "c");
    assert_eq!(told["status"], "creating");
    assert_eq!(told["bundle"], b.bundle().to_str().unwrap());
    assert_eq!(told["annotations"]["x"], "y");
    if peer::is_root() {
        // Its namespaces are there already. (A plain user may not look.)
        let uts = std::fs::read_to_string(b.path().join("uts")).unwrap();
        assert_eq!(uts.trim(), inside);
    }
}

#[test]
fn bad_hooks_are_refused() {
    for bad in [
        json!({"path": "relative"}),
        json!({"path": "/bin/true", "timeout": 0}),
        json!({"path": "/bin/true", "timeout": -1}),
        json!({"path": "/no/such/program"}),
    ] {
        let mut b = Bundle::new();
        b.set("/hooks", json!({"createRuntime": [bad]}));
        b.refused();
    }
    let mut b = Bundle::new();
    b.set(
        "/hooks",
        json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]}),
    );
    b.refused().says("took more than 1 s");
}

#[test]
fn hooks_run_around_containers_of_our_own() {
    let world = World::with_busybox();
    let folder = world.path().join("hooks.d");
    std::fs::create_dir(&folder).unwrap();
    let log = world.path().join("log");
    let write = |name: &str, when: Value, script: &str| {
        let text = json!({
            "version": "1.0.0",
            "hook": hook(&format!("s=$(cat); s=${{s#*status\\\":\\\"}}; {script}")),
            "when": when,
            "stages": ["prestart", "createContainer", "poststart", "poststop"],
        });
        std::fs::write(folder.join(name), text.to_string()).unwrap();
    };
    let note = format!("echo ${{s%%\\\"*}} >> {}", log.display());
    write(
        "one.json",
        json!({"annotations": {"^wanted$": "^yes$"}}),
        &note,
    );
    let dir = folder.to_str().unwrap().to_owned();
    let run = [
        "--hooks-dir",
        dir.as_str(),
        "run",
        "--rm",
        "--network",
        "none",
    ];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    world.ok(&with(&["busybox", "true"]));
    assert!(!log.exists());
    world.ok(&with(&["--annotation", "wanted=yes", "busybox", "true"]));
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    peer::wait_for("poststop", || read().lines().count() == 4);
    assert_eq!(read(), "creating\ncreating\nrunning\nstopped\n");
    // One that fails is the container's end.
    write("two.json", json!({"always": true}), "exit 3");
    world
        .run(&with(&["busybox", "true"]))
        .code(125)
        .says("error running prestart hook");
    world
        .run(&["--hooks-dir", "/nowhere", "run", "--rm", "busybox", "true"])
        .code(125)
        .says("/nowhere");
}
