//! Bridge networks with real containers: names, isolation, ports, and the role that serves them,
//! killed and rebuilt. Everything is in namespaces of the test's own.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::own_host::sees;
use crate::support::World;
use crate::support::peer::{free_port, wait_for};

/// How many containers are started at once; `CORACLE_TEST_CROWD` makes it another number.
fn crowd() -> usize {
    let given = std::env::var("CORACLE_TEST_CROWD").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(100)
}

/// Starts a container that stays, on these networks.
pub fn stay(world: &World, name: &str, networks: &str) {
    let args = ["run", "-d", "--name", name, "--network", networks];
    world.ok(&[&args[..], &["busybox", "sleep", "1000"]].concat());
}

/// What a shell in a container prints.
pub fn sh(world: &World, name: &str, script: &str) -> String {
    world.run(&["exec", name, "sh", "-c", script]).stdout
}

/// The addresses that a container gets for a name.
pub fn resolve(world: &World, from: &str, name: &str) -> Vec<String> {
    let text = sh(world, from, &format!("nslookup {name}"));
    let answers = text.split("\n\n").skip(1);
    let lines = answers.flat_map(str::lines);
    let mut found: Vec<String> = lines
        .filter_map(|l| l.strip_prefix("Address: "))
        .map(str::to_owned)
        .collect();
    found.sort();
    found
}

fn reaches(world: &World, from: &str, address: &str) -> bool {
    let args = ["exec", from, "ping", "-c", "1", "-W", "1", address];
    world.run(&args).code == 0
}

fn ip(world: &World, name: &str, network: &str) -> String {
    let template = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
    world.inspect(name, &template)
}

fn parent(pid: &std::path::Path) -> Option<i32> {
    let stat = std::fs::read_to_string(pid.join("stat")).ok()?;
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
    (parent > 1).then_some(parent)
}

/// The role's process: the parent of the starter, which is the parent of this world's uplink.
pub fn role(world: &World) -> Option<i32> {
    let mark = world.runtime().join("net/netns");
    let mark = mark.to_str().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let words = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if words.split('\0').any(|w| w == mark) {
            let starter = parent(&entry.path())?;
            return parent(&std::path::Path::new("/proc").join(starter.to_string()));
        }
    }
    None
}

#[test]
fn networks_are_made_shown_and_removed() {
    let world = World::new();
    assert_eq!(world.ok(&["network", "ls", "-q"]), "podman");
    assert_eq!(
        world.ok(&["network", "create", "--label", "a=b", "one"]),
        "one"
    );
    let subnet = "10.231.7.0/24";
    let args = [
        "network",
        "create",
        "--subnet",
        subnet,
        "--ip-range",
        "10.231.7.128/25",
    ];
    world.ok(&[
        &args[..],
        &[
            "--gateway",
            "10.231.7.9",
            "--internal",
            "-o",
            "mtu=1400",
            "two",
        ],
    ]
    .concat());
    let shown = world.ok(&["network", "inspect", "two"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let two = &shown[0];
    assert_eq!(two["subnets"][0]["gateway"], "10.231.7.9");
    assert_eq!(two["subnets"][0]["lease_range"]["start_ip"], "10.231.7.128");
    assert_eq!(
        (&two["internal"], &two["options"]["mtu"]),
        (&true.into(), &"1400".into())
    );
    let id = two["id"].as_str().unwrap();
    assert_eq!(world.run(&["network", "exists", &id[..12]]).code, 0);
    assert_eq!(world.run(&["network", "exists", "three"]).code, 1);
    let filtered = world.ok(&["network", "ls", "-q", "--filter", "label=a=b"]);
    assert_eq!(filtered, "one");
    world
        .run(&["network", "create", "--subnet", "10.231.7.64/26", "three"])
        .code(125)
        .says("is used by network \"two\"");
    world
        .run(&["network", "create", "one"])
        .code(125)
        .says("exists already");
    world.ok(&["network", "create", "--ignore", "one"]);
    world
        .run(&["network", "create", "-d", "macvlan", "m"])
        .code(125)
        .says("driver \"macvlan\"");
    world
        .run(&["network", "rm", "podman"])
        .code(125)
        .says("cannot be removed");
    world.run(&["network", "rm", "nowhere"]).code(1);
    world.ok(&["network", "rm", "one"]);
    assert_eq!(world.ok(&["network", "prune", "-f"]), "two");
    assert_eq!(world.ok(&["network", "ls", "-q"]), "podman");
}

#[test]
fn twelve_containers_on_three_networks_find_their_own_and_nobody_else() {
    requires!("pasta");
    let world = World::with_busybox();
    for network in ["red", "green", "blue"] {
        world.ok(&["network", "create", network]);
    }
    for network in ["red", "green", "blue"] {
        for number in 1..=3 {
            stay(&world, &format!("{network}{number}"), network);
        }
    }
    // Three more with a foot in each of two.
    for (name, networks) in [
        ("rg", "red,green"),
        ("gb", "green,blue"),
        ("br", "blue,red"),
    ] {
        stay(&world, name, networks);
    }
    for network in ["red", "green", "blue"] {
        let me = format!("{network}1");
        for other in ["red2", "green2", "blue2"] {
            let is_own = other.starts_with(network);
            let found = resolve(&world, &me, other);
            assert_eq!(found.len(), usize::from(is_own), "{me} {other} {found:?}");
            let home = other.trim_end_matches('2');
            let address = ip(&world, other, home);
            assert_eq!(reaches(&world, &me, &address), is_own, "{me} to {other}");
        }
    }
    assert_eq!(resolve(&world, "rg", "red1").len(), 1);
    assert_eq!(resolve(&world, "rg", "green1").len(), 1);
    assert!(resolve(&world, "rg", "blue1").is_empty());
    assert!(reaches(&world, "rg", "green3") && reaches(&world, "rg", "red3"));
    // By id, with the domain, and back.
    let id = world.inspect("red2", "{{.Id}}");
    let address = ip(&world, "red2", "red");
    assert_eq!(resolve(&world, "red1", &id[..12]), [address.as_str()]);
    assert_eq!(
        resolve(&world, "red1", "RED2.dns.podman"),
        [address.as_str()]
    );
    let names = sh(&world, "red1", &format!("nslookup {address}"));
    assert!(names.contains("name = red2.dns.podman"), "{names}");
    assert_eq!(
        world
            .ok(&["ps", "-q", "--filter", "network=red"])
            .lines()
            .count(),
        5
    );
    world.ok(&["network", "update", "--dns-add", "192.0.2.53", "red"]);
    let servers = world.ok(&[
        "network",
        "inspect",
        "-f",
        "{{.network_dns_servers}}",
        "red",
    ]);
    assert_eq!(servers, "[192.0.2.53]");
    world.ok(&["network", "reload", "--all"]);
    let in_use = world.run(&["network", "rm", "blue"]);
    assert_eq!(in_use.code, 2, "{}", in_use.stderr);
    let shown = world.ok(&["network", "inspect", "-f", "{{len .containers}}", "blue"]);
    assert_eq!(shown, "5");
}

#[test]
fn connecting_and_disconnecting_does_not_disturb_what_flows() {
    requires!("pasta");
    let world = World::with_busybox();
    world.ok(&["network", "create", "first"]);
    world.ok(&["network", "create", "second"]);
    stay(&world, "server", "first");
    stay(&world, "client", "first");
    stay(&world, "other", "second");
    sh(
        &world,
        "server",
        "(sleep 1000 | (nc -l -p 77 >/tmp/got; touch /tmp/done)) >/dev/null 2>&1 &",
    );
    socket(&world, "server", 77, "0A");
    let flow = "(for i in $(seq 40); do echo line $i; sleep 0.05; done) | nc server 77";
    let mut flowing = world.spawn(&["exec", "client", "sh", "-c", flow]);
    for _ in 0..3 {
        world.ok(&[
            "network", "connect", "--alias", "friend", "second", "client",
        ]);
        assert!(reaches(&world, "other", "friend"));
        assert!(reaches(&world, "client", "other"));
        world.ok(&["network", "disconnect", "second", "client"]);
        assert!(resolve(&world, "other", "friend").is_empty());
    }
    assert!(flowing.wait().unwrap().success());
    wait_for("the end of the flow", || {
        !sh(&world, "server", "ls /tmp/done").is_empty()
    });
    assert_eq!(sh(&world, "server", "wc -l </tmp/got").trim(), "40");
    world
        .run(&["network", "disconnect", "second", "client"])
        .says("is not on network");
    world.ok(&["network", "disconnect", "-f", "second", "client"]);
    // A container that does not run has its change at the next start.
    world.ok(&["stop", "-t", "0", "other"]);
    world.ok(&["network", "connect", "first", "other"]);
    world.ok(&["start", "other"]);
    assert!(reaches(&world, "other", "server"));
}

#[test]
fn a_crowd_that_comes_and_goes_resolves_without_a_failure() {
    requires!("pasta");
    let world = World::with_busybox();
    world.ok(&["network", "create", "many"]);
    stay(&world, "base", "many");
    let script = "for i in $(seq 10); do nslookup base >/dev/null || echo base; nslookup $0 >/dev/null || echo own; done";
    let children: Vec<_> = (0..crowd())
        .map(|n| {
            let name = format!("c{n}");
            let args = ["run", "--rm", "--name", &name, "--network", "many"];
            world.spawn(&[&args[..], &["busybox", "sh", "-c", script, &name]].concat())
        })
        .collect();
    for (n, child) in children.into_iter().enumerate() {
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let wrong = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success() && said.is_empty(),
            "c{n}: {said} {wrong}"
        );
    }
}

/// A service that speaks first.
const SERVICE: &str = "while :; do echo hello | nc -l -p 80; done";

fn hear(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then(|| text.trim().to_owned())
}

/// An address of this machine that is not the loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

#[test]
fn published_ports_keep_the_clients_address_and_say_when_they_are_taken() {
    requires!("pasta");
    let world = World::with_busybox();
    world.ok(&["network", "create", "--ipv6", "dual"]);
    let (tcp, held) = (free_port(), free_port());
    let ports = [format!("{tcp}:80"), format!("{held}:81")];
    let args = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "dual",
        "-p",
        &ports[0],
        "-p",
        &ports[1],
    ];
    let script = format!("while :; do nc -l -p 81 -e cat; done & {SERVICE}");
    world.ok(&[&args[..], &["busybox", "sh", "-c", &script]].concat());
    let local: SocketAddr = ([127, 0, 0, 1], tcp).into();
    wait_for("an answer", || hear(local).as_deref() == Some("hello"));
    let gateway = world.inspect("web", "{{.NetworkSettings.Gateway}}");
    let open = |address: IpAddr| TcpStream::connect((address, held)).unwrap();
    let connection = open([127, 0, 0, 1].into());
    wait_for("a client on the loopback to be the gateway", || {
        sees(&world, "web", gateway.parse().unwrap())
    });
    drop(connection);
    if let Some(own) = own_address() {
        wait_for("the next turn", || {
            !sees(&world, "web", gateway.parse().unwrap())
        });
        let _connection = open(own);
        wait_for("a client with its own address", || sees(&world, "web", own));
        // Round through the host to itself.
        let itself = sh(&world, "web", &format!("sleep 1 | nc -w 2 {own} {tcp}"));
        assert_eq!(itself.trim(), "hello", "hairpin");
    }
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let v6: SocketAddr = format!("[::1]:{tcp}").parse().unwrap();
        wait_for("an answer by IPv6", || hear(v6).is_some());
    }
    assert_eq!(world.ok(&["port", "web", "80"]), format!("0.0.0.0:{tcp}"));
    world
        .run(&[
            "run",
            "--rm",
            "--network",
            "dual",
            "-p",
            &ports[0],
            "busybox",
            "true",
        ])
        .code(125)
        .says(&format!("port {tcp}/tcp is taken"));
    world
        .run(&[
            "run",
            "--rm",
            "--network",
            "dual",
            "-p",
            "79:80",
            "busybox",
            "true",
        ])
        .code(125)
        .says("publish a higher port");
    // Free again as soon as the command is back.
    for _ in 0..3 {
        world.ok(&["rm", "-f", "-t", "0", "web"]);
        world.ok(&[&args[..], &["busybox", "sleep", "1000"]].concat());
    }
}

/// Sends every packet back.
const ECHO: &str = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp') or die; \
                    while ($s->recv(my $m, 1500)) { $s->send($m . ' ' . $s->peerhost) }";

#[test]
fn packets_go_both_ways_and_keep_the_clients_address() {
    requires!("pasta", "perl");
    let world = World::with_busybox();
    world.ok(&["network", "create", "net"]);
    let port = free_port();
    let publish = format!("{port}:53/udp");
    let args = [
        "run",
        "-d",
        "--name",
        "echo",
        "--network",
        "net",
        "-p",
        &publish,
    ];
    let binds = [
        "-v",
        "/usr:/usr:ro",
        "-v",
        "/lib:/lib:ro",
        "-v",
        "/lib64:/lib64:ro",
    ];
    world.ok(&[&args[..], &binds, &["busybox", "/usr/bin/perl", "-e", ECHO]].concat());
    let mut clients = vec![(
        IpAddr::from([127, 0, 0, 1]),
        world.inspect("echo", "{{.NetworkSettings.Gateway}}"),
    )];
    clients.extend(own_address().map(|own| (own, own.to_string())));
    for (address, seen_as) in clients {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.connect((address, port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        wait_for("a packet", || {
            drop(socket.send(b"ping"));
            let mut buffer = [0; 64];
            let got = socket.recv(&mut buffer).unwrap_or(0);
            String::from_utf8_lossy(&buffer[..got]) == format!("ping {seen_as}")
        });
    }
}

#[test]
fn an_internal_network_has_no_way_out_and_no_way_in() {
    requires!("pasta");
    let world = World::with_busybox();
    world.ok(&["network", "create", "--internal", "inner"]);
    world.ok(&["network", "create", "outer"]);
    stay(&world, "a", "inner");
    stay(&world, "b", "inner");
    stay(&world, "c", "outer");
    assert!(reaches(&world, "a", "b"));
    assert!(!sh(&world, "a", "ip route").contains("default"));
    let inner = ip(&world, "a", "inner");
    // Somebody inside who may set routes gains nothing.
    let gateway = world.ok(&[
        "network",
        "inspect",
        "-f",
        "{{(index .subnets 0).gateway}}",
        "inner",
    ]);
    let outer = ip(&world, "c", "outer");
    let args = [
        "run",
        "-d",
        "--name",
        "evil",
        "--cap-add",
        "NET_ADMIN",
        "--network",
        "inner",
    ];
    world.ok(&[&args[..], &["busybox", "sleep", "1000"]].concat());
    sh(
        &world,
        "evil",
        &format!("ip route add default via {gateway}"),
    );
    assert!(!reaches(&world, "evil", &outer));
    assert!(!reaches(&world, "c", &inner));
    let said = sh(&world, "a", "nslookup example.org 2>&1");
    assert!(said.contains("REFUSED"), "{said}");
}

#[test]
fn addresses_and_names_can_be_chosen_and_are_nobody_elses() {
    requires!("pasta");
    let world = World::with_busybox();
    world.ok(&[
        "network",
        "create",
        "--subnet",
        "10.231.9.0/29",
        "--disable-dns",
        "small",
    ]);
    let args = [
        "run",
        "-d",
        "--name",
        "a",
        "--ip",
        "10.231.9.4",
        "--mac-address",
        "02:11:22:33:44:55",
    ];
    world.ok(&[
        &args[..],
        &[
            "--network",
            "small:interface_name=net7",
            "busybox",
            "sleep",
            "1000",
        ],
    ]
    .concat());
    let link = sh(&world, "a", "ip addr show net7");
    assert!(
        link.contains("02:11:22:33:44:55") && link.contains("10.231.9.4/29"),
        "{link}"
    );
    let again = [
        "run",
        "--rm",
        "--network",
        "small:ip=10.231.9.4",
        "busybox",
        "true",
    ];
    world
        .run(&again)
        .code(125)
        .says("address 10.231.9.4 is taken");
    let foreign = [
        "run",
        "--rm",
        "--network",
        "small:ip=10.231.10.4",
        "busybox",
        "true",
    ];
    world
        .run(&foreign)
        .code(125)
        .says("is not a container's address");
    for name in ["b", "c", "d", "e"] {
        stay(&world, name, "small");
    }
    let full = ["run", "--rm", "--network", "small", "busybox", "true"];
    world.run(&full).code(125).says("no address is free");
    world.ok(&["rm", "-f", "-t", "0", "b"]);
    world.ok(&full);
    assert!(!sh(&world, "a", "cat /etc/resolv.conf").contains("10.231.9"));
    world
        .run(&["run", "--rm", "--network", "nowhere", "busybox", "true"])
        .code(125)
        .says("no such network");
    world
        .run(&[
            "run",
            "--rm",
            "--network",
            "host",
            "--ip",
            "10.0.0.9",
            "busybox",
            "true",
        ])
        .code(125)
        .says("--ip is for networks with a name");
    let two = [
        "create",
        "--name",
        "later",
        "--network",
        "bridge",
        "busybox",
        "true",
    ];
    world.ok(&two);
    assert_eq!(
        world.inspect(
            "later",
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}"
        ),
        "podman"
    );
}

/// Waits for a socket at a port in a container; states of proc(5): `01` connected, `0A` listens.
fn socket(world: &World, name: &str, port: u16, state: &str) {
    let script = format!("cat /proc/net/tcp /proc/net/tcp6 | grep ':{port:04X} .* {state} '");
    wait_for("a socket", || !sh(world, name, &script).is_empty());
}

/// As much as goes through, on connections from `client` to `server`.
struct Load(Vec<(u16, std::process::Child)>);

impl Load {
    fn start(world: &World) -> Self {
        let start = |port: u16| {
            let listen = format!(
                "(sleep 1000 | (nc -l -p {port} | wc -c >/tmp/{port}; touch /tmp/end{port})) >/dev/null 2>&1 &"
            );
            sh(world, "server", &listen);
            socket(world, "server", port, "0A");
            let send = format!(
                "head -c 1048576 /dev/zero >/tmp/block{port}; n=0; (until test -e /tmp/enough; do \
                 cat /tmp/block{port}; n=$((n+1)); done; echo $n >/tmp/n{port}) | nc server {port}"
            );
            let sends = world.spawn(&["exec", "client", "sh", "-c", &send]);
            socket(world, "server", port, "01");
            (port, sends)
        };
        Self((80..84).map(start).collect())
    }

    /// All that was sent on each has arrived.
    fn end(self, world: &World) {
        sh(world, "client", "touch /tmp/enough");
        for (port, child) in self.0 {
            let sent = child.wait_with_output().unwrap();
            assert!(sent.status.success(), "{port}: {sent:?}");
            let ended = format!("ls /tmp/end{port}");
            wait_for("the end of the load", || {
                !sh(world, "server", &ended).is_empty()
            });
            let number = |who: &str, file: &str| -> u64 {
                let text = sh(world, who, &format!("cat /tmp/{file}{port}"));
                text.trim().parse().unwrap()
            };
            let blocks = number("client", "n");
            assert!(blocks > 0);
            assert_eq!(number("server", ""), blocks << 20, "{port}");
        }
    }
}

/// The routes of a container, as iproute2 tells them.
fn routes(world: &World, name: &str, family: &str) -> Vec<String> {
    let told = std::process::Command::new("nsenter")
        .args(["-U", "--preserve-credentials", "-n", "-t"])
        .arg(world.inspect(name, "{{.State.Pid}}"))
        .args(["ip", family, "route", "show"])
        .output()
        .unwrap();
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    told.lines().map(str::to_owned).collect()
}

/// What the uplink drops is sent again soon, and between containers nobody looks for a bottleneck
/// (docs/decisions/0017).
#[test]
fn connections_that_stay_in_the_machine_behave_so() {
    requires!("pasta", "ip", "nsenter");
    let world = World::with_busybox();
    world.ok(&[
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "10.77.0.0/24",
        "--subnet",
        "fd77::/64",
        "net",
    ]);
    stay(&world, "bridged", "net");
    stay(&world, "alone", "pasta");
    for (name, family, route, rest) in [
        ("bridged", "-4", "default", "rto_min lock 5ms congctl cubic"),
        ("bridged", "-6", "default", "rto_min lock 5ms congctl cubic"),
        (
            "bridged",
            "-4",
            "10.77.0.0/24",
            "src 10.77.0.2 congctl cubic",
        ),
        ("bridged", "-6", "fd77::/64", "congctl cubic"),
        ("alone", "-4", "default", "rto_min lock 5ms congctl cubic"),
    ] {
        let all = routes(&world, name, family);
        let own: Vec<&String> = all.iter().filter(|r| r.starts_with(route)).collect();
        assert!(
            own.len() == 1 && own[0].contains(rest),
            "{name} {route}: {all:?}"
        );
    }
}

#[test]
fn a_killed_role_is_rebuilt_while_connections_go_on() {
    requires!("pasta", "ip", "nsenter");
    let world = World::with_busybox();
    world.ok(&["network", "create", "net"]);
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    let args = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "net",
        "-p",
        &publish,
    ];
    world.ok(&[&args[..], &["busybox", "sh", "-c", SERVICE]].concat());
    stay(&world, "server", "net");
    stay(&world, "client", "net");
    let before = ip(&world, "web", "net");
    // What the uplink drops is sent again soon (docs/decisions/0017).
    let routes = std::process::Command::new("nsenter")
        .args(["-U", "--preserve-credentials", "-n", "-t"])
        .arg(world.inspect("client", "{{.State.Pid}}"))
        .args(["ip", "route", "show", "default"])
        .output()
        .unwrap();
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    assert!(routes.contains("rto_min lock 5ms"), "{routes}");
    sh(
        &world,
        "server",
        "(sleep 1000 | (nc -l -p 77 >/tmp/got; touch /tmp/done)) >/dev/null 2>&1 &",
    );
    socket(&world, "server", 77, "0A");
    let flow = "(for i in $(seq 40); do echo line $i; sleep 0.05; done) | nc server 77";
    let mut flowing = world.spawn(&["exec", "client", "sh", "-c", flow]);
    let at: SocketAddr = ([127, 0, 0, 1], port).into();
    wait_for("the service", || hear(at).is_some());
    wait_for("the flow", || {
        !sh(&world, "server", "cat /tmp/got").is_empty()
    });
    let load = Load::start(&world);
    for round in 0..2 {
        let pid = role(&world).unwrap();
        let killed = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
        wait_for("another role", || {
            role(&world).is_some_and(|other| other != pid)
        });
        wait_for("the port", || hear(at).is_some());
        wait_for("names", || {
            resolve(&world, "client", "web") == [before.clone()]
        });
        // One who comes now gets an address of its own.
        let name = format!("late{round}");
        stay(&world, &name, "net");
        assert!(reaches(&world, &name, "server"));
    }
    assert!(flowing.wait().unwrap().success());
    wait_for("the end of the flow", || {
        !sh(&world, "server", "ls /tmp/done").is_empty()
    });
    assert_eq!(sh(&world, "server", "wc -l </tmp/got").trim(), "40");
    load.end(&world);
    assert_eq!(ip(&world, "web", "net"), before);
    let names = ["web", "server", "client", "late0", "late1"];
    let mut addresses: Vec<String> = names.iter().map(|n| ip(&world, n, "net")).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), names.len());
    let pid = role(&world).unwrap();
    world.ok(&[&["rm", "-f", "-t", "0"], &names[..]].concat());
    let stat = format!("/proc/{pid}/stat");
    wait_for("the role to end", || {
        !std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z "))
    });
}

/// A field of `/proc/PID/task/TID/status`.
fn status_of(task: &std::path::Path, field: &str) -> String {
    let text = std::fs::read_to_string(task.join("status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(field));
    line.unwrap_or_default()
        .trim_start_matches(':')
        .trim()
        .to_owned()
}

#[test]
fn the_role_has_given_up_what_it_does_not_need() {
    requires!("pasta");
    let world = World::with_busybox();
    stay(&world, "c", "podman");
    let pid = role(&world).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut names = Vec::new();
    for task in tasks.flatten() {
        let path = task.path();
        assert_eq!(status_of(&path, "Seccomp"), "2", "{}", path.display());
        assert_eq!(status_of(&path, "NoNewPrivs"), "1", "{}", path.display());
        let caps = u64::from_str_radix(&status_of(&path, "CapEff"), 16).unwrap();
        // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW.
        let expected = 1 << 10 | 1 << 12 | 1 << 13;
        let name = status_of(&path, "Name");
        assert_eq!(caps, if name == "names" { 0 } else { expected }, "{name}");
        assert_eq!(status_of(&path, "CapPrm"), status_of(&path, "CapEff"));
        names.push(name);
    }
    for thread in ["names", "ports", "inside", "janitor"] {
        assert!(names.iter().any(|n| n == thread), "{names:?}");
    }
    // And serves all the same, with another uplink when that is killed.
    assert_eq!(resolve(&world, "c", "c").len(), 1);
    let mark = world.runtime().join("net/netns");
    let uplink = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let found = processes.filter(|p| {
            let words = std::fs::read_to_string(p.path().join("cmdline")).unwrap_or_default();
            words.split('\0').any(|w| w == mark.to_str().unwrap())
        });
        let mut found = found.filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok());
        found.next()
    };
    let first = uplink().unwrap();
    let killed = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    wait_for("another uplink", || uplink().is_some_and(|p| p != first));
    assert_eq!(role(&world), Some(pid), "the role stays");
}

#[test]
fn what_ps_port_and_inspect_say_follows_connections() {
    requires!("pasta");
    let world = World::with_busybox();
    for (name, subnet) in [("one", "10.231.1.0/24"), ("two", "10.231.2.0/24")] {
        world.ok(&["network", "create", "--subnet", subnet, name]);
    }
    let port = free_port();
    let publish = format!("{port}:80");
    let args = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "one",
        "-p",
        &publish,
    ];
    world.ok(&[&args[..], &["busybox", "sh", "-c", SERVICE]].concat());
    stay(&world, "other", "two");
    let at: SocketAddr = ([127, 0, 0, 1], port).into();
    wait_for("an answer", || hear(at).is_some());
    let connect = [
        "network",
        "connect",
        "--ip",
        "10.231.2.77",
        "--alias",
        "friend",
    ];
    world.ok(&[&connect[..], &["two", "web"]].concat());
    let template = "{{.NetworkSettings.Networks.two.IPAddress}} {{.NetworkSettings.Networks.two.Gateway}} {{.NetworkSettings.Networks.two.IPPrefixLen}} {{.NetworkSettings.Networks.two.Aliases}}";
    let shown = world.inspect("web", template);
    assert!(shown.starts_with("10.231.2.77 10.231.2.1 24 "), "{shown}");
    assert!(shown.contains("friend"), "{shown}");
    assert_eq!(resolve(&world, "other", "friend"), ["10.231.2.77"]);
    let networks = world.ok(&["ps", "--filter", "name=web", "--format", "{{.Networks}}"]);
    let mut networks: Vec<&str> = networks.split(',').collect();
    networks.sort_unstable();
    assert_eq!(networks, ["one", "two"]);
    let ports = format!("0.0.0.0:{port}->80/tcp");
    let shown = world.ok(&["ps", "--filter", "name=web", "--format", "{{.Ports}}"]);
    assert_eq!(shown, ports);
    assert_eq!(
        world.ok(&["port", "web"]),
        format!("80/tcp -> 0.0.0.0:{port}")
    );
    let template = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
    assert_eq!(world.inspect("web", template), port.to_string());
    // The port leads to the network that is left.
    world.ok(&["network", "disconnect", "one", "web"]);
    wait_for("an answer by the other network", || hear(at).is_some());
    let networks = world.ok(&["ps", "--filter", "name=web", "--format", "{{.Networks}}"]);
    assert_eq!(networks, "two");
    assert!(resolve(&world, "other", "web").contains(&"10.231.2.77".to_owned()));
    world.ok(&["restart", "-t", "0", "web"]);
    wait_for("an answer after a restart", || hear(at).is_some());
    assert_eq!(ip(&world, "web", "two"), "10.231.2.77");
}

#[test]
fn routes_pools_and_folders_are_as_asked() {
    requires!("pasta");
    let world = World::with_busybox();
    let create = ["network", "create", "--subnet", "10.231.3.0/24"];
    let route = ["--route", "192.0.2.0/24,10.231.3.9,250", "routed"];
    world.ok(&[&create[..], &route].concat());
    let run = [
        "run",
        "--rm",
        "--network",
        "routed",
        "busybox",
        "ip",
        "route",
    ];
    let routes = world.ok(&run);
    let expected = "192.0.2.0/24 via 10.231.3.9 dev eth0  metric 250";
    assert!(routes.contains(expected), "{routes}");
    assert!(routes.contains("default via 10.231.3.1"), "{routes}");
    let shown = world.ok(&[
        "network",
        "inspect",
        "-f",
        "{{(index .routes 0).gateway}}",
        "routed",
    ]);
    assert_eq!(shown, "10.231.3.9");
    for (route, why) in [
        ("192.0.2.0/24,10.231.4.9", "in no subnet"),
        ("192.0.2.0/24", "is not a route"),
        ("fd00::/8,10.231.6.9", "one family"),
    ] {
        let create = ["network", "create", "--subnet", "10.231.6.0/24"];
        let refused = world.run(&[&create[..], &["--route", route, "x"]].concat());
        refused.code(125).says(why);
    }
    let conf = world.path().join("pools.conf");
    let text = "[network]\ndefault_subnet = \"10.231.128.0/20\"\ndefault_subnet_pools = [{base = \"10.231.64.0/28\", size = 29}]\n";
    std::fs::write(&conf, text).unwrap();
    let folder = world.path().join("elsewhere");
    let configured = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("CONTAINERS_CONF", &conf);
        crate::support::Outcome::of(args, command.output().unwrap())
    };
    let create = ["--network-config-dir", folder.to_str().unwrap(), "network"];
    let with = |args: &[&str]| configured(&[&create[..], args].concat());
    with(&["create", "small"]).ok();
    assert!(folder.join("small.json").exists());
    let subnet = "{{(index .subnets 0).subnet}}";
    assert_eq!(
        with(&["inspect", "-f", subnet, "small"]).ok(),
        "10.231.64.0/29"
    );
    assert_eq!(
        with(&["inspect", "-f", subnet, "podman"]).ok(),
        "10.231.128.0/20"
    );
    with(&["create", "second"]).ok();
    with(&["create", "third"])
        .code(125)
        .says("no subnet is free");
    assert_eq!(world.run(&["network", "exists", "small"]).code, 1);
}

#[test]
fn the_namespace_of_bridges_can_be_entered() {
    requires!("pasta", "ip");
    let world = World::with_busybox();
    let enter = |script: &str| world.ok(&["unshare", "--rootless-netns", "sh", "-c", script]);
    let path = "PATH=$PATH:/usr/sbin:/sbin; ";
    // Made for the command where no container uses it; with its way out.
    let shown = enter(&format!("{path}ip -o link"));
    assert!(
        shown.contains(" lo:") && shown.contains(" eth0:"),
        "{shown}"
    );
    stay(&world, "c", "podman");
    let shown = enter(&format!("{path}ip -o addr show podman0"));
    assert!(shown.contains("10.88.0.1/16"), "{shown}");
    let address = ip(&world, "c", "podman");
    let script = "nc -l -p 80 -e echo hello";
    let mut service = world.spawn(&["exec", "c", "sh", "-c", script]);
    wait_for("the service", || {
        let script = format!("exec 3<>/dev/tcp/{address}/80 && cat <&3");
        let args = ["unshare", "--rootless-netns", "bash", "-c", &script];
        world.run(&args).stdout.trim() == "hello"
    });
    assert!(service.wait().unwrap().success());
}

#[test]
fn addresses_are_kept_free_and_cables_have_the_name_asked_for() {
    requires!("pasta", "ip");
    let world = World::with_busybox();
    let create = ["network", "create", "--subnet", "10.231.8.0/29"];
    let reserve = [
        "--aux-address",
        "router=10.231.8.2",
        "--aux-address",
        "spare=10.231.8.4",
    ];
    world.ok(&[&create[..], &reserve, &["kept"]].concat());
    for name in ["a", "b"] {
        stay(
            &world,
            name,
            &format!("kept:host_interface_name=cable-{name}"),
        );
    }
    assert_eq!(ip(&world, "a", "kept"), "10.231.8.3");
    assert_eq!(ip(&world, "b", "kept"), "10.231.8.5");
    let wish = [
        "run",
        "--rm",
        "--network",
        "kept:ip=10.231.8.4",
        "busybox",
        "true",
    ];
    world
        .run(&wish)
        .code(125)
        .says("address 10.231.8.4 is taken");
    let script = "PATH=$PATH:/usr/sbin:/sbin ip -o link";
    let links = world.ok(&["unshare", "--rootless-netns", "sh", "-c", script]);
    assert!(
        links.contains(" cable-a@") && links.contains(" cable-b@"),
        "{links}"
    );
    let twice = [
        "run",
        "--rm",
        "--network",
        "kept:host_interface_name=cable-a",
        "busybox",
        "true",
    ];
    world
        .run(&twice)
        .code(125)
        .says("is taken by another device");
    // At once again under the name that was given back.
    world.ok(&["restart", "-t", "0", "a"]);
    let outside = [
        "network",
        "create",
        "--subnet",
        "10.231.9.0/24",
        "--aux-address",
        "x=10.0.0.1",
        "x",
    ];
    world.run(&outside).code(125).says("in no subnet");
    world.ok(&["network", "create", "--ipv4=false", "--ipv6", "six"]);
    let subnets = world.ok(&[
        "network",
        "inspect",
        "-f",
        "{{len .subnets}} {{.ipv6_enabled}}",
        "six",
    ]);
    assert_eq!(subnets, "1 true");
    stay(&world, "only", "six");
    assert_eq!(ip(&world, "only", "six"), "");
    assert_eq!(resolve(&world, "only", "only").len(), 1);
    world
        .run(&["network", "create", "--ipv4=false", "none4"])
        .code(125)
        .says("needs --ipv6");
}
