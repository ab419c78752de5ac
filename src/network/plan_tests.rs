//! Facts and options in, plans out.

use super::*;

fn facts() -> HostFacts {
    HostFacts {
        pasta: Some("/usr/bin/pasta".into()),
        slirp4netns: Some("/usr/bin/slirp4netns".into()),
        addresses: vec!["192.0.2.2".parse().unwrap()],
        resolv_conf: "nameserver 127.0.0.53\n".into(),
        base_hosts: "127.0.0.1 localhost\n127.0.1.1 laptop\n".into(),
        unprivileged_port_start: 1024,
        ..HostFacts::default()
    }
}

fn run(options: &NetworkOptions, facts: &HostFacts, conf: &ContainersConf) -> Result<NetworkPlan> {
    let request = Request {
        options,
        image_ports: &[],
        hostname: "web1",
        domain: None,
        name: "web",
        image_hosts: Some("10.0.0.7 fromimage\n"),
        hosts_file: Some("10.0.0.8 fromfile\n"),
        attached: None,
    };
    plan(&request, facts, conf)
}

fn with_mode(mode: NetworkMode) -> NetworkOptions {
    NetworkOptions {
        mode,
        ..NetworkOptions::default()
    }
}

fn published() -> NetworkOptions {
    NetworkOptions {
        publish: vec![PortMapping {
            host_ip: None,
            host_port: 8080,
            container_port: 80,
            range: 1,
            protocol: Protocol::Tcp,
        }],
        ..NetworkOptions::default()
    }
}

#[test]
fn the_default_is_pasta_then_slirp4netns_then_none_with_one_line() {
    let conf = ContainersConf::default();
    let without = |change: &dyn Fn(&mut HostFacts)| {
        let mut facts = facts();
        change(&mut facts);
        run(&NetworkOptions::default(), &facts, &conf).unwrap()
    };
    let plan = without(&|_| ());
    assert_eq!(plan.name(), "pasta");
    let tools: Vec<_> = plan.uplinks.iter().map(UplinkPlan::name).collect();
    assert_eq!(
        tools,
        ["pasta", "slirp4netns"],
        "a stand-in with the same addresses"
    );
    let plan = without(&|f| f.pasta = None);
    assert_eq!((plan.name(), plan.uplinks.len()), ("slirp4netns", 1));
    let nothing = |f: &mut HostFacts| {
        f.pasta = None;
        f.slirp4netns = None;
    };
    let plan = without(&nothing);
    assert_eq!(plan.kind, Kind::None);
    assert!(plan.notices.len() == 1 && plan.notices[0].contains("install the package passt"));
    for tun in [Tun::Missing, Tun::Denied] {
        let plan = without(&|f| f.tun = tun);
        assert_eq!(plan.kind, Kind::None);
        assert!(
            plan.notices[0].contains("/dev/net/tun"),
            "{:?}",
            plan.notices
        );
    }
    let mut bare = facts();
    nothing(&mut bare);
    let e = run(&published(), &bare, &conf).unwrap_err();
    assert!(e.what().contains("cannot publish ports") && !e.hints().is_empty());
}

#[test]
fn published_tcp_ports_avoid_a_pasta_that_stalls() {
    let conf = ContainersConf::default();
    let mut udp = published();
    udp.publish[0].protocol = Protocol::Udp;
    let cases = [
        (published(), None, "slirp4netns"),
        (published(), Some(20_230_301), "slirp4netns"),
        (published(), Some(20_240_220), "pasta"),
        (udp, None, "pasta"),
        (NetworkOptions::default(), None, "pasta"),
    ];
    for (options, release, expected) in cases {
        let mut facts = facts();
        facts.pasta_release = release;
        let plan = run(&options, &facts, &conf).unwrap();
        assert_eq!(
            (plan.name(), plan.uplinks.len()),
            (expected, 2),
            "{release:?}"
        );
        facts.slirp4netns = None;
        assert_eq!(run(&options, &facts, &conf).unwrap().name(), "pasta");
    }
}

#[test]
fn tools_asked_for_by_name_must_be_there() {
    let conf = ContainersConf::default();
    let mut bare = facts();
    bare.pasta = None;
    let e = run(&with_mode(NetworkMode::Pasta(vec![])), &bare, &conf).unwrap_err();
    assert!(e.what().contains("pasta is not installed") && e.hints()[0].contains("passt"));
    let plan = run(&with_mode(NetworkMode::Slirp4netns(vec![])), &bare, &conf).unwrap();
    assert_eq!(plan.uplinks.len(), 1);
    bare.tun = Tun::Denied;
    let e = run(&with_mode(NetworkMode::Slirp4netns(vec![])), &bare, &conf).unwrap_err();
    assert!(e.what().contains("cannot work"));
}

#[test]
fn the_configuration_chooses_where_nothing_was_asked() {
    let cases = [
        (Some("host"), None, Kind::Host, "host"),
        (Some("none"), None, Kind::None, "none"),
        (Some("private"), None, Kind::Uplink, "pasta"),
        (
            Some("slirp4netns:mtu=1500"),
            None,
            Kind::Uplink,
            "slirp4netns",
        ),
        (None, Some("slirp4netns"), Kind::Uplink, "slirp4netns"),
    ];
    for (netns, command, kind, name) in cases {
        let mut conf = ContainersConf::default();
        conf.containers.netns = netns.map(str::to_owned);
        conf.network.default_rootless_network_cmd = command.map(str::to_owned);
        let plan = run(&NetworkOptions::default(), &facts(), &conf).unwrap();
        assert_eq!((plan.kind.clone(), plan.name()), (kind, name), "{netns:?}");
        let plan = run(&with_mode(NetworkMode::Host), &facts(), &conf).unwrap();
        assert_eq!(plan.name(), "host", "what is asked for wins");
    }
    let mut conf = ContainersConf::default();
    conf.containers.netns = Some("odd".into());
    assert!(run(&NetworkOptions::default(), &facts(), &conf).is_err());
}

#[test]
fn the_containers_net_avoids_those_of_the_host() {
    let conf = ContainersConf::default();
    let ip = |text: &str| text.parse().unwrap();
    let cases = [
        (vec![], "10.0.2.100"),
        (vec![("10.0.2.0", "255.255.255.0")], "10.71.2.100"),
        (
            vec![
                ("10.0.0.0", "255.255.0.0"),
                ("10.71.2.128", "255.255.255.128"),
            ],
            "172.29.71.100",
        ),
        // A VPN's wide route leads elsewhere than our narrow one.
        (vec![("10.0.0.0", "255.0.0.0")], "10.0.2.100"),
    ];
    for (routes, expected) in cases {
        let mut facts = facts();
        facts.routes_v4 = routes.iter().map(|(n, m)| (ip(n), ip(m))).collect();
        let plan = run(&NetworkOptions::default(), &facts, &conf).unwrap();
        assert_eq!(plan.addresses.unwrap().container.to_string(), expected);
        let resolver = plan.addresses.unwrap().resolver;
        assert_eq!(
            plan.resolv_conf.unwrap(),
            format!("nameserver {resolver}\n")
        );
        assert!(
            plan.hosts
                .unwrap()
                .contains(&format!("{expected}\tweb1 web\n"))
        );
    }
}

#[test]
fn ports_need_a_network_of_the_containers_own() {
    let conf = ContainersConf::default();
    let mut options = published();
    assert_eq!(run(&options, &facts(), &conf).unwrap().ports.len(), 1);
    for mode in [
        NetworkMode::Host,
        NetworkMode::None,
        NetworkMode::Path("/x".into()),
    ] {
        options.mode = mode;
        let plan = run(&options, &facts(), &conf).unwrap();
        assert!(
            plan.ports.is_empty() && plan.notices.len() == 1,
            "{:?}",
            plan.notices
        );
    }
    options.mode = NetworkMode::Container("db".into());
    assert!(run(&options, &facts(), &conf).is_err());
    let mut options = published();
    options.publish[0].host_ip = Some("::1".parse().unwrap());
    assert!(
        run(&options, &facts(), &conf)
            .unwrap_err()
            .what()
            .contains("IPv6")
    );
    let mut dual = facts();
    dual.default_v6 = Some("eth0".into());
    assert!(run(&options, &dual, &conf).is_ok());
}

#[test]
fn hosts_files_follow_the_options() {
    let conf = ContainersConf::default();
    let hosts = |change: &dyn Fn(&mut NetworkOptions)| {
        let mut options = NetworkOptions::default();
        change(&mut options);
        run(&options, &facts(), &conf).map(|p| p.hosts)
    };
    let text = hosts(&|_| ()).unwrap().unwrap();
    assert!(text.contains("192.0.2.2\thost.containers.internal host.docker.internal\n"));
    assert!(text.contains("127.0.1.1\tlaptop\n"));
    assert_eq!(hosts(&|o| o.no_hosts = true).unwrap(), None);
    let text = hosts(&|o| o.hosts_file = Some("none".into()))
        .unwrap()
        .unwrap();
    assert!(!text.contains("laptop"));
    let text = hosts(&|o| o.hosts_file = Some("image".into()))
        .unwrap()
        .unwrap();
    assert!(text.contains("fromimage") && !text.contains("laptop"));
    let text = hosts(&|o| o.hosts_file = Some("/some/file".into()))
        .unwrap()
        .unwrap();
    assert!(text.contains("fromfile"));
    let gateway = |o: &mut NetworkOptions| {
        o.add_hosts = vec![(vec!["box".into()], "host-gateway".into())];
    };
    let text = hosts(&gateway).unwrap().unwrap();
    assert!(text.starts_with("192.0.2.2\tbox\n"));
    let e = hosts(&|o| {
        gateway(o);
        o.mode = NetworkMode::None;
    });
    assert!(e.unwrap_err().what().contains("host-gateway"));
    let e = hosts(&|o| o.add_hosts = vec![(vec!["box".into()], "nonsense".into())]);
    assert!(e.unwrap_err().what().contains("is not an address"));
    assert_eq!(
        hosts(&|o| o.mode = NetworkMode::Container("x".into())).unwrap(),
        None
    );
    let text = hosts(&|o| o.mode = NetworkMode::None).unwrap().unwrap();
    assert!(text.contains("127.0.0.1\tweb1 web") && !text.contains("internal"));
}

#[test]
fn resolvers_follow_the_options_and_the_configuration() {
    let mut conf = ContainersConf::default();
    conf.containers.dns_servers = vec!["9.9.9.9".into()];
    conf.containers.dns_searches = vec!["conf.example".into()];
    let mut options = NetworkOptions::default();
    let text = run(&options, &facts(), &conf).unwrap().resolv_conf.unwrap();
    assert_eq!(text, "search conf.example\nnameserver 9.9.9.9\n");
    options.dns = vec!["8.8.8.8".parse().unwrap()];
    options.dns_search = vec!["own.example".into()];
    let text = run(&options, &facts(), &conf).unwrap().resolv_conf.unwrap();
    assert_eq!(text, "search own.example\nnameserver 8.8.8.8\n");
    options.dns_none = true;
    assert_eq!(run(&options, &facts(), &conf).unwrap().resolv_conf, None);
    conf.containers.dns_servers = vec!["x".into()];
    options.dns_none = false;
    assert!(run(&options, &facts(), &conf).is_err());
    let host = run(
        &with_mode(NetworkMode::Host),
        &facts(),
        &ContainersConf::default(),
    )
    .unwrap();
    assert_eq!(host.resolv_conf.unwrap(), "nameserver 127.0.0.53\n");
}

#[test]
fn an_offline_host_still_gets_a_plan() {
    let mut offline = facts();
    offline.addresses.clear();
    offline.resolv_conf.clear();
    let plan = run(
        &NetworkOptions::default(),
        &offline,
        &ContainersConf::default(),
    )
    .unwrap();
    assert_eq!(plan.name(), "pasta");
    assert!(
        plan.hosts
            .unwrap()
            .contains("10.0.2.2\thost.containers.internal")
    );
    assert_eq!(plan.resolv_conf.unwrap(), "nameserver 10.0.2.3\n");
}
