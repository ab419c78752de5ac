//! `kill -9` at any moment: nothing lost, nothing leaked, the next command works.

use crate::support::{World, peer};

/// Processes that still use this world's folders, ours but the idle holder.
pub fn leftovers(world: &World) -> Vec<String> {
    let marker = world.runtime();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = environment
            .windows(marker.as_os_str().len())
            .any(|w| w == marker.as_os_str().as_encoded_bytes());
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if ours && !line.is_empty() {
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!(
                "{pid} {} {}",
                comm.trim(),
                String::from_utf8_lossy(&line).replace('\0', " ")
            ));
        }
    }
    found.retain(|l| !l.contains("holder"));
    found
}

/// Kills `args` after each of the delays, and each time sees that the next command works.
fn walk(world: &World, args: &[&str], delays: impl Iterator<Item = u64>) {
    for micros in delays {
        let mut child = world.spawn(args);
        peer::kill_after(&mut child, micros);
        let after = world.run(&["run", "--rm", "busybox", "echo", "well"]);
        assert_eq!(
            (after.code, after.stdout.as_str()),
            (0, "well\n"),
            "after {micros} µs of {args:?}: {}",
            after.stderr
        );
        world.run(&["ps", "-a"]).code(0);
    }
}

#[test]
fn a_killed_run_leaves_a_working_store() {
    let world = World::with_busybox();
    walk(
        &world,
        &["run", "--rm", "busybox", "true"],
        (0..40).map(|i| i * 700),
    );
    let removed = world.run(&["rm", "-fa"]);
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    peer::wait_for("all processes to end", || leftovers(&world).is_empty());
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_killed_create_start_and_rm_leave_a_working_store() {
    let world = World::with_busybox();
    for i in 0..12_u64 {
        let name = format!("c{i}");
        walk(
            &world,
            &["create", "--name", &name, "busybox", "sleep", "100"],
            std::iter::once(i * 900),
        );
        if world.run(&["container", "exists", &name]).code == 0 {
            walk(&world, &["start", &name], std::iter::once(i * 1200));
            walk(
                &world,
                &["rm", "-f", "-t", "0", &name],
                std::iter::once(i * 1200),
            );
        }
        // Whatever was reached: the name is free after one more removal.
        world.run(&["rm", "-f", "-i", "-t", "0", &name]).code(0);
        world.ok(&["create", "--name", &name, "busybox"]);
    }
    world.ok(&["rm", "-fa"]);
    peer::wait_for("all processes to end", || leftovers(&world).is_empty());
}

#[test]
fn a_killed_import_leaves_no_half_image() {
    let world = World::with_busybox();
    let tar = crate::support::fixture::busybox_file(world.path());
    let args = ["import", "-q", tar.to_str().unwrap(), "second"];
    walk(&world, &args, (0..20).map(|i| i * 2500));
    world.ok(&args);
    assert_eq!(
        world.ok(&["run", "--rm", "second", "cat", "/data/file"]),
        "from the image"
    );
}

#[test]
fn a_command_killed_leaves_the_container_well() {
    let world = World::with_busybox();
    let mut child = world.spawn(&[
        "run",
        "--name",
        "c",
        "busybox",
        "sh",
        "-c",
        "while :; do echo tick; sleep 0.1; done",
    ]);
    world.wait_state("c", "running");
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = || world.ok(&["logs", "c"]).lines().count();
    let before = lines();
    peer::wait_for("more output", || lines() > before + 2);
    assert_eq!(world.inspect("c", "{{.State.Status}}"), "running");
    assert_eq!(world.ok(&["exec", "c", "echo", "in"]), "in");
    world.ok(&["stop", "-t", "0", "c"]);
    assert_eq!(
        world.inspect("c", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
}

#[test]
fn a_killed_monitor_takes_the_container_along_and_is_noticed() {
    let world = World::with_busybox();
    world.ok(&["run", "-d", "--name", "c", "busybox", "sleep", "1000"]);
    let pid: i32 = world.inspect("c", "{{.State.Pid}}").parse().unwrap();
    let monitor: i32 = world.inspect("c", "{{.State.ConmonPid}}").parse().unwrap();
    kill(monitor);
    peer::wait_for("the container to end", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    assert_eq!(
        world.inspect("c", "{{.State.Status}} {{.State.Running}}"),
        "exited false"
    );
    // It can be started again, and removed, without a word of repair.
    world.ok(&["start", "c"]);
    assert_eq!(world.inspect("c", "{{.State.Status}}"), "running");
    let monitor: i32 = world.inspect("c", "{{.State.ConmonPid}}").parse().unwrap();
    kill(monitor);
    world.ok(&["rm", "-f", "c"]);
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    peer::wait_for("all processes to end", || leftovers(&world).is_empty());
}

#[test]
fn a_run_killed_before_its_container_ran_leaves_nothing_to_the_next_command() {
    let world = World::with_busybox();
    let die = |point: &str, flags: &[&str]| {
        let args = [
            &["run", "--network", "none", "-v", "/anon"],
            flags,
            &["busybox", "true"],
        ];
        let mut command = world.command(&args.concat());
        command.env("CORACLE_FAILPOINT", point);
        assert!(!command.output().unwrap().status.success(), "{point}");
    };
    let volumes = || world.ok(&["volume", "ls", "-q"]);
    let points = [
        "create::recorded",
        "start::entered",
        "start::mounted",
        "start::prepared",
        "start::log",
    ];
    for point in points {
        die(point, &["--rm", "--name", "one"]);
        // Whoever lists them takes it away, the volume without a name as well.
        assert_eq!(world.ok(&["ps", "-aq"]), "", "{point}");
        assert_eq!(volumes(), "", "{point}");
        for command in [
            &["rm", "one"][..],
            &["run", "--rm", "--name", "one", "busybox", "true"],
            &["container", "prune", "-f"],
        ] {
            die(point, &["--rm", "--name", "one"]);
            world.ok(command);
            assert_eq!(volumes(), "", "{point} {command:?}");
        }
        die(point, &["--rm", "--name", "one"]);
        let start = world.run(&["start", "one"]);
        start.code(125).says("no such container");
    }
    // What is to stay stays, and what was created to be started later, too.
    die("start::entered", &["--name", "kept"]);
    world.ok(&["create", "--rm", "--name", "later", "busybox", "echo", "x"]);
    let names = world.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(names, "later created\nkept created");
    assert_eq!(world.ok(&["start", "-a", "later"]), "x");
    peer::wait_for("the end of it", || {
        world.run(&["container", "exists", "later"]).code == 1
    });
    world.ok(&["rm", "kept"]);
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
