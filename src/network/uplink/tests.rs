//! Real programs in namespaces of our own. Traffic stays on the loopback of this process's own
//! network namespace: a re-executed copy of this test program runs below `unshare`.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;
use crate::base::Kind;
use crate::config::containers_conf::ContainersConf;
use crate::network::facts::{self, Tun};
use crate::network::namespace::{self, Settings};
use crate::network::plan::Families;
use crate::network::plan::{self, Request};
use crate::network::ports;
use crate::state::options::{NetworkMode, NetworkOptions, PortMapping, Protocol};

/// Set in the copy.
const ROLE: &str = "CORACLE_TEST_UPLINK";

/// The ways in which the copy runs: user namespaces as the runtime makes them, and host networks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum World {
    /// One id; the host has nothing but a loopback.
    SingleIdOffline,
    /// Real root's identity map (pasta would become nobody); the host's own network.
    IdentityMap,
}

fn requirements() -> Option<&'static str> {
    let conf = ContainersConf::default();
    let env = crate::config::env::Env::process();
    let facts = facts::probe(&env, &conf, &NetworkOptions::default());
    let is_root = rustix::process::geteuid().is_root();
    match facts {
        f if f.pasta.is_none() || f.slirp4netns.is_none() => Some("pasta or slirp4netns missing"),
        f if f.tun != Tun::Usable => Some("/dev/net/tun is not usable"),
        _ if !is_root => Some("not root"),
        _ => None,
    }
}

/// Runs this test program again, just the copy's part, in a world.
fn copy(world: World, tool: &str) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let words: &[&str] = match world {
        World::SingleIdOffline => &["-r", "-n", "-m"],
        World::IdentityMap => &[
            "-U",
            "sh",
            "-c",
            "echo READY; read go; exec unshare -m \"$@\"",
            "sh",
        ],
    };
    let mut child = Command::new("unshare")
        .args(words)
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "network::uplink::tests::the_copys_part",
            "--nocapture",
        ])
        .env(ROLE, tool)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    if world == World::IdentityMap {
        line(&mut reader, "READY");
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", child.id());
            std::fs::write(path, "0 0 4294967295\n").unwrap();
        }
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    (child, reader)
}

fn line(reader: &mut impl BufRead, marker: &str) -> String {
    let mut all = String::new();
    loop {
        let mut text = String::new();
        assert!(reader.read_line(&mut text).unwrap() > 0, "{marker}: {all}");
        if let Some((_, rest)) = text.split_once(marker) {
            return rest.trim().to_owned();
        }
        all.push_str(&text);
    }
}

#[test]
fn uplinks_connect_publish_and_die_with_a_killed_monitor() {
    if let Some(why) = requirements() {
        eprintln!("skipped: {why}");
        return;
    }
    for world in [World::SingleIdOffline, World::IdentityMap] {
        for tool in ["pasta", "slirp4netns"] {
            let (mut child, mut reader) = copy(world, tool);
            let identity = line(&mut reader, "UPLINK ");
            eprintln!("{world:?}, {tool}: {}", line(&mut reader, "FACTS "));
            let identity: Identity = serde_json::from_str(&identity).unwrap();
            assert!(identity.is_alive(), "{world:?} {tool}");
            let pidfd = identity.open().unwrap();
            // SIGKILL to the "monitor": nothing of it can clean up.
            child.kill().unwrap();
            child.wait().unwrap();
            let gone = crate::sys::pidfd::wait_end(&pidfd, Some(Duration::from_secs(5))).unwrap();
            assert!(gone, "{world:?}: {tool} survived its monitor");
        }
    }
}

/// Not a test of its own: what the copy does.
#[test]
fn the_copys_part() {
    let Ok(tool) = std::env::var(ROLE) else {
        return;
    };
    crate::sys::interface::loopback_up().ok();
    let conf = ContainersConf::default();
    let env = crate::config::env::Env::process();
    let facts = facts::probe(&env, &conf, &NetworkOptions::default());
    // Towards UDP from the host's loopback both programs are lame: Debian 12's pasta when the port
    // is translated, slirp4netns always (the loopback is closed to the container).
    let own = facts.addresses.first().copied();
    let udp = match tool.as_str() {
        "pasta" => Some((Ipv4Addr::LOCALHOST.into(), 17_000)),
        _ => own.map(|ip| (ip, 0)),
    };
    let port = |host_ip: IpAddr, host_port, range, protocol| PortMapping {
        host_ip: Some(host_ip),
        host_port,
        container_port: if protocol == Protocol::Udp {
            17_000
        } else {
            7000
        },
        range,
        protocol,
    };
    let mut publish = vec![port(Ipv4Addr::LOCALHOST.into(), 0, 2, Protocol::Tcp)];
    publish.extend(udp.map(|(ip, host_port)| port(ip, host_port, 1, Protocol::Udp)));
    let options = NetworkOptions {
        mode: match tool.as_str() {
            "pasta" => NetworkMode::Pasta(vec![]),
            _ => NetworkMode::Slirp4netns(vec![]),
        },
        publish,
        ..NetworkOptions::default()
    };
    let request = Request {
        options: &options,
        image_ports: &[],
        hostname: "web",
        domain: None,
        name: "web",
        image_hosts: None,
        hosts_file: None,
        attached: None,
    };
    let mut plan = plan::plan(&request, &facts, &conf).unwrap();
    ports::settle(&mut plan, &facts).unwrap();
    let started = Instant::now();
    let namespace = namespace::create(Settings::default()).unwrap();
    let made = started.elapsed();
    let scratch = tempfile::tempdir().unwrap();
    let uplink = start(&plan, &namespace, scratch.path()).unwrap();
    let ready = started.elapsed() - made;
    assert_eq!(uplink.name, tool);
    println!(
        "UPLINK {}",
        serde_json::to_string(&uplink.identity).unwrap()
    );
    published_ports_answer(&plan, &namespace);
    host_loopback_is_out_of_reach(&plan, &namespace);
    println!("FACTS namespace {made:?}, ready {ready:?}");
    std::io::stdout().flush().unwrap();
    // Until it is killed.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Runs a function inside the container's network.
fn inside<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let fd = namespace.fd.try_clone().unwrap();
    std::thread::spawn(move || {
        nix::sched::setns(fd, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
}

fn published_ports_answer(plan: &NetworkPlan, namespace: &Namespace) {
    let patience = Duration::from_secs(5);
    let (send, receive) = std::sync::mpsc::channel();
    let has_udp = plan.ports.len() > 1;
    let server = inside(namespace, move || {
        let listener = TcpListener::bind(("0.0.0.0", 7001)).unwrap();
        let datagrams = UdpSocket::bind(("0.0.0.0", 17_000)).unwrap();
        send.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        drop(stream);
        if has_udp {
            let mut buffer = [0; 64];
            datagrams.set_read_timeout(Some(patience)).unwrap();
            let (count, from) = datagrams.recv_from(&mut buffer).unwrap();
            datagrams.send_to(&buffer[..count], from).unwrap();
        }
    });
    receive.recv().unwrap();
    let address =
        |p: &PortMapping, offset| SocketAddr::new(p.host_ip.unwrap(), p.host_port + offset);
    let mut stream = TcpStream::connect_timeout(&address(&plan.ports[0], 1), patience).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    if let Some(udp) = plan.ports.get(1) {
        let client = UdpSocket::bind((udp.host_ip.unwrap(), 0)).unwrap();
        client.set_read_timeout(Some(patience)).unwrap();
        client.send_to(b"ping", address(udp, 0)).unwrap();
        let mut buffer = [0; 64];
        let (count, _) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"ping");
    }
    server.join().unwrap();
}

fn host_loopback_is_out_of_reach(plan: &NetworkPlan, namespace: &Namespace) {
    let host = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = host.local_addr().unwrap().port();
    let gateway = plan.addresses.unwrap().gateway;
    let reached = inside(namespace, move || {
        [gateway, Ipv4Addr::LOCALHOST].map(|ip| {
            let at = SocketAddr::new(IpAddr::V4(ip), port);
            TcpStream::connect_timeout(&at, Duration::from_millis(300)).is_ok()
        })
    });
    assert_eq!(reached.join().unwrap(), [false, false]);
}

#[test]
fn a_program_that_ends_early_is_quoted() {
    let Ok(namespace) = namespace::create(Settings::default()) else {
        eprintln!("skipped: no network namespaces here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("pasta");
    let script = "#!/bin/sh\necho 'sent tapfd=1' >&2; echo 'the template is gone' >&2; exit 3\n";
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let uplink = UplinkPlan {
        tool: Tool::Pasta,
        program,
        arguments: vec![],
        families: Families {
            v4: true,
            v6: false,
        },
        guest: Ipv4Addr::LOCALHOST,
    };
    let mut plan = NetworkPlan {
        kind: plan::Kind::Uplink,
        uplinks: vec![uplink],
        ports: vec![],
        addresses: None,
        resolv_conf: None,
        hosts: None,
        notices: vec![],
    };
    let e = start(&plan, &namespace, dir.path()).unwrap_err();
    assert_eq!(
        e.one_line(),
        "cannot connect the container with pasta: the template is gone"
    );
    assert_eq!(e.kind(), Kind::Unavailable);
    plan.uplinks[0].program = "/nowhere/pasta".into();
    let e = start(&plan, &namespace, dir.path()).unwrap_err();
    assert!(e.one_line().contains("/nowhere/pasta"), "{e:?}");
}

#[test]
fn chatter_is_left_out_of_messages() {
    let text = "sent tapfd=5 for tap0\nreceived tapfd=5\nFailed to send 45 bytes to syslog\n\n\x1b[31mreal\x07 reason\n";
    assert_eq!(clean(text), "[31mreal reason");
    let many: String = (0..20).map(|n| format!("line {n}\n")).collect();
    assert!(clean(&many).starts_with("line 14; "));
    let refused = "pasta: unrecognized option '--x'\nUsage: pasta [OPTION]...\n\n  -d, --debug\n";
    assert_eq!(clean(refused), "pasta: unrecognized option '--x'");
}
