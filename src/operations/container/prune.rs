//! `container prune`: containers that do not run.

use super::reap;
use super::remove::{RemoveOptions, remove, remove_with, used_by_any};
use super::select;
use super::summary::Summary;
use crate::base::{Error, Kind, Result};
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::state::container::{Containers, State};
use crate::storage::gc::disk_usage;

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Ids, oldest first.
    pub ids: Vec<String>,
    /// Bytes of their writable layers.
    pub bytes: u64,
    /// Containers that could not be removed.
    pub failures: Vec<Error>,
}

/// Keys that make sense here.
const KEYS: &[&str] = &[
    "label", "label!", "until", "name", "id", "status", "before", "since", "ancestor", "exited",
];

/// Removes every container that does not run and that the filters accept.
///
/// # Errors
/// `Invalid` for a filter that makes no sense here; what the kernel says of the folder.
pub fn prune(session: &Session, filters: &[String]) -> Result<Pruned> {
    for word in filters {
        let key = word.split('=').next().unwrap_or(word);
        if !KEYS.contains(&key) {
            return Err(Error::invalid(format!("unknown filter {key:?}"))
                .hint(format!("filters are {}", KEYS.join(", "))));
        }
    }
    let containers = Containers::new(&session.dirs);
    let filters = select::parse_filters(filters, &containers)?;
    let (list, bad) = containers.list()?;
    let mut pruned = Pruned {
        failures: bad,
        ..Pruned::default()
    };
    // Those that nobody uses, which is nearly all, are not looked up one by one.
    let used = used_by_any(&list);
    for mut container in list {
        let id = container.id().to_string();
        let outcome = (|| -> Result<bool> {
            if reap::reap_lost(session, &mut container)? {
                return Ok(true);
            }
            let summary = Summary::of(container.clone())?;
            let idle = matches!(summary.state, State::Created | State::Exited | State::Lost);
            if !idle || !filters.accept(&summary) {
                return Ok(false);
            }
            enter(&session.dirs, Want::Default)?;
            let bytes = disk_usage(container.dir());
            let options = RemoveOptions::default();
            match used.contains(&id) {
                true => remove(session, container, &options)?,
                false => remove_with(session, container, Vec::new(), &options)?,
            };
            pruned.bytes += bytes;
            Ok(true)
        })();
        match outcome {
            Ok(true) => pruned.ids.push(id),
            Ok(false) => {}
            // Started or removed by somebody else meanwhile, or used by another container.
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::InUse) => {}
            Err(e) => pruned.failures.push(e),
        }
    }
    // Files of other owners are in what interrupted commands left.
    enter(&session.dirs, Want::Default)?;
    containers.sweep()?;
    Ok(pruned)
}
