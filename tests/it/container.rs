//! The verbs on containers, as scripts use them: output, exit codes, several targets.

use crate::support::World;

#[test]
fn exit_codes_are_podmans() {
    let w = World::with_busybox();
    let none = ["run", "--rm", "--network", "none", "busybox"];
    let run = |rest: &[&str]| w.run(&[&none[..], rest].concat());
    run(&["true"]).code(0);
    run(&["sh", "-c", "exit 7"]).code(7);
    // The first process of a pid namespace is deaf to its own signals; below an init it is not.
    w.run(&[
        "run",
        "--rm",
        "--init",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "kill -9 $$",
    ])
    .code(137);
    run(&["no-such-program"]).code(127).says("no-such-program");
    run(&["/etc/passwd"]).code(126);
    w.run(&["run", "--network", "none", "--bogus", "busybox"])
        .code(125);
    // A run that cannot start leaves nothing.
    w.run(&[
        "run",
        "--name",
        "gone",
        "--network",
        "none",
        "busybox",
        "nope",
    ])
    .code(127);
    assert_eq!(w.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_container_lives_through_its_verbs() {
    let w = World::with_busybox();
    let id = w.ok(&[
        "create",
        "--name",
        "my",
        "--label",
        "app=demo",
        "--network",
        "none",
        "busybox",
        "sleep",
        "300",
    ]);
    assert_eq!(id.trim().len(), 64);
    assert_eq!(w.inspect("my", "{{.State.Status}}"), "created");
    assert_eq!(w.ok(&["start", "my"]), "my");
    w.wait_state("my", "running");
    // An id prefix is as good as a name, and is what is printed.
    let prefix = &id[..8];
    assert_eq!(w.ok(&["pause", prefix]), prefix);
    assert_eq!(w.inspect("my", "{{.State.Paused}}"), "true");
    w.run(&["exec", "my", "true"]).code(125).says("paused");
    w.ok(&["unpause", "my"]);
    w.ok(&["exec", "my", "true"]);
    w.run(&["exec", "my", "sh", "-c", "exit 3"]).code(3);
    w.run(&["exec", "my", "nope"]).code(127);
    w.ok(&["rename", "my", "your"]);
    w.run(&["container", "exists", "my"]).code(1);
    w.run(&["container", "exists", "your"]).code(0);
    assert!(w.ok(&["top", "your", "pid", "args"]).contains("sleep 300"));
    w.run(&["rm", "your"]).code(2).says("running");
    assert_eq!(w.ok(&["stop", "-t", "0", "your"]), "your");
    assert_eq!(
        w.inspect("your", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
    w.ok(&["restart", "-t", "0", "your"]);
    w.run(&["kill", "-s", "KILL", "your"]).code(0);
    w.run(&["kill", "your"]).code(125);
    assert_eq!(
        w.ok(&[
            "ps",
            "-a",
            "--filter",
            "label=app=demo",
            "--format",
            "{{.Names}} {{.State}} {{.Label \"app\"}}"
        ]),
        "your exited demo"
    );
    assert_eq!(w.ok(&["rm", "your"]), "your");
    w.run(&["rm", "your"]).code(1).says("no such container");
    w.run(&["rm", "-f", "your"]).code(0);
}

#[test]
fn several_targets_are_reported_each_and_the_rest_goes_on() {
    let w = World::with_busybox();
    for name in ["one", "two"] {
        w.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            "busybox",
            "sleep",
            "300",
        ]);
    }
    let stopped = w.run(&["stop", "-t", "0", "one", "nobody", "two"]);
    assert_eq!(stopped.stdout, "one\ntwo\n");
    stopped.code(125).says("nobody");
    w.ok(&["stop", "--ignore", "nobody", "one"]);
    assert_eq!(w.ok(&["container", "prune", "-f"]).lines().count(), 2);
}

#[test]
fn streams_stay_apart_and_input_reaches_the_container() {
    let w = World::with_busybox();
    let both = w.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2",
    ]);
    assert_eq!(
        (both.stdout.as_str(), both.stderr.as_str()),
        ("out\n", "err\n")
    );
    let big = vec![b'x'; 3 << 20];
    let counted = w.run_with(
        &[
            "run",
            "-i",
            "--rm",
            "--network",
            "none",
            "busybox",
            "wc",
            "-c",
        ],
        &big,
    );
    assert_eq!(counted.stdout.trim(), big.len().to_string());
    w.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        "busybox",
        "sleep",
        "300",
    ]);
    let counted = w.run_with(&["exec", "-i", "c", "wc", "-c"], &big);
    assert_eq!(counted.stdout.trim(), big.len().to_string());
    w.ok(&["rm", "-f", "c"]);
}

#[test]
fn files_are_copied_both_ways_whether_it_runs_or_not() {
    let w = World::with_busybox();
    let host = w.path().join("file");
    std::fs::write(&host, "from the host").unwrap();
    let host = host.to_str().unwrap().to_owned();
    w.ok(&[
        "create",
        "--name",
        "c",
        "-v",
        "/vol",
        "--network",
        "none",
        "busybox",
        "sleep",
        "300",
    ]);
    for running in [false, true] {
        if running {
            w.ok(&["start", "c"]);
        }
        for place in ["c:/copied", "c:/vol/copied"] {
            w.ok(&["cp", &host, place]);
            let back = w.path().join("back");
            w.ok(&["cp", place, back.to_str().unwrap()]);
            assert_eq!(
                std::fs::read_to_string(&back).unwrap(),
                "from the host",
                "{place}"
            );
            std::fs::remove_file(back).unwrap();
        }
    }
    assert_eq!(w.ok(&["exec", "c", "cat", "/vol/copied"]), "from the host");
    assert!(w.ok(&["diff", "c"]).contains("A /copied\n"));
    w.run(&["cp", "c:/nope", "/tmp"]).code(125).says("/nope");
    w.ok(&["commit", "-c", "CMD cat /copied", "c", "made"]);
    assert_eq!(
        w.ok(&["run", "--rm", "--network", "none", "made"]),
        "from the host"
    );
    w.ok(&["rm", "-f", "-v", "c"]);
    assert_eq!(w.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn a_cidfile_is_written_once_and_read_back() {
    let w = World::with_busybox();
    let file = w.path().join("cid");
    let file = file.to_str().unwrap();
    w.ok(&[
        "run",
        "-d",
        "--cidfile",
        file,
        "--network",
        "none",
        "busybox",
        "sleep",
        "300",
    ]);
    w.run(&[
        "run",
        "--cidfile",
        file,
        "--network",
        "none",
        "busybox",
        "true",
    ])
    .code(125)
    .says("exists");
    w.ok(&["stop", "-t", "0", "--cidfile", file]);
    w.ok(&["rm", "--cidfile", file]);
    assert_eq!(w.ok(&["ps", "-aq"]), "");
}

#[test]
fn containers_share_namespaces_and_volumes() {
    let w = World::with_busybox();
    w.ok(&[
        "run",
        "-d",
        "--name",
        "base",
        "--hostname",
        "basehost",
        "-v",
        "data:/data",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo kept >/data/f; sleep 300",
    ]);
    let shared = w.ok(&[
        "run",
        "--rm",
        "--network",
        "container:base",
        "--pid",
        "container:base",
        "--uts",
        "container:base",
        "--volumes-from",
        "base",
        "busybox",
        "sh",
        "-c",
        "hostname; cat /data/f; ps | grep -c '[s]leep 300'",
    ]);
    assert_eq!(shared, "basehost\nkept\n1");
    w.ok(&[
        "create",
        "--name",
        "child",
        "--network",
        "container:base",
        "busybox",
        "true",
    ]);
    w.run(&["rm", "-f", "base"]).code(125).says("child");
    w.ok(&["rm", "-f", "--depend", "base"]);
    assert_eq!(w.ok(&["ps", "-aq"]), "");
}
