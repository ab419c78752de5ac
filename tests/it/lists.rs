//! Manifest lists and artifacts: made here, pushed to Debian's docker-registry, read by skopeo.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{World, peer};

/// An image for another CPU: only its configuration says so.
fn other(w: &World, name: &str, arch: &str) {
    let file = crate::support::fixture::busybox_file(w.path());
    let file = file.to_str().unwrap();
    w.ok(&["import", "-q", "--arch", arch, "-c", "ENV A=1", file, name]);
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn index(w: &World, name: &str) -> Value {
    json(&w.ok(&["manifest", "inspect", name]))
}

#[test]
fn lists_are_made_changed_and_removed() {
    let w = World::with_busybox();
    other(&w, "arm", "arm64");
    let id = w.ok(&["manifest", "create", "--annotation", "a=b", "list"]);
    assert_eq!(id.len(), 64);
    w.run(&["manifest", "create", "list"])
        .code(125)
        .says("already in use");
    w.run(&["manifest", "create", "busybox"])
        .code(125)
        .says("already in use");
    w.run(&["manifest", "exists", "list"]).code(0);
    w.run(&["manifest", "exists", "busybox"]).code(1);
    w.run(&["manifest", "exists", "none"]).code(1);
    let empty = index(&w, "list");
    assert_eq!(
        empty["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(empty["annotations"]["a"], "b");
    assert_eq!(w.ok(&["manifest", "add", "list", "busybox"]), id);
    let more = [
        "--variant",
        "v8",
        "--os-version",
        "1.2",
        "--features",
        "x,y",
        "--annotation",
        "k=v",
    ];
    w.ok(&[
        &["manifest", "add"][..],
        &more,
        &["list", "containers-storage:localhost/arm"],
    ]
    .concat());
    let both = index(&w, "list");
    assert_eq!(both["manifests"].as_array().unwrap().len(), 2);
    let arm = &both["manifests"][1];
    assert_eq!(arm["platform"]["architecture"], "arm64");
    assert_eq!(arm["platform"]["variant"], "v8");
    assert_eq!(arm["platform"]["os.version"], "1.2");
    assert_eq!(arm["platform"]["features"][1], "y");
    assert_eq!(arm["annotations"]["k"], "v");
    // A list is an image by all other commands: with names, listed, tagged, and it runs.
    let names = w.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(
        names.lines().any(|l| l == "localhost/list:latest"),
        "{names}"
    );
    w.ok(&["tag", "list", "again"]);
    let run = ["run", "--rm", "--network", "none", "again", "echo", "fine"];
    assert_eq!(w.ok(&run), "fine");
    let digest = arm["digest"].as_str().unwrap().to_owned();
    w.ok(&[
        "manifest",
        "annotate",
        "--os",
        "freebsd",
        "--os-features",
        "z",
        "list",
        &digest,
    ]);
    w.ok(&[
        "manifest",
        "annotate",
        "--index",
        "--annotation",
        "c=d",
        "list",
    ]);
    w.ok(&["manifest", "annotate", "--subject", "busybox", "list"]);
    let changed = index(&w, "list");
    assert_eq!(changed["manifests"][1]["platform"]["os"], "freebsd");
    assert_eq!(changed["annotations"]["c"], "d");
    assert_eq!(changed["subject"]["digest"], both["manifests"][0]["digest"]);
    w.run(&["manifest", "annotate", "list"])
        .code(125)
        .says("--index");
    w.run(&["manifest", "remove", "list", &"0".repeat(64)])
        .code(125);
    w.ok(&["manifest", "remove", "list", &digest]);
    w.run(&["manifest", "remove", "list", "arm"])
        .code(125)
        .says("no member");
    assert_eq!(index(&w, "list")["manifests"].as_array().unwrap().len(), 1);
    // --amend adds; the same member stays one.
    w.ok(&["manifest", "create", "--amend", "list", "busybox", "arm"]);
    assert_eq!(index(&w, "list")["manifests"].as_array().unwrap().len(), 2);
    // The content of a member outlives its image.
    w.ok(&["rmi", "arm"]);
    w.ok(&["system", "prune", "-f"]);
    w.run(&["system", "check", "--max", "0"]).code(0);
    w.run(&["manifest", "rm", "busybox"])
        .code(125)
        .says("not a manifest list");
    w.run(&["manifest", "rm", "--ignore", "none"]).code(0);
    let gone = w.ok(&["manifest", "rm", "list", "again"]);
    assert!(gone.contains("Untagged: localhost/list:latest"), "{gone}");
    assert!(gone.contains(&format!("Deleted: {id}")), "{gone}");
    w.run(&["manifest", "inspect", "list"]).code(125);
    assert_eq!(w.ok(&["images", "-q"]).lines().count(), 1);
}

#[test]
fn lists_are_pushed_with_all_that_belongs_to_them_and_others_read_them() {
    requires!("docker-registry", "skopeo");
    let w = World::with_busybox();
    let registry = w.registry(peer::Mode::Plain);
    other(&w, "arm", "arm64");
    fs::write(w.path().join("notes.txt"), "some notes\n").unwrap();
    let name = registry.image("multi:1");
    w.ok(&["manifest", "create", &name, "busybox", "arm"]);
    let artifact = [
        "manifest",
        "add",
        "--artifact",
        "--artifact-type",
        "text/notes",
    ];
    w.ok(&[&artifact[..], &["--annotation", "x=y", &name, "notes.txt"]].concat());
    let plain = ["--tls-verify=false"];
    w.run(&[&["manifest", "push", "--all=false"], &plain[..], &[&name]].concat())
        .code(125)
        .says("the registry has no manifest");
    let file = w.path().join("digest");
    let file = file.to_str().unwrap();
    w.ok(&[
        &["manifest", "push", "-q", "--digestfile", file],
        &plain[..],
        &[&name],
    ]
    .concat());
    let digest = fs::read_to_string(file).unwrap();
    let theirs = |args: &[&str]| {
        let out = Command::new("skopeo").args(args).output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        json(&String::from_utf8_lossy(&out.stdout))
    };
    let place = format!("docker://{name}");
    let raw = theirs(&["inspect", "--tls-verify=false", "--raw", &place]);
    assert_eq!(raw, index(&w, &name));
    assert_eq!(raw["manifests"][2]["artifactType"], "text/notes");
    let arm = theirs(&[
        "--override-arch",
        "arm64",
        "inspect",
        "--tls-verify=false",
        &place,
    ]);
    assert_eq!(arm["Architecture"], "arm64");
    // skopeo copies every bit of it: nothing is missing there.
    let copy = w.path().join("copy");
    let all = Command::new("skopeo")
        .args(["copy", "-q", "--all", "--src-tls-verify=false", &place])
        .arg(format!("dir:{}", copy.display()))
        .status();
    assert!(all.unwrap().success());
    // Another machine: the list of a registry, members of it, its own again.
    let v = World::with_busybox();
    let remote = ["manifest", "inspect", "--tls-verify=false", &name];
    assert_eq!(json(&v.ok(&remote)), raw);
    let add = [
        "manifest",
        "add",
        "--all",
        "--tls-verify=false",
        "mine",
        &place,
    ];
    v.ok(&["manifest", "create", "mine"]);
    v.ok(&add);
    assert_eq!(index(&v, "mine")["manifests"], raw["manifests"]);
    let again = registry.image("again:1");
    v.ok(&[
        &["manifest", "push", "-q", "-f", "v2s2"],
        &plain[..],
        &["mine", &again],
    ]
    .concat());
    let listed = theirs(&[
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{again}"),
    ]);
    assert_eq!(
        listed["mediaType"],
        "application/vnd.docker.distribution.manifest.list.v2+json"
    );
    // By docker's words: created from what a registry has, pushed with --purge.
    let third = registry.image("third:1");
    let by = |digest: &Value| format!("{}@{}", registry.image("multi"), digest.as_str().unwrap());
    let (a, b) = (
        by(&raw["manifests"][0]["digest"]),
        by(&raw["manifests"][1]["digest"]),
    );
    v.ok(&["manifest", "create", "--insecure", &third, &a, &b]);
    v.ok(&["manifest", "annotate", "--arch", "riscv64", &third, &b]);
    v.ok(&["manifest", "push", "--insecure", "--purge", &third]);
    v.run(&["manifest", "exists", &third]).code(1);
    let pulled = [
        "pull",
        "-q",
        "--tls-verify=false",
        "--platform",
        "linux/riscv64",
        &third,
    ];
    v.run(&pulled).code(125).says("arm64");
    // `push` of a list is the same as `manifest push`, and a pull takes the member for here.
    w.ok(&[
        "push",
        "-q",
        "--tls-verify=false",
        &name,
        &registry.image("fourth:1"),
    ]);
    v.ok(&[
        "pull",
        "-q",
        "--tls-verify=false",
        &format!("{}@{digest}", registry.image("fourth")),
    ]);
}

#[test]
fn artifacts_are_made_given_away_brought_back_and_taken_out() {
    requires!("docker-registry", "skopeo");
    let w = World::new();
    let registry = w.registry(peer::Mode::Plain);
    fs::write(w.path().join("a.txt"), "alpha\n").unwrap();
    fs::write(w.path().join("b.bin"), b"\x7fELF\x02\x01\0\0").unwrap();
    let name = registry.image("files:1");
    let digest = w.ok(&[
        "artifact",
        "add",
        "--type",
        "x/y",
        "--annotation",
        "k=v",
        &name,
        "a.txt",
    ]);
    w.run(&["artifact", "add", &name, "b.bin"])
        .code(125)
        .says("--append");
    w.run(&["artifact", "add", "--append", &name, "a.txt"])
        .code(125)
        .says("already");
    w.run(&["artifact", "add", "--append", "none", "a.txt"])
        .code(125)
        .says("no such artifact");
    let digest2 = w.ok(&["artifact", "add", "--append", &name, "b.bin"]);
    assert_ne!(digest, digest2);
    let shown = json(&w.ok(&["artifact", "inspect", &name]));
    assert_eq!(shown["Digest"], format!("sha256:{digest2}"));
    let manifest = &shown["Manifest"];
    assert_eq!(manifest["artifactType"], "x/y");
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.oci.empty.v1+json"
    );
    let layers = &manifest["layers"];
    assert_eq!(layers[0]["mediaType"], "text/plain; charset=utf-8");
    assert_eq!(layers[0]["annotations"]["k"], "v");
    assert_eq!(layers[1]["mediaType"], "application/octet-stream");
    assert_eq!(
        layers[1]["annotations"]["org.opencontainers.image.title"],
        "b.bin"
    );
    let row = w.ok(&[
        "artifact",
        "ls",
        "-n",
        "--format",
        "{{.Repository}} {{.Tag}} {{.Digest}}",
    ]);
    assert_eq!(
        row,
        format!("{} 1 {}", registry.image("files"), &digest2[..12])
    );
    // No image list shows them, no prune takes their content.
    assert_eq!(w.ok(&["images", "-aq"]), "");
    w.ok(&["system", "prune", "-af"]);
    w.run(&["system", "check", "--max", "0"]).code(0);
    assert_eq!(
        w.ok(&["artifact", "push", "--tls-verify=false", &name]),
        digest2
    );
    let out = Command::new("skopeo")
        .args([
            "inspect",
            "--raw",
            "--tls-verify=false",
            &format!("docker://{name}"),
        ])
        .output()
        .unwrap();
    assert_eq!(&json(&String::from_utf8_lossy(&out.stdout)), manifest);
    assert_eq!(w.ok(&["artifact", "rm", &name]), digest2);
    w.run(&["artifact", "rm", &name])
        .code(125)
        .says("no such artifact");
    w.run(&["artifact", "rm", "--ignore", &name]).code(0);
    assert_eq!(
        fs::read_dir(w.data().join("store/blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        w.ok(&["artifact", "pull", "-q", "--tls-verify=false", &name]),
        digest2
    );
    let to = w.path().join("out");
    fs::create_dir(&to).unwrap();
    let to = to.to_str().unwrap();
    w.ok(&["artifact", "extract", &name, to]);
    assert_eq!(
        fs::read_to_string(w.path().join("out/a.txt")).unwrap(),
        "alpha\n"
    );
    assert!(w.path().join("out/b.bin").exists());
    w.run(&["artifact", "extract", &name, "single"])
        .code(125)
        .says("no folder");
    w.ok(&[
        "artifact", "extract", "--title", "a.txt", &digest2, "single",
    ]);
    assert_eq!(
        fs::read_to_string(w.path().join("single")).unwrap(),
        "alpha\n"
    );
    w.run(&["artifact", "extract", "--title", "c", &name, to])
        .code(125)
        .says("no such file");
    w.run(&["pull", "-q", "--tls-verify=false", &name])
        .code(125)
        .says("artifact");
    assert_eq!(w.ok(&["artifact", "rm", "--all"]), digest2);
}

#[test]
fn an_artifacts_file_never_leaves_the_folder() {
    let w = World::new();
    fs::write(w.path().join("a"), "alpha\n").unwrap();
    let title = "org.opencontainers.image.title=../escaped";
    w.ok(&["artifact", "add", "--annotation", title, "bad", "a"]);
    fs::create_dir(w.path().join("out")).unwrap();
    w.run(&["artifact", "extract", "bad", "out"])
        .code(125)
        .says("would not stay");
    assert!(!w.path().join("escaped").exists());
    // Nor through a link that lies there.
    w.ok(&["artifact", "add", "good", "a"]);
    std::os::unix::fs::symlink("../elsewhere", w.path().join("out/a")).unwrap();
    w.run(&["artifact", "extract", "good", "out"]).code(125);
    assert!(!w.path().join("elsewhere").exists());
}
