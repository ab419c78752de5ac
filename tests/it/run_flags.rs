//! Flags of `run`, each with what a process inside sees of it.

use crate::support::{Outcome, World};

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
            "--pid host --sysctl kernel.shmmax=12345",
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
fn what_a_systemd_inside_has_in_memory_has_the_size_that_is_asked_for() {
    let world = World::with_busybox();
    let flags = "--systemd always --shm-size-systemd 3m";
    let sizes = "grep -E ' /(run|run/lock|tmp|var/log/journal) ' /proc/mounts | grep -c size=3072k";
    assert_eq!(inside(&world, flags, sizes), "4");
    let read_only = "--systemd always --shm-size-systemd 3m --read-only";
    assert_eq!(inside(&world, read_only, sizes), "4");
    assert_eq!(
        inside(
            &world,
            "--systemd always",
            "grep -c size=3072k /proc/mounts || true"
        ),
        "0"
    );
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
        ("--network mynet:colour=red", "invalid option"),
        ("--health-cmd x --no-healthcheck", "contradict"),
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

/// As [`inside`], with variables of the caller.
fn with_env(world: &World, variables: &[(&str, &str)], flags: &str, script: &str) -> String {
    let mut args = vec!["run", "--rm", "--network", "none"];
    args.extend(flags.split_whitespace());
    args.extend(["busybox", "sh", "-c", script]);
    let mut command = world.command(&args);
    command.envs(variables.iter().copied());
    Outcome::of(&args, command.output().unwrap()).ok()
}

#[test]
fn the_nearest_source_of_a_variable_wins() {
    let world = World::with_busybox();
    let args = "import -q -c ENV=A=image -c ENV=P=/i fs.tar vars";
    std::fs::copy(
        crate::support::fixture::busybox_file(world.path()),
        world.path().join("fs.tar"),
    )
    .unwrap();
    world.ok(&args.split(' ').collect::<Vec<_>>());
    std::fs::write(world.path().join("file"), "B=file\nC=file\nD\n").unwrap();
    let conf = world.path().join("containers.conf");
    std::fs::write(&conf, "[containers]\nenv=['A=conf','E=conf']\n").unwrap();
    let host: Vec<(&str, &str)> = ["A", "B", "C", "D", "E"].map(|k| (k, "host")).to_vec();
    let run = |flags: &str, conf: &str| {
        let mut args = vec!["run", "--rm", "--network", "none"];
        args.extend(flags.split_whitespace());
        args.extend(["vars", "sh", "-c", "echo $A $B $C $D $E $P"]);
        let mut command = world.command(&args);
        command.env("CONTAINERS_CONF", conf);
        command.envs(host.iter().copied());
        Outcome::of(&args, command.output().unwrap()).ok()
    };
    assert_eq!(run("", "/dev/null"), "image /i");
    let conf = conf.to_str().unwrap();
    assert_eq!(run("", conf), "conf conf /i");
    let files = "--env-file file -e C=word --env-merge P=${P}:/more";
    assert_eq!(run(files, "/dev/null"), "image file word host /i:/more");
    let all = "--env-host --env-file file -e C=word -e E";
    assert_eq!(run(all, conf), "host file word host host /i");
    assert_eq!(
        run("--env-host --unsetenv A --env-host=false", conf),
        "conf /i"
    );
}

#[test]
fn accounts_are_added_for_whom_the_image_does_not_know() {
    requires_subids!();
    let world = World::with_busybox();
    let entry = "grep 4321 /etc/passwd /etc/group; echo $HOME";
    assert_eq!(
        inside(&world, "-u 4321:4321", entry),
        "/etc/passwd:4321:*:4321:4321:container user:/:/bin/sh\n\
         /etc/group:4321:x:4321:4321\n/"
    );
    assert_eq!(
        inside(
            &world,
            "-u 4321 --passwd=false",
            "grep -c 4321 /etc/passwd || true"
        ),
        "0"
    );
    let flags = "-u 4321:4321 -w /tmp --passwd-entry=$USERNAME:x:$UID:$GID:me:$HOME:/bin/false \
                 --group-entry=g$GROUPNAME:x:$GID:$USERLIST";
    assert_eq!(
        inside(&world, flags, "tail -n 1 /etc/passwd; tail -n 1 /etc/group"),
        "4321:x:4321:4321:me:/tmp:/bin/false\ng4321:x:4321:4321"
    );
    // The host's accounts: by name, by number, and not twice.
    let flags = "--hostuser daemon --hostuser 1 --hostuser root";
    let script =
        "grep -c daemon: /etc/passwd; grep -c ^root: /etc/passwd; grep ^daemon: /etc/passwd";
    let got = inside(&world, flags, script);
    assert!(
        got.starts_with("1\n1\ndaemon:*:1:1:daemon:/:/bin/sh"),
        "{got}"
    );
    world
        .run(&["run", "--hostuser", "no-such-user", "busybox", "true"])
        .code(125)
        .says("no-such-user");
    // Who keeps the id keeps the name.
    let name = String::from_utf8(
        std::process::Command::new("id")
            .arg("-un")
            .output()
            .unwrap()
            .stdout,
    );
    let name = name.unwrap().trim().to_owned();
    let home = format!(
        "-v {0}:{0} --userns keep-id",
        world.path().join("home").display()
    );
    let got = inside(&world, &home, "id -un; echo $HOME; id -gn");
    assert_eq!(
        got,
        format!("{name}\n{}\n{name}", world.path().join("home").display())
    );
}

#[test]
fn time_names_and_proxies_of_the_caller_are_taken_or_left() {
    let world = World::with_busybox();
    for (flags, script, want) in [
        ("--tz Europe/Berlin", "date -d @0 +%H:%M", "01:00"),
        ("--tz local", "test -s /etc/localtime && echo zone", "zone"),
        ("--umask 027", "umask; touch /x; stat -c %a /x", "0027\n640"),
        ("", "umask", "0022"),
        (
            "--no-hostname",
            "test -s /etc/hostname || echo none",
            "none",
        ),
        ("-h web", "cat /etc/hostname", "web"),
        ("--kernel-memory 1g", "echo taken", "taken"),
        ("--log-driver passthrough-tty", "echo seen", "seen"),
        (
            "--ulimit core=0 --ulimit nproc=100:200",
            "ulimit -c; ulimit -u; ulimit -Hu",
            "0\n100\n200",
        ),
        (
            "--ulimit nofile=100 --ulimit nofile=90:95",
            "ulimit -n; ulimit -Hn",
            "90\n95",
        ),
        (
            "--read-only",
            "touch /run/x /tmp/x /var/tmp/x /dev/shm/x; touch /etc/x 2>/dev/null || echo sealed",
            "sealed",
        ),
        (
            "--read-only --read-only-tmpfs=false",
            "for d in / /tmp /run /dev /dev/shm; do touch $d/x 2>/dev/null && echo $d; done; true",
            "",
        ),
        (
            "--device /dev/full:/dev/mine:rw",
            "echo x 2>/dev/null >/dev/mine || stat -c %t:%T /dev/mine",
            "1:7",
        ),
        ("--init", "cat /proc/1/comm", "coracle-init"),
        (
            "--systemd=always",
            "for m in /run /run/lock /tmp; do grep -c \" $m tmpfs\\| $m .* tmpfs \" /proc/self/mountinfo; done; test -n \"$container_uuid\" && echo uuid",
            "1\n1\n1\nuuid",
        ),
        (
            "--systemd=false",
            "grep -c ' /run/lock ' /proc/self/mountinfo || true",
            "0",
        ),
    ] {
        assert_eq!(inside(&world, flags, script), want, "{flags}");
    }
    let proxy = [("http_proxy", "http://p:1"), ("NO_PROXY", "x")];
    let script = "echo $http_proxy,$NO_PROXY";
    assert_eq!(with_env(&world, &proxy, "", script), "http://p:1,x");
    assert_eq!(with_env(&world, &proxy, "--http-proxy=false", script), ",");
    for (flags, sentence) in [
        ("--tz No/Where", "No/Where"),
        ("--umask 999", "octal"),
        ("--device /dev/none", "/dev/none"),
        ("--systemd sometimes", "sometimes"),
        ("--ulimit frob=1", "frob"),
        ("--passwd-entry a\nb", "one line"),
    ] {
        let mut args = vec!["run", "--rm", "--network", "none"];
        args.extend(flags.split(' '));
        args.extend(["busybox", "true"]);
        world.run(&args).code(125).says(sentence);
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_false_flag_overrides_the_file() {
    let world = World::with_busybox();
    let conf = world.path().join("c.conf");
    let text =
        "[containers]\ninit=true\nread_only=true\nprivileged=true\nenv_host=true\nno_hosts=true\n";
    std::fs::write(&conf, text).unwrap();
    let over = world.path().join("over.conf");
    std::fs::write(&over, "[containers]\ntz='Europe/Berlin'\n").unwrap();
    let variables = [
        ("CONTAINERS_CONF", conf.to_str().unwrap()),
        ("CONTAINERS_CONF_OVERRIDE", over.to_str().unwrap()),
        ("MARK", "here"),
    ];
    let script = "cat /proc/1/comm; touch /x 2>/dev/null && echo writable; \
                  grep Seccomp: /proc/self/status; echo $MARK; test -s /etc/hosts && echo hosts; date -d @0 +%H";
    assert_eq!(
        with_env(&world, &variables, "", script),
        "coracle-init\nSeccomp:\t0\nhere\n01"
    );
    let flags = "--init=false --read-only=false --privileged=false --env-host=false --no-hosts=false --tz UTC";
    assert_eq!(
        with_env(&world, &variables, flags, script),
        "sh\nwritable\nSeccomp:\t2\n\nhosts\n00"
    );
}

#[test]
fn descriptors_images_and_names_are_handed_on_as_asked() {
    let world = World::with_busybox();
    // Descriptors.
    std::fs::write(world.path().join("three"), "three\n").unwrap();
    std::fs::write(world.path().join("four"), "four\n").unwrap();
    let script = format!(
        "exec {} run --rm --network none --preserve-fds 2 busybox sh -c 'cat <&3; cat <&4' 3<three 4<four",
        env!("CARGO_BIN_EXE_coracle")
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]);
    world.settle(&mut shell);
    let got = Outcome::of(&[&script], shell.output().unwrap());
    assert_eq!(got.ok(), "three\nfour");
    // Under their own numbers, and none between them.
    let script = format!(
        "exec {} run --rm --network none --preserve-fd 9,5 --preserve-fd 8 busybox \
         sh -c 'cat <&9; cat <&5; ls /proc/self/fd' 4<four 5<four 7<three 9<three 8</dev/null",
        env!("CARGO_BIN_EXE_coracle")
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]);
    world.settle(&mut shell);
    let got = Outcome::of(&[&script], shell.output().unwrap());
    // 3 is the folder that ls reads.
    assert_eq!(got.ok(), "three\nfour\n0\n1\n2\n3\n5\n8\n9");
    for (flags, says) in [
        ("--preserve-fd 7", "descriptor 7"),
        ("--preserve-fd 2", "2 is not in 3..1024"),
        ("--preserve-fd 4 --preserve-fds 1", "cannot be used with"),
    ] {
        let args: Vec<&str> = ["run"]
            .into_iter()
            .chain(flags.split(' '))
            .chain(["busybox"])
            .collect();
        world.run(&args).code(125).says(says);
    }
    world
        .run(&["run", "--preserve-fds", "1", "busybox", "true"])
        .code(125)
        .says("descriptor 3");
    // Images.
    let none = ["run", "--network", "none"];
    world.ok(&["import", "-q", "busybox.tar", "once"]);
    world.ok(&[&none[..], &["--rmi", "once", "true"]].concat());
    world.run(&["image", "exists", "once"]).code(1);
    world.ok(&[&none[..], &["--name", "user", "busybox", "true"]].concat());
    world.ok(&[&none[..], &["--rmi", "busybox", "true"]].concat());
    world.run(&["image", "exists", "busybox"]).code(0);
    // Names.
    let run = [&none[..], &["-d", "--name", "n"]].concat();
    let first = world.ok(&[&run[..], &["busybox", "sleep", "300"]].concat());
    let script = format!(
        "exec {} exec --preserve-fd 6 n sh -c 'cat <&6; ls /proc/self/fd' 4<four 6<four",
        env!("CARGO_BIN_EXE_coracle")
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]);
    world.settle(&mut shell);
    let got = Outcome::of(&[&script], shell.output().unwrap());
    assert_eq!(got.ok(), "four\n0\n1\n2\n3\n6");
    world
        .run(&[&run[..], &["busybox", "sleep", "300"]].concat())
        .code(125)
        .says("\"n\"");
    let second = world.ok(&[&run[..], &["--replace", "busybox", "sleep", "300"]].concat());
    assert_ne!(first, second);
    assert_eq!(world.ok(&["ps", "-q", "--no-trunc"]), second);
    world
        .run(&["run", "--replace", "busybox"])
        .code(125)
        .says("--name");
    // Labels.
    std::fs::write(world.path().join("labels"), "# no\na=1\nb\n").unwrap();
    let id = world.ok(&["create", "--label-file", "labels", "-l", "a=2", "busybox"]);
    assert_eq!(
        world.inspect(&id, "{{json .Config.Labels}}"),
        r#"{"a":"2","b":""}"#
    );
}

#[test]
fn time_runs_out() {
    let world = World::with_busybox();
    let started = std::time::Instant::now();
    let args = [
        "run",
        "--timeout",
        "1",
        "--network",
        "none",
        "busybox",
        "sleep",
        "300",
    ];
    world.run(&args).code(137);
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn an_interrupt_goes_to_the_container_or_stops_at_the_command() {
    let world = World::with_busybox();
    let script = "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let send = |pid: u32, signal: i32| {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    };
    for proxied in [true, false] {
        let flag = format!("--sig-proxy={proxied}");
        let args = ["run", "--name", "c", "--network", "none", &flag];
        let mut child = world.spawn(&[&args[..], &["busybox", "sh", "-c", script]].concat());
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        send(child.id(), 2);
        let status = child.wait().unwrap();
        if proxied {
            assert_eq!(status.code(), Some(5));
            assert_eq!(lines.next().unwrap().unwrap(), "got");
        } else {
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(&status),
                Some(2)
            );
            assert_eq!(world.inspect("c", "{{.State.Status}}"), "running");
        }
        world.ok(&["rm", "-f", "-t", "0", "c"]);
    }
}

#[test]
fn a_program_may_be_told_that_the_machine_has_32_bits() {
    let world = World::with_busybox();
    let read = "cat /proc/self/personality 2>/dev/null || echo hidden";
    let persona = |flags: &str| inside(&world, flags, read);
    assert_eq!(
        persona("--security-opt unmask=ALL --personality LINUX32"),
        "00000008"
    );
    assert_eq!(
        persona("--security-opt unmask=ALL --personality LINUX"),
        "00000000"
    );
    world
        .run(&["run", "--personality", "BSD", "busybox"])
        .code(125)
        .says("LINUX32");
}
