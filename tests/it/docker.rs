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
fn a_container_whose_health_is_not_known_is_told_of_in_dockers_words() {
    let w = World::with_busybox();
    let run = ["run", "-d", "--network", "none", "--health-cmd", "false"];
    let patient = ["--health-start-period", "1h", "busybox", "sleep", "100"];
    called(&w, "docker", &[&run[..], &patient].concat());
    let status = called(&w, "docker", &["ps", "--format", "{{.Status}}"]);
    assert!(status.contains("(health: starting)"), "{status}");
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

/// Every path of a JSON value, `A.B[].C`.
fn paths(value: &serde_json::Value, at: &str, into: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, field) in fields {
                let path = match at {
                    "" => key.clone(),
                    at => format!("{at}.{key}"),
                };
                into.insert(path.clone());
                paths(field, &path, into);
            }
        }
        serde_json::Value::Array(all) => {
            for one in all {
                paths(one, &format!("{at}[]"), into);
            }
        }
        _ => {}
    }
}

/// A world as it was when the shapes were recorded, made by the program under the name `name`.
fn furnished(name: &str) -> World {
    let w = World::new();
    let tar = crate::support::fixture::busybox_file(w.path());
    let changes = ["-c", "CMD [\"sh\"]", "-c", "LABEL a=b", "-c", "EXPOSE 80"];
    let tar = tar.to_str().unwrap();
    called(
        &w,
        name,
        &[&["import", "-q"], &changes[..], &[tar, "busybox"]].concat(),
    );
    called(&w, name, &["volume", "create", "--label", "l=1", "vol"]);
    let run = "run -d --name web --network none -v vol:/v -v /etc:/mnt:ro --label x=y --tmpfs /t:size=1m busybox sleep 1000";
    called(&w, name, &run.split(' ').collect::<Vec<_>>());
    called(
        &w,
        name,
        &[
            "run",
            "--name",
            "done",
            "--network",
            "none",
            "busybox",
            "true",
        ],
    );
    w
}

/// A list of texts.
fn words(list: &serde_json::Value) -> Vec<String> {
    let all = list.as_array().unwrap().iter();
    all.map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn outputs_have_the_shapes_that_were_recorded_of_dockers() {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/docker/shapes.json");
    let recorded: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let w = furnished("docker");
    let line = |name: &str| -> &[&str] {
        match name {
            "ps" => &["ps", "-a"],
            "ps size" => &["ps", "-a", "-s"],
            "images" => &["images"],
            "images digests" => &["images", "--digests"],
            "volume ls" => &["volume", "ls"],
            "history" => &["history", "busybox"],
            "stats" => &["stats", "--no-stream", "web"],
            "system df" => &["system", "df"],
            "top" => &["top", "web"],
            "inspect container" => &["inspect", "web"],
            "inspect exited" => &["inspect", "done"],
            "inspect image" => &["image", "inspect", "busybox"],
            "inspect volume" => &["volume", "inspect", "vol"],
            "info" => &["info", "--format", "{{json .}}"],
            "version" => &["version", "--format", "{{json .}}"],
            other => panic!("{other}"),
        }
    };
    for (name, heads) in recorded["headers"].as_object().unwrap() {
        let text = called(&w, "docker", line(name));
        let mine: Vec<&str> = text
            .lines()
            .next()
            .unwrap()
            .split("  ")
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .collect();
        assert_eq!(mine, words(heads), "{name}");
    }
    for (name, keys) in recorded["rows"].as_object().unwrap() {
        let args = [line(name), &["--format", "{{json .}}"]].concat();
        let text = called(&w, "docker", &args);
        let row: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let mut mine: Vec<String> = row.as_object().unwrap().keys().cloned().collect();
        mine.sort();
        assert_eq!(mine, words(keys), "{name}");
    }
    for (name, fields) in recorded["fields"].as_object().unwrap() {
        let text = called(&w, "docker", line(name));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut mine = std::collections::BTreeSet::new();
        paths(value.get(0).unwrap_or(&value), "", &mut mine);
        let missing: Vec<String> = words(fields)
            .into_iter()
            .filter(|f| !mine.contains(f))
            .collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}");
    }
    let web = |template: &str| called(&w, "docker", &["inspect", "-f", template, "web"]);
    assert_eq!(web("{{.Name}} {{.Config.Image}}"), "/web busybox");
    assert!(web("{{.Image}}").starts_with("sha256:"));
    assert_eq!(web("{{if .State.Health}}yes{{else}}no{{end}}"), "no");
    called(&w, "docker", &["rm", "-f", "web", "done"]);
}

#[test]
fn objects_have_the_fields_that_were_recorded_of_podmans() {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/podman/shapes.json");
    let recorded: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let w = furnished("podman");
    let line = |name: &str| -> &[&str] {
        match name {
            "ps" => &["ps", "-a", "--format", "json"],
            "images" => &["images", "--format", "json"],
            "volume ls" => &["volume", "ls", "--format", "json"],
            "history" => &["history", "--format", "json", "busybox"],
            "stats" => &["stats", "--no-stream", "--format", "json", "web"],
            "events" => &["events", "--stream=false", "--format", "json"],
            "inspect container" => &["inspect", "web"],
            "inspect exited" => &["inspect", "done"],
            "inspect image" => &["image", "inspect", "busybox"],
            "inspect volume" => &["volume", "inspect", "vol"],
            "info" => &["info", "--format", "json"],
            "version" => &["version", "--format", "json"],
            other => panic!("{other}"),
        }
    };
    let mut lacks = Vec::new();
    for part in ["rows", "fields"] {
        for (name, fields) in recorded[part].as_object().unwrap() {
            let text = called(&w, "podman", line(name));
            let first = text.lines().next().unwrap();
            let value: serde_json::Value = serde_json::from_str(&text)
                .or_else(|_| serde_json::from_str(first))
                .unwrap();
            let mut mine = std::collections::BTreeSet::new();
            paths(value.get(0).unwrap_or(&value), "", &mut mine);
            let missing = words(fields).into_iter().filter(|f| !mine.contains(f));
            lacks.extend(missing.map(|f| format!("{name}: {f}")));
        }
    }
    assert!(lacks.is_empty(), "{lacks:?}");
    called(&w, "podman", &["rm", "-f", "-t", "0", "web", "done"]);
}

#[test]
fn what_fails_fails_with_dockers_codes_and_words() {
    let w = World::with_busybox();
    let fails = |name: &str, line: &str| {
        let path = w.path().join(name);
        if !path.exists() {
            symlink(env!("CARGO_BIN_EXE_coracle"), &path).unwrap();
        }
        let mut command = Command::new(path);
        command.args(line.split(' ')).stdin(Stdio::null());
        w.settle(&mut command);
        Outcome::of(&[line], command.output().unwrap())
    };
    for (line, code, says) in [
        ("inspect nope", 1, "No such object: nope"),
        ("start nope", 1, "No such container: nope"),
        ("exec nope true", 1, "No such container: nope"),
        ("rmi nope", 1, "No such image: nope"),
        ("volume inspect nope", 1, "No such volume: nope"),
        ("history nope", 1, "No such image: nope"),
        ("run --bogus", 125, "unknown flag: --bogus"),
        ("ps --bogus", 125, "unknown flag: --bogus"),
        ("run --network none busybox nope", 127, "nope"),
        ("run --network none busybox /data", 126, "/data"),
        ("run --network nope! busybox true", 125, "nope!"),
    ] {
        fails("docker", line).code(code).says(says);
    }
    // podman's own codes are those without a name.
    fails("podman", "inspect nope")
        .code(125)
        .says("no such object: \"nope\"");
}
