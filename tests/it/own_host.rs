//! Networks on a host of the test's own: a network namespace with an uplink, a neighbour beyond it
//! that serves names, and a resolv.conf. Nothing of the machine's own network is used or seen.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use coracle::sys::namespace::{self, Kind};
use simple_dns::rdata::{A, OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

use crate::networks::{resolve, role, sh, stay};
use crate::support::peer::wait_for;
use crate::support::{World, inner};

const PATIENCE: Duration = Duration::from_secs(3);
/// The neighbour's addresses; each has a name server, which gives the address behind it.
const SERVERS: [([u8; 4], [u8; 4]); 2] = [
    ([198, 51, 100, 2], [203, 0, 113, 1]),
    ([198, 51, 100, 3], [203, 0, 113, 2]),
];
const OUTSIDE_V6: &str = "2001:db8:1::2";

fn on_own_host(name: &str) {
    inner::run(name, &["-n"]);
}

fn ip(words: &str) {
    let out = Command::new(crate::support::peer::find("ip").unwrap())
        .args(words.split(' '))
        .output()
        .unwrap();
    assert!(out.status.success(), "ip {words}: {out:?}");
}

type Job = Box<dyn FnOnce() + Send>;

/// The machine: this process's network namespace, and a thread in the neighbour's.
struct Host {
    resolv_conf: PathBuf,
    neighbour: Sender<Job>,
}

impl Host {
    fn new() -> Self {
        let folder = PathBuf::from(std::env::var_os("CORACLE_TEST_DIR").unwrap());
        let resolv_conf = folder.join("resolv.conf");
        let host = Self {
            resolv_conf,
            neighbour: neighbour(),
        };
        host.name_server(SERVERS[0].0);
        let mounted = Command::new("mount")
            .arg("--bind")
            .args([&host.resolv_conf, &PathBuf::from("/etc/resolv.conf")])
            .status();
        assert!(mounted.unwrap().success());
        host.connect();
        host.beyond(|| {
            ip("link set lo up");
            for (address, _) in SERVERS {
                ip(&format!("addr add {}/24 dev up1", Ipv4Addr::from(address)));
            }
            ip(&format!("addr add {OUTSIDE_V6}/64 dev up1 nodad"));
            ip("link set up1 up");
            for (address, answer) in SERVERS {
                serve_names(address.into(), answer);
            }
            let greeter = TcpListener::bind("0.0.0.0:7").unwrap();
            std::thread::spawn(move || {
                for stream in greeter.incoming() {
                    let mut stream = stream.unwrap();
                    let mut greeting = [0; 3];
                    if stream.read_exact(&mut greeting).is_ok() {
                        drop(stream.write_all(b"hello\n"));
                    }
                }
            });
        });
        host
    }

    /// Names this server in resolv.conf.
    fn name_server(&self, address: [u8; 4]) {
        let text = format!("nameserver {}\n", Ipv4Addr::from(address));
        std::fs::write(&self.resolv_conf, text).unwrap();
    }

    fn connect(&self) {
        ip("link set lo up");
        ip("link set up0 up");
        // IPv6's goes with the link.
        ip("addr replace 198.51.100.1/24 dev up0");
        ip("addr replace 2001:db8:1::1/64 dev up0 nodad");
        ip("route replace default via 198.51.100.2");
        ip(&format!("-6 route replace default via {OUTSIDE_V6}"));
    }

    /// Does something in the neighbour's network.
    fn beyond<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job: Job = Box::new(move || drop(done.send(job())));
        self.neighbour.send(job).unwrap();
        result.recv().unwrap()
    }
}

fn neighbour() -> Sender<Job> {
    let (jobs, queue) = channel::<Job>();
    let (ready, result) = channel();
    std::thread::spawn(move || {
        namespace::unshare(Kind::Net.flag()).unwrap();
        ready.send(rustix::thread::gettid()).unwrap();
        for job in queue {
            job();
        }
    });
    let thread = result.recv().unwrap().as_raw_nonzero();
    ip("link add up0 type veth peer name up1");
    ip(&format!("link set up1 netns {thread}"));
    jobs
}

/// Answers at port 53, by packet and by connection, in the calling thread's network.
fn serve_names(address: IpAddr, answer: [u8; 4]) {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    let listener = TcpListener::bind((address, 53)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = reply(&buffer[..length], answer, false) {
                drop(socket.send_to(&reply, peer));
            }
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if let Some(question) = read_framed(&mut stream)
                && let Some(reply) = reply(&question, answer, true)
            {
                drop(stream.write_all(&framed(&reply)));
            }
        }
    });
}

/// `silent…` has no answer, `big…` has 40 addresses, `huge…` 200, anything else one.
fn reply(question: &[u8], answer: [u8; 4], by_connection: bool) -> Option<Vec<u8>> {
    let asked = Packet::parse(question).ok()?;
    let name = asked.questions.first()?.qname.clone();
    let text = name.to_string();
    let wants_v4 = asked.questions[0].qtype == QTYPE::TYPE(TYPE::A);
    let count = match &text {
        t if t.contains("silent") => return None,
        _ if !wants_v4 => 0,
        t if t.starts_with("big") => 40,
        t if t.starts_with("huge") => 200,
        _ => 1,
    };
    let mut reply = Packet::new_reply(asked.id());
    reply.questions.clone_from(&asked.questions);
    for n in 0..count {
        let address = u32::from(Ipv4Addr::from(answer)) + n;
        let data = RData::A(A { address });
        let record = ResourceRecord::new(name.clone(), CLASS::IN, 60, data);
        reply.answers.push(record);
    }
    let room = match asked.opt() {
        _ if by_connection => 65535,
        Some(opt) => opt.udp_packet_size.into(),
        None => 512,
    };
    let bytes = reply.build_bytes_vec_compressed().ok()?;
    if bytes.len() <= room {
        return Some(bytes);
    }
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    reply.build_bytes_vec_compressed().ok()
}

fn question(id: u16, name: &str, edns: Option<u16>) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN));
    let name = Name::new(name).unwrap();
    packet
        .questions
        .push(Question::new(name, kind, class, false));
    if let Some(udp_packet_size) = edns {
        *packet.opt_mut() = Some(OPT {
            opt_codes: vec![],
            udp_packet_size,
            version: 0,
        });
    }
    packet.build_bytes_vec().unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes()[..], message].concat()
}

fn read_framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// How many addresses an answer has, and whether it was cut.
fn told(answer: &[u8]) -> (usize, bool) {
    let packet = Packet::parse(answer).unwrap();
    let is_cut = packet.has_flags(PacketFlag::TRUNCATION);
    (packet.answers.len(), is_cut)
}

fn ask_by_packet(gateway: IpAddr, question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect((gateway, 53)).unwrap();
    socket.send(question).unwrap();
    let mut buffer = [0; 65535];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn connection(gateway: IpAddr) -> TcpStream {
    let stream = TcpStream::connect((gateway, 53)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Does something in a container's network.
fn within<T: Send + 'static>(
    world: &World,
    container: &str,
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    let pid = world.inspect(container, "{{.State.Pid}}");
    let entered = namespace::open_path(&format!("/proc/{pid}/ns/net")).unwrap();
    let thread = std::thread::spawn(move || {
        namespace::join(&entered, Kind::Net.flag()).unwrap();
        job()
    });
    thread.join().unwrap()
}

fn gateway(world: &World, container: &str) -> IpAddr {
    let template = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}";
    world.inspect(container, template).parse().unwrap()
}

#[test]
fn names_of_the_outside_follow_the_host_and_fit_what_was_asked_for() {
    requires!("pasta", "unshare", "newuidmap", "ip");
    on_own_host("own_host::names_follow_the_host");
}

#[test]
#[ignore = "runs inside namespaces, started by names_of_the_outside_follow_the_host_and_fit_what_was_asked_for"]
fn names_follow_the_host() {
    let host = Host::new();
    let world = World::with_busybox();
    world.ok(&["network", "create", "net"]);
    stay(&world, "c", "net");
    assert_eq!(resolve(&world, "c", "example.test"), ["203.0.113.1"]);
    host.name_server(SERVERS[1].0);
    wait_for("the other server's answer", || {
        resolve(&world, "c", "example.test") == ["203.0.113.2"]
    });
    // A moment without the file's lines is no reason to forget them; then it is replaced whole.
    let own = ["run", "--rm", "--network", "net", "--dns", "198.51.100.2"];
    let asked = [&own[..], &["busybox", "nslookup", "example.test"]].concat();
    assert!(world.ok(&asked).contains("203.0.113.1"), "--dns");
    let at = gateway(&world, "c");
    within(&world, "c", move || {
        let by_packet = |name: &str, edns| {
            let asked = question(1, name, edns);
            told(&ask_by_packet(at, &asked).unwrap())
        };
        assert_eq!(by_packet("big.test", None), (0, true));
        assert_eq!(by_packet("big.test", Some(1232)), (40, false));
        assert_eq!(by_packet("huge.test", Some(1232)), (0, true));
        assert_eq!(by_packet("huge.test", Some(8000)), (200, false));
        // Several over one connection, asked before the first is answered.
        let mut stream = connection(at);
        let names = ["huge.test", "c", "c.dns.podman", "big.test"];
        for (id, name) in (1..).zip(names) {
            stream
                .write_all(&framed(&question(id, name, None)))
                .unwrap();
        }
        let mut counts = [0; 4];
        for _ in names {
            let answer = read_framed(&mut stream).unwrap();
            let id = Packet::parse(&answer).unwrap().id();
            counts[usize::from(id) - 1] = told(&answer).0;
        }
        assert_eq!(counts, [200, 1, 1, 40]);
        // A question in pieces, and one that is too long to be one.
        let mut stream = connection(at);
        for byte in framed(&question(9, "c", None)) {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(told(&read_framed(&mut stream).unwrap()), (1, false));
        stream.write_all(&[0xff; 100]).unwrap();
        assert_eq!(read_framed(&mut stream), None, "closed");
    });
}

#[test]
fn a_flood_of_questions_is_bounded_and_others_are_answered() {
    requires!("pasta", "unshare", "newuidmap", "ip");
    on_own_host("own_host::a_flood_is_bounded");
}

/// A number of `/proc/PID/status`, kilobytes.
fn resident(pid: i32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

#[test]
#[ignore = "runs inside namespaces, started by a_flood_of_questions_is_bounded_and_others_are_answered"]
fn a_flood_is_bounded() {
    let _host = Host::new();
    let world = World::with_busybox();
    world.ok(&["network", "create", "--subnet", "10.231.5.0/24", "net"]);
    for name in ["flood", "honest", "other"] {
        stay(&world, name, "net");
    }
    assert_eq!(resolve(&world, "honest", "example.test").len(), 1);
    let pid = role(&world).unwrap();
    let (memory, before) = (resident(pid), descriptors(pid));
    let at = gateway(&world, "flood");
    // One that takes many addresses: twenty askers with a hundred questions and connections each.
    let held = within(&world, "flood", move || {
        let mut held = Vec::new();
        for octet in 200..220 {
            let own = Ipv4Addr::new(10, 231, 5, octet);
            ip(&format!("addr add {own}/24 dev eth0"));
            let socket = UdpSocket::bind((own, 0)).unwrap();
            socket.connect((at, 53)).unwrap();
            for n in 0..100 {
                let name = format!("n{n}.of{octet}.silent.test");
                socket.send(&question(n, &name, None)).unwrap();
            }
            let mut stalled = Vec::new();
            for _ in 0..20 {
                use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
                let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
                bind(&stream, &SocketAddr::new(own.into(), 0)).unwrap();
                if connect(&stream, &SocketAddr::new(at, 53)).is_ok() {
                    let mut stream = TcpStream::from(stream);
                    // Half a question; one over the limit was closed already.
                    drop(stream.write_all(&[0]));
                    stalled.push(stream);
                }
            }
            held.push((socket, stalled));
        }
        held
    });
    let during = descriptors(pid);
    // Not one is refused or waits for the flood's time to pass.
    let start = std::time::Instant::now();
    within(&world, "honest", move || {
        for id in 0..50 {
            let asked = question(id, "other", None);
            assert_eq!(told(&ask_by_packet(at, &asked).unwrap()), (1, false));
            let outside = question(id, &format!("n{id}.test"), None);
            assert_eq!(told(&ask_by_packet(at, &outside).unwrap()), (1, false));
            let mut stream = connection(at);
            stream.write_all(&framed(&outside)).unwrap();
            assert_eq!(told(&read_framed(&mut stream).unwrap()), (1, false));
        }
    });
    let took = start.elapsed();
    let grown = resident(pid).saturating_sub(memory);
    assert!(during > before + 300, "no flood: {before} to {during}");
    assert!(
        during < before + 512 + 256 + 16,
        "{before} to {during} descriptors"
    );
    assert!(grown < 32 << 10, "{grown} KiB more");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(held);
    wait_for("the descriptors to be given back", || {
        descriptors(pid) < before + 16
    });
    assert_eq!(role(&world), Some(pid), "the same role");
}

#[test]
fn a_network_of_the_host_that_vanishes_and_comes_back_is_survived() {
    requires!("pasta", "unshare", "newuidmap", "ip");
    on_own_host("own_host::the_hosts_network_vanishes");
}

#[test]
#[ignore = "runs inside namespaces, started by a_network_of_the_host_that_vanishes_and_comes_back_is_survived"]
fn the_hosts_network_vanishes() {
    let host = Host::new();
    let world = World::with_busybox();
    world.ok(&["network", "create", "--internal", "inner"]);
    world.ok(&["network", "create", "net"]);
    for name in ["a", "b"] {
        stay(&world, name, "net");
    }
    stay(&world, "closed", "inner");
    let greets = |name: &str| {
        let script = "echo hi | busybox timeout 3 nc -w 2 198.51.100.2 7";
        sh(&world, name, script).trim() == "hello"
    };
    wait_for("the way out", || greets("a"));
    assert!(!greets("closed"), "an internal network leads out");
    let pid = role(&world).unwrap();
    for round in 0..2 {
        ip("link set up0 down");
        assert!(!greets("a"));
        assert_eq!(resolve(&world, "a", "b").len(), 1, "names inside go on");
        let name = format!("late{round}");
        stay(&world, &name, "net");
        assert_eq!(resolve(&world, &name, "a").len(), 1);
        host.connect();
        wait_for("the way out again", || greets("a") && greets(&name));
        wait_for("names of the outside again", || {
            resolve(&world, "b", "example.test") == ["203.0.113.1"]
        });
    }
    assert_eq!(role(&world), Some(pid), "the same role");
}

#[test]
fn clients_from_elsewhere_keep_their_address_by_both_families() {
    requires!("pasta", "unshare", "newuidmap", "ip");
    on_own_host("own_host::clients_keep_their_address");
}

/// Whether a container has an established connection from an address.
pub fn sees(world: &World, name: &str, address: IpAddr) -> bool {
    let octets = match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    // Words of four bytes in the machine's order.
    let words = octets.chunks(4).map(|w| {
        let word: [u8; 4] = w.try_into().unwrap();
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    let wanted: String = words.collect();
    let table = sh(world, name, "cat /proc/net/tcp /proc/net/tcp6");
    table.lines().any(|l| {
        let words: Vec<&str> = l.split_ascii_whitespace().collect();
        let remote = words.get(2).and_then(|w| w.split(':').next());
        // IPv4 in IPv6's clothes ends alike. 01: established.
        remote.is_some_and(|r| r.ends_with(&wanted)) && words.get(3) == Some(&"01")
    })
}

#[test]
#[ignore = "runs inside namespaces, started by clients_from_elsewhere_keep_their_address_by_both_families"]
fn clients_keep_their_address() {
    let host = Host::new();
    let world = World::with_busybox();
    world.ok(&["network", "create", "--ipv6", "dual"]);
    let args = ["run", "-d", "--name", "web", "--network", "dual"];
    let service = "while :; do nc -l -p 80 -e cat; done";
    let publish = ["-p", "8080:80", "busybox", "sh", "-c", service];
    world.ok(&[&args[..], &publish].concat());
    for (from, to) in [
        ("198.51.100.2", "198.51.100.1"),
        (OUTSIDE_V6, "2001:db8:1::1"),
    ] {
        let to = SocketAddr::new(to.parse().unwrap(), 8080);
        let stream = host.beyond(move || {
            let mut echoed = [0; 4];
            loop {
                let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // nc takes one client at a time, and the next one a moment later.
                drop(stream.write_all(b"ping"));
                if stream.read_exact(&mut echoed).is_ok() {
                    return stream;
                }
            }
        });
        let from: IpAddr = from.parse().unwrap();
        assert!(sees(&world, "web", from), "{from}: {}", {
            sh(&world, "web", "cat /proc/net/tcp /proc/net/tcp6")
        });
        drop(stream);
    }
    // Round through the host to itself, by either address.
    for own in ["198.51.100.1", "2001:db8:1::1"] {
        wait_for(&format!("hairpin by {own}"), || {
            let script = format!("echo ping | timeout 2 nc -w 1 {own} 8080");
            sh(&world, "web", &script).trim() == "ping"
        });
    }
}
