//! `build` as a whole: the cache, builds at the same time, what a killed one leaves, contexts,
//! results, and what never gets anywhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::http::{Answer, serve};
use crate::support::hub::{Hub, Rules};
use crate::support::peer::wait_for;
use crate::support::{Outcome, World};

/// A context below the world's folder.
pub fn context(world: &World, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = world.path().join(name);
    for (path, text) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

pub fn build(world: &World, dir: &Path, more: &[&str]) -> Outcome {
    let mut args = vec!["build", "--progress=plain"];
    args.extend(more);
    let dir = dir.to_str().unwrap();
    args.push(dir);
    world.run(&args)
}

fn set_old(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::open(path)
        .unwrap()
        .set_modified(old)
        .unwrap();
}

pub fn count(outcome: &Outcome, word: &str) -> usize {
    outcome.stderr.matches(word).count()
}

#[test]
fn a_rebuild_takes_every_step_from_the_cache_and_is_the_same_image() {
    let world = World::with_busybox();
    let text = "FROM busybox\nENV A=1\nRUN echo $A > /a\nCOPY f /f\nWORKDIR /w\nRUN cat /f > g\n";
    let dir = context(&world, "c", &[("Dockerfile", text), ("f", "one")]);
    let first = build(&world, &dir, &["-t", "a"]).code(0);
    assert_eq!(count(&first, " CACHED"), 0, "{}", first.stderr);
    let again = build(&world, &dir, &["-t", "a"]).code(0);
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(count(&again, " CACHED"), 4, "{}", again.stderr);
    // Times do not count.
    set_old(&dir.join("f"));
    assert_eq!(build(&world, &dir, &[]).code(0).stdout, first.stdout);
    // Content does, and what follows it.
    std::fs::write(dir.join("f"), "two").unwrap();
    let changed = build(&world, &dir, &[]).code(0);
    assert_eq!(count(&changed, " CACHED"), 1, "{}", changed.stderr);
    assert_ne!(changed.stdout, first.stdout);
    // So do modes.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir.join("f"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(count(&build(&world, &dir, &[]).code(0), " CACHED"), 1);
    // Arguments that a step sees belong to its key; another image shares what is the same.
    let text = "FROM busybox\nENV A=1\nRUN echo $A > /a\nARG B=1\nRUN true\n";
    let other = context(&world, "d", &[("Dockerfile", text)]);
    assert_eq!(count(&build(&world, &other, &[]).code(0), " CACHED"), 1);
    let told = build(&world, &other, &["--build-arg=B=2", "--why"]).code(0);
    assert_eq!(count(&told, " CACHED"), 1);
    assert!(told.stderr.contains("why: args was"), "{}", told.stderr);
    let none = build(&world, &other, &["--no-cache"]).code(0);
    assert_eq!(count(&none, " CACHED"), 0, "{}", none.stderr);
    let text = "FROM busybox AS x\nRUN true\nFROM x AS y\nRUN :\n";
    let stages = context(&world, "e", &[("Dockerfile", text)]);
    build(&world, &stages, &[]).code(0);
    let one = build(&world, &stages, &["--no-cache-filter=y"]).code(0);
    assert_eq!(count(&one, " CACHED"), 1, "{}", one.stderr);
}

#[test]
fn independent_stages_run_side_by_side() {
    let world = World::with_busybox();
    // Each waits for the other: one after the other they would wait in vain.
    let meet = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,id=meet,target=/m touch /m/{own}; for i in $(seq 300); do \
             test -e /m/{other} && exit 0; usleep 100000; done; exit 1"
        )
    };
    let text = format!(
        "FROM busybox AS a\n{}\nFROM busybox AS b\n{}\nFROM busybox\nCOPY --from=a /etc/group /1\nCOPY --from=b /etc/group /2\n",
        meet("a", "b"),
        meet("b", "a")
    );
    let dir = context(&world, "c", &[("Dockerfile", &text)]);
    build(&world, &dir, &["--jobs=2"]).code(0);
}

#[test]
fn the_same_step_of_two_stages_runs_once_even_without_the_cache() {
    let world = World::with_busybox();
    let run = "RUN --mount=type=cache,id=log,target=/l echo ran >> /l/log; sleep 1";
    let text = format!(
        "FROM busybox AS a\n{run}\nFROM busybox AS b\n{run}\nFROM busybox\n\
         COPY --from=a /etc/group /1\nCOPY --from=b /etc/group /2\n"
    );
    let dir = context(&world, "c", &[("Dockerfile", &text)]);
    let ran = || -> usize {
        let mounts = std::fs::read_dir(world.data().join("store/build/mounts")).unwrap();
        let mut logs = mounts.map(|e| e.unwrap().path().join("log"));
        let log = logs.find(|p| p.exists()).unwrap();
        std::fs::read_to_string(log).unwrap().lines().count()
    };
    build(&world, &dir, &["--jobs=2"]).code(0);
    assert_eq!(ran(), 1);
    build(&world, &dir, &["--jobs=2", "--no-cache"]).code(0);
    assert_eq!(ran(), 2);
    build(&world, &dir, &["--jobs=2"]).code(0);
    assert_eq!(ran(), 2);
}

#[test]
fn builds_at_the_same_time_run_a_step_once() {
    let world = World::with_busybox();
    let text = "FROM busybox\nRUN --mount=type=cache,id=log,target=/l echo ran >> /l/log; sleep 1; echo x > /x\n\
                RUN echo y > /y\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    let builds: Vec<_> = (0..4)
        .map(|n| world.spawn(&["build", "-t", &format!("n{n}"), dir.to_str().unwrap()]))
        .collect();
    let ids: Vec<String> = builds
        .into_iter()
        .map(|b| Outcome::of(&["build"], b.wait_with_output().unwrap()).ok())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let look =
        "FROM busybox\nRUN --mount=type=cache,id=log,target=/l wc -l < /l/log > /n && cat /n\n";
    let dir = context(&world, "d", &[("Dockerfile", look)]);
    let said = build(&world, &dir, &["--no-cache"]).code(0);
    assert!(said.stderr.contains(" 1\n"), "{}", said.stderr);
}

#[test]
fn a_killed_build_leaves_nothing_but_cache() {
    let world = World::with_busybox();
    let text = "FROM busybox\nRUN echo kept > /kept\nRUN --mount=type=cache,id=s,target=/s touch /s/on; sleep 1000\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    let mut child = world.spawn(&["build", "--progress=plain", dir.to_str().unwrap()]);
    let mounts = world.data().join("store/build/mounts");
    wait_for("the step to run", || {
        std::fs::read_dir(&mounts)
            .is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| e.path().join("on").exists())))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    // Its workers and their containers end with it.
    let staging = world.data().join("store/staging");
    let left = || -> Vec<PathBuf> {
        let list = std::fs::read_dir(&staging).unwrap();
        list.map(|e| e.unwrap().path()).collect()
    };
    wait_for("the locks to be gone", || {
        left()
            .iter()
            .all(|p| std::fs::File::open(p).is_ok_and(|f| f.try_lock().is_ok()))
    });
    assert!(!left().is_empty(), "nothing was under way");
    for path in left() {
        set_old(&path);
    }
    let text = "FROM busybox\nRUN echo kept > /kept\n";
    let dir = context(&world, "d", &[("Dockerfile", text)]);
    let next = build(&world, &dir, &[]).code(0);
    assert_eq!(count(&next, " CACHED"), 1, "{}", next.stderr);
    assert_eq!(left(), Vec::<PathBuf>::new());
    assert!(world.ok(&["ps", "-aq"]).is_empty());
    let runtime = world.runtime().join("build");
    assert!(std::fs::read_dir(runtime).map_or(0, Iterator::count) == 0);
}

#[test]
fn a_signal_ends_a_build_and_all_that_it_started() {
    let world = World::with_busybox();
    let text = "FROM busybox\nRUN --mount=type=cache,id=s,target=/s touch /s/on; sleep 1000\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    let child = world.spawn(&["build", "--progress=plain", dir.to_str().unwrap()]);
    let mounts = world.data().join("store/build/mounts");
    wait_for("the step to run", || {
        std::fs::read_dir(&mounts)
            .is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| e.path().join("on").exists())))
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = Outcome::of(&["build"], child.wait_with_output().unwrap()).code(130);
    assert!(ended.stderr.contains("CANCELED"), "{}", ended.stderr);
    let left = std::fs::read_dir(world.data().join("store/staging")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let text = "FROM busybox\nRUN mkdir /d && echo x > /d/x && ln -s x /d/l\nCOPY . /c\nWORKDIR /w\nENV A=b\n";
    let built = |more: &[&str]| {
        let world = World::with_busybox();
        let dir = context(&world, "c", &[("Dockerfile", text), ("f", "f")]);
        // The base's own time is not the build's business.
        let mut args = vec!["--from=scratchy"];
        args.extend(more);
        world.ok(&[
            "import",
            "-q",
            world.path().join("busybox.tar").to_str().unwrap(),
            "scratchy",
        ]);
        let id = build(&world, &dir, &args).code(0).stdout;
        world.inspect(id.trim(), "{{json .RootFS.Layers}}")
    };
    let fixed = ["--timestamp=1700000000"];
    assert_eq!(built(&fixed), built(&fixed));
    let world = World::with_busybox();
    let dir = context(&world, "c", &[("Dockerfile", text), ("f", "f")]);
    let args = ["--source-date-epoch=1700000000", "--rewrite-timestamp"];
    let id = build(&world, &dir, &args).code(0).stdout;
    assert_eq!(
        world.inspect(id.trim(), "{{.Created}}").get(..10),
        Some("2023-11-14")
    );
    let again = build(&world, &dir, &[&args[..], &["--no-cache"]].concat()).code(0);
    assert_eq!(again.stdout, id, "built anew");
}

#[test]
fn results_go_where_the_output_says() {
    let world = World::with_busybox();
    let dir = context(
        &world,
        "c",
        &[
            ("Dockerfile", "FROM scratch\nCOPY f /sub/f\n"),
            ("f", "text"),
        ],
    );
    let out = world.path().join("out");
    build(&world, &dir, &["-o", out.to_str().unwrap()]).code(0);
    assert_eq!(std::fs::read_to_string(out.join("sub/f")).unwrap(), "text");
    let tar = world
        .command(&["build", "-q", "-o", "-", dir.to_str().unwrap()])
        .output()
        .unwrap();
    let mut archive = tar::Archive::new(&tar.stdout[..]);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.iter().any(|n| n.trim_matches('/') == "sub/f"),
        "{names:?}"
    );
    for form in ["oci", "docker"] {
        let file = world.path().join(form);
        let output = format!("type={form},dest={}", file.display());
        let id = build(&world, &dir, &["-t", "made", "-o", &output])
            .code(0)
            .stdout;
        let other = World::new();
        other.ok(&["load", "-q", "-i", file.to_str().unwrap()]);
        let there = other.ok(&["images", "-q", "--no-trunc"]);
        assert!(there.contains(id.trim()), "{there} {id}");
    }
    let iid = world.path().join("iid");
    let meta = world.path().join("meta");
    let files = [
        format!("--iidfile={}", iid.display()),
        format!("--metadata-file={}", meta.display()),
    ];
    let id = build(&world, &dir, &["-t", "made", &files[0], &files[1]])
        .code(0)
        .stdout;
    assert_eq!(
        std::fs::read_to_string(iid).unwrap(),
        format!("sha256:{}", id.trim())
    );
    let meta: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(meta).unwrap()).unwrap();
    assert_eq!(meta["image.name"], "localhost/made:latest");
    assert!(
        meta["containerimage.digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    for (bad, why) in [
        ("type=what,dest=x", "unknown type"),
        ("type=tar", "dest is missing"),
    ] {
        build(&world, &dir, &["-o", bad]).code(125).says(why);
    }
}

#[test]
fn an_image_is_pushed_right_away() {
    let (world, hub) = (World::with_busybox(), Hub::start(Rules::default()));
    let dir = context(
        &world,
        "c",
        &[("Dockerfile", "FROM busybox\nRUN echo x > /x\n")],
    );
    let name = hub.image("made:1");
    build(&world, &dir, &["-t", &name, "--push"]).code(0);
    let other = World::new();
    other.ok(&["pull", "-q", &name]);
    let said = other.ok(&["run", "--rm", "--network=none", &name, "cat", "/x"]);
    assert_eq!(said, "x");
    build(&world, &dir, &["--push"])
        .code(125)
        .says("without a name");
}

#[test]
fn contexts_come_from_pipes_servers_and_repositories() {
    let world = World::with_busybox();
    let text = "FROM scratch\nCOPY f /f\n";
    let mut tar = tar::Builder::new(Vec::new());
    crate::support::fixture::add_file(&mut tar, "Dockerfile", 0o644, (7, 7), text.as_bytes());
    crate::support::fixture::add_file(&mut tar, "f", 0o600, (7, 7), b"from the tar");
    let tar = tar.into_inner().unwrap();
    let gzip = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let content = |id: &str| {
        let out = world.path().join(format!("out-{}", &id[..12]));
        let dir = context(&world, "look", &[("Dockerfile", "FROM x\n")]);
        let from = format!("--from={}", id.trim());
        build(&world, &dir, &[&from, "-o", out.to_str().unwrap()]).code(0);
        std::fs::read_to_string(out.join("f")).unwrap()
    };
    for bytes in [&tar, &gzip] {
        let id = world.run_with(&["build", "-q", "-"], bytes).code(0).stdout;
        assert_eq!(content(&id), "from the tar");
    }
    // What -f names is in the tar, whatever lies here.
    let elsewhere = context(&world, "elsewhere", &[("Dockerfile", "FROM x\n")]);
    std::fs::write(world.path().join("context.tar"), &tar).unwrap();
    let args = ["build", "-q", "-f", "Dockerfile", "-"];
    let out = world
        .command(&args)
        .current_dir(elsewhere)
        .stdin(std::fs::File::open(world.path().join("context.tar")).unwrap())
        .output();
    let out = crate::support::world::Outcome::of(&args, out.unwrap()).code(0);
    assert_eq!(content(&out.stdout), "from the tar");
    world
        .run_with(&["build", "-q", "-"], b"FROM busybox\nRUN true\n")
        .code(0);
    world
        .run_with(&["build", "-"], b"FROM scratch\nCOPY f /f\n")
        .code(125)
        .says("is not in the context");
    let dir = context(&world, "plain", &[("f", "from the folder")]);
    let id = world
        .run_with(
            &["build", "-q", "-f", "-", dir.to_str().unwrap()],
            text.as_bytes(),
        )
        .code(0)
        .stdout;
    assert_eq!(content(&id), "from the folder");
    let address = serve(move |r| match r.path.as_str() {
        "/c.tar.gz" => Answer::ok(gzip.clone()),
        "/Dockerfile" => Answer::ok("FROM busybox\nRUN true\n"),
        _ => Answer::status(404),
    });
    let id = world.ok(&["build", "-q", &format!("http://{address}/c.tar.gz")]);
    assert_eq!(content(&id), "from the tar");
    world.ok(&["build", "-q", &format!("http://{address}/Dockerfile")]);
    world
        .run(&["build", &format!("http://{address}/none")])
        .code(125);
    if Command::new("git").arg("--version").output().is_err() {
        return;
    }
    // A repository on a server that only knows files.
    let repo = context(
        &world,
        "repo",
        &[("sub/Dockerfile", text), ("sub/f", "from git")],
    );
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(args);
        command.current_dir(&repo).env("HOME", world.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "x"]);
    git(&["update-server-info"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let files = repo.join(".git");
    let address = serve(move |r| {
        let path = r.path.strip_prefix("/r.git/").unwrap_or("none");
        match std::fs::read(files.join(path)) {
            Ok(bytes) if !path.contains("..") => Answer::ok(bytes),
            _ => Answer::status(404),
        }
    });
    let url = format!("http://{address}/r.git");
    let id = world.ok(&["build", "-q", &format!("{url}#main:sub")]);
    assert_eq!(content(&id), "from git");
    let text = format!("FROM scratch\nADD --checksum={commit} {url}#main /\n");
    let dir = context(&world, "add", &[("Dockerfile", &text)]);
    build(&world, &dir, &[]).code(0);
    let text = format!("FROM scratch\nADD --checksum=0123456789 {url}#main /\n");
    let dir = context(&world, "bad", &[("Dockerfile", &text)]);
    build(&world, &dir, &[]).code(125).says("not at 0123456789");
}

#[test]
fn add_fetches_and_unpacks() {
    let world = World::with_busybox();
    let mut tar = tar::Builder::new(Vec::new());
    crate::support::fixture::add_file(&mut tar, "in/the", 0o640, (7, 8), b"archive");
    let tar = tar.into_inner().unwrap();
    let dir = context(&world, "c", &[]);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("a.tar"), &tar).unwrap();
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    std::fs::write(dir.join("a.tzst"), zstd).unwrap();
    let checksum = crate::support::hub::sha256(b"fetched");
    let address = serve(|r| match r.path.as_str() {
        "/dir/file.txt" => {
            Answer::ok("fetched").with("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT")
        }
        _ => Answer::status(404),
    });
    let text = format!(
        "FROM busybox\nADD a.tar /plain/\nADD a.tzst /zstd/\nADD --unpack=false a.tar /kept/\nCOPY a.tar /copied/\n\
         ADD --chown=5:6 a.tar /owned/\n\
         ADD --checksum={checksum} http://{address}/dir/file.txt /web/\nADD http://{address}/dir/file.txt /named\n\
         RUN set -e; cat /plain/in/the /zstd/in/the; stat -c '%a %u:%g' /plain/in/the /owned/in/the; \
         ls /kept /copied; stat -c '%a %Y' /web/file.txt; cat /named\n"
    );
    std::fs::write(dir.join("Dockerfile"), text).unwrap();
    let said = build(&world, &dir, &[]).code(0).stderr;
    for want in [
        "archivearchive640 7:8",
        "640 5:6",
        "a.tar",
        "600 1700000000",
        " fetched",
    ] {
        assert!(said.contains(want), "{want}: {said}");
    }
    let wrong = crate::support::hub::sha256(b"other");
    let text = format!("FROM scratch\nADD --checksum={wrong} http://{address}/dir/file.txt /\n");
    std::fs::write(dir.join("Dockerfile"), text).unwrap();
    build(&world, &dir, &[]).code(125).says("has digest");
}

/// Every file below that holds the text.
fn holders(dir: &Path, needle: &[u8], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            holders(&path, needle, found);
        } else if kind.is_file()
            && std::fs::read(&path).is_ok_and(|b| b.windows(needle.len()).any(|w| w == needle))
        {
            found.push(path);
        }
    }
}

#[test]
fn secrets_get_into_no_layer_record_key_or_log() {
    const SECRET: &str = "xyzzy-very-secret-0451";
    let world = World::with_busybox();
    let text = "FROM busybox\n\
        RUN --mount=type=secret,id=f --mount=type=secret,id=e,env=TOKEN test -n \"$TOKEN\" && wc -c /run/secrets/f\n\
        RUN --mount=type=secret,id=f,target=/a/b/c cat /a/b/c > /dev/null; echo x > /x\n\
        FROM busybox AS failing\nRUN --mount=type=secret,id=e,env=TOKEN test -n \"$TOKEN\" && exit 3\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    let secret = world.path().join("home/secret");
    std::fs::write(&secret, SECRET).unwrap();
    let given = [
        format!("--secret=id=f,src={}", secret.display()),
        "--secret=id=e,env=MY_TOKEN".to_owned(),
    ];
    for target in ["--target=0", "--target=failing"] {
        let mut command = world.command(&[
            "build",
            "--progress=plain",
            "--why",
            "-t",
            "s",
            target,
            &given[0],
            &given[1],
            dir.to_str().unwrap(),
        ]);
        command.env("MY_TOKEN", SECRET);
        let outcome = Outcome::of(&["build"], command.output().unwrap());
        assert_eq!(
            outcome.code == 0,
            target == "--target=0",
            "{}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains(SECRET) && !outcome.stdout.contains(SECRET));
    }
    let mut found = Vec::new();
    for dir in [
        world.data(),
        world.runtime(),
        world.path().join("tmp"),
        world.path().join("xdg"),
    ] {
        holders(&dir, SECRET.as_bytes(), &mut found);
    }
    assert_eq!(found, Vec::<PathBuf>::new());
    // Another secret is no reason to run again: its content is in no key.
    std::fs::write(&secret, "another").unwrap();
    let mut command = world.command(&[
        "build",
        "--progress=plain",
        "--target=0",
        &given[0],
        &given[1],
        dir.to_str().unwrap(),
    ]);
    command.env("MY_TOKEN", "other");
    let outcome = Outcome::of(&["build"], command.output().unwrap()).code(0);
    assert_eq!(count(&outcome, " CACHED"), 2, "{}", outcome.stderr);
}

#[test]
fn the_cache_is_shown_and_made_smaller() {
    let world = World::with_busybox();
    let text = "FROM busybox\nRUN --mount=type=cache,id=m,target=/m dd if=/dev/zero of=/m/x bs=1k count=100; echo a > /a\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    build(&world, &dir, &["-t", "a"]).code(0);
    let list = world.ok(&["builder", "du", "--format=json"]);
    let kinds: Vec<serde_json::Value> = list
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(kinds.len(), 2, "{list}");
    assert!(
        kinds
            .iter()
            .any(|v| v["Type"] == "mount" && v["Size"].as_u64() >= Some(100_000))
    );
    assert!(
        kinds
            .iter()
            .any(|v| v["Type"] == "step" && v["Shared"] == true)
    );
    let rows = |filter: &str| {
        let filter = format!("--filter={filter}");
        let list = world.ok(&["cache", "du", "--format=json", &filter]);
        list.lines().count()
    };
    assert_eq!(rows("type=exec.cachemount"), 1);
    assert_eq!(rows("description=echo a"), 1);
    assert_eq!(rows("until=1h"), 0);
    world.run(&["cache", "du", "--filter=x=y"]).code(125);
    world
        .run(&["buildx", "bake", "-f", "docker-bake.hcl"])
        .code(125)
        .says("reads no files of bake");
    // The image keeps its layer; the cache mount goes.
    world.ok(&["builder", "prune", "-f"]);
    assert_eq!(
        world.ok(&["buildx", "du", "--format=json"]).lines().count(),
        1
    );
    assert_eq!(count(&build(&world, &dir, &[]).code(0), " CACHED"), 1);
    world.ok(&["rmi", "-f", "a"]);
    assert_eq!(
        count(&build(&world, &dir, &["-t", "b"]).code(0), " CACHED"),
        1,
        "kept by the cache"
    );
    world.ok(&["builder", "prune", "-af"]);
    assert!(world.ok(&["builder", "du", "--format=json"]).is_empty());
    assert_eq!(
        world.ok(&["run", "--rm", "--network=none", "b", "cat", "/a"]),
        "a"
    );
    world
        .run(&["builder", "prune", "-f", "--filter=x=y"])
        .code(125);
}

#[test]
fn programs_follow_a_build_by_json_and_people_look_before_they_build() {
    let world = World::with_busybox();
    let text = "ARG V=1\n# what it is\nFROM busybox AS One\nARG A=2\nRUN --mount=type=secret,id=k echo hello\nCMD x\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    let path = dir.to_str().unwrap();
    let said = world
        .run(&["build", "--progress=json", path])
        .code(0)
        .stderr;
    let events: Vec<serde_json::Value> = said
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(
        events
            .iter()
            .any(|e| e["event"] == "output" && e["text"] == "hello\n"),
        "{said}"
    );
    assert!(
        events
            .iter()
            .any(|e| e["event"] == "end" && e["outcome"] == "done"),
        "{said}"
    );
    let quiet = world.run(&["build", "-q", path]).code(0);
    assert_eq!((quiet.stderr.as_str(), quiet.stdout.len()), ("", 65));
    let check = world.run(&["build", "--check", path]).code(1).stdout;
    assert!(check.contains("Dockerfile:3: StageNameCasing"), "{check}");
    assert!(
        check.contains("Dockerfile:6: JSONArgsRecommended"),
        "{check}"
    );
    let targets = world.ok(&["build", "--call=targets", path]);
    assert!(targets.contains("one (default)\twhat it is"), "{targets}");
    let outline = world.ok(&["build", "--call=outline", path]);
    assert!(
        outline.contains("A\t2") && outline.contains("secret\tk"),
        "{outline}"
    );
    world.run(&["build", "--call=what", path]).code(125);
}

#[test]
fn a_shell_opens_where_a_step_failed() {
    let world = World::with_busybox();
    let text = "FROM busybox\nRUN echo made > /made && false\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    let args = [
        "build",
        "--progress=plain",
        "--on-error=shell",
        dir.to_str().unwrap(),
    ];
    let outcome = world
        .run_with(&args, b"cat /made; echo in-the-shell\n")
        .code(1);
    assert!(outcome.stdout.contains("made\nin-the-shell"), "{outcome:?}");
    build(&world, &dir, &[]).code(1).says("--on-error=shell");
}

#[test]
fn spellings_of_others_work() {
    let world = World::with_busybox();
    let dir = context(&world, "c", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let path = dir.to_str().unwrap();
    for words in [
        &["image", "build"][..],
        &["buildx", "build"],
        &["builder", "build"],
    ] {
        let mut args = words.to_vec();
        args.extend([
            "--load",
            "--provenance=false",
            "--sbom=false",
            "--rm",
            "--pull=never",
            path,
        ]);
        world.ok(&args);
    }
    assert!(world.ok(&["buildx", "ls"]).contains("default"));
    assert!(world.ok(&["buildx", "inspect"]).contains("Driver: coracle"));
    world.ok(&["buildx", "version"]);
    world
        .run(&["build", "--cache-from=type=gha", path])
        .code(125)
        .says("not asked");
    // podman: the Dockerfile's own folder is the context.
    world.ok(&[
        "build",
        "-q",
        "-f",
        dir.join("Dockerfile").to_str().unwrap(),
    ]);
}

#[test]
fn layouts_are_contexts() {
    let world = World::with_busybox();
    let base = context(
        &world,
        "b",
        &[("Dockerfile", "FROM busybox\nENV MARK=here\n")],
    );
    let layout = world.path().join("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    build(&world, &base, &["-t", "x:v1", "-o", &output]).code(0);
    let text = "FROM base\nRUN test $MARK = here\nCOPY --from=base /etc/passwd /copied\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    let other = World::new();
    let given = format!("--build-context=base=oci-layout://{}", layout.display());
    build(&other, &dir, &[&given]).code(0);
    // It comes without a name.
    assert!(!other.ok(&["images"]).contains("x "));
    let lost = format!("--build-context=base=oci-layout://{}:v9", layout.display());
    build(&other, &dir, &[&lost]).code(125).says("v9");
}

#[test]
fn keys_are_handed_to_steps_by_an_agent() {
    requires!("ssh-agent", "ssh-add", "ssh-keygen");
    let world = World::with_busybox();
    let dir = context(&world, "c", &[]);
    std::fs::create_dir_all(&dir).unwrap();
    let key = |name: &str, passphrase: &str| {
        let path = world.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        path
    };
    let (one, two) = (key("one", ""), key("two", ""));
    let text = "FROM busybox\n\
         RUN --mount=type=ssh,required --mount=type=cache,id=s,target=/s \
         test -S $SSH_AUTH_SOCK; touch /s/on; until test -e /s/off; do usleep 20000; done\n\
         USER 1234:5678\n\
         RUN --mount=type=ssh,uid=1234,gid=5678,mode=0440 stat -c 'MINE %u:%g %a' $SSH_AUTH_SOCK\n";
    std::fs::write(dir.join("Dockerfile"), text).unwrap();
    let given = format!("--ssh=default={},{}", one.display(), two.display());
    let child = world.spawn(&["build", "--progress=plain", &given, dir.to_str().unwrap()]);
    let mounts = world.data().join("store/build/mounts");
    let shared = || -> Option<PathBuf> {
        let list = std::fs::read_dir(&mounts).ok()?;
        let mut dirs = list.map(|e| e.unwrap().path());
        dirs.find(|p| p.join("on").exists())
    };
    wait_for("the step to run", || shared().is_some());
    // The socket that the step has, asked from outside.
    let step = std::fs::read_dir(world.runtime().join("build")).unwrap();
    let mut sockets = step.map(|e| e.unwrap().path().join("agent-0"));
    let socket = sockets.find(|p| p.exists()).unwrap();
    let listed = Command::new("ssh-add")
        .arg("-l")
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains(" one ") && listed.contains(" two "),
        "{listed}"
    );
    std::fs::write(shared().unwrap().join("off"), "").unwrap();
    let built = Outcome::of(&["build"], child.wait_with_output().unwrap()).code(0);
    assert!(
        built.stderr.contains("MINE 1234:5678 440"),
        "{}",
        built.stderr
    );
    // What was started has ended.
    let left = std::fs::read_dir(world.runtime().join("ssh")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    build(&world, &dir, &["--no-cache"])
        .code(125)
        .says("no SSH agent \"default\" was given");
    // A build that is killed takes its agent along, and the next one what is left of it.
    let cache = shared().unwrap();
    for name in ["on", "off"] {
        std::fs::remove_file(cache.join(name)).unwrap();
    }
    let args = ["build", "--no-cache", &given, dir.to_str().unwrap()];
    let mut child = world.spawn(&args);
    wait_for("the step to run", || shared().is_some());
    let folder = world.runtime().join("ssh");
    let agents = || {
        let tasks = std::fs::read_dir("/proc").unwrap().flatten();
        tasks
            .filter_map(|t| std::fs::read_to_string(t.path().join("cmdline")).ok())
            .filter(|line| line.starts_with("ssh-agent") && line.contains(folder.to_str().unwrap()))
            .count()
    };
    assert_eq!(agents(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the agent to end", || agents() == 0);
    let locked = format!("--ssh=default={}", key("locked", "secret").display());
    build(&world, &dir, &[&locked]).code(125).says("passphrase");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn the_cache_is_part_of_what_the_system_weighs() {
    let world = World::with_busybox();
    let text = "FROM busybox AS a\nRUN dd if=/dev/zero of=/x bs=1k count=200\nFROM busybox\nCOPY --from=a /etc/group /g\n";
    let dir = context(&world, "c", &[("Dockerfile", text)]);
    build(&world, &dir, &["-t", "a"]).code(0);
    let row = || -> serde_json::Value {
        let list: serde_json::Value =
            serde_json::from_str(&world.ok(&["system", "df", "--format=json"])).unwrap();
        let rows = list.as_array().unwrap();
        let own = rows.iter().find(|r| r["Type"] == "Build Cache").unwrap();
        own.clone()
    };
    let weighed = row();
    assert_eq!(weighed["Total"], 2, "{weighed}");
    assert!(
        weighed["RawReclaimable"].as_u64().unwrap() >= 200 << 10,
        "{weighed}"
    );
    let verbose = world.ok(&["system", "df", "-v"]);
    assert!(verbose.contains("Build Cache space usage"), "{verbose}");
    // Limits: what is small enough stays.
    world.ok(&["builder", "prune", "-af", "--reserved-space=1gb"]);
    assert_eq!(row()["Total"], 2);
    world.ok(&["builder", "prune", "-af", "--max-used-space=1gb"]);
    assert_eq!(row()["Total"], 2);
    let listed = world.ok(&["builder", "ls"]);
    assert!(listed.contains("RUN dd"), "{listed}");
    world.ok(&[
        "builder",
        "prune",
        "-f",
        "--filter=description=COPY",
        "--filter=shared=true",
    ]);
    assert_eq!(row()["Total"], 1);
    let said = world.ok(&["system", "prune", "-f"]);
    assert!(said.contains("Deleted build cache objects"), "{said}");
    assert_eq!(row()["Total"], 0);
}
