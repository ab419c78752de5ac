//! `ps`: which containers there are.

use std::collections::BTreeSet;

use super::summary::Summary;
use super::{reap, select};
use crate::base::{Error, Kind, Result, parallel};
use crate::operations::session::Session;
use crate::spec::id::ContainerId;
use crate::state::container::{Container, Containers, State};
use crate::storage::Store;
use crate::storage::rootfs::View;
use crate::storage::snapshot::{Sizes, Snapshot};

/// Which ones.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Those that do not run, too.
    pub all: bool,
    /// The newest so many, running or not.
    pub last: Option<usize>,
    /// `--filter`.
    pub filters: Vec<String>,
}

/// Lists containers, newest first. Damaged records are returned beside: they disable nothing else.
///
/// # Errors
/// `Invalid` for a filter that makes no sense; what the kernel says of the folder.
pub fn list(session: &Session, options: &ListOptions) -> Result<(Vec<Summary>, Vec<Error>)> {
    let containers = Containers::new(&session.dirs);
    let filters = select::parse_filters(&options.filters, &containers)?;
    let everything = options.all || options.last.is_some() || filters.names_states();
    let (list, mut bad) = if everything {
        containers.list()?
    } else {
        running(session, &containers)?
    };
    let mut shown = Vec::new();
    let active: BTreeSet<std::ffi::OsString> = std::fs::read_dir(session.dirs.runtime_containers())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    let look = |container: Container| match active
        .contains(std::ffi::OsStr::new(container.id().as_str()))
    {
        true => Summary::of(container),
        false => Summary::at_rest(container),
    };
    for summary in parallel::map(list, look) {
        match summary {
            // Left by a killed `run --rm`: whoever meets it takes it away.
            Ok(s) if is_leftover(session, &s) => {}
            Ok(s) if !everything && !s.state.is_active() => drop(s),
            Ok(s) if filters.accept(&s) => shown.push(s),
            Ok(_) => {}
            Err(e) => bad.push(e),
        }
    }
    shown.sort_by(|a, b| {
        let key = |s: &Summary| (s.container.record.created, s.container.id().clone());
        key(b).cmp(&key(a))
    });
    if let Some(last) = options.last {
        shown.truncate(last);
    }
    Ok((shown, bad))
}

/// Whether it was one, and went. One that cannot be removed is shown.
fn is_leftover(session: &Session, summary: &Summary) -> bool {
    summary.state == State::Created
        && summary.container.is_abandoned().unwrap_or(false)
        && reap::reap_lost(session, &mut summary.container.clone()).unwrap_or(false)
}

/// Those that have a folder in the runtime directory: a fraction of all, as a rule.
fn running(session: &Session, containers: &Containers) -> Result<(Vec<Container>, Vec<Error>)> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let dir = session.dirs.runtime_containers();
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|n| n.parse::<ContainerId>().ok()) else {
            continue;
        };
        if !entry.path().join("status.json").exists() {
            continue;
        }
        match containers.open(&id) {
            Ok(container) => good.push(container),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => bad.push(e),
        }
    }
    Ok((good, bad))
}

/// How large a container is.
///
/// # Errors
/// What the kernel says; needs the user namespace, which this process enters.
pub fn sizes(session: &Session, container: &Container) -> Result<Sizes> {
    crate::runtime::userns::enter(&session.dirs, crate::runtime::userns::Want::Default)?;
    let store = Store::open(&session.dirs, session.options.storage_driver.as_deref())?;
    let layers = super::create::image_of(session, container)?
        .map(|i| i.chain())
        .unwrap_or_default();
    store.sizes(&Snapshot {
        layers: &layers,
        container_dir: container.dir(),
        view: &View::Same,
    })
}
