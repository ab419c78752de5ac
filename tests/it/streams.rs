//! Streams of real containers: logs, attach, wait, events, signals, terminals, restart policies.

use std::process::Stdio;

use crate::support::World;

#[test]
fn logs_keep_both_streams_apart_and_survive_the_container() {
    let world = World::with_busybox();
    for driver in ["k8s-file", "json-file"] {
        let script = "echo one; echo bad >&2; printf tail";
        let ran = world.run(&[
            "run",
            "--name",
            driver,
            "--log-driver",
            driver,
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("one\ntail", "bad\n")
        );
        let logs = world.run(&["logs", driver]).code(0);
        assert_eq!(
            (logs.stdout.as_str(), logs.stderr.as_str()),
            ("one\ntail", "bad\n")
        );
        assert_eq!(world.ok(&["logs", "--tail", "1", driver]), "tail");
        let stamped = world.ok(&["logs", "-t", "--tail", "1", driver]);
        assert!(stamped.ends_with("Z tail"), "{stamped}");
        assert_eq!(world.ok(&["logs", "--until", "1h", driver]), "");
    }
    world.ok(&[
        "run",
        "--name",
        "n",
        "--log-driver",
        "none",
        "busybox",
        "true",
    ]);
    world.run(&["logs", "n"]).code(125).says("keeps no output");
}

#[test]
fn following_ends_with_the_container_and_over_rotations_nothing_is_lost() {
    let world = World::with_busybox();
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
    world.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=40",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let followed = world.ok(&["logs", "-f", "c"]);
    let expected: Vec<String> = (0..3000).map(|n| format!("line {n}")).collect();
    assert_eq!(followed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_killed_command_leaves_the_container_and_attach_takes_over() {
    let world = World::with_busybox();
    let script = "echo up; read line; echo got $line; exit 9";
    let mut command = world.command(&["run", "-i", "--name", "c", "busybox", "sh", "-c", script]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    world.wait_state("c", "running");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(world.inspect("c", "{{.State.Status}}"), "running");
    let attached = world.run_with(&["attach", "c"], b"hello\n").code(9);
    assert!(attached.stdout.contains("got hello"), "{}", attached.stdout);
    assert_eq!(world.ok(&["wait", "c"]), "9");
    assert!(world.ok(&["logs", "c"]).contains("up\ngot hello"));
}

#[test]
fn a_killed_monitor_takes_the_container_along_and_the_exit_is_unknown() {
    let world = World::with_busybox();
    world.ok(&["run", "-d", "--name", "c", "busybox", "sleep", "1000"]);
    let id = world.inspect("c", "{{.Id}}");
    let status = world
        .runtime()
        .join("containers")
        .join(id)
        .join("status.json");
    let status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(status).unwrap()).unwrap();
    let pid = |name: &str| status[name]["pid"].as_i64().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid("monitor")])
        .status();
    assert!(killed.unwrap().success());
    assert_eq!(world.ok(&["wait", "c"]), "-1");
    let gone = std::fs::read_to_string(format!("/proc/{}/stat", pid("init")));
    assert!(gone.is_err() || gone.unwrap().contains(") Z "));
    assert_eq!(world.inspect("c", "{{.State.Status}}"), "exited");
    world.ok(&["start", "c"]);
    world.ok(&["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn signals_for_the_command_reach_the_container() {
    let world = World::with_busybox();
    let script = "trap 'exit 8' TERM; echo up; while :; do sleep 0.05; done";
    let mut child = world.spawn(&["run", "--name", "c", "busybox", "sh", "-c", script]);
    world.wait_state("c", "running");
    let up = || world.run(&["logs", "c"]).stdout.contains("up");
    while !up() {}
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(8));
}

#[test]
fn restart_policies_restart_and_a_stop_ends_it() {
    let world = World::with_busybox();
    world.ok(&[
        "run",
        "-d",
        "--name",
        "f",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo run; exit 3",
    ]);
    assert_eq!(world.ok(&["logs", "-f", "f"]), "run\nrun\nrun");
    assert_eq!(
        world.inspect("f", "{{.RestartCount}} {{.State.ExitCode}}"),
        "2 3"
    );
    world.ok(&[
        "run",
        "-d",
        "--name",
        "a",
        "--restart",
        "always",
        "busybox",
        "sleep",
        "1000",
    ]);
    world.ok(&["stop", "-t", "0", "a"]);
    assert_eq!(world.inspect("a", "{{.State.Status}}"), "exited");
}

#[test]
fn large_output_arrives_whole_at_a_slow_reader() {
    let world = World::with_busybox();
    let mut command = world.command(&[
        "run",
        "--rm",
        "busybox",
        "head",
        "-c",
        "50000000",
        "/dev/zero",
    ]);
    let mut run = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = std::process::Command::new("sh")
        .args(["-c", "sleep 0.5; wc -c"])
        .stdin(run.stdout.take().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(run.wait().unwrap().success());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader.stdout.take().unwrap(), &mut text).unwrap();
    reader.wait().unwrap();
    assert_eq!(text.trim(), "50000000");
}

#[test]
fn input_ends_the_containers_input() {
    let world = World::with_busybox();
    let input = vec![b'x'; 1_000_000];
    let counted = world.run_with(&["run", "--rm", "-i", "busybox", "wc", "-c"], &input);
    assert_eq!(counted.stdout.trim(), "1000000", "{}", counted.stderr);
}

#[test]
fn events_tell_a_life_in_order() {
    let world = World::with_busybox();
    world
        .run(&[
            "run", "--rm", "--name", "c", "busybox", "sh", "-c", "exit 5",
        ])
        .code(5);
    let seen = world.ok(&[
        "events",
        "--stream=false",
        "--filter",
        "container=c",
        "--format",
        "{{.Status}} {{.ContainerExitCode}}",
    ]);
    assert_eq!(
        seen.lines().collect::<Vec<_>>(),
        ["create 0", "start 0", "died 5", "remove 0"]
    );
    let json = world.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=die",
        "--format",
        "json",
    ]);
    assert_eq!(json.lines().count(), 1);
    assert!(json.contains("\"ContainerExitCode\":5"), "{json}");
}

#[test]
fn waiting_for_other_states_and_for_what_is_not_there() {
    let world = World::with_busybox();
    world.ok(&["create", "--name", "c", "busybox", "sleep", "1000"]);
    let waiting = world.spawn(&["wait", "--condition", "running", "c"]);
    world.ok(&["start", "c"]);
    assert!(waiting.wait_with_output().unwrap().status.success());
    assert_eq!(world.ok(&["wait", "--ignore", "nonesuch"]), "-1");
    world
        .run(&["wait", "nonesuch"])
        .code(125)
        .says("no such container");
    world
        .run(&["wait", "--condition", "healthy", "c"])
        .code(125)
        .says("no health check");
    world.ok(&["rm", "-f", "-t", "0", "c"]);
}
