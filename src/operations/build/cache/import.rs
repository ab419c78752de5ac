//! `--cache-from`: caches elsewhere are asked for what the store does not know. A step that one has
//! brings its layer here, verified by both of its digests, and is a step of the store from then on.
//!
//! Whoever can write to such a cache decides what the steps of a build give: it is trusted like a
//! base image.

use serde::{Deserialize, Serialize};

use super::document::{self, MEDIA_TYPE, Step, Steps};
use super::place::Place;
use crate::archive::{Pack, oci};
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::LayerRecord;
use crate::operations::image::RegistryOptions;
use crate::operations::image::load::FromPack;
use crate::operations::image::remote::Remote;
use crate::operations::image::transfer::{self, Source};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::fetch::{Sink, Which};
use crate::registry::registries_conf::Endpoint;
use crate::spec::digest::Digest;
use crate::spec::image::ImageConfig;
use crate::spec::manifest::{Descriptor, Document, Manifest};
use crate::spec::platform::Platform;
use crate::storage::{Store, chain_id};

/// A cache elsewhere that was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Imported {
    place: Place,
    steps: Steps,
}

impl Imported {
    /// Reads what a cache has. Nothing of its layers comes here yet.
    ///
    /// # Errors
    /// What the registry or the disk says; `Invalid` for an image without a cache.
    pub fn read(
        session: &Session,
        registry: &RegistryOptions,
        place: &Place,
        platform: &Platform,
    ) -> Result<Self> {
        let read = || match place {
            Place::Registry(reference) => {
                let which = match (reference.digest(), reference.tag()) {
                    (Some(digest), _) => Which::Digest(digest),
                    (None, tag) => Which::Tag(tag.unwrap_or("latest")),
                };
                Remote::open(session, registry)?.read(reference, |client, endpoint| {
                    let repository = &endpoint.repository;
                    let mut top = client.manifest(repository, which)?;
                    let manifest = match Document::parse(&top.bytes, &top.content_type)? {
                        Document::Manifest(manifest) => manifest,
                        Document::Index(index) => {
                            let member = index.choose(platform)?;
                            top = client.manifest(repository, Which::Digest(&member.digest))?;
                            one(Document::parse(&top.bytes, &top.content_type)?)?
                        }
                    };
                    let config = client.small_blob(repository, &manifest.config)?;
                    steps(&manifest, &config)
                })
            }
            Place::Folder { path, tag, digest } => {
                let pack = Pack::folder(path)?;
                let items = oci::read(&pack)?;
                let item = match digest {
                    Some(digest) => items
                        .iter()
                        .find(|i| i.descriptor.digest == *digest)
                        .ok_or_else(|| Error::not_found(format!("there is no {digest}")))?,
                    None => oci::choose(&items, Some(tag), platform)?,
                };
                let (_, _, manifest) = oci::resolve(&pack, &item.descriptor, platform)?;
                let config = oci::document(&pack, &manifest.config)?;
                steps(&manifest, &config)
            }
        };
        Ok(Self {
            place: place.clone(),
            steps: read().what(|| format!("cannot read the cache of {place}"))?,
        })
    }

    /// What it knows of a key.
    pub fn get(&self, key: &Digest) -> Option<&Step> {
        self.steps.get(key)
    }

    /// Brings a step's layer into the store, on top of `parent`.
    ///
    /// # Errors
    /// `Corrupt` for another content than the cache promised; what the place says.
    pub fn bring(
        &self,
        session: &Session,
        store: &Store,
        registry: &RegistryOptions,
        step: &Step,
        parent: Option<&Digest>,
    ) -> Result<Option<LayerRecord>> {
        let Some((diff_id, blob)) = &step.layer else {
            return Ok(None);
        };
        let fetch = || match &self.place {
            Place::Registry(reference) => Remote::open(session, registry)?
                .read(reference, |client, endpoint| {
                    transfer::blob(store, blob, &FromRegistry { client, endpoint })
                }),
            Place::Folder { path, .. } => {
                let source = FromPack {
                    pack: &Pack::folder(path)?,
                    find: oci::blob,
                };
                transfer::blob(store, blob, &source)
            }
        };
        fetch()
            .and_then(|()| store.restore(parent, diff_id, &blob.digest))
            .what(|| format!("cannot take a layer from the cache of {}", self.place))?;
        Ok(Some(LayerRecord {
            digest: blob.digest.clone(),
            media_type: blob.media_type.clone(),
            size: blob.size,
            diff_id: diff_id.clone(),
            chain_id: chain_id(parent, diff_id),
            annotations: std::collections::BTreeMap::new(),
        }))
    }
}

struct FromRegistry<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
}

impl Source for FromRegistry<'_> {
    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()> {
        self.client.download(&self.endpoint.repository, blob, sink)
    }
}

fn one(document: Document) -> Result<Manifest> {
    match document {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(Error::new(
            Kind::Corrupt,
            "the cache is an index of indexes",
        )),
    }
}

fn steps(manifest: &Manifest, config: &[u8]) -> Result<Steps> {
    if manifest.config.media_type == MEDIA_TYPE {
        return document::read_own(manifest, config);
    }
    let none = || {
        Error::invalid("there is an image without a cache of coracle's").hint(
            "write one: --cache-to type=registry,ref=NAME, or --cache-to type=inline with --push",
        )
    };
    let image: ImageConfig = serde_json::from_slice(config).map_err(|_| none())?;
    let value = image.cache.as_ref().ok_or_else(none)?;
    document::read_inline(manifest, &image.rootfs.diff_ids, value)
}
