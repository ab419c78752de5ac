//! `buildx imagetools`: manifests and indexes at registries, looked at and put together.

use std::collections::BTreeMap;

use crate::base::{Context as _, Error, Kind, Result};
use crate::image::StoredManifest;
use crate::operations::image::destination::Destination;
use crate::operations::image::remote::Remote;
use crate::operations::image::transfer::{self, Source};
use crate::operations::image::{RegistryOptions, enter_store, remove};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::fetch::{Sink, Which};
use crate::registry::registries_conf::Endpoint;
use crate::spec::digest::Digest;
use crate::spec::image::ImageConfig;
use crate::spec::manifest::{Descriptor, DescriptorPlatform, Document, Index, Manifest, media};
use crate::spec::reference::Reference;

/// What a registry has under a name.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The full name.
    pub name: Reference,
    /// The manifest or index as bytes.
    pub stored: StoredManifest,
    /// The same, parsed.
    pub document: Document,
}

fn which(name: &Reference) -> Which<'_> {
    match (name.digest(), name.tag()) {
        (Some(digest), _) => Which::Digest(digest),
        (None, tag) => Which::Tag(tag.unwrap_or("latest")),
    }
}

fn fetch(
    client: &Client,
    endpoint: &Endpoint,
    which: Which<'_>,
) -> Result<(StoredManifest, Document)> {
    let top = client.manifest(&endpoint.repository, which)?;
    let document = Document::parse(&top.bytes, &top.content_type)?;
    let stated = match &document {
        Document::Index(index) => index.media_type.clone(),
        Document::Manifest(manifest) => manifest.media_type_or_guess().to_owned(),
    };
    let media_type = match (stated.as_str(), top.content_type.as_str()) {
        ("", "") => media::OCI_INDEX.to_owned(),
        ("", served) => served.to_owned(),
        _ => stated,
    };
    let stored = StoredManifest {
        digest: top.digest,
        media_type,
        raw: String::from_utf8(top.bytes).what_kind(Kind::Corrupt, || "the manifest is no text")?,
    };
    Ok((stored, document))
}

/// Looks at a name at its registry. Nothing of it comes here.
///
/// # Errors
/// What the registry says.
pub fn inspect(session: &Session, text: &str, options: &RegistryOptions) -> Result<Seen> {
    let remote = Remote::open(session, options)?;
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let name = Reference::parse_normalized(text)?;
    let (stored, document) = remote
        .read(&name, |client, endpoint| {
            fetch(client, endpoint, which(&name))
        })
        .what(|| format!("cannot inspect {name}"))?;
    Ok(Seen {
        name,
        stored,
        document,
    })
}

/// What is put together.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// Images and indexes at registries.
    pub sources: Vec<String>,
    /// The names of the result.
    pub names: Vec<Reference>,
    /// Behind what the first name stands for already.
    pub append: bool,
    /// Say what would be written only.
    pub dry_run: bool,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// How registries are asked.
    pub registry: RegistryOptions,
}

/// An image on its way: where it is, and its manifest.
struct Member {
    from: Reference,
    descriptor: Descriptor,
    stored: StoredManifest,
    manifest: Manifest,
}

/// Makes an index of what the sources name and writes it under every name, with all blobs. One
/// source alone, without annotations, is copied as it is. The bytes that were or would be written.
///
/// # Errors
/// What registries say.
pub fn create(session: &Session, wish: &Create) -> Result<StoredManifest> {
    let remote = Remote::open(session, &wish.registry)?;
    let mut sources = wish.sources.clone();
    if wish.append
        && let Some(first) = wish.names.first()
    {
        sources.insert(0, first.to_string());
    }
    let mut members: Vec<Member> = Vec::new();
    let mut alone = None;
    for text in &sources {
        let seen = inspect(session, text, &wish.registry)?;
        let descriptors = match &seen.document {
            Document::Index(index) => index.manifests.clone(),
            Document::Manifest(_) => vec![Descriptor::new(
                seen.stored.media_type.clone(),
                seen.stored.digest.clone(),
                seen.stored.raw.len() as u64,
            )],
        };
        for descriptor in descriptors {
            let from = seen.name.with_digest(descriptor.digest.clone());
            let member = member(&remote, from, descriptor)?;
            let known = |m: &Member| m.descriptor.digest == member.descriptor.digest;
            if !members.iter().any(known) {
                members.push(member);
            }
        }
        alone = Some(seen.stored);
    }
    let copied = alone.filter(|_| sources.len() == 1 && wish.annotations.is_empty());
    let top = match copied {
        Some(stored) => stored,
        None => {
            let list = members.iter().map(|m| m.descriptor.clone()).collect();
            index(list, &wish.annotations)?
        }
    };
    if wish.dry_run {
        return Ok(top);
    }
    for name in &wish.names {
        write(session, &remote, &members, &top, name, &wish.registry)
            .what(|| format!("cannot write {name}"))?;
    }
    Ok(top)
}

fn member(remote: &Remote, from: Reference, mut descriptor: Descriptor) -> Result<Member> {
    remote
        .read(&from, |client, endpoint| {
            let (stored, document) = fetch(client, endpoint, Which::Digest(&descriptor.digest))?;
            let Document::Manifest(manifest) = document else {
                return Err(Error::unsupported(format!(
                    "{from} is an index in an index"
                )));
            };
            let mut platform = None;
            if descriptor.platform.is_none() && manifest.check_image().is_ok() {
                let bytes = client.small_blob(&endpoint.repository, &manifest.config)?;
                let config: ImageConfig = serde_json::from_slice(&bytes)
                    .what_kind(Kind::Corrupt, || "the image's configuration is malformed")?;
                platform = Some(DescriptorPlatform {
                    architecture: config.architecture,
                    os: config.os,
                    variant: config.variant,
                    ..DescriptorPlatform::default()
                });
            }
            Ok((stored, manifest, platform))
        })
        .map(|(stored, manifest, platform)| {
            if platform.is_some() {
                descriptor.platform = platform;
            }
            Member {
                from,
                descriptor,
                stored,
                manifest,
            }
        })
}

struct At<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
}

impl Source for At<'_> {
    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()> {
        self.client.download(&self.endpoint.repository, blob, sink)
    }
}

/// Writes all members and the index to one name. Blobs that its repository lacks go by this
/// machine's store, where the next collection removes them.
fn write(
    session: &Session,
    remote: &Remote,
    members: &[Member],
    top: &StoredManifest,
    name: &Reference,
    options: &RegistryOptions,
) -> Result<()> {
    let store = enter_store(session)?;
    let _growing = remove::growing_deaf(session)?;
    let destination = Destination::open(session, name, options)?;
    for member in members {
        let same = member.from.registry() == name.registry()
            && member.from.repository() == name.repository();
        if !same {
            let mut blobs = vec![member.manifest.config.clone()];
            blobs.extend(member.manifest.layers.iter().cloned());
            for blob in &blobs {
                remote.read(&member.from, |client, endpoint| {
                    transfer::blob(&store, blob, &At { client, endpoint })
                })?;
            }
            let list: Vec<_> = blobs.iter().map(|b| (b.digest.clone(), b.size)).collect();
            destination.blobs(&list)?;
        }
        if member.stored.digest != top.digest {
            destination.member(&member.stored)?;
        }
    }
    destination.top(top).map(drop)
}

/// An index as bytes.
fn index(
    manifests: Vec<Descriptor>,
    annotations: &BTreeMap<String, String>,
) -> Result<StoredManifest> {
    let index = Index {
        schema_version: 2,
        media_type: media::OCI_INDEX.to_owned(),
        manifests,
        annotations: annotations.clone(),
        subject: None,
    };
    let raw =
        serde_json::to_string(&index).what_kind(Kind::Internal, || "cannot write the index")?;
    Ok(StoredManifest {
        digest: Digest::sha256_of(raw.as_bytes()),
        media_type: media::OCI_INDEX.to_owned(),
        raw,
    })
}
