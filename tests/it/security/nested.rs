//! `--userns=nested`: container root without rights over what is ours.

use super::image;
use crate::support::{World, peer};

/// Whoever escapes a mount namespace, or sees the host's processes, is root of a namespace that
/// owns nothing of ours: not even with every capability.
#[test]
fn a_nested_container_has_no_rights_over_our_mounts_and_processes() {
    requires_subids!();
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let base = [
        "run",
        "-d",
        "--network",
        "none",
        "--pid",
        "host",
        "--privileged",
    ];
    let asked = [
        "--userns", "host", "--name", "flat", "hostile", "sleep", "100",
    ];
    world.ok(&[&base[..], &asked].concat());
    // Who sees the monitors and may trace gets it unasked.
    world.ok(&[&base[..], &["--name", "nested", "hostile", "sleep", "100"]].concat());
    assert_eq!(
        world.inspect("nested", "{{.HostConfig.UsernsMode}}"),
        "nested"
    );
    let map = "cat /proc/self/uid_map";
    let map = |name: &str| world.ok(&["exec", name, "sh", "-c", map]);
    let ids = |text: String| {
        let lines = text.lines().map(|l| {
            let words: Vec<u64> = l.split_whitespace().map(|w| w.parse().unwrap()).collect();
            (words[0], words[2])
        });
        lines.collect::<Vec<_>>()
    };
    assert_eq!(ids(map("nested")), ids(map("flat")), "it has the same ids");
    let monitor = world.inspect("nested", "{{.State.ConmonPid}}");
    let tried = world.ok(&["exec", "nested", "probe", "victim", &monitor]);
    assert_eq!(
        tried.lines().filter(|l| l.ends_with(": ok")).count(),
        0,
        "{tried}"
    );
    // The same attempt without the nested namespace shows that the test can fail.
    let tried = world.ok(&["exec", "flat", "probe", "victim", &monitor]);
    assert!(tried.contains("environ: ok"), "{tried}");
}

/// Only who sees the monitors and may trace needs it: any other has the usual namespace.
#[test]
fn a_container_that_could_take_over_a_monitor_is_nested() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let mode = |name: &str, options: &str| {
        let line = format!("create --network none --name {name} {options} hostile true");
        world.ok(&super::words(&line));
        world.inspect(name, "{{.HostConfig.UsernsMode}}")
    };
    assert_eq!(mode("usual", "--pid host"), "");
    assert_eq!(mode("hidden", "--cap-add sys_ptrace"), "");
    assert_eq!(mode("traces", "--pid host --cap-add sys_ptrace"), "nested");
    assert_eq!(mode("privileged", "--pid host --privileged"), "nested");
    let less = "--pid host --privileged --cap-drop sys_ptrace";
    assert_eq!(mode("less", less), "");
    assert_eq!(
        mode("path", "--pid ns:/proc/self/ns/pid --cap-add all"),
        "nested"
    );
    assert_eq!(mode("asked", "--pid host --privileged --userns host"), "");
    // Through another one, that sees them without such rights itself.
    let chain = |name: &str, of: &str| mode(name, &format!("--pid container:{of} --privileged"));
    assert_eq!(chain("through", "usual"), "nested");
    assert_eq!(chain("farther", "through"), "nested");
    assert_eq!(chain("elsewhere", "hidden"), "");
    // And it works, as the others do.
    let seen = "run --rm --network none --pid host --cap-add sys_ptrace hostile sh -c";
    let script = "test -d /proc/1 && cat /proc/self/status | grep -c CapEff";
    assert_eq!(world.ok(&[super::words(seen), vec![script]].concat()), "1");
    let monitor = world.run(&super::words(
        "run -d --network none --name c --pid host --cap-add sys_ptrace hostile sleep 100",
    ));
    assert_eq!(monitor.code, 0, "{}", monitor.stderr);
    let monitor = world.inspect("c", "{{.State.ConmonPid}}");
    let tried = world.ok(&["exec", "--privileged", "c", "probe", "victim", &monitor]);
    assert!(!tried.contains(": ok"), "{tried}");
}

/// Mounts are locked together: what covers something cannot be taken away, although the container
/// may mount and unmount its own.
#[test]
fn covers_cannot_be_removed_in_a_nested_container() {
    requires_subids!();
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let script = "for m in /proc/sys /proc/kcore /dev/null /etc/hosts /sys/firmware /proc; do umount $m 2>/dev/null && echo unmounted $m; done; mount -o remount,rw /proc/sys 2>/dev/null && echo remounted; mount -t tmpfs none /sys/fs && umount /sys/fs && echo own; touch /made; stat -c %u /made /bin/busybox";
    let base = ["run", "--rm", "--network", "none", "--cap-add", "all"];
    let args = [
        &base[..],
        &["--userns", "nested", "hostile", "sh", "-c", script],
    ]
    .concat();
    assert_eq!(world.ok(&args), "own\n0\n0");
}

/// It starts, restarts, is copied to and committed as any other, with a network and volumes.
#[test]
fn a_nested_container_works_as_any_other() {
    requires_subids!();
    let world = World::with_busybox();
    world.ok(
        &super::words("run -d --name n --userns nested -v v:/v -e A=b busybox sh -c")
            .into_iter()
            .chain(["chown 1000 /v; touch /v/f /here; exec sleep 100"])
            .collect::<Vec<_>>(),
    );
    peer::wait_for("the container's file", || {
        world.run(&["exec", "n", "test", "-e", "/here"]).code == 0
    });
    assert_eq!(world.ok(&["exec", "n", "stat", "-c", "%u", "/v"]), "1000");
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            "v:/v",
            "busybox",
            "stat",
            "-c",
            "%u",
            "/v"
        ]),
        "1000"
    );
    world.ok(&["restart", "-t", "0", "n"]);
    let file = world.path().join("f");
    std::fs::write(&file, "x").unwrap();
    world.ok(&["cp", file.to_str().unwrap(), "n:/copied"]);
    world.ok(&["commit", "-q", "n", "made"]);
    assert_eq!(
        world.ok(&["run", "--rm", "--network", "none", "made", "cat", "/copied"]),
        "x"
    );
    // No other layers were made for it: it shares those of every container.
    let layers = std::fs::read_dir(world.data().join("store/layers")).unwrap();
    let layers = layers
        .flatten()
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
        .count();
    assert_eq!(layers, 2);
}
