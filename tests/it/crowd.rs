//! Many commands at once on one store.

use std::time::{Duration, Instant};

use crate::support::{World, peer};

#[test]
fn fifty_runs_at_once_on_a_cold_store_all_work() {
    let world = World::with_busybox();
    let children: Vec<_> = (0..50)
        .map(|i| world.spawn(&["run", "--rm", "busybox", "sh", "-c", &format!("exit {i}")]))
        .collect();
    for (i, child) in children.into_iter().enumerate() {
        let out = child.wait_with_output().unwrap();
        assert_eq!(
            out.status.code(),
            Some(i as i32),
            "run {i}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn fifty_mixed_commands_do_not_disturb_each_other() {
    let world = World::with_busybox();
    let mut children = Vec::new();
    for i in 0..10 {
        let name = format!("c{i}");
        children.push(world.spawn(&["create", "--name", &name, "busybox", "true"]));
        children.push(world.spawn(&[
            "run",
            "-d",
            "--name",
            &format!("d{i}"),
            "busybox",
            "sleep",
            "100",
        ]));
        children.push(world.spawn(&["volume", "create", &format!("v{i}")]));
        children.push(world.spawn(&["ps", "-a"]));
        children.push(world.spawn(&["tag", "busybox", &format!("copy{i}")]));
    }
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    assert_eq!(world.ok(&["ps", "-aq"]).lines().count(), 20);
    assert_eq!(world.ok(&["ps", "-q"]).lines().count(), 10);
    assert_eq!(world.ok(&["volume", "ls", "-q"]).lines().count(), 10);
    assert_eq!(world.ok(&["images", "--noheading"]).lines().count(), 11);
    let removers: Vec<_> = (0..10)
        .map(|i| world.spawn(&["rm", "-f", &format!("d{i}"), &format!("c{i}")]))
        .collect();
    for child in removers {
        let out = child.wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn one_name_goes_to_one_of_many() {
    let world = World::with_busybox();
    let children: Vec<_> = (0..10)
        .map(|_| world.spawn(&["create", "--name", "only", "busybox"]))
        .collect();
    let won = children
        .into_iter()
        .filter(|_| true)
        .map(|c| c.wait_with_output().unwrap());
    let (good, bad): (Vec<_>, Vec<_>) = won.partition(|o| o.status.success());
    assert_eq!((good.len(), bad.len()), (1, 9));
    for loser in bad {
        assert_eq!(loser.status.code(), Some(125));
        assert!(String::from_utf8_lossy(&loser.stderr).contains("already in use"));
    }
    assert_eq!(world.ok(&["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn fifty_commands_that_make_and_remove_the_same_things_all_end_well() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(crate::support::peer::Mode::Plain);
    let remote = registry.image("crowd");
    world.ok(&["push", "-q", "--tls-verify=false", "busybox", &remote]);
    for i in 0..10 {
        world.ok(&["create", "--name", &format!("old{i}"), "busybox", "true"]);
    }
    let mut children = Vec::new();
    let mut add = |args: &[&str], may: &'static [&'static str]| {
        children.push((args.join(" "), may, world.spawn(args)));
    };
    for i in 0..10 {
        add(
            &["run", "--rm", "--network", "none", "busybox", "true"],
            &[],
        );
        add(&["rm", "-f", &format!("old{i}")], &[]);
        add(&["pull", "-q", "--tls-verify=false", &remote], &[]);
        // It is there or not; another one that removes it comes first; a pull has just begun to use it.
        add(
            &["rmi", &remote],
            &["no such image", "image not known", "not found"],
        );
        add(&["ps", "-a"], &[]);
    }
    for (line, may, child) in children {
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success() || may.iter().any(|text| said.contains(text)),
            "{line}: {said}"
        );
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    // Whatever came last: the image can be had and run, and gone for good.
    world.ok(&["pull", "-q", "--tls-verify=false", &remote]);
    world.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        &remote,
        "cat",
        "/data/file",
    ]);
    world.ok(&["rmi", &remote]);
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "busybox",
            "echo",
            "well"
        ]),
        "well"
    );
}

/// Pulls, removals, prunes and runs by eight at once; `CROWD=120` for two minutes of it.
#[test]
fn pulls_removals_and_prunes_at_once_break_nothing_and_leave_nothing() {
    requires!("docker-registry");
    let w = World::with_busybox();
    let registry = w.registry(peer::Mode::Plain);
    let plain = "--tls-verify=false";
    let mut names = Vec::new();
    for n in 0..4 {
        // Two share a layer, two have another.
        let base = format!("base{}", n % 2);
        let script = format!("dd if=/dev/urandom of=/f{n} bs=64k count=8 2>/dev/null");
        let from = if n < 2 { "busybox" } else { &base };
        let run = [
            "run",
            "--name",
            "m",
            "--network",
            "none",
            from,
            "sh",
            "-c",
            &script,
        ];
        w.ok(&run);
        w.ok(&["commit", "-q", "m", &base]);
        w.ok(&["rm", "m"]);
        names.push(registry.image(&format!("crowd:{n}")));
        w.ok(&["push", "-q", plain, &base, &names[n]]);
    }
    let seconds = std::env::var("CROWD").map_or(15, |s| s.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    let work = |worker: usize| {
        let mut done = 0;
        for turn in worker.. {
            if Instant::now() >= until {
                return done;
            }
            let name = &names[(turn * 7 + worker) % names.len()];
            let out = match (turn + worker) % 6 {
                0 | 1 => w.run(&["pull", "-q", plain, name]).code(0),
                2 => {
                    let run = ["run", "--rm", "--network", "none", plain, "-q"];
                    // Removed between the pull and the start, it is told so, in these words.
                    let out = w.run(&[&run[..], &[name, "echo", "fine"]].concat());
                    assert!(
                        out.code == 0 || out.stderr.contains("no such image"),
                        "{out:?}"
                    );
                    out
                }
                3 => {
                    let out = w.run(&["rmi", "-f", name]);
                    let gone = out.code == 1 && out.stderr.contains("no such image");
                    let used = out.code == 2 && out.stderr.contains("is used by container");
                    assert!(out.code == 0 || gone || used, "{out:?}");
                    out
                }
                4 => w.run(&["image", "prune", "-af"]).code(0),
                _ => w.run(&["system", "prune", "-f"]).code(0),
            };
            for ours in [
                "damaged",
                "not in the store",
                "panicked",
                "internal",
                "No such file",
            ] {
                assert!(!out.stderr.contains(ours), "{out:?}");
            }
            done += 1;
        }
        done
    };
    let done: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|n| scope.spawn(move || work(n))).collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    eprintln!("{done} commands in {seconds} s");
    assert!(done > 16);
    w.ok(&["rmi", "-af"]);
    w.ok(&["system", "prune", "-af", "--volumes"]);
    let left = w.run(&["system", "check", "--max", "0"]).code(0);
    assert_eq!(left.stdout, "");
    for part in ["layers", "blobs/sha256", "images", "staging", "trash"] {
        let dir = w.data().join("store").join(part);
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let left: Vec<_> = names
            .map(|e| e.file_name().into_string().unwrap())
            .filter(|n| !n.starts_with('.'))
            .collect();
        assert!(left.is_empty(), "{part}: {left:?}");
    }
}
