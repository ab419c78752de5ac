//! Flags of `run`, each with what a process inside sees of it.

use crate::support::World;

/// Runs `sh -c script` with flags and answers its output.
fn inside(world: &World, flags: &str, script: &str) -> String {
    let mut args = vec!["run", "--rm"];
    if !flags.contains("--network") {
        args.extend(["--network", "none"]);
    }
    args.extend(flags.split_whitespace());
    args.extend(["busybox", "sh", "-c", script]);
    world.ok(&args)
}

#[test]
fn the_process_is_as_the_flags_say() {
    let world = World::with_busybox();
    for (flags, script, want) in [
        ("-e A=1 -e B=", "echo $A,${B-unset}", "1,"),
        (
            "--unsetenv PATH",
            "/bin/sh -c 'echo ${container-unset}'",
            "oci",
        ),
        ("-w /tmp", "pwd", "/tmp"),
        ("-h box", "hostname; echo $HOSTNAME", "box\nbox"),
        ("-u 7:8 --group-add 9", "id -u; id -g; id -G", "7\n8\n8 9"),
        ("--umask 077", "umask", "0077"),
        (
            "--ulimit nofile=100:200",
            "ulimit -n; ulimit -Hn",
            "100\n200",
        ),
        ("--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500"),
        ("--entrypoint echo", "x", "sh -c x"),
        ("--tmpfs /x:size=1m,mode=700", "stat -c %a /x", "700"),
        (
            "--shm-size 1m",
            "df -k /dev/shm | tail -1 | awk '{print $2}'",
            "1024",
        ),
        (
            "--sysctl kernel.shmmax=12345",
            "cat /proc/sys/kernel/shmmax",
            "12345",
        ),
        (
            "--add-host a;b:1.2.3.4",
            "grep 1.2.3.4 /etc/hosts",
            "1.2.3.4\ta b",
        ),
        (
            "--read-only",
            "touch /x 2>/dev/null || touch /tmp/x && echo tmp",
            "tmp",
        ),
        (
            "--cap-drop ALL",
            "grep CapEff /proc/self/status",
            "CapEff:\t0000000000000000",
        ),
        (
            "-u 1 --cap-add net_bind_service",
            "grep CapAmb /proc/self/status",
            "CapAmb:\t0000000000000400",
        ),
        (
            "--security-opt no-new-privileges",
            "grep NoNew /proc/self/status",
            "NoNewPrivs:\t1",
        ),
        ("--security-opt mask=/etc/group", "wc -c < /etc/group", "0"),
        (
            "--security-opt unmask=ALL",
            "grep -c ' /proc/' /proc/self/mountinfo || true",
            "0",
        ),
        ("--init", "echo $$", "2"),
        ("--pid host", "test -d /proc/1 && echo host", "host"),
        (
            "--privileged",
            "grep Seccomp: /proc/self/status",
            "Seccomp:\t0",
        ),
        (
            "--network host",
            "ls -d /sys/class/net/lo",
            "/sys/class/net/lo",
        ),
    ] {
        let got = if flags.contains("--entrypoint") {
            let mut args = vec!["run", "--rm"];
            args.extend(flags.split(' '));
            args.extend(["busybox", "sh", "-c", script]);
            world.ok(&args)
        } else {
            inside(&world, flags, script)
        };
        assert_eq!(got, want, "{flags}");
    }
}

#[test]
fn files_of_the_caller_are_read() {
    let world = World::with_busybox();
    let dir = world.path().join("flags");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("env"), "# no\nA=from file\nHOME\n").unwrap();
    std::fs::write(dir.join("f"), "content").unwrap();
    let env_file = format!("--env-file={}", dir.join("env").display());
    let mount = format!("-v={}:/mnt:ro", dir.display());
    let cidfile = dir.join("cid");
    let cid = format!("--cidfile={}", cidfile.display());
    let script = "echo $A; cat /mnt/f; touch /mnt/g 2>/dev/null || echo ' sealed'";
    let args = [
        "run", &env_file, &mount, &cid, "busybox", "sh", "-c", script,
    ];
    assert_eq!(world.ok(&args), "from file\ncontent sealed");
    assert_eq!(std::fs::read_to_string(&cidfile).unwrap().trim().len(), 64);
    world.run(&args).code(125).says("exists");
}

#[test]
fn contradictions_end_with_125_and_a_sentence() {
    let world = World::new();
    for (flags, sentence) in [
        ("--rm --restart always", "contradict"),
        ("-d -a stdout", "contradict"),
        ("--gpus all", "CDI"),
        ("--network mynet", "later version"),
        ("--health-interval 5s", "later version"),
        ("--memory 1k", "less than 6m"),
        ("-v rel", "absolute path"),
        ("-p 1:2:3:4", "cannot publish"),
        ("--cap-add flying", "unknown capability"),
        ("--bogus", "unknown flag"),
    ] {
        let mut args = vec!["run"];
        args.extend(flags.split(' '));
        args.extend(["nothing", "true"]);
        world.run(&args).code(125).says(sentence);
    }
}
