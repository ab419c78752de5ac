//! Class G: capabilities, groups, environment, keyrings: exactly what was promised, for every way
//! into a container.

use super::{image, probe};
use crate::support::{World, fixture};

/// The default set, as `capabilities(7)` numbers it: chown dac_override fowner fsetid kill setgid
/// setuid setpcap net_bind_service net_raw sys_chroot setfcap.
const DEFAULT: &str = "00000000800425fb";
const NONE: &str = "0000000000000000";
const NET_RAW: &str = "0000000000002000";

/// Inheritable, permitted, effective, bounding, ambient, no_new_privs, groups.
fn rights(status: &str) -> Vec<String> {
    [
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Groups:",
    ]
    .iter()
    .map(|name| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
            .trim()
            .to_owned()
    })
    .collect()
}

/// CVE-2022-27649, CVE-2022-27651, CVE-2022-29162, CVE-2022-2989: nothing is left over.
#[test]
fn rights_are_exactly_those_promised_for_run_and_exec() {
    let world = World::with_busybox();
    let status = ["cat", "/proc/self/status"];
    let cases: [(&[&str], &[&str], [&str; 7]); 9] = [
        (&[], &[], [NONE, DEFAULT, DEFAULT, DEFAULT, NONE, "0", ""]),
        (
            &["--user", "1000"],
            &[],
            [NONE, NONE, NONE, DEFAULT, NONE, "0", "10"],
        ),
        (
            &[],
            &["--user", "1000"],
            [NONE, NONE, NONE, DEFAULT, NONE, "0", "10"],
        ),
        (
            &["--cap-drop", "all"],
            &[],
            [NONE, NONE, NONE, NONE, NONE, "0", ""],
        ),
        (
            &["--cap-drop", "all", "--cap-add", "net_raw"],
            &[],
            [NONE, NET_RAW, NET_RAW, NET_RAW, NONE, "0", ""],
        ),
        (
            &["--security-opt", "no-new-privileges"],
            &[],
            [NONE, DEFAULT, DEFAULT, DEFAULT, NONE, "1", ""],
        ),
        (
            &["--group-add", "44"],
            &[],
            [NONE, DEFAULT, DEFAULT, DEFAULT, NONE, "0", "44"],
        ),
        (
            &["--userns", "nested"],
            &[],
            [NONE, DEFAULT, DEFAULT, DEFAULT, NONE, "0", ""],
        ),
        (
            &["--init"],
            &[],
            [NONE, DEFAULT, DEFAULT, DEFAULT, NONE, "0", ""],
        ),
    ];
    for (flags, more, expected) in cases {
        if more.is_empty() {
            let run = ["run", "--rm", "--network", "none"];
            let said = world.ok(&[&run[..], flags, &["busybox"], &status].concat());
            assert_eq!(rights(&said), expected, "run {flags:?}");
        }
        let run = ["run", "-d", "--name", "c", "--network", "none"];
        world.ok(&[&run[..], flags, &["busybox", "sleep", "100"]].concat());
        let said = world.ok(&[&["exec"], more, &["c"], &status].concat());
        assert_eq!(rights(&said), expected, "exec {more:?} after {flags:?}");
        world.ok(&["rm", "-f", "-t", "0", "c"]);
    }
}

/// A set-uid program gains its owner's rights, and with no_new_privs it does not.
#[test]
fn no_new_privileges_holds_against_set_uid_programs() {
    let world = World::new();
    image(&world, "hostile", &[], |tar| {
        let program = std::fs::read(probe()).unwrap();
        fixture::add_file(tar, "bin/set-uid", 0o4755, (0, 0), &program);
    });
    let run = |more: &[&str]| {
        let base = ["run", "--rm", "--network", "none", "--user", "1000"];
        world.ok(&[&base[..], more, &["hostile", "set-uid", "ids"]].concat())
    };
    assert_eq!(run(&[]), "1000 0");
    assert_eq!(run(&["--security-opt", "no-new-privileges"]), "1000 1000");
    assert_eq!(run(&["--userns", "nested"]), "1000 0");
}

/// CVE-2026-57231, CVE-2020-14370: the caller's variables stay outside, for every way in.
#[test]
fn no_variable_of_the_caller_is_seen_inside() {
    let world = World::with_busybox();
    let coracle = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("AWS_SECRET", "s3cret").env("HOME2", "x");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    coracle(&[
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        "busybox",
        "sleep",
        "100",
    ]);
    for args in [
        &["run", "--rm", "--network", "none", "busybox", "env"][..],
        &[
            "run",
            "--rm",
            "--network",
            "none",
            "--init",
            "busybox",
            "env",
        ],
        &["exec", "c", "env"],
        &["exec", "c", "cat", "/proc/1/environ"],
    ] {
        let said = coracle(args);
        assert!(
            !said.contains("s3cret") && !said.contains("CORACLE"),
            "{args:?}: {said}"
        );
    }
    // An entry of an image without a value takes nothing from the caller.
    let file = fixture::busybox_file(world.path());
    let file = file.to_str().unwrap();
    for entry in ["AWS_SECRET", "AWS_*", "*"] {
        let change = format!("ENV {entry}");
        let made = world.run(&["import", "-q", "-c", &change, file, "odd"]);
        if made.code == 0 {
            let mut command = world.command(&["run", "--rm", "--network", "none", "odd", "env"]);
            let output = command.env("AWS_SECRET", "s3cret").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!said.contains("s3cret"), "{entry}: {said}");
        }
    }
}

/// The session keyring is a new one each time, and not the caller's.
#[test]
fn keyrings_are_not_shared() {
    let world = World::new();
    image(&world, "hostile", &[], |_| ());
    let own = std::process::Command::new(probe())
        .arg("keyring")
        .output()
        .unwrap();
    let own = String::from_utf8(own.stdout).unwrap().trim().to_owned();
    let open = "run -d --name c --network none --security-opt seccomp=unconfined hostile sleep 100";
    world.ok(&super::words(open));
    let one = world.ok(&["exec", "c", "probe", "keyring"]);
    let two = world.ok(&["exec", "c", "probe", "keyring"]);
    let first = "run --rm --network none --security-opt seccomp=unconfined hostile probe keyring";
    let three = world.ok(&super::words(first));
    for number in [&one, &two, &three] {
        assert!(number.parse::<u32>().is_ok(), "{number}");
    }
    assert!(
        own != one && own != three && one != three && one != two,
        "{own} {one} {two} {three}"
    );
}
