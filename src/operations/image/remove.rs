//! `rmi` and `image prune`: names go first, then the image, then what nothing reaches any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::filter::Listed;
use crate::image::store::read_only;
use crate::image::{Found, ImageRecord, Images, Names};
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;
use crate::state::container::{Container, Containers};
use crate::storage::Store;
use crate::storage::gc::{Collected, Reachable};
use crate::storage::interrupt::Interruptible;

/// What `rmi` may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Remove containers of the image, and an image with several names by its id.
    pub force: bool,
    /// Keep untagged images that it was made from.
    pub no_prune: bool,
}

/// One line of `rmi`'s answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name went.
    Untagged(String),
    /// An image went.
    Deleted(Digest),
}

impl Removed {
    /// As docker and podman print it.
    pub fn line(&self) -> String {
        match self {
            Self::Untagged(name) => format!("Untagged: {name}"),
            // podman prints the bare hex, docker the digest: a script can read either.
            Self::Deleted(id) => format!("Deleted: {}", id.hex()),
        }
    }
}

/// The exit code of an image that is in use.
const IN_USE: u8 = 2;

/// Removes a name, or an image with its last one. Enters the user namespace.
///
/// # Errors
/// `NotFound` (exit code 1); `InUse` (exit code 2) when a container or another image needs it.
pub fn remove(session: &Session, text: &str, options: Options) -> Result<Vec<Removed>> {
    let images = super::images(session);
    let found = super::lookup_any(session, text).map_err(|e| {
        if e.kind() == Kind::NotFound {
            e.exit_code(1)
        } else {
            e
        }
    })?;
    let names = images.names()?;
    let mut gone = Vec::new();
    if images.is_read_only(&found.record.id) {
        // A name that was given here can go.
        let own = found.name.iter().cloned().collect::<Vec<_>>();
        let own = images.untag(&own)?;
        if own.is_empty() {
            return Err(read_only(&found.record.id));
        }
        return Ok(own
            .iter()
            .map(|name| Removed::Untagged(name.to_string()))
            .collect());
    }
    if let Some(name) = &found.name
        && keeps_other_names(&names, &found, name)
    {
        untag(session, &names, &found.record.id, name, &mut gone)?;
        return Ok(gone);
    }
    let tags: Vec<_> = names.tags_of(&found.record.id).collect();
    if found.name.is_none() && tags.len() > 1 && !options.force {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        return Err(Error::new(
            Kind::InUse,
            format!(
                "image {} has several names: {}",
                found.record.id.short(),
                tags.join(", ")
            ),
        )
        .hint("remove the names one by one, or use --force")
        .exit_code(IN_USE));
    }
    release_users(session, &found, text, options)?;
    let has_children = images
        .list()?
        .iter()
        .any(|r| r.parent.as_ref() == Some(&found.record.id));
    if has_children {
        // Its layers stay in use; only the names can go.
        if found.name.is_none() && !options.force {
            return Err(Error::new(
                Kind::InUse,
                format!(
                    "image {} is the base of other images",
                    found.record.id.short()
                ),
            )
            .hint("remove those first, or use --force to take its names away")
            .exit_code(IN_USE));
        }
        let own: Vec<Reference> = names.of(&found.record.id).cloned().collect();
        for name in images.untag(&own)? {
            super::events::note(session, "untag", &found.record.id, &name.to_string());
            gone.push(Removed::Untagged(name.to_string()));
        }
        return Ok(gone);
    }
    delete(session, &found.record.id, &mut gone)?;
    if !options.no_prune {
        prune_parents(session, &images, found.record.parent.as_ref(), &mut gone)?;
    }
    collect(session)?;
    Ok(gone)
}

/// As [`remove`], by id, however many names the image has (`rmi --all`).
///
/// # Errors
/// As [`remove`].
pub fn remove_all_names(session: &Session, id: &str, options: Options) -> Result<Vec<Removed>> {
    let images = super::images(session);
    let found = images.find_named(id, &[])?;
    if images.is_read_only(&found.record.id) {
        // Not ours: `rmi --all` is about our own.
        return Ok(Vec::new());
    }
    let own: Vec<Reference> = images.names()?.of(&found.record.id).cloned().collect();
    release_users(session, &found, id, options)?;
    let mut gone: Vec<Removed> = images
        .untag(&own)?
        .iter()
        .map(|name| Removed::Untagged(name.to_string()))
        .collect();
    gone.extend(remove(
        session,
        id,
        Options {
            force: true,
            ..options
        },
    )?);
    Ok(gone)
}

/// Whether the image stays reachable by a tag when `name` goes.
fn keeps_other_names(names: &Names, found: &Found, name: &Reference) -> bool {
    let id = &found.record.id;
    if name.digest().is_some() {
        return names.tags_of(id).next().is_some();
    }
    names.tags_of(id).any(|tag| tag != name)
}

/// Takes a tag away, and the digest names of its repository when no other tag there needs them.
fn untag(
    session: &Session,
    names: &Names,
    id: &Digest,
    name: &Reference,
    gone: &mut Vec<Removed>,
) -> Result<()> {
    let mut away = vec![name.clone()];
    let repository = name.name();
    let last_of_repository = !names
        .tags_of(id)
        .any(|tag| tag != name && tag.name() == repository);
    if name.tag().is_some() && last_of_repository {
        away.extend(
            names
                .digests_of(id)
                .filter(|d| d.name() == repository)
                .cloned(),
        );
    }
    for name in super::images(session).untag(&away)? {
        super::events::note(session, "untag", id, &name.to_string());
        gone.push(Removed::Untagged(name.to_string()));
    }
    Ok(())
}

fn delete(session: &Session, id: &Digest, gone: &mut Vec<Removed>) -> Result<()> {
    let users = delete_unused(session, std::slice::from_ref(id), gone)?;
    match users.get(id).and_then(|u| u.first()) {
        Some(user) => Err(Error::new(
            Kind::InUse,
            format!("image {} is used by container {}", id.short(), user.name()),
        )
        .exit_code(IN_USE)),
        None => Ok(()),
    }
}

/// Deletes those of `ids` that no container uses. Answers the containers of the images there are.
fn delete_unused(
    session: &Session,
    ids: &[Digest],
    gone: &mut Vec<Removed>,
) -> Result<BTreeMap<Digest, Vec<Container>>> {
    let mut users = BTreeMap::new();
    // A container may have been made since somebody looked; one made from now on finds nothing.
    let used = || {
        users = super::list::users(session)?;
        Ok(users.keys().cloned().collect())
    };
    for (id, names) in super::images(session).remove_unless(ids, used)? {
        let first = names.first().map(ToString::to_string).unwrap_or_default();
        super::events::note(session, "remove", &id, &first);
        gone.extend(names.iter().map(|n| Removed::Untagged(n.to_string())));
        gone.push(Removed::Deleted(id));
    }
    Ok(users)
}

/// Refuses an image that containers use, or removes them with `--force`.
fn release_users(session: &Session, found: &Found, text: &str, options: Options) -> Result<()> {
    let users = super::list::users(session)?
        .remove(&found.record.id)
        .unwrap_or_default();
    if users.is_empty() {
        return Ok(());
    }
    if !options.force {
        let names: Vec<&str> = users.iter().map(Container::name).collect();
        return Err(Error::new(
            Kind::InUse,
            format!("image {text:?} is used by container {}", names.join(", ")),
        )
        .hint(format!("coracle rm {}", names.join(" ")))
        .hint("or use --force to remove the containers too")
        .exit_code(IN_USE));
    }
    for container in &users {
        super::release::remove_container(session, container, None)?;
    }
    Ok(())
}

/// Untagged images that only existed for the one that went.
fn prune_parents(
    session: &Session,
    images: &Images,
    parent: Option<&Digest>,
    gone: &mut Vec<Removed>,
) -> Result<()> {
    let mut next = parent.cloned();
    while let Some(id) = next.take() {
        let Ok(record) = images.get(&id) else { break };
        let named = images.names()?.of(&id).next().is_some();
        let needed = images
            .list()?
            .iter()
            .any(|r| r.parent.as_ref() == Some(&id));
        if named || needed || super::list::users(session)?.contains_key(&id) {
            break;
        }
        delete(session, &id, gone)?;
        next = record.parent;
    }
    Ok(())
}

/// What a prune did.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The images, by id.
    pub images: Vec<Digest>,
    /// Every line, as `rmi` prints it.
    pub lines: Vec<Removed>,
    /// What the disk got back.
    pub bytes: u64,
}

/// Removes images that no container uses and that `wanted` accepts: dangling ones, or with `all`
/// every one. Enters the user namespace.
///
/// # Errors
/// Those of `wanted`; what the kernel says.
pub fn prune(
    session: &Session,
    all: bool,
    wanted: &dyn Fn(&Listed) -> Result<bool>,
) -> Result<Pruned> {
    let images = super::images(session);
    let mut pruned = Pruned::default();
    super::enter_store(session)?;
    // Removing an image may leave the one below it dangling: until nothing changes.
    loop {
        let mut candidates = Vec::new();
        for image in super::list::list(session)? {
            let candidate = if all {
                !image.has_children
            } else {
                image.is_dangling()
            };
            let own = !images.is_read_only(&image.record.id);
            if own && candidate && image.containers == 0 && wanted(&image)? {
                candidates.push(image.record.id);
            }
        }
        let before = pruned.lines.len();
        if !candidates.is_empty() {
            delete_unused(session, &candidates, &mut pruned.lines)?;
        }
        let gone = pruned.lines[before..].iter().filter_map(|line| match line {
            Removed::Deleted(id) => Some(id.clone()),
            Removed::Untagged(_) => None,
        });
        let known = pruned.images.len();
        pruned.images.extend(gone);
        if pruned.images.len() == known {
            break;
        }
    }
    pruned.bytes = collect(session)?.bytes;
    Ok(pruned)
}

/// Keeps layers and blobs from being collected while they are brought here, and clears up when a
/// signal ends the process meanwhile; until dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "holding them is their use")]
pub struct Growing {
    lock: File,
    signals: Option<Interruptible>,
}

fn collect_lock(session: &Session) -> Result<File> {
    let path = session.dirs.store().join("collect.lock");
    files::create_private_dir_all(&session.dirs.store())?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .what(|| format!("cannot open {}", path.display()))
}

/// Says that this process adds layers and blobs which no record names yet. Waits for a collection
/// that runs. Inside the user namespace, before threads are made.
///
/// # Errors
/// What the kernel says.
pub fn growing(session: &Session, store: &Store) -> Result<Growing> {
    Ok(Growing {
        signals: Some(Interruptible::begin(store)?),
        ..growing_deaf(session)?
    })
}

/// As [`growing`], for a caller that sees to signals itself.
///
/// # Errors
/// What the kernel says.
pub fn growing_deaf(session: &Session) -> Result<Growing> {
    let lock = collect_lock(session)?;
    lock.lock_shared().what(|| "cannot lock the store")?;
    Ok(Growing {
        lock,
        signals: None,
    })
}

/// Says that nobody may add layers and blobs now; `None` while another process does.
///
/// # Errors
/// What the kernel says.
pub fn alone(session: &Session) -> Result<Option<File>> {
    let lock = collect_lock(session)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e).what(|| "cannot lock the store"),
    }
}

/// Removes layers and blobs that no image and no container reaches. While another process brings
/// images here nothing is removed: the next removal does it. Inside the user namespace.
///
/// # Errors
/// What the kernel says.
pub fn collect(session: &Session) -> Result<Collected> {
    let store = super::enter_store(session)?;
    let Some(_alone) = alone(session)? else {
        return Ok(Collected::default());
    };
    store.collect(&reachable(session)?, false)
}

/// The layers and blobs that images, containers and the build cache need.
///
/// # Errors
/// `Corrupt` for a damaged record: nothing may be collected then.
pub fn reachable(session: &Session) -> Result<Reachable> {
    let mut keep = held(session)?;
    crate::operations::build::cache::Cache::new(session).reachable(&mut keep)?;
    Ok(keep)
}

/// The layers and blobs that images and containers need.
///
/// # Errors
/// As [`reachable`].
pub fn held(session: &Session) -> Result<Reachable> {
    let images = super::images(session);
    // A removal that finds the image in use has it out of sight for a moment.
    let _lock = images.lock()?;
    let records = images.list()?;
    let (containers, damaged) = Containers::new(&session.dirs).list()?;
    if let Some(error) = damaged.into_iter().next() {
        return Err(error);
    }
    let layers = held_layers(session, records.iter(), &containers);
    Ok(Reachable {
        layers,
        blobs: images.referenced_blobs()?,
    })
}

/// The layers of these images, and of those that the containers were made from.
pub fn held_layers<'a>(
    session: &Session,
    records: impl Iterator<Item = &'a ImageRecord>,
    containers: &[Container],
) -> BTreeSet<Digest> {
    let images = super::images(session);
    let (mut layers, mut known) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        layers.extend(record.layers.iter().map(|l| l.chain_id.clone()));
        known.insert(record.id.clone());
    }
    // A container holds its image: one removed by force took its containers with it.
    for image in containers.iter().filter_map(|c| c.record.image.as_ref()) {
        if known.insert(image.id.clone())
            && let Ok(record) = images.get(&image.id)
        {
            layers.extend(record.layers.iter().map(|l| l.chain_id.clone()));
        }
    }
    layers
}
