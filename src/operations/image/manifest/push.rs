//! Giving a list to a registry: its members by digest first, then the index.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::AtomicBool;

use super::super::policy::RegistryOptions;
use super::super::push as images;
use super::super::remote::Remote;
use super::find;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::list::{ImageList, Member};
use crate::image::manifest::Format;
use crate::image::{Found, ImageRecord};
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::fetch::Which;
use crate::registry::upload::Upload;
use crate::spec::digest::Digest;
use crate::spec::manifest::Descriptor;
use crate::spec::reference::Reference;

/// How to push a list.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// The members' content goes too; else the registry must have it.
    pub all: bool,
    /// Form of the index.
    pub format: Format,
    /// Remove the list here afterwards.
    pub rm: bool,
    /// How registries are asked.
    pub registry: RegistryOptions,
    /// Who signs the list and its members.
    pub signing: images::Signing,
}

/// Pushes a list to a registry, under its own name or another. Answers the index's digest.
///
/// # Errors
/// `NotFound` when a member is neither here nor where it came from; what the registry says.
pub fn push(
    session: &Session,
    list: &str,
    destination: Option<&str>,
    options: &PushOptions,
) -> Result<Digest> {
    let found = find(session, list)?;
    let target = match destination {
        Some(text) => {
            let text = text.strip_prefix("docker://").unwrap_or(text);
            if super::super::archive::Location::parse(text)?.is_some() {
                return Err(Error::unsupported(format!(
                    "a manifest list cannot be pushed to {text:?}"
                ))
                .hint("push it to a registry; skopeo copies it from there"));
            }
            Reference::parse_normalized(text)?
        }
        None => images::own_name(session, list, &found)?,
    };
    let what = || format!("cannot push {target}");
    let members = found.record.list.clone().unwrap_or_default();
    let digest = to_registry(session, &found.record, &members, &target, options).what(what)?;
    if options.rm {
        super::super::images(session).remove(&found.record.id)?;
    }
    Ok(digest)
}

fn to_registry(
    session: &Session,
    record: &ImageRecord,
    list: &ImageList,
    target: &Reference,
    options: &PushOptions,
) -> Result<Digest> {
    let signer = options.signing.ready()?;
    let remote = Remote::open(session, &options.registry)?;
    let endpoint = remote
        .registries
        .endpoints(target)?
        .into_iter()
        .find(|e| !e.mirror)
        .ok_or_else(|| Error::not_found("no registry to push to"))?;
    let client = remote.client(&endpoint)?;
    for member in &list.members {
        let digest = &member.descriptor.digest;
        let which = Which::Digest(digest);
        if client
            .digest_of(&endpoint.repository, which)
            .is_ok_and(|d| d.is_some())
        {
            continue;
        }
        if !options.all {
            return Err(
                Error::not_found(format!("the registry has no manifest {digest}"))
                    .hint("push the image first, or leave out --all=false"),
            );
        }
        one(
            session,
            member,
            &(&client, &endpoint.repository),
            target,
            options,
        )
        .what(|| format!("cannot push member {digest}"))?;
    }
    let document = list.document(options.format)?;
    let reference = match (target.tag(), target.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, _) => document.digest.to_string(),
    };
    session
        .progress
        .message("Writing manifest list to image destination");
    let digest = client.put_manifest(
        &endpoint.repository,
        &reference,
        &document.media_type,
        document.raw.as_bytes(),
    )?;
    let members = list.members.iter().map(|m| &m.descriptor.digest);
    let all = members.chain([&digest]);
    signer.sign_all(session, target, &options.registry, all)?;
    super::super::events::note(session, "push", &record.id, &target.to_string());
    Ok(digest)
}

/// Brings a member there.
fn one(
    session: &Session,
    member: &Member,
    there: &(&Client, &str),
    target: &Reference,
    options: &PushOptions,
) -> Result<()> {
    let how = images::Options {
        registry: options.registry.clone(),
        ..images::Options::default()
    };
    let place = target.with_digest(member.descriptor.digest.clone());
    let manifest = member.parsed()?;
    if manifest.check_image().is_err() {
        let mut member = member.clone();
        let _growing = match &member.source {
            // Only a registry has it: its files come here for a moment.
            Some(source) if member.config.is_none() => {
                let store = super::super::enter_store(session)?;
                let growing = super::super::remove::growing(session, &store)?;
                let (_, (from, place), _) =
                    super::member::fetch(session, source, &options.registry)?;
                let place = (&from, place.repository.as_str());
                super::super::artifact::blobs(session, &store, &place, &manifest.layers)?;
                let config = from.small_blob(place.1, &manifest.config)?;
                let config = String::from_utf8(config).what_kind(
                    Kind::Unsupported,
                    || "the artifact's configuration is no text",
                )?;
                member.config = Some(config);
                Some(growing)
            }
            _ => None,
        };
        return document(session, there, &member);
    }
    let record = match &member.config {
        Some(_) => member.record()?,
        None => {
            let source = member.source.as_deref().unwrap_or_default();
            let (name, platform) = (source, None);
            super::super::pull::pull(session, name, platform, &options.registry)?.record
        }
    };
    // The very manifest that the list names, whichever the image was pulled with first.
    let record = ImageRecord {
        manifests: vec![member.manifest.clone()],
        ..record
    };
    let found = Found { record, name: None };
    images::to_registry(session, &found, &place, &how).map(drop)
}

/// Brings an artifact there: all its blobs, then its manifest under its digest.
pub(in crate::operations::image) fn document(
    session: &Session,
    (client, repository): &(&Client, &str),
    member: &Member,
) -> Result<()> {
    let manifest = member.parsed()?;
    blobs(session, &(*client, *repository), &manifest.layers)?;
    let config = member.config.as_deref().unwrap_or("{}");
    if Digest::sha256_of(config.as_bytes()) != manifest.config.digest {
        return Err(Error::new(
            Kind::NotFound,
            format!("the configuration {} is not here", manifest.config.digest),
        ));
    }
    let memory = rustix::fs::memfd_create("config", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(std::io::Error::from)
        .what(|| "cannot hold the configuration")?;
    let mut file = File::from(memory);
    file.write_all(config.as_bytes())
        .what(|| "cannot hold the configuration")?;
    place(client, repository, &manifest.config, &file)?;
    client
        .put_manifest(
            repository,
            &member.descriptor.digest.to_string(),
            &member.manifest.media_type,
            member.manifest.raw.as_bytes(),
        )
        .map(drop)
}

fn blobs(
    session: &Session,
    (client, repository): &(&Client, &str),
    all: &[Descriptor],
) -> Result<()> {
    let store = super::super::store(session)?;
    for blob in all {
        let key = blob.digest.to_string();
        let label = format!("Copying blob {}", blob.digest.short());
        session.progress.update(&key, &label, 0, blob.size);
        place(client, repository, blob, &store.blobs().open(&blob.digest)?)?;
        session.progress.finish(&key, &label, "done");
    }
    Ok(())
}

fn place(client: &Client, repository: &str, blob: &Descriptor, file: &File) -> Result<()> {
    client
        .place_blob(
            repository,
            &Upload {
                digest: &blob.digest,
                file,
                size: blob.size,
                mount_from: None,
                sent: &|_| {},
                whole: &AtomicBool::new(false),
            },
        )
        .map(drop)
}
