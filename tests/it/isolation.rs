//! What a container must not see or do (SECURITY.md; classes C, D, G, J and K of the threat model).

use crate::support::{World, fixture};

#[test]
fn a_container_has_namespaces_of_its_own() {
    let world = World::with_busybox();
    let script = "for n in user pid mnt net ipc uts cgroup; do readlink /proc/self/ns/$n; done";
    let inside = world.ok(&["run", "--rm", "busybox", "sh", "-c", script]);
    for (name, line) in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"]
        .iter()
        .zip(inside.lines())
    {
        let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(outside.to_str().unwrap(), line, "{name}");
    }
    assert_eq!(
        world.ok(&["run", "--rm", "busybox", "sh", "-c", "echo $$"]),
        "1"
    );
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "busybox",
            "ls",
            "/sys/class/net"
        ]),
        "lo"
    );
}

/// What a process holds open: paths below the world's folder by their last name, everything else
/// by its kind.
fn held(world: &World, pid: &str) -> Vec<String> {
    let mut all: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
        .map(|target| {
            if target.starts_with(world.path()) {
                return target.file_name().unwrap().to_string_lossy().into_owned();
            }
            let text = target.to_string_lossy().into_owned();
            // A pidfd is an anonymous file or, on newer kernels, one of a file system of its own.
            match text.strip_prefix("anon_inode:[") {
                Some(rest) => rest.trim_end_matches(']').to_owned(),
                None => text.split(":[").next().unwrap_or_default().to_owned(),
            }
        })
        .collect();
    all.sort();
    all
}

#[test]
fn the_monitor_holds_what_it_needs_and_nothing_else() {
    requires!("pasta");
    let world = World::with_busybox();
    // Standard streams, its loop, the signals, the control socket, the container's end, the log,
    // and the folder whose lock says that the upper layer is mounted.
    let always = [
        "/dev/null",
        "/dev/null",
        "/dev/null",
        "eventpoll",
        "signalfd",
        "pidfd",
        "log",
        "socket",
        "work",
    ];
    // The uplink's end and words, and what it takes to start another: the namespace and its routes.
    let uplink = ["pidfd", "/memfd:uplink (deleted)", "net", "socket"];
    let cases: [(&[&str], &[&str], &[&str]); 5] = [
        (&["--network", "none"], &["pipe", "pipe"], &[]),
        (&["--network", "host"], &["pipe", "pipe"], &[]),
        (&["--network", "none", "-i"], &["pipe", "pipe", "pipe"], &[]),
        (
            &["--network", "none", "-t"],
            &["/dev/pts/ptmx", "/dev/pts/ptmx"],
            &[],
        ),
        (
            &["--network", "pasta", "-v", "data:/data"],
            &["pipe", "pipe"],
            &uplink,
        ),
    ];
    for (flags, streams, network) in cases {
        let args = [&["run", "-d"], flags, &["busybox", "sleep", "100"]].concat();
        let id = world.ok(&args);
        let monitor = world.inspect(&id, "{{.State.ConmonPid}}");
        let mut expected: Vec<&str> = [&always[..], streams, network].concat();
        expected.sort_unstable();
        assert_eq!(held(&world, &monitor), expected, "{flags:?}");
    }
}

#[test]
fn the_first_process_has_only_the_descriptors_asked_for() {
    let world = World::with_busybox();
    let script = "ls /proc/self/fd; echo; ls -l /proc/1/fd >/dev/null; readlink /proc/1/cwd";
    // ls itself opens one more, to read the folder.
    assert_eq!(
        world.ok(&["run", "--rm", "busybox", "ls", "/proc/self/fd"]),
        "0\n1\n2\n3"
    );
    assert_eq!(
        world
            .ok(&["run", "--rm", "busybox", "sh", "-c", script])
            .lines()
            .last(),
        Some("/")
    );
    world.ok(&["run", "-d", "--name", "c", "busybox", "sleep", "100"]);
    assert_eq!(
        world.ok(&["exec", "c", "ls", "/proc/self/fd"]),
        "0\n1\n2\n3"
    );
    assert_eq!(world.ok(&["exec", "c", "ls", "/proc/1/fd"]), "0\n1\n2");
    // With a descriptor handed on there is that one more, and the shells' own are no part of it.
    let coracle = env!("CARGO_BIN_EXE_coracle");
    let line = format!(
        "exec 3</dev/null 9</dev/null; exec {coracle} run -d --name p --preserve-fds 1 busybox sleep 100"
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &line]);
    world.settle(&mut command);
    assert!(command.output().unwrap().status.success());
    assert_eq!(world.ok(&["exec", "p", "ls", "/proc/1/fd"]), "0\n1\n2\n3");
    // Nor does it know our binary.
    assert!(
        !world
            .ok(&["exec", "c", "readlink", "/proc/1/exe"])
            .contains("coracle")
    );
}

#[test]
fn capabilities_and_flags_are_the_default_set() {
    let world = World::with_busybox();
    let status = |args: &[&str]| {
        let mut all = vec!["run", "--rm"];
        all.extend_from_slice(args);
        all.extend_from_slice(&[
            "busybox",
            "grep",
            "-E",
            "^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|Seccomp|NoNewPrivs):",
            "/proc/self/status",
        ]);
        world.ok(&all)
    };
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name))
            .map(|v| v.trim().to_owned())
            .unwrap_or_default()
    };
    let default = status(&[]);
    // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot
    // setfcap
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(&default, set), "00000000800425fb", "{set} {default}");
    }
    assert_eq!(field(&default, "CapInh:"), "0000000000000000");
    assert_eq!(field(&default, "CapAmb:"), "0000000000000000");
    assert_eq!(field(&default, "Seccomp:"), "2");
    let none = status(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
    assert_eq!(field(&none, "CapBnd:"), "0000000000000000");
    assert_eq!(field(&none, "NoNewPrivs:"), "1");
    let one = status(&["--cap-drop", "all", "--cap-add", "cap_net_raw"]);
    assert_eq!(field(&one, "CapEff:"), "0000000000002000");
    let open = status(&["--security-opt", "seccomp=unconfined"]);
    assert_eq!(field(&open, "Seccomp:"), "0");
    world
        .run(&[
            "run",
            "--rm",
            "--cap-add",
            "CAP_NONSENSE",
            "busybox",
            "true",
        ])
        .code(125)
        .says("NONSENSE");
}

#[test]
fn the_kernel_s_knobs_are_out_of_reach() {
    let world = World::with_busybox();
    let script = r#"
        for f in /proc/sys/kernel/core_pattern /proc/sys/vm/overcommit_memory /proc/sysrq-trigger /proc/irq/default_smp_affinity; do
            [ -e $f ] || continue
            echo x 2>/dev/null > $f && echo "wrote $f"
        done
        touch /sys/x 2>/dev/null && echo "wrote /sys"
        mkdir /sys/fs/cgroup/x 2>/dev/null && echo "wrote cgroup"
        [ -s /proc/kcore ] && echo "kcore"
        [ "$(ls /proc/acpi /sys/firmware /proc/scsi 2>/dev/null | grep -v : | grep -c .)" = 0 ] || echo "masked folders are full"
        umount /proc/sys 2>/dev/null && echo "unmounted a read-only path"
        mount -t tmpfs none /tmp 2>/dev/null && echo "mounted"
        mount -o remount,rw /proc/sys 2>/dev/null && echo "remounted"
        echo end"#;
    assert_eq!(
        world.ok(&["run", "--rm", "busybox", "sh", "-c", script]),
        "end"
    );
}

#[test]
fn hostile_layouts_of_dev_proc_and_sys_are_refused_or_contained() {
    let world = World::new();
    let canary = world.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    for victim in ["dev", "proc", "sys", "dev/pts", "dev/shm", "etc", "run"] {
        let mut tar = tar::Builder::new(Vec::new());
        fixture::add_dir(&mut tar, "bin", 0o755);
        fixture::add_file(
            &mut tar,
            "bin/busybox",
            0o755,
            (0, 0),
            &std::fs::read("/bin/busybox").unwrap(),
        );
        fixture::add_link(&mut tar, tar::EntryType::Symlink, "bin/sh", "busybox");
        if victim.contains('/') {
            fixture::add_dir(&mut tar, "dev", 0o755);
        }
        fixture::add_link(
            &mut tar,
            tar::EntryType::Symlink,
            victim,
            canary.to_str().unwrap(),
        );
        let file = world.path().join("hostile.tar");
        std::fs::write(&file, tar.into_inner().unwrap()).unwrap();
        world.ok(&["import", "-q", file.to_str().unwrap(), "hostile"]);
        let out = world.run(&[
            "run",
            "--rm",
            "--network",
            "none",
            "hostile",
            "/bin/busybox",
            "sh",
            "-c",
            "echo ran",
        ]);
        assert!(
            out.code == 0 && out.stdout == "ran\n"
                || out.code == 125
                || out.code == 126
                || out.code == 127,
            "{victim}: {out:?}"
        );
        assert_eq!(
            std::fs::read_dir(&canary).unwrap().count(),
            0,
            "{victim}: something was written outside"
        );
        assert_eq!(world.ok(&["ps", "-aq"]), "");
    }
}

#[test]
fn a_working_directory_that_leads_outside_is_refused() {
    let world = World::with_busybox();
    for dir in [
        "/proc/self/fd/3",
        "/proc/self/fd/7",
        "/proc/thread-self/cwd/../../../..",
        "/proc/1/root",
    ] {
        let out = world.run(&["run", "--rm", "-w", dir, "busybox", "pwd"]);
        let harmless = out.code == 0 && !out.stdout.contains("unreachable");
        assert!(
            harmless || (125..=127).contains(&out.code),
            "{dir}: {out:?}"
        );
        let host = world.run(&[
            "run",
            "--rm",
            "-w",
            dir,
            "busybox",
            "ls",
            world.path().to_str().unwrap(),
        ]);
        assert_ne!(host.code, 0, "{dir} shows the host: {host:?}");
    }
}

#[test]
fn passwd_and_group_files_that_are_links_fifos_or_huge_do_no_harm() {
    let world = World::new();
    let secret = world.path().join("secret");
    std::fs::write(&secret, "evil:x:0:0::/:/bin/sh\n").unwrap();
    for kind in ["link", "fifo", "huge"] {
        let mut tar = tar::Builder::new(Vec::new());
        for dir in ["bin", "etc"] {
            fixture::add_dir(&mut tar, dir, 0o755);
        }
        fixture::add_file(
            &mut tar,
            "bin/busybox",
            0o755,
            (0, 0),
            &std::fs::read("/bin/busybox").unwrap(),
        );
        fixture::add_link(&mut tar, tar::EntryType::Symlink, "bin/id", "busybox");
        match kind {
            "link" => fixture::add_link(
                &mut tar,
                tar::EntryType::Symlink,
                "etc/passwd",
                secret.to_str().unwrap(),
            ),
            "fifo" => fixture::add_fifo(&mut tar, "etc/passwd"),
            _ => fixture::add_file(&mut tar, "etc/passwd", 0o644, (0, 0), &vec![b'x'; 40 << 20]),
        }
        let file = world.path().join("hostile.tar");
        std::fs::write(&file, tar.into_inner().unwrap()).unwrap();
        world.ok(&["import", "-q", file.to_str().unwrap(), "hostile"]);
        // A name can't be looked up there; a number needs no file.
        let named = world.run(&["run", "--rm", "--user", "evil", "hostile", "id", "-u"]);
        assert_eq!(named.code, 125, "{kind}: {named:?}");
    }
}

#[test]
fn environment_of_the_caller_stays_outside() {
    let world = World::with_busybox();
    let mut command = world.command(&["run", "--rm", "busybox", "env"]);
    let out = command
        .env("AWS_SECRET", "s3cret")
        .env("LD_PRELOAD", "")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        !text.contains("AWS_SECRET") && !text.contains("CORACLE"),
        "{text}"
    );
    let mut names: Vec<_> = text.lines().filter_map(|l| l.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "HOSTNAME", "PATH", "container"], "{text}");
}
