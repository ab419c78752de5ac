//! `build`: a corpus of Dockerfiles, one for each feature and corner, with what must come out.
//!
//! `tests/data/build/*.txt` hold the cases. A case begins with `=== NAME`; then come parts, each
//! headed `--- WHAT`: `Dockerfile`, `file PATH [MODE]`, `link PATH TARGET`, `options` (one a line),
//! and at last `expect`, one expectation a line:
//!
//! - `config KEY JSON`: the configuration's field
//! - `file PATH MODE UID:GID [TEXT]`, `dir PATH MODE UID:GID`, `link PATH TARGET`, `none PATH`
//! - `history TEXT`: an entry of the history; `layers N`: layers above the base image's
//! - `error TEXT`: the build fails and says so; `says TEXT`: it works and says so

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::World;

#[derive(Debug, Default)]
struct Case {
    name: String,
    parts: Vec<(String, String)>,
}

fn cases(topic: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/build")
        .join(format!("{topic}.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut found: Vec<Case> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            found.push(Case {
                name: name.trim().to_owned(),
                parts: Vec::new(),
            });
        } else if let Some(head) = line.strip_prefix("--- ") {
            let case = found.last_mut().unwrap();
            case.parts.push((head.trim().to_owned(), String::new()));
        } else if let Some((_, body)) = found.last_mut().and_then(|c| c.parts.last_mut()) {
            body.push_str(line);
        }
    }
    found
}

/// What a tar of the result holds.
#[derive(Debug)]
struct Entry {
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    link: String,
    text: String,
}

fn tree(tar_file: &Path) -> BTreeMap<String, Entry> {
    let mut archive = tar::Archive::new(std::fs::File::open(tar_file).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let header = entry.header().clone();
        let link = entry.link_name().unwrap();
        let link = link.map_or_else(String::new, |l| l.to_string_lossy().into_owned());
        let mut text = Vec::new();
        if header.size().unwrap() < 4096 {
            entry.read_to_end(&mut text).unwrap();
        }
        let value = Entry {
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            link,
            text: String::from_utf8_lossy(&text).into_owned(),
        };
        found.insert(format!("/{}", path.trim_matches('/')), value);
    }
    found
}

fn json(world: &World, name: &str) -> serde_json::Value {
    let text = world.ok(&["image", "inspect", name]);
    serde_json::from_str::<serde_json::Value>(&text).unwrap()[0].clone()
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t")
}

/// Builds one case and tells what is wrong with it.
fn wrong(world: &World, topic: &str, case: &Case) -> Vec<String> {
    let dir = world.path().join(format!("{topic}-{}", case.name));
    std::fs::create_dir_all(&dir).unwrap();
    let name = format!("case/{topic}/{}", case.name.to_ascii_lowercase());
    let tar_file = world.path().join(format!("{topic}-{}.tar", case.name));
    let mut args: Vec<String> = ["build", "--progress=plain", "-t", &name]
        .map(str::to_owned)
        .to_vec();
    let mut expect = String::new();
    let mut bare = false;
    for (head, body) in &case.parts {
        let words: Vec<&str> = head.split_whitespace().collect();
        match words[..] {
            ["Dockerfile"] => std::fs::write(dir.join("Dockerfile"), body).unwrap(),
            ["file", path] | ["file", path, _] => {
                let path = dir.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, body).unwrap();
                let mode = words
                    .get(2)
                    .map_or(0o644, |m| u32::from_str_radix(m, 8).unwrap());
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            ["dir", path] => std::fs::create_dir_all(dir.join(path)).unwrap(),
            ["link", path, target] => {
                let path = dir.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(target, path).unwrap();
            }
            ["options"] => args.extend(
                body.lines()
                    .map(|l| l.replace("$DIR", dir.to_str().unwrap())),
            ),
            ["bare"] => bare = true,
            ["expect"] => expect.clone_from(body),
            _ => panic!("{}: unknown part {head}", case.name),
        }
    }
    let error = expect.lines().find_map(|l| l.strip_prefix("error "));
    if error.is_none() && !bare {
        args.push(format!("--output=type=tar,dest={}", tar_file.display()));
    }
    args.push(dir.to_str().unwrap().to_owned());
    let outcome = world.run(&args);
    let mut bad = Vec::new();
    if let Some(text) = error {
        if outcome.code == 0 || !outcome.stderr.contains(text) {
            bad.push(format!(
                "want the error {text:?}, got {}: {}",
                outcome.code, outcome.stderr
            ));
        }
        return bad;
    }
    if outcome.code != 0 {
        return vec![format!("failed: {}", outcome.stderr)];
    }
    let files = if bare {
        BTreeMap::new()
    } else {
        tree(&tar_file)
    };
    let info = json(world, &name);
    let mode = |text: &str| u32::from_str_radix(text, 8).unwrap();
    for line in expect.lines().filter(|l| !l.trim().is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let good = match words[..] {
            ["config", key, ..] => {
                let want = line.splitn(3, ' ').nth(2).unwrap();
                let want: serde_json::Value = serde_json::from_str(want).unwrap();
                let got = &info["Config"][key];
                (
                    *got == want || (want.is_null() && got.is_null()),
                    format!("{got}"),
                )
            }
            ["file", path, bits, owner, ..] => {
                let text = line.splitn(5, ' ').nth(4).map(unescaped);
                let entry = files.get(path);
                let good = entry.is_some_and(|e| {
                    e.kind == tar::EntryType::Regular
                        && e.mode & 0o7777 == mode(bits)
                        && format!("{}:{}", e.owner.0, e.owner.1) == owner
                        && text.as_ref().is_none_or(|t| e.text == *t)
                });
                (good, format!("{entry:?}"))
            }
            ["hard", path, first] => {
                let entry = files.get(path);
                let good = entry.is_some_and(|e| {
                    e.kind == tar::EntryType::Link && e.link.trim_start_matches('/') == first
                });
                (good, format!("{entry:?}"))
            }
            ["dir", path, bits, owner] => {
                let entry = files.get(path);
                let good = entry.is_some_and(|e| {
                    e.kind == tar::EntryType::Directory
                        && e.mode & 0o7777 == mode(bits)
                        && format!("{}:{}", e.owner.0, e.owner.1) == owner
                });
                (good, format!("{entry:?}"))
            }
            ["link", path, target] => {
                let entry = files.get(path);
                let good =
                    entry.is_some_and(|e| e.kind == tar::EntryType::Symlink && e.link == target);
                (good, format!("{entry:?}"))
            }
            ["none", path] => (!files.contains_key(path), "it is there".to_owned()),
            ["history", ..] => {
                let want = line.split_once(' ').unwrap().1;
                let all: Vec<&str> = info["History"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|h| h["created_by"].as_str())
                    .collect();
                (all.contains(&want), format!("{all:?}"))
            }
            ["layers", count] => {
                let all = info["RootFS"]["Layers"].as_array().map_or(0, Vec::len);
                (all == count.parse::<usize>().unwrap(), all.to_string())
            }
            ["says", ..] => {
                let want = line.split_once(' ').unwrap().1;
                (outcome.stderr.contains(want), outcome.stderr.clone())
            }
            _ => panic!("{}: unknown expectation {line}", case.name),
        };
        if !good.0 {
            bad.push(format!("{line}\n      got {}", good.1));
        }
    }
    bad
}

fn corpus(topic: &str) {
    let world = World::with_busybox();
    let mut report = String::new();
    let list = cases(topic);
    assert!(!list.is_empty());
    for case in &list {
        for line in wrong(&world, topic, case) {
            report.push_str(&format!("{topic}/{}: {line}\n", case.name));
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn corpus_of_the_language() {
    corpus("language");
}

#[test]
fn corpus_of_metadata() {
    corpus("metadata");
}

#[test]
fn corpus_of_variables() {
    corpus("variables");
}

#[test]
fn corpus_of_run() {
    corpus("run");
}

#[test]
fn corpus_of_copy() {
    corpus("copy");
}

#[test]
fn corpus_of_stages() {
    corpus("stages");
}

#[test]
fn corpus_of_ignore_files() {
    corpus("ignore");
}

#[test]
fn corpus_of_mistakes() {
    corpus("mistakes");
}

#[test]
fn the_corpus_is_large() {
    let topics = [
        "language",
        "metadata",
        "variables",
        "run",
        "copy",
        "stages",
        "ignore",
        "mistakes",
    ];
    let count: usize = topics.iter().map(|t| cases(t).len()).sum();
    assert!(count >= 150, "{count} cases");
}
