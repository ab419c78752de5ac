//! Indexes: images of one name for several platforms, with their attestations.

use super::compress::in_parts;
use super::destination::Destination;
use super::policy::RegistryOptions;
use super::remote::Remote;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::{
    Attestation, Found, ImageRecord, Images, IndexRecord, NameEntry, StoredManifest, Whole,
    manifest,
};
use crate::operations::session::Session;
use crate::registry::fetch::Which;
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, DescriptorPlatform, Document, Index, media};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;

/// The digest of the index that a found name stands for, if it stands for one.
fn digest_of(images: &Images, found: &Found) -> Result<Option<Digest>> {
    let Some(name) = &found.name else {
        return Ok(None);
    };
    let names = images.names()?;
    Ok(names.0.get(name).and_then(|e| e.digest.clone()))
}

/// Another member of the index that a found image was chosen from, for this platform, when it is
/// here.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn member(session: &Session, found: &Found, wish: &Platform) -> Result<Option<Found>> {
    let images = super::images(session);
    let Some(digest) = digest_of(&images, found)? else {
        return Ok(None);
    };
    let Some(record) = images.index(&digest)? else {
        return Ok(None);
    };
    let index = record.parse()?;
    let Ok(wanted) = index.choose(wish) else {
        return Ok(None);
    };
    let here = images
        .list()?
        .into_iter()
        .find(|r| r.has_manifest(&wanted.digest));
    Ok(here.map(|record| Found {
        record,
        name: found.name.clone(),
    }))
}

/// The index that a name stands for, when it was made here and all of it is here.
///
/// # Errors
/// `Corrupt` for a damaged record.
pub fn whole(session: &Session, found: &Found) -> Result<Option<Whole>> {
    let images = super::images(session);
    match digest_of(&images, found)? {
        Some(digest) => images.whole(&digest),
        None => Ok(None),
    }
}

/// What an index says of an image.
pub fn descriptor(record: &ImageRecord) -> Result<Descriptor> {
    let own = record
        .manifests
        .first()
        .ok_or_else(|| Error::internal("an image without a manifest"))?;
    let mut descriptor = Descriptor::new(
        own.media_type.clone(),
        own.digest.clone(),
        own.raw.len() as u64,
    );
    let platform = record.platform();
    descriptor.platform = Some(DescriptorPlatform {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
    });
    Ok(descriptor)
}

/// A member of an index that is made here: an image, and statements about it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The image.
    pub image: ImageRecord,
    /// Statements about it.
    pub attestation: Option<Attestation>,
}

/// Makes an index of these members under these names. Members for the same platform in `before`
/// give way. The first member that this machine can run is what the names stand for here.
///
/// # Errors
/// What the kernel says.
pub fn make(
    session: &Session,
    members: &[Member],
    before: Option<Whole>,
    annotations: &std::collections::BTreeMap<String, String>,
    names: &[Reference],
) -> Result<StoredManifest> {
    let images = super::images(session);
    let mut all: Vec<Member> = Vec::new();
    if let Some(whole) = before {
        for image in whole.images {
            let platform = image.platform();
            if members.iter().any(|m| m.image.platform() == platform) {
                continue;
            }
            let about = image.manifest_digest().map(ToString::to_string);
            let index = whole.record.parse()?;
            let attestation = index
                .manifests
                .iter()
                .find(|d| d.annotations.get(ABOUT) == about.as_ref())
                .and_then(|d| whole.record.attestation(&d.digest))
                .cloned();
            all.push(Member { image, attestation });
        }
    }
    all.extend(members.iter().cloned());
    let mut manifests = Vec::new();
    let mut attestations = Vec::new();
    for member in &all {
        manifests.push(descriptor(&member.image)?);
    }
    for member in &all {
        let Some(attestation) = &member.attestation else {
            continue;
        };
        let own = &attestation.manifest;
        let mut descriptor = Descriptor::new(
            own.media_type.clone(),
            own.digest.clone(),
            own.raw.len() as u64,
        );
        descriptor.platform = Some(DescriptorPlatform {
            architecture: "unknown".to_owned(),
            os: "unknown".to_owned(),
            variant: None,
        });
        let about = member.image.manifest_digest().map(ToString::to_string);
        descriptor.annotations.extend([
            (ABOUT.to_owned(), about.unwrap_or_default()),
            (
                "vnd.docker.reference.type".to_owned(),
                "attestation-manifest".to_owned(),
            ),
        ]);
        manifests.push(descriptor);
        attestations.push(attestation.clone());
    }
    // Docker's manifests go into Docker's list.
    let docker = all.iter().all(|m| {
        let own = m.image.manifests.first();
        own.is_some_and(|m| m.media_type == media::DOCKER_MANIFEST)
    });
    let media_type = match docker && attestations.is_empty() && annotations.is_empty() {
        true => media::DOCKER_LIST,
        false => media::OCI_INDEX,
    };
    let stored = write(media_type, manifests, annotations)?;
    let mut record = IndexRecord::new(stored.clone(), true);
    record.attestations = attestations;
    images.add_index(&record)?;
    let host = Platform::host();
    let best = all
        .iter()
        .filter_map(|m| Some((host.rank(&m.image.platform())?, m)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, m)| m)
        .or(all.first())
        .ok_or_else(|| Error::invalid("an index without members"))?;
    for member in &all {
        let id = member.image.id.clone();
        let mut entries = Vec::new();
        for name in names {
            let entry = |digest: &Digest| NameEntry {
                id: id.clone(),
                digest: Some(digest.clone()),
            };
            if let Some(own) = member.image.manifest_digest() {
                entries.push((name.with_digest(own.clone()), entry(own)));
            }
            if id == best.image.id {
                entries.push((
                    name.with_digest(stored.digest.clone()),
                    entry(&stored.digest),
                ));
                entries.push((name.clone(), entry(&stored.digest)));
            }
        }
        images.add(&member.image, &entries)?;
    }
    Ok(stored)
}

/// Which manifest an attestation is about: BuildKit's annotation.
const ABOUT: &str = "vnd.docker.reference.digest";

/// An index as bytes.
///
/// # Errors
/// Only by a mistake of ours.
pub fn write(
    media_type: &str,
    manifests: Vec<Descriptor>,
    annotations: &std::collections::BTreeMap<String, String>,
) -> Result<StoredManifest> {
    let index = Index {
        schema_version: 2,
        media_type: media_type.to_owned(),
        manifests,
        annotations: annotations.clone(),
    };
    let raw =
        serde_json::to_string(&index).what_kind(Kind::Internal, || "cannot write the index")?;
    Ok(StoredManifest {
        digest: Digest::sha256_of(raw.as_bytes()),
        media_type: media_type.to_owned(),
        raw,
    })
}

/// Pushes an index with everything in it; the index's digest.
///
/// # Errors
/// What the registry says.
pub fn push(
    session: &Session,
    whole: &Whole,
    target: &Reference,
    options: &RegistryOptions,
) -> Result<Digest> {
    let destination = Destination::open(session, target, options)?;
    let mut blobs: Vec<(Digest, u64)> = Vec::new();
    for image in &whole.images {
        let store = super::store(session)?;
        if image.layers.iter().any(|l| in_parts(&store, l)) {
            // Compressed anew its layers would have other digests than the index says.
            return Err(Error::unsupported(format!(
                "the image for {} has layers that came here in parts, without their archives",
                image.platform()
            ))
            .hint("push it alone first: coracle push --platform OS/ARCH; then buildx imagetools create"));
        }
        blobs.extend(super::push::blobs(image));
    }
    for attestation in &whole.record.attestations {
        let statements = attestation.blobs()?;
        blobs.extend(statements.into_iter().map(|d| (d.digest, d.size)));
    }
    destination.blobs(&blobs)?;
    let images = whole.images.iter().filter_map(|image| {
        let own = image.manifests.first()?;
        Some((own, image.raw_config.as_str()))
    });
    let statements = whole.record.attestations.iter();
    for (own, config) in images.chain(statements.map(|a| (&a.manifest, a.config.as_str()))) {
        let digest = manifest::config_digest(own)?;
        let label = format!("Copying config {}", digest.short());
        destination.bytes(&digest, config.as_bytes(), &label)?;
        destination.member(own)?;
    }
    destination.top(&whole.record.index)
}

/// The platforms for which an image exists: those of the index that its name stands for here, else
/// at its registry, else its own.
///
/// # Errors
/// What the registry says.
pub fn platforms(
    session: &Session,
    name: &str,
    options: &RegistryOptions,
) -> Result<Vec<Platform>> {
    let images = super::images(session);
    if let Ok(found) = super::lookup(session, name) {
        if let Some(digest) = digest_of(&images, &found)?
            && let Some(record) = images.index(&digest)?
        {
            return Ok(of_index(&record.parse()?));
        }
        if found
            .name
            .as_ref()
            .is_none_or(|n| n.registry() == "localhost")
        {
            return Ok(vec![found.record.platform()]);
        }
    }
    let remote = Remote::open(session, options)?;
    let mut failure = None;
    for reference in remote.registries.candidates(name)? {
        let which = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Which::Digest(digest),
            (None, tag) => Which::Tag(tag.unwrap_or("latest")),
        };
        let read = remote.read(&reference, |client, endpoint| {
            let top = client.manifest(&endpoint.repository, which)?;
            match Document::parse(&top.bytes, &top.content_type)? {
                Document::Index(index) => Ok(of_index(&index)),
                Document::Manifest(manifest) => {
                    let config = client.small_blob(&endpoint.repository, &manifest.config)?;
                    let config: crate::spec::image::ImageConfig = serde_json::from_slice(&config)
                        .what_kind(
                        Kind::Corrupt,
                        || "the image's configuration is malformed",
                    )?;
                    Ok(vec![config.platform()])
                }
            }
        });
        match read {
            Ok(list) => return Ok(list),
            Err(e) => failure = Some(e),
        }
    }
    Err(failure.unwrap_or_else(|| Error::not_found("no registry to ask")))
        .what(|| format!("cannot find the platforms of {name:?}"))
}

fn of_index(index: &Index) -> Vec<Platform> {
    let stated = index.manifests.iter().filter_map(|m| m.platform.as_ref());
    stated
        .filter(|p| p.os != "unknown")
        .map(DescriptorPlatform::normalized)
        .collect()
}
