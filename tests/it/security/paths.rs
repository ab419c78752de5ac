//! Class A: paths into a tree that the container controls.

use super::{Canary, image, link, probe};
use crate::support::{World, fixture, peer};

/// CVE-2018-15664, CVE-2019-18466, CVE-2026-55686 and the like: whatever of the image is a link to
/// the host's, it is looked up inside.
#[test]
fn files_that_we_read_make_or_cover_are_found_inside_whatever_links_say() {
    let world = World::new();
    let canary = Canary::new(&world);
    let out = canary.path();
    for up in ["", "../../../../../../../.."] {
        let target = |name: &str| format!("{up}{out}/{name}");
        image(&world, "hostile", &["VOLUME /volume"], |tar| {
            for dir in ["etc", "real"] {
                fixture::add_dir(tar, dir, 0o755);
            }
            for name in ["passwd", "group", "hosts", "resolv.conf", "hostname"] {
                let leads = if matches!(name, "passwd" | "group") {
                    name
                } else {
                    "file"
                };
                link(tar, &format!("etc/{name}"), &target(leads));
            }
            link(tar, "out", &target("sub"));
            link(tar, "volume", &target("sub"));
            link(tar, "run", &target("sub"));
        });
        let volume = format!("{}:/out/bound", world.path().join("home").display());
        for line in [
            "run --rm --network none hostile probe descriptors",
            "run --rm --network none -w /out/new/dir hostile pwd",
            "run --rm --network none -w /out hostile touch made",
            "run --rm --network none --tmpfs /out/tmp hostile touch /out/tmp/made",
            "run --rm --network none --read-only --read-only-tmpfs hostile touch /run/made",
            "run --rm --network none --security-opt mask=/out/file hostile true",
            "run --rm --network none --mount type=volume,src=v,dst=/out/volume hostile touch /out/volume/made",
            "run --rm --network none --userns keep-id hostile true",
        ] {
            let outcome = world.run(&super::words(line));
            assert!(outcome.code == 0 || outcome.code >= 125, "{outcome:?}");
            canary.sings();
        }
        world.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &volume,
            "hostile",
            "true",
        ]);
        // The names are not those of the host's file.
        let named = "run --rm --network none --user evil hostile id -u";
        world.run(&super::words(named)).code(125).says("no user");
        let named = "run --rm --network none --user 7:evil hostile id -u";
        world.run(&super::words(named)).code(125).says("no group");
        let added = "run --rm --network none --group-add evil hostile id -u";
        world.run(&super::words(added)).code(125).says("no group");
        canary.sings();
        world.ok(&["rmi", "-f", "hostile"]);
    }
}

/// CVE-2024-9676, CVE-2026-47262: what is no bounded regular file is not read, and nothing hangs.
#[test]
fn account_files_of_any_kind_do_no_harm() {
    let world = World::new();
    for (kind, name) in [
        ("fifo", "passwd"),
        ("fifo", "group"),
        ("folder", "passwd"),
        ("folder", "group"),
        ("zeros", "group"),
        ("huge", "group"),
    ] {
        image(&world, "hostile", &[], |tar| {
            fixture::add_dir(tar, "etc", 0o755);
            let path = format!("etc/{name}");
            match kind {
                "fifo" => fixture::add_fifo(tar, &path),
                "folder" => fixture::add_dir(tar, &path, 0o755),
                "zeros" => link(tar, &path, "/dev/zero"),
                _ => fixture::add_file(tar, &path, 0o644, (0, 0), &vec![b'x'; 2 << 20]),
            }
        });
        let named = world.run(&super::words(
            "run --rm --network none --user who:who hostile id -u",
        ));
        assert_eq!(named.code, 125, "{kind} {name}: {named:?}");
        world.ok(&["rmi", "-f", "hostile"]);
    }
}

/// CVE-2018-15664: one container exchanges a folder and a link to the host's over and over, while
/// everything that walks its tree is done to it and to another that shares the volume.
#[test]
fn a_folder_that_turns_into_a_link_all_the_time_leads_nowhere() {
    requires!("cc");
    let world = World::with_busybox();
    let canary = Canary::new(&world);
    let tool = format!("{}:/probe:ro", probe().display());
    world.ok(&[
        "run", "-d", "--name", "swapper", "--network", "none", "-v", "shared:/data", "-v", &tool,
        "busybox", "sh", "-c",
        &format!(
            "mkdir -p /data/dir/sub; echo inside > /data/dir/file; ln -s {} /data/link; touch /data/ready; exec /probe swap /data/dir /data/link /data/stop",
            canary.path()
        ),
    ]);
    peer::wait_for("the exchange to begin", || {
        world
            .run(&["exec", "swapper", "test", "-e", "/data/ready"])
            .code
            == 0
    });
    let give = world.path().join("given");
    std::fs::write(&give, "given\n").unwrap();
    let give = give.to_str().unwrap();
    let got = world.path().join("got");
    let got = got.to_str().unwrap();
    for round in 0..12 {
        let new = format!("/data/dir/new{round}");
        let mounted = format!("type=tmpfs,dst=/data/dir/mount{round}");
        let masked = format!("mask=/data/dir/file:/data/dir/{round}");
        let with = ["--network", "none", "-v", "shared:/data"];
        let run = |args: &[&str]| {
            let all = [&["run", "--rm"], &with[..], args].concat();
            world.run(&all)
        };
        world.run(&["cp", give, &format!("swapper:{new}")]);
        world.run(&["cp", give, "swapper:/data/dir/sub/"]);
        let copied = world.run(&["cp", "swapper:/data/dir/file", got]);
        if copied.code == 0 {
            let text = std::fs::read_to_string(got).unwrap();
            assert_eq!(text, "inside\n", "a file of the host was copied");
            std::fs::remove_file(got).unwrap();
        }
        world.run(&["exec", "-w", "/data/dir/sub", "swapper", "touch", "exec"]);
        run(&["-w", &new, "busybox", "touch", "run"]);
        run(&["--mount", &mounted, "busybox", "true"]);
        run(&["--security-opt", &masked, "busybox", "true"]);
        run(&[
            "-v",
            &format!("{give}:/data/dir/bound{round}"),
            "busybox",
            "true",
        ]);
        canary.sings();
    }
    world.ok(&["exec", "swapper", "touch", "/data/stop"]);
    assert_eq!(world.ok(&["wait", "swapper"]), "0");
    let rounds: u64 = world.ok(&["logs", "swapper"]).parse().unwrap();
    assert!(rounds > 1000, "{rounds} exchanges only");
    canary.sings();
}
