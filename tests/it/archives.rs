//! save, load, import and the transports, with other people's tools as witnesses.

use std::path::Path;
use std::process::Command;

use crate::support::hub::{Hub, Rules, sha256};
use crate::support::{Outcome, World};

fn peer(world: &World, program: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(args);
    world.settle(&mut command);
    Outcome::of(args, command.output().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_form_is_saved_and_loaded_again_as_the_same_image() {
    let world = World::with_busybox();
    let id = world.ok(&["images", "-q", "--no-trunc", "busybox"]);
    for form in ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] {
        let path = world.path().join(format!("saved-{form}"));
        world.ok(&["save", "--format", form, "-o", text(&path), "busybox"]);
        let other = World::new();
        let said = other.ok(&["load", "-q", "-i", text(&path)]);
        if form != "docker-dir" {
            assert_eq!(said, "Loaded image: localhost/busybox:latest", "{form}");
        }
        assert_eq!(other.ok(&["images", "-q", "--no-trunc"]), id, "{form}");
    }
}

#[test]
fn archives_go_through_pipes_compressed_or_not() {
    let world = World::with_busybox();
    let plain = world.command(&["save", "busybox"]).output().unwrap();
    assert!(plain.status.success());
    let gzip = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain.stdout).unwrap();
        encoder.finish().unwrap()
    };
    for bytes in [
        &plain.stdout,
        &gzip,
        &bzip2(&plain.stdout),
        &xz(&plain.stdout),
    ] {
        let other = World::new();
        other.run_with(&["load"], bytes).code(0);
        other.ok(&["image", "exists", "localhost/busybox"]);
    }
    let cut = World::new();
    cut.run_with(&["load"], &plain.stdout[..plain.stdout.len() / 2])
        .code(125);
    cut.run_with(&["load"], b"no archive at all").code(125);
    assert_eq!(cut.ok(&["images", "-q"]), "");
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let options = lzma_rust2::XzOptions::with_preset(0);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn xz_and_bzip2_are_imported_and_pulled_and_go_on_in_a_form_that_all_read() {
    requires!("skopeo");
    let tar = crate::support::fixture::busybox_tar();
    let hub = Hub::start(Rules::default());
    for (name, packed) in [("xz", xz(&tar)), ("bz2", bzip2(&tar))] {
        let world = World::new();
        let file = world.path().join(format!("root.tar.{name}"));
        std::fs::write(&file, &packed).unwrap();
        world.ok(&["import", "-q", text(&file), "made"]);
        assert_eq!(
            world.ok(&[
                "run",
                "--rm",
                "--network",
                "none",
                "made",
                "/bin/busybox",
                "echo",
                "hi"
            ]),
            "hi"
        );
        let plain = world.path().join("plain.tar");
        std::fs::write(&plain, &tar).unwrap();
        world.ok(&["import", "-q", text(&plain), "plain"]);
        let layers =
            |image: &str| world.ok(&["image", "inspect", "--format", "{{.RootFS.Layers}}", image]);
        assert_eq!(layers("made"), layers("plain"));
        let layout = world.path().join("layout");
        world.ok(&["save", "--format", "oci-dir", "-o", text(&layout), "made"]);
        let from = format!("oci:{}", layout.display());
        let to = format!("dir:{}", world.path().join("copy").display());
        peer(&world, "skopeo", &["copy", "--dest-decompress", &from, &to]).ok();

        hub.put(
            name,
            "1",
            ("linux", "amd64", ""),
            &[(packed, tar.clone())],
            sha256,
        );
        let image = hub.image(&format!("{name}:1"));
        world.ok(&["pull", "-q", &image]);
        assert_eq!(layers(&image), layers("plain"));
    }
}

#[test]
fn several_images_share_one_archive() {
    let world = World::with_busybox();
    world.ok(&["tag", "busybox", "a:1", "b:2"]);
    let path = world.path().join("many.tar");
    for form in ["docker-archive", "oci-archive"] {
        world.ok(&[
            "save",
            "--format",
            form,
            "-o",
            text(&path),
            "a:1",
            "b:2",
            "busybox",
        ]);
        let other = World::new();
        other.ok(&["load", "-i", text(&path)]);
        for name in ["localhost/a:1", "localhost/b:2", "localhost/busybox:latest"] {
            other.ok(&["image", "exists", name]);
        }
    }
}

#[test]
fn skopeo_reads_what_coracle_saved() {
    requires!("skopeo");
    let world = World::with_busybox();
    for (form, transport) in [
        ("docker-archive", "docker-archive"),
        ("oci-archive", "oci-archive"),
        ("oci-dir", "oci"),
        ("docker-dir", "dir"),
    ] {
        let path = world.path().join(format!("saved-{form}"));
        world.ok(&["save", "--format", form, "-o", text(&path), "busybox"]);
        let seen = peer(
            &world,
            "skopeo",
            &["inspect", &format!("{transport}:{}", path.display())],
        )
        .ok();
        assert!(seen.contains("amd64"), "{form}: {seen}");
        let copy = world.path().join(format!("copy-{form}"));
        peer(
            &world,
            "skopeo",
            &[
                "copy",
                &format!("{transport}:{}", path.display()),
                &format!("dir:{}", copy.display()),
            ],
        )
        .ok();
    }
}

#[test]
fn what_skopeo_and_umoci_made_is_pulled() {
    requires!("skopeo", "umoci");
    let world = World::with_busybox();
    let docker = world.path().join("d.tar");
    world.ok(&["save", "-o", text(&docker), "busybox"]);
    let from = format!("docker-archive:{}", docker.display());
    let dir = world.path().display().to_string();
    for to in [
        format!("oci:{dir}/layout:tagged"),
        format!("oci-archive:{dir}/o.tar:localhost/named:5"),
        format!("dir:{dir}/folder"),
        format!("docker-archive:{dir}/again.tar:docker.io/library/again:1"),
    ] {
        peer(&world, "skopeo", &["copy", &from, &to]).ok();
        let other = World::new();
        let id = other.ok(&["pull", "-q", &to]);
        assert_eq!(id.len(), 64, "{to}: {id}");
    }
    peer(
        &world,
        "umoci",
        &[
            "config",
            "--image",
            &format!("{dir}/layout:tagged"),
            "--tag",
            "new",
            "--config.env",
            "A=b",
        ],
    )
    .ok();
    let other = World::new();
    other.ok(&["pull", "-q", &format!("oci:{dir}/layout:new")]);
    assert_eq!(
        other.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        "localhost/layout:new"
    );
    let env = other.ok(&[
        "image",
        "inspect",
        "--format",
        "{{.Config.Env}}",
        "layout:new",
    ]);
    assert!(env.contains("A=b"), "{env}");
}

#[test]
fn import_takes_changes_and_history_tells_of_them() {
    let world = World::with_busybox();
    let path = world.path().join("root.tar");
    let mut tar = tar::Builder::new(Vec::new());
    crate::support::fixture::add_file(&mut tar, "hi", 0o644, (0, 0), b"hi");
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    let id = world.ok(&[
        "import",
        "-c",
        "ENV A=1",
        "-c",
        "ENTRYPOINT [\"/x\"]",
        "-m",
        "by hand",
        text(&path),
        "made:1",
    ]);
    let seen = world.ok(&[
        "image",
        "inspect",
        "--format",
        "{{.Id}} {{.Config.Env}} {{.Config.Entrypoint}}",
        "made:1",
    ]);
    assert_eq!(format!("sha256:{seen}"), format!("{id} [A=1] [/x]"));
    let history = world.ok(&["history", "--format", "{{.Comment}}", "made:1"]);
    assert_eq!(history, "by hand");
    world.run(&["import", "-c", "RUN x", text(&path)]).code(125);
    world.run(&["import", "/nowhere"]).code(125);
}

#[test]
fn names_come_and_go_and_the_image_goes_with_the_last() {
    let world = World::with_busybox();
    world.ok(&["tag", "busybox", "other:1", "quay.io/me/x:2"]);
    let id = world.ok(&["images", "-q", "busybox"]);
    world.run(&["rmi", &id]).code(2).says("several names");
    assert_eq!(
        world.ok(&["rmi", "busybox"]),
        "Untagged: localhost/busybox:latest"
    );
    world.ok(&["untag", "other:1", "quay.io/me/x:2"]);
    world.run(&["untag", "other:1", "nothing"]).code(125);
    let gone = world.ok(&["rmi", "other:1"]);
    assert!(
        gone.contains("Untagged: localhost/other:1") && gone.contains("Deleted: "),
        "{gone}"
    );
    world.run(&["rmi", "other:1"]).code(1);
    world.ok(&["rmi", "--ignore", "other:1"]);
    let store = world.data().join("store");
    for sub in ["layers", "blobs/sha256"] {
        let left = std::fs::read_dir(store.join(sub))
            .unwrap()
            .flatten()
            .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
            .count();
        assert_eq!(left, 0, "{sub}");
    }
}

#[test]
fn the_built_in_image_needs_nobody() {
    let world = World::new();
    let id = world.ok(&["pull", "-q", "hello"]);
    assert_eq!(world.ok(&["pull", "-q", "hello"]), id);
    assert_eq!(
        world.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        "localhost/hello:latest"
    );
}

fn manifest(folder: &Path) -> serde_json::Value {
    let bytes = std::fs::read(folder.join("manifest.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_folder_holds_what_the_options_ask_for() {
    requires!("skopeo");
    let world = World::with_busybox();
    let kinds = |folder: &Path| -> Vec<String> {
        let manifest = manifest(folder);
        let layers = manifest["layers"].as_array().unwrap().iter();
        let types = layers.chain([&manifest["config"]]);
        types
            .map(|l| l["mediaType"].as_str().unwrap().to_owned())
            .collect()
    };
    let oci = |end: &str| format!("application/vnd.oci.image.layer.v1.{end}");
    let at = |name: &str| world.path().join(name);
    let to = |name: &str| format!("dir:{}", at(name).display());
    world.ok(&[
        "push",
        "-q",
        "--compression-format",
        "none",
        "busybox",
        &to("plain"),
    ]);
    assert_eq!(kinds(&at("plain"))[0], oci("tar"));
    let other = World::new();
    let id = other.ok(&["pull", "-q", &to("plain")]);
    let again = at("again");
    other.ok(&["save", "--format", "docker-dir", "-o", text(&again), &id]);
    assert_eq!(kinds(&again)[0], oci("tar"));
    other.ok(&[
        "save",
        "--format",
        "docker-dir",
        "--compress",
        "-o",
        text(&again),
        &id,
    ]);
    assert_eq!(kinds(&again)[0], oci("tar+gzip"));
    other.ok(&["push", "-q", "--compress", &id, &to("pushed")]);
    assert_eq!(kinds(&at("pushed"))[0], oci("tar+gzip"));
    let digest = at("digest");
    let v2s2 = [
        "push",
        "-q",
        "--format",
        "v2s2",
        "--digestfile",
        text(&digest),
        "busybox",
    ];
    world.ok(&[&v2s2[..], &[&to("docker")]].concat());
    assert_eq!(
        kinds(&at("docker"))[0],
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    );
    let bytes = std::fs::read(at("docker").join("manifest.json")).unwrap();
    let written = std::fs::read_to_string(&digest).unwrap();
    assert_eq!(written, sha256(&bytes));
    for name in ["plain", "again", "pushed", "docker"] {
        let copy = format!("oci:{}", at(&format!("copy-{name}")).display());
        peer(&world, "skopeo", &["copy", &to(name), &copy]).ok();
    }
    for bad in [
        &["save", "--compress", "-o", "x", "busybox"][..],
        &["push", "--compress", "busybox", "localhost:1/x"],
        &["push", "--format", "v2s2", "busybox", "oci:x"],
        &[
            "push",
            "--compression-format",
            "zstd",
            "busybox",
            "docker-archive:x",
        ],
        &["push", "--format", "oci", "busybox", "docker-archive:x"],
    ] {
        world.run(bad).code(125);
    }
    assert!(!at("x").exists());
}

#[test]
fn the_wanted_platform_is_saved_loaded_and_pushed_or_none() {
    let world = World::with_busybox();
    let file = world.path().join("a.tar");
    let file = text(&file);
    for form in ["docker-archive", "oci-archive"] {
        let save = ["save", "--format", form, "-o", file, "--platform"];
        let other = [&save[..], &["linux/s390x", "busybox"]].concat();
        world.run(&other).code(125).says("linux/s390x");
        assert!(!Path::new(file).exists());
        world.ok(&[&save[..], &["linux/amd64", "busybox"]].concat());
        let load = ["load", "-i", file, "--platform"];
        let fresh = World::new();
        fresh
            .run(&[&load[..], &["linux/s390x"]].concat())
            .code(125)
            .says("linux/s390x");
        assert_eq!(fresh.ok(&["images", "-q"]), "");
        fresh.ok(&[&load[..], &["linux/amd64"]].concat());
        std::fs::remove_file(file).unwrap();
    }
    let push = [
        "push",
        "--platform",
        "linux/arm64",
        "busybox",
        "127.0.0.1:1/x",
    ];
    world.run(&push).code(125).says("linux/arm64");
    // A layout with several members.
    let hub = Hub::start(Rules::default());
    let tar = crate::support::fixture::busybox_tar();
    let layout = world.path().join("layout");
    let mut names = Vec::new();
    for arch in ["amd64", "arm64"] {
        hub.put(
            "x",
            arch,
            ("linux", arch, ""),
            &[(tar.clone(), tar.clone())],
            sha256,
        );
        world.ok(&[
            "pull",
            "-q",
            "--arch",
            arch,
            &hub.image(&format!("x:{arch}")),
        ]);
        names.push(hub.image(&format!("x:{arch}")));
    }
    let save = ["save", "--format", "oci-dir", "-o", text(&layout)];
    world.ok(&[&save[..], &[&names[0], &names[1]]].concat());
    let fresh = World::new();
    fresh.ok(&[
        "load",
        "-q",
        "-i",
        text(&layout),
        "--platform",
        "linux/arm64",
    ]);
    let seen = fresh.ok(&["images", "--format", "{{.Tag}}"]);
    assert_eq!(seen, "arm64");
}

#[test]
fn commits_are_dockers_or_squashed_and_images_are_compared() {
    requires!("skopeo");
    let world = World::with_busybox();
    let script = "echo new >/added; rm /data/file; chmod 700 /home";
    world.ok(&[
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    world.ok(&["commit", "-q", "c", "plain:1"]);
    world.ok(&["commit", "-q", "--format", "docker", "c", "docker:1"]);
    world.ok(&["commit", "-q", "--squash", "c", "squashed:1"]);
    let count = |image: &str| {
        let layers = world.ok(&[
            "image",
            "inspect",
            "--format",
            "{{len .RootFS.Layers}}",
            image,
        ]);
        let history = world.ok(&["history", "-q", image]).lines().count();
        (layers, history)
    };
    assert_eq!(count("plain:1"), ("2".to_owned(), 2));
    assert_eq!(count("squashed:1"), ("1".to_owned(), 1));
    let folder = world.path().join("docker");
    world.ok(&[
        "save",
        "--format",
        "docker-dir",
        "-o",
        text(&folder),
        "docker:1",
    ]);
    let manifest = manifest(&folder);
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.docker.distribution.manifest.v2+json"
    );
    let from = format!("dir:{}", folder.display());
    let to = format!("oci:{}", world.path().join("copy").display());
    peer(&world, "skopeo", &["copy", &from, &to]).ok();
    for image in ["plain:1", "docker:1", "squashed:1"] {
        let script = "cat /added; ls /data; stat -c '%a %u' /home; stat -c %u /home/user; id -u";
        let ran = world.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            image,
            "sh",
            "-c",
            script,
        ]);
        assert_eq!(ran, "new\n700 0\n0\n0", "{image}");
    }
    let changes = "A /added\nC /data\nD /data/file\nC /home";
    assert_eq!(world.ok(&["image", "diff", "plain:1"]), changes);
    assert_eq!(
        world.ok(&["image", "diff", "squashed:1", "busybox"]),
        changes
    );
    assert_eq!(world.ok(&["image", "diff", "squashed:1", "plain:1"]), "");
    let json = world.ok(&["image", "diff", "--format", "json", "plain:1"]);
    assert!(json.contains("\"deleted\":[\"/data/file\"]") || json.contains("/data/file"));
    let above = world.ok(&["image", "tree", "--whatrequires", "busybox"]);
    assert!(above.contains("localhost/plain:1"), "{above}");
    assert!(!above.contains("squashed"), "{above}");
    world.run(&["commit", "--format", "v9", "c"]).code(125);
}

#[test]
fn an_image_is_mounted_inside_unshare_and_nowhere_else() {
    let world = World::with_busybox();
    if !crate::support::peer::is_root() {
        let failed = world.run(&["image", "mount", "busybox"]);
        failed.code(125).says("coracle unshare");
    }
    for driver in ["overlay", "fuse"] {
        mounts_an_image(&world, driver);
    }
}

fn mounts_an_image(world: &World, driver: &str) {
    let program = format!(
        "{} --storage-driver {driver}",
        env!("CARGO_BIN_EXE_coracle")
    );
    let script = format!(
        "set -e; at=$({program} image mount busybox); cat $at/data/file; ! touch $at/x 2>/dev/null; \
         stat -c %u $at/bin/busybox; {program} image mount | grep -c $at; \
         test $({program} image mount busybox) = $at; (cd $at; ! {program} image unmount busybox); \
         {program} image unmount --all >/dev/null; {program} image mount; test ! -e $at"
    );
    let ran = world.run(&["unshare", "sh", "-c", &script]).code(0);
    assert_eq!(ran.stdout, "from the image\n0\n1\n");
    assert!(ran.stderr.contains("cannot unmount"), "{}", ran.stderr);
}
