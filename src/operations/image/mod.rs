//! What people do with images: bring them here, look at them, give them away, remove them.

pub mod archive;
pub mod artifact;
pub mod compress;
pub mod convert;
pub(in crate::operations) mod destination;
pub mod ensure;
pub mod events;
pub mod hello;
pub mod import;
pub mod inspect;
pub mod lazy;
pub mod list;
pub mod load;
pub mod login;
pub mod make;
pub mod manifest;
pub mod mount;
pub mod partial;
pub mod platforms;
pub mod policy;
pub mod pull;
pub mod push;
pub mod release;
pub mod remote;
pub mod remove;
pub mod save;
pub mod search;
pub mod source;
pub mod transfer;
pub mod trust;

pub use ensure::{Ensure, ensure};
pub use policy::{PullPolicy, RegistryOptions};

use crate::base::{Error, Kind, Result};
use crate::config::user;
use crate::image::{Found, Images};
use crate::operations::session::Session;
use crate::registry::registries_conf::Registries;
use crate::runtime::userns;
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;
use crate::storage::Store;

/// The images of a session.
pub fn images(session: &Session) -> Images {
    Images::open(&session.dirs)
}

/// The store of a session.
///
/// # Errors
/// `Invalid` for an unknown driver.
pub fn store(session: &Session) -> Result<Store> {
    Store::open(&session.dirs, session.options.storage_driver.as_deref())
}

/// Enters the caller's user namespace, where everything is written, and opens the store.
///
/// # Errors
/// `Denied` or `Unsupported` when the kernel refuses user namespaces.
pub fn enter_store(session: &Session) -> Result<Store> {
    // The caller's name and home are asked before the ids change their meaning.
    let _ = user::current();
    let entered = userns::enter(&session.dirs, userns::Want::Default)?;
    if session.progress.is_seen() {
        userns::tell(&session.dirs, &entered, &mut |text| {
            session.progress.message(text);
        });
    }
    store(session)
}

/// Finds an image that is here; a manifest list stands for its image for this machine.
///
/// # Errors
/// As [`lookup_any`]; `NotFound` for a list whose image is not here.
pub fn lookup(session: &Session, text: &str) -> Result<Found> {
    lookup_for(session, text, None)
}

/// As [`lookup`], for a platform.
///
/// # Errors
/// As [`lookup`].
pub fn lookup_for(session: &Session, text: &str, wish: Option<&Platform>) -> Result<Found> {
    let mut found = lookup_any(session, text)?;
    if let Some(list) = &found.record.list {
        found.record = manifest::resolve(session, list, wish)?;
    }
    Ok(found)
}

/// Finds an image or a manifest list that is here, by name, digest, id or id prefix. Short names mean what is
/// stored as `localhost/…` or from Docker Hub, then what registries.conf says.
///
/// # Errors
/// `NotFound`; `Invalid` when an id prefix fits several.
pub fn lookup_any(session: &Session, text: &str) -> Result<Found> {
    let images = images(session);
    match images.find_named(text, &[]) {
        Err(e) if e.kind() == Kind::NotFound && !crate::image::store::has_registry(text) => {
            // Only now are the files worth reading: most names were found without them.
            let registries =
                Registries::load(session.options.registries_conf.as_deref(), &session.env)?;
            match registries.candidates(text) {
                Ok(more) => images.find_named(text, &more),
                // Text that is no name can still be an id, which was not found.
                Err(_) => Err(e),
            }
        }
        other => other,
    }
}

/// Whether an image that was found is here still. Asked when a container with it is on record: from
/// then on whoever removes images sees that it is in use, and looks again after the removal.
///
/// # Errors
/// `Invalid` for an unknown driver.
pub fn is_kept(session: &Session, record: &crate::image::ImageRecord) -> Result<bool> {
    let store = store(session)?;
    let here = |layer: &crate::image::LayerRecord| {
        let layers = store.layers();
        layers.has(&layer.chain_id) || layers.is_lazy(&layer.chain_id)
    };
    Ok(images(session).has(&record.id) && record.layers.last().is_none_or(here))
}

/// Sees that a found image is for the platform that `--platform` names.
///
/// # Errors
/// `NotFound` when it is for another.
pub fn check_platform(text: &str, found: &Found, wish: Option<&Platform>) -> Result<()> {
    let own = found.record.platform();
    match wish {
        Some(wish) if wish.rank(&own).is_none() => Err(Error::not_found(format!(
            "image {text:?} is here for {own}, not for {wish}"
        ))
        .hint(format!("coracle pull --platform {wish} {text}"))),
        _ => Ok(()),
    }
}

/// Takes names away from an image; without names all of them. The image stays.
///
/// # Errors
/// `NotFound` when there is no such image, or it has no such name.
pub fn untag(session: &Session, text: &str, names: &[String]) -> Result<()> {
    let images = images(session);
    let found = lookup_any(session, text)?;
    let index = images.names()?;
    let mut away = Vec::new();
    if names.is_empty() {
        away.extend(index.of(&found.record.id).cloned());
    }
    for name in names {
        let matching = crate::image::store::candidates(name)
            .into_iter()
            .find(|n| index.0.get(n).is_some_and(|e| e.id == found.record.id));
        match matching {
            Some(name) => away.push(name),
            None => {
                return Err(Error::not_found(format!(
                    "image {text:?} has no name {name:?}"
                )));
            }
        }
    }
    for name in images.untag(&away)? {
        events::note(session, "untag", &found.record.id, &name.to_string());
    }
    Ok(())
}

/// Gives an image more names.
///
/// # Errors
/// `NotFound` when there is no such image.
pub fn tag(session: &Session, text: &str, names: &[Reference]) -> Result<()> {
    let found = lookup_any(session, text)?;
    for name in names {
        images(session).tag(&found.record.id, name)?;
        events::note(session, "tag", &found.record.id, &name.to_string());
    }
    Ok(())
}
