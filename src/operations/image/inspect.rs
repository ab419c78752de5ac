//! What `inspect` and `history` say of an image, in docker's and podman's words.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::base::Result;
use crate::base::time::Timestamp;
use crate::image::{ImageRecord, Names};
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::image::History;
use crate::spec::reference::Reference;
use crate::storage::snapshot::Change;

/// An image as `image inspect` shows it.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn inspect(session: &Session, record: &ImageRecord) -> Result<Value> {
    let names = super::images(session).names()?;
    let store = super::store(session)?;
    let tags: Vec<String> = names.tags_of(&record.id).map(ToString::to_string).collect();
    let paths: Vec<String> = record
        .layers
        .iter()
        .rev()
        .map(|l| {
            let path = store.layers().path(&l.chain_id).join("diff");
            path.display().to_string()
        })
        .collect();
    let mut data = serde_json::Map::new();
    if let Some((top, rest)) = paths.split_first() {
        if !rest.is_empty() {
            data.insert("LowerDir".to_owned(), rest.join(":").into());
        }
        data.insert("UpperDir".to_owned(), top.clone().into());
    }
    let config = &record.config;
    let run = serde_json::to_value(&config.config).unwrap_or_default();
    let comment = config
        .history
        .iter()
        .rev()
        .find_map(|h| h.comment.clone())
        .unwrap_or_default();
    let history: Vec<Value> = config.history.iter().map(history_value).collect();
    let mut value = json!({
        "Id": id_text(session, record),
        "Digest": record.manifest_digest().map(ToString::to_string).unwrap_or_default(),
        "RepoTags": tags,
        "RepoDigests": repo_digests(&names, record),
        "Parent": record.parent.as_ref().map(|p| p.hex().to_owned()).unwrap_or_default(),
        "Comment": comment,
        "Created": config.created.clone().unwrap_or_default(),
        "Config": run,
        "Version": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": record.size,
        "VirtualSize": record.size,
        "GraphDriver": {"Name": "overlay", "Data": data},
        "RootFS": {
            "Type": "layers",
            "Layers": record.layers.iter().map(|l| l.diff_id.to_string()).collect::<Vec<_>>(),
        },
        "Labels": config.config.labels,
        "Annotations": annotations(record),
        "ManifestType": record.manifests.first().map(|m| m.media_type.clone()).unwrap_or_default(),
        "User": config.config.user,
        "History": history,
        "NamesHistory": tags,
    });
    if let Some(object) = value.as_object_mut() {
        if let Some(variant) = &config.variant {
            object.insert("Variant".to_owned(), variant.clone().into());
        }
        if let Some(check) = &config.config.healthcheck {
            object.insert(
                "Healthcheck".to_owned(),
                serde_json::to_value(check).unwrap_or_default(),
            );
        }
    }
    Ok(value)
}

/// The id as docker or podman prints it, after the name that coracle was called by.
pub fn id_text(session: &Session, record: &ImageRecord) -> String {
    let docker = session
        .command_line
        .first()
        .is_some_and(|program| program.rsplit('/').next() == Some("docker"));
    if docker {
        record.id.to_string()
    } else {
        record.id.hex().to_owned()
    }
}

/// `repository@digest` for every name of an image.
pub fn repo_digests(names: &Names, record: &ImageRecord) -> Vec<String> {
    let mut found: BTreeSet<String> = names
        .digests_of(&record.id)
        .map(ToString::to_string)
        .collect();
    if let Some(digest) = record.manifest_digest() {
        let repositories: BTreeSet<String> =
            names.tags_of(&record.id).map(Reference::name).collect();
        found.extend(repositories.iter().map(|name| format!("{name}@{digest}")));
    }
    found.into_iter().collect()
}

fn annotations(record: &ImageRecord) -> Value {
    record
        .manifests
        .first()
        .and_then(|m| serde_json::from_str::<Value>(&m.raw).ok())
        .and_then(|v| v.get("annotations").cloned())
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}))
}

fn history_value(entry: &History) -> Value {
    // Docker's and OCI's own spelling, as podman shows it.
    serde_json::to_value(entry).unwrap_or_default()
}

/// One line of `history`, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// The image's id for the newest line, else absent.
    pub id: Option<String>,
    /// When.
    pub created: Timestamp,
    /// By what.
    pub created_by: String,
    /// Bytes of its layer, unpacked; 0 without one.
    pub size: u64,
    /// A note.
    pub comment: String,
    /// Names of the image, on the newest line.
    pub tags: Vec<String>,
}

/// How an image came about, newest first.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn history(session: &Session, record: &ImageRecord) -> Result<Vec<HistoryLine>> {
    let store = super::store(session)?;
    let names = super::images(session).names()?;
    let mut layers = record.layers.iter();
    let mut entries = record.config.history.clone();
    let described = entries.iter().filter(|h| !h.empty_layer).count();
    // Layers that nobody described are older than those that somebody did.
    for _ in described..record.layers.len() {
        entries.insert(0, History::default());
    }
    let mut lines = Vec::new();
    for entry in entries {
        let layer = if entry.empty_layer {
            None
        } else {
            layers.next()
        };
        let size = match layer {
            Some(layer) => store.layers().get(&layer.chain_id)?.map_or(0, |l| l.size),
            None => 0,
        };
        lines.push(HistoryLine {
            id: None,
            created: entry
                .created
                .as_deref()
                .and_then(|t| Timestamp::parse_rfc3339(t).ok())
                .unwrap_or_default(),
            created_by: entry.created_by.unwrap_or_default(),
            size,
            comment: entry.comment.unwrap_or_default(),
            tags: Vec::new(),
        });
    }
    lines.reverse();
    if let Some(first) = lines.first_mut() {
        first.id = Some(record.id.hex().to_owned());
        first.tags = names.tags_of(&record.id).map(ToString::to_string).collect();
    }
    Ok(lines)
}

/// One layer of `image tree`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeLayer {
    /// Chain id, hex.
    pub id: String,
    /// Bytes, unpacked.
    pub size: u64,
    /// Names of the images whose top it is.
    pub top_of: Vec<String>,
}

/// The layers of an image, bottom first.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn tree(session: &Session, record: &ImageRecord) -> Result<Vec<TreeLayer>> {
    let store = super::store(session)?;
    let images = super::images(session);
    let names = images.names()?;
    let all = images.list()?;
    let mut layers = Vec::new();
    for layer in &record.layers {
        let top_of = all
            .iter()
            .filter(|r| {
                r.layers
                    .last()
                    .is_some_and(|l| l.chain_id == layer.chain_id)
            })
            .flat_map(|r| names.tags_of(&r.id).map(ToString::to_string))
            .collect();
        layers.push(TreeLayer {
            id: layer.chain_id.hex().to_owned(),
            size: store.layers().get(&layer.chain_id)?.map_or(0, |l| l.size),
            top_of,
        });
    }
    Ok(layers)
}

/// An image that is built on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requiring {
    /// Which.
    pub id: Digest,
    /// Bytes, unpacked.
    pub size: u64,
    /// Its names.
    pub names: Vec<String>,
    /// How many images lie between the two.
    pub depth: usize,
}

/// The images that have all layers of this one and more on top, those behind whom they are built
/// on.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn requiring(session: &Session, record: &ImageRecord) -> Result<Vec<Requiring>> {
    let images = super::images(session);
    let names = images.names()?;
    let base = record.chain();
    let mut above: Vec<(Vec<Digest>, ImageRecord)> = images
        .list()?
        .into_iter()
        .map(|r| (r.chain(), r))
        .filter(|(chain, _)| chain.len() > base.len() && chain.starts_with(&base))
        .collect();
    // A chain sorts behind its own beginning, and everything on top of it follows at once.
    above.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.id.cmp(&y.id)));
    Ok(above
        .iter()
        .map(|(chain, r)| Requiring {
            id: r.id.clone(),
            size: r.size,
            names: names.tags_of(&r.id).map(ToString::to_string).collect(),
            depth: above
                .iter()
                .filter(|(other, _)| other.len() < chain.len() && chain.starts_with(other))
                .count(),
        })
        .collect())
}

/// What an image changed: against another one, else against all its layers but the uppermost.
/// Enters the user namespace.
///
/// # Errors
/// `Invalid` for an image without layers; what storage says.
pub fn diff(
    session: &Session,
    record: &ImageRecord,
    other: Option<&ImageRecord>,
) -> Result<Vec<Change>> {
    let store = super::enter_store(session)?;
    store.image_changes(&record.chain(), other.map(ImageRecord::chain).as_deref())
}
