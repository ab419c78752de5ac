//! The holder of the user namespace: there after a command, gone when nobody needs it.

use crate::support::{World, peer};

/// The holder's pid, if its record is there.
fn holder(world: &World) -> Option<i64> {
    let text = std::fs::read(world.runtime().join("userns.json")).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    record["holder"]["pid"].as_i64()
}

/// A zombie, which waits for this machine's init, does not live.
fn lives(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

#[test]
fn reset_ends_the_holder_at_once() {
    requires_subids!();
    let world = World::with_busybox();
    let pid = holder(&world).expect("a holder after a command");
    assert!(lives(pid));
    world.ok(&["system", "reset", "--force"]);
    assert!(!lives(pid), "the holder {pid} outlived the reset");
    assert_eq!(holder(&world), None);
    // And again on an empty root: nothing is left behind by the reset itself.
    world.ok(&["system", "reset", "--force"]);
    assert_eq!(holder(&world), None);
}

#[test]
fn an_idle_holder_ends_and_the_next_command_makes_another() {
    requires_subids!();
    let world = World::new();
    let file = crate::support::fixture::busybox_file(world.path());
    let mut import = world.command(&["import", "-q", file.to_str().unwrap(), "busybox"]);
    let out = import.env("CORACLE_HOLDER_IDLE", "1").output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let pid = holder(&world).expect("a holder after a command");
    peer::wait_for("the idle holder to end", || !lives(pid));
    assert_eq!(holder(&world), None);
    world.ok(&["run", "--rm", "busybox", "true"]);
    assert!(holder(&world).is_some_and(|next| next != pid && lives(next)));
}

#[test]
fn networks_of_the_holder_before_do_not_hinder_those_of_the_next() {
    requires_subids!();
    let world = World::with_busybox();
    world.ok(&["network", "create", "n"]);
    let run = ["run", "--rm", "--network", "n", "busybox", "true"];
    world.ok(&run);
    let pid = holder(&world).expect("a holder after a command");
    let holder = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).unwrap();
    peer::wait_for("the killed holder to end", || !lives(pid));
    // The role of networks has some seconds left, in the user namespace of before.
    world.ok(&run);
}

/// The network namespaces that the holder keeps.
fn kept(pid: i64) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    links
        .flatten()
        .filter_map(|link| std::fs::read_link(link.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| target.starts_with("net:["))
        .collect()
}

#[test]
fn a_start_takes_the_network_that_the_holder_keeps_ready_and_does_without_too() {
    requires_subids!();
    let world = World::with_busybox();
    let pid = holder(&world).expect("a holder after a command");
    let network = |patience: &str, options: &[&str]| {
        let mut args = vec!["run", "--rm", "--network", "none"];
        args.extend(options);
        args.extend(["busybox", "sh", "-c"]);
        args.push(
            "readlink /proc/self/ns/net; ping -c1 -W5 127.0.0.1 >/dev/null && echo up; \
             cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        );
        let mut command = world.command(&args);
        let out = command.env("CORACLE_HOLDER_PATIENCE", patience).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut ready = Vec::new();
        peer::wait_for("a network to be ready", || {
            ready = kept(pid);
            ready.len() == 1
        });
        assert_eq!(network("20000", &[]), format!("{}\nup\n0\n", ready[0]));
        seen.append(&mut ready);
    }
    assert!(
        seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2],
        "{seen:?}"
    );
    // One with other settings is made for it.
    let own = network(
        "20000",
        &["--sysctl", "net.ipv4.ip_unprivileged_port_start=99"],
    );
    assert!(own.ends_with("\nup\n99\n"), "{own}");
    // A holder that does not answer is not waited for.
    let holder = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(holder, rustix::process::Signal::STOP).unwrap();
    let own = network("1", &[]);
    rustix::process::kill_process(holder, rustix::process::Signal::CONT).unwrap();
    assert!(own.ends_with("\nup\n0\n"), "{own}");
}
