//! Finding: every kind of object is held against itself and against what it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Finding, Remedy, Request, mounts};
use crate::base::{Kind, Result, parallel, size};
use crate::image::{ImageRecord, LayerRecord};
use crate::operations::build::cache::Cache;
use crate::operations::image;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::id::ContainerId;
use crate::state::container::{Container, Containers};
use crate::state::network::Networks;
use crate::storage::layer::chain_of;
use crate::storage::volume::Volumes;
use crate::storage::{LayerInfo, Store};
use crate::sys::process::Identity;

/// What is needed, and what is here.
struct Known {
    images: BTreeMap<Digest, ImageRecord>,
    containers: Vec<Container>,
    /// All layers that images, containers and the build cache need, those below them as well.
    wanted: BTreeSet<Digest>,
    /// How a layer can be made again: what it is on, and the blob.
    sources: BTreeMap<Digest, LayerRecord>,
    /// A record could not be read, so nobody knows what it needs.
    blind: bool,
}

/// Everything that is wrong, in the order in which it is to be mended.
pub(super) fn all(session: &Session, store: &Store, request: &Request) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let known = records(session, store, &mut found)?;
    names(session, &known, &mut found)?;
    remains(session, store, request, &known, &mut found);
    let bad_blobs = blobs(store, request, &known, &mut found)?;
    let (good, bad) = layers(store, request, &known, &bad_blobs, &mut found)?;
    images(store, &known, &bad_blobs, &good, &bad, &mut found);
    containers(session, &known, &mut found)?;
    others(session, request, &mut found)?;
    Ok(found)
}

fn records(session: &Session, store: &Store, found: &mut Vec<Finding>) -> Result<Known> {
    let mut known = Known {
        images: BTreeMap::new(),
        containers: Vec::new(),
        wanted: BTreeSet::new(),
        sources: BTreeMap::new(),
        blind: false,
    };
    for (id, record) in image::images(session).examine()? {
        match record {
            Ok(record) => drop(known.images.insert(id, record)),
            Err(e) => {
                known.blind = true;
                found.push(Finding::new(
                    "image",
                    id.short(),
                    e.one_line(),
                    unreadable(e.kind(), Remedy::RemoveImage(id.clone())),
                ));
            }
        }
    }
    let all = Containers::new(&session.dirs);
    for id in all.ids()? {
        match all.open(&id) {
            Ok(container) => known.containers.push(container),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => {
                known.blind = true;
                let dir = session.dirs.containers().join(id.as_str());
                found.push(Finding::new(
                    "container",
                    id.short(),
                    e.one_line(),
                    unreadable(e.kind(), Remedy::RemoveContainer(dir)),
                ));
            }
        }
    }
    let layers = known.images.values().flat_map(|r| r.layers.clone());
    let mut all: Vec<LayerRecord> = layers.collect();
    for (step, _) in Cache::new(session).steps()? {
        known.wanted.extend(step.parent);
        all.extend(step.layer);
    }
    for layer in all {
        known.wanted.insert(layer.chain_id.clone());
        known.sources.insert(layer.chain_id.clone(), layer);
    }
    // What lies below a layer that is needed is needed as well.
    let parents: BTreeMap<Digest, Digest> = store
        .shelves()?
        .into_iter()
        .filter_map(|shelf| shelf.info.ok())
        .filter_map(|info| Some((info.chain_id, info.parent?)))
        .collect();
    let mut next: Vec<Digest> = known.wanted.iter().cloned().collect();
    while let Some(chain) = next.pop() {
        if let Some(parent) = parents.get(&chain)
            && known.wanted.insert(parent.clone())
        {
            next.push(parent.clone());
        }
    }
    Ok(known)
}

/// What a newer coracle wrote is not damaged.
fn unreadable(kind: Kind, remedy: Remedy) -> Remedy {
    match kind {
        Kind::Corrupt => remedy,
        _ => Remedy::None("it is not damaged as far as this coracle can tell"),
    }
}

fn names(session: &Session, known: &Known, found: &mut Vec<Finding>) -> Result<()> {
    match image::images(session).own_names() {
        Ok(names) => {
            let images = image::images(session);
            for (name, entry) in names.0 {
                let damaged = found
                    .iter()
                    .any(|f| matches!(&f.remedy, Remedy::RemoveImage(id) if *id == entry.id));
                let there = known.images.contains_key(&entry.id) || images.is_read_only(&entry.id);
                if !there && !damaged {
                    found.push(Finding::new(
                        "name",
                        name.to_string(),
                        format!("its image {} is gone", entry.id.short()),
                        Remedy::Untag(name),
                    ));
                }
            }
            Ok(())
        }
        Err(e) if e.kind() == Kind::Corrupt => {
            found.push(Finding::new(
                "names",
                "of images",
                e.one_line(),
                Remedy::SetNamesAside,
            ));
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Half-done work of processes that died.
fn remains(
    session: &Session,
    store: &Store,
    request: &Request,
    known: &Known,
    found: &mut Vec<Finding>,
) {
    for remains in Containers::new(&session.dirs).remains(false) {
        let (what, path) = remains.describe();
        found.push(Finding::new(
            "leftover",
            path.display().to_string(),
            what,
            Remedy::SweepContainers,
        ));
    }
    for path in Volumes::new(&session.dirs).remains() {
        found.push(Finding::new(
            "leftover",
            path.display().to_string(),
            "a half-made or half-removed volume",
            Remedy::SweepVolumes,
        ));
    }
    for leftover in store.leftovers(request.max, &known.wanted) {
        if known.blind && matches!(leftover.kind, "metadata clone" | "copy of an image") {
            continue;
        }
        found.push(Finding::new(
            "leftover",
            leftover.path.display().to_string(),
            format!("{} of {}", leftover.kind, size::human(leftover.bytes)),
            Remedy::ClearAway(leftover.path),
        ));
    }
}

/// The blobs that are not what their names say.
fn blobs(
    store: &Store,
    request: &Request,
    known: &Known,
    found: &mut Vec<Finding>,
) -> Result<BTreeSet<Digest>> {
    let sizes: BTreeMap<&Digest, u64> = known
        .sources
        .values()
        .map(|layer| (&layer.digest, layer.size))
        .collect();
    let flaws = parallel::map(store.blobs().list()?, |(digest, size)| {
        let flaw = match sizes.get(&digest) {
            Some(wanted) if *wanted != size => {
                Ok(Some(format!("it has {size} bytes in place of {wanted}")))
            }
            _ if request.quick => Ok(None),
            _ => store.blob_flaw(&digest),
        };
        (digest, flaw)
    });
    let mut bad = BTreeSet::new();
    for (digest, flaw) in flaws {
        let flaw = flaw.unwrap_or_else(|e| Some(e.one_line()));
        if let Some(flaw) = flaw {
            found.push(Finding::new(
                "blob",
                digest.short(),
                flaw,
                Remedy::RemoveBlob(digest.clone()),
            ));
            bad.insert(digest);
        }
    }
    Ok(bad)
}

type Layers = (BTreeSet<Digest>, BTreeMap<Digest, String>);

/// The layers that are whole, and those that are not, with the reason.
fn layers(
    store: &Store,
    request: &Request,
    known: &Known,
    bad_blobs: &BTreeSet<Digest>,
    found: &mut Vec<Finding>,
) -> Result<Layers> {
    let usable = |blob: &Digest| store.blobs().has(blob) && !bad_blobs.contains(blob);
    let judged = parallel::map(store.shelves()?, |shelf| {
        let flaw = match &shelf.info {
            Err(e) => Some(e.one_line()),
            Ok(info) => judge(store, info, known, &usable, request.quick),
        };
        (shelf, flaw)
    });
    let (mut good, mut bad) = (BTreeSet::new(), BTreeMap::new());
    for (shelf, flaw) in judged {
        // A folder with a damaged record is known by its name.
        let chain = match &shelf.info {
            Ok(info) => Some(info.chain_id.clone()),
            Err(_) => chain_of(&shelf.path),
        };
        let needed = known.blind || chain.as_ref().is_some_and(|c| known.wanted.contains(c));
        let object = match &chain {
            Some(chain) => chain.short().to_owned(),
            None => shelf.path.display().to_string(),
        };
        match (flaw, chain) {
            (None, Some(chain)) => {
                if !needed && is_older(&shelf.path, request.max) {
                    found.push(Finding::new(
                        "layer",
                        object,
                        "no image, container or build needs it",
                        Remedy::ClearAway(shelf.path),
                    ));
                }
                good.insert(chain);
            }
            (Some(flaw), chain) => {
                let source = chain.as_ref().and_then(|c| known.sources.get(c));
                let remedy = match (source, &chain) {
                    (Some(source), Some(chain)) if usable(&source.digest) => {
                        renew(known, source, chain)
                    }
                    _ if needed => Remedy::None("it cannot be made again from what is here"),
                    _ => Remedy::ClearAway(shelf.path),
                };
                // The image that needs it is reported in its place.
                if !matches!(remedy, Remedy::None(_)) || known.blind {
                    found.push(Finding::new("layer", object, &*flaw, remedy));
                }
                if let Some(chain) = chain {
                    bad.insert(chain, flaw);
                }
            }
            (None, None) => {}
        }
    }
    for (chain, source) in &known.sources {
        let missing = !good.contains(chain) && !bad.contains_key(chain) && !elsewhere(store, chain);
        let by_image = known
            .images
            .values()
            .any(|r| r.layers.iter().any(|l| l.chain_id == *chain));
        if missing && by_image && usable(&source.digest) {
            found.push(Finding::new(
                "layer",
                chain.short(),
                "it is not in the store",
                renew(known, source, chain),
            ));
        }
    }
    Ok((good, bad))
}

/// Whether a layer is not ours to judge: in a store of others, or fetched file by file.
fn elsewhere(store: &Store, chain: &Digest) -> bool {
    store.layers().is_foreign(chain) || store.layers().is_lazy(chain)
}

fn renew(known: &Known, source: &LayerRecord, chain: &Digest) -> Remedy {
    let below = known.images.values().find_map(|record| {
        let at = record.layers.iter().position(|l| l.chain_id == *chain)?;
        Some(
            at.checked_sub(1)
                .map(|at| record.layers[at].chain_id.clone()),
        )
    });
    let parent = match below {
        Some(parent) => parent,
        // A step of the build cache: without its record nobody knows what it lies on.
        None if *chain == source.diff_id => None,
        None => return Remedy::None("nobody knows what it lies on"),
    };
    Remedy::Renew {
        parent,
        diff_id: source.diff_id.clone(),
        blob: source.digest.clone(),
        chain: chain.clone(),
    }
}

fn judge(
    store: &Store,
    info: &LayerInfo,
    known: &Known,
    usable: &dyn Fn(&Digest) -> bool,
    quick: bool,
) -> Option<String> {
    if let Some(flaw) = store.layer_flaw(info) {
        return Some(flaw);
    }
    if quick {
        return None;
    }
    let flaw = match known.sources.get(&info.chain_id) {
        _ if store.layers().has_recipe(&info.chain_id) => store.recipe_flaw(info),
        Some(source) if usable(&source.digest) => store.content_flaw(info, &source.digest),
        _ => Ok(None),
    };
    flaw.unwrap_or_else(|e| Some(e.one_line()))
}

fn is_older(path: &Path, age: Duration) -> bool {
    fs::metadata(path)
        .and_then(|m| m.modified())
        .is_ok_and(|t| t.elapsed().unwrap_or_default() >= age)
}

/// Images that lack a part which cannot be made again.
fn images(
    store: &Store,
    known: &Known,
    bad_blobs: &BTreeSet<Digest>,
    good: &BTreeSet<Digest>,
    bad: &BTreeMap<Digest, String>,
    found: &mut Vec<Finding>,
) {
    for (id, record) in &known.images {
        let flaw = record.layers.iter().find_map(|layer| {
            let blob = store.blobs().has(&layer.digest) && !bad_blobs.contains(&layer.digest);
            // One that came in parts has a recipe in place of its blob, one that is lazy not all yet.
            let parts =
                good.contains(&layer.chain_id) && store.layers().has_recipe(&layer.chain_id);
            if blob || parts || elsewhere(store, &layer.chain_id) {
                return None;
            }
            let name = layer.chain_id.short();
            if bad_blobs.contains(&layer.digest) {
                return Some(format!(
                    "blob {} of its layers is damaged",
                    layer.digest.short()
                ));
            }
            match bad.get(&layer.chain_id) {
                Some(why) => Some(format!(
                    "layer {name} is damaged, and its blob is gone: {why}"
                )),
                None if !good.contains(&layer.chain_id) => Some(format!("layer {name} is gone")),
                None => Some(format!(
                    "blob {} of its layers is gone",
                    layer.digest.short()
                )),
            }
        });
        if let Some(flaw) = flaw {
            found.push(Finding::new(
                "image",
                id.short(),
                flaw,
                Remedy::RemoveImage(id.clone()),
            ));
        }
    }
}

fn containers(session: &Session, known: &Known, found: &mut Vec<Finding>) -> Result<()> {
    let images = image::images(session);
    for container in &known.containers {
        if let Some(image) = &container.record.image
            && !known.images.contains_key(&image.id)
            && !images.is_read_only(&image.id)
            && !known.blind
        {
            found.push(Finding::new(
                "container",
                container.name(),
                format!("its image {} is gone", image.id.short()),
                Remedy::RemoveContainer(container.dir().to_owned()),
            ));
        }
        let status = match container.status() {
            Ok(status) => status,
            Err(e) => {
                let path = container.runtime_dir().join("status.json");
                found.push(Finding::new(
                    "container",
                    container.name(),
                    e.one_line(),
                    Remedy::SetAside(path),
                ));
                None
            }
        };
        if let Err(e) = container.exit() {
            found.push(Finding::new(
                "container",
                container.name(),
                e.one_line(),
                Remedy::SetAside(container.dir().join("exit.json")),
            ));
        }
        let init = status.and_then(|s| s.init).filter(Identity::is_alive);
        let root = init.map(|i| format!("/proc/{}/root/.", i.pid));
        if root.is_some_and(|root| mounts::is_dead(Path::new(&root))) {
            found.push(Finding::new(
                "container",
                container.name(),
                "it runs, and the server of its files is gone",
                Remedy::Stop(container.id().as_str().to_owned()),
            ));
        }
    }
    Ok(())
}

/// Volumes, networks, secrets, and what the build cache notes.
fn others(session: &Session, request: &Request, found: &mut Vec<Finding>) -> Result<()> {
    let volumes = Volumes::new(&session.dirs);
    for (name, record) in volumes.examine()? {
        let (flaw, kind) = match record {
            Ok(Some(record)) if record.options.is_empty() && !volumes.data_path(&name).exists() => {
                ("its files are gone".to_owned(), Kind::Corrupt)
            }
            Ok(Some(_)) => continue,
            Ok(None) => ("it has no record".to_owned(), Kind::Corrupt),
            Err(e) => (e.one_line(), e.kind()),
        };
        found.push(Finding::new(
            "volume",
            name.as_str(),
            flaw,
            unreadable(kind, Remedy::RenewVolume(name.clone())),
        ));
    }
    let networks = Networks::new(&session.dirs);
    for path in json_files(&session.dirs.networks()) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if let Err(e) = networks.get(&name) {
            let remedy = unreadable(e.kind(), Remedy::SetAside(path.clone()));
            found.push(Finding::new("network", &*name, e.one_line(), remedy));
        }
    }
    for path in json_files(&session.dirs.store().join("build/steps")) {
        // What a build has not flushed when the power goes counts as no entry: the step runs again.
        if !is_json(&path) && is_older(&path, request.max) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            found.push(Finding::new(
                "build step",
                name.get(..12).unwrap_or(&name),
                "its record was cut short",
                Remedy::ClearAway(path.clone()),
            ));
        }
    }
    for folder in fs::read_dir(session.dirs.secrets())
        .into_iter()
        .flatten()
        .flatten()
    {
        for path in json_files(&folder.path()) {
            if !is_json(&path) {
                found.push(Finding::new(
                    "secret",
                    folder.file_name().to_string_lossy(),
                    "its record is damaged",
                    Remedy::SetAside(folder.path()),
                ));
            }
        }
    }
    Ok(())
}

fn json_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    found.sort();
    found
}

fn is_json(path: &Path) -> bool {
    // One that is gone meanwhile is not damaged.
    fs::read(path).map_or(true, |bytes| {
        serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()
    })
}

/// The containers of an image.
pub(super) fn users(session: &Session, id: &Digest) -> Result<Vec<Container>> {
    Ok(image::list::users(session)?.remove(id).unwrap_or_default())
}

/// A container that runs with this layer, by name.
pub(super) fn running_on(session: &Session, chain: &Digest) -> Result<Option<String>> {
    let images = image::images(session);
    let (containers, _) = Containers::new(&session.dirs).list()?;
    for container in containers {
        let uses = container.record.image.as_ref().is_some_and(|image| {
            images
                .get(&image.id)
                .is_ok_and(|r| r.layers.iter().any(|l| l.chain_id == *chain))
        });
        if uses && container.state()?.is_active() {
            return Ok(Some(container.name().to_owned()));
        }
    }
    Ok(None)
}

/// The container in this folder, for one whose record may be damaged.
pub(super) fn id_of(dir: &Path) -> Option<ContainerId> {
    dir.file_name()?.to_str()?.parse().ok()
}
