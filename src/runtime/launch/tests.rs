//! Real containers from a tree with busybox only.

use super::*;
use crate::config::dirs::Dirs;
use crate::runtime::exec::{ExecRequest, exec};
use crate::runtime::nested::{self, Owns};
use crate::runtime::userns::tests::in_child;
use crate::runtime::userns::{self, Want};
use crate::spec::idmap::IdMaps;
use crate::spec::runtime::{Capabilities, ConsoleSize, Mount, Process, Root, User};
use crate::sys::process::Identity;
use crate::sys::{mount, signal};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, result};

const BUSYBOX: &str = "/usr/bin/busybox";

/// A tree and everything around it, gone with the value.
struct Bench {
    temp: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        if !Path::new(BUSYBOX).exists() {
            return None;
        }
        let temp = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = temp.path().join("root");
        for dir in ["bin", "etc", "proc", "tmp", "data"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        // By another process: a writable descriptor of ours would be copied into other tests'
        // children, and the program be "busy".
        let copied = std::process::Command::new("cp")
            .arg(BUSYBOX)
            .arg(root.join("bin/busybox"))
            .status();
        assert!(copied.unwrap().success());
        for applet in [
            "sh", "cat", "id", "ls", "true", "sleep", "stat", "readlink", "grep", "tr", "hostname",
            "tty", "kill", "umount", "mount", "pwd", "touch", "stty", "ps", "env", "echo",
            "setsid",
        ] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        Some(Self { temp })
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    fn enter(&self) {
        let dirs = Dirs::new(self.temp.path().join("data"), self.temp.path().join("run"));
        userns::enter(&dirs, Want::Default).unwrap();
    }

    fn launch(&self, args: &[&str]) -> Launch {
        let path = std::ffi::CString::new(self.root().to_str().unwrap()).unwrap();
        Launch {
            spec: spec(args),
            rootfs: mount::clone_path(&path, true).unwrap(),
            join: Vec::new(),
            cgroup: None,
            nested: None,
            mounts: Vec::new(),
            stdio: Stdio::Null,
            seccomp: None,
            seccomp_flags: 0,
            init: false,
            preserve: Vec::new(),
            gate: None,
            manner: Manner::default(),
        }
    }

    /// Runs a script in a container made from `change`d settings: output and exit code.
    fn run(&self, script: &str, change: impl FnOnce(&mut Launch)) -> (String, i32) {
        let mut l = self.launch(&["sh", "-c", script]);
        change(&mut l);
        let (reader, writer) = fd::pipe().unwrap();
        if matches!(l.stdio, Stdio::Null) {
            l.stdio = Stdio::Fds([
                fd::null().unwrap(),
                writer.try_clone().unwrap(),
                writer.try_clone().unwrap(),
            ]);
        }
        drop(writer);
        let launched = match launch(l) {
            Ok(launched) => launched,
            Err(e) => return (e.one_line(), i32::from(e.asked_exit_code().unwrap_or(125))),
        };
        (read_all(reader), ended(&launched))
    }
}

fn ended(launched: &Launched) -> i32 {
    assert!(pidfd::wait_end(&launched.pidfd, Some(Duration::from_secs(20))).unwrap());
    pidfd::wait(&launched.pidfd).unwrap().code()
}

fn read_all(reader: OwnedFd) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(reader), &mut text).unwrap();
    text
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

fn at(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: Some(kind.into()),
        options: words(options),
        ..Mount::default()
    }
}

fn spec(args: &[&str]) -> Spec {
    let caps = words(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID",
    ]);
    let safe = ["nosuid", "noexec", "nodev"];
    Spec {
        process: Some(Process {
            cwd: "/".into(),
            env: words(&["PATH=/bin", "A=b"]),
            args: words(args),
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Capabilities::default()
            }),
            ..Process::default()
        }),
        root: Some(Root::default()),
        hostname: Some("box".into()),
        mounts: vec![
            at("/proc", "proc", &safe),
            at(
                "/dev",
                "tmpfs",
                &["nosuid", "noexec", "mode=755", "size=65536k"],
            ),
            at("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            at(
                "/dev/pts",
                "devpts",
                &[
                    "nosuid",
                    "noexec",
                    "newinstance",
                    "ptmxmode=0666",
                    "mode=0620",
                ],
            ),
            at(
                "/dev/shm",
                "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"],
            ),
            at("/dev/mqueue", "mqueue", &safe),
        ],
        linux: Some(Linux {
            namespaces: [
                NamespaceKind::Pid,
                NamespaceKind::Network,
                NamespaceKind::Ipc,
                NamespaceKind::Uts,
                NamespaceKind::Mount,
                NamespaceKind::Cgroup,
            ]
            .map(|kind| Namespace { kind, path: None })
            .into(),
            masked_paths: words(&["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/scsi"]),
            readonly_paths: words(&["/proc/sys", "/proc/sysrq-trigger"]),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn process(l: &mut Launch) -> &mut Process {
    l.spec.process.as_mut().unwrap()
}

/// Each test is one child process, which has one thread and enters the namespace.
fn bench(body: impl FnOnce(&Bench) -> result::Result<(), String>) {
    let Some(bench) = Bench::new() else {
        return;
    };
    in_child(|| {
        bench.enter();
        body(&bench)
    });
    // The holder goes with the record; its files are ours.
    drop(fs::remove_file(bench.temp.path().join("run/userns.json")));
}

#[test]
fn a_container_sees_its_own_world_only() {
    bench(|b| {
        let (out, code) = b.run(
            "echo pid $$; hostname; id -u; cat /proc/self/status | grep Cap; ls /proc/self/fd | wc -l; \
             ls / | tr '\\n' ' '; ls -l /dev/null /dev/fd; cat /proc/kcore | wc -c; \
             touch /proc/sys/x; ls /sys/firmware; env; exit 7",
            |_| {},
        );
        assert_eq!(code, 7, "{out}");
        for part in [
            "pid 1\n",
            "box\n",
            "A=b\n",
            "CapEff:\t00000000000000e3\n",
            "CapBnd:\t00000000000000e3\n",
            "CapAmb:\t0000000000000000\n",
            "/dev/fd -> /proc/self/fd",
            "1,   3",
        ] {
            assert!(out.contains(part), "{part:?} not in {out}");
        }
        assert!(
            !out.contains("CORACLE") && !out.contains("HOME=/r"),
            "{out}"
        );
        Ok(())
    });
}

#[test]
fn only_the_standard_descriptors_and_those_asked_for_are_open() {
    bench(|b| {
        // No pipeline, whose ends the shell has open for a moment; and not the last command, which
        // would replace the shell.
        let list = "ls /proc/1/fd; true";
        let (out, _) = b.run(list, |_| {});
        assert_eq!(out, "0\n1\n2\n");
        let (out, _) = b.run(&format!("echo hi >&4; {list}"), |l| {
            l.preserve = vec![Some(fd::null().unwrap()), Some(fd::null().unwrap())];
        });
        assert_eq!(out, "0\n1\n2\n3\n4\n");
        Ok(())
    });
}

#[test]
fn programs_that_cannot_run_have_their_exit_codes() {
    bench(|b| {
        fs::write(b.root().join("bin/text"), "x").unwrap();
        fs::write(b.root().join("bin/odd"), "not a program").unwrap();
        fs::set_permissions(b.root().join("bin/odd"), fs::Permissions::from_mode(0o755)).unwrap();
        for (args, expected, part) in [
            (&["nothing"][..], 127, "not found in $PATH"),
            (&["/bin/nothing"], 127, "no such file"),
            (&["/bin"], 126, "directory"),
            (&["/bin/text"], 126, "permission denied"),
            (&["/bin/odd"], 126, "not a program"),
            (&["/proc/self/exe"], 126, "forbidden link"),
        ] {
            let (out, code) = b.run("", |l| process(l).args = words(args));
            assert_eq!(code, expected, "{args:?}: {out}");
            assert!(out.contains(part), "{args:?}: {out}");
        }
        Ok(())
    });
}

#[test]
fn working_directories_are_made_or_refused() {
    bench(|b| {
        let (out, code) = b.run("pwd", |l| process(l).cwd = "/srv/new/dir".into());
        assert_eq!((out.as_str(), code), ("/srv/new/dir\n", 0));
        for bad in ["/proc/self/fd/7", "/proc/thread-self/cwd", "/bin/sh"] {
            let (out, code) = b.run("pwd", |l| process(l).cwd = bad.into());
            assert_eq!(code, 126, "{bad}: {out}");
        }
        Ok(())
    });
}

#[test]
fn mounts_are_made_with_their_options() {
    bench(|b| {
        let host = b.temp.path().join("host");
        fs::create_dir_all(host.join("sub")).unwrap();
        fs::write(host.join("f"), "host").unwrap();
        fs::write(b.root().join("data/image"), "image").unwrap();
        symlink("/data/deep", b.root().join("link")).unwrap();
        let (out, code) = b.run(
            "cat /mnt/f /file; touch /mnt/x; touch /rw/y && echo wrote; cat /data/image; \
             touch /data/z && echo up; ls -d /data/deep; grep ' /tmp ' /proc/mounts; \
             touch /no 2>&1",
            |l| {
                let host = host.to_str().unwrap();
                let bind = |destination: &str, source: &str, options: &[&str]| Mount {
                    destination: destination.into(),
                    kind: Some("bind".into()),
                    source: Some(source.into()),
                    options: words(options),
                    ..Mount::default()
                };
                l.spec.root = Some(Root {
                    readonly: true,
                    ..Root::default()
                });
                l.spec.mounts.extend([
                    bind("/mnt", host, &["rbind", "ro", "nosuid"]),
                    bind("/rw", host, &["rbind"]),
                    bind("/file", &format!("{host}/f"), &["bind", "ro"]),
                    bind("/link", host, &["rbind"]),
                    at("/data", "tmpfs", &["tmpcopyup", "size=1m"]),
                    at("/tmp", "tmpfs", &["size=2m", "noexec"]),
                ]);
            },
        );
        for part in [
            "hosthost",
            "wrote\n",
            "image",
            "up\n",
            "noexec",
            "size=2048k",
        ] {
            assert!(out.contains(part), "{part:?} not in {out} ({code})");
        }
        assert!(
            out.contains("/mnt/x: Read-only") && out.contains("/no: Read-only"),
            "{out}"
        );
        assert!(host.join("y").exists() && !host.join("x").exists());
        Ok(())
    });
}

#[test]
fn a_read_only_dev_still_has_its_nodes() {
    bench(|b| {
        let (out, code) = b.run("echo x >/dev/null && ls /dev; touch /dev/y 2>&1", |l| {
            l.spec.mounts[1].options.push("ro".into());
        });
        assert!(
            out.contains("urandom") && out.contains("Read-only"),
            "{out} {code}"
        );
        Ok(())
    });
}

#[test]
fn images_cannot_redirect_our_mounts() {
    bench(|b| {
        for (dir, expected) in [("proc", "/proc"), ("dev", "/dev"), ("sys", "/sys")] {
            let path = b.root().join(dir);
            drop(fs::remove_dir(&path));
            symlink("/tmp", &path).unwrap();
            let (out, code) = b.run("true", |_| {});
            assert!(code == 125 && out.contains(expected), "{dir}: {out}");
            fs::remove_file(&path).unwrap();
        }
        symlink("/proc/sys", b.root().join("evil")).unwrap();
        let (out, code) = b.run("true", |l| {
            l.spec.mounts.push(at("/evil/kernel", "tmpfs", &[]));
        });
        assert!(code == 125 && out.contains("kernel file system"), "{out}");
        let (out, code) = b.run("true", |l| {
            l.spec.mounts.push(at("/proc/sys", "tmpfs", &[]));
        });
        assert!(code == 125 && out.contains("must not be covered"), "{out}");
        Ok(())
    });
}

#[test]
fn a_terminal_comes_from_the_containers_own_devpts() {
    bench(|b| {
        let mut l = b.launch(&["sh", "-c", "tty; ls -l /dev/console; stty size; echo $-"]);
        l.stdio = Stdio::Pty {
            size: Some(ConsoleSize {
                height: 40,
                width: 100,
            }),
        };
        let launched = launch(l).unwrap();
        let master = launched.pty.as_ref().unwrap();
        let mut out = Vec::new();
        let mut buffer = [0; 512];
        // EIO ends it: the last slave is closed.
        while let Ok(n) = rustix::io::read(master, &mut buffer) {
            out.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(ended(&launched), 0);
        let out = String::from_utf8(out).unwrap();
        for part in ["/dev/pts/0", "40 100", "136,"] {
            assert!(out.contains(part), "{part:?} not in {out}");
        }
        Ok(())
    });
}

#[test]
fn a_user_loses_all_capabilities_and_owns_the_pipes() {
    bench(|b| {
        if userns::own_maps().unwrap().is_single() {
            return Ok(());
        }
        let (out, code) = b.run(
            "id; grep Cap /proc/self/status; grep NoNew /proc/self/status; echo x >/proc/self/fd/1",
            |l| {
                let p = process(l);
                p.user = User {
                    uid: 33,
                    gid: 34,
                    additional_gids: vec![35],
                    ..User::default()
                };
                p.no_new_privileges = true;
                if let Some(caps) = &mut p.capabilities {
                    caps.effective.clear();
                    caps.permitted.clear();
                }
            },
        );
        assert_eq!(code, 0, "{out}");
        for part in [
            "uid=33 gid=34 groups=35",
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapBnd:\t00000000000000e3",
            "NoNewPrivs:\t1",
            "x\n",
        ] {
            assert!(out.contains(part), "{part:?} not in {out}");
        }
        Ok(())
    });
}

#[test]
fn a_nested_user_namespace_keeps_the_callers_id_and_locks_the_mounts() {
    bench(|b| {
        let shared = userns::own_maps().unwrap();
        if shared.is_single() {
            return Ok(());
        }
        let maps = IdMaps::keep_id(&shared, 1000, 1000, Some(60000)).unwrap();
        let owns = Owns {
            net: true,
            ipc: true,
            uts: true,
        };
        let (out, code) = b.run(
            "id -u; cat /proc/self/uid_map; hostname; stat -c %u /dev /dev/shm; \
             umount /proc/sys 2>&1; grep -c . /proc/net/dev; cat /proc/sys/net/ipv4/ip_default_ttl; \
             stat -c '%U' /bin",
            |l| {
                let p = process(l);
                p.user.uid = 1000;
                p.user.gid = 1000;
                let linux = l.spec.linux.as_mut().unwrap();
                linux.namespaces.push(Namespace {
                    kind: NamespaceKind::User,
                    path: None,
                });
                linux
                    .sysctl
                    .insert("net.ipv4.ip_default_ttl".into(), "77".into());
                l.nested = Some(nested::create(&maps, owns).unwrap());
            },
        );
        assert_eq!(code, 0, "{out}");
        for part in [
            "1000\n",
            "      1000          0          1",
            "box\n",
            "0\n0\n",
            "77\n",
        ] {
            assert!(out.contains(part), "{part:?} not in {out}");
        }
        Ok(())
    });
}

#[test]
fn the_gate_holds_the_program_back() {
    bench(|b| {
        let path = b.temp.path().join("gate");
        let mut l = b.launch(&["sh", "-c", "exit 5"]);
        l.gate = Some(fd::listen_packets(&path).unwrap());
        let launched = launch(l).unwrap();
        assert!(!pidfd::wait_end(&launched.pidfd, Some(Duration::from_millis(50))).unwrap());
        open_gate(fd::connect_packets(&path).unwrap()).unwrap();
        assert_eq!(ended(&launched), 5);

        fs::remove_file(&path).unwrap();
        // A program that is not there is known of before the gate.
        let mut l = b.launch(&["nothing"]);
        l.gate = Some(fd::listen_packets(&path).unwrap());
        let e = launch(l).unwrap_err();
        assert_eq!(e.asked_exit_code(), Some(127));

        fs::remove_file(&path).unwrap();
        fs::write(b.root().join("bin/broken"), "#!").unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(b.root().join("bin/broken"), mode).unwrap();
        let mut l = b.launch(&["broken"]);
        l.gate = Some(fd::listen_packets(&path).unwrap());
        let launched = launch(l).unwrap();
        let e = open_gate(fd::connect_packets(&path).unwrap()).unwrap_err();
        assert_eq!(e.asked_exit_code(), Some(126));
        ended(&launched);
        Ok(())
    });
}

#[test]
fn exec_joins_everything_with_the_same_hardening() {
    bench(|b| {
        let launched = launch(b.launch(&["sleep", "60"])).unwrap();
        let target = Identity::of(launched.pid).unwrap();
        let run = |script: &str, stdio: Option<Stdio>, cwd: &str| {
            let (reader, writer) = fd::pipe().unwrap();
            let stdio = stdio.unwrap_or_else(|| {
                Stdio::Fds([
                    fd::null().unwrap(),
                    writer.try_clone().unwrap(),
                    writer.try_clone().unwrap(),
                ])
            });
            drop(writer);
            let process = Process {
                cwd: cwd.into(),
                args: words(&["sh", "-c", script]),
                env: words(&["PATH=/bin"]),
                ..Process::default()
            };
            let started = exec(ExecRequest {
                target: target.clone(),
                process,
                stdio,
                seccomp: None,
                seccomp_flags: 0,
                preserve: Vec::new(),
                cgroup: None,
                die_with_parent: true,
                keep_keyring: false,
                agent: None,
                groups: Vec::new(),
            });
            match started {
                Ok(started) => {
                    let mut out = read_all(reader);
                    if let Some(master) = &started.pty {
                        let mut buffer = [0; 512];
                        while let Ok(n) = rustix::io::read(master, &mut buffer) {
                            out.push_str(&String::from_utf8_lossy(&buffer[..n]));
                        }
                    }
                    (out, ended(&started))
                }
                Err(e) => (e.one_line(), i32::from(e.asked_exit_code().unwrap_or(125))),
            }
        };
        let (out, code) = run(
            "hostname; ps | grep -c 'sleep 60'; pwd; grep CapEff /proc/self/status; \
             ls /proc/$$/fd | tr '\\n' ' '; exit 3",
            None,
            "/bin",
        );
        assert_eq!(code, 3, "{out}");
        for part in ["box\n", "/bin\n", "CapEff:\t0000000000000000", "0 1 2 "] {
            assert!(out.contains(part), "{part:?} not in {out}");
        }
        let (out, code) = run("tty", Some(Stdio::Pty { size: None }), "/");
        assert_eq!((out.trim(), code), ("/dev/pts/0", 0));
        let (out, code) = run("true", None, "/none");
        assert_eq!(code, 126, "{out}");
        let (out, code) = run("true", None, "/proc/self/fd/5");
        assert_eq!(code, 126, "{out}");
        pidfd::send_signal(&launched.pidfd, libc::SIGKILL).unwrap();
        assert_eq!(ended(&launched), 137);
        assert!(run("true", None, "/").1 == 125);
        Ok(())
    });
}

#[test]
fn a_container_dies_with_its_parent() {
    bench(|b| {
        let (reader, writer) = fd::pipe().unwrap();
        let monitor = clone::fork_with(|| {
            let mut l = b.launch(&["sleep", "60"]);
            l.stdio = Stdio::Fds([
                fd::null().unwrap(),
                writer.try_clone().unwrap(),
                fd::null().unwrap(),
            ]);
            u8::from(launch(l).is_err())
        })
        .unwrap();
        drop(writer);
        assert_eq!(pidfd::wait(&monitor.pidfd).unwrap().code(), 0);
        assert!(fd::wait_readable(&reader, Some(Duration::from_secs(10))).unwrap());
        assert_eq!(read_all(reader), "");
        Ok(())
    });
}

#[test]
fn signals_are_not_inherited_blocked_or_ignored() {
    bench(|b| {
        signal::block(&signal::Set::of(&[libc::SIGTERM])).unwrap();
        signal::ignore(libc::SIGPIPE);
        let (out, _) = b.run("", |l| {
            process(l).args = words(&["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]);
        });
        assert_eq!(
            out,
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
        );
        Ok(())
    });
}

#[test]
fn namespaces_of_another_container_are_shared() {
    bench(|b| {
        let first = launch(b.launch(&["sleep", "60"])).unwrap();
        let (out, code) = b.run("ps; hostname", |l| {
            for (kind, ns) in [
                (NamespaceKind::Pid, Ns::Pid),
                (NamespaceKind::Uts, Ns::Uts),
                (NamespaceKind::Network, Ns::Net),
                (NamespaceKind::Ipc, Ns::Ipc),
            ] {
                l.join.push((
                    kind,
                    namespace::of(first.pidfd.as_fd(), first.pid, ns).unwrap(),
                ));
            }
        });
        assert!(code == 0 && out.contains("sleep 60"), "{out}");
        // Our own children are born here again.
        let next = clone::fork_with(|| 0).unwrap();
        assert!(next.pid > 1);
        pidfd::wait(&next.pidfd).unwrap();
        pidfd::send_signal(&first.pidfd, libc::SIGKILL).unwrap();
        ended(&first);
        Ok(())
    });
}
