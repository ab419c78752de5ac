//! Where quadlets are: folders by precedence, drop-ins, templates.
//!
//! Spec: podman-systemd.unit(5), "DESCRIPTION"; systemd.unit(5) for drop-ins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::unit::Unit;
use super::{Kind, Source};
use crate::base::{Context as _, Error, Result};
use crate::config::env::Env;

/// A file larger than this is no unit.
const LIMIT: u64 = 1 << 20;

/// Folders inside folders, at most.
const DEPTH: usize = 16;

/// Whose quadlets.
#[derive(Clone, Debug)]
pub struct Whose<'a> {
    /// A user's, not the system's.
    pub user: bool,
    /// His id.
    pub uid: u32,
    /// His home.
    pub home: &'a Path,
}

/// The folders that are looked through, the first of them before the others.
/// `QUADLET_UNIT_DIRS` replaces them all.
pub fn folders(env: &Env, whose: &Whose<'_>) -> Vec<PathBuf> {
    if let Some(list) = env.raw("QUADLET_UNIT_DIRS") {
        return std::env::split_paths(&list)
            .filter(|p| p.is_absolute())
            .collect();
    }
    let below = |base: &Path| base.join("containers/systemd");
    if !whose.user {
        return ["/run", "/etc", "/usr/share"]
            .map(|b| below(Path::new(b)))
            .into();
    }
    let mut folders = Vec::new();
    folders.extend(env.xdg_runtime_dir().map(|d| below(&d)));
    folders.push(below(&env.config_home(whose.home)));
    for base in ["/etc", "/usr/share"] {
        let users = below(Path::new(base)).join("users");
        folders.push(users.join(whose.uid.to_string()));
        folders.push(users);
    }
    folders
}

/// The folder that `quadlet install` writes to.
pub fn own_folder(env: &Env, whose: &Whose<'_>) -> PathBuf {
    match whose.user {
        true => env.config_home(whose.home).join("containers/systemd"),
        false => PathBuf::from("/etc/containers/systemd"),
    }
}

/// Everything below the folders, by name; what cannot be read is told beside.
pub fn load(folders: &[PathBuf]) -> (Vec<Source>, Vec<Error>) {
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for folder in folders {
        walk(folder, folder, 0, &mut seen, &mut all);
    }
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in &all {
        for (name, path) in entries(folder) {
            if Kind::of_name(&name).is_some() && path.is_file() {
                files.entry(name).or_insert(path);
            }
        }
    }
    let (mut sources, mut errors) = (Vec::new(), Vec::new());
    for (name, path) in files {
        match read(&name, &path, &all) {
            Ok(source) => sources.push(source),
            Err(e) => errors.push(e),
        }
    }
    (sources, errors)
}

/// Folders with what is in them, but for drop-ins and other users' folders.
fn walk(
    folder: &Path,
    root: &Path,
    depth: usize,
    seen: &mut BTreeSet<PathBuf>,
    into: &mut Vec<PathBuf>,
) {
    let Ok(real) = folder.canonicalize() else {
        return;
    };
    if depth > DEPTH || !seen.insert(real) {
        return;
    }
    into.push(folder.to_owned());
    for (name, path) in entries(folder) {
        let users = depth == 0
            && match root.ends_with("users") {
                // Other users' folders.
                true => name.bytes().all(|b| b.is_ascii_digit()),
                false => name == "users",
            };
        if path.is_dir() && !name.ends_with(".d") && !users {
            walk(&path, root, depth + 1, seen, into);
        }
    }
}

/// A folder's entries by name; none where there is no folder.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut all: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| Some((e.file_name().into_string().ok()?, e.path())))
        .collect();
    all.sort();
    all
}

/// Reads one quadlet with its drop-ins.
fn read(name: &str, path: &Path, folders: &[PathBuf]) -> Result<Source> {
    let kind = Kind::of_name(name)
        .ok_or_else(|| Error::invalid(format!("{}: its name has no known end", path.display())))?;
    let mut unit = Unit::parse(&text(path)?, &path.display().to_string())?;
    let mut dropins: BTreeMap<String, PathBuf> = BTreeMap::new();
    // The most special one counts, and of those the one in the first folder.
    for dir in dropin_folders(name, kind) {
        for folder in folders.iter().rev() {
            for (file, path) in entries(&folder.join(&dir)) {
                if file.ends_with(".conf") {
                    dropins.insert(file, path);
                }
            }
        }
    }
    for path in dropins.into_values() {
        unit.add(&text(&path)?, &path.display().to_string())?;
    }
    Ok(Source {
        name: name.to_owned(),
        path: path.to_owned(),
        kind,
        unit,
    })
}

fn text(path: &Path) -> Result<String> {
    let bytes = crate::base::fs::read_regular_if_exists(path, LIMIT)?
        .ok_or_else(|| Error::not_found(format!("{} is gone", path.display())))?;
    String::from_utf8(bytes).what(|| format!("{} is no text", path.display()))
}

/// Names of drop-in folders, from the most general on: `container.d`, `web-.container.d`,
/// `web-front.container.d`; for an instance its template's before its own.
fn dropin_folders(name: &str, kind: Kind) -> Vec<String> {
    let extension = kind.extension();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut folders = vec![format!("{extension}.d")];
    let (prefix, instance) = match stem.split_once('@') {
        Some((prefix, instance)) => (prefix, Some(instance)),
        None => (stem, None),
    };
    for (at, _) in prefix.match_indices('-') {
        folders.push(format!("{}.{extension}.d", &prefix[..=at]));
    }
    match instance {
        None => folders.push(format!("{stem}.{extension}.d")),
        Some(instance) => {
            folders.push(format!("{prefix}@.{extension}.d"));
            if !instance.is_empty() {
                folders.push(format!("{stem}.{extension}.d"));
            }
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_podmans() {
        let env = Env::fixed([("XDG_RUNTIME_DIR", "/run/user/7")]);
        let whose = |user| Whose {
            user,
            uid: 7,
            home: Path::new("/h"),
        };
        let user = folders(&env, &whose(true));
        assert_eq!(user[0], Path::new("/run/user/7/containers/systemd"));
        assert_eq!(user[1], Path::new("/h/.config/containers/systemd"));
        assert_eq!(user[2], Path::new("/etc/containers/systemd/users/7"));
        assert_eq!(user[3], Path::new("/etc/containers/systemd/users"));
        let system = folders(&env, &whose(false));
        assert_eq!(system[1], Path::new("/etc/containers/systemd"));
        let env = Env::fixed([("QUADLET_UNIT_DIRS", "/a:relative:/b")]);
        assert_eq!(
            folders(&env, &whose(true)),
            [Path::new("/a"), Path::new("/b")]
        );
    }

    #[test]
    fn dropins_go_from_general_to_special() {
        assert_eq!(
            dropin_folders("web-front-a.container", Kind::Container),
            [
                "container.d",
                "web-.container.d",
                "web-front-.container.d",
                "web-front-a.container.d"
            ]
        );
        assert_eq!(
            dropin_folders("web@x.volume", Kind::Volume),
            ["volume.d", "web@.volume.d", "web@x.volume.d"]
        );
    }

    #[test]
    fn the_first_folder_wins_and_dropins_come_on_top() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("one/web.container", "[Container]\nImage=one\n");
        put("two/web.container", "[Container]\nImage=two\n");
        put("two/deep/er/db.container", "[Container]\nImage=db\n");
        put("two/users/7/other.container", "[Container]\nImage=x\n");
        put("two/bad.container", "nonsense\n");
        put("two/readme.txt", "nothing\n");
        put("two/container.d/10-all.conf", "[Container]\nLabel=a=1\n");
        put(
            "two/web.container.d/20-own.conf",
            "[Container]\nLabel=b=2\n",
        );
        put(
            "one/web.container.d/10-all.conf",
            "[Container]\nLabel=a=3\n",
        );
        std::os::unix::fs::symlink(dir.path().join("two"), dir.path().join("two/loop")).unwrap();
        let folders = [dir.path().join("one"), dir.path().join("two")];
        let (sources, errors) = load(&folders);
        let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["db.container", "web.container"]);
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0]
                .what()
                .ends_with("bad.container:1: neither a section nor KEY=VALUE")
        );
        let web = &sources[1].unit;
        assert_eq!(web.last("Container", "Image").unwrap(), "one");
        let labels: Vec<&str> = web
            .all("Container", "Label")
            .iter()
            .map(|e| e.value.as_str())
            .collect();
        assert_eq!(labels, ["a=3", "b=2"]);
    }
}
