//! One name, several platforms: what a pulled index had beside the image that was chosen.

use super::manifest;
use super::policy::RegistryOptions;
use crate::base::{Context as _, Kind, Result};
use crate::image::Found;
use crate::operations::session::Session;
use crate::spec::image::ImageConfig;
use crate::spec::manifest::{DescriptorPlatform, Document, Index};
use crate::spec::platform::Platform;

/// Another image of the index that a found one was chosen from, for this platform, when it is here:
/// both came under names that stand for the same digest.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn sibling(session: &Session, found: &Found, wish: &Platform) -> Result<Option<Found>> {
    let Some(own) = &found.name else {
        return Ok(None);
    };
    let images = super::images(session);
    let names = images.names()?;
    let Some(top) = names.0.get(own).and_then(|e| e.digest.clone()) else {
        return Ok(None);
    };
    for (name, entry) in &names.0 {
        if name.name() != own.name() || entry.digest.as_ref() != Some(&top) {
            continue;
        }
        let record = images.get(&entry.id)?;
        if record.list.is_none() && wish.rank(&record.platform()).is_some() {
            return Ok(Some(Found {
                record,
                name: Some(name.clone()),
            }));
        }
    }
    Ok(None)
}

/// The platforms for which an image exists: those of the list that its name stands for here, else
/// at its registry, else its own.
///
/// # Errors
/// What the registry says.
pub fn all(session: &Session, name: &str, options: &RegistryOptions) -> Result<Vec<Platform>> {
    if let Ok(found) = super::lookup_any(session, name) {
        if let Some(list) = &found.record.list {
            let stated = list.members.iter().map(|m| &m.descriptor);
            return Ok(known(stated.filter_map(|d| d.platform.as_ref())));
        }
        let local = |n: &crate::spec::reference::Reference| n.registry() == "localhost";
        if found.name.as_ref().is_none_or(local) {
            return Ok(vec![found.record.platform()]);
        }
    }
    let (_, (client, endpoint), top) = manifest::fetch(session, name, options)?;
    match Document::parse(&top.bytes, &top.content_type)? {
        Document::Index(Index { manifests, .. }) => {
            Ok(known(manifests.iter().filter_map(|m| m.platform.as_ref())))
        }
        Document::Manifest(manifest) => {
            let config = client.small_blob(&endpoint.repository, &manifest.config)?;
            let config: ImageConfig = serde_json::from_slice(&config)
                .what_kind(Kind::Corrupt, || "the image's configuration is malformed")?;
            Ok(vec![config.platform()])
        }
    }
}

fn known<'a>(stated: impl Iterator<Item = &'a DescriptorPlatform>) -> Vec<Platform> {
    stated
        .filter(|p| p.os != "unknown")
        .map(DescriptorPlatform::normalized)
        .collect()
}
