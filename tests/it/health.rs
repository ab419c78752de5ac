//! Health checks, done by the monitor: nothing of systemd's is needed.

use serde_json::Value;

use crate::support::World;
use crate::support::peer::wait_for;

fn start(w: &World, name: &str, flags: &[&str], script: &str) {
    let base = ["run", "-d", "--name", name, "--network", "none"];
    w.ok(&[&base[..], flags, &["busybox", "sh", "-c", script]].concat());
}

fn health(w: &World, name: &str) -> Value {
    serde_json::from_str(&w.inspect(name, "{{json .State.Health}}")).unwrap()
}

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

#[test]
fn a_container_is_starting_then_healthy_then_unhealthy_and_everything_tells() {
    let w = World::with_busybox();
    let flags = [
        "--health-cmd",
        "echo looked; test -e /up",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "100ms",
    ];
    start(&w, "c", &flags, SLEEP);
    wait_for("a failed check that does not count", || {
        health(&w, "c")["Log"][0]["ExitCode"] == 1
    });
    let now = health(&w, "c");
    assert_eq!(now["Status"], "starting", "{now}");
    assert_eq!(now["FailingStreak"], 0);
    assert!(w.ok(&["ps"]).contains("(starting)"));
    assert_eq!(w.ok(&["ps", "-q", "--filter", "health=starting"]).len(), 12);
    let waiting = w.spawn(&["wait", "--condition", "healthy", "c"]);
    w.ok(&["exec", "c", "touch", "/up"]);
    assert!(waiting.wait_with_output().unwrap().status.success());
    assert_eq!(health(&w, "c")["Status"], "healthy");
    assert!(w.ok(&["ps"]).contains("(healthy)"));
    assert_eq!(w.ok(&["ps", "-q", "--filter", "health=unhealthy"]), "");
    w.run(&["healthcheck", "run", "c"]).code(0);
    let waiting = w.spawn(&["wait", "--condition", "unhealthy", "c"]);
    w.ok(&["exec", "c", "rm", "/up"]);
    assert!(waiting.wait_with_output().unwrap().status.success());
    let failed = w.run(&["healthcheck", "run", "c"]).code(1);
    assert_eq!(failed.stdout, "unhealthy\n");
    w.run(&["healthcheck", "run", "--ignore-result", "c"])
        .code(0);
    let now = health(&w, "c");
    assert_eq!(now["Status"], "unhealthy");
    assert!(now["FailingStreak"].as_u64() >= Some(2), "{now}");
    assert_eq!(now["Log"].as_array().unwrap().len(), 5);
    assert_eq!(now["Log"][4]["Output"], "looked\n");
    assert_eq!(
        w.inspect(
            "c",
            "{{.State.Healthcheck.Status}} {{.Config.Healthcheck.Retries}}"
        ),
        "unhealthy 2"
    );
    let events = w.ok(&[
        "events",
        "--stream=false",
        "--filter",
        "event=health_status",
        "--format",
        "{{.HealthStatus}}",
    ]);
    assert_eq!(events, "healthy\nunhealthy");
    w.ok(&["stop", "-t", "1", "c"]);
    assert!(!w.ok(&["ps", "-a"]).contains("healthy"));
    w.run(&["healthcheck", "run", "c"])
        .code(125)
        .says("not running");
    w.run(&["wait", "--condition", "healthy", "c"])
        .code(125)
        .says("exit code 0");
    // The next start knows nothing of the last.
    w.ok(&["start", "c"]);
    assert_ne!(health(&w, "c")["Status"], "unhealthy");
}

#[test]
fn a_check_that_takes_too_long_ends_with_all_it_started() {
    let w = World::with_busybox();
    let flags = [
        "--health-cmd",
        "echo $$ >>/pids; sleep 1234 & sleep 1234",
        "--health-timeout",
        "200ms",
        "--health-interval",
        "disable",
        "--health-retries",
        "1",
    ];
    start(&w, "c", &flags, SLEEP);
    assert_eq!(health(&w, "c")["Log"], serde_json::json!([]));
    w.run(&["healthcheck", "run", "c"]).code(1);
    let now = health(&w, "c");
    assert_eq!(now["Log"][0]["ExitCode"], -1, "{now}");
    assert!(now["Log"][0]["Output"].as_str().unwrap().contains("200ms"));
    wait_for("the end of the check's processes", || {
        !w.ok(&["exec", "c", "ps"]).contains("sleep 1234")
    });
    // The monitor serves meanwhile, and the end of the container does not wait for a check.
    w.ok(&["update", "--health-timeout", "1h", "c"]);
    let mut hanging = w.spawn(&["healthcheck", "run", "c"]);
    wait_for("the second check", || {
        w.ok(&["exec", "c", "wc", "-l", "/pids"]).starts_with('2')
    });
    w.ok(&["stop", "-t", "5", "c"]);
    assert_eq!(hanging.wait().unwrap().code(), Some(125));
    assert_eq!(w.inspect("c", "{{.State.ExitCode}}"), "0");
}

#[test]
fn turning_unhealthy_ends_stops_or_starts_the_container_anew() {
    let w = World::with_busybox();
    let flags = |action: &'static str| {
        [
            "--health-cmd",
            "false",
            "--health-interval",
            "50ms",
            "--health-retries",
            "2",
            "--health-on-failure",
            action,
        ]
    };
    start(&w, "kill", &flags("kill"), SLEEP);
    assert_eq!(w.ok(&["wait", "kill"]), "137");
    start(&w, "stop", &flags("stop"), SLEEP);
    assert_eq!(w.ok(&["wait", "stop"]), "0");
    start(
        &w,
        "restart",
        &flags("restart"),
        "date +%N >>/runs; exec sleep 1000",
    );
    wait_for("another run", || {
        let runs = w.run(&["exec", "restart", "wc", "-l", "/runs"]);
        runs.stdout
            .trim_start()
            .starts_with(|c: char| ('2'..='9').contains(&c))
    });
    assert_eq!(w.inspect("restart", "{{.RestartCount}}"), "0");
    assert_eq!(
        w.inspect("restart", "{{.Config.HealthcheckOnFailureAction}}"),
        "restart"
    );
    w.ok(&["rm", "-f", "-t", "0", "restart"]);
}

#[test]
fn the_startup_check_comes_before_the_others() {
    let w = World::with_busybox();
    let flags = [
        "--health-cmd",
        "echo main",
        "--health-interval",
        "50ms",
        "--health-startup-cmd",
        "echo first; test -e /up",
        "--health-startup-interval",
        "50ms",
    ];
    start(&w, "c", &flags, SLEEP);
    let last = || {
        health(&w, "c")["Log"]
            .as_array()
            .and_then(|l| l.last().cloned())
    };
    wait_for("the first check", || last().is_some());
    assert_eq!(last().unwrap()["Output"], "first\n");
    assert_eq!(health(&w, "c")["Status"], "starting");
    w.ok(&["exec", "c", "touch", "/up"]);
    w.ok(&["wait", "--condition", "healthy", "c"]);
    wait_for("the other check", || last().unwrap()["Output"] == "main\n");
    // Without success it starts anew.
    let flags = [
        "--health-cmd",
        "true",
        "--health-startup-cmd",
        "false",
        "--health-startup-interval",
        "50ms",
        "--health-startup-retries",
        "3",
    ];
    start(&w, "never", &flags, "echo run >>/runs; exec sleep 1000");
    wait_for("another run", || {
        w.run(&["exec", "never", "wc", "-l", "/runs"])
            .stdout
            .trim_start()
            .starts_with('2')
    });
    w.ok(&["rm", "-f", "-t", "0", "never"]);
}

#[test]
fn nothing_is_looked_at_while_it_is_paused() {
    let w = World::with_busybox();
    let flags = ["--health-cmd", "echo x >>/n", "--health-interval", "20ms"];
    start(&w, "c", &flags, SLEEP);
    w.ok(&["wait", "--condition", "healthy", "c"]);
    if w.run(&["pause", "c"]).code != 0 {
        // Without a cgroup nothing can be frozen; the unit tests of the monitor have the rest.
        return;
    }
    let before = health(&w, "c");
    w.run(&["healthcheck", "run", "c"]).code(125).says("paused");
    assert_eq!(health(&w, "c"), before);
    w.ok(&["unpause", "c"]);
    wait_for("the next check", || health(&w, "c") != before);
}

#[test]
fn ports_and_pages_in_the_containers_network_are_checked() {
    let w = World::with_busybox();
    let manual = ["--health-interval", "disable"];
    let page = [&manual[..], &["--health-http", "http://localhost:8080/up"]].concat();
    let script =
        "mkdir /www; httpd -h /www -p 8080; trap 'exit 0' TERM; while :; do sleep 0.1; done";
    start(&w, "page", &page, script);
    wait_for("the server", || {
        let page = [
            "exec",
            "page",
            "wget",
            "-q",
            "-O",
            "-",
            "http://127.0.0.1:8080/",
        ];
        w.run(&page).stderr.contains("404")
    });
    w.run(&["healthcheck", "run", "page"]).code(1);
    let log = |name: &str| {
        health(&w, name)["Log"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone()
    };
    assert!(
        log("page")["Output"].as_str().unwrap().contains("404"),
        "{}",
        log("page")
    );
    w.ok(&["exec", "page", "touch", "/www/up"]);
    w.run(&["healthcheck", "run", "page"]).code(0);
    assert!(log("page")["Output"].as_str().unwrap().contains("200"));
    w.ok(&["update", "--health-tcp", "8080", "page"]);
    w.run(&["healthcheck", "run", "page"]).code(0);
    w.ok(&["update", "--health-tcp", "8081", "page"]);
    w.run(&["healthcheck", "run", "page"]).code(1);
    // It speaks HTTP, but no gRPC.
    w.ok(&[
        "update",
        "--health-grpc",
        "8080",
        "--health-timeout",
        "2s",
        "page",
    ]);
    w.run(&["healthcheck", "run", "page"]).code(1);
    w.ok(&["update", "--no-healthcheck", "page"]);
    w.run(&["healthcheck", "run", "page"])
        .code(125)
        .says("no health check");
    assert_eq!(w.inspect("page", "{{.State.Health.Status}}"), "");
}

#[test]
fn the_images_check_holds_and_options_change_it() {
    let w = World::with_busybox();
    w.ok(&["create", "--name", "base", "busybox"]);
    w.ok(&[
        "commit",
        "-q",
        "-c",
        "HEALTHCHECK --interval=40ms --retries=7 CMD [\"sh\", \"-c\", \"echo image\"]",
        "base",
        "checked",
    ]);
    let run = |name: &str, flags: &[&str]| {
        let base = ["run", "-d", "--name", name, "--network", "none"];
        w.ok(&[&base[..], flags, &["checked", "sleep", "1000"]].concat());
    };
    run("c", &[]);
    w.ok(&["wait", "--condition", "healthy", "c"]);
    assert_eq!(health(&w, "c")["Log"][0]["Output"], "image\n");
    run("none", &["--no-healthcheck"]);
    assert_eq!(w.inspect("none", "{{.State.Health.Status}}"), "");
    run("patched", &["--health-retries", "9"]);
    assert_eq!(
        w.inspect(
            "patched",
            "{{.Config.Healthcheck.Retries}} {{.Config.Healthcheck.Interval}}"
        ),
        "9 40000000"
    );
    // An image of it has the options that it ran with.
    w.ok(&["commit", "-q", "patched", "again"]);
    assert_eq!(
        w.ok(&[
            "image",
            "inspect",
            "--format",
            "{{.Config.Healthcheck.Retries}}",
            "again"
        ]),
        "9"
    );
    let dir = w.path().join("results");
    std::fs::create_dir(&dir).unwrap();
    let place = dir.to_str().unwrap();
    run(
        "file",
        &[
            "--health-log-destination",
            place,
            "--health-max-log-size",
            "3",
        ],
    );
    let file = dir.join(format!("{}-healthcheck.log", w.inspect("file", "{{.Id}}")));
    wait_for("the file of results", || {
        std::fs::read_to_string(&file).is_ok_and(|t| t.contains(r#""Output":"ima""#))
    });
    for name in ["c", "none", "patched", "file"] {
        w.ok(&["rm", "-f", "-t", "0", name]);
    }
}
