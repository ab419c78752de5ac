//! Pods: containers that share namespaces, held by a process of our own.

use std::process::Stdio;

use crate::support::world::Outcome;
use crate::support::{World, peer};

/// The value of a template over a pod.
fn pod(world: &World, name: &str, template: &str) -> String {
    world
        .ok(&["pod", "inspect", "--format", template, name])
        .trim()
        .to_owned()
}

#[test]
fn containers_of_a_pod_share_what_it_shares_and_go_with_it() {
    let world = World::with_busybox();
    let id = world.ok(&[
        "pod",
        "create",
        "--network",
        "none",
        "--label",
        "a=b",
        "web",
    ]);
    assert_eq!(id.trim().len(), 64);
    assert_eq!(
        pod(&world, "web", "{{.State}} {{.NumContainers}}"),
        "Created 1"
    );
    // A server on loopback, and a client in another container.
    world.ok(&[
        "run",
        "-d",
        "--pod",
        "web",
        "--name",
        "server",
        "busybox",
        "sh",
        "-c",
        "echo hello >/dev/shm/x; exec httpd -f -p 80 -h /dev/shm",
    ]);
    let said = world.ok(&[
        "run",
        "--rm",
        "--pod",
        "web",
        "busybox",
        "sh",
        "-c",
        "timeout 10 sh -c \"until wget -qO- http://127.0.0.1/x; do sleep 0.02; done\" 2>/dev/null; hostname; cat /dev/shm/x",
    ]);
    assert_eq!(said, "hello\nweb\nhello");
    let listed = world.ok(&[
        "pod",
        "ps",
        "--format",
        "{{.Name}} {{.Status}} {{.NumberOfContainers}}",
    ]);
    assert_eq!(listed, "web Running 2");
    let members = world.ok(&[
        "ps",
        "-a",
        "--pod",
        "--format",
        "{{.Names}} {{.PodName}} {{.IsInfra}}",
    ]);
    assert_eq!(members, "server web false\nweb-infra web true");
    assert_eq!(
        world
            .ok(&["ps", "--filter", "pod=web", "-q"])
            .lines()
            .count(),
        2
    );
    assert_eq!(
        world
            .ok(&["pod", "ps", "-q", "--filter", "label=a=b"])
            .lines()
            .count(),
        1
    );
    assert_eq!(world.ok(&["pod", "ps", "-q", "--filter", "label=a=c"]), "");
    world.run(&["pod", "exists", "web"]).code(0);
    world.run(&["pod", "exists", "other"]).code(1);
    // What holds the namespaces cannot be taken away from under the others.
    world.run(&["rm", "-f", "web-infra"]).code(125);
    world.run(&["pod", "rm", "web"]).code(125);
    assert_eq!(world.ok(&["pod", "rm", "-f", "web"]), id);
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    assert_eq!(world.ok(&["pod", "ps", "-q"]), "");
    let mut seen = Vec::new();
    peer::wait_for("all processes to end", || {
        let left = crate::killed::leftovers(&world);
        if left != seen {
            eprintln!("left: {left:?}");
            seen.clone_from(&left);
        }
        left.is_empty()
    });
}

#[test]
fn a_pod_starts_stops_and_restarts_as_one() {
    let world = World::with_busybox();
    world.ok(&[
        "pod",
        "create",
        "--network",
        "none",
        "--share",
        "+pid",
        "--name",
        "p",
    ]);
    for name in ["a", "b"] {
        world.ok(&[
            "create", "--pod", "p", "--name", name, "busybox", "sleep", "1000",
        ]);
    }
    world.ok(&[
        "create",
        "--pod",
        "p",
        "--name",
        "first",
        "--init-ctr",
        "always",
        "-v",
        "v:/v",
        "busybox",
        "sh",
        "-c",
        "echo x >>/v/log",
    ]);
    world.ok(&[
        "create",
        "--pod",
        "p",
        "--name",
        "once",
        "--init-ctr",
        "once",
        "-v",
        "v:/v",
        "busybox",
        "sh",
        "-c",
        "echo y >>/v/log",
    ]);
    world.ok(&["pod", "start", "p"]);
    // The one that ran to its end and stays does not count.
    assert_eq!(
        pod(&world, "p", "{{.State}} {{.NumContainers}}"),
        "Running 4"
    );
    let log = || world.ok(&["run", "--rm", "-v", "v:/v", "busybox", "cat", "/v/log"]);
    assert_eq!(log(), "x\ny");
    // They see each other's processes, and ours is the first.
    let first = world.ok(&[
        "exec",
        "a",
        "sh",
        "-c",
        "cat /proc/1/comm; ps | grep -c 'sleep 1000'",
    ]);
    assert!(first.starts_with("coracle-init\n"), "{first}");
    let top = world.ok(&["pod", "top", "p", "args"]);
    assert_eq!(top.matches("sleep 1000").count(), 1, "{top}");
    world.ok(&["pod", "pause", "p"]);
    assert_eq!(pod(&world, "p", "{{.State}}"), "Paused");
    world.ok(&["pod", "unpause", "p"]);
    let before = world.ok(&["inspect", "--format", "{{.State.Pid}}", "a"]);
    world.ok(&["pod", "restart", "p"]);
    assert_ne!(
        world.ok(&["inspect", "--format", "{{.State.Pid}}", "a"]),
        before
    );
    assert_eq!(log(), "x\ny\nx");
    world.ok(&["pod", "kill", "p"]);
    assert_eq!(pod(&world, "p", "{{.State}}"), "Exited");
    world.ok(&["pod", "start", "p"]);
    world.ok(&["pod", "stop", "-t", "0", "p"]);
    assert_eq!(pod(&world, "p", "{{.State}}"), "Exited");
    world.ok(&["pod", "prune", "-f"]);
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_killed_holder_is_noticed_and_comes_back() {
    let world = World::with_busybox();
    let made = world.ok(&[
        "run",
        "-d",
        "--pod",
        "new:p",
        "--network",
        "none",
        "--name",
        "a",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(made.trim().len(), 64);
    let pid = world.ok(&["inspect", "--format", "{{.State.Pid}}", "p-infra"]);
    // No more than the monitor beside it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
    let caps = status.lines().find(|l| l.starts_with("CapEff:")).unwrap();
    assert!(caps.ends_with("0000000000000000"), "{caps}");
    world.ok(&["kill", "p-infra"]);
    assert_eq!(pod(&world, "p", "{{.State}}"), "Degraded");
    world.ok(&["pod", "restart", "p"]);
    assert_eq!(pod(&world, "p", "{{.State}}"), "Running");
    assert_eq!(world.ok(&["exec", "a", "hostname"]), "p");
    world.ok(&["pod", "rm", "-f", "-t", "0", "p"]);
}

#[test]
fn the_last_one_to_end_ends_a_pod_that_says_so() {
    let world = World::with_busybox();
    world.ok(&[
        "pod",
        "create",
        "--network",
        "none",
        "--exit-policy",
        "stop",
        "p",
    ]);
    world.ok(&["run", "--pod", "p", "--name", "a", "busybox", "true"]);
    peer::wait_for("the pod to stop", || {
        pod(&world, "p", "{{.State}}") == "Exited"
    });
    // One that was not started yet is not at its end.
    world.ok(&["create", "--pod", "p", "--name", "late", "busybox", "true"]);
    world.ok(&["start", "-a", "a"]);
    world.ok(&["run", "--rm", "--pod", "p", "busybox", "true"]);
    assert_eq!(world.inspect("p-infra", "{{.State.Status}}"), "running");
    world.ok(&["start", "-a", "late"]);
    peer::wait_for("the pod to stop", || {
        pod(&world, "p", "{{.State}}") == "Exited"
    });
    // A unit that stops its container may start it again: `systemctl restart`.
    let run = |name: &str, program: &[&str]| {
        let args = [
            &["run", "-d", "--pod", "p", "--name", name, "busybox"],
            program,
        ]
        .concat();
        let mut command = world.command(&args);
        command.env("PODMAN_SYSTEMD_UNIT", "x.service");
        Outcome::of(&args, command.output().unwrap()).ok();
    };
    run("b", &["sleep", "1000"]);
    world.ok(&["stop", "-t", "0", "b"]);
    world.ok(&["rm", "b"]);
    assert_eq!(pod(&world, "p", "{{.State}}"), "Degraded");
    run("c", &["true"]);
    peer::wait_for("the pod to stop", || {
        pod(&world, "p", "{{.State}}") == "Exited"
    });
    world.ok(&["pod", "rm", "p"]);
}

/// `one` ends just when `two` is about to be started in the same namespaces, by `start` and by `run`.
#[test]
fn a_pod_does_not_end_under_a_container_that_is_being_started() {
    use rustix::process::{Pid, Signal, kill_process};
    let world = World::with_busybox();
    let policy = ["--network", "none", "--exit-policy", "stop"];
    world.ok(&[&["pod", "create"], &policy[..], &["p"]].concat());
    let sleep = ["busybox", "sleep", "1000"];
    let run = ["run", "-d", "--pod", "p", "--name"];
    for way in ["start", "restart", "run"] {
        world.ok(&[&run[..], &["one"], &sleep].concat());
        if way != "run" {
            world.ok(&[&run[..], &["two"], &sleep].concat());
            world.ok(&["stop", "-t", "0", "two"]);
        }
        let monitor = world.inspect("one", "{{.State.ConmonPid}}");
        let hit = world.path().join("hit");
        let words = match way {
            "run" => [&run[..], &["two"], &sleep].concat(),
            _ => vec![way, "two"],
        };
        let mut command = world.command(&words);
        let mut starter = command
            .env("CORACLE_FAILPOINT", "pod::held=stop")
            .env("CORACLE_FAILPOINT_HIT", &hit)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        peer::wait_for("the start to be half done", || hit.exists());
        std::fs::remove_file(&hit).unwrap();
        world.ok(&["stop", "-t", "0", "one"]);
        let pid = Pid::from_raw(starter.id().cast_signed()).unwrap();
        let stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", starter.id())).unwrap();
            stat.contains(") T ")
        };
        peer::wait_for("it to be stopped", stopped);
        kill_process(pid, Signal::CONT).unwrap();
        assert!(starter.wait().unwrap().success(), "{way}");
        peer::wait_for("the other one's monitor to end", || {
            !std::path::Path::new("/proc").join(&monitor).exists()
        });
        let states = ["p-infra", "two"].map(|c| world.inspect(c, "{{.State.Status}}"));
        assert_eq!(states, ["running", "running"], "{way}");
        // Nobody is left: then it ends.
        world.ok(&["stop", "-t", "0", "two"]);
        peer::wait_for("the pod to stop", || {
            pod(&world, "p", "{{.State}}") == "Exited"
        });
        world.ok(&["rm", "one", "two"]);
    }
    world.ok(&["pod", "rm", "p"]);
}

#[test]
fn the_monitor_of_what_holds_a_pod_is_the_main_process_of_its_service() {
    let world = World::with_busybox();
    world.ok(&[
        "pod",
        "create",
        "--network",
        "none",
        "--infra-conmon-pidfile",
        "p.pid",
        "p",
    ]);
    let file = world.path().join("p.pid");
    assert!(!file.exists());
    world.ok(&["pod", "start", "p"]);
    let monitor = world.inspect("p-infra", "{{.State.ConmonPid}}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), monitor);
    let path = world.inspect("p-infra", "{{.ConmonPidFile}}");
    assert_eq!(path, file.display().to_string());
    world.ok(&["pod", "rm", "-f", "-t", "0", "p"]);
}

#[test]
fn a_killed_command_leaves_pods_that_can_be_used_and_removed() {
    let world = World::with_busybox();
    for i in 0..10_u64 {
        let mut child = world.spawn(&["pod", "create", "--network", "none", "p"]);
        peer::kill_after(&mut child, i * 1500);
        // It is there in whole, or another one can be made.
        world.run(&["pod", "create", "--network", "none", "p"]);
        let mut child = world.spawn(&["run", "-d", "--pod", "p", "busybox", "sleep", "1000"]);
        peer::kill_after(&mut child, i * 3000);
        let said = world.run(&["run", "--rm", "--pod", "p", "busybox", "hostname"]);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (0, "p\n"),
            "{}",
            said.stderr
        );
        let mut child = world.spawn(&["pod", "rm", "-f", "-t", "0", "p"]);
        peer::kill_after(&mut child, i * 2000);
        world.run(&["pod", "rm", "-f", "-t", "0", "p"]).code(0);
        assert_eq!(world.ok(&["pod", "ps", "-q"]), "");
        assert_eq!(world.ok(&["ps", "-aq"]), "");
    }
    let mut seen = Vec::new();
    peer::wait_for("all processes to end", || {
        let left = crate::killed::leftovers(&world);
        if left != seen {
            eprintln!("left: {left:?}");
            seen.clone_from(&left);
        }
        left.is_empty()
    });
}

#[test]
fn a_holder_whose_creation_or_removal_was_killed_is_the_pods_all_the_same() {
    let world = World::with_busybox();
    let die = |point: &str, args: &[&str]| {
        let mut command = world.command(args);
        command.env("CORACLE_FAILPOINT", point);
        assert!(!command.output().unwrap().status.success(), "{point}");
    };
    for point in ["container::folder", "container::record"] {
        die(point, &["pod", "create", "--network", "none", "p"]);
        let said = world.ok(&["run", "--rm", "--pod", "p", "busybox", "hostname"]);
        assert_eq!(said, "p", "{point}");
        let names = world.ok(&["ps", "--format", "{{.Names}}"]);
        assert_eq!(names, "p-infra", "{point}");
        die("container::unnamed", &["pod", "rm", "-f", "-t", "0", "p"]);
        world.ok(&["pod", "start", "p"]);
        world.ok(&["pod", "rm", "-f", "-t", "0", "p"]);
        peer::wait_for("all processes to end", || {
            crate::killed::leftovers(&world).is_empty()
        });
    }
}

#[test]
fn a_pod_is_cloned_with_its_containers() {
    let world = World::with_busybox();
    world.ok(&[
        "pod",
        "create",
        "--network",
        "none",
        "--label",
        "a=b",
        "--share",
        "net,uts,pid",
        "-v",
        "data:/data",
        "app",
    ]);
    for name in ["app-web", "other"] {
        world.ok(&[
            "run", "-d", "--pod", "app", "--name", name, "-e", "X=1", "busybox", "sleep", "1000",
        ]);
    }
    world.ok(&["exec", "other", "touch", "/data/here"]);
    world
        .run(&["pod", "clone", "--destroy", "app"])
        .code(125)
        .says("it runs");
    world.ok(&["pod", "clone", "--start", "app"]);
    assert_eq!(
        pod(
            &world,
            "app-clone",
            "{{.State}} {{.NumContainers}} {{.Hostname}} {{.Labels.a}} {{.SharedNamespaces}}"
        ),
        pod(
            &world,
            "app",
            "{{.State}} {{.NumContainers}} app-clone {{.Labels.a}} {{.SharedNamespaces}}"
        )
    );
    let script = "hostname; echo $X; ls /data; readlink /proc/self/ns/pid";
    let said = |name: &str| world.ok(&["exec", name, "sh", "-c", script]);
    let (one, two) = (said("app-clone-web"), said("other-clone"));
    assert!(one.starts_with("app-clone\n1\nhere\npid:"), "{one}");
    assert_eq!(one, two, "they share what the first ones share");
    assert_ne!(
        one.lines().last(),
        said("other").lines().last(),
        "but not with them"
    );
    world.ok(&["pod", "stop", "-t", "0", "app"]);
    // What is given replaces what the first one has, or is added to it.
    let flags = [
        "pod",
        "clone",
        "--name",
        "other",
        "--hostname",
        "changed",
        "--label",
        "c=d",
        "--volume",
        "more:/more",
        "--volume",
        "new:/data",
        "--sysctl",
        "net.ipv4.ip_default_ttl=42",
        "--infra-name",
        "holds",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "app",
    ];
    world.ok(&flags);
    assert_eq!(
        pod(
            &world,
            "other",
            "{{.Hostname}} {{.Labels.a}} {{.Labels.c}} {{.memory_limit}} {{.cpu_quota}}"
        ),
        "changed b d 67108864 50000"
    );
    let mounts = "{{range .Mounts}}{{.Name}}:{{.Destination}} {{end}}";
    assert_eq!(world.inspect("other-web", mounts), "more:/more new:/data ");
    let sysctl = "{{index .HostConfig.Sysctls \"net.ipv4.ip_default_ttl\"}}";
    assert_eq!(world.inspect("holds", sysctl), "42");
    world
        .run(&["pod", "clone", "--publish", "80:80", "app"])
        .code(125)
        .says("--publish stays as the first pod has it");
    world
        .run(&["pod", "clone", "--entrypoint", "x", "app"])
        .code(125)
        .says("--entrypoint is for containers");
    for flags in [["--memory", "64m"], ["--cgroup-parent", "x.slice"]] {
        let words = ["pod", "create", "--share-parent=false", flags[0], flags[1]];
        world.run(&words).code(125).says("contradict each other");
    }
    world.ok(&["pod", "rm", "other"]);
    world.ok(&["pod", "clone", "--destroy", "app", "third"]);
    world.run(&["pod", "exists", "app"]).code(1);
    assert_eq!(
        pod(&world, "third", "{{.State}} {{.NumContainers}}"),
        "Created 3"
    );
    world.ok(&["pod", "rm", "-f", "-t", "0", "-a"]);
}

#[test]
fn default_sysctls_are_a_pods_where_it_shares_the_namespace() {
    let world = World::with_busybox();
    let file = world.path().join("containers.conf");
    let text =
        "[containers]\ndefault_sysctls=['net.ipv4.ping_group_range=0 5','fs.mqueue.msg_max=20']\n";
    std::fs::write(&file, text).unwrap();
    let ok = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("CONTAINERS_CONF", &file);
        Outcome::of(args, command.output().unwrap()).ok()
    };
    let look = [
        "busybox",
        "cat",
        "/proc/sys/net/ipv4/ping_group_range",
        "/proc/sys/fs/mqueue/msg_max",
    ];
    ok(&["pod", "create", "--network", "none", "p"]);
    for pod in ["p", "new:q"] {
        let args = [&["run", "--rm", "--pod", pod][..], &look].concat();
        assert_eq!(ok(&args), "0\t5\n20", "{pod}");
    }
    ok(&["pod", "rm", "-f", "-t", "0", "-a"]);
}
