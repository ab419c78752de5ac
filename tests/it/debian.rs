//! A real Debian image: thousands of files, set-uid programs, capabilities, hard links, device
//! nodes; what people do in it on the first day works.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::World;

/// A Debian root file system as a tar, made once for each target folder by mmdebstrap.
fn debian_tar() -> PathBuf {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = dir.join("debian-bookworm.tar");
        if !path.exists() {
            let fresh = dir.join(format!("debian-bookworm.{}.tar", std::process::id()));
            let out = Command::new("mmdebstrap")
                .args([
                    "--variant=minbase",
                    "--include=iputils-ping,libcap2-bin,python3-minimal",
                    "bookworm",
                ])
                .arg(&fresh)
                .output()
                .unwrap();
            assert!(
                out.status.success(),
                "mmdebstrap: {}",
                String::from_utf8_lossy(&out.stderr)
            );
            std::fs::rename(&fresh, &path).unwrap();
        }
        path
    })
    .clone()
}

#[test]
fn a_debian_image_works_as_on_a_machine_of_its_own() {
    requires!("mmdebstrap");
    requires_subids!();
    let world = World::new();
    world.ok(&[
        "import",
        "-q",
        "-c",
        r#"CMD ["bash"]"#,
        debian_tar().to_str().unwrap(),
        "debian",
    ]);

    // What makes an image more than files: owners, modes, links, nodes, attributes.
    let files: u64 = world
        .ok(&["run", "--rm", "debian", "sh", "-c", "find / -xdev | wc -l"])
        .parse()
        .unwrap();
    assert!(files > 4000, "{files} files");
    let modes = world.ok(&[
        "run",
        "--rm",
        "debian",
        "stat",
        "-c",
        "%a %u:%g %n",
        "/usr/bin/su",
        "/etc/shadow",
        "/tmp",
        "/var/mail",
    ]);
    assert_eq!(
        modes,
        "4755 0:0 /usr/bin/su\n640 0:42 /etc/shadow\n1777 0:0 /tmp\n2775 0:8 /var/mail"
    );
    let links = world.ok(&[
        "run",
        "--rm",
        "debian",
        "sh",
        "-c",
        "stat -c %h /usr/bin/perl /usr/bin/perl5.36.0",
    ]);
    assert_eq!(links, "2\n2", "hard links survive");
    let caps = world.ok(&["run", "--rm", "debian", "getcap", "/usr/bin/ping"]);
    assert_eq!(caps, "/usr/bin/ping cap_net_raw=ep");

    // Changing users, by set-uid and by the engine.
    assert_eq!(
        world.ok(&[
            "run", "--rm", "debian", "su", "nobody", "-s", "/bin/sh", "-c", "id -u"
        ]),
        "65534"
    );
    let back = "su daemon -s /bin/sh -c 'id -u; cat /proc/self/status | grep NoNewPrivs'";
    assert_eq!(
        world.ok(&["run", "--rm", "debian", "sh", "-c", back]),
        "1\nNoNewPrivs:\t0"
    );
    assert_eq!(
        world.ok(&[
            "run",
            "--rm",
            "--user",
            "games:mail",
            "debian",
            "sh",
            "-c",
            "id -u; id -g"
        ]),
        "5\n8"
    );
    world
        .run(&["run", "--rm", "--user", "nosuchuser", "debian", "true"])
        .code(125)
        .says("nosuchuser");

    // ping by file capability, as a plain user inside.
    world.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--user",
        "games",
        "debian",
        "ping",
        "-c1",
        "-W2",
        "127.0.0.1",
    ]);

    // Interpreters.
    assert_eq!(
        world.ok(&["run", "--rm", "debian", "perl", "-e", "print 6*7"]),
        "42"
    );
    let script = "import os, socket; print(os.getuid(), socket.gethostname())";
    assert_eq!(
        world.ok(&[
            "run", "--rm", "-h", "box", "debian", "python3", "-c", script
        ]),
        "0 box"
    );
}

#[test]
fn apt_installs_a_package_in_a_debian_image() {
    requires!("mmdebstrap");
    requires_subids!();
    let world = World::new();
    world.ok(&["import", "-q", debian_tar().to_str().unwrap(), "debian"]);
    // From Debian's own archive, over the caller's network.
    let script = "apt-get -qq update && apt-get -qq install -y --no-install-recommends hello >/dev/null 2>&1 && hello";
    let out = world
        .run(&[
            "run",
            "--network",
            "host",
            "--name",
            "apt",
            "debian",
            "bash",
            "-c",
            script,
        ])
        .ok();
    assert!(out.ends_with("Hello, world!"), "{out}");
    // What it installed is in the container, in a commit of it, and not in the image.
    let changes = world.ok(&["diff", "apt"]);
    assert!(changes.contains("A /usr/bin/hello"), "{changes}");
    world.ok(&["commit", "-q", "apt", "with-hello"]);
    assert_eq!(
        world.ok(&["run", "--rm", "with-hello", "hello"]),
        "Hello, world!"
    );
    world.run(&["run", "--rm", "debian", "hello"]).code(127);
}
