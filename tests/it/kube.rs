//! Manifests of Kubernetes: played, taken down, written.

use crate::support::{World, peer};

const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  initContainers:
  - name: prepare
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "cp /settings/greeting /shared/index.html"]
    volumeMounts: [{name: settings, mountPath: /settings}, {name: shared, mountPath: /shared}]
  containers:
  - name: server
    image: busybox
    imagePullPolicy: Never
    command: [httpd, -f, -p, "80", -h, /shared]
    volumeMounts: [{name: shared, mountPath: /shared}]
    livenessProbe: {httpGet: {port: 80}, periodSeconds: 1}
  - name: client
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c]
    args: ["until wget -qO- http://127.0.0.1/; do sleep 0.05; done; echo $(WHO) $SECRET $POD; cat /data/file; exec sleep 1000"]
    env:
    - {name: WHO, valueFrom: {configMapKeyRef: {name: settings, key: who}}}
    - {name: SECRET, valueFrom: {secretKeyRef: {name: keys, key: word}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    volumeMounts: [{name: data, mountPath: /data}]
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: settings, configMap: {name: settings}}
  - {name: data, persistentVolumeClaim: {claimName: data}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {who: world, greeting: "hello\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {word: hush}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
"#;

fn logs(world: &World, name: &str) -> String {
    world.ok(&["logs", name])
}

#[test]
fn a_manifest_is_played_replaced_and_taken_down() {
    let world = World::with_busybox();
    world.ok(&["volume", "create", "data"]);
    world.ok(&[
        "run",
        "--rm",
        "-v",
        "data:/d",
        "busybox",
        "sh",
        "-c",
        "echo kept >/d/file",
    ]);
    let file = world.path().join("web.yaml");
    std::fs::write(&file, WEB).unwrap();
    let file = file.to_str().unwrap();
    let said = world.ok(&["kube", "play", "--network", "none", file]);
    assert!(said.starts_with("Pod:\n"), "{said}");
    assert_eq!(said.lines().count(), 6, "{said}");
    let want = "hello\nworld hush web\nkept";
    peer::wait_for("the client to write", || logs(&world, "web-client") == want);
    world.ok(&["wait", "--condition", "healthy", "web-server"]);
    // The init container ran once and went; its volume cannot be written by the others.
    assert_eq!(
        world.ok(&["ps", "-a", "--format", "{{.Names}}", "--filter", "pod=web"]),
        "web-client\nweb-server\nweb-infra"
    );
    world
        .run(&["kube", "play", "--network", "none", file])
        .code(125)
        .says("--replace");
    world.ok(&["play", "kube", "--replace", "--network", "none", file]);
    peer::wait_for("the client to write", || logs(&world, "web-client") == want);
    let gone = world.ok(&["kube", "down", file]);
    assert!(gone.contains("Secrets removed:\nkeys"), "{gone}");
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    assert_eq!(world.ok(&["volume", "ls", "-q"]), "data");
    world.ok(&["kube", "down", "--force", file]);
    assert_eq!(world.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn replicas_run_and_what_cannot_be_done_leaves_nothing() {
    let world = World::with_busybox();
    let manifest = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: api}}\nspec:\n  replicas: 3\n  template:\n    spec:\n      \
             terminationGracePeriodSeconds: 0\n      containers: [{{name: c, image: {image}, imagePullPolicy: Never, args: [sleep, '1000']}}]\n"
        )
    };
    let said = world.run_with(
        &["kube", "play", "--network", "none", "-"],
        manifest("busybox").as_bytes(),
    );
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(
        world.ok(&[
            "pod",
            "ps",
            "--format",
            "{{.Name}} {{.Status}}",
            "--sort",
            "name"
        ]),
        "api-pod-0 Running\napi-pod-1 Running\napi-pod-2 Running"
    );
    let down = world.run_with(
        &["kube", "play", "--down", "-"],
        manifest("busybox").as_bytes(),
    );
    assert_eq!(down.code, 0, "{}", down.stderr);
    let said = world.run_with(
        &["kube", "play", "--network", "none", "-"],
        manifest("nowhere").as_bytes(),
    );
    assert_ne!(said.code, 0);
    assert_eq!(world.ok(&["pod", "ps", "-q"]), "");
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn what_is_written_plays_the_same_pod() {
    let world = World::with_busybox();
    world.ok(&[
        "pod",
        "create",
        "--network",
        "none",
        "--add-host",
        "db:10.0.0.1",
        "app",
    ]);
    world.ok(&[
        "create",
        "--pod",
        "app",
        "--name",
        "app-one",
        "--pull",
        "never",
        "-e",
        "A=b c",
        "-w",
        "/tmp",
        "--user",
        "5:6",
        "--cap-drop",
        "ALL",
        "--read-only",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo $A; pwd; id -u; exec sleep 1000",
    ]);
    let file = world.path().join("app.yaml");
    let path = file.to_str().unwrap();
    world.ok(&["kube", "generate", "-f", path, "app"]);
    let first = std::fs::read_to_string(&file).unwrap();
    world
        .run(&["kube", "generate", "-f", path, "app"])
        .code(125);
    world.ok(&["pod", "rm", "-f", "app"]);
    world.ok(&["kube", "play", "--network", "none", path]);
    peer::wait_for("it to write", || logs(&world, "app-one") == "b c\n/tmp\n5");
    // Once more the same comes out.
    assert_eq!(world.ok(&["generate", "kube", "app"]), first.trim_end());
    let deployment = world.ok(&[
        "kube",
        "generate",
        "-t",
        "deployment",
        "-r",
        "2",
        "-s",
        "app",
    ]);
    for part in [
        "kind: Deployment",
        "replicas: 2",
        "kind: Service",
        "kind: PersistentVolumeClaim",
    ] {
        assert!(deployment.contains(part), "{deployment}");
    }
    world.ok(&["pod", "rm", "-f", "-t", "0", "app"]);
}

#[test]
fn a_job_is_waited_for_and_goes_with_its_image_built() {
    let world = World::with_busybox();
    let folder = world.path().join("tool");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("Containerfile"),
        "FROM busybox\nRUN echo built >/made\n",
    )
    .unwrap();
    let manifest = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once, labels: {app: x}}\nspec:\n  template:\n    metadata: {labels: {app: x}}\n    spec:\n      restartPolicy: Never\n      \
         containers: [{name: c, image: 'localhost/tool:1', imagePullPolicy: Never, args: [sh, -c, 'cat /about/labels >/dev/stdout; grep -q built /made && exit 3'], volumeMounts: [{name: about, mountPath: /about}]}]\n      \
         volumes: [{name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]\n";
    let file = world.path().join("job.yaml");
    std::fs::write(&file, manifest).unwrap();
    let file = file.to_str().unwrap();
    world
        .run(&["kube", "play", "--network", "none", "--build=false", file])
        .code(125);
    world
        .run(&["kube", "play", "--network", "none", "--wait", file])
        .code(3);
    // Nothing is left of it.
    assert_eq!(world.ok(&["pod", "ps", "-q"]), "");
    assert_eq!(world.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn a_cron_job_is_a_timer_until_it_is_taken_down() {
    let world = World::with_busybox();
    let manifest = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec:\n  schedule: '*/15 3 * * *'\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          \
         containers: [{name: c, image: busybox, imagePullPolicy: Never, args: [echo, ran]}]\n";
    let play =
        |words: &[&str]| world.run_with(&[&["kube", "play"], words].concat(), manifest.as_bytes());
    assert_eq!(play(&["-"]).code, 0);
    let units = world.path().join("home/.config/systemd/user");
    let timer = std::fs::read_to_string(units.join("coracle-cronjob-nightly.timer")).unwrap();
    assert!(
        timer.contains("OnCalendar=*-*-* 03:00,15,30,45:00\n"),
        "{timer}"
    );
    assert!(
        units
            .join("timers.target.wants/coracle-cronjob-nightly.timer")
            .exists()
    );
    play(&["-"]).code(125).says("--replace");
    assert_eq!(play(&["--replace", "-"]).code, 0);
    // What the unit would run, as it says it.
    let service = std::fs::read_to_string(units.join("coracle-cronjob-nightly.service")).unwrap();
    let line = service
        .lines()
        .find_map(|l| l.strip_prefix("ExecStart="))
        .unwrap();
    let words: Vec<&str> = line
        .split('"')
        .map(str::trim)
        .filter(|w| !w.is_empty())
        .collect();
    let words: Vec<&str> = words[1..].iter().flat_map(|w| w.split(' ')).collect();
    let words: Vec<&str> = [
        &["kube", "play", "--network", "none"],
        &words[words.iter().position(|w| *w == "--quiet").unwrap()..],
    ]
    .concat();
    world.ok(&words);
    assert_eq!(world.ok(&["pod", "ps", "-q"]), "");
    let down = play(&["--down", "-"]);
    assert!(
        down.stdout.contains("CronJobs removed:\nnightly"),
        "{}",
        down.stdout
    );
    assert!(!units.join("coracle-cronjob-nightly.timer").exists());
}
