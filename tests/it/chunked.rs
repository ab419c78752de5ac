//! Layers with a table of contents: made, given away, read by others, pulled in parts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::hub::{Hub, Rules, sha256};
use crate::support::peer::Mode;
use crate::support::{Outcome, World, fixture};

fn peer(world: &World, program: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(args);
    world.settle(&mut command);
    Outcome::of(args, command.output().unwrap())
}

/// Content that does not compress.
pub fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut x = seed;
    (0..bytes)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

/// Imports an image with busybox and these files.
pub fn add_image(world: &World, name: &str, files: &[(&str, Vec<u8>)]) {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        fixture::add_file(&mut tar, path, 0o644, (1, 2), content);
    }
    let own = tar.into_inner().unwrap();
    // Both archives in one: busybox without its end.
    let mut bytes = fixture::busybox_tar();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend_from_slice(&own);
    let path = world.path().join("image.tar");
    std::fs::write(&path, bytes).unwrap();
    world.ok(&[
        "import",
        "-q",
        "-c",
        r#"CMD ["sh"]"#,
        path.to_str().unwrap(),
        name,
    ]);
}

/// What a program makes of some input.
fn through(program: &str, args: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    drop(writer.join());
    assert!(output.status.success(), "{program} {args:?}");
    output.stdout
}

#[test]
fn layers_with_a_table_are_read_by_skopeo_podman_and_plain_tools() {
    requires!("docker-registry", "skopeo", "podman", "zstd");
    let world = World::new();
    let registry = world.registry(Mode::Plain);
    add_image(
        &world,
        "thing",
        &[
            ("data/big", noise(5 << 20, 1)),
            ("data/small", b"x".to_vec()),
        ],
    );
    let id = world.ok(&["images", "-q", "--no-trunc", "thing"]);
    for (format, tool, key) in [
        (
            "zstd:chunked",
            "zstd",
            "io.github.containers.zstd-chunked.manifest-position",
        ),
        (
            "estargz",
            "gzip",
            "containerd.io/snapshot/stargz/toc.digest",
        ),
    ] {
        let image = registry.image(&format!("thing:{tool}"));
        world.ok(&[
            "push",
            "-q",
            "--compression-format",
            format,
            "thing",
            &image,
        ]);
        let from = format!("docker://{image}");
        let raw = peer(
            &world,
            "skopeo",
            &["inspect", "--raw", "--tls-verify=false", &from],
        )
        .ok();
        let manifest: serde_json::Value = serde_json::from_str(&raw).unwrap();
        assert!(
            manifest["layers"][0]["annotations"][key].is_string(),
            "{raw}"
        );
        // skopeo verifies the digests of blobs, podman those of the archives within as well.
        let folder = world.path().join(tool);
        let to = format!("dir:{}", folder.display());
        peer(
            &world,
            "skopeo",
            &["copy", "--src-tls-verify=false", &from, &to],
        )
        .ok();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        let blob = std::fs::read(folder.join(layer.trim_start_matches("sha256:"))).unwrap();
        let names = through("tar", &["t"], through(tool, &["-dc"], blob));
        let names = String::from_utf8(names).unwrap();
        assert!(names.contains("data/big\n"), "{names}");
        let root = world.path().join("podman");
        let storage = ["--root", root.to_str().unwrap(), "--storage-driver", "vfs"];
        let mut args = storage.to_vec();
        args.extend(["pull", "-q", "--tls-verify=false", &image]);
        peer(&world, "podman", &args).ok();
        let mut args = storage.to_vec();
        let mount = format!(
            "cd $(podman --root {0} --storage-driver vfs image mount {image}) && sha256sum data/big && stat -c %u:%g data/small",
            root.display()
        );
        args.extend(["unshare", "sh", "-c", &mount]);
        let seen = peer(&world, "podman", &args).ok();
        let digest = sha256(&noise(5 << 20, 1));
        assert!(
            seen.starts_with(digest.trim_start_matches("sha256:")),
            "{seen}"
        );
        assert!(seen.ends_with("1:2"), "{seen}");
        // And by ourselves, byte for byte.
        let other = World::new();
        other.ok(&["pull", "-q", &image]);
        let same = other.ok(&["images", "-q", "--no-trunc"]) == id;
        assert_eq!(same, tool == "zstd", "eStargz is another archive");
        let script = "sha256sum /data/big; cat /data/small; stat -c %u:%g /data/small";
        let seen = other.ok(&["run", "--rm", &image, "sh", "-c", script]);
        let ours = world.ok(&["run", "--rm", "thing", "sh", "-c", script]);
        assert_eq!(seen, ours);
    }
}

#[test]
fn images_are_converted_and_saved_and_loaded() {
    let world = World::new();
    add_image(&world, "thing", &[("data/x", b"content".to_vec())]);
    let id = world.ok(&["images", "-q", "--no-trunc", "thing"]);
    for (flag, same) in [
        ("--zstdchunked", true),
        ("--estargz", false),
        ("--zstd", true),
        ("--uncompressed", true),
    ] {
        let digest = world.ok(&["image", "convert", flag, "--oci", "thing", "made"]);
        assert!(digest.starts_with("sha256:"), "{digest}");
        assert_eq!(world.inspect_image("made", "{{.Digest}}"), digest);
        let made = world.ok(&["images", "-q", "--no-trunc", "made"]);
        assert_eq!(made == id, same, "{flag}");
        let archive = world.path().join("made.tar");
        let archive = archive.to_str().unwrap();
        world.ok(&[
            "save",
            "-q",
            "--format",
            "oci-archive",
            "-o",
            archive,
            "made",
        ]);
        let other = World::new();
        other.ok(&["load", "-q", "-i", archive]);
        assert_eq!(other.inspect_image("made", "{{.Digest}}"), digest, "{flag}");
        assert_eq!(
            other.ok(&["run", "--rm", "made", "cat", "/data/x"]),
            "content"
        );
        world.ok(&["untag", "made", "made"]);
    }
    world
        .run(&["image", "convert", "thing", "other"])
        .code(125)
        .says("nothing is to be converted");
    world
        .run(&["image", "convert", "--estargz", "--zstd", "thing", "o"])
        .code(125);
    world
        .run(&[
            "image",
            "convert",
            "--platform",
            "linux/s390x",
            "--zstd",
            "thing",
            "o",
        ])
        .code(125);
    world
        .run(&[
            "push",
            "--compression-format",
            "zstd:chunked",
            "--format",
            "v2s2",
            "thing",
            "x/y",
        ])
        .code(125)
        .says("Docker's v2s2");
}

/// Two images in a hub that share nearly everything, `a` and `b`; what `b` weighs.
fn two(hub: &Hub, format: &str) -> usize {
    let world = World::new();
    let shared = noise(3 << 20, 1);
    let small: Vec<(String, Vec<u8>)> = (0..40)
        .map(|n| (format!("data/f{n}"), noise(20_000 + n, n as u32)))
        .collect();
    for (name, own) in [("a", 7), ("b", 8)] {
        let mut files = vec![("data/shared", shared.clone())];
        files.extend(small.iter().map(|(p, c)| (p.as_str(), c.clone())));
        files.push(("data/own", noise(100_000, own)));
        add_image(&world, name, &files);
        world.ok(&[
            "push",
            "-q",
            "--compression-format",
            format,
            name,
            &hub.image(name),
        ]);
    }
    hub.sent();
    hub.manifest("b", "latest")["layers"][0]["size"]
        .as_u64()
        .unwrap() as usize
}

fn sums(world: &World, image: &str) -> String {
    let script = "cd /data && sha256sum *; stat -c %n:%a:%u:%g:%Y *";
    world.ok(&["run", "--rm", image, "sh", "-c", script])
}

#[test]
fn a_pull_takes_from_other_layers_what_they_have() {
    let hub = Hub::start(Rules::default());
    let whole = two(&hub, "zstd:chunked");
    let world = World::new();
    world.ok(&["pull", "-q", &hub.image("a")]);
    assert!(hub.sent() > whole / 2);
    world.ok(&["pull", "-q", &hub.image("b")]);
    let sent = hub.sent();
    assert!(sent < whole / 10, "{sent} of {whole} bytes");
    let plain = World::new();
    plain.ok(&["pull", "-q", &hub.image("b")]);
    assert_eq!(sums(&world, &hub.image("b")), sums(&plain, &hub.image("b")));
    // It is here, whole: nothing is asked for again, and it can be given away.
    hub.sent();
    world.ok(&["pull", "-q", &hub.image("b")]);
    assert!(hub.sent() < 10_000);
    world.run(&["system", "check"]).code(0);
    let archive = world.path().join("b.tar");
    world.ok(&[
        "save",
        "-q",
        "-o",
        archive.to_str().unwrap(),
        &hub.image("b"),
    ]);
    world.ok(&["push", "-q", &hub.image("b"), &hub.image("again")]);
    let last = World::new();
    last.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(sums(&last, &hub.image("b")), sums(&plain, &hub.image("b")));
    let last = World::new();
    last.ok(&["pull", "-q", &hub.image("again")]);
    assert_eq!(
        sums(&last, &hub.image("again")),
        sums(&plain, &hub.image("b"))
    );
    // The layer's files serve others in their turn.
    world.ok(&["rmi", &hub.image("a")]);
    hub.sent();
    world.ok(&["pull", "-q", &hub.image("a")]);
    assert!(hub.sent() < whole / 10);
    // Unless the file of podman's users says that layers come whole.
    world.ok(&["rmi", &hub.image("a")]);
    let conf = world.path().join("storage.conf");
    let text = "[storage.options]\npull_options = {enable_partial_images = \"false\"}\n";
    std::fs::write(&conf, text).unwrap();
    hub.sent();
    let mut pull = world.command(&["pull", "-q", &hub.image("a")]);
    let out = pull.env("CONTAINERS_STORAGE_CONF", &conf).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert!(hub.sent() > whole / 2);
}

#[test]
fn without_ranges_or_with_one_at_a_time_a_pull_works_all_the_same() {
    for (rules, most) in [
        (
            Rules {
                no_ranges: true,
                ..Rules::default()
            },
            usize::MAX,
        ),
        (
            Rules {
                one_range: true,
                ..Rules::default()
            },
            500_000,
        ),
    ] {
        let hub = Hub::start(rules);
        two(&hub, "zstd:chunked");
        let world = World::new();
        world.ok(&["pull", "-q", &hub.image("a")]);
        hub.sent();
        world.ok(&["pull", "-q", &hub.image("b")]);
        assert!(hub.sent() < most);
        let plain = World::new();
        plain.ok(&["pull", "-q", &hub.image("b")]);
        assert_eq!(sums(&world, &hub.image("b")), sums(&plain, &hub.image("b")));
    }
}

fn find(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|n| n == name) {
            found.push(path);
        } else if path.is_dir() && !path.is_symlink() {
            find(&path, name, found);
        }
    }
}

#[test]
fn a_file_that_changed_here_is_not_believed() {
    let hub = Hub::start(Rules::default());
    let whole = two(&hub, "zstd:chunked");
    let world = World::new();
    world.ok(&["pull", "-q", &hub.image("a")]);
    let mut found = Vec::new();
    find(&world.data(), "shared", &mut found);
    let file = std::fs::OpenOptions::new().write(true).open(&found[0]);
    // Of the same length: only its digest tells.
    if let Ok(mut file) = file {
        file.write_all(b"bent").unwrap();
    } else {
        let path = found[0].to_str().unwrap();
        let script = "printf bent | dd of=$1 conv=notrunc 2>/dev/null";
        world.ok(&["unshare", "sh", "-c", script, "sh", path]);
    }
    hub.sent();
    world.ok(&["pull", "-q", &hub.image("b")]);
    assert!(hub.sent() > whole / 2, "the whole layer came");
    let plain = World::new();
    plain.ok(&["pull", "-q", &hub.image("b")]);
    assert_eq!(sums(&world, &hub.image("b")), sums(&plain, &hub.image("b")));
}

#[test]
fn a_table_that_is_not_the_manifests_is_not_believed() {
    let hub = Hub::start(Rules::default());
    two(&hub, "zstd:chunked");
    let world = World::new();
    world.ok(&["pull", "-q", &hub.image("a")]);
    let manifest = hub.manifest("b", "latest");
    let layer = &manifest["layers"][0];
    let position = "io.github.containers.zstd-chunked.manifest-position";
    let position = layer["annotations"][position].as_str().unwrap();
    let offset: usize = position.split(':').next().unwrap().parse().unwrap();
    let digest = layer["digest"].as_str().unwrap();
    let mut bytes = hub.bytes_of(digest);
    bytes[offset + 20] ^= 1;
    hub.replace(digest, bytes);
    // The blob's own digest is then wrong as well.
    world
        .run(&["pull", "-q", &hub.image("b")])
        .code(125)
        .says("digest");
}
