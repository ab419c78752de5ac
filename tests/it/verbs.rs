//! Verbs on containers that few people need: clone, init, cleanup, mount, wait for the first.

use crate::support::World;

fn create(w: &World, name: &str, more: &[&str]) {
    let base = ["create", "--name", name, "--network", "none"];
    w.ok(&[&base[..], more].concat());
}

#[test]
fn a_clone_has_the_options_of_the_first() {
    let w = World::with_busybox();
    let more = "-e A=1 -l k=v -v data:/d -v /anonymous --umask 077 busybox sh -c";
    let mut args: Vec<&str> = more.split(' ').collect();
    args.push("echo $A; umask; ls /d");
    create(&w, "first", &args);
    w.ok(&["start", "-a", "first"]);
    let id = w.ok(&["container", "clone", "first"]);
    assert_eq!(id.len(), 64);
    assert_eq!(
        w.inspect(&id, "{{.Name}} {{.Config.Labels.k}}"),
        "first-clone v"
    );
    assert_eq!(w.ok(&["start", "-a", "first-clone"]), "1\n0077");
    assert_eq!(w.ok(&["volume", "ls", "-q"]).lines().count(), 3);
    w.ok(&["container", "clone", "first"]);
    w.ok(&["container", "exists", "first-clone1"]);
    // A name, another image, and the first one goes.
    w.ok(&["tag", "busybox", "other"]);
    w.ok(&[
        "container",
        "clone",
        "--destroy",
        "first",
        "second",
        "other",
    ]);
    w.run(&["container", "exists", "first"]).code(1);
    assert!(w.inspect("second", "{{.ImageName}}").contains("other"));
    assert_eq!(w.ok(&["start", "-a", "second"]), "1\n0077");
    w.run(&["container", "clone", "second", "first-clone"])
        .code(125)
        .says("first-clone");
    // At once.
    create(&w, "long", &["busybox", "sleep", "300"]);
    w.ok(&["container", "clone", "--run", "long", "runs"]);
    assert_eq!(w.inspect("runs", "{{.State.Status}}"), "running");
    w.run(&["container", "clone", "--destroy", "runs"])
        .code(125)
        .says("--force");
    w.ok(&[
        "container",
        "clone",
        "--destroy",
        "--force",
        "runs",
        "again",
    ]);
    w.run(&["container", "exists", "runs"]).code(1);
}

#[test]
fn init_tells_what_is_missing_and_fills_volumes() {
    let w = World::with_busybox();
    create(&w, "good", &["-v", "v:/etc", "busybox", "true"]);
    assert_eq!(w.ok(&["init", "good"]), "good");
    assert_eq!(w.inspect("good", "{{.State.Status}}"), "created");
    let passwd = w.data().join("volumes/v/_data/passwd");
    assert!(passwd.exists());
    let dir = w.path().join("gone");
    std::fs::create_dir(&dir).unwrap();
    let bind = format!("{}:/x", dir.display());
    create(&w, "bad", &["-v", &bind, "busybox", "true"]);
    std::fs::remove_dir(&dir).unwrap();
    w.run(&["container", "init", "bad", "good"])
        .code(125)
        .says("gone");
    w.ok(&["start", "good"]);
    create(&w, "runs", &["busybox", "sleep", "300"]);
    w.ok(&["start", "runs"]);
    w.run(&["init", "runs"]).code(125).says("running");
    w.run(&["container", "cleanup", "runs"])
        .code(125)
        .says("runs");
    w.ok(&["wait", "good"]);
    assert_eq!(w.ok(&["container", "cleanup", "good"]), "good");
    w.ok(&["container", "exists", "good"]);
    w.ok(&["container", "cleanup", "--rm", "good"]);
    w.run(&["container", "exists", "good"]).code(1);
}

#[test]
fn mounts_are_made_inside_unshare_and_refused_outside() {
    let w = World::with_busybox();
    create(&w, "idle", &["busybox", "true"]);
    create(
        &w,
        "busy",
        &["busybox", "sh", "-c", "echo inside >/made; sleep 300"],
    );
    w.ok(&["start", "busy"]);
    crate::support::peer::wait_for("the file", || {
        w.run(&["exec", "busy", "cat", "/made"]).stdout == "inside\n"
    });
    w.run(&["mount", "idle"]).code(125).says("coracle unshare");
    w.run(&["unmount", "idle"])
        .code(125)
        .says("coracle unshare");
    assert_eq!(w.ok(&["mount"]), "");
    let script = format!(
        "set -e; c={}; m=$($c mount idle); cat $m/etc/passwd | head -n 1; echo x >$m/new; \
         test $($c mount idle) = $m; b=$($c mount busy); cat $b/made; \
         $c mount | wc -l; $c mount --format json | grep -c mountpoint; \
         $c umount idle; test ! -e $m/new; $c unmount --all; $c mount | wc -l; $c unmount idle || echo gone",
        env!("CARGO_BIN_EXE_coracle")
    );
    let got = w.run(&["unshare", "sh", "-c", &script]);
    let lines: Vec<&str> = got.stdout.lines().collect();
    assert_eq!(lines[0].split(':').next(), Some("root"), "{got:?}");
    assert_eq!(lines[1..5], ["inside", "2", "2", "idle"], "{got:?}");
    assert_eq!(lines[6..], ["0", "gone"], "{got:?}");
    // What was written is the container's, and other commands work in there.
    assert!(w.ok(&["diff", "idle"]).contains("A /new"));
    let run = format!(
        "{} run --rm --network none busybox id -u; {} ps -q | wc -l",
        env!("CARGO_BIN_EXE_coracle"),
        env!("CARGO_BIN_EXE_coracle")
    );
    assert_eq!(w.ok(&["unshare", "sh", "-c", &run]), "0\n1");
    // The namespace is still the one of the others.
    assert_eq!(w.ok(&["exec", "busy", "cat", "/made"]), "inside");
}

#[test]
fn the_first_of_several_ends_a_wait() {
    let w = World::with_busybox();
    let run = ["run", "-d", "--rm", "--network", "none", "--name"];
    let start = |name: &str, script: &str| {
        w.ok(&[&run[..], &[name, "busybox", "sh", "-c", script]].concat());
    };
    start("slow", "sleep 300");
    start("quick", "while [ ! -e /go ]; do sleep 0.05; done; exit 9");
    let args = ["wait", "--exit-first-match", "slow", "quick"];
    let child = w.spawn(&args);
    w.ok(&["exec", "quick", "touch", "/go"]);
    let got = crate::support::Outcome::of(&args, child.wait_with_output().unwrap());
    assert_eq!(got.ok(), "9");
    assert_eq!(w.inspect("slow", "{{.State.Status}}"), "running");
    w.run(&["wait", "--exit-first-match", "nobody"])
        .code(125)
        .says("nobody");
    let ignore = [
        "wait",
        "--exit-first-match",
        "--ignore",
        "--condition=running",
    ];
    assert_eq!(w.ok(&[&ignore[..], &["nobody", "slow"]].concat()), "-1");
}
