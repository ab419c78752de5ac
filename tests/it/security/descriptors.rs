//! Class C: leaked descriptors, working directories, our own program.

use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::image;
use crate::support::{Bundle, World, fixture};

/// CVE-2024-21626, CVE-2016-9962: whatever the caller has open, no process of a container gets it.
#[test]
fn no_descriptor_of_the_caller_or_of_ours_reaches_a_container() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let coracle = env!("CARGO_BIN_EXE_coracle");
    let leaky = |line: &str| {
        let script = format!("exec 3</ 4</etc 7</etc/hostname 9</; {coracle} {line}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        world.settle(&mut command);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    leaky("run -d --name c --network none hostile sleep 100");
    leaky("create --name later --network none hostile probe descriptors");
    for line in [
        "run --rm hostile probe descriptors",
        "run --rm --network none --init hostile probe descriptors",
        "run --rm --network none --userns nested hostile probe descriptors",
        "run --rm --network none --pid container:c hostile probe descriptors",
        "run --rm --network none -v v:/v --read-only hostile probe descriptors",
        "exec c probe descriptors",
        "exec -u 7 -w /bin c probe descriptors",
        "start -a later",
    ] {
        assert_eq!(leaky(line), "", "{line}");
    }
    // Through a terminal as well.
    let line = format!("{coracle} run --rm -t --network none hostile probe descriptors");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    world.settle(&mut command);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// Hooks are programs of the host's, but what we have open is none of their business.
#[test]
fn hooks_have_no_descriptors_of_ours() {
    let mut b = Bundle::new();
    let log = b.path().join("log");
    std::fs::write(&log, "").unwrap();
    let hook = |kind: &str| {
        // ls has one more, for the folder.
        let script = format!("s=$(ls /proc/self/fd); echo {kind} $s >> {}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    let kinds = [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ];
    let all = kinds.map(|kind| (kind.to_owned(), hook(kind)));
    b.set("/hooks", all.into_iter().collect());
    b.script("true");
    b.run().code(0);
    let text = std::fs::read_to_string(&log).unwrap();
    for kind in kinds {
        let line = text.lines().find(|l| l.starts_with(kind));
        assert_eq!(line, Some(format!("{kind} 0 1 2 3").as_str()), "{text}");
    }
}

/// A hook that the container's own file system provides is not our program by another name.
#[test]
fn hooks_of_the_container_s_own_do_not_lead_to_our_program() {
    let mut b = Bundle::new();
    std::os::unix::fs::symlink("/proc/self/exe", b.rootfs().join("bin/hook")).unwrap();
    b.script("echo started");
    for path in ["/proc/self/exe", "/bin/hook"] {
        b.set(
            "/hooks",
            json!({"startContainer": [{"path": path, "args": ["coracle", "version"]}]}),
        );
        let outcome = b.run();
        assert_ne!(outcome.code, 0, "{path}: {outcome:?}");
        assert!(!outcome.stdout.contains("started"), "{path}: {outcome:?}");
        outcome.says("forbidden link");
    }
}

/// CVE-2024-21626: no number of a descriptor is a way out, from the image or from the command line.
#[test]
fn working_directories_through_descriptors_are_refused() {
    let world = World::new();
    image(&world, "hostile", &[], |tar| {
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("cwd", "/proc/self/cwd"),
            ("root", "/proc/1/root"),
        ] {
            super::link(tar, name, target);
        }
    });
    world.ok(&super::words(
        "run -d --name c --network none hostile sleep 100",
    ));
    for n in 3..24 {
        for dir in [format!("/proc/self/fd/{n}"), format!("/fd/{n}/../../..")] {
            world
                .run(&[
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "-w",
                    &dir,
                    "hostile",
                    "ls",
                ])
                .code(126)
                .says("working directory");
            world
                .run(&["exec", "-w", &dir, "c", "ls"])
                .code(126)
                .says("working directory");
        }
    }
    for dir in [
        "/proc/self/cwd",
        "/proc/thread-self/cwd",
        "/proc/self/root",
        "/proc/1/cwd/..",
        "/cwd",
        "/root/..",
        "/proc/self/task/1/fd/5",
        "/dev/fd/4",
        "/dev/stdin",
    ] {
        for args in [
            &[
                "run",
                "--rm",
                "--network",
                "none",
                "-w",
                dir,
                "hostile",
                "pwd",
            ][..],
            &["exec", "-w", dir, "c", "pwd"],
        ] {
            world.run(args).code(126).says("working directory");
        }
    }
    let changes = ["WORKDIR /proc/self/fd/8"];
    image(&world, "hostile2", &changes, |_| ());
    world
        .run(&super::words("run --rm --network none hostile2 ls"))
        .code(126);
}

/// CVE-2019-5736 and CVE-2016-9962: while a container's process looks at every process that shows
/// up, commands enter its namespaces in all ways there are. Nothing of them can be opened, and no
/// trick gets our own program executed.
#[test]
fn a_container_that_waits_for_our_processes_gets_nothing() {
    let world = World::new();
    let own = std::path::Path::new(env!("CARGO_BIN_EXE_coracle"));
    let before = std::fs::metadata(own).unwrap();
    image(&world, "hostile", &[], |tar| {
        fixture::add_file(tar, "bin/evil", 0o755, (0, 0), b"#!/proc/self/exe\n");
        fixture::add_file(tar, "bin/evil2", 0o755, (0, 0), b"#! /bin/evil run\n");
        super::link(tar, "bin/link", "/proc/self/exe");
        super::link(tar, "bin/fd", "/proc/self/fd/0");
    });
    world.ok(&["run", "--rm", "hello"]);
    for hunter in [&["--cap-add", "SYS_PTRACE"][..], &[]] {
        let start = ["run", "-d", "--name", "hunter", "--network", "none"];
        let hunt = ["hostile", "probe", "hunt", "6"];
        world.ok(&[&start, hunter, &hunt].concat());
        for _ in 0..4 {
            world.ok(&["exec", "hunter", "true"]);
            for trick in ["/proc/self/exe", "evil", "/bin/evil2", "link", "/bin/fd"] {
                let outcome = world.run(&["exec", "hunter", trick]);
                assert!(matches!(outcome.code, 126 | 127), "{trick}: {outcome:?}");
            }
            let beside = [
                "run",
                "--rm",
                "--pid",
                "container:hunter",
                "--network",
                "none",
            ];
            world.ok(&[&beside[..], &["hello"]].concat());
            world.ok(&[&beside[..], &["--oom-score-adj", "900", "hostile", "true"]].concat());
            let outcome = world.run(&[&beside[..], &["hostile", "link"]].concat());
            assert!(matches!(outcome.code, 126 | 127), "{outcome:?}");
        }
        assert_eq!(world.ok(&["wait", "hunter"]), "0");
        let caught = world.ok(&["logs", "hunter"]);
        // The built-in image has a copy of the program, which is that container's own.
        let others: Vec<_> = caught
            .lines()
            .filter(|l| *l != "opened a program of outside: /coracle" && *l != "and for writing")
            .collect();
        assert_eq!(others, ["tries: some"], "{hunter:?}: {caught}");
        world.ok(&["rm", "hunter"]);
    }
    let after = std::fs::metadata(own).unwrap();
    assert_eq!((before.len(), before.mtime()), (after.len(), after.mtime()));
}
