//! Class K: the kernel's calls that the built-in filter decides about, by every way into it.

use super::image;
use crate::support::World;

/// What each call answers under the built-in filter. `?`: allowed; the kernel has its own say.
const CALLS: &str = "
    socket(AF_ALG): EAFNOSUPPORT
    socket(AF_ALG, high bits): EAFNOSUPPORT
    socket(AF_VSOCK): EAFNOSUPPORT
    socket(AF_INET): ok
    socket(AF_NETLINK, AUDIT): EINVAL
    i386 socketcall(socket, AF_ALG): ENOSYS
    i386 socketcall(socket, AF_INET): ENOSYS
    i386 socketcall(socket, high bits): ENOSYS
    i386 socketcall(socketpair): ok
    i386 socket(AF_ALG): EAFNOSUPPORT
    i386 socket(AF_INET): ok
    i386 unshare: EPERM
    i386 keyctl: EPERM
    i386 io_uring_setup: EPERM
    i386 bpf: EPERM
    x32 unshare: ENOSYS
    unshare(NEWUSER): EPERM
    unshare(NEWNS): EPERM
    clone3(NEWUSER): ENOSYS
    clone(NEWUSER): EPERM
    setns: EPERM
    mount: EPERM
    umount: EPERM
    fsopen: EPERM
    open_tree: EPERM
    pivot_root: EPERM
    io_uring_setup: EPERM
    userfaultfd: EPERM
    bpf: EPERM
    perf_event_open: EPERM
    keyctl: EPERM
    add_key: EPERM
    request_key: EPERM
    personality(ADDR_NO_RANDOMIZE): EPERM
    personality(READ_IMPLIES_EXEC): EPERM
    personality(ask): ok
    kexec_load: EPERM
    init_module: EPERM
    open_by_handle_at: EPERM
    syslog: EPERM
    swapon: EPERM
    reboot: EPERM
    acct: EPERM
    unknown call: ENOSYS
";

fn expected() -> Vec<&'static str> {
    CALLS
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .filter(|l| {
            cfg!(target_arch = "x86_64") || !(l.starts_with("i386") || l.starts_with("x32"))
        })
        .collect()
}

/// CVE-2026-31431, CVE-2022-0185 and others: the same answers for the first process, for exec, for
/// another user, below our init, and in a user namespace of its own.
#[test]
fn every_way_into_a_container_has_the_same_filter() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    world.ok(&super::words(
        "run -d --name c --network none hostile sleep 100",
    ));
    for line in [
        "run --rm --network none hostile probe calls",
        "run --rm --network none --user 7:7 hostile probe calls",
        "run --rm --network none --init hostile probe calls",
        "run --rm --network none --userns nested hostile probe calls",
        "run --rm --network none --security-opt no-new-privileges hostile probe calls",
        "exec c probe calls",
        "exec --user 7 c probe calls",
    ] {
        let said = world.ok(&super::words(line));
        assert_eq!(said.lines().collect::<Vec<_>>(), expected(), "{line}");
    }
}

/// What 32-bit programs may do about sockets is a choice, and an image for 32-bit x86 makes it.
#[cfg(target_arch = "x86_64")]
#[test]
fn socketcall_is_open_where_it_was_asked_for() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let open = "i386 socketcall(socket, AF_INET): ok";
    let closed = "i386 socketcall(socket, AF_INET): ENOSYS";
    let base = ["run", "--rm", "--network", "none"];
    let run = |more: &[&str]| world.ok(&[&base[..], more, &["hostile", "probe", "calls"]].concat());
    let asked = run(&["--security-opt", "seccomp=socketcall"]);
    assert!(asked.contains(open), "{asked}");
    assert!(
        asked.contains("i386 socket(AF_ALG): EAFNOSUPPORT"),
        "{asked}"
    );
    assert!(run(&[]).contains(closed));
    let tar = world.path().join("hostile.tar");
    world.ok(&[
        "import",
        "-q",
        "--arch",
        "386",
        tar.to_str().unwrap(),
        "old",
    ]);
    let mut old = base.to_vec();
    old.extend(["old", "probe", "calls"]);
    let said = world.run(&old);
    assert!(said.stdout.contains(open), "{said:?}");
    world
        .run(&[
            "run",
            "-d",
            "--name",
            "c",
            "--network",
            "none",
            "old",
            "sleep",
            "100",
        ])
        .code(0);
    let said = world.ok(&["exec", "c", "probe", "calls"]);
    assert!(said.contains(open), "{said}");
}

/// Without a filter the kernel's own answers come: the table above is the filter's doing.
#[test]
fn without_the_filter_the_answers_are_others() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let line = "run --rm --network none --security-opt seccomp=unconfined hostile probe calls";
    let said = world.ok(&super::words(line));
    let differing = said.lines().zip(expected()).filter(|(a, b)| a != b).count();
    assert!(differing > 8, "{said}");
    assert!(said.contains("unshare(NEWNS): ok"), "{said}");
}
