//! `system prune`: everything that nothing uses.
//!
//! The build cache goes before the images: a layer that both have is given back by whichever goes last.

use crate::base::filter::Filters;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::image::filter as image_filter;
use crate::operations::build::usage as cache;
use crate::operations::container::prune as containers;
use crate::operations::image::remove as images;
use crate::operations::session::Session;
use crate::operations::volume;

/// What to remove.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Every image that no container uses, not dangling ones only.
    pub all: bool,
    /// Volumes too.
    pub volumes: Option<Which>,
    /// `--filter`: `label`, `label!`, `until`.
    pub filters: Vec<String>,
}

/// Which unused volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// podman: all of them.
    All,
    /// docker: those without a name of their own.
    Anonymous,
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Ids of containers.
    pub containers: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Ids of steps and cache mounts of builds.
    pub steps: Vec<String>,
    /// Lines about images, as `rmi` prints them.
    pub images: Vec<String>,
    /// What the disk got back.
    pub bytes: u64,
    /// What could not be removed.
    pub failures: Vec<Error>,
}

/// Keys of `--filter`.
pub const FILTERS: &[&str] = &["label", "until"];

/// What of the build cache goes: with `all` everything, else what no image has.
fn unused(filters: &Filters, all: bool, now: Timestamp) -> Result<cache::Prune> {
    let mut wish = cache::Prune {
        all,
        ..cache::Prune::default()
    };
    for filter in filters.0.iter().filter(|f| f.key == "until") {
        let until = Timestamp::parse_moment(&filter.value, now)?;
        wish.unused_for = wish.unused_for.max(Some(now.since(until)));
    }
    Ok(wish)
}

/// Removes containers that do not run, then images and volumes that nothing uses.
///
/// # Errors
/// `Invalid` for a filter; what entering the user namespace says. Single objects that cannot be
/// removed are in the answer.
pub fn prune(session: &Session, request: &Request) -> Result<Pruned> {
    let filters = Filters::parse(&request.filters, FILTERS)?;
    let mut pruned = Pruned::default();
    let gone = containers::prune(session, &request.filters)?;
    pruned.containers = gone.ids;
    pruned.bytes = gone.bytes;
    pruned.failures = gone.failures;
    if let Some(which) = request.volumes {
        let labels = Filters(
            filters
                .0
                .iter()
                .filter(|f| f.key == "label")
                .cloned()
                .collect(),
        );
        let gone = volume::prune(session, which == Which::All, &labels)?;
        pruned.volumes = gone.names;
        pruned.bytes += gone.bytes;
    }
    let now = Timestamp::now();
    // Steps of builds have no labels: with such a filter nobody means them.
    if !filters.0.iter().any(|f| f.key == "label") {
        let gone = cache::prune(session, &unused(&filters, request.all, now)?)?;
        pruned.steps = gone.entries.into_iter().map(|u| u.id).collect();
        pruned.bytes += gone.bytes;
    }
    let moment = |text: &str| Timestamp::parse_moment(text, now);
    let find = |_: &str| Ok(now);
    let gone = images::prune(session, request.all, &|listed| {
        filters.accept(|key, value| image_filter::holds(listed, key, value, &find, &moment))
    })?;
    pruned.images = gone.lines.iter().map(images::Removed::line).collect();
    pruned.bytes += gone.bytes;
    Ok(pruned)
}
