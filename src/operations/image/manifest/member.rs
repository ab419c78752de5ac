//! What becomes a member of a list: images here, images and lists of registries.

use super::super::policy::RegistryOptions;
use super::super::remote::Remote;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::list::Member;
use crate::image::{ImageRecord, StoredManifest};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::fetch::{Fetched, Which};
use crate::registry::registries_conf::Endpoint;
use crate::spec::image::ImageConfig;
use crate::spec::manifest::{Descriptor, DescriptorPlatform, Document, Manifest};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;

/// What `text` stands for: an image here, else in a registry; of a list the member for this
/// machine, or with `all` every one.
///
/// # Errors
/// `NotFound` when nobody has it; what the registry says.
pub(super) fn of_name(
    session: &Session,
    text: &str,
    all: bool,
    registry: &RegistryOptions,
) -> Result<Vec<Member>> {
    let (plain, remote_only) = match text.split_once("://") {
        Some(("docker", rest)) => (rest, true),
        Some(("containers-storage", rest)) => (rest, false),
        Some((other, _)) => {
            return Err(
                Error::unsupported(format!("a list takes no members from {other}://"))
                    .hint("pull or load the image first"),
            );
        }
        None => (
            text.strip_prefix("containers-storage:").unwrap_or(text),
            false,
        ),
    };
    if !remote_only {
        match super::super::lookup_any(session, plain) {
            Ok(found) => {
                return match &found.record.list {
                    None => Ok(vec![of_record(&found.record)?]),
                    Some(list) if all => Ok(list.members.clone()),
                    Some(list) => Ok(vec![list.choose(&Platform::host())?.clone()]),
                };
            }
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    of_registry(session, plain, all, registry)
}

/// An image that is here.
///
/// # Errors
/// `Invalid` for a list.
pub fn of_record(record: &ImageRecord) -> Result<Member> {
    let manifest = match record.manifests.first() {
        Some(manifest) if record.list.is_none() => manifest.clone(),
        _ => {
            return Err(Error::invalid(
                "a manifest list cannot be a member of another",
            ));
        }
    };
    let mut descriptor = Descriptor::new(
        manifest.media_type.clone(),
        manifest.digest.clone(),
        manifest.raw.len() as u64,
    );
    descriptor.platform = Some(platform(&record.config));
    Ok(Member {
        descriptor,
        manifest,
        config: Some(record.raw_config.clone()),
        source: None,
    })
}

fn platform(config: &ImageConfig) -> DescriptorPlatform {
    let own = config.platform();
    DescriptorPlatform {
        architecture: own.architecture,
        os: own.os,
        variant: own.variant,
        ..DescriptorPlatform::default()
    }
}

/// The manifest or index that a registry has by this name.
///
/// # Errors
/// `NotFound`; what the registry says.
pub(in crate::operations::image) fn fetch(
    session: &Session,
    name: &str,
    registry: &RegistryOptions,
) -> Result<(Reference, (Client, Endpoint), Fetched)> {
    let remote = Remote::open(session, registry)?;
    let mut failure = None;
    for reference in remote.registries.candidates(name)? {
        let rules = remote.policy.check_registry(&reference)?;
        for endpoint in remote.registries.endpoints(&reference)? {
            let which = match (reference.digest(), reference.tag()) {
                (Some(digest), _) => Which::Digest(digest),
                (None, tag) => Which::Tag(tag.unwrap_or("latest")),
            };
            let answer = remote.client(&endpoint).and_then(|client| {
                let top = client.manifest(&endpoint.repository, which)?;
                Ok((client, top))
            });
            match answer {
                Ok((client, top)) => {
                    let place = (&client, &endpoint);
                    remote.verify(&rules, &reference, &[&top.digest], place)?;
                    return Ok((reference, (client, endpoint), top));
                }
                Err(e) => failure = failure.or(Some(e)),
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::not_found("no registry to ask")))
        .what(|| format!("cannot read the manifest of {name:?}"))
}

fn of_registry(
    session: &Session,
    name: &str,
    all: bool,
    registry: &RegistryOptions,
) -> Result<Vec<Member>> {
    let (reference, (client, endpoint), top) = fetch(session, name, registry)?;
    let member = |fetched: &Fetched,
                  manifest: &Manifest,
                  own: Option<&Descriptor>|
     -> Result<Member> {
        let stored = StoredManifest {
            digest: fetched.digest.clone(),
            media_type: manifest.media_type_or_guess().to_owned(),
            raw: String::from_utf8(fetched.bytes.clone())
                .what_kind(Kind::Corrupt, || "the manifest is no text")?,
        };
        let descriptor = match own {
            Some(own) => own.clone(),
            None => {
                let mut descriptor = Descriptor::new(
                    stored.media_type.clone(),
                    stored.digest.clone(),
                    stored.raw.len() as u64,
                );
                // An artifact has no platform.
                if manifest.check_image().is_ok() {
                    let raw = client.small_blob(&endpoint.repository, &manifest.config)?;
                    let config: ImageConfig = serde_json::from_slice(&raw)
                        .what_kind(Kind::Corrupt, || "the image's configuration is malformed")?;
                    descriptor.platform = Some(platform(&config));
                }
                descriptor
            }
        };
        Ok(Member {
            source: Some(reference.with_digest(stored.digest.clone()).to_string()),
            descriptor,
            manifest: stored,
            config: None,
        })
    };
    let index = match Document::parse(&top.bytes, &top.content_type)? {
        Document::Manifest(manifest) => return Ok(vec![member(&top, &manifest, None)?]),
        Document::Index(index) => index,
    };
    let wanted: Vec<&Descriptor> = match all {
        true => index.manifests.iter().collect(),
        false => vec![index.choose(&Platform::host())?],
    };
    let mut members = Vec::new();
    for own in wanted {
        let fetched = client.manifest(&endpoint.repository, Which::Digest(&own.digest))?;
        match Document::parse(&fetched.bytes, &fetched.content_type)? {
            Document::Manifest(manifest) => members.push(member(&fetched, &manifest, Some(own))?),
            Document::Index(_) => {
                return Err(Error::unsupported("a list in a list cannot be added"));
            }
        }
    }
    Ok(members)
}
