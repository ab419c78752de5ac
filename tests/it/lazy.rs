//! `run --pull=lazy`: containers that start before their image is here.

use std::os::unix::process::CommandExt as _;
use std::time::Instant;

use crate::chunked::{add_image, noise};
use crate::support::hub::{Hub, Rules};
use crate::support::peer::wait_for;
use crate::support::{World, fixture};
use crate::upkeep::{df, du, near};

/// A registry with the image `big`: so many files of 400 kB, which do not compress.
fn hub(format: &str, files: usize) -> Hub {
    let hub = Hub::start(Rules::default());
    let world = World::new();
    let names: Vec<String> = (0..files).map(|n| format!("data/f{n}")).collect();
    let list: Vec<(&str, Vec<u8>)> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.as_str(), noise(400_000, n as u32)))
        .collect();
    add_image(&world, "big", &list);
    world.ok(&[
        "push",
        "-q",
        "--compression-format",
        format,
        "big",
        &hub.image("big"),
    ]);
    hub.sent();
    hub
}

fn layers(world: &World, kind: &str) -> usize {
    let path = world.data().join("store").join(kind);
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
        .count()
}

/// The FUSE servers of a world.
fn servers(world: &World) -> Vec<i32> {
    let own = format!("CORACLE_ROOT={}", world.data().display());
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let environ = std::fs::read(entry.path().join("environ")).ok()?;
        let ours = environ.split(|b| *b == 0).any(|v| v == own.as_bytes());
        (comm.trim() == "coracle-fuse" && ours).then_some(pid)
    })
    .collect()
}

#[test]
fn a_container_starts_long_before_its_image_is_here() {
    for format in ["zstd:chunked", "estargz"] {
        let hub = hub(format, 40);
        hub.change(|rules| rules.rate = 4_000_000);
        let whole = World::new();
        let begin = Instant::now();
        whole.ok(&["run", "--rm", &hub.image("big"), "sha256sum", "/data/f7"]);
        let whole_time = begin.elapsed();
        let world = World::new();
        let begin = Instant::now();
        let run = [
            "run",
            "--rm",
            "--pull=lazy",
            &hub.image("big"),
            "sha256sum",
            "/data/f7",
        ];
        let seen = world.ok(&run);
        let lazy_time = begin.elapsed();
        assert_eq!(
            seen,
            whole.ok(&["run", "--rm", &hub.image("big"), "sha256sum", "/data/f7"])
        );
        assert!(
            lazy_time * 2 < whole_time,
            "{lazy_time:?} of {whole_time:?}"
        );
        assert_eq!((layers(&world, "lazy"), layers(&world, "layers")), (1, 0));
        world.run(&["system", "check"]).code(0);
        // Everything else shows what is there, and says what is not.
        assert!(world.ok(&["images"]).contains("big"));
        world
            .run(&["push", &hub.image("big"), &hub.image("other")])
            .code(125)
            .says("pull the image again");
    }
}

#[test]
fn the_rest_is_fetched_behind_and_the_layer_becomes_an_ordinary_one() {
    let hub = hub("zstd:chunked", 10);
    let world = World::new();
    world.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--pull=lazy",
        &hub.image("big"),
        "sleep",
        "1000",
    ]);
    wait_for("the layer", || layers(&world, "layers") == 1);
    // What is not read yet is read from here now.
    hub.change(|rules| rules.down = true);
    let script = "cd /data && sha256sum *";
    let lazy = world.ok(&["exec", "c", "sh", "-c", script]);
    world.ok(&["rm", "-f", "-t", "0", "c"]);
    let run = [
        "run",
        "--rm",
        "--pull=lazy",
        &hub.image("big"),
        "sh",
        "-c",
        script,
    ];
    assert_eq!(world.ok(&run), lazy);
    assert!(servers(&world).is_empty(), "the kernel's overlay serves it");
    world.ok(&["image", "prune", "-f"]);
    assert_eq!(layers(&world, "lazy"), 0, "the holes are gone");
}

#[test]
fn without_its_registry_a_container_has_what_is_here_and_eio_for_the_rest() {
    let hub = hub("estargz", 10);
    hub.change(|rules| rules.rate = 300_000);
    let world = World::new();
    world.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--pull=lazy",
        &hub.image("big"),
        "sleep",
        "1000",
    ]);
    let first = world.ok(&["exec", "c", "sha256sum", "/data/f1"]);
    hub.change(|rules| rules.down = true);
    assert_eq!(world.ok(&["exec", "c", "sha256sum", "/data/f1"]), first);
    world
        .run(&["exec", "c", "cat", "/data/f9"])
        .code(1)
        .says("nput/output error");
    assert!(
        world.ok(&["exec", "c", "ls", "/data"]).contains("f9"),
        "names are all here"
    );
    let log = std::fs::read_to_string(world.data().join("store/lazy.log")).unwrap();
    assert!(log.contains("cannot fetch \"data/f9\""), "{log}");
    assert!(log.contains(&hub.address), "{log}");
    // What is here of it weighs what du(1) says.
    let rows = df(&world);
    let images = rows.iter().find(|row| row.0 == "Images").unwrap().1;
    near(images, du(&world, &[&world.data().join("store")]), "lazy");
    hub.change(|rules| rules.down = false);
    world.ok(&["exec", "c", "sha256sum", "/data/f9"]);
    world.ok(&["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn a_killed_server_loses_nothing_and_the_next_start_goes_on() {
    let hub = hub("zstd:chunked", 10);
    hub.change(|rules| rules.rate = 400_000);
    let world = World::new();
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "--pull=lazy",
        &hub.image("big"),
        "sleep",
        "1000",
    ];
    world.ok(&run);
    let first = world.ok(&["exec", "c", "sha256sum", "/data/f5"]);
    for pid in servers(&world) {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
    }
    wait_for("the server's end", || servers(&world).is_empty());
    world.run(&["exec", "c", "cat", "/data/f5"]);
    world.ok(&["rm", "-f", "-t", "0", "c"]);
    // What was fetched is read without the registry.
    hub.change(|rules| rules.down = true);
    world.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--pull=lazy",
        &hub.image("big"),
        "sleep",
        "1000",
    ]);
    assert_eq!(world.ok(&["exec", "c", "sha256sum", "/data/f5"]), first);
    world.run(&["exec", "c", "cat", "/data/f6"]).code(1);
    world.ok(&["rm", "-f", "-t", "0", "c"]);
    hub.change(|rules| {
        rules.down = false;
        rules.rate = 0;
    });
    let asked = hub.log().len();
    world.ok(&["pull", "-q", &hub.image("big")]);
    let log = hub.log();
    assert!(
        log[asked..].iter().any(|line| line.contains(" from ")),
        "it resumes: {log:?}"
    );
    world.ok(&["run", "--rm", &hub.image("big"), "sha256sum", "/data/f5"]);
}

#[test]
fn files_keep_their_rights_times_and_owners_when_they_are_filled_in() {
    let hub = Hub::start(Rules::default());
    let maker = World::new();
    let mut tar = tar::Builder::new(Vec::new());
    fixture::add_file(&mut tar, "special", 0o4755, (1, 2), &noise(50_000, 3));
    fixture::add_file(&mut tar, "other", 0o640, (3, 4), b"words");
    fixture::add_link(&mut tar, tar::EntryType::Link, "hard", "other");
    let mut bytes = fixture::busybox_tar();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend_from_slice(&tar.into_inner().unwrap());
    let path = maker.path().join("image.tar");
    std::fs::write(&path, bytes).unwrap();
    maker.ok(&["import", "-q", path.to_str().unwrap(), "x"]);
    maker.ok(&[
        "push",
        "-q",
        "--compression-format",
        "zstd:chunked",
        "x",
        &hub.image("x"),
    ]);
    hub.change(|rules| rules.rate = 1_000_000);
    let script = "stat -c %n:%a:%u:%g:%Y:%s:%h special other hard; sha256sum special other hard; \
                  stat -c %n:%a:%u:%g:%Y:%s:%h special other hard; echo more >> other; cat other";
    let whole = World::new().ok(&["run", "--rm", &hub.image("x"), "sh", "-c", script]);
    let world = World::new();
    for _ in 0..2 {
        let run = [
            "run",
            "--rm",
            "--pull=lazy",
            &hub.image("x"),
            "sh",
            "-c",
            script,
        ];
        assert_eq!(world.ok(&run), whole);
    }
    let run = [
        "run",
        "--rm",
        "--pull=lazy",
        "--userns=keep-id",
        &hub.image("x"),
    ];
    let mut keep = run.to_vec();
    keep.extend(["sh", "-c", "id -u; sha256sum /special"]);
    assert!(world.ok(&keep).contains("special"));
}

#[test]
fn a_registry_that_sends_other_content_is_not_believed() {
    let hub = hub("zstd:chunked", 4);
    let layer = hub.manifest("big", "latest")["layers"][0].clone();
    let digest = layer["digest"].as_str().unwrap();
    let mut bytes = hub.bytes_of(digest);
    // In the middle of the last file, which is stored as it is.
    let at = bytes.len() - 100_000;
    bytes[at] ^= 1;
    hub.replace(digest, bytes);
    let world = World::new();
    world.ok(&[
        "run",
        "-d",
        "--name",
        "c",
        "--pull=lazy",
        &hub.image("big"),
        "sleep",
        "1000",
    ]);
    world.ok(&["exec", "c", "sha256sum", "/data/f1"]);
    world.run(&["exec", "c", "sha256sum", "/data/f3"]).code(1);
    let log = || std::fs::read_to_string(world.data().join("store/lazy.log")).unwrap_or_default();
    wait_for("the log", || log().contains("content"));
    assert_eq!(layers(&world, "layers"), 0);
    world.ok(&["rm", "-f", "-t", "0", "c"]);
}

#[test]
fn images_without_a_table_are_pulled_as_usual_and_the_file_may_ask_for_it() {
    let hub = hub("zstd", 1);
    let world = World::new();
    world
        .run(&["run", "--rm", "--pull=lazy", &hub.image("big"), "true"])
        .code(0)
        .says("has no table of contents");
    assert_eq!((layers(&world, "lazy"), layers(&world, "layers")), (0, 1));
    world
        .run(&["pull", "--policy", "lazy", "x"])
        .code(125)
        .says("run and create");
    let hub = self::hub("zstd:chunked", 20);
    hub.change(|rules| rules.rate = 2_000_000);
    let world = World::new();
    let conf = world.path().join("containers.conf");
    std::fs::write(&conf, "[engine]\npull_policy = \"lazy\"\n").unwrap();
    let mut command = world.command(&["run", "--rm", &hub.image("big"), "true"]);
    command.env("CONTAINERS_CONF", &conf).arg0("coracle");
    assert!(command.status().unwrap().success());
    assert_eq!(layers(&world, "lazy"), 1);
    world.ok(&["rmi", "-f", &hub.image("big")]);
    assert_eq!(layers(&world, "lazy"), 0, "nothing stays");
    assert!(hub.sent() > 0);
}
