//! Services on one machine: one name, one address and one port in front of several replicas, which
//! are kept running, taken out when they are not ready, and replaced without a failed request.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::networks::{resolve, sh, stay};
use crate::support::World;
use crate::support::peer::{free_port, wait_for};

/// Answers with its own name, and takes a moment until it listens.
const SERVER: &str =
    "mkdir -p /www; hostname >/www/index.html; sleep 0.1; exec httpd -f -p 8080 -h /www";

/// It is well when it answers, unless somebody says that it is not.
const CHECK: &str = "test ! -e /sick && wget -qO- http://127.0.0.1:8080/ >/dev/null";

/// Between two checks.
const PERIOD: &str = "200ms";

fn create(w: &World, name: &str, replicas: &str, port: u16, flags: &[&str]) -> String {
    let publish = format!("127.0.0.1:{port}:8080");
    let base = [
        "service",
        "create",
        "--quiet",
        "--name",
        name,
        "--replicas",
        replicas,
        "--publish",
        &publish,
        "--stop-signal",
        "KILL",
        "--health-cmd",
        CHECK,
        "--health-interval",
        PERIOD,
        "--health-start-interval",
        "50ms",
        "--health-start-period",
        "20s",
        "--health-retries",
        "1",
        "--update-monitor",
        "100ms",
        "--rollback-monitor",
        "100ms",
    ];
    let words = ["busybox", "sh", "-c", SERVER];
    w.ok(&[&base[..], flags, &words].concat())
}

/// The answer, or why there is none.
fn ask(port: u16) -> Result<String, String> {
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let soon = Duration::from_secs(15);
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, soon)?;
        stream.set_read_timeout(Some(soon))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    match fetch() {
        Ok(text) if text.starts_with("HTTP/1.0 200") || text.starts_with("HTTP/1.1 200") => {
            Ok(text.trim().rsplit('\n').next().unwrap().to_owned())
        }
        Ok(text) => Err(text),
        Err(e) => Err(e.to_string()),
    }
}

/// Who answers so many questions, and how often.
fn answers(port: u16, count: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for _ in 0..count {
        *all.entry(ask(port).unwrap()).or_default() += 1;
    }
    all
}

/// Asks all the time from several threads; says what failed.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    fn on(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..3).map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let (mut good, mut bad) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    match ask(port) {
                        Ok(_) => good += 1,
                        Err(e) => bad.push(e),
                    }
                }
                (good, bad)
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }

    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut good, mut bad) = (0, Vec::new());
        for thread in self.threads {
            let (own, wrong) = thread.join().unwrap();
            good += own;
            bad.extend(wrong);
        }
        (good, bad)
    }
}

/// The containers of a service, slots in order.
fn containers(w: &World, service: &str) -> Vec<String> {
    let list = w.ok(&["service", "ps", "--format", "{{.Container}}", service]);
    list.lines().map(str::to_owned).collect()
}

fn status(w: &World, service: &str) -> Value {
    let text = w.ok(&["service", "inspect", service]);
    let value: Value = serde_json::from_str(&text).unwrap();
    value[0].clone()
}

fn kill(w: &World, container: &str) {
    let pid: i32 = w.inspect(container, "{{.State.Pid}}").parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Who answers at the service's address, asked from a container.
fn inside(w: &World, from: &str, host: &str, count: usize) -> BTreeMap<String, usize> {
    let script = format!(
        "i=0; while [ $i -lt {count} ]; do wget -qO- http://{host}:8080/ || echo failed; i=$((i+1)); done"
    );
    let mut all = BTreeMap::new();
    for line in sh(w, from, &script).lines() {
        *all.entry(line.to_owned()).or_default() += 1;
    }
    all
}

#[test]
fn a_name_an_address_and_a_port_lead_to_all_replicas() {
    requires!("pasta");
    let w = World::with_busybox();
    w.ok(&["network", "create", "net"]);
    let port = free_port();
    let id = create(&w, "web", "3", port, &["--network", "net"]);
    assert_eq!(w.ok(&["service", "ls", "-q"]), id[..12]);
    let line = w.ok(&[
        "service",
        "ls",
        "--format",
        "{{.Name}} {{.Mode}} {{.Replicas}}",
    ]);
    assert_eq!(line, "web replicated 3/3");
    let everybody = |all: &BTreeMap<String, usize>| {
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.values().all(|n| *n == 4), "{all:?}");
    };
    everybody(&answers(port, 12));
    stay(&w, "client", "net");
    everybody(&inside(&w, "client", "web", 12));
    // One address, which is kept.
    let address = |w: &World| {
        let text = status(w, "web")["Endpoint"]["VirtualIPs"][0]["Addr"].to_string();
        text.trim_matches('"').split('/').next().unwrap().to_owned()
    };
    let own = address(&w);
    assert_eq!(resolve(&w, "client", "web"), [own.as_str()]);
    assert_eq!(resolve(&w, "client", "tasks.web").len(), 3);
    // Where nobody listens somebody says so.
    let refused = w.run(&["exec", "client", "nc", "-w", "5", &own, "81"]);
    assert_ne!(refused.code, 0);
    w.ok(&["service", "scale", "-q", "web=1"]);
    assert_eq!(answers(port, 3).len(), 1);
    assert_eq!(inside(&w, "client", "web", 3).len(), 1);
    w.ok(&["service", "scale", "-q", "web=0"]);
    let start = Instant::now();
    assert_eq!(inside(&w, "client", &own, 1)["failed"], 1);
    assert!(start.elapsed() < Duration::from_secs(4), "refused at once");
    w.ok(&["service", "scale", "-q", "web=2"]);
    assert_eq!(address(&w), own);
    assert_eq!(inside(&w, "client", "web", 8).len(), 2);
    // The role is killed: the monitors tell the next one.
    let role = crate::networks::role(&w).unwrap();
    let pid = rustix::process::Pid::from_raw(role).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_for("another role", || {
        crate::networks::role(&w).is_some_and(|r| r != role) && ask(port).is_ok()
    });
    assert_eq!(answers(port, 8).len(), 2);
    assert_eq!(inside(&w, "client", "web", 8).len(), 2);
    w.run(&["network", "rm", "-f", "net"])
        .code(2)
        .says("is used by the service \"web\"");
    w.ok(&["service", "rm", "web"]);
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
    assert!(resolve(&w, "client", "web").is_empty());
    assert_eq!(w.ok(&["ps", "-aq"]).lines().count(), 1);
    // Without an address the name leads to the replicas that are ready.
    create(
        &w,
        "web",
        "2",
        port,
        &["--network", "net", "--endpoint-mode", "dnsrr"],
    );
    assert_eq!(resolve(&w, "client", "web").len(), 2);
    assert_eq!(answers(port, 4).len(), 2);
    w.ok(&["service", "rm", "web"]);
    w.ok(&["network", "rm", "-f", "net"]);
}

#[test]
fn a_replica_that_is_killed_is_back_and_one_that_is_not_ready_is_left_out() {
    requires!("pasta");
    let w = World::with_busybox();
    let port = free_port();
    create(&w, "web", "3", port, &[]);
    stay(&w, "client", "podman");
    let first = containers(&w, "web").remove(0);
    let name = w.inspect(&first, "{{.Config.Hostname}}");
    let pid = |name: &str| w.inspect(name, "{{.State.Pid}}");
    let before = pid(&first);
    let start = Instant::now();
    kill(&w, &first);
    wait_for("its end", || pid(&first) != before);
    // Whoever asks now is answered by the others.
    answers(port, 6);
    w.ok(&["wait", "--condition", "healthy", &first]);
    let took = start.elapsed();
    println!("back after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(1), "back after {took:?}");
    assert_eq!(answers(port, 9).len(), 3);
    assert_eq!(inside(&w, "client", "web", 9).len(), 3);
    // Its check fails: out within the period, and a little for the check itself.
    let start = Instant::now();
    sh(&w, &first, "touch /sick");
    w.ok(&["wait", "--condition", "unhealthy", &first]);
    let took = start.elapsed();
    println!("out after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(1), "out after {took:?}");
    let left = answers(port, 8);
    assert_eq!((left.len(), left.get(&name)), (2, None));
    let left = inside(&w, "client", "web", 8);
    assert_eq!((left.len(), left.get(&name)), (2, None));
    let line = w.ok(&["service", "ls", "--format", "{{.Replicas}}"]);
    assert_eq!(line, "2/3");
    sh(&w, &first, "rm /sick");
    w.ok(&["wait", "--condition", "healthy", &first]);
    assert_eq!(answers(port, 9).len(), 3);
    // Frozen ones answer nobody.
    w.ok(&["pause", &first]);
    assert_eq!(answers(port, 6).len(), 2);
    w.ok(&["unpause", &first]);
    assert_eq!(answers(port, 9).len(), 3);
    // The only one: who comes between two runs waits.
    w.ok(&["service", "scale", "-q", "web=1"]);
    let only = containers(&w, "web").remove(0);
    let before = pid(&only);
    kill(&w, &only);
    wait_for("its end", || pid(&only) != before);
    ask(port).unwrap();
    w.ok(&["service", "rm", "web"]);
}

#[test]
fn no_request_fails_while_replicas_are_replaced() {
    requires!("pasta");
    let w = World::with_busybox();
    let port = free_port();
    create(&w, "web", "4", port, &["--env", "A=1"]);
    let before = containers(&w, "web");
    for (value, flags) in [
        ("2", &["--update-order", "stop-first"][..]),
        ("3", &["--update-order", "start-first"]),
        (
            "4",
            &["--update-parallelism", "2", "--update-delay", "50ms"],
        ),
    ] {
        let load = Load::on(port);
        let variable = format!("A={value}");
        let args = ["service", "update", "-q", "--env-add", &variable];
        w.ok(&[&args[..], flags, &["web"]].concat());
        let (good, bad) = load.end();
        println!("{flags:?}: {good} answers");
        assert!(good > 20 && bad.is_empty(), "{flags:?} {good} {bad:?}");
        let now = containers(&w, "web");
        assert_eq!(now.len(), 4);
        assert!(now.iter().all(|c| !before.contains(c)));
        for container in &now {
            assert_eq!(sh(&w, container, "echo $A").trim(), value);
        }
    }
    assert_eq!(status(&w, "web")["UpdateStatus"]["State"], "completed");
    assert_eq!(answers(port, 12).len(), 4);
    // Who is connected is waited for.
    let mut slow = TcpStream::connect_timeout(
        &SocketAddr::from(([127, 0, 0, 1], port)),
        Duration::from_secs(5),
    )
    .unwrap();
    slow.write_all(b"GET / HTTP/1.0\r\n").unwrap();
    let update = w.spawn(&["service", "update", "-q", "--force", "web"]);
    wait_for("a replica that gets nobody any more", || {
        let states = w.ok(&["service", "ps", "--format", "{{.CurrentState}}", "web"]);
        states.contains("Draining") || states.lines().count() > 4
    });
    slow.write_all(b"\r\n").unwrap();
    let mut text = String::new();
    slow.read_to_string(&mut text).unwrap();
    assert!(text.contains("200 OK"), "{text}");
    assert!(update.wait_with_output().unwrap().status.success());
    // Nothing has changed: nothing is replaced.
    let now = containers(&w, "web");
    w.ok(&["service", "update", "-q", "--label-add", "a=b", "web"]);
    assert_eq!(containers(&w, "web"), now);
    w.ok(&["service", "rm", "web"]);
}

#[test]
fn an_update_that_fails_is_paused_or_undone_and_an_interrupted_one_is_finished() {
    requires!("pasta");
    let w = World::with_busybox();
    let port = free_port();
    create(&w, "web", "3", port, &["--env", "A=1"]);
    let before = containers(&w, "web");
    let fails = ["service", "update", "-q", "--args", "sh -c 'exit 3'"];
    for (action, state, code) in [
        ("pause", "paused", 1),
        ("rollback", "rollback_completed", 1),
    ] {
        let load = Load::on(port);
        let flags = ["--update-failure-action", action, "web"];
        w.run(&[&fails[..], &flags].concat())
            .code(code)
            .says("exited (3)");
        assert_eq!(load.end().1, Vec::<String>::new(), "{action}");
        assert_eq!(status(&w, "web")["UpdateStatus"]["State"], state);
        // Whoever could not be replaced does its work.
        assert_eq!(answers(port, 9).len(), 3, "{action}");
        if action == "pause" {
            w.ok(&["service", "rollback", "-q", "web"]);
        }
        assert_eq!(containers(&w, "web"), before, "{action}");
    }
    let command = |w: &World| {
        let spec = &status(w, "web")["Spec"]["TaskTemplate"]["ContainerSpec"];
        spec["Args"].to_string()
    };
    assert!(command(&w).contains("httpd"));
    // Killed between two replicas.
    let args = ["service", "update", "-q", "--env-add", "A=2"];
    let mut update = w.spawn(&[&args[..], &["--update-delay", "60s", "web"]].concat());
    wait_for("the first one", || {
        let now = containers(&w, "web");
        now.len() == 3 && now != before
    });
    update.kill().unwrap();
    update.wait().unwrap();
    assert_eq!(status(&w, "web")["UpdateStatus"]["State"], "updating");
    w.ok(&["service", "update", "-q", "--update-delay", "0s", "web"]);
    assert_eq!(status(&w, "web")["UpdateStatus"]["State"], "completed");
    let variables = |w: &World| -> Vec<String> {
        let all = containers(w, "web");
        all.iter().map(|c| sh(w, c, "echo $A")).collect()
    };
    assert_eq!(variables(&w), ["2\n", "2\n", "2\n"]);
    w.ok(&["service", "rollback", "-q", "web"]);
    assert_eq!(variables(&w), ["1\n", "1\n", "1\n"]);
    let state = &status(&w, "web")["UpdateStatus"]["State"];
    assert_eq!(state, "rollback_completed");
    // In the background, by a process that ends with it.
    w.ok(&["service", "update", "-d", "--env-add", "A=5", "web"]);
    wait_for("its end", || {
        status(&w, "web")["UpdateStatus"]["State"] == "completed"
    });
    assert_eq!(variables(&w), ["5\n", "5\n", "5\n"]);
    w.ok(&["service", "rm", "web"]);
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    requires!("pasta");
    let w = World::with_busybox();
    let refused = |flags: &[&str], code: i32, says: &str| {
        let words = ["busybox", "sleep", "1000"];
        let args = [&["service", "create", "--name", "web"][..], flags, &words].concat();
        w.run(&args).code(code).says(says);
        assert_eq!(w.ok(&["service", "ls", "-q"]), "", "{flags:?}");
        assert_eq!(w.ok(&["ps", "-aq"]), "", "{flags:?}");
    };
    refused(&["--config", "x"], 125, "--config is not supported");
    refused(&["--mode", "global-job"], 125, "coracle run");
    refused(&["--network", "nowhere"], 125, "nowhere");
    refused(&["--network", "host"], 125, "cannot be on");
    refused(&["--publish", "80"], 125, "needs a port of the host");
    refused(&["--update-order", "both"], 125, "start-first");
    refused(&["--replicas", "-1"], 125, "invalid number");
    refused(&["--entrypoint", "/nothing"], 127, "/nothing");
    let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = held.local_addr().unwrap().port();
    let publish = format!("127.0.0.1:{taken}:80");
    refused(&["--publish", &publish], 125, "in use");
    w.run(&["service", "update", "web"])
        .code(125)
        .says("no such service");
    let flags = ["--constraint", "node.role==manager", "--name", "web"];
    let words = ["busybox", "sleep", "1000"];
    w.run(&[&["service", "create", "-q"][..], &flags, &words].concat())
        .code(0)
        .says("there is one machine");
    w.run(&["service", "create", "--name", "web", "busybox"])
        .code(125)
        .says("exists already");
    w.run(&["service", "rollback", "web"])
        .code(125)
        .says("never changed");
    // A container of one's own takes part.
    let args = ["run", "-d", "--name", "own", "--network", "podman"];
    let more = ["--service", "web", "busybox", "sleep", "1000"];
    w.ok(&[&args[..], &more].concat());
    assert_eq!(resolve(&w, "own", "tasks.web").len(), 2);
    w.run(&["run", "--service", "web", "busybox"])
        .code(125)
        .says("networks with a name");
    w.ok(&["service", "rm", "web"]);
    assert_eq!(w.ok(&["ps", "-q"]).lines().count(), 1);
}

#[test]
fn a_service_of_kubernetes_leads_to_pods_that_are_ready() {
    requires!("pasta");
    let w = World::with_busybox();
    let port = free_port();
    let script = "mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 8080 -h /www";
    let manifest = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: busybox
        imagePullPolicy: Never
        args: [sh, -c, '{script}']
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe:
          exec: {{command: [sh, -c, test ! -e /sick]}}
          periodSeconds: 1
          failureThreshold: 1
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: http, nodePort: {port}}}]
"
    );
    let play = |flags: &[&str]| {
        let args = [&["kube", "play"][..], flags, &["-"]].concat();
        let said = w.run_with(&args, manifest.as_bytes());
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert_eq!(said.stderr, "");
    };
    play(&[]);
    for pod in ["web-pod-0-c", "web-pod-1-c"] {
        w.ok(&["wait", "--condition", "healthy", pod]);
    }
    assert_eq!(answers(port, 6).len(), 2);
    stay(&w, "client", "podman-default-kube-network");
    let names = |host: &str| {
        let script = format!(
            "for i in 1 2 3 4 5 6; do wget -qO- http://{host}/ || echo failed; done | sort -u"
        );
        sh(&w, "client", &script)
    };
    for host in ["web", "web.default.svc.cluster.local:80"] {
        assert_eq!(names(host), "web-pod-0\nweb-pod-1\n", "{host}");
    }
    // Ports that are not the Service's are refused at its address.
    assert_eq!(names("web:8080"), "failed\n");
    // One that is not ready is left out.
    sh(&w, "web-pod-0-c", "touch /sick");
    w.ok(&["wait", "--condition", "unhealthy", "web-pod-0-c"]);
    assert_eq!(names("web"), "web-pod-1\n");
    assert_eq!(answers(port, 4).len(), 1);
    sh(&w, "web-pod-0-c", "rm /sick");
    w.ok(&["wait", "--condition", "healthy", "web-pod-0-c"]);
    assert_eq!(names("web"), "web-pod-0\nweb-pod-1\n");
    play(&["--replace"]);
    assert_eq!(w.ok(&["service", "ls", "--format", "{{.Name}}"]), "web");
    play(&["--down"]);
    assert_eq!(w.ok(&["service", "ls", "-q"]), "");
    drop(TcpListener::bind(("0.0.0.0", port)).unwrap());
}

#[test]
fn replicas_of_a_project_share_a_port_and_are_replaced_without_a_failed_request() {
    requires!("pasta");
    let w = World::with_busybox();
    let port = free_port();
    let file = w.path().join("compose.yaml");
    let write = |replicas: u32, value: &str| {
        let text = format!(
            "name: shop
services:
  web:
    image: busybox
    pull_policy: never
    command: [sh, -c, '{SERVER}']
    environment: {{A: '{value}'}}
    stop_signal: KILL
    ports: ['127.0.0.1:{port}:8080']
    healthcheck: {{test: '{CHECK}', interval: {PERIOD}, start_interval: 50ms, start_period: 20s}}
    deploy:
      replicas: {replicas}
      update_config: {{parallelism: 1, order: start-first}}
"
        );
        std::fs::write(&file, text).unwrap();
    };
    let path = file.to_str().unwrap();
    let compose = |args: &[&str]| w.ok(&[&["compose", "-f", path][..], args].concat());
    write(1, "1");
    compose(&["up", "-d", "--wait"]);
    assert_eq!(answers(port, 2).len(), 1);
    assert_eq!(w.ok(&["service", "ls", "-q"]), "");
    // One port, and several containers.
    write(3, "1");
    compose(&["up", "-d", "--wait"]);
    assert_eq!(answers(port, 9).len(), 3);
    assert_eq!(
        w.ok(&["service", "ls", "--format", "{{.Name}}"]),
        "shop-web"
    );
    let before = w.ok(&["ps", "-q", "--no-trunc"]);
    compose(&["up", "-d", "--wait"]);
    assert_eq!(w.ok(&["ps", "-q", "--no-trunc"]), before);
    write(3, "2");
    let load = Load::on(port);
    compose(&["up", "-d"]);
    let (good, bad) = load.end();
    assert!(good > 20 && bad.is_empty(), "{good} {bad:?}");
    for container in ["shop-web-1", "shop-web-2", "shop-web-3"] {
        assert_eq!(sh(&w, container, "echo $A").trim(), "2");
    }
    compose(&["down"]);
    assert_eq!(w.ok(&["service", "ls", "-q"]), "");
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
}
