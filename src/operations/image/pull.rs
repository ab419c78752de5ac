//! Bringing images here from registries.

use std::io::Read;
use std::sync::atomic::AtomicBool;

use super::ensure::Ensure;
use super::partial::Parts;
use super::policy::{PullPolicy, RegistryOptions};
use super::remote::Remote;
use super::transfer::{self, Source};
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::{Found, ImageRecord, Images, LayerRecord, NameEntry, StoredManifest};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::fetch::{Fetched, Sink, Which};
use crate::registry::policy::Rule;
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
    let how = How {
        platform: want.platform,
        options: want.registry,
        lazy: want.policy == PullPolicy::Lazy,
        keep_tag: want.keep_tag,
    };
    pull_as(session, want.name, how)
}

/// How to pull.
#[derive(Clone, Copy)]
struct How<'a> {
    platform: Option<&'a Platform>,
    options: &'a RegistryOptions,
    /// Only the tables of contents are waited for.
    lazy: bool,
    /// As [`Ensure::keep_tag`].
    keep_tag: bool,
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
    let how = How {
        platform,
        options,
        lazy: false,
        keep_tag: false,
    };
    pull_as(session, name, how)
}

fn pull_as(session: &Session, name: &str, how: How<'_>) -> Result<Found> {
    let platform = how.platform;
    let remote = Remote::open(session, how.options)?;
    let candidates = remote.registries.candidates(name)?;
    let store = super::enter_store(session)?;
    let _growing = super::remove::growing(session, &store)?;
    let mut failure: Option<Error> = None;
    for candidate in &candidates {
        match pull_reference(session, &remote, &store, candidate, how) {
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

/// Whether the registry has another image of that name than the one here with that id; nothing is
/// brought.
///
/// # Errors
/// As [`one`].
pub fn has_other(
    session: &Session,
    name: &str,
    id: &Digest,
    options: &RegistryOptions,
) -> Result<bool> {
    let reference: Reference = name.parse()?;
    let remote = Remote::open(session, options)?;
    remote.policy.check_registry(&reference)?;
    let names = super::images(session).names()?;
    let mut last = None;
    for endpoint in remote.registries.endpoints(&reference)? {
        let asked = remote.client(&endpoint).and_then(|client| {
            client.digest_of(
                &endpoint.repository,
                Which::Tag(reference.tag().unwrap_or("latest")),
            )
        });
        match asked {
            Ok(Some(there)) => {
                return Ok(!names.digests_of(id).any(|r| r.digest() == Some(&there)));
            }
            Ok(None) => {}
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| Error::not_found("no registry says what it has")))
        .what(|| format!("cannot look for a newer {name:?}"))
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
    let how = How {
        platform,
        options,
        lazy: false,
        keep_tag: false,
    };
    for tag in tags.unwrap_or_default() {
        let one = reference.with_tag(&tag)?;
        found.push(
            pull_reference(session, &remote, &store, &one, how)
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
    how: How<'_>,
) -> Result<Found> {
    remote
        .progress()
        .message(&format!("Trying to pull {reference}..."));
    let found = remote.read_signed(reference, |client, endpoint, rules| {
        let mut job = Job {
            session,
            remote,
            store,
            client,
            endpoint,
            reference,
            platform: how.platform,
            how,
            rules,
            parts: None,
            several: AtomicBool::new(true),
        };
        job.run()
    })?;
    super::events::note(session, "pull", &found.record.id, &reference.to_string());
    Ok(found)
}

/// Whether a layer is here, and its archive too.
pub(super) fn is_whole(store: &Store, layer: &LayerRecord) -> bool {
    let archive = store.blobs().has(&layer.digest) || store.layers().has_recipe(&layer.chain_id);
    archive && store.layers().has(&layer.chain_id)
}

struct Job<'a> {
    session: &'a Session,
    remote: &'a Remote,
    store: &'a Store,
    client: &'a Client,
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    platform: Option<&'a Platform>,
    how: How<'a>,
    /// The signatures that the image must have.
    rules: &'a [&'a Rule],
    /// The layers that come in parts.
    parts: Option<Parts>,
    /// Whether the registry takes several ranges at once, as far as is known.
    several: AtomicBool,
}

impl Source for Job<'_> {
    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()> {
        self.client.download(&self.endpoint.repository, blob, sink)
    }

    fn parts(&self) -> Option<&Parts> {
        self.parts.as_ref()
    }

    fn ranges<'a>(
        &'a self,
        layer: &'a LayerRecord,
        ranges: Vec<(u64, u64)>,
    ) -> Box<dyn Read + Send + 'a> {
        let repository = &self.endpoint.repository;
        let ranges = self
            .client
            .ranges(repository, &layer.digest, ranges, &self.several);
        Box::new(ranges)
    }

    fn lanes(&self) -> usize {
        transfer::lanes(self.session)
    }
}

impl Job<'_> {
    fn run(&mut self) -> Result<Found> {
        let repository = &self.endpoint.repository;
        let which = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => Which::Digest(digest),
            (None, Some(tag)) => Which::Tag(tag),
            (None, None) => Which::Tag("latest"),
        };
        let top = self.client.manifest(repository, which)?;
        let images = super::images(self.session);
        let trusted = self.trusted(&top)?;
        if let Some(found) = self.have(&images, &top.digest)? {
            return Ok(found);
        }
        let (fetched, manifest) = match trusted {
            Some(resolved) => resolved,
            None => self.resolve(&top)?,
        };
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
        record.size = if self.how.lazy {
            self.bring_lazily(&record)?
        } else {
            self.bring(&record)?;
            super::make::unpacked_size(self.session, &record)?
        };
        let names = self.names(&images, &record, &[&top.digest, &fetched.digest])?;
        images.add(&record, &names)?;
        Ok(Found {
            record,
            name: Some(self.own_name(&top.digest)),
        })
    }

    /// Verifies the signatures that the policy asks for, before anything else of the image is read;
    /// answers its manifest, if that was needed.
    fn trusted(&self, top: &Fetched) -> Result<Option<(Fetched, Manifest)>> {
        if self.rules.is_empty() {
            return Ok(None);
        }
        let resolved = self.resolve(top)?;
        self.remote.verify(
            self.rules,
            self.reference,
            &[&resolved.0.digest, &top.digest],
            (self.client, self.endpoint),
        )?;
        Ok(Some(resolved))
    }

    /// Makes the trees of the layers that have a table of contents, and brings the others; answers
    /// the bytes of the image.
    fn bring_lazily(&mut self, record: &ImageRecord) -> Result<u64> {
        let below = super::lazy::plain_below(self.store, record);
        if below == record.layers.len() {
            self.session.progress.message(&format!(
                "{} has no table of contents to start from: pulling all of it",
                self.reference
            ));
            self.bring(record)?;
            return super::make::unpacked_size(self.session, record);
        }
        let plain = ImageRecord {
            layers: record.layers[..below].to_vec(),
            ..record.clone()
        };
        self.bring(&plain)?;
        let (client, repository) = (self.client, &self.endpoint.repository);
        let fetch = |layer: &LayerRecord, at| client.range(repository, &layer.digest, at);
        let source = (self.endpoint, self.how.options);
        match super::lazy::prepare(self.session, self.store, (record, below), source, &fetch) {
            Err(e) if matches!(e.kind(), Kind::Unsupported) => {
                self.session.progress.message(&format!(
                    "{} cannot be started before it is here, pulling all of it: {}",
                    self.reference,
                    e.one_line()
                ));
                self.bring(record)?;
                super::make::unpacked_size(self.session, record)
            }
            other => other,
        }
    }

    /// Brings the layers here, in parts where that saves something.
    fn bring(&mut self, record: &ImageRecord) -> Result<()> {
        let progress = &*self.session.progress;
        let (client, repository) = (self.client, &self.endpoint.repository);
        let fetch = |layer: &LayerRecord, at| client.range(repository, &layer.digest, at);
        if !self.session.options.whole_layers {
            self.parts = Parts::plan(self.session, self.store, record, &fetch)?;
        }
        match transfer::layers(self.store, &record.layers, self, progress) {
            Err(e)
                if self.parts.is_some()
                    && matches!(e.kind(), Kind::Corrupt | Kind::Unsupported | Kind::NotFound) =>
            {
                progress.message(&format!(
                    "cannot pull in parts, pulling whole layers: {}",
                    e.one_line()
                ));
                self.parts = None;
                transfer::layers(self.store, &record.layers, self, progress)
            }
            other => other,
        }
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
        let complete = record.layers.iter().all(|l| is_whole(self.store, l));
        if !fits || !complete {
            return Ok(None);
        }
        images.add(&record, &self.names(images, &record, &[top])?)?;
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

    fn names(
        &self,
        images: &Images,
        record: &ImageRecord,
        digests: &[&Digest],
    ) -> Result<Vec<(Reference, NameEntry)>> {
        let top = digests.first().copied();
        let entry = NameEntry {
            id: record.id.clone(),
            digest: top.cloned(),
        };
        // Another member of the same index has the tag, one that this machine can run.
        let stays = |name: &Reference| -> Result<bool> {
            if !self.how.keep_tag || Platform::host().rank(&record.platform()).is_some() {
                return Ok(false);
            }
            let names = images.names()?;
            let before = names.0.get(name);
            Ok(before.is_some_and(|e| e.digest.as_ref() == top && e.id != record.id))
        };
        let mut names = Vec::new();
        let tagged = self.reference.digest().is_none() && self.reference.tag().is_some();
        if tagged && !stays(self.reference)? {
            names.push((self.reference.clone(), entry.clone()));
        }
        for digest in digests {
            let name = self.reference.with_digest((*digest).clone());
            if Some(*digest) != top || !stays(&name)? {
                names.push((name, entry.clone()));
            }
        }
        Ok(names)
    }
}
