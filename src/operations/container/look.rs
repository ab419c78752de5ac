//! `inspect`: gathers what the records do not say themselves, and makes the JSON.

use std::path::PathBuf;

use serde_json::Value;

use super::inspect::{self, Context};
use super::summary::Summary;
use super::{create, launch, list};
use crate::base::{Context as _, Kind, Result};
use crate::operations::session::Session;
use crate::spec::runtime::Spec;
use crate::state::container::Container;
use crate::storage::Store;
use crate::storage::volume::Volumes;

/// A specification larger than this is damaged.
const SPEC_LIMIT: u64 = 4 << 20;

/// The specification of the present or last run, else the one that a start would make.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn spec_of(session: &Session, container: &Container) -> Result<Option<Spec>> {
    let path = container.runtime_dir().join("spec.json");
    if let Some(bytes) = crate::base::fs::read_if_exists(&path, SPEC_LIMIT)? {
        let spec = serde_json::from_slice(&bytes).what_kind(Kind::Corrupt, || {
            format!("the specification {} is damaged", path.display())
        })?;
        return Ok(Some(spec));
    }
    let record = &container.record;
    let image = create::image_of(session, container).ok().flatten();
    let volumes = Volumes::new(&session.dirs);
    let bound = record
        .volumes
        .iter()
        .filter_map(|v| {
            let path = volumes.data_path(&v.name.parse().ok()?);
            Some((v.name.clone(), v.destination.clone(), path))
        })
        .collect();
    Ok(launch::imagined(
        record.id.as_str(),
        record.name.as_str(),
        &record.options,
        image.as_ref().map(|i| &i.config),
        bound,
    )
    .map(|g| g.spec))
}

/// The object that `inspect` prints for a container.
///
/// # Errors
/// `Corrupt` for damaged records; with `size` what the kernel says.
pub fn container(session: &Session, container: Container, size: bool) -> Result<Value> {
    let summary = Summary::of(container)?;
    let container = &summary.container;
    let image = create::image_of(session, container).ok().flatten();
    let spec = spec_of(session, container)?;
    let sizes = if size {
        let sizes = list::sizes(session, container)?;
        Some((sizes.upper, sizes.virtual_size))
    } else {
        None
    };
    let lower_dirs: Vec<PathBuf> = match &image {
        Some(image) => {
            let store = Store::open(&session.dirs, session.options.storage_driver.as_deref())?;
            image
                .chain()
                .iter()
                .rev()
                .map(|chain| store.layers().path(chain))
                .collect()
        }
        None => Vec::new(),
    };
    Ok(inspect::inspect(
        &summary,
        &Context {
            image: image.as_ref().map(|i| &i.config),
            spec: spec.as_ref(),
            volumes: session.dirs.volumes(),
            sizes,
            lower_dirs,
        },
    ))
}
