//! The server's life: killed while somebody writes; programs, mappings and databases on it; the
//! same container under other drivers.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Engine, Stage, inside, scratch};
use crate::support::World;

/// The server of this world's only container.
fn server(world: &World) -> Option<i32> {
    let ours = world.path().to_str().unwrap().to_owned();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let holds = || {
                std::fs::read_dir(entry.path().join("fd"))
                    .ok()?
                    .flatten()
                    .find(|fd| {
                        std::fs::read_link(fd.path())
                            .is_ok_and(|to| to.to_string_lossy().starts_with(&ours))
                    })
            };
            (comm.trim() == "coracle-fuse" && holds().is_some()).then_some(pid)
        })
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Some(found) = look() {
            return found;
        }
        coracle::sys::process::pause(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

fn upper(world: &World) -> PathBuf {
    let containers = world.data().join("containers");
    let mut found = std::fs::read_dir(containers).unwrap().flatten();
    found.next().unwrap().path().join("upper")
}

#[test]
fn the_same_container_runs_under_every_driver() {
    requires_subids!();
    let world = World::with_busybox();
    let script = "echo x >> /log; rm -f /bin/vi; mkdir -p /made/deep; echo y > /made/deep/file; \
                  ls /bin/vi 2>/dev/null; wc -l < /log; cat /made/deep/file; \
                  head -n1 /proc/mounts | cut -d' ' -f3";
    let said = world.ok(&[
        "--storage-driver",
        "fuse",
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(said.trim(), "1\ny\nfuse.coracle");
    let changes = world.ok(&["diff", "c"]);
    for (number, (driver, kind)) in [
        ("overlay", "overlay"),
        ("fuse", "fuse.coracle"),
        ("overlay", "overlay"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = world.ok(&["--storage-driver", driver, "start", "-a", "c"]);
        assert_eq!(said.trim(), format!("{}\ny\n{kind}", number + 2));
        assert_eq!(world.ok(&["diff", "c"]), changes, "{driver}");
    }
    // Committed, exported and copied out of by one driver, read by the other.
    for (driver, other) in [
        ("fuse", "overlay"),
        ("overlay", "fuse"),
        ("fuse-metadata", "fuse"),
    ] {
        world.ok(&["--storage-driver", driver, "commit", "-q", "c", driver]);
        let script = "grep -c x /log; cat /made/deep/file; test -e /bin/vi || echo gone";
        let run = [
            "run",
            "--rm",
            "--network",
            "none",
            driver,
            "sh",
            "-c",
            script,
        ];
        let said = world.ok(&[&["--storage-driver", other], &run[..]].concat());
        assert_eq!(said, "4\ny\ngone", "{driver}");
        let changes = world.ok(&["image", "diff", driver, "busybox"]);
        assert!(changes.contains("D /bin/vi"), "{driver}: {changes}");
        let read = format!(
            "set -e; p='{} --storage-driver {driver}'; $p cp c:/made/deep/file out; cat out; \
             $p export c | tar -tf - | grep -c made/deep/file; at=$($p mount c); cat $at/made/deep/file; \
             echo more >> $at/log; $p unmount c >/dev/null; $p cp c:/log out; tail -n1 out",
            env!("CARGO_BIN_EXE_coracle")
        );
        let said = world.ok(&["unshare", "sh", "-c", &read]);
        assert_eq!(said, "y\n1\ny\nmore", "{driver}");
    }
    // Read-only, other owners, and names and owners only.
    let owner = "id -u; stat -c %u /bin/busybox; touch /x; head -n1 /proc/mounts | cut -d' ' -f3";
    let mut all = Vec::new();
    for driver in ["overlay", "fuse", "fuse-metadata"] {
        let said = world.ok(&[
            "--storage-driver",
            driver,
            "run",
            "--rm",
            "--network",
            "none",
            "--userns",
            "keep-id",
            "--user",
            "0",
            "busybox",
            "sh",
            "-c",
            owner,
        ]);
        all.push(said.lines().take(2).map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(all, vec![["0", "0"].map(str::to_owned).to_vec(); 3]);
    let refused = world.run(&[
        "--storage-driver",
        "fuse",
        "run",
        "--rm",
        "--read-only",
        "--network",
        "none",
        "busybox",
        "touch",
        "/x",
    ]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("Read-only"), "{}", refused.stderr);
    wait_for("the end of all servers", || {
        server(&world).is_none().then_some(())
    });
}

#[test]
fn a_killed_server_loses_nothing_that_was_written() {
    requires_subids!();
    let world = World::with_busybox();
    world.ok(&["volume", "create", "v"]);
    let script =
        "i=0; while :; do i=$((i+1)); echo line $i >> /log || exit 9; echo $i > /v/last; done";
    world.ok(&[
        "--storage-driver",
        "fuse",
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        "-v",
        "v:/v",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let last = || -> Option<usize> {
        let text = std::fs::read_to_string(world.data().join("volumes/v/_data/last")).ok()?;
        text.trim().parse().ok()
    };
    wait_for("some lines", || last().filter(|n| *n > 200));
    let pid = wait_for("the server", || server(&world));
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_ne!(world.ok(&["wait", "c"]).trim(), "0");
    // What the volume says was written after the line in the root file system.
    let told = last().unwrap();
    let log = std::fs::read_to_string(upper(&world).join("log")).unwrap();
    assert!(
        log.lines().count() >= told,
        "{} lines of {told}",
        log.lines().count()
    );
    for (number, line) in log.lines().enumerate() {
        assert_eq!(line, format!("line {}", number + 1));
    }
    // The next start mounts anew and goes on.
    world.ok(&["--storage-driver", "fuse", "start", "c"]);
    wait_for("more lines", || {
        let log = std::fs::read_to_string(upper(&world).join("log")).ok()?;
        (log.lines().count() > told + 50).then_some(())
    });
    world.ok(&["rm", "-f", "c"]);
    wait_for("the end of the server", || {
        server(&world).is_none().then_some(())
    });
}

#[test]
#[ignore = "runs inside a user namespace, started by programs_mappings_and_databases_work"]
fn inner_programs() {
    let base = scratch("programs");
    let lower = base.join("lower");
    std::fs::create_dir(&lower).unwrap();
    std::fs::copy("/bin/true", lower.join("true")).unwrap();
    std::fs::write(lower.join("mapped"), vec![b'a'; 20_000]).unwrap();
    let mut folder = base.join("stage");
    for round in 0..2 {
        let stage = Stage::new(Engine::Ours, folder, std::slice::from_ref(&lower));
        let root = stage.root();
        let run = |path: PathBuf| Command::new(path).status().unwrap().success();
        assert!(run(root.join("true")), "a program of a lower layer");
        std::fs::copy(root.join("true"), root.join("copy")).unwrap();
        assert!(run(root.join("copy")), "a program of the upper");
        let script = r"
import mmap, os, sqlite3, sys
root = sys.argv[1]
with open(root + '/mapped', 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0)
    first = m[0:1] + m[-1:]
    m[0:5] = b'hello'
    m[-5:] = b'world'
    f2 = open(root + '/mapped', 'rb')
    assert f2.read(5) == b'hello', 'a mapping and a read agree'
    m.flush()
    m.close()
for mode in ['delete', 'wal']:
    db = sqlite3.connect(root + '/db-' + mode)
    db.execute('pragma journal_mode=' + mode)
    db.execute('create table if not exists t (n integer, x text)')
    for i in range(300):
        with db:
            db.execute('insert into t values (?, ?)', (i, 'x' * 200))
    other = sqlite3.connect(root + '/db-' + mode)
    print(mode, other.execute('select count(*), sum(length(x)) from t').fetchone(), other.execute('pragma integrity_check').fetchone()[0])
print(first)
";
        let out = Command::new("python3")
            .args(["-c", script])
            .arg(&root)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let rows = 300 * (round + 1);
        let wanted = format!(
            "delete ({rows}, {}) ok\nwal ({rows}, {}) ok\n",
            rows * 200,
            rows * 200
        );
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.starts_with(&wanted), "{said}");
        folder = stage.end();
        let written = std::fs::read(folder.join("upper/mapped")).unwrap();
        assert_eq!(
            (&written[..5], &written[19_995..]),
            (&b"hello"[..], &b"world"[..])
        );
    }
    assert_eq!(
        std::fs::read(lower.join("mapped")).unwrap(),
        vec![b'a'; 20_000]
    );
}

#[test]
fn programs_mappings_and_databases_work() {
    requires!("unshare", "newuidmap", "python3");
    inside("overlay::life::inner_programs");
}
