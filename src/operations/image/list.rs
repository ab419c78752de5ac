//! Images with what the index and the containers say of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Result;
use crate::image::filter::Listed;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;
use crate::state::container::{Container, Containers};

/// All images, newest first.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn list(session: &Session) -> Result<Vec<Listed>> {
    let images = super::images(session);
    let names = images.names()?;
    let mut by_id: BTreeMap<&Digest, (Vec<Reference>, Vec<Reference>)> = BTreeMap::new();
    for (name, entry) in &names.0 {
        let (tags, digests) = by_id.entry(&entry.id).or_default();
        if name.digest().is_some() {
            digests.push(name.clone());
        } else {
            tags.push(name.clone());
        }
    }
    let records = images.list()?;
    let parents: BTreeSet<Digest> = records.iter().filter_map(|r| r.parent.clone()).collect();
    let lists = records.iter().filter_map(|r| r.list.as_ref());
    let members: BTreeSet<Digest> = lists
        .flat_map(|l| l.members.iter().map(|m| m.descriptor.digest.clone()))
        .collect();
    let users = users(session)?;
    let mut listed: Vec<Listed> = records
        .into_iter()
        .map(|record| {
            let (tags, digests) = by_id.get(&record.id).cloned().unwrap_or_default();
            Listed {
                containers: users.get(&record.id).map_or(0, Vec::len),
                has_children: parents.contains(&record.id)
                    || record.manifests.iter().any(|m| members.contains(&m.digest)),
                read_only: images.is_read_only(&record.id),
                tags,
                digests,
                record,
            }
        })
        .collect();
    listed.sort_by(|a, b| (b.record.created(), &a.tags).cmp(&(a.record.created(), &b.tags)));
    Ok(listed)
}

/// The containers of each image.
///
/// # Errors
/// What the kernel says. A damaged container record counts for none.
pub fn users(session: &Session) -> Result<BTreeMap<Digest, Vec<Container>>> {
    let (containers, _damaged) = Containers::new(&session.dirs).list()?;
    let mut users: BTreeMap<Digest, Vec<Container>> = BTreeMap::new();
    for container in containers {
        if let Some(image) = &container.record.image {
            users.entry(image.id.clone()).or_default().push(container);
        }
    }
    Ok(users)
}
