//! What we leave on disk: for nobody else, and without secrets in it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::image;
use crate::support::{World, fixture};

/// Paths below `dir` that others may enter, read or write, but for what containers own and for what
/// is bound into them.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(&at).unwrap().flatten() {
            let path = entry.path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if meta.is_symlink() {
                continue;
            }
            // The content of containers, layers and volumes has the owners and modes of its own;
            // pasta and slirp4netns make their socket themselves.
            let content = matches!(name.as_str(), "diff" | "upper" | "work" | "_data" | "lower")
                || name == "slirp4netns.sock";
            let bound = matches!(
                name.as_str(),
                "hosts" | "resolv.conf" | "hostname" | "containerenv"
            ) || at.ends_with("secrets");
            let most = if bound { 0o644 } else { 0o700 };
            if !content && meta.mode() & 0o777 & !most & 0o077 != 0 {
                found.push(format!("{:o} {}", meta.mode() & 0o7777, path.display()));
            }
            if meta.is_dir() && !content && meta.permissions().mode() & 0o500 == 0o500 {
                todo.push(path);
            }
        }
    }
    found
}

/// With a careless umask as with any other.
#[test]
fn what_we_make_is_for_its_owner_alone() {
    let world = World::new();
    let tar = fixture::busybox_file(world.path());
    let coracle = env!("CARGO_BIN_EXE_coracle");
    let careless = |line: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("umask 0; {line}")]);
        world.settle(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    careless(&format!("{coracle} import -q {} busybox", tar.display()));
    careless(&format!("echo s3cret | {coracle} secret create key -"));
    careless(&format!("{coracle} volume create v"));
    careless(&format!(
        "{coracle} run -d --name c --secret key -v v:/v busybox sleep 100"
    ));
    careless(&format!(
        "{coracle} run -d --name n --network none --restart always busybox sh -c 'echo x; sleep 100'"
    ));
    careless(&format!("{coracle} exec c true"));
    careless(&format!("{coracle} commit -q c made"));
    careless(&format!("{coracle} create --name later busybox true"));
    let saved = world.path().join("saved.tar");
    careless(&format!("{coracle} save -q -o {} made", saved.display()));
    for dir in [world.data(), world.runtime()] {
        let found = open_to_others(&dir);
        assert!(found.is_empty(), "{found:#?}");
        let top = std::fs::metadata(&dir).unwrap().mode() & 0o777;
        assert_eq!(top, 0o700, "{}", dir.display());
    }
    // Inside, the umask is the usual one, whatever the caller's.
    assert_eq!(careless(&format!("{coracle} exec c sh -c umask")), "0022\n");
}

/// A secret is in its own file and in the container, nowhere else: not in records, events, logs,
/// images or what is shown.
#[test]
fn secrets_do_not_leak() {
    const WORD: &str = "hush-8d1f0c";
    let world = World::new();
    image(&world, "base", &[], |_| ());
    let made = world.run_with(&["secret", "create", "key", "-"], WORD.as_bytes());
    made.code(0);
    world.ok(&super::words(
        "run -d --name c --network none --secret key --secret key,type=env,target=KEY base sleep 100",
    ));
    assert_eq!(world.ok(&["exec", "c", "cat", "/run/secrets/key"]), WORD);
    assert!(
        world
            .ok(&["exec", "c", "cat", "/proc/1/environ"])
            .contains(WORD)
    );
    world.ok(&["exec", "c", "true"]);
    world.ok(&["commit", "-q", "c", "made"]);
    let saved = world.path().join("saved.tar");
    world.ok(&["save", "-q", "-o", saved.to_str().unwrap(), "made"]);
    let exported = world.path().join("exported.tar");
    world.ok(&["export", "-o", exported.to_str().unwrap(), "c"]);
    for line in [
        "inspect c",
        "image inspect made",
        "history --no-trunc made",
        "events --stream=false --since 1h",
        "ps --no-trunc",
        "secret inspect key",
        "logs c",
        "diff c",
    ] {
        let outcome = world.run(&super::words(line)).code(0);
        assert!(!outcome.stdout.contains(WORD), "{line}: {}", outcome.stdout);
    }
    let mut holders = Vec::new();
    let mut todo = vec![world.path().to_owned()];
    while let Some(at) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&at) else {
            continue;
        };
        for path in entries.flatten().map(|e| e.path()) {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                todo.push(path);
            } else if meta.is_file() {
                let bytes = std::fs::read(&path).unwrap_or_default();
                if bytes.windows(WORD.len()).any(|w| w == WORD.as_bytes()) {
                    holders.push(path.strip_prefix(world.path()).unwrap().to_owned());
                }
            }
        }
    }
    // The store's own; while the container runs, the copy that is bound into it and the record of
    // its processes' variables, both in the folder that a reboot empties.
    let expected = |p: &Path| {
        let bound = p.parent().is_some_and(|dir| dir.ends_with("secrets"));
        p.starts_with("data/secrets")
            || (p.starts_with("run/containers") && (bound || p.ends_with("spec.json")))
    };
    let others: Vec<_> = holders.iter().filter(|p| !expected(p)).collect();
    assert!(others.is_empty() && !holders.is_empty(), "{holders:?}");
}
