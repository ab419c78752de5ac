//! `compose`: projects that really run.

use std::io::Read as _;

use serde_json::Value;

use crate::support::World;
use crate::support::peer::{free_port, wait_for};

/// A world with a project file in its folder.
fn project(text: &str) -> World {
    let w = World::with_busybox();
    write(&w, "compose.yaml", text);
    w
}

fn write(w: &World, name: &str, text: &str) {
    std::fs::write(w.path().join(name), text).unwrap();
}

fn compose(w: &World, words: &[&str]) -> String {
    w.ok(&[&["compose"], words].concat())
}

/// The containers: name to id, those that do not run, too.
fn ids(w: &World) -> Vec<(String, String)> {
    let text = compose(w, &["ps", "-a", "--no-trunc", "--format", "json"]);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let of = |key: &str| row[key].as_str().unwrap().to_owned();
        (of("Name"), of("ID"))
    };
    text.lines().map(row).collect()
}

#[test]
fn the_lectures_project_counts_and_keeps_its_data() {
    let w = World::with_busybox();
    let port = free_port();
    write(
        &w,
        "Dockerfile",
        "FROM busybox\nCOPY hit /hit\nRUN chmod 755 /hit\nCMD while :; do nc -l -p 5000 -e /hit; done\n",
    );
    write(
        &w,
        "hit",
        "#!/bin/sh\nn=$(nc -w 2 redis 6379 </dev/null)\necho hits $n | tee -a /var/log/hits\n",
    );
    std::fs::create_dir(w.path().join("redis")).unwrap();
    write(
        &w,
        "redis/Dockerfile",
        "FROM busybox\nCOPY count /count\nRUN chmod 755 /count\nCMD while :; do nc -l -p 6379 -e /count; done\n",
    );
    write(
        &w,
        "redis/count",
        "#!/bin/sh\nread n </data/n || n=0\nn=$((n+1))\necho $n >/data/n\necho $n\n",
    );
    w.ok(&["build", "-q", "-t", "redis", "redis"]);
    write(
        &w,
        "docker-compose.yml",
        &format!(
            "version: '2'\nservices:\n  web:\n    build: .\n    ports: ['127.0.0.1:{port}:5000']\n    volumes: ['.:/code', 'logvolume01:/var/log']\n    links: [redis]\n    stop_grace_period: 0s\n  redis:\n    image: redis\n    volumes: ['data:/data']\n    stop_grace_period: 0s\nvolumes:\n  logvolume01: {{}}\n  data: {{}}\n"
        ),
    );
    let hit = || {
        let mut count = 0;
        wait_for("a hit", || {
            let mut text = String::new();
            let read = std::net::TcpStream::connect(("127.0.0.1", port))
                .and_then(|mut c| c.read_to_string(&mut text));
            let number = text
                .trim()
                .strip_prefix("hits ")
                .and_then(|n| n.parse::<u32>().ok());
            count = number.unwrap_or(0);
            read.is_ok() && count > 0
        });
        count
    };
    let up = || compose(&w, &["-p", "lecture", "up", "-d"]);
    up();
    let first = hit();
    let second = hit();
    assert!(second > first, "{first} {second}");
    let names: Vec<String> = compose(&w, &["-p", "lecture", "ps", "--format", "{{.Name}}"])
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(names, ["lecture-redis-1", "lecture-web-1"]);
    compose(&w, &["-p", "lecture", "down"]);
    assert_eq!(w.ok(&["ps", "-aq"]), "");
    up();
    assert!(hit() > second);
    let log = compose(
        &w,
        &["-p", "lecture", "exec", "-T", "web", "cat", "/var/log/hits"],
    );
    assert!(log.lines().count() >= 3, "{log}");
    compose(&w, &["-p", "lecture", "down", "-v", "--rmi", "local"]);
    assert_eq!(w.ok(&["volume", "ls", "-q"]), "");
    assert!(!w.ok(&["images"]).contains("lecture-web"));
}

const THREE: &str = "name: p\nservices:\n  a: {image: busybox, command: sleep 1000, stop_grace_period: 0s}\n  b: {image: busybox, command: sleep 1000, stop_grace_period: 0s, depends_on: [a], volumes: [/keep]}\n  c: {image: busybox, command: sleep 1000, stop_grace_period: 0s, network_mode: none}\n";

#[test]
fn up_changes_only_what_changed() {
    let w = project(THREE);
    compose(&w, &["up", "-d"]);
    let first = ids(&w);
    assert_eq!(first.len(), 3);
    compose(&w, &["up", "-d"]);
    assert_eq!(ids(&w), first);
    // Another command: that one is made anew, with its anonymous volume.
    compose(&w, &["exec", "-T", "b", "touch", "/keep/here"]);
    let changed = THREE.replace(
        "sleep 1000, stop_grace_period: 0s, depends",
        "sleep 1001, stop_grace_period: 0s, depends",
    );
    write(&w, "compose.yaml", &changed);
    compose(&w, &["up", "-d"]);
    let second = ids(&w);
    let kept: Vec<bool> = first.iter().zip(&second).map(|(a, b)| a == b).collect();
    assert_eq!(kept, [true, false, true]);
    compose(&w, &["exec", "-T", "b", "test", "-e", "/keep/here"]);
    // Scaled up and down.
    compose(&w, &["up", "-d", "--scale", "a=3"]);
    assert_eq!(ids(&w).len(), 5);
    compose(&w, &["scale", "a=1"]);
    assert_eq!(ids(&w), second);
    // A service that is gone is an orphan.
    write(
        &w,
        "compose.yaml",
        "name: p\nservices: {a: {image: busybox, command: sleep 1000, stop_grace_period: 0s}}\n",
    );
    w.run(&["compose", "up", "-d"])
        .code(0)
        .says("orphan containers (p-b-1, p-c-1)");
    compose(&w, &["up", "-d", "--remove-orphans"]);
    assert_eq!(ids(&w), first[..1]);
    compose(&w, &["up", "-d", "--force-recreate"]);
    assert_ne!(ids(&w), first[..1]);
    assert!(compose(&w, &["--dry-run", "up"]).contains("keep p-a-1"));
    compose(&w, &["down", "-v"]);
    assert_eq!(w.ok(&["ps", "-aq"]), "");
}

#[test]
fn up_shows_lines_with_their_containers_and_answers_a_code() {
    let w = project(
        "name: p\nservices:\n  test: {image: busybox, command: sh -c 'echo tested; exit 7'}\n  other: {image: busybox, command: sleep 1000, stop_grace_period: 0s}\n",
    );
    let up = w
        .run(&["compose", "up", "--exit-code-from", "test"])
        .code(7);
    assert!(up.stdout.contains("test-1   | tested\n"), "{}", up.stdout);
    assert!(
        up.stdout.contains("test-1 exited with code 7"),
        "{}",
        up.stdout
    );
    w.wait_state("p-other-1", "exited");
    compose(&w, &["down"]);
}

#[test]
fn configs_secrets_and_variables_are_inside() {
    let w = project(
        "name: p\nservices:\n  a:\n    image: busybox\n    command: sleep 1000\n    stop_grace_period: 0s\n    environment: {A: \"${FROM_DOTENV} $$x\"}\n    env_file: [a.env]\n    secrets: [plain, {source: variable, target: other, mode: 0400}]\n    configs: [{source: text, target: /etc/text}]\n    networks: {default: {aliases: [alias]}}\n  b: {image: busybox, command: sleep 1000, stop_grace_period: 0s}\nsecrets: {plain: {file: ./plain}, variable: {environment: FROM_DOTENV}}\nconfigs: {text: {content: 'of ${FROM_DOTENV}'}}\n",
    );
    write(&w, ".env", "FROM_DOTENV='dot env'\n");
    write(&w, "a.env", "B=\"from file\"\n");
    write(&w, "plain", "from a file\n");
    compose(&w, &["up", "-d"]);
    let script = "echo $A,$B; cat /run/secrets/plain /run/secrets/other; stat -c %a /run/secrets/other; cat /etc/text";
    assert_eq!(
        compose(&w, &["exec", "-T", "a", "sh", "-c", script]),
        "dot env $x,from file\nfrom a file\ndot env400\nof dot env"
    );
    compose(&w, &["exec", "-T", "b", "nslookup", "alias"]);
    compose(&w, &["down"]);
    assert_eq!(w.ok(&["secret", "ls", "-q"]), "");
}

#[test]
fn commands_act_on_services() {
    let w = project(THREE);
    compose(&w, &["create"]);
    assert_eq!(compose(&w, &["ps", "-q"]), "");
    compose(&w, &["start"]);
    assert_eq!(compose(&w, &["ps", "--services"]), "a\nb\nc");
    let pid = w.inspect("p-a-1", "{{.State.Pid}}");
    compose(&w, &["restart", "a"]);
    assert_ne!(w.inspect("p-a-1", "{{.State.Pid}}"), pid);
    assert_eq!(w.inspect("p-a-1", "{{.State.Status}}"), "running");
    compose(&w, &["pause", "a"]);
    assert_eq!(
        compose(&w, &["ps", "--status", "paused", "--services"]),
        "a"
    );
    compose(&w, &["unpause", "a"]);
    write(&w, "file", "text\n");
    compose(&w, &["cp", "file", "a:/copied"]);
    assert_eq!(compose(&w, &["exec", "-T", "a", "cat", "/copied"]), "text");
    assert!(compose(&w, &["top", "a"]).contains("sleep 1000"));
    assert_eq!(
        compose(
            &w,
            &["run", "--rm", "-T", "-e", "V=1", "b", "sh", "-c", "echo $V"]
        ),
        "1"
    );
    w.run(&["compose", "run", "--rm", "-T", "b", "sh", "-c", "exit 9"])
        .code(9);
    assert_eq!(ids(&w).len(), 3);
    assert!(compose(&w, &["ls"]).contains("running(3)"));
    compose(&w, &["kill", "c"]);
    w.wait_state("p-c-1", "exited");
    compose(&w, &["rm", "-f", "c"]);
    assert_eq!(ids(&w).len(), 2);
    compose(&w, &["stop"]);
    assert_eq!(compose(&w, &["ps", "-q"]), "");
    w.run(&["compose", "logs", "nobody"])
        .code(125)
        .says("no such service: nobody");
    // By its name alone.
    std::fs::remove_file(w.path().join("compose.yaml")).unwrap();
    w.run(&["compose", "down"])
        .code(125)
        .says("no configuration file provided");
    compose(&w, &["-p", "p", "down"]);
    assert_eq!(w.ok(&["ps", "-aq"]), "");
}

#[test]
fn other_names_of_the_program_are_compose() {
    let w = project(THREE);
    let name = w.path().join("docker-compose");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_coracle"), &name).unwrap();
    let mut command = std::process::Command::new(&name);
    command.args(["-p", "q", "config", "--services"]);
    w.settle(&mut command);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\nb\nc\n");
    w.run(&["compose", "config", "-q", "--lossy"]).code(0);
    write(
        &w,
        "compose.yaml",
        "services:\n  a:\n    image: x\n    comand: y\n",
    );
    w.run(&["compose", "config"])
        .code(125)
        .says("compose.yaml:4: services.a.comand: no such key");
}

#[test]
fn a_job_that_fails_ends_up_although_something_else_is_still_waited_for() {
    let w = project(
        "name: p\nservices:\n  db: {image: busybox, command: sleep 1000, stop_grace_period: 0s, healthcheck: {test: 'false', interval: 30s, retries: 50}}\n  \
         job: {image: busybox, command: [sh, -c, 'exit 7']}\n  app: {image: busybox, command: sleep 1000, stop_grace_period: 0s, depends_on: {db: {condition: service_healthy}, job: {condition: service_completed_successfully}}}\n",
    );
    let failed = w.run(&["compose", "up", "-d"]).code(125);
    failed.says("service \"job\" didn't complete successfully: exit 7");
    let names: Vec<String> = ids(&w).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["p-db-1", "p-job-1"]);
    // Nobody waits for what is left out.
    compose(&w, &["up", "-d", "--no-deps", "app"]);
    compose(&w, &["down"]);
}

#[test]
fn anonymous_volumes_go_with_the_project_even_later() {
    let w = project(
        "name: p\nservices:\n  a: {build: ., stop_grace_period: 0s, volumes: [/explicit]}\n",
    );
    write(
        &w,
        "Dockerfile",
        "FROM busybox\nVOLUME /own\nCMD sleep 1000\n",
    );
    compose(&w, &["up", "-d"]);
    assert_eq!(w.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    compose(&w, &["run", "--rm", "a", "true"]);
    compose(&w, &["down"]);
    assert_eq!(w.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    compose(&w, &["up", "-d"]);
    w.ok(&["volume", "create", "foreign"]);
    compose(&w, &["down", "-v"]);
    assert_eq!(w.ok(&["volume", "ls", "-q"]), "foreign");
}

#[test]
fn watch_does_what_each_action_says() {
    let quick = "image: busybox, stop_grace_period: 0s";
    let w = project(&format!(
        "name: p\nservices:\n  \
         copied: {{{quick}, command: sleep 1000, develop: {{watch: [{{action: sync, path: ./src, target: /deep/src, initial_sync: true, ignore: ['*.tmp']}}]}}}}\n  \
         anew: {{{quick}, command: sleep 1000, develop: {{watch: [{{action: restart, path: ./conf}}]}}}}\n  \
         both: {{{quick}, command: sleep 1000, develop: {{watch: [{{action: sync+restart, path: ./src, target: /src}}]}}}}\n  \
         told: {{{quick}, command: sleep 1000, develop: {{watch: [{{action: sync+exec, path: ./src, target: /src, exec: {{command: cp /src/file /told, user: '0'}}}}]}}}}\n  \
         built: {{build: ., stop_grace_period: 0s, develop: {{watch: [{{action: rebuild, path: ./part}}]}}}}\n"
    ));
    for folder in ["src", "conf", "part"] {
        std::fs::create_dir(w.path().join(folder)).unwrap();
        write(&w, &format!("{folder}/file"), "one");
    }
    write(
        &w,
        "Dockerfile",
        "FROM busybox\nCOPY part /part\nCMD sleep 1000\n",
    );
    let mut watch = w.spawn(&["compose", "watch", "--prune"]);
    let read = |service: &str, file: &str| {
        let name = format!("p-{service}-1");
        w.run(&["exec", &name, "cat", file]).stdout
    };
    let started = |service: &str| {
        let name = format!("p-{service}-1");
        w.run(&["inspect", "-f", "{{.State.StartedAt}}", &name])
            .stdout
    };
    // The initial copy is there only when all is watched.
    wait_for("the initial copy", || {
        read("copied", "/deep/src/file") == "one"
    });
    let mut said = std::io::BufReader::new(watch.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("Watch enabled") {
        std::io::BufRead::read_line(&mut said, &mut lines).unwrap();
    }
    let before = (started("anew"), started("both"));
    let image = w.inspect_image("p-built", "{{.Id}}");
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    write(&w, "src/not.tmp", "x");
    for folder in ["src", "conf", "part"] {
        write(&w, &format!("{folder}/file"), "two!");
    }
    wait_for("the copies", || {
        [
            "copied:/deep/src/file",
            "both:/src/file",
            "told:/told",
            "built:/part/file",
        ]
        .iter()
        .all(|p| p.split_once(':').is_some_and(|(s, f)| read(s, f) == "two!"))
    });
    wait_for("the restarts", || {
        started("anew") > before.0 && started("both") > before.1
    });
    assert_eq!(read("copied", "/deep/src/not.tmp"), "");
    wait_for("the old image to go", || {
        w.run(&["image", "inspect", image.trim()]).code != 0
    });
    std::fs::remove_file(w.path().join("src/file")).unwrap();
    wait_for("the file to go", || {
        read("copied", "/deep/src/file").is_empty()
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
    compose(&w, &["down"]);
}

#[test]
fn a_project_is_exported_for_clusters_with_what_was_built_pushed() {
    requires!("docker-registry");
    let w = project(
        "name: p\nservices:\n  web: {build: ., ports: ['8080:80'], volumes: ['data:/data'], init: true, stop_grace_period: 0s, secrets: [word]}\n  db: {image: 'busybox', command: sleep 1000, stop_grace_period: 0s, container_name: x}\nvolumes: {data: {}}\nsecrets: {word: {environment: WORD}}\n",
    );
    write(&w, ".env", "WORD=hush\n");
    write(&w, "Dockerfile", "FROM busybox\nCMD sleep 1000\n");
    let registry = w.registry(crate::support::peer::Mode::Plain);
    let host = registry.image("x").rsplit_once('/').unwrap().0.to_owned();
    let said = w
        .run(&[
            "compose",
            "export",
            "kube",
            "--push",
            &host,
            "--tls-verify=false",
            "-o",
            "out.yaml",
        ])
        .code(0);
    for line in [
        "dropped services.web.init: ",
        "changed services.web.build.context: the image that was built is named",
        "changed services.web.ports: ",
        "dropped services.db.container_name: ",
    ] {
        assert!(said.stderr.contains(line), "{}", said.stderr);
    }
    let text = std::fs::read_to_string(w.path().join("out.yaml")).unwrap();
    let image = text
        .lines()
        .find_map(|l| {
            l.trim_start_matches(['-', ' '])
                .strip_prefix(&format!("image: {host}/p-web:"))
        })
        .unwrap();
    // A node can pull it, and the manifests are ones.
    w.ok(&[
        "pull",
        "-q",
        "--tls-verify=false",
        &format!("{host}/p-web:{image}"),
    ]);
    let played = w
        .run(&["kube", "play", "--network", "none", "out.yaml"])
        .code(0);
    assert!(played.stdout.contains("Pod:"), "{}", played.stdout);
    assert_eq!(
        w.ok(&["exec", "web-pod-web", "cat", "/run/secrets/word"]),
        "hush"
    );
    w.ok(&["kube", "down", "--force", "out.yaml"]);
    // A stack names what is beside it.
    w.run(&["compose", "export", "swarm"])
        .code(125)
        .says("--output");
    std::fs::create_dir(w.path().join("stack")).unwrap();
    compose(&w, &["export", "swarm", "-o", "stack/stack.yaml"]);
    assert_eq!(
        std::fs::read_to_string(w.path().join("stack/secret.word")).unwrap(),
        "hush"
    );
    let list = compose(&w, &["export", "--list", "swarm"]);
    assert!(
        list.lines()
            .any(|l| l.starts_with("services.web.image") || l.starts_with("services.db.image")),
        "{list}"
    );
}
