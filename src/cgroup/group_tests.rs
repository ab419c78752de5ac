//! On a real hierarchy where this process may write one (root on a hybrid host suffices, for
//! freezing, killing and removal need no controller).

use std::process::{Command, Stdio};

use super::*;
use crate::cgroup::probe;

#[test]
fn a_group_freezes_kills_and_goes_away() {
    let support = probe();
    let Some(base) = support.base else {
        eprintln!("skipped: no writable cgroup v2 here");
        return;
    };
    let id: ContainerId = format!("{:064x}", std::process::id()).parse().unwrap();
    let who = Who {
        id: &id,
        name: "test",
        stop_timeout: Duration::ZERO,
    };
    let place = Place::Folder(base.join(OURS));
    let group = Group::create_in(&place, &who, &Settings::default())
        .unwrap()
        .unwrap();
    let mut child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    fs::write(group.path().join("cgroup.procs"), child.id().to_string()).unwrap();
    assert_eq!(group.processes().unwrap(), [child.id().cast_signed()]);
    group.freeze().unwrap();
    assert!(group.is_frozen());
    group.thaw().unwrap();
    if let Some(mut watch) = group.memory_watch() {
        assert_eq!(watch.kills.count(), Some(0));
    }
    fs::create_dir(group.path().join("made-inside")).unwrap();
    group.kill().unwrap();
    child.wait().unwrap();
    let path = group.path().to_owned();
    assert!(Group::open(&path.to_string_lossy()).is_ok());
    group.remove().unwrap();
    assert!(!path.exists());
    assert_eq!(
        Group::open(&path.to_string_lossy()).unwrap_err().kind(),
        Kind::NotFound
    );
    // The folder of all our groups may stay; nobody else uses it in this test.
    drop(fs::remove_dir(path.parent().unwrap()));
}

#[test]
fn only_our_own_groups_can_be_named() {
    for path in [
        "/sys/fs/cgroup",
        "/etc/coracle/../x",
        "coracle/x",
        "/a/coracle/../b",
    ] {
        assert_eq!(
            Group::open(path).unwrap_err().kind(),
            Kind::Invalid,
            "{path}"
        );
    }
}

#[test]
fn counters_are_read_and_missing_ones_are_absent() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
    let group = Group {
        path: dir.path().to_owned(),
        dir: File::open(dir.path()).unwrap().into(),
    };
    assert_eq!(group.stats(), Stats::default());
    write(
        "cpu.stat",
        "usage_usec 500\nuser_usec 300\nsystem_usec 200\n",
    );
    write("memory.current", "1000\n");
    write("memory.stat", "anon 1\ninactive_file 400\n");
    write("memory.max", "max\n");
    write("pids.current", "3\n");
    write("pids.max", "2048\n");
    write(
        "io.stat",
        "8:0 rbytes=10 wbytes=1 rios=1\n8:16 rbytes=5 wbytes=2\n",
    );
    let expected = Stats {
        cpu_usec: Some(500),
        system_usec: Some(200),
        memory: Some(600),
        memory_limit: None,
        pids: Some(3),
        pids_limit: Some(2048),
        read: Some(15),
        written: Some(3),
    };
    assert_eq!(group.stats(), expected);
}
