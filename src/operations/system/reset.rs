//! `system reset`: as if coracle had never run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter, forget};
use crate::state::container::Containers;

/// Kills and removes every container, then everything that coracle wrote below its two folders.
/// Other people's files there, after a mistyped `--root`, stay. Answers what could not be removed.
///
/// # Errors
/// What entering the user namespace says.
pub fn reset(session: &Session) -> Result<Vec<Error>> {
    let mut failures = Vec::new();
    let options = RemoveOptions {
        force: true,
        volumes: true,
        depend: true,
        infra: true,
        ..RemoveOptions::default()
    };
    let containers = Containers::new(&session.dirs);
    // One may go with another that it depends on: look again each time.
    for id in containers.ids().unwrap_or_default() {
        if let Ok(container) = containers.open(&id)
            && let Err(e) = remove(session, container, &options)
        {
            failures.push(e);
        }
    }
    if !session.dirs.data.exists() && !session.dirs.runtime.exists() {
        return Ok(failures);
    }
    enter(&session.dirs, Want::Default)?;
    let dirs = &session.dirs;
    let ours = [
        dirs.containers(),
        dirs.names(),
        dirs.store(),
        dirs.volumes(),
        dirs.secrets(),
        dirs.events(),
        dirs.data.join("networks"),
        dirs.data.join("pods"),
        dirs.data.join("cache"),
        dirs.runtime_containers(),
        // The role that listens there serves the user namespace that goes: nobody may find it again.
        dirs.runtime.join("net"),
    ];
    for path in ours {
        note(&mut failures, remove_tree(&path));
    }
    // Nobody needs the user namespace any more; this process is in it already.
    note(&mut failures, forget(dirs));
    for folder in [&dirs.data, &dirs.runtime] {
        note(&mut failures, remove_files(folder));
        // Not empty: somebody else's files are in it.
        drop(fs::remove_dir(folder));
    }
    Ok(failures)
}

fn note(failures: &mut Vec<Error>, result: Result<()>) {
    failures.extend(result.err());
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).what(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes our own files that stand directly in a folder: locks, caches, the holder's record.
fn remove_files(folder: &Path) -> Result<()> {
    const ENDINGS: &[&str] = &["json", "lock", "sock", "tmp"];
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.what(|| format!("cannot list {}", folder.display()))?,
    };
    let ours = |path: &PathBuf| {
        let ending = path.extension().and_then(|e| e.to_str());
        ending.is_some_and(|e| ENDINGS.contains(&e))
    };
    for path in entries.flatten().map(|e| e.path()).filter(ours) {
        fs::remove_file(&path).what(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
