//! Called by the names `docker` and `podman`: the commonest outputs have those tools' shapes.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::support::{Outcome, World};

/// Runs the program by another name.
fn called(w: &World, name: &str, args: &[&str]) -> String {
    let path = w.path().join(name);
    if !path.exists() {
        symlink(env!("CARGO_BIN_EXE_coracle"), &path).unwrap();
    }
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null());
    w.settle(&mut command);
    Outcome::of(args, command.output().unwrap()).ok()
}

/// Words of a table's heading: two blanks or more stand between columns.
fn columns(line: &str) -> Vec<&str> {
    let cells = line.split("   ").map(str::trim);
    cells.filter(|c| !c.is_empty()).collect()
}

#[test]
fn lists_have_dockers_columns_and_keys() {
    let w = World::with_busybox();
    w.ok(&["tag", "busybox", "docker.io/library/lib:1"]);
    w.ok(&["tag", "busybox", "quay.io/u/q:1"]);
    let create = "create --name c -l a=1 -l b=2 -v data:/x --network none lib:1 sh -c";
    let mut args: Vec<&str> = create.split(' ').collect();
    args.push("echo a-long-command-line");
    w.ok(&args);
    let ps = called(&w, "docker", &["ps", "-a"]);
    let lines: Vec<&str> = ps.lines().collect();
    let heads = "CONTAINER ID,IMAGE,COMMAND,CREATED,STATUS,PORTS,NAMES";
    assert_eq!(columns(lines[0]).join(","), heads);
    assert!(
        lines[1].contains("   lib:1     \"sh -c echo a-long-c…\"   "),
        "{ps}"
    );
    let row = called(&w, "docker", &["ps", "-a", "--format", "{{json .}}"]);
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    let keys: Vec<&str> = row
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys.join(" "),
        "Command CreatedAt ID Image Labels LocalVolumes Mounts Names Networks Ports RunningFor Size \
         State Status"
    );
    assert_eq!(
        (row["Labels"].as_str(), row["Mounts"].as_str()),
        (Some("a=1,b=2"), Some("data"))
    );
    let images = called(&w, "docker", &["images"]);
    let heads = "REPOSITORY,TAG,IMAGE ID,CREATED,SIZE";
    assert_eq!(columns(images.lines().next().unwrap()).join(","), heads);
    let names = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    let mut names: Vec<String> = called(&w, "docker", &names)
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    assert_eq!(names, ["busybox:latest", "lib:1", "quay.io/u/q:1"]);
    let size = called(&w, "docker", &["images", "--format", "{{.Size}}", "lib"]);
    assert!(
        size.ends_with("MB") && !size.contains(' ') && size.len() <= 6,
        "{size}"
    );
    let size = called(&w, "podman", &["images", "--format", "{{.Size}}", "lib"]);
    assert!(size.ends_with(" MB"), "{size}");
    let heads = called(&w, "docker", &["history", "lib:1"]);
    assert!(heads.starts_with("IMAGE  "), "{heads}");
    let stats = called(&w, "docker", &["stats", "--no-stream"]);
    let heads = "CONTAINER ID,NAME,CPU %,MEM USAGE / LIMIT,MEM %,NET I/O,BLOCK I/O,PIDS";
    assert_eq!(columns(&stats).join(","), heads);
    // podman's own shapes are those without a name.
    let ps = ["ps", "-a"];
    assert_eq!(called(&w, "podman", &ps), w.ok(&ps));
    assert!(w.ok(&ps).contains("docker.io/library/lib:1"));
}

#[test]
fn versions_and_facts_are_told_in_the_callers_words() {
    let w = World::new();
    let version = env!("CARGO_PKG_VERSION");
    for flag in ["--version", "-v"] {
        assert_eq!(
            called(&w, "docker", &[flag]),
            format!("Docker version {version}, build coracle")
        );
    }
    assert_eq!(
        called(&w, "podman", &["--version"]),
        format!("podman version {version}")
    );
    assert_eq!(w.ok(&["--version"]), format!("coracle {version}"));
    let text = called(&w, "docker", &["version"]);
    assert!(
        text.starts_with("Client: ") && text.contains("\nServer: "),
        "{text}"
    );
    let format = [
        "version",
        "--format",
        "{{.Client.Version}} {{.Server.Os}}/{{.Server.Arch}}",
    ];
    assert!(called(&w, "docker", &format).starts_with(&format!("{version} linux/")));
    let text = called(&w, "docker", &["info"]);
    for line in [
        "Server:",
        " Containers: 0",
        "  Running: 0",
        " OSType: linux",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let machine = String::from_utf8(Command::new("uname").arg("-m").output().unwrap().stdout);
    let format = ["info", "--format", "{{.OSType}}/{{.Architecture}}"];
    assert_eq!(
        called(&w, "docker", &format),
        format!("linux/{}", machine.unwrap().trim())
    );
    assert_eq!(called(&w, "docker", &["context", "show"]), "default");
    let list = called(&w, "docker", &["context", "ls"]);
    assert!(
        list.lines().nth(1).unwrap().starts_with("default *"),
        "{list}"
    );
    w.run(&["context", "use", "far"]).code(125).says("far");
    w.run(&["context", "create", "x"]).code(125);
}
