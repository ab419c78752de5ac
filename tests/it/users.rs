//! User namespaces: the modes, single-id mode, and root.

use std::process::Command;

use crate::support::{Outcome, World, peer};

#[test]
fn container_root_is_the_caller() {
    let world = World::with_busybox();
    let dir = world.path().join("shared");
    std::fs::create_dir(&dir).unwrap();
    let volume = format!("{}:/shared", dir.display());
    world.ok(&[
        "run",
        "--rm",
        "-v",
        &volume,
        "busybox",
        "sh",
        "-c",
        "id -u; touch /shared/file",
    ]);
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(
        std::fs::metadata(dir.join("file")).unwrap().uid(),
        peer::uid()
    );
}

#[test]
fn other_users_of_the_container_are_subordinate_ids() {
    requires_subids!();
    let world = World::with_busybox();
    assert_eq!(
        world.ok(&["run", "--rm", "--user", "1000:10", "busybox", "id"]),
        "uid=1000(user) gid=10(wheel)"
    );
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--user",
            "user",
            "busybox",
            "stat",
            "-c",
            "%u:%g %a",
            "/data/file"
        ]),
        "1000:1000 640"
    );
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--user",
            "user",
            "busybox",
            "cat",
            "/data/file"
        ]),
        "from the image"
    );
    world.ok(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "touch /x && chown 1000:1000 /x && su user -c 'test -O /x'",
    ]);
}

#[test]
fn keep_id_gives_the_caller_its_own_number_inside() {
    requires_subids!();
    let world = World::with_busybox();
    let dir = world.path().join("shared");
    std::fs::create_dir(&dir).unwrap();
    let volume = format!("{}:/shared", dir.display());
    let uid = peer::uid().to_string();
    let out = world.ok(&[
        "run",
        "--rm",
        "--userns",
        "keep-id",
        "-v",
        &volume,
        "busybox",
        "sh",
        "-c",
        "id -u; touch /shared/mine; stat -c %u /shared/mine /data/file /bin/busybox",
    ]);
    // The image's owners are what they are in every other mode: 1000 and 0.
    assert_eq!(out, format!("{uid}\n{uid}\n1000\n0"));
    let other = world.ok(&[
        "run",
        "--rm",
        "--userns",
        "keep-id:uid=200,gid=300",
        "busybox",
        "sh",
        "-c",
        "id -u; id -g",
    ]);
    assert_eq!(other, "200\n300");
    // Root is there as well, for those who ask.
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--userns",
            "keep-id",
            "--user",
            "0",
            "busybox",
            "sh",
            "-c",
            "touch /f && stat -c %u /f /bin/busybox"
        ]),
        "0\n0"
    );
}

#[test]
fn the_ids_of_a_name_are_mapped_and_a_pod_shares_them() {
    requires_subids!();
    let world = World::with_busybox();
    let script = "id -u; cat /proc/self/uid_map";
    let flags = ["run", "--rm", "--network", "none"];
    let as_nomap = [
        &flags[..],
        &["--userns", "nomap", "busybox", "sh", "-c", script],
    ]
    .concat();
    let me = peer::uid().to_string();
    let named = [
        &flags[..],
        &["--subuidname", &me, "busybox", "sh", "-c", script],
    ]
    .concat();
    assert_eq!(world.ok(&named), world.ok(&as_nomap));
    let pod = [
        "pod",
        "create",
        "--network",
        "none",
        "--subgidname",
        &me,
        "web",
    ];
    world.ok(&pod);
    let inside = ["run", "--rm", "--pod", "web", "busybox", "sh", "-c", script];
    assert_eq!(world.ok(&inside), world.ok(&as_nomap));
    world.ok(&["pod", "rm", "-f", "-t", "0", "web"]);
    let foreign = [&flags[..], &["--subuidname", "somebody", "busybox", "true"]].concat();
    world.run(&foreign).code(125).says("\"somebody\"");
}

#[test]
fn nomap_auto_and_free_maps_work() {
    requires_subids!();
    let world = World::with_busybox();
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--userns",
            "nomap",
            "busybox",
            "stat",
            "-c",
            "%u",
            "/bin/busybox"
        ]),
        "0"
    );
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--userns",
            "auto",
            "busybox",
            "stat",
            "-c",
            "%u",
            "/bin/busybox"
        ]),
        "0"
    );
    let map = world.ok(&[
        "run",
        "--rm",
        "--userns",
        "auto:size=2000",
        "busybox",
        "cat",
        "/proc/self/uid_map",
    ]);
    let total: u64 = map
        .lines()
        .map(|l| l.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, 2000, "{map}");
    let free = world.ok(&[
        "run",
        "--rm",
        "--uidmap",
        "0:1:2000",
        "--gidmap",
        "0:1:2000",
        "busybox",
        "cat",
        "/proc/self/uid_map",
    ]);
    assert_eq!(free.split_whitespace().next(), Some("0"));
    assert_eq!(free.split_whitespace().nth(2), Some("2000"));
    world
        .run(&["run", "--rm", "--uidmap", "0:1:99999999", "busybox", "true"])
        .code(125);
}

/// Runs a script in a user namespace that has one id, as on a machine without subordinate ids.
fn with_one_id(world: &World, script: &str) -> Outcome {
    let coracle = env!("CARGO_BIN_EXE_coracle");
    let tar = crate::support::fixture::busybox_file(world.path());
    let script = format!(
        "set -e; coracle() {{ {coracle} \"$@\"; }}; tar={}; trap 'coracle system reset -f' EXIT; {script}",
        tar.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", &script]);
    world.settle(&mut command);
    Outcome::of(&["(in unshare -Ur)"], command.output().unwrap())
}

#[test]
fn one_id_serves_and_no_owner_is_lost() {
    requires!("unshare");
    let world = World::new();
    let script = r#"
        coracle import -q -c 'CMD ["sh"]' $tar busybox >/dev/null
        coracle run --rm --network none busybox cat /proc/self/uid_map
        coracle run --rm --network none busybox cat /data/file
        coracle run --rm --network none busybox sh -c 'touch /x && stat -c %u:%g /x /data/file'
        # The image has another owner for that file, and what comes out has it again.
        coracle save -q -o out.tar busybox
        coracle create --name c --network none busybox >/dev/null
        coracle export c | tar -tvf - data/file | awk '{print $2}'
        "#;
    let out = with_one_id(&world, script).code(0);
    let lines: Vec<&str> = out.stdout.lines().map(str::trim).collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "1"],
        "{out:?}"
    );
    assert_eq!(lines[1..4], ["from the image", "0:0", "0:0"], "{out:?}");
    assert_eq!(lines[4], "1000/1000", "{out:?}");
    assert!(
        out.stderr.contains("only one id"),
        "it says what is missing: {}",
        out.stderr
    );
}

#[test]
fn what_is_missing_is_told_once_to_somebody_who_hears_it() {
    requires!("unshare");
    let world = World::new();
    // The image step enters the namespace first, in silence; then the run tells; a reset forgets.
    let script = r#"
        coracle run -q --rm --network none hello >/dev/null
        echo -- >&2
        coracle run -q --rm --network none hello >/dev/null
        echo -- >&2
        coracle system reset -f
        coracle run --rm --network none hello >/dev/null
        "#;
    let out = with_one_id(&world, script).code(0);
    let told: Vec<usize> = out
        .stderr
        .split("--\n")
        .map(|part| part.matches("only one id").count())
        .collect();
    assert_eq!(told, [1, 0, 1], "{}", out.stderr);
}

#[test]
fn it_runs_inside_another_user_namespace() {
    requires!("unshare");
    let world = World::new();
    let out = with_one_id(&world, "coracle run --rm --network none hello").code(0);
    assert!(out.stdout.contains("Hello"), "{out:?}");
}

#[test]
fn it_runs_inside_a_container_of_its_own() {
    let world = World::with_busybox();
    let coracle = env!("CARGO_BIN_EXE_coracle");
    let args = [
        "run",
        "--rm",
        "-v",
        &format!("{coracle}:/bin/coracle:ro"),
        "--security-opt",
        "unmask=ALL",
        "--security-opt",
        "seccomp=unconfined",
        "--cap-add",
        "ALL",
        "--tmpfs",
        "/tmp",
        "-e",
        "CORACLE_ROOT=/tmp/data",
        "-e",
        "CORACLE_RUNROOT=/tmp/run",
        "busybox",
        "coracle",
        "run",
        "--rm",
        "--network",
        "none",
        "hello",
    ];
    let out = world.run(&args).code(0);
    assert!(out.stdout.contains("Hello"), "{out:?}");
}
