//! `system check` finds and mends every kind of damage; `system df` says what du(1) says; a prune
//! frees what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{World, world::Outcome};

fn check(w: &World, more: &[&str]) -> Outcome {
    w.run(&[&["system", "check"][..], more].concat())
}

/// Nothing is wrong, not even of the youngest leftovers.
fn clean(w: &World) {
    let outcome = check(w, &["--max", "0"]);
    assert_eq!(outcome.stdout, "", "{}", outcome.stderr);
    outcome.code(0);
}

fn only(dir: &Path) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| !p.file_name().unwrap().to_string_lossy().starts_with('.'))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn store(w: &World, part: &str) -> PathBuf {
    w.data().join("store").join(part)
}

fn layer(w: &World) -> PathBuf {
    only(&store(w, "layers"))
}

fn blob(w: &World) -> PathBuf {
    only(&store(w, "blobs/sha256"))
}

fn works(w: &World) {
    let args = [
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "echo",
        "fine",
    ];
    assert_eq!(w.ok(&args), "fine");
}

/// Sets a path's times far into the past.
fn age(path: &Path) {
    let mut touch = Command::new("touch");
    touch.args(["-h", "-d", "2001-01-01"]).arg(path);
    assert!(touch.status().unwrap().success());
}

#[test]
fn a_sound_store_has_nothing_to_mend() {
    let w = World::with_busybox();
    w.ok(&["volume", "create", "v"]);
    w.ok(&["network", "create", "n"]);
    w.ok(&["create", "--name", "c", "-v", "v:/x", "busybox"]);
    w.ok(&[
        "run",
        "-d",
        "--name",
        "r",
        "--network",
        "none",
        "busybox",
        "sleep",
        "300",
    ]);
    w.ok(&["commit", "-q", "c", "second"]);
    clean(&w);
    check(&w, &["--quick"]).code(0);
    check(&w, &["--force"]).code(125).says("--repair");
    check(&w, &["--max", "often"]).code(125).says("often");
    w.ok(&["rm", "-f", "-t", "0", "r"]);
}

#[test]
fn damaged_and_missing_layers_are_unpacked_again() {
    let w = World::with_busybox();
    let dir = layer(&w);
    let file = dir.join("diff/bin/busybox");
    let content = fs::read(&file).unwrap();
    // As long as before: only a look at the content tells.
    let mut other = content.clone();
    other[content.len() / 2] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, &other).unwrap();
    check(&w, &["--quick"]).code(0);
    check(&w, &[]).code(125).says("damage detected");
    let found = check(&w, &[]).stdout;
    assert!(
        found.contains("\"bin/busybox\" has another content"),
        "{found}"
    );
    check(&w, &["-r"]).says("").code(0);
    assert_eq!(fs::read(&file).unwrap(), content);
    clean(&w);

    fs::remove_file(&file).unwrap();
    fs::write(&file, "").unwrap();
    let found = check(&w, &[]).code(125).stdout;
    assert!(found.contains("has 0 bytes in place of"), "{found}");
    let found = check(&w, &["--repair"]).code(0).stdout;
    assert!(found.contains("unpacked again"), "{found}");

    fs::write(dir.join("layer.json"), "{").unwrap();
    let found = check(&w, &["-q"]).code(125).stdout;
    assert!(found.contains("layer.json is damaged"), "{found}");
    check(&w, &["-r"]).code(0);

    fs::remove_dir_all(dir.join("diff")).unwrap();
    check(&w, &["-r"]).code(0);
    fs::rename(&dir, w.path().join("away")).unwrap();
    let found = check(&w, &["-q"]).code(125).stdout;
    assert!(found.contains("it is not in the store"), "{found}");
    check(&w, &["-r"]).code(0);
    works(&w);
    clean(&w);
}

#[test]
fn a_layer_under_a_running_container_is_left_alone() {
    let w = World::with_busybox();
    w.ok(&[
        "run",
        "-d",
        "--name",
        "r",
        "--network",
        "none",
        "busybox",
        "sleep",
        "300",
    ]);
    let file = layer(&w).join("diff/bin/busybox");
    let content = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, [&content[1..], b"x"].concat()).unwrap();
    let found = check(&w, &["-r"]).code(125).stdout;
    assert!(
        found.contains("not mended: container \"r\" runs on it"),
        "{found}"
    );
    w.ok(&["rm", "-f", "-t", "0", "r"]);
    check(&w, &["-r"]).code(0);
    works(&w);
}

#[test]
fn wrong_and_missing_blobs_cost_the_image_but_no_container_without_force() {
    let w = World::with_busybox();
    w.ok(&["create", "--name", "c", "busybox"]);
    let path = blob(&w);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    check(&w, &["-q"]).code(0);
    let found = check(&w, &[]).code(125).stdout;
    assert!(found.contains("its content has digest"), "{found}");
    assert!(found.contains("of its layers is damaged"), "{found}");
    let found = check(&w, &["-r"]).code(125).stdout;
    assert!(found.contains("containers use it: c"), "{found}");
    assert!(!path.exists(), "the wrong blob is gone");
    assert_eq!(w.ok(&["ps", "-aq"]).lines().count(), 1);
    // Importing it again brings the very same blob back.
    w.add_busybox("busybox");
    if path.exists() {
        check(&w, &["-r"]).code(0);
    }
    fs::remove_file(blob(&w)).unwrap();
    let found = check(&w, &["-q"]).code(125).stdout;
    assert!(found.contains("of its layers is gone"), "{found}");
    let found = check(&w, &["-r", "-f", "-m", "0"]).code(0).stdout;
    assert!(found.contains("localhost/busybox:latest"), "{found}");
    assert_eq!(w.ok(&["ps", "-aq"]), "");
    assert_eq!(w.ok(&["images", "-aq"]), "");
    clean(&w);
}

#[test]
fn orphan_layers_staging_folders_and_partial_downloads_go() {
    let w = World::with_busybox();
    // What a killed import leaves: the layer is there, and no image has it.
    let image = store(&w, "images");
    let record = only(&image);
    let kept = fs::read(&record).unwrap();
    w.ok(&["untag", "busybox"]);
    fs::remove_file(&record).unwrap();
    check(&w, &[]).code(0);
    let found = check(&w, &["-m", "0s"]).code(125).stdout;
    assert!(
        found.contains("no image, container or build needs it"),
        "{found}"
    );
    fs::write(&record, kept).unwrap();
    clean(&w);
    fs::remove_file(&record).unwrap();
    let staged = store(&w, "staging/0123456789abcdef");
    fs::create_dir_all(staged.join("diff/x")).unwrap();
    let part = store(&w, "blobs/sha256").join(format!("{}.part", "ab".repeat(32)));
    fs::write(&part, "half").unwrap();
    let found = check(&w, &["-m", "0", "-q"]).code(125).stdout;
    for what in ["staging folder of", "partial download of"] {
        assert!(found.contains(what), "{found}");
    }
    check(&w, &["-m", "1h"]).code(0);
    age(&part);
    check(&w, &["-m", "1h"]).code(125);
    check(&w, &["-m", "0", "-r"]).code(0);
    assert!(!staged.exists() && !part.exists());
    assert_eq!(
        fs::read_dir(store(&w, "layers"))
            .unwrap()
            .filter(|e| {
                let name = e.as_ref().unwrap().file_name();
                !name.to_string_lossy().starts_with('.')
            })
            .count(),
        0
    );
    clean(&w);
}

#[test]
fn damaged_records_are_told_and_mended() {
    let w = World::with_busybox();
    w.ok(&["create", "--name", "c", "busybox"]);
    w.ok(&["volume", "create", "v"]);
    fs::write(w.data().join("volumes/v/_data/kept"), "kept").unwrap();
    w.ok(&["network", "create", "n"]);
    fs::write(w.data().join("volumes/v/volume.json"), "").unwrap();
    fs::write(w.data().join("networks/n.json"), "[").unwrap();
    let names = store(&w, "names.json");
    fs::write(&names, "{\"version\":1,").unwrap();
    let found = check(&w, &[]).code(125).stdout;
    for what in ["volume v: ", "network n: ", "names of images: "] {
        assert!(found.contains(what), "{what}: {found}");
    }
    check(&w, &["-r"]).code(0);
    assert_eq!(
        fs::read_to_string(w.data().join("volumes/v/_data/kept")).unwrap(),
        "kept"
    );
    w.run(&["network", "exists", "n"]).code(1);
    w.run(&["volume", "exists", "v"]).code(0);
    assert!(names.with_extension("json.damaged").exists());
    let id = w.ok(&["images", "-q"]);
    w.ok(&["tag", &id, "busybox"]);
    works(&w);
    // A container's own record: nobody throws its files away unasked.
    let folder = only(&w.data().join("containers"));
    fs::write(folder.join("config.json"), "{").unwrap();
    let found = check(&w, &["-r"]).code(125).stdout;
    assert!(found.contains("nowhere else"), "{found}");
    assert!(folder.join("config.json").exists());
    check(&w, &["-r", "-f"]).code(0);
    w.run(&["container", "exists", "c"]).code(1);
    // An image's: it goes, with its names.
    fs::write(only(&store(&w, "images")), "{}").unwrap();
    check(&w, &[]).code(125);
    check(&w, &["-r", "-m", "0"]).code(0);
    assert_eq!(w.ok(&["images", "-q"]), "");
    clean(&w);
}

#[test]
fn half_removed_containers_and_names_that_lead_nowhere_go() {
    let w = World::with_busybox();
    for name in ["a", "b", "c"] {
        w.ok(&["create", "--name", name, "busybox"]);
    }
    let folder = |name: &str| {
        let target = fs::read_link(w.data().join("names").join(name)).unwrap();
        w.data().join("containers").join(target)
    };
    // Removal ends: after the name, after the folder was moved; creation: before the record.
    let (a, b) = (folder("a"), folder("b"));
    fs::remove_file(w.data().join("names/a")).unwrap();
    age(&a);
    let away = b.with_file_name(format!(
        ".removing-{}",
        b.file_name().unwrap().to_string_lossy()
    ));
    fs::rename(&b, &away).unwrap();
    age(&away);
    let half = w.data().join("containers").join("e".repeat(64));
    fs::create_dir(&half).unwrap();
    age(&half);
    let found = check(&w, &["-q"]).code(125).stdout;
    for what in [
        "a half-removed container",
        "a container without its name",
        "leads nowhere",
    ] {
        assert!(found.contains(what), "{what}: {found}");
    }
    check(&w, &["-r"]).code(0);
    assert!(!a.exists() && !away.exists() && !half.exists());
    assert!(fs::symlink_metadata(w.data().join("names/b")).is_err());
    assert_eq!(w.ok(&["ps", "-a", "--format", "{{.Names}}"]), "c");
    // A container whose image is gone is kept until somebody says --force.
    fs::remove_file(only(&store(&w, "images"))).unwrap();
    let found = check(&w, &["-r"]).code(125).stdout;
    assert!(found.contains("container c: its image"), "{found}");
    check(&w, &["-r", "-f", "-m", "0"]).code(0);
    clean(&w);
}

#[test]
fn dead_mounts_are_found_and_taken_away() {
    let w = World::with_busybox();
    w.ok(&["create", "--name", "c", "busybox"]);
    let program = env!("CARGO_BIN_EXE_coracle");
    let script = format!(
        "set -e; p=$({program} --storage-driver fuse container mount c); ls $p/bin/sh
         server=$(ps -e -o pid= -o comm= | awk '$2 == \"coracle-fuse\" {{print $1}}' | while read n; do
            [ \"$(readlink /proc/$n/ns/user)\" = \"$(readlink /proc/self/ns/user)\" ] && echo $n; :; done)
         kill -9 $server; while ls $p >/dev/null 2>&1; do :; done
         {program} system check && exit 9
         {program} system check --repair || exit 8
         {program} system check || exit 7
         echo done"
    );
    let outcome = w.run(&["unshare", "sh", "-c", &script]);
    assert!(
        outcome.stdout.contains("the server of its files is gone"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.trim_end().ends_with("done"), "{outcome:?}");
}

/// Bytes of disk blocks below a folder, by du(1), in the user namespace.
pub fn du(w: &World, paths: &[&Path]) -> u64 {
    let mut args = vec!["unshare", "du", "-scB1"];
    let texts: Vec<&str> = paths.iter().map(|p| p.to_str().unwrap()).collect();
    args.extend(texts);
    let out = w.ok(&args);
    let total = out.lines().last().unwrap();
    total.split_whitespace().next().unwrap().parse().unwrap()
}

pub fn df(w: &World) -> Vec<(String, u64, u64)> {
    let rows: Vec<Value> =
        serde_json::from_str(&w.ok(&["system", "df", "--format", "json"])).unwrap();
    rows.iter()
        .map(|r| {
            let number = |key: &str| r[key].as_u64().unwrap();
            let kind = r["Type"].as_str().unwrap().to_owned();
            (kind, number("RawSize"), number("RawReclaimable"))
        })
        .collect()
}

/// The records of images, names and steps of builds are in no row.
const RECORDS: u64 = 128 << 10;

pub fn near(a: u64, b: u64, what: &str) {
    assert!(a.abs_diff(b) <= RECORDS, "{what}: {a} and {b}");
}

#[test]
fn df_agrees_with_du_and_prune_frees_what_it_says() {
    let w = World::with_busybox();
    let write = |size: &str| format!("dd if=/dev/urandom of=/f bs=1k count={size}");
    let run = ["run", "--network", "none"];
    w.ok(&[
        &run[..],
        &["--name", "c", "busybox", "sh", "-c", &write("3000")],
    ]
    .concat());
    w.ok(&["commit", "-q", "c", "second"]);
    w.ok(&["commit", "-q", "c", "third"]);
    let dd = "dd if=/dev/urandom of=/x/f bs=1k count=500";
    w.ok(&[&run[..], &["--rm", "-v", "v:/x", "busybox", "sh", "-c", dd]].concat());
    fs::write(
        w.path().join("Dockerfile"),
        "FROM busybox\nRUN dd if=/dev/urandom of=/g bs=1k count=700\n",
    )
    .unwrap();
    w.ok(&["build", "-q", "--network", "none", "-t", "built", "."]);
    w.ok(&["rmi", "built"]);
    let compare = |w: &World| {
        let rows = df(w);
        let row = |kind: &str| rows.iter().find(|r| r.0 == kind).unwrap().clone();
        let data = w.data();
        let store = du(w, &[&data.join("store")]);
        near(row("Images").1 + row("Build Cache").1, store, "the store");
        near(
            row("Containers").1,
            du(w, &[&data.join("containers")]),
            "containers",
        );
        near(
            row("Local Volumes").1,
            du(w, &[&data.join("volumes")]),
            "volumes",
        );
        rows
    };
    let before = compare(&w);
    let size = |rows: &[(String, u64, u64)], kind: &str| {
        rows.iter()
            .find(|r| r.0 == kind)
            .map(|r| (r.1, r.2))
            .unwrap()
    };
    assert!(size(&before, "Build Cache").0 > 700 << 10, "{before:?}");
    assert!(size(&before, "Local Volumes").0 > 500 << 10, "{before:?}");
    // Each byte once: the second and the third image share everything.
    let verbose = w.ok(&["system", "df", "-v"]);
    assert!(verbose.contains("CACHE ID"), "{verbose}");
    let total = size(&before, "Images").0;
    assert!(total < 3 * (3000 << 10) + (8 << 20), "{total}");

    let freed = |w: &World, args: &[&str]| {
        let data = w.data();
        let before = du(w, &[&data]);
        let out = w.ok(args);
        let said = out
            .lines()
            .find_map(|l| l.strip_prefix("Total reclaimed space: "));
        let said = said.map(bytes);
        (said, before - du(w, &[&data]))
    };
    // One after the other, and each says what du(1) sees.
    let (said, gone) = freed(&w, &["system", "prune", "-f"]);
    near(said.unwrap(), gone, "system prune");
    assert!(gone > (3000 + 700) << 10, "{gone}");
    let reclaimable = size(&compare(&w), "Images").1;
    let (said, gone) = freed(&w, &["system", "prune", "-f", "--all", "--volumes"]);
    near(said.unwrap(), gone, "system prune --all");
    near(
        gone,
        reclaimable + size(&before, "Local Volumes").0,
        "what df said",
    );
    let rows = compare(&w);
    assert!(rows.iter().all(|r| r.1 < RECORDS), "{rows:?}");
    clean(&w);
}

/// `1.234MB` in bytes, as the program rounds it.
fn bytes(text: &str) -> u64 {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let number: f64 = text[..at].parse().unwrap();
    let unit = match &text[at..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        other => panic!("{other}"),
    };
    (number * unit) as u64
}

/// Runs with the store of another world beside its own.
fn with<'a>(other: &'a World, args: &[&'a str]) -> Vec<String> {
    let option = format!("additionalimagestore={}", other.data().display());
    let mut all = vec!["--storage-opt".to_owned(), option];
    all.extend(args.iter().map(|a| (*a).to_owned()));
    all
}

#[test]
fn images_of_another_store_are_used_and_never_written() {
    let shared = World::with_busybox();
    let before = du(&shared, &[&shared.data().join("store")]);
    // Nothing in it may be written, by the kernel's word.
    let set = |mode: &str| {
        let data = shared.data();
        shared.ok(&["unshare", "chmod", "-R", mode, data.to_str().unwrap()]);
    };
    set("a-w");
    let w = World::new();
    let list = w.ok(&with(
        &shared,
        &["images", "--format", "{{.Repository}} {{.ReadOnly}}"],
    ));
    assert_eq!(list, "localhost/busybox true");
    assert_eq!(w.ok(&["images", "-q"]), "");
    let json = w.ok(&with(&shared, &["images", "--format", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["ReadOnly"], true);
    let filter = |value: &str| {
        let filter = format!("readonly={value}");
        w.ok(&with(&shared, &["images", "-q", "--filter", &filter]))
    };
    assert_eq!((filter("true").len(), filter("false").len()), (12, 0));
    let run = [
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo x >/f; cat /f",
    ];
    assert_eq!(w.ok(&with(&shared, &run)), "x");
    w.run(&with(&shared, &["rmi", "-f", "busybox"]))
        .code(125)
        .says("read-only store");
    w.ok(&with(&shared, &["image", "prune", "-af"]));
    // A name of our own for it, and an image of our own on top of it.
    w.ok(&with(&shared, &["tag", "busybox", "mine"]));
    w.ok(&with(&shared, &["commit", "-q", "c", "built"]));
    let list = w.ok(&with(
        &shared,
        &["images", "--format", "{{.Repository}} {{.ReadOnly}}"],
    ));
    assert!(list.contains("localhost/built false"), "{list}");
    let run = ["run", "--rm", "--network", "none", "built", "cat", "/f"];
    assert_eq!(w.ok(&with(&shared, &run)), "x");
    let save = ["save", "-q", "-o", "both.tar", "built", "busybox"];
    w.ok(&with(&shared, &save));
    let outcome = w.run(&with(&shared, &["system", "check", "--max", "0"]));
    assert_eq!(outcome.stdout, "");
    w.ok(&with(&shared, &["untag", "mine"]));
    w.ok(&with(&shared, &["rm", "c"]));
    w.ok(&with(&shared, &["rmi", "built"]));
    w.ok(&with(&shared, &["system", "prune", "-af"]));
    assert_eq!(w.ok(&["images", "-aq"]), "");
    // storage.conf says the same.
    let conf = w.path().join("storage.conf");
    let text = format!(
        "[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [\"{}\"]\n",
        shared.data().join("store").display()
    );
    fs::write(&conf, text).unwrap();
    let mut command = w.command(&["images", "-q"]);
    let out = command
        .env("CONTAINERS_STORAGE_CONF", &conf)
        .output()
        .unwrap();
    assert_eq!(out.stdout.len(), 13, "{out:?}");
    // A share that is away is passed over.
    w.ok(&["--storage-opt", "additionalimagestore=/nowhere", "images"]);
    w.run(&["--storage-opt", "size=1g", "images"])
        .code(125)
        .says("additionalimagestore");
    set("u+w");
    assert_eq!(du(&shared, &[&shared.data().join("store")]), before);
    works(&shared);
}

#[test]
fn layers_for_others_keep_every_owner_beside_the_files() {
    requires_subids!();
    let w = World::new();
    let mask = ["--storage-opt", "force_mask=shared"];
    let file = crate::support::fixture::busybox_file(w.path());
    let import = ["import", "-q", file.to_str().unwrap(), "busybox"];
    w.ok(&[&mask[..], &import].concat());
    let record = layer(&w).join("layer.json");
    assert!(
        fs::read_to_string(record)
            .unwrap()
            .contains("\"squashed\":true")
    );
    // Every owner comes from its attribute: also for whoever sees another one on the disk.
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "stat",
        "-c",
        "%u:%g",
        "/",
        "/bin/busybox",
    ];
    assert_eq!(w.ok(&run), "0:0\n0:0");
    let out = Command::new("getfattr")
        .args(["-n", "user.coracle.owner", "--only-values"])
        .arg(layer(&w).join("diff/bin/busybox"))
        .output();
    if let Ok(out) = out {
        assert!(out.stdout.starts_with(b"0:0:"), "{out:?}");
    }
    w.run(&["--storage-opt", "force_mask=0700", "images"])
        .code(125)
        .says("force_mask");
}
