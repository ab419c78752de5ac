//! Facts in, findings out.

use super::*;
use crate::cgroup::Support;
use crate::config::subid::{IdRange, IdRanges};
use crate::network::facts::HostFacts;
use crate::operations::doctor::facts::Folder;

fn worked(said: &str) -> Outcome {
    Outcome {
        worked: true,
        said: said.to_owned(),
        hints: vec![],
        took: 3000,
    }
}

fn failed(said: &str) -> Outcome {
    Outcome {
        said: said.to_owned(),
        hints: vec!["do this".to_owned()],
        ..Outcome::default()
    }
}

/// A machine on which all is well.
fn good() -> Facts {
    let one = vec![IdRange {
        start: 100_000,
        count: 65_536,
    }];
    Facts {
        program: "/home/dev/bin/coracle".into(),
        distribution: "debian".into(),
        kernel: "6.12.1-amd64".into(),
        user: "dev".into(),
        gid: 1000,
        newuidmap: Helper::Fit,
        newgidmap: Helper::Fit,
        ranges: IdRanges {
            uids: one.clone(),
            gids: one,
            notes: vec![],
        },
        next_free_id: 165_536,
        data: Folder {
            path: "/home/dev/.local/share/coracle".into(),
            kind: "ext4".into(),
            free: 50 << 30,
            inodes: Some(1 << 20),
            ..Folder::default()
        },
        runtime: "/run/user/1000/coracle".into(),
        network: HostFacts {
            pasta: Some("/usr/bin/pasta".into()),
            pasta_release: Some(20_250_101),
            slirp4netns: Some("/usr/bin/slirp4netns".into()),
            unprivileged_port_start: 1024,
            ..HostFacts::default()
        },
        ping_groups: Some((0, 2_147_483_647)),
        nameservers: vec!["192.0.2.1".into()],
        cgroup: Support {
            version: Version::V2,
            base: Some("/sys/fs/cgroup/x".into()),
            controllers: vec!["cpu".into(), "memory".into(), "pids".into()],
            ..Support::default()
        },
        has_systemd: true,
        lingers: true,
        has_user_bus: true,
        clock: 1_800_000_000,
        has_seccomp: true,
        steps: Step::ALL.into_iter().map(|s| (s, worked("fine"))).collect(),
        hello: worked("Hello"),
        ..Facts::default()
    }
}

#[test]
fn a_good_machine_has_nothing_to_mend() {
    for f in judge(&good()) {
        assert_eq!(f.grade, Grade::Ok, "{f:?}");
        assert!(f.costs.is_none() && f.mend.is_none(), "{f:?}");
    }
}

#[test]
fn each_lack_is_found_priced_and_mended() {
    type Change = Box<dyn Fn(&mut Facts)>;
    let fails =
        |step: Step| -> Change { Box::new(move |f| drop(f.steps.insert(step, failed("refused")))) };
    let cases: Vec<(&str, Grade, &str, Change)> = vec![
        (
            "kernel",
            Grade::Fail,
            "newer kernel",
            Box::new(|f| f.kernel = "4.19.0".into()),
        ),
        (
            "kernel",
            Grade::Fail,
            "SECCOMP",
            Box::new(|f| f.has_seccomp = false),
        ),
        (
            "user-namespaces",
            Grade::Fail,
            "do this",
            fails(Step::Namespaces),
        ),
        (
            "user-namespaces",
            Grade::Fail,
            "profile coracle /home/dev/bin/coracle flags=(unconfined) { userns, }",
            Box::new(|f| {
                f.apparmor_restricts = true;
                f.steps.insert(Step::Namespaces, failed("EACCES"));
            }),
        ),
        (
            "user-namespaces",
            Grade::Fail,
            "user.max_user_namespaces=15000",
            Box::new(|f| {
                f.max_user_namespaces = Some(0);
                f.steps.insert(Step::Namespaces, failed("ENOSPC"));
            }),
        ),
        (
            "user-namespaces",
            Grade::Fail,
            "kernel.unprivileged_userns_clone=1",
            Box::new(|f| {
                f.unprivileged_clone_off = true;
                f.steps.insert(Step::Namespaces, failed("EPERM"));
            }),
        ),
        (
            "subordinate-ids",
            Grade::Warn,
            "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 dev",
            Box::new(|f| {
                f.ranges = IdRanges::default();
                f.steps.insert(Step::Ids, failed("one id"));
            }),
        ),
        (
            "subordinate-ids",
            Grade::Warn,
            "sudo apt-get install uidmap",
            Box::new(|f| {
                f.newgidmap = Helper::Missing;
                f.steps.insert(Step::Ids, failed("one id"));
            }),
        ),
        (
            "subordinate-ids",
            Grade::Warn,
            "sudo chmod u+s",
            Box::new(|f| {
                f.newuidmap = Helper::Powerless;
                f.steps.insert(Step::Ids, failed("one id"));
            }),
        ),
        (
            "store",
            Grade::Fail,
            "CORACLE_ROOT",
            Box::new(|f| f.data.options = vec!["ro".into()]),
        ),
        (
            "store",
            Grade::Warn,
            "CORACLE_ROOT",
            Box::new(|f| f.data.kind = "nfs4".into()),
        ),
        (
            "store",
            Grade::Warn,
            "CORACLE_ROOT",
            Box::new(|f| f.data.options = vec!["noexec".into()]),
        ),
        (
            "store",
            Grade::Fail,
            "CORACLE_ROOT",
            Box::new(|f| f.data.refused = Some("ENOTSUP".into())),
        ),
        (
            "store",
            Grade::Warn,
            "prune",
            Box::new(|f| f.data.free = 1 << 20),
        ),
        (
            "driver-overlay",
            Grade::Warn,
            "do this",
            fails(Step::Overlay),
        ),
        (
            "driver-shifted",
            Grade::Warn,
            "do this",
            fails(Step::Shifted),
        ),
        ("driver-fuse", Grade::Warn, "do this", fails(Step::Fuse)),
        ("driver-copy", Grade::Warn, "do this", fails(Step::Copy)),
        (
            "container",
            Grade::Fail,
            "do this",
            Box::new(|f| f.hello = failed("no")),
        ),
        (
            "network",
            Grade::Warn,
            "sudo apt-get install passt",
            Box::new(|f| {
                f.network.pasta = None;
                f.network.slirp4netns = None;
            }),
        ),
        (
            "network",
            Grade::Warn,
            "chmod 666",
            Box::new(|f| f.network.tun = Tun::Denied),
        ),
        (
            "network",
            Grade::Warn,
            "modprobe tun",
            Box::new(|f| f.network.tun = Tun::Missing),
        ),
        ("network", Grade::Warn, "do this", fails(Step::Network)),
        (
            "network",
            Grade::Warn,
            "install slirp4netns",
            Box::new(|f| {
                f.network.slirp4netns = None;
                f.network.pasta_release = None;
            }),
        ),
        (
            "names",
            Grade::Warn,
            "--dns",
            Box::new(|f| f.nameservers.clear()),
        ),
        (
            "ping",
            Grade::Warn,
            "ping_group_range=0 2147483647",
            Box::new(|f| f.ping_groups = Some((1, 0))),
        ),
        (
            "limits",
            Grade::Warn,
            "Delegate=",
            Box::new(|f| f.cgroup.controllers = vec!["memory".into(), "pids".into()]),
        ),
        (
            "limits",
            Grade::Warn,
            "enable-linger",
            Box::new(|f| f.cgroup.base = None),
        ),
        (
            "limits",
            Grade::Warn,
            "unified",
            Box::new(|f| f.cgroup.version = Version::Hybrid),
        ),
        (
            "runtime-folder",
            Grade::Warn,
            "XDG_RUNTIME_DIR",
            Box::new(|f| f.runtime = "/tmp/coracle-1000".into()),
        ),
        (
            "logout",
            Grade::Warn,
            "sudo loginctl enable-linger dev",
            Box::new(|f| f.lingers = false),
        ),
        (
            "configuration",
            Grade::Fail,
            "correct",
            Box::new(|f| f.configuration = Some("/x: bad".into())),
        ),
        ("clock", Grade::Warn, "set-ntp", Box::new(|f| f.clock = 5)),
    ];
    for (name, grade, mend, change) in cases {
        let mut facts = good();
        change(&mut facts);
        let bad: Vec<Finding> = judge(&facts)
            .into_iter()
            .filter(|f| f.grade != Grade::Ok && f.name == name)
            .collect();
        assert_eq!(bad.len(), 1, "{name} {mend}");
        assert_eq!(bad[0].grade, grade, "{:?}", bad[0]);
        assert!(bad[0].costs.is_some(), "{:?}", bad[0]);
        let command = bad[0].mend.as_deref().unwrap_or_default();
        assert!(command.contains(mend), "{name}: {command}");
    }
}

#[test]
fn without_any_driver_or_id_nothing_is_said_twice() {
    let mut facts = good();
    for step in [Step::Ids, Step::Shifted] {
        facts.steps.insert(step, failed("one id"));
    }
    let names: Vec<_> = judge(&facts).iter().map(|f| f.name).collect();
    assert!(
        !names.contains(&"driver-shifted"),
        "it follows from the ids"
    );
    for step in [Step::Overlay, Step::Fuse, Step::Copy] {
        facts.steps.insert(step, failed("no"));
    }
    let report = super::super::Report {
        findings: judge(&facts),
    };
    assert!(!report.is_good());
    assert_eq!(report.count(Grade::Fail), 2);
}

#[test]
fn packages_are_installed_with_the_distributions_own_tool() {
    let cases = [
        ("ubuntu debian", false, "sudo apt-get install uidmap"),
        ("debian", true, "apt-get install uidmap"),
        ("fedora", false, "sudo dnf install shadow-utils"),
        ("arch", false, "sudo pacman -S shadow"),
        ("alpine", false, "sudo apk add shadow-uidmap"),
        (
            "opensuse-leap suse opensuse",
            false,
            "sudo zypper install shadow",
        ),
        ("unheard-of", false, "install the package shadow-utils"),
    ];
    for (distribution, is_root, expected) in cases {
        let mut facts = good();
        facts.distribution = distribution.into();
        facts.is_root = is_root;
        assert_eq!(install(&facts, "uidmap"), expected);
    }
}
