//! Bringing images here from registries.

use super::ensure::Ensure;
use super::policy::RegistryOptions;
use super::remote::Remote;
use super::transfer::{self, Source};
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::{Found, ImageRecord, Images, NameEntry, StoredManifest};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::fetch::{Fetched, Sink, Which};
use crate::registry::registries_conf::Endpoint;
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, Document, Index, Manifest};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;
use crate::storage::Store;

/// Nested indexes are followed this far.
const DEPTH: usize = 2;

/// Pulls one image.
///
/// # Errors
/// `NotFound` when no registry has it; `Denied`, `Unavailable`, `Corrupt` as the registry answers.
pub fn one(session: &Session, want: &Ensure<'_>) -> Result<Found> {
    pull(session, want.name, want.platform, want.registry)
}

/// Pulls a name from wherever the configuration says. Enters the user namespace, so the process
/// must have one thread.
///
/// # Errors
/// As [`one`].
pub fn pull(
    session: &Session,
    name: &str,
    platform: Option<&Platform>,
    options: &RegistryOptions,
) -> Result<Found> {
    let remote = Remote::open(session, options)?;
    let candidates = remote.registries.candidates(name)?;
    let store = super::enter_store(session)?;
    let _growing = super::remove::growing(session, &store)?;
    let mut failure: Option<Error> = None;
    for candidate in &candidates {
        match pull_reference(session, &remote, &store, candidate, platform) {
            Ok(found) => return Ok(found),
            Err(e) => {
                // With several search registries, one that lacks it is no news.
                let keep = failure.is_none() || e.kind() != Kind::NotFound;
                if keep {
                    failure = Some(e);
                }
            }
        }
    }
    let failure = failure.unwrap_or_else(|| Error::not_found("no registry to ask"));
    let failure = match failure.kind() {
        Kind::NotFound if candidates.len() == 1 => {
            failure.hint("check the spelling of name and tag")
        }
        Kind::Unavailable if failure.hints().is_empty() => failure.hint(
            "check the network and the spelling of the name; `coracle images` lists what is here",
        ),
        _ => failure,
    };
    Err(failure).what(|| match platform {
        Some(platform) => format!("cannot pull {name:?} for {platform}"),
        None => format!("cannot pull {name:?}"),
    })
}

/// Pulls every tag of a repository.
///
/// # Errors
/// As [`one`]; the first tag that fails ends it.
pub fn all_tags(
    session: &Session,
    name: &str,
    platform: Option<&Platform>,
    options: &RegistryOptions,
) -> Result<Vec<Found>> {
    let remote = Remote::open(session, options)?;
    let reference = remote
        .registries
        .candidates(name)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("no registry to ask"))?;
    if reference.digest().is_some() || name_has_tag(name) {
        return Err(Error::invalid(format!(
            "--all-tags takes a name without tag and digest, not {name:?}"
        )));
    }
    let store = super::enter_store(session)?;
    let _growing = super::remove::growing(session, &store)?;
    let mut tags = None;
    for endpoint in remote.registries.endpoints(&reference)? {
        let listed = remote
            .client(&endpoint)
            .and_then(|client| client.tags(&endpoint.repository, usize::MAX));
        match listed {
            Ok(list) => {
                tags = Some(list);
                break;
            }
            Err(_) if endpoint.mirror => {}
            Err(e) => return Err(e).what(|| format!("cannot list the tags of {name:?}")),
        }
    }
    let mut found = Vec::new();
    for tag in tags.unwrap_or_default() {
        let one = reference.with_tag(&tag)?;
        found.push(
            pull_reference(session, &remote, &store, &one, platform)
                .what(|| format!("cannot pull {one}"))?,
        );
    }
    Ok(found)
}

/// Whether a typed name has a tag.
pub(super) fn name_has_tag(name: &str) -> bool {
    name.rfind(':')
        .is_some_and(|colon| !name[colon..].contains('/'))
}

fn pull_reference(
    session: &Session,
    remote: &Remote,
    store: &Store,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<Found> {
    remote.policy.check_registry(reference)?;
    remote
        .progress()
        .message(&format!("Trying to pull {reference}..."));
    let mut last = None;
    for endpoint in remote.registries.endpoints(reference)? {
        let attempt = remote.client(&endpoint).and_then(|client| {
            let job = Job {
                session,
                store,
                client: &client,
                endpoint: &endpoint,
                reference,
                platform,
            };
            job.run()
        });
        match attempt {
            Ok(found) => {
                super::events::note(session, "pull", &found.record.id, &reference.to_string());
                return Ok(found);
            }
            Err(e) if endpoint.mirror => {
                remote.progress().message(&format!(
                    "mirror {} does not serve: {}",
                    endpoint.registry,
                    e.one_line()
                ));
                last = Some(e);
            }
            Err(e) => return Err(e),
        }
    }
    Err(last.unwrap_or_else(|| Error::not_found("no registry to ask")))
}

struct Job<'a> {
    session: &'a Session,
    store: &'a Store,
    client: &'a Client,
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    platform: Option<&'a Platform>,
}

impl Source for Job<'_> {
    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()> {
        self.client.download(&self.endpoint.repository, blob, sink)
    }

    fn lanes(&self) -> usize {
        transfer::lanes(self.session)
    }
}

impl Job<'_> {
    fn run(&self) -> Result<Found> {
        let repository = &self.endpoint.repository;
        let which = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => Which::Digest(digest),
            (None, Some(tag)) => Which::Tag(tag),
            (None, None) => Which::Tag("latest"),
        };
        let top = self.client.manifest(repository, which)?;
        let images = super::images(self.session);
        if let Some(found) = self.have(&images, &top.digest)? {
            return Ok(found);
        }
        let (fetched, manifest) = self.resolve(&top)?;
        manifest.check_image()?;
        let config = self.client.small_blob(repository, &manifest.config)?;
        let raw = String::from_utf8(config)
            .what_kind(Kind::Corrupt, || "the image's configuration is no text")?;
        let media_type = manifest.media_type_or_guess().to_owned();
        let stored = StoredManifest {
            digest: fetched.digest.clone(),
            media_type,
            raw: String::from_utf8(fetched.bytes)
                .what_kind(Kind::Corrupt, || "the manifest is no text")?,
        };
        let layers = manifest
            .layers
            .iter()
            .map(|l| (l.digest.clone(), l.media_type.clone(), l.size))
            .collect();
        let mut record = ImageRecord::new(raw, stored, layers)?;
        self.check_platform(&record)?;
        transfer::layers(self.store, &record.layers, self, &*self.session.progress)?;
        record.size = super::make::unpacked_size(self.session, &record)?;
        let names = self.names(&record.id, &[&top.digest, &fetched.digest]);
        images.add(&record, &names)?;
        Ok(Found {
            record,
            name: Some(self.own_name(&top.digest)),
        })
    }

    /// Follows indexes down to one image.
    fn resolve(&self, top: &Fetched) -> Result<(Fetched, Manifest)> {
        let mut current = top.clone();
        for _ in 0..=DEPTH {
            match Document::parse(&current.bytes, &current.content_type)? {
                Document::Manifest(manifest) => return Ok((current, manifest)),
                Document::Index(index) => {
                    let member = self.choose(&index)?;
                    current = self
                        .client
                        .manifest(&self.endpoint.repository, Which::Digest(&member.digest))?;
                    if current.bytes.len() as u64 != member.size {
                        return Err(Error::new(
                            Kind::Corrupt,
                            format!(
                                "manifest {} has {} bytes, and the index says {}",
                                member.digest,
                                current.bytes.len(),
                                member.size
                            ),
                        ));
                    }
                }
            }
        }
        Err(Error::new(
            Kind::Corrupt,
            "the image is an index of indexes without end",
        ))
    }

    fn choose<'i>(&self, index: &'i Index) -> Result<&'i Descriptor> {
        let host = Platform::host();
        let wish = self.platform.unwrap_or(&host);
        index.choose(wish).map_err(|e| {
            if self.platform.is_some() {
                e
            } else {
                e.hint("name one with --platform")
            }
        })
    }

    /// An image for another platform than the one asked for is an error; one that this machine
    /// merely cannot run is worth a word.
    fn check_platform(&self, record: &ImageRecord) -> Result<()> {
        let own = record.platform();
        if own.os.is_empty() || own.architecture.is_empty() {
            return Ok(());
        }
        let host = Platform::host();
        match self.platform {
            Some(wish) if wish.rank(&own).is_none() => Err(Error::not_found(format!(
                "{} is an image for {own}, not for {wish}",
                self.reference
            ))),
            None if host.rank(&own).is_none() => {
                self.session.progress.message(&format!(
                    "WARNING: {} is an image for {own}, and this machine is {host}",
                    self.reference
                ));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The image, when the very same is here with all its layers.
    fn have(&self, images: &Images, top: &Digest) -> Result<Option<Found>> {
        let known = self.reference.with_digest(top.clone());
        let Some(found) = images.lookup(&images.names()?, &known)? else {
            return Ok(None);
        };
        let record = found.record;
        let fits = self
            .platform
            .is_none_or(|wish| wish.rank(&record.platform()).is_some());
        let complete = record
            .layers
            .iter()
            .all(|l| self.store.layers().has(&l.chain_id) && self.store.blobs().has(&l.digest));
        if !fits || !complete {
            return Ok(None);
        }
        images.add(&record, &self.names(&record.id, &[top]))?;
        Ok(Some(Found {
            record,
            name: Some(self.own_name(top)),
        }))
    }

    /// The name that the image is found by from now on.
    fn own_name(&self, top: &Digest) -> Reference {
        match self.reference.digest() {
            // With both, the digest is what was asked for.
            Some(digest) => self.reference.with_digest(digest.clone()),
            None if self.reference.tag().is_some() => self.reference.clone(),
            None => self.reference.with_digest(top.clone()),
        }
    }

    fn names(&self, id: &Digest, digests: &[&Digest]) -> Vec<(Reference, NameEntry)> {
        let top = digests.first().copied();
        let entry = NameEntry {
            id: id.clone(),
            digest: top.cloned(),
        };
        let mut names = Vec::new();
        if self.reference.digest().is_none() && self.reference.tag().is_some() {
            names.push((self.reference.clone(), entry.clone()));
        }
        for digest in digests {
            names.push((self.reference.with_digest((*digest).clone()), entry.clone()));
        }
        names
    }
}
