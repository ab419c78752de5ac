//! Networks of real containers: modes, published ports, names, and uplinks that end with their
//! monitor. All traffic stays on the loopback.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::World;

/// The host's side of `-p`: what a service that speaks first says.
fn hear(at: &str) -> Option<String> {
    let at: SocketAddr = at.trim().parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// (A nc whose client was lost with the uplink would wait for ever.)
const SERVICE: &str = "while :; do echo hello | busybox timeout 2 nc -l -p 80; done";

#[test]
fn a_published_port_answers_and_the_uplink_ends_with_a_killed_monitor() {
    requires!("pasta", "slirp4netns");
    for tool in ["pasta", "slirp4netns"] {
        let world = World::with_busybox();
        world.ok(&[
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            tool,
            "-p",
            "127.0.0.1::80",
            "busybox",
            "sh",
            "-c",
            SERVICE,
        ]);
        let at = world.ok(&["port", "web", "80"]);
        crate::support::peer::wait_for("an answer", || hear(&at).as_deref() == Some("hello\n"));
        let id = world.inspect("web", "{{.Id}}");
        let status = world
            .runtime()
            .join("containers")
            .join(id)
            .join("status.json");
        let status: serde_json::Value =
            serde_json::from_slice(&std::fs::read(status).unwrap()).unwrap();
        let pid = |who: &str| status[who]["pid"].as_i64().unwrap();
        let uplink = format!("/proc/{}/stat", pid("uplink"));
        let lives = || std::fs::read_to_string(&uplink).is_ok_and(|s| !s.contains(") Z "));
        assert!(lives(), "{tool}");
        let monitor = rustix::process::Pid::from_raw(pid("monitor") as i32).unwrap();
        rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
        crate::support::peer::wait_for("the uplink to end", || !lives());
        world.ok(&["rm", "-f", "web"]);
    }
}

/// A field of a container's status, as JSON.
fn status(world: &World, name: &str, field: &str) -> serde_json::Value {
    let id = world.inspect(name, "{{.Id}}");
    let path = world.runtime().join("containers").join(id);
    let text = std::fs::read(path.join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
    status[field].clone()
}

fn kill(pid: i64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn an_uplink_that_dies_is_started_again_with_its_ports() {
    requires!("pasta", "slirp4netns");
    for tool in ["pasta", "slirp4netns"] {
        let world = World::with_busybox();
        let args = ["run", "-d", "--name", "web", "-p", "127.0.0.1::80"];
        let service = ["--network", tool, "busybox", "sh", "-c", SERVICE];
        world.ok(&[&args[..], &service].concat());
        let at = world.ok(&["port", "web", "80"]);
        let answers = || hear(&at).as_deref() == Some("hello\n");
        crate::support::peer::wait_for("an answer", answers);
        // Twice: the second one is the monitor's own work again.
        for round in 1..=2 {
            let first = status(&world, "web", "uplink")["pid"].as_i64().unwrap();
            kill(first);
            crate::support::peer::wait_for("another uplink", || {
                let now = status(&world, "web", "uplink")["pid"].as_i64();
                now.is_some_and(|pid| pid != first)
            });
            crate::support::peer::wait_for(&format!("{tool} to answer again"), answers);
            assert_eq!(world.ok(&["port", "web", "80"]), at);
            let args = ["events", "--stream=false", "--filter", "event=network"];
            let told = world.ok(&[&args[..], &["--format", "{{.Attributes}}"]].concat());
            assert_eq!(told.lines().count(), 2 * round, "{tool}: {told}");
        }
        let last = status(&world, "web", "uplink")["pid"].as_i64().unwrap();
        world.ok(&["stop", "-t", "0", "web"]);
        let stat = format!("/proc/{last}/stat");
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z "));
        crate::support::peer::wait_for("the uplink to end", || !lives());
        assert_eq!(
            std::fs::read_dir(world.runtime().join("containers"))
                .unwrap()
                .flatten()
                .filter(|e| e.path().join("netns").exists())
                .count(),
            0
        );
    }
}

/// A configuration that finds a pasta which runs a script first.
fn odd_pasta(world: &World, script: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = world.path().join("helpers");
    std::fs::create_dir(&folder).unwrap();
    let pasta = crate::support::peer::find("pasta").unwrap();
    let script = format!("#!/bin/bash\n{script}\nexec {} \"$@\"\n", pasta.display());
    std::fs::write(folder.join("pasta"), script).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.join("pasta"), mode).unwrap();
    let conf = world.path().join("helpers.conf");
    let text = format!("[engine]\nhelper_binaries_dir = [{folder:?}]\n");
    std::fs::write(&conf, text).unwrap();
    conf
}

/// The monitor does not wait for an uplink that takes its time: output goes on.
#[test]
fn an_uplink_that_comes_back_slowly_holds_nothing_up() {
    requires!("pasta");
    let world = World::with_busybox();
    let mark = world.path().join("second");
    let once = world.path().join("first");
    let script = format!(
        "if [ -e {once} ]; then touch {mark}; exec sleep 100; fi; touch {once}",
        once = once.display(),
        mark = mark.display()
    );
    let conf = odd_pasta(&world, &script);
    let talk = "while :; do echo x; sleep 0.02; done";
    let mut command = world.command(&[
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "pasta",
        "busybox",
        "sh",
        "-c",
        talk,
    ]);
    let out = command.env("CONTAINERS_CONF", &conf).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    kill(status(&world, "c", "uplink")["pid"].as_i64().unwrap());
    crate::support::peer::wait_for("the second start", || mark.exists());
    let begun = std::time::Instant::now();
    let lines = || world.ok(&["logs", "c"]).lines().count();
    let before = lines();
    crate::support::peer::wait_for("output", || lines() > before + 20);
    // It is given three seconds.
    assert!(begun.elapsed() < std::time::Duration::from_millis(2500));
    assert!(status(&world, "c", "uplink").is_null());
    world.ok(&["stop", "-t", "0", "c"]);
    assert!(begun.elapsed() < std::time::Duration::from_millis(2800));
}

/// Newer ones close what they inherit before they open anything.
#[test]
fn a_pasta_that_closes_what_it_inherits_connects() {
    requires!("pasta");
    let world = World::with_busybox();
    let script = "for fd in /proc/$$/fd/*; do n=${fd##*/}; [ $n -gt 2 ] && [ $n != 255 ] && eval \"exec $n>&-\"; done";
    let conf = odd_pasta(&world, script);
    let mut command = world.command(&[
        "run",
        "--rm",
        "--network",
        "pasta",
        "busybox",
        "ip",
        "-4",
        "route",
    ]);
    let out = command.env("CONTAINERS_CONF", &conf).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("default via"), "{out:?}");
}

#[test]
fn a_taken_port_is_refused_before_anything_runs() {
    requires!("pasta");
    let world = World::with_busybox();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = format!("127.0.0.1:{}:80", taken.local_addr().unwrap().port());
    let outcome = world.run(&["run", "--rm", "-p", &port, "busybox", "true"]);
    assert_eq!(outcome.code, 125, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("is taken on 127.0.0.1"),
        "{}",
        outcome.stderr
    );
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

/// `ping` without a capability: whatever the container's ids and groups are, they may open such a
/// socket (SOCK_DGRAM, IPPROTO_ICMP; busybox's own `ping` knows raw ones only).
#[test]
fn every_group_of_the_container_may_ping() {
    let world = World::with_busybox();
    let open = |flags: &[&str]| {
        let run = "run --rm --network none --cap-drop all \
                   -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro";
        let script = "socket(my $s, 2, 2, 1) or die \"$!\\n\"; print \"open\"";
        let mut args: Vec<&str> = run.split_whitespace().collect();
        args.extend(flags);
        args.extend(["busybox", "/usr/bin/perl", "-e", script]);
        world.run(&args)
    };
    for userns in ["host", "keep-id", "auto", "nomap"] {
        for user in ["0:0", "77:88", "1000:1000"] {
            let said = open(&["--userns", userns, "--user", user]);
            assert_eq!(said.stdout, "open", "{userns} {user}: {}", said.stderr);
        }
    }
    let sysctl = "net.ipv4.ping_group_range=1 1";
    assert_eq!(open(&["--sysctl", sysctl, "--user", "0:1"]).stdout, "open");
    let said = open(&["--sysctl", sysctl]);
    assert!(said.stderr.contains("Permission denied"), "{}", said.stderr);
}

#[test]
fn names_and_the_loopback_are_as_promised() {
    requires!("pasta");
    let world = World::with_busybox();
    let args = [
        "run",
        "--rm",
        "--name",
        "web",
        "--hostname",
        "web1",
        "--add-host",
        "db:10.1.2.3",
    ];
    let text = world.ok(&[&args[..], &["busybox", "cat", "/etc/hosts"]].concat());
    assert!(text.contains("10.1.2.3\tdb"), "{text}");
    assert!(text.contains("\tweb1 web"), "{text}");
    assert!(
        text.contains("host.containers.internal host.docker.internal"),
        "{text}"
    );
    let text = world.ok(&[
        "run",
        "--rm",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "example.test",
        "busybox",
        "cat",
        "/etc/resolv.conf",
    ]);
    assert!(
        text.starts_with("search example.test\nnameserver 192.0.2.53"),
        "{text}"
    );
    // What listens on the host's loopback is not there.
    let host = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    for address in ["127.0.0.1", "10.0.2.2"] {
        let args = ["run", "--rm", "busybox", "nc", "-w", "1", address, &port];
        assert_ne!(world.run(&args).code, 0, "{address}");
    }
}
