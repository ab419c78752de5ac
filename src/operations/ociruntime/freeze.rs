//! Pausing: the cgroup's freezer.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Place;
use super::record::{Container, Record, Status};
use crate::base::{Context as _, Error, Kind, Result};
use crate::cgroup::Group;
use crate::sys::process::pause as rest;

/// The file of cgroup v1 that freezes.
const OLD: &str = "freezer.state";

fn old_freezer(record: &Record) -> Option<&Path> {
    record
        .cgroups
        .iter()
        .find(|p| p.join(OLD).exists())
        .map(AsRef::as_ref)
}

/// Whether a container is frozen.
pub fn is_frozen(record: &Record) -> bool {
    let Some(first) = record.cgroups.first() else {
        return false;
    };
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    match read(&first.join("cgroup.freeze")).trim() {
        "1" => true,
        "0" => false,
        _ => old_freezer(record).is_some_and(|p| read(&p.join(OLD)).trim() == "FROZEN"),
    }
}

/// Freezes or thaws a container.
///
/// # Errors
/// `Invalid` in another status; `Unsupported` without a freezer of its own.
pub fn set(place: &Place, id: &str, frozen: bool) -> Result<()> {
    let container = Container::open(place, id)?;
    let status = container.status();
    let right = match (frozen, status) {
        (true, Status::Running | Status::Created) | (false, Status::Paused) => true,
        (_, _) => false,
    };
    if !right {
        return Err(Error::invalid(if frozen {
            "container not running".to_owned()
        } else {
            "container not paused".to_owned()
        }));
    }
    let record = &container.record;
    if let Some(path) = old_freezer(record) {
        return set_old(path, frozen);
    }
    match record.cgroups.first() {
        Some(path) if frozen => Group::at(path)?.freeze(),
        Some(path) => Group::at(path)?.thaw(),
        None => Err(Error::unsupported(
            "the container has no cgroup of its own, so it cannot be paused",
        )),
    }
}

fn set_old(path: &Path, frozen: bool) -> Result<()> {
    let word = if frozen { "FROZEN" } else { "THAWED" };
    let file = path.join(OLD);
    let what = || format!("cannot write {word} to {}", file.display());
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // Written again each time: a process that was just forked may have slipped through.
        std::fs::write(&file, word).what(what)?;
        let now = std::fs::read_to_string(&file).what(what)?;
        if now.trim() == word {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                Kind::TimedOut,
                "cannot freeze the container: a process sits in the kernel",
            ));
        }
        rest(Duration::from_millis(1));
    }
}
