//! Applications: quadlets, and the files they refer to, that were installed together. A file
//! `.NAME.app` beside them has their names, one a line, as podman's has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Result};
use crate::quadlet::Kind;

/// A larger file is no list of names.
const LIMIT: u64 = 1 << 20;

fn list_of(folder: &Path, app: &str) -> PathBuf {
    folder.join(format!(".{app}.app"))
}

/// The names in an application; absent when there is none of that name.
pub(super) fn members(folder: &Path, app: &str) -> Result<Option<Vec<String>>> {
    if app.is_empty() || app.contains('/') {
        return Ok(None);
    }
    let Some(bytes) = files::read_if_exists(&list_of(folder, app), LIMIT)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let names = text.lines().map(str::trim);
    // A name with a folder in it would be somebody else's file.
    let names = names.filter(|n| !n.is_empty() && !n.contains('/') && *n != ".." && *n != ".");
    Ok(Some(names.map(str::to_owned).collect()))
}

/// The application of every file that is in one.
pub(super) fn of_files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let app = name.strip_prefix('.').and_then(|n| n.strip_suffix(".app"));
        if let Some(app) = app
            && let Ok(Some(names)) = members(folder, app)
        {
            found.extend(names.into_iter().map(|n| (n, app.to_owned())));
        }
    }
    found
}

/// Adds names to an application, which is made if need be.
///
/// # Errors
/// What the kernel says.
pub(super) fn add(folder: &Path, app: &str, names: &[String]) -> Result<()> {
    let mut all = members(folder, app)?.unwrap_or_default();
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    write(folder, app, &all)
}

fn write(folder: &Path, app: &str, names: &[String]) -> Result<()> {
    let text: String = names.iter().map(|n| format!("{n}\n")).collect();
    files::replace(
        &list_of(folder, app),
        text.as_bytes(),
        0o644,
        Durability::Durable,
    )
}

/// A quadlet is gone: its application has one less. With the last one the other files go, and the
/// list.
///
/// # Errors
/// What the kernel says.
pub(super) fn forget(folder: &Path, name: &str) -> Result<()> {
    let Some(app) = of_files(folder).remove(name) else {
        return Ok(());
    };
    let mut names = members(folder, &app)?.unwrap_or_default();
    names.retain(|n| n != name);
    if names.iter().any(|n| Kind::of_name(n).is_some()) {
        return write(folder, &app, &names);
    }
    for name in names {
        files::remove_file_if_exists(&folder.join(name))?;
    }
    files::remove_file_if_exists(&list_of(folder, &app)).map(drop)
}

/// The name of an application that is a folder.
///
/// # Errors
/// `Invalid` for a path without a name, as `/`.
pub(super) fn name_of(folder: &Path) -> Result<String> {
    let whole = folder
        .canonicalize()
        .what(|| format!("cannot find {}", folder.display()))?;
    let name = whole.file_name().map(|n| n.to_string_lossy().into_owned());
    name.ok_or_else(|| Error::invalid(format!("{} has no name", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_goes_with_its_last_quadlet() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let names = |list: &[&str]| list.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        for name in ["a.container", "b.volume", "a.env"] {
            fs::write(folder.join(name), "").unwrap();
        }
        add(folder, "web", &names(&["a.container", "a.env"])).unwrap();
        add(folder, "web", &names(&["b.volume", "a.env"])).unwrap();
        let all = names(&["a.container", "a.env", "b.volume"]);
        assert_eq!(members(folder, "web").unwrap(), Some(all));
        assert_eq!(
            of_files(folder).get("a.env").map(String::as_str),
            Some("web")
        );
        fs::remove_file(folder.join("a.container")).unwrap();
        forget(folder, "a.container").unwrap();
        assert!(folder.join("a.env").exists());
        fs::remove_file(folder.join("b.volume")).unwrap();
        forget(folder, "b.volume").unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
        assert_eq!(members(folder, "web").unwrap(), None);
        // Written by somebody else: nothing outside is reached.
        fs::write(folder.join(".x.app"), "../y\n..\n/etc/passwd\nz\n").unwrap();
        assert_eq!(members(folder, "x").unwrap(), Some(names(&["z"])));
        assert_eq!(members(folder, "../x").unwrap(), None);
    }
}
