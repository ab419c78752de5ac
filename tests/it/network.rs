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

const SERVICE: &str = "while :; do echo hello | nc -l -p 80; done";

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
