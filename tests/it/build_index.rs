//! Builds for several platforms, indexes, and what is stated about images.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::building::{build, context, count};
use crate::support::World;
use crate::support::peer::Mode;

fn skopeo(world: &World, args: &[&str]) -> String {
    let mut command = Command::new("skopeo");
    command.args(args);
    world.settle(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "skopeo {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn raw(world: &World, image: &str) -> Value {
    let place = format!("docker://{image}");
    let text = skopeo(world, &["inspect", "--raw", "--tls-verify=false", &place]);
    serde_json::from_str(&text).unwrap()
}

const PLAIN: &str = "FROM --platform=$BUILDPLATFORM busybox AS tools\n\
    ARG TARGETARCH\nRUN echo made for $TARGETARCH > /out\n\
    FROM scratch\nARG TARGETPLATFORM\nENV P=$TARGETPLATFORM\nCOPY --from=tools /out /out\nCOPY f /f\n";

fn platforms(index: &Value) -> Vec<String> {
    let list = index["manifests"].as_array().unwrap();
    list.iter()
        .map(|m| {
            let word = |key: &str| m["platform"][key].as_str().unwrap().to_owned();
            format!("{}/{}", word("os"), word("architecture"))
        })
        .collect()
}

#[test]
fn an_index_of_platforms_is_built_pushed_and_read_by_others() {
    requires!("docker-registry", "skopeo");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let dir = context(&world, "c", &[("Dockerfile", PLAIN), ("f", "file")]);
    let name = registry.image("app:1");
    let list = "--platform=linux/amd64,linux/arm64,linux/s390x";
    let places = "--annotation=index,manifest:both=yes";
    let plain = "--annotation=one=yes";
    let built = build(&world, &dir, &[list, places, plain, "-t", &name, "--push"]).code(0);
    assert!(
        built.stderr.contains("[linux/s390x stage-1"),
        "{}",
        built.stderr
    );
    let index = raw(&world, &name);
    assert_eq!(
        platforms(&index),
        ["linux/amd64", "linux/arm64", "linux/s390x"]
    );
    assert_eq!(index["annotations"], serde_json::json!({"both": "yes"}));
    build(&world, &dir, &["--annotation=index-descriptor:a=b"])
        .code(125)
        .says("manifests and indexes");
    // Each member is what it says, and all of its blobs are there.
    for arch in ["amd64", "arm64", "s390x"] {
        let folder = world.path().join(arch);
        let target = format!("dir:{}", folder.display());
        let source = format!("docker://{name}");
        let arch_word = format!("--override-arch={arch}");
        skopeo(
            &world,
            &[
                &arch_word,
                "copy",
                "-q",
                "--src-tls-verify=false",
                &source,
                &target,
            ],
        );
        let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        for key in ["both", "one"] {
            assert_eq!(manifest["annotations"][key], "yes", "{arch}");
        }
        let config = manifest["config"]["digest"].as_str().unwrap();
        let config = std::fs::read_to_string(folder.join(&config[7..])).unwrap();
        assert!(config.contains(&format!("P=linux/{arch}")), "{config}");
    }
    let all = format!("oci:{}", world.path().join("all").display());
    let source = format!("docker://{name}");
    skopeo(
        &world,
        &[
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            &source,
            &all,
        ],
    );
    // A rebuild finds all of it; so does another store by the registry.
    let again = build(&world, &dir, &[list, places, plain, "-t", &name]).code(0);
    assert_eq!(again.stdout, built.stdout);
    let steps = count(&again, " CACHED");
    assert_eq!(steps, 9, "{}", again.stderr);
    let other = World::with_busybox();
    other.ok(&["pull", "-q", "--platform=linux/arm64", &name]);
    let env = other.inspect(&name, "{{json .Config.Env}}");
    assert!(env.contains("P=linux/arm64"), "{env}");
    // Outputs: a folder for each, and an archive of all.
    let out = world.path().join("out");
    build(&world, &dir, &[list, "-o", out.to_str().unwrap()]).code(0);
    let read = |p: &str| std::fs::read_to_string(out.join(p)).unwrap();
    assert_eq!(read("linux_arm64/out"), "made for arm64\n");
    assert_eq!(read("linux_s390x/f"), "file");
    let archive = world.path().join("all.tar");
    let output = format!("type=oci,dest={}", archive.display());
    build(&world, &dir, &[list, "-t", "x", "-o", &output]).code(0);
    let place = format!("oci-archive:{}", archive.display());
    let text = skopeo(
        &world,
        &["--override-arch=s390x", "inspect", "--config", &place],
    );
    assert!(text.contains("P=linux/s390x"), "{text}");
    for kind in ["tar", "docker"] {
        let output = format!("type={kind},dest={}", archive.display());
        build(&world, &dir, &[list, "-o", &output])
            .code(125)
            .says("one platform");
    }
}

#[test]
fn an_index_grows_by_name_and_goes_with_it() {
    let world = World::with_busybox();
    let text = "FROM scratch\nARG TARGETPLATFORM\nENV P=$TARGETPLATFORM\nCOPY f /f\n";
    let dir = context(&world, "c", &[("Dockerfile", text), ("f", "file")]);
    for platform in ["linux/amd64", "linux/arm64", "linux/arm64"] {
        build(&world, &dir, &["--platform", platform, "--manifest", "all"]).code(0);
    }
    let env = world.inspect("all", "{{json .Config.Env}}");
    assert!(env.contains("P=linux/amd64"), "this machine's: {env}");
    let images = world.ok(&["images", "-a", "-q", "--no-trunc"]);
    let made = |text: &str| {
        text.lines()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    assert_eq!(made(&images), 4, "busybox, a list and two: {images}");
    // A prune takes nothing that the index needs.
    world.ok(&["image", "prune", "-f"]);
    assert_eq!(made(&world.ok(&["images", "-a", "-q", "--no-trunc"])), 4);
    let list = world.ok(&["manifest", "inspect", "all"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(platforms(&list), ["linux/amd64", "linux/arm64"]);
    // Without the list its images are dangling.
    world.ok(&["rmi", "all"]);
    world.ok(&["image", "prune", "-f"]);
    assert_eq!(made(&world.ok(&["images", "-a", "-q", "--no-trunc"])), 1);
    build(&world, &dir, &["--manifest", "busybox"])
        .code(125)
        .says("no manifest list");
}

#[test]
fn what_this_machine_cannot_run_is_said_before_it_is_tried() {
    if Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists() {
        return;
    }
    let world = World::with_busybox();
    let file = "FROM scratch\nCOPY f /f\nRUN [\"/f\"]\n";
    let dir = context(&world, "c", &[("Dockerfile", file), ("f", "x")]);
    let failed = build(&world, &dir, &["--platform=linux/s390x"]).code(125);
    for word in ["Dockerfile:3", "linux/s390x", "binfmt_misc", "qemu-user"] {
        assert!(failed.stderr.contains(word), "{word}: {}", failed.stderr);
    }
}

#[test]
fn programs_of_other_processors_run_where_the_kernel_has_a_handler() {
    requires!("unshare", "newuidmap", "busybox");
    crate::support::inner::run("build_index::foreign_programs", &[]);
}

/// The kernel knows handlers of a user namespace since 6.7, so the test has one of its own: busybox
/// stands for qemu, and files with nothing but the head of an arm64 program for its applets.
#[test]
#[ignore = "runs inside namespaces, started by programs_of_other_processors_run_where_the_kernel_has_a_handler"]
fn foreign_programs() {
    const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";
    let mounted = Command::new("mount")
        .args(["-t", "binfmt_misc", "none", HANDLERS])
        .status();
    if !mounted.unwrap().success() {
        assert!(
            !crate::support::strict(),
            "REQUIRE=1, but this kernel has no binfmt_misc for user namespaces"
        );
        eprintln!("skipped: this kernel has no binfmt_misc for user namespaces");
        return;
    }
    let world = World::new();
    let file = "FROM scratch\nCOPY sh /bin/sh\nRUN echo made by $0 > /made\n\
                FROM scratch\nCOPY --from=0 /made /bin/sh /\n";
    let dir = context(&world, "c", &[("Dockerfile", file)]);
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0".to_vec();
    head.resize(64, 0);
    let program = dir.join("sh");
    std::fs::write(&program, head).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let out = world.path().join("out");
    let wish = format!("--output={}", out.display());
    let args = ["--platform=linux/arm64", &wish];
    build(&world, &dir, &args)
        .code(125)
        .says("no binfmt_misc handler");
    let busybox = crate::support::peer::find("busybox").unwrap();
    let register = |flags: &str| {
        let entry = format!(
            r":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{}:{flags}",
            busybox.display()
        );
        std::fs::write(format!("{HANDLERS}/register"), entry).unwrap();
    };
    register("");
    build(&world, &dir, &args)
        .code(125)
        .says("lacks the flag F");
    std::fs::write(format!("{HANDLERS}/arm64"), "-1").unwrap();
    register("F");
    build(&world, &dir, &args).code(0);
    let made = std::fs::read_to_string(out.join("made")).unwrap();
    assert_eq!(made, "made by /bin/sh\n");
    // And a container of such an image.
    build(
        &world,
        &dir,
        &["--platform=linux/arm64", "--target=0", "-t", "far"],
    )
    .code(0);
    let run = [
        "run",
        "--rm",
        "--network=none",
        "--platform=linux/arm64",
        "far",
    ];
    let said = world.ok(&[&run[..], &["/bin/sh", "-c", "echo $((6*7))"]].concat());
    assert_eq!(said, "42");
}

#[test]
fn all_platforms_are_those_of_the_base() {
    requires!("docker-registry");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let base = registry.image("base:1");
    let dir = context(
        &world,
        "b",
        &[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "base")],
    );
    build(
        &world,
        &dir,
        &[
            "--platform=linux/amd64,linux/riscv64",
            "-t",
            &base,
            "--push",
        ],
    )
    .code(0);
    let other = World::new();
    let text = format!("FROM {base}\nCOPY f /g\n");
    let dir = context(&other, "c", &[("Dockerfile", &text), ("f", "more")]);
    let name = registry.image("all:1");
    build(&other, &dir, &["--all-platforms", "-t", &name, "--push"]).code(0);
    assert_eq!(
        platforms(&raw(&other, &name)),
        ["linux/amd64", "linux/riscv64"]
    );
    // The tag of the base is still this machine's, and the other is found by its platform.
    let arch = other.inspect(&base, "{{.Architecture}}");
    assert_eq!(arch, "amd64");
    drop(registry);
    let again = build(&other, &dir, &["--platform=linux/riscv64"]).code(0);
    assert_eq!(count(&again, " CACHED"), 1, "{}", again.stderr);
}

/// A tree with the package databases of three systems.
fn databases(world: &World) -> std::path::PathBuf {
    let dir = context(
        world,
        "sbom",
        &[
            (
                "Dockerfile",
                "FROM busybox\nARG TOKEN=x\nCOPY root /\nRUN --mount=type=secret,id=s true\n",
            ),
            ("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
            (
                "root/var/lib/dpkg/status",
                "Package: dash\nStatus: install ok installed\nVersion: 0.5-1\nArchitecture: amd64\n\n\
                 Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
            ),
            (
                "root/lib/apk/db/installed",
                "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\n",
            ),
            ("root/var/lib/rpm/x", ""),
        ],
    );
    let script = "import sqlite3,struct,sys\n\
        def header(s):\n\
        \x20index=b'';data=b''\n\
        \x20for t,v in s:\n\
        \x20 index+=struct.pack('>4I',t,6,len(data),1);data+=v.encode()+b'\\0'\n\
        \x20return struct.pack('>2I',len(s),len(data))+index+data\n\
        c=sqlite3.connect(sys.argv[1])\n\
        c.execute('create table Packages(hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)')\n\
        for n in ['bash','zlib']:\n\
        \x20c.execute('insert into Packages(blob) values(?)',(header([(1000,n),(1001,'5'),(1002,'1.fc40'),(1022,'x86_64'),(1014,'x'*9000)]),))\n\
        c.commit()\n";
    let file = dir.join("root/var/lib/rpm/rpmdb.sqlite");
    let made = Command::new("python3")
        .args(["-c", script, file.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(made.success());
    dir
}

/// The statements beside an image, by their predicate types, and the manifest's digest.
fn statements(world: &World, name: &str) -> (Vec<(String, Value)>, String) {
    let index = raw(world, name);
    let list = index["manifests"].as_array().unwrap();
    let image = list[0]["digest"].as_str().unwrap().to_owned();
    let beside = &list[1];
    assert_eq!(beside["platform"]["os"], "unknown");
    let notes = &beside["annotations"];
    assert_eq!(notes["vnd.docker.reference.digest"], image.as_str());
    assert_eq!(notes["vnd.docker.reference.type"], "attestation-manifest");
    let repository = name.rsplit_once(':').unwrap().0;
    let digest = beside["digest"].as_str().unwrap();
    let manifest = raw(world, &format!("{repository}@{digest}"));
    let folder = world.path().join("statements");
    let (source, target) = (
        format!("docker://{name}"),
        format!("oci:{}", folder.display()),
    );
    skopeo(
        world,
        &[
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            &source,
            &target,
        ],
    );
    let mut found = Vec::new();
    for layer in manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        let kind = layer["annotations"]["in-toto.io/predicate-type"]
            .as_str()
            .unwrap();
        let hex = &layer["digest"].as_str().unwrap()[7..];
        let text = std::fs::read_to_string(folder.join("blobs/sha256").join(hex)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["predicateType"], kind);
        assert_eq!(value["subject"][0]["digest"]["sha256"], image[7..]);
        found.push((kind.to_owned(), value));
    }
    (found, image)
}

#[test]
fn packages_and_provenance_are_stated_beside_the_image() {
    requires!("docker-registry", "skopeo", "python3");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let dir = databases(&world);
    let name = registry.image("app:1");
    std::fs::write(world.path().join("s"), "hidden-word").unwrap();
    let secret = format!("--secret=id=s,src={}", world.path().join("s").display());
    let args = [
        "-t",
        &name,
        "--push",
        "--sbom",
        "--provenance=mode=max",
        "--build-arg=TOKEN=given",
        &secret,
        "--timestamp=1700000000",
    ];
    let built = build(&world, &dir, &args).code(0);
    let (found, _) = statements(&world, &name);
    let kinds: Vec<&str> = found.iter().map(|(k, _)| k.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "https://spdx.dev/Document",
            "https://slsa.dev/provenance/v1"
        ]
    );
    let sbom = &found[0].1["predicate"];
    assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
    let urls: Vec<&str> = sbom["packages"].as_array().unwrap()[1..]
        .iter()
        .map(|p| p["externalRefs"][0]["referenceLocator"].as_str().unwrap())
        .collect();
    for wanted in [
        "pkg:deb/debian/dash@0.5-1?arch=amd64&distro=debian-12",
        "pkg:apk/debian/musl@1.2.5-r0?arch=x86_64&distro=debian-12",
        "pkg:rpm/debian/bash@5-1.fc40?arch=x86_64&distro=debian-12",
        "pkg:rpm/debian/zlib@5-1.fc40?arch=x86_64&distro=debian-12",
    ] {
        assert!(urls.contains(&wanted), "{wanted}: {urls:?}");
    }
    assert_eq!(urls.len(), 4, "{urls:?}");
    let provenance = &found[1].1["predicate"];
    let asked = &provenance["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(asked["args"]["TOKEN"], "given");
    assert_eq!(asked["secrets"], serde_json::json!(["s"]));
    assert!(!found[1].1.to_string().contains("hidden-word"));
    let bases = provenance["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    assert_eq!(
        bases[0]["uri"],
        "pkg:docker/busybox@latest?platform=linux%2Famd64"
    );
    // The same input states the same.
    let again = build(&world, &dir, &args).code(0);
    assert_eq!(again.stdout, built.stdout);
    // min tells neither arguments nor the file; the image runs; others pull it.
    let small = registry.image("app:2");
    let mut args = args;
    (args[1], args[4]) = (&small, "--provenance=mode=min");
    build(&world, &dir, &args).code(0);
    let (found, _) = statements(&world, &small);
    assert!(!found[1].1.to_string().contains("given"));
    assert!(!found[1].1.to_string().contains("FROM busybox"));
    let other = World::new();
    other.ok(&["pull", "-q", &small]);
    let said = other.ok(&[
        "run",
        "--rm",
        "--network=none",
        &small,
        "cat",
        "/etc/os-release",
    ]);
    assert!(said.starts_with("ID=debian"));
    // Nothing stated: no index.
    let none = registry.image("app:3");
    let words = [
        "-t",
        &none,
        "--push",
        "--provenance=false",
        "--attest=type=sbom,disabled=true",
        &secret,
    ];
    build(&world, &dir, &words).code(0);
    assert!(raw(&world, &none)["manifests"].is_null());
    // A database of another form is refused by name.
    std::fs::remove_file(dir.join("root/var/lib/rpm/rpmdb.sqlite")).unwrap();
    std::fs::write(dir.join("root/var/lib/rpm/Packages"), "x").unwrap();
    build(&world, &dir, &["--sbom", &secret])
        .code(125)
        .says("Berkeley DB");
    build(&world, &dir, &["--sbom=generator=x", &secret])
        .code(125)
        .says("scanners are not run");
}

#[test]
fn indexes_are_put_together_at_registries() {
    requires!("docker-registry", "skopeo");
    let world = World::with_busybox();
    let registry = world.registry(Mode::Plain);
    let text = "FROM scratch\nARG TARGETPLATFORM\nENV P=$TARGETPLATFORM\nCOPY f /f\n";
    let dir = context(&world, "c", &[("Dockerfile", text), ("f", "file")]);
    let (one, two) = (registry.image("one:1"), registry.image("two:1"));
    build(
        &world,
        &dir,
        &["--platform=linux/amd64", "-t", &one, "--push"],
    )
    .code(0);
    build(
        &world,
        &dir,
        &["--platform=linux/arm64", "-t", &two, "--push"],
    )
    .code(0);
    let all = registry.image("all:1");
    let create = ["buildx", "imagetools", "create", "-t", &all];
    world.ok(&[&create[..], &[one.as_str(), two.as_str()]].concat());
    assert_eq!(
        platforms(&raw(&world, &all)),
        ["linux/amd64", "linux/arm64"]
    );
    let (source, target) = (
        format!("docker://{all}"),
        format!("oci:{}", world.path().join("copied").display()),
    );
    skopeo(
        &world,
        &[
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            &source,
            &target,
        ],
    );
    let shown = world.ok(&["buildx", "imagetools", "inspect", &all]);
    assert!(
        shown.contains("Platform:    linux/arm64/v8") || shown.contains("Platform:    linux/arm64"),
        "{shown}"
    );
    let digest = raw(&world, &all)["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(shown.contains(&digest), "{shown}");
    let format = "--format={{json .Manifest.digest}}";
    let said = world.ok(&["buildx", "imagetools", "inspect", format, &one]);
    assert_eq!(said, format!("\"{digest}\""));
    let bytes = world.ok(&["buildx", "imagetools", "inspect", "--raw", &all]);
    assert_eq!(
        serde_json::from_str::<Value>(&bytes).unwrap(),
        raw(&world, &all)
    );
    // Nothing is written with --dry-run; one source is copied as it is.
    let dry = world.ok(&[
        "buildx",
        "imagetools",
        "create",
        "--dry-run",
        &one,
        "--annotation=a=b",
    ]);
    assert!(dry.contains("\"a\":\"b\""), "{dry}");
    let same = registry.image("same:1");
    world.ok(&["buildx", "imagetools", "create", "-t", &same, &all]);
    assert_eq!(raw(&world, &same), raw(&world, &all));
    // Appending grows it.
    let grown = registry.image("grown:1");
    world.ok(&["buildx", "imagetools", "create", "-t", &grown, &two]);
    world.ok(&[
        "buildx",
        "imagetools",
        "create",
        "--append",
        "-t",
        &grown,
        &one,
    ]);
    assert_eq!(platforms(&raw(&world, &grown)).len(), 2);
    world
        .run(&["buildx", "imagetools", "inspect", &registry.image("none:1")])
        .code(125);
}
