//! `--security-opt`, each key by what it does.

use super::image;
use crate::support::World;

#[test]
fn each_option_does_what_it_says() {
    let world = World::new();
    image(&world, "base", &[], |tar| {
        for dir in ["etc", "opt", "opt/dir"] {
            crate::support::fixture::add_dir(tar, dir, 0o755);
        }
        crate::support::fixture::add_file(tar, "opt/file", 0o644, (0, 0), b"x");
        crate::support::fixture::add_file(tar, "opt/dir/file", 0o644, (0, 0), b"x");
    });
    let run = |options: &[&str], script: &str| {
        let mut args = vec!["run", "--rm", "--network", "none"];
        for option in options {
            args.extend(["--security-opt", option]);
        }
        args.extend(["base", "sh", "-c", script]);
        world.ok(&args)
    };
    // mask
    let see = "wc -c < /opt/file; ls /opt/dir";
    assert_eq!(run(&[], see), "1\nfile");
    assert_eq!(run(&["mask=/opt/file:/opt/dir"], see), "0");
    // unmask, with a pattern and for all
    let sealed = "grep -c ' /proc/sys ' /proc/mounts";
    assert_eq!(run(&[], sealed), "1");
    assert_eq!(
        run(&["unmask=/proc/sys"], &format!("{sealed} || true")),
        "0"
    );
    assert_eq!(
        run(
            &["unmask=ALL"],
            "grep -c -E ' /(proc|sys)/[a-z]+ ' /proc/mounts || true"
        ),
        "0"
    );
    assert_eq!(
        run(&["systempaths=unconfined"], &format!("{sealed} || true")),
        "0"
    );
    // proc-opts
    let others = "ls -d /proc/sys /proc/self/status 2>/dev/null || true";
    assert_eq!(run(&["proc-opts=subset=pid"], others), "/proc/self/status");
    let hidden = "grep -o -m 1 hidepid=invisible /proc/mounts";
    assert_eq!(run(&["proc-opts=hidepid=2"], hidden), "hidepid=invisible");
    // no-new-privileges, seccomp
    let field = |name: &str| format!("grep {name}: /proc/self/status | tr -dc 0-9");
    let field = |name: &str| field(name).replace("| tr -dc 0-9", "");
    assert!(run(&["no-new-privileges"], &field("NoNewPrivs")).ends_with('1'));
    assert!(run(&["no-new-privileges=false"], &field("NoNewPrivs")).ends_with('0'));
    assert!(run(&["seccomp=unconfined"], &field("Seccomp")).ends_with('0'));
    assert!(run(&["seccomp=builtin"], &field("Seccomp")).ends_with('2'));
    let profile = world.path().join("profile.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":5}]}"#,
    )
    .unwrap();
    let own = format!("seccomp={}", profile.display());
    assert_eq!(
        run(&[&own], "mkdir /x 2>&1 | grep -c -i 'input/output error'"),
        "1"
    );
    // apparmor and label: what changes nothing here passes
    assert_eq!(
        run(&["apparmor=unconfined", "label=disable"], "echo ran"),
        "ran"
    );
}

#[test]
fn what_this_host_cannot_do_is_refused_and_nothing_is_left() {
    let world = World::new();
    image(&world, "base", &[], |_| ());
    let missing = format!("seccomp={}", world.path().join("none.json").display());
    let mut cases = vec![
        ("label=type:container_t", "SELinux"),
        ("label=level:s0:c1,c2", "SELinux"),
        ("label=nested", "SELinux"),
        ("label=odd", "unknown label"),
        (missing.as_str(), "seccomp profile"),
        ("mask=relative", "not absolute"),
        ("unmask=relative", "absolute"),
        ("proc-opts=nosuch", "unknown option of proc"),
        ("no-new-privileges=maybe", "no-new-privileges"),
        ("nosuch=1", "known are"),
    ];
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        cases.push(("apparmor=docker-default", "AppArmor"));
    }
    for (option, says) in cases {
        let args = [
            "run",
            "--rm",
            "--network",
            "none",
            "--security-opt",
            option,
            "base",
            "true",
        ];
        let outcome = world.run(&args);
        assert_eq!(outcome.code, 125, "{option}: {outcome:?}");
        outcome.says(says);
        assert_eq!(world.ok(&["ps", "-aq"]), "", "{option}");
    }
}
