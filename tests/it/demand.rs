//! `--on-demand`: the first connection starts the container, idleness stops it, and no connection is
//! lost.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::World;
use crate::support::peer::wait_for;

/// Takes a while until it listens; answers with the client's address.
const SERVER: &str = "sleep 0.3; mkdir -p /www/cgi-bin
printf '#!/bin/sh\\nprintf \"Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n$REMOTE_ADDR\"\\n' >/www/cgi-bin/who
chmod +x /www/cgi-bin/who; exec httpd -f -p 8080 -h /www";

fn start(w: &World, name: &str, flags: &[&str], script: &str) -> SocketAddr {
    let base = [
        "run",
        "-d",
        "--name",
        name,
        "--on-demand",
        "-p",
        "127.0.0.1::8080",
        "--stop-signal",
        "KILL",
    ];
    w.ok(&[&base[..], flags, &["busybox", "sh", "-c", script]].concat());
    w.ok(&["port", name, "8080"]).trim().parse().unwrap()
}

fn ask(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // A reset is an answer too: none.
    let _gone = stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n");
    let mut text = String::new();
    let _reset = stream.read_to_string(&mut text);
    text
}

fn state(w: &World, name: &str) -> String {
    w.inspect(name, "{{.State.Status}}")
}

#[test]
fn the_first_connection_starts_it_and_idleness_stops_it_again_and_again() {
    requires!("pasta");
    let w = World::with_busybox();
    let at = start(&w, "web", &["--idle", "1s"], SERVER);
    assert_eq!(state(&w, "web"), "waiting");
    assert_eq!(w.inspect("web", "{{.State.Pid}}"), "0");
    assert!(w.ok(&["ps"]).contains("Waiting for a connection"));
    assert_eq!(w.ok(&["ps", "-q", "--filter", "status=waiting"]).len(), 12);
    w.run(&["exec", "web", "true"]).code(125).says("waiting");
    for _ in 0..2 {
        // Many at once: all of them wait for the one start.
        let asking: Vec<_> = (0..20)
            .map(|_| std::thread::spawn(move || ask(at)))
            .collect();
        for one in asking {
            let answer = one.join().unwrap();
            assert!(answer.contains("200 OK"), "{answer}");
            let client = answer.rsplit('\n').next().unwrap();
            assert!(!client.is_empty() && !client.contains("127."), "{answer}");
        }
        assert_eq!(state(&w, "web"), "running");
        wait_for("the end for want of connections", || {
            state(&w, "web") == "waiting"
        });
    }
    // Somebody comes at the moment it is stopped: served by this run, or by the next.
    let quiet = Duration::from_millis(980);
    for step in 0..6 {
        assert!(ask(at).contains("200 OK"));
        std::thread::sleep(quiet + Duration::from_millis(step * 10));
        assert!(ask(at).contains("200 OK"), "{step}");
    }
    let started = w.ok(&["events", "--stream=false", "--filter", "event=start"]);
    assert!(started.lines().count() >= 2, "{started}");
    w.ok(&["stop", "web"]);
    assert_eq!(state(&w, "web"), "exited");
    drop(TcpListener::bind(at).unwrap());
    // Its port is its own as long as it waits.
    w.ok(&["start", "web"]);
    assert_eq!(state(&w, "web"), "waiting");
    w.ok(&["rm", "-f", "web"]);
}

#[test]
fn a_carrier_that_is_killed_is_replaced_and_a_monitor_that_is_killed_is_noticed() {
    requires!("pasta");
    let w = World::with_busybox();
    let at = start(&w, "web", &["--idle", "0"], SERVER);
    assert!(ask(at).contains("200 OK"));
    let id = w.inspect("web", "{{.Id}}");
    let status = w.runtime().join("containers").join(id).join("status.json");
    let status: Value = serde_json::from_slice(&std::fs::read(status).unwrap()).unwrap();
    let monitor = status["monitor"]["pid"].as_i64().unwrap();
    let children = format!("/proc/{monitor}/task/{monitor}/children");
    let carrier = || {
        let children = std::fs::read_to_string(&children).unwrap();
        let mut pids = children.split_whitespace().map(str::to_owned);
        pids.find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm == "coracle-ports\n")
        })
    };
    let kill = |pid: &str| {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let first = carrier().unwrap();
    kill(&first);
    wait_for("another carrier", || {
        carrier().is_some_and(|pid| pid != first)
    });
    assert!(ask(at).contains("200 OK"));
    kill(&monitor.to_string());
    wait_for("its end", || state(&w, "web") == "exited");
    w.ok(&["rm", "-f", "web"]);
    drop(TcpListener::bind(at).unwrap());
}

#[test]
fn who_comes_for_a_container_that_cannot_start_is_not_left_waiting() {
    requires!("pasta");
    let w = World::with_busybox();
    let folder = w.path().join("gone");
    std::fs::create_dir(&folder).unwrap();
    let bind = format!("{}:/gone", folder.display());
    let at = start(&w, "web", &["-v", &bind], SERVER);
    std::fs::remove_dir(&folder).unwrap();
    assert_eq!(ask(at), "");
    wait_for("the record of it", || {
        w.inspect("web", "{{.State.Error}}").contains("gone")
    });
    assert_eq!(state(&w, "web"), "waiting");
    std::fs::create_dir(&folder).unwrap();
    wait_for("an answer", || ask(at).contains("200 OK"));
    w.ok(&["rm", "-f", "web"]);
}

#[test]
fn what_cannot_be_had_on_demand_is_refused() {
    let w = World::with_busybox();
    let refused = |flags: &[&str], says: &str| {
        let args = [&["create"], flags, &["busybox", "true"]].concat();
        w.run(&args).code(125).says(says);
    };
    refused(&["--on-demand"], "needs a port");
    refused(
        &["--on-demand", "-p", "80", "--network", "none"],
        "network of the container's own",
    );
    refused(
        &["--on-demand", "-p", "80", "--idle", "10ms"],
        "less than a second",
    );
    w.run(&["create", "--idle", "1m", "busybox"]).code(125);
    w.run(&["run", "--on-demand", "-p", "80", "busybox"])
        .code(125)
        .says("give -d");
    requires!("pasta");
    let run = ["run", "-d", "--on-demand", "-p"];
    w.run(&[&run[..], &["8080:80/udp", "busybox", "true"]].concat())
        .code(125)
        .says("UDP has no connections");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("{}:80", taken.local_addr().unwrap());
    w.run(&[&run[..], &[&port, "busybox", "true"]].concat())
        .code(125)
        .says("is taken");
    assert_eq!(w.ok(&["ps", "-q"]), "");
}
