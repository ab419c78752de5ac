//! Tables, and real sockets on the loopback.

use super::*;
use crate::network::facts::Tun;
use crate::network::plan::{Families, Tool, UplinkPlan};

fn port(ip: Option<&str>, host: u16, inside: u16, range: u16, protocol: Protocol) -> PortMapping {
    PortMapping {
        host_ip: ip.map(|t| t.parse().unwrap()),
        host_port: host,
        container_port: inside,
        range,
        protocol,
    }
}

fn facts() -> HostFacts {
    HostFacts {
        tun: Tun::Usable,
        unprivileged_port_start: 1024,
        ..HostFacts::default()
    }
}

fn plan(ports: Vec<PortMapping>) -> NetworkPlan {
    NetworkPlan {
        kind: Kind::Uplink,
        uplinks: vec![UplinkPlan {
            tool: Tool::Pasta,
            program: "/p".into(),
            arguments: vec![],
            families: Families {
                v4: true,
                v6: false,
            },
            guest: Ipv4Addr::LOCALHOST,
        }],
        ports,
        addresses: None,
        resolv_conf: None,
        hosts: None,
        notices: vec![],
    }
}

#[test]
fn publish_all_adds_what_is_exposed_and_not_yet_published() {
    let options = NetworkOptions {
        publish: vec![port(None, 8080, 80, 1, Protocol::Tcp)],
        publish_all: true,
        expose: vec!["53/UDP".into(), "9000-9001".into()],
        ..NetworkOptions::default()
    };
    let image = ["80/tcp".to_owned(), "443".to_owned(), "53/udp".to_owned()];
    let conf = ContainersConf::default();
    let list = requested(&options, &image, &conf).unwrap();
    let text: Vec<_> = list.iter().map(describe).collect();
    assert_eq!(
        text,
        [
            "8080:80/tcp",
            ":53/udp",
            ":443/tcp",
            ":9000/tcp",
            ":9001/tcp"
        ]
    );
    for bad in ["x", "0", "80/sctp", "9-8", "70000"] {
        let image = [bad.to_owned()];
        assert!(requested(&options, &image, &conf).is_err(), "{bad}");
    }
}

#[test]
fn mappings_that_want_the_same_host_port_are_refused() {
    let conf = ContainersConf::default();
    let tcp = Protocol::Tcp;
    let cases = [
        (port(None, 80, 80, 1, tcp), port(None, 80, 81, 1, tcp), true),
        (
            port(None, 80, 80, 5, tcp),
            port(Some("127.0.0.1"), 84, 1, 1, tcp),
            true,
        ),
        (
            port(Some("127.0.0.1"), 80, 80, 1, tcp),
            port(Some("127.0.0.2"), 80, 80, 1, tcp),
            false,
        ),
        (
            port(None, 80, 80, 1, tcp),
            port(None, 80, 80, 1, Protocol::Udp),
            false,
        ),
        (port(None, 0, 80, 1, tcp), port(None, 0, 81, 1, tcp), false),
        (port(None, 80, 80, 5, tcp), port(None, 85, 1, 1, tcp), false),
        (port(None, 80, 0, 1, tcp), port(None, 85, 1, 1, tcp), true),
    ];
    for (a, b, refused) in cases {
        let options = NetworkOptions {
            publish: vec![a.clone(), b.clone()],
            ..NetworkOptions::default()
        };
        assert_eq!(
            requested(&options, &[], &conf).is_err(),
            refused,
            "{a:?} {b:?}"
        );
    }
}

#[test]
fn default_addresses_of_the_configuration_are_used() {
    let mut conf = ContainersConf::default();
    conf.network.default_host_ips = vec!["127.0.0.1".into(), "::1".into()];
    let options = NetworkOptions {
        publish: vec![
            port(None, 80, 80, 1, Protocol::Tcp),
            port(Some("10.0.0.1"), 81, 80, 1, Protocol::Tcp),
        ],
        ..NetworkOptions::default()
    };
    let list = requested(&options, &[], &conf).unwrap();
    let text: Vec<_> = list.iter().map(describe).collect();
    assert_eq!(
        text,
        [
            "127.0.0.1:80:80/tcp",
            "[::1]:80:80/tcp",
            "10.0.0.1:81:80/tcp"
        ]
    );
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let number = taken.local_addr().unwrap().port();
    let mut plan = plan(vec![port(Some("127.0.0.1"), number, 80, 1, Protocol::Tcp)]);
    let e = settle(&mut plan, &facts()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InUse);
    let me = format!("process {}", std::process::id());
    assert!(e.what().contains(&me), "{e:?}");
    assert!(e.hints()[0].contains("-p "));
}

#[test]
fn random_ports_are_free_and_differ() {
    let mapping = port(Some("127.0.0.1"), 0, 80, 2, Protocol::Tcp);
    let mut plan = plan(vec![
        mapping.clone(),
        mapping,
        port(Some("127.0.0.1"), 0, 53, 1, Protocol::Udp),
    ]);
    settle(&mut plan, &facts()).unwrap();
    let first: Vec<u16> = plan.ports.iter().map(|p| p.host_port).collect();
    assert!(first.iter().all(|p| *p > 0), "{first:?}");
    assert!(first[0].abs_diff(first[1]) >= 2, "{first:?}");
}

#[test]
fn refusals_say_what_to_do() {
    let facts = facts();
    let low = port(None, 80, 80, 1, Protocol::Tcp);
    let denied = io::Error::from_raw_os_error(libc::EACCES);
    let e = explain(
        &low,
        80,
        Ipv4Addr::UNSPECIFIED.into(),
        &denied,
        facts.unprivileged_port_start,
    );
    assert_eq!(e.kind(), ErrorKind::Denied);
    assert!(
        e.hints()[0].contains("net.ipv4.ip_unprivileged_port_start=80"),
        "{e:?}"
    );
    assert!(e.hints()[0].contains("-p 8080:80"));
    let foreign = port(Some("203.0.113.9"), 8080, 80, 1, Protocol::Tcp);
    let mut plan = plan(vec![foreign]);
    let e = settle(&mut plan, &facts).unwrap_err();
    assert!(e.what().contains("not an address of this host"), "{e:?}");
}

#[test]
fn socket_tables_are_read() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n\
        1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n garbage\n";
    assert_eq!(listening_inodes(table, 8080, Protocol::Tcp), [4711]);
    assert_eq!(listening_inodes(table, 8080, Protocol::Udp), [4711, 4712]);
    assert!(listening_inodes(table, 81, Protocol::Tcp).is_empty());
}
