//! Class D: mounts while others change what is mounted on, /dev, /proc, /sys, masks, terminals.

use super::{Canary, image, link, probe};
use crate::support::{World, fixture, peer};

/// CVE-2026-41579, CVE-2019-19921, CVE-2025-54867: whatever an image has in the place of a kernel
/// file system, it is refused or covered by a real one.
#[test]
fn folders_of_the_kernel_s_may_be_anything_in_an_image() {
    let world = World::new();
    let canary = Canary::new(&world);
    for place in [
        "dev",
        "proc",
        "sys",
        "dev/pts",
        "dev/shm",
        "dev/console",
        "dev/null",
        "etc",
        "run",
    ] {
        for kind in ["link", "up", "file", "fifo"] {
            image(&world, "hostile", &[], |tar| {
                if place.contains('/') {
                    fixture::add_dir(tar, "dev", 0o755);
                }
                match kind {
                    "link" => link(tar, place, canary.path()),
                    "up" => link(
                        tar,
                        place,
                        &format!("../../../../../../..{}", canary.path()),
                    ),
                    "file" => fixture::add_file(tar, place, 0o644, (0, 0), b"x"),
                    _ => fixture::add_fifo(tar, place),
                }
            });
            let script = "stat -f -c %T /proc /sys /dev /dev/pts /dev/shm; stat -c %t:%T /dev/null; [ -s /proc/kcore ] && echo kcore; true";
            let args = [
                "run",
                "--rm",
                "--network",
                "none",
                "hostile",
                "sh",
                "-c",
                script,
            ];
            let outcome = world.run(&args);
            if outcome.code == 0 {
                let lines: Vec<_> = outcome.stdout.lines().collect();
                assert_eq!(
                    lines,
                    ["proc", "sysfs", "tmpfs", "devpts", "tmpfs", "1:3"],
                    "{place} {kind}"
                );
            } else {
                assert!(
                    (125..=127).contains(&outcome.code),
                    "{place} {kind}: {outcome:?}"
                );
                assert!(!place.contains('/'), "{place} {kind}: {outcome:?}");
            }
            canary.sings();
            world.ok(&["rmi", "-f", "hostile"]);
        }
    }
}

/// CVE-2021-30465, CVE-2025-31133, CVE-2025-52881: one container exchanges a folder and links to
/// kernel file systems below a shared volume, while others start with mounts, masks and read-only
/// paths there. Each that starts has its kernel file systems whole, and the host's are as before.
#[test]
fn starts_during_exchanges_of_their_targets_keep_masks_and_host_whole() {
    let world = World::with_busybox();
    let canary = Canary::new(&world);
    let knobs = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/self/attr/current",
    ];
    let read = |path: &&str| std::fs::read(path).unwrap_or_default();
    let before: Vec<_> = knobs.iter().map(read).collect();
    let tool = format!("{}:/probe:ro", probe().display());
    for aim in ["/proc", "/proc/sys", "/sys", "/dev", canary.path()] {
        let script = format!(
            "rm -rf /data/*; mkdir -p /data/dir/sys /data/dir/kernel; touch /data/dir/kcore; ln -s {aim} /data/link; touch /data/ready; exec /probe swap /data/dir /data/link /data/stop"
        );
        world.ok(&[
            "run",
            "-d",
            "--name",
            "swapper",
            "--network",
            "none",
            "-v",
            "shared:/data",
            "-v",
            &tool,
            "busybox",
            "sh",
            "-c",
            &script,
        ]);
        peer::wait_for("the exchange to begin", || {
            world
                .run(&["exec", "swapper", "test", "-e", "/data/ready"])
                .code
                == 0
        });
        let check = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/hostname; do echo x 2>/dev/null > $f && echo $f; done; [ -s /proc/kcore ] && echo kcore; stat -f -c %T /proc /sys; stat -c %t:%T /dev/null; ls /sys/firmware";
        let mut ran = 0;
        for round in 0..4 {
            for more in [
                &["--tmpfs", "/data/dir/sys"][..],
                &["--tmpfs", "/data/dir"],
                &["-v", "other:/data/dir/kernel"],
                &["--security-opt", "mask=/data/dir/kcore:/data/dir/sys"],
                &[
                    "--security-opt",
                    "mask=/data/dir",
                    "--sysctl",
                    "net.ipv4.ip_forward=1",
                ],
            ] {
                let name = format!("c{round}");
                let start = [
                    "run",
                    "--rm",
                    "--name",
                    &name,
                    "--network",
                    "none",
                    "-v",
                    "shared:/data",
                ];
                let outcome = world.run(&[&start, more, &["busybox", "sh", "-c", check]].concat());
                // A target that is on a kernel file system at that moment is refused.
                if outcome.stdout.is_empty() {
                    assert!(
                        (125..=127).contains(&outcome.code),
                        "{aim} {more:?}: {outcome:?}"
                    );
                    continue;
                }
                ran += 1;
                let lines: Vec<_> = outcome.stdout.lines().collect();
                assert_eq!(lines, ["proc", "sysfs", "1:3"], "{aim} {more:?}");
            }
        }
        assert!(ran > 0, "{aim}: no start succeeded");
        world.ok(&["exec", "swapper", "touch", "/data/stop"]);
        assert_eq!(world.ok(&["wait", "swapper"]), "0");
        world.ok(&["rm", "swapper"]);
        assert_eq!(knobs.iter().map(read).collect::<Vec<_>>(), before, "{aim}");
        canary.sings();
    }
}

/// `-v` of a path that a container exchanges: its source is looked at once, so what was checked is
/// what is bound: one of the two, never a mixture, and read-only stays read-only.
#[test]
fn a_source_that_is_exchanged_is_bound_as_it_was_opened() {
    let world = World::with_busybox();
    let canary = Canary::new(&world);
    let shared = world.path().join("shared");
    std::fs::create_dir_all(shared.join("dir")).unwrap();
    std::fs::write(shared.join("dir/file"), "inside\n").unwrap();
    std::os::unix::fs::symlink(canary.path(), shared.join("link")).unwrap();
    let tool = format!("{}:/probe:ro", probe().display());
    let volume = format!("{}:/data", shared.display());
    world.ok(&[
        "run",
        "-d",
        "--name",
        "swapper",
        "--network",
        "none",
        "-v",
        &volume,
        "-v",
        &tool,
        "busybox",
        "/probe",
        "swap",
        "/data/dir",
        "/data/link",
        "/data/stop",
    ]);
    let source = format!("{}/dir:/in:ro", shared.display());
    for _ in 0..12 {
        let args = [
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &source,
            "busybox",
            "sh",
            "-c",
            "cat /in/file; touch /in/made 2>/dev/null && echo written; ls -d /in/sub 2>/dev/null",
        ];
        let outcome = world.run(&args);
        let good = ["inside\n", "host's\n/in/sub\n"];
        assert!(good.contains(&outcome.stdout.as_str()), "{outcome:?}");
    }
    std::fs::write(shared.join("stop"), "").unwrap();
    assert_eq!(world.ok(&["wait", "swapper"]), "0");
    canary.sings();
}

/// CVE-2025-52565: the terminal is one of the container's own instance, whatever its /dev has, and
/// what is typed into it by a program stays in it.
#[test]
fn the_terminal_is_the_container_s_own() {
    let world = World::new();
    image(&world, "hostile", &[], |tar| {
        fixture::add_dir(tar, "dev", 0o755);
        fixture::add_dir(tar, "dev/pts", 0o755);
        link(tar, "dev/console", "/proc/sys/kernel/core_pattern");
        link(tar, "dev/pts/0", "/proc/sys/kernel/core_pattern");
        link(tar, "dev/ptmx", "/proc/sysrq-trigger");
    });
    let coracle = env!("CARGO_BIN_EXE_coracle");
    let at_terminal = |line: &str| {
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &format!("{coracle} {line}"), "/dev/null"]);
        world.settle(&mut command);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    };
    let told = at_terminal(
        "run --rm -t --network none hostile stat -L -c %t:%T:%F /dev/console /proc/self/fd/0",
    );
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines, ["88:0:character special file"; 2], "{told}");
    // Without -t the caller's terminal is not reachable at all.
    let told = at_terminal("run --rm -i --network none hostile probe nodes");
    assert!(told.contains("TIOCSTI: ENOTTY"), "{told}");
    assert!(
        !told.contains("mknod(mem): ok") && !told.contains("mknod(sda): ok"),
        "{told}"
    );
}
