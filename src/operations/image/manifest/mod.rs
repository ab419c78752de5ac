//! `manifest`: making lists of images and giving them to registries.
//!
//! A list is an image record with members (`image::list`), so names, `images`, `rmi` and `tag` are
//! those of any image. Changes are made under the lock of the images.

pub(super) mod artifact;
pub(super) mod member;
pub(super) mod push;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use self::artifact::ArtifactSpec;
pub(in crate::operations::image) use self::member::fetch;
pub use self::member::of_record;
pub use self::push::{PushOptions, push};
use super::policy::RegistryOptions;
use crate::base::{Error, Kind, Result};
use crate::image::list::{ImageList, Member};
use crate::image::store::local_name;
use crate::image::{Found, ImageRecord, NameEntry};
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, Document};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;

/// How a list is made.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Add to a list of that name, if there is one.
    pub amend: bool,
    /// Add all members of what is a list itself.
    pub all: bool,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// How registries are asked.
    pub registry: RegistryOptions,
}

/// What a member is to say of itself; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Describe {
    /// CPU architecture.
    pub architecture: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Its version.
    pub os_version: Option<String>,
    /// Its features.
    pub os_features: Vec<String>,
    /// Features of the CPU.
    pub features: Vec<String>,
    /// CPU variant.
    pub variant: Option<String>,
    /// Annotations of the member.
    pub annotations: BTreeMap<String, String>,
}

/// What is added to a list.
#[derive(Clone, Debug)]
pub enum Addition {
    /// An image, by name, `docker://NAME` or id.
    Image(String),
    /// Files, as an artifact.
    Files(Vec<PathBuf>, Box<ArtifactSpec>),
}

/// Finds a list here.
///
/// # Errors
/// `NotFound` when there is none, `Invalid` for an image that is none.
pub fn find(session: &Session, text: &str) -> Result<Found> {
    let found = super::lookup_any(session, text)?;
    if found.record.list.is_none() {
        return Err(
            Error::invalid(format!("{text:?} is an image, not a manifest list"))
                .hint("coracle manifest create NAME makes one"),
        );
    }
    Ok(found)
}

/// Makes a list with these members. Answers its id.
///
/// # Errors
/// `Exists` when there is an image of that name, unless it may be amended; what finding the members
/// says.
pub fn create(
    session: &Session,
    name: &str,
    members: &[String],
    options: &CreateOptions,
) -> Result<Digest> {
    let reference = local_name(name)?;
    let old = match super::lookup_any(session, name) {
        Ok(found) => Some(found),
        Err(e) if e.kind() == Kind::NotFound => None,
        Err(e) => return Err(e),
    };
    if let Some(old) = &old
        && (!options.amend || old.record.list.is_none())
    {
        return Err(Error::new(
            Kind::Exists,
            format!(
                "that name is already in use: {name:?} is image {}",
                old.record.id.short()
            ),
        )
        .hint("choose another name, remove it, or give --amend to add to a list")
        .exit_code(125));
    }
    let mut new = Vec::new();
    for text in members {
        new.extend(member::of_name(
            session,
            text,
            options.all,
            &options.registry,
        )?);
    }
    let id = match old {
        Some(old) => old.record.id,
        None => {
            let record = ImageRecord::new_list()?;
            let entry = NameEntry {
                id: record.id.clone(),
                digest: None,
            };
            super::images(session).add(&record, &[(reference, entry)])?;
            record.id
        }
    };
    change(session, &id, |list| {
        list.annotations.extend(options.annotations.clone());
        for member in new {
            list.put(member);
        }
        Ok(())
    })?;
    Ok(id)
}

/// Adds a member, or all of a list. Answers the list's id and the digests of what was added.
///
/// # Errors
/// As [`find`]; what finding the image says.
pub fn add(
    session: &Session,
    list: &str,
    what: &Addition,
    all: bool,
    describe: &Describe,
    registry: &RegistryOptions,
) -> Result<(Digest, Vec<Digest>)> {
    let found = find(session, list)?;
    let mut members = match what {
        Addition::Image(text) => member::of_name(session, text, all, registry)?,
        Addition::Files(files, spec) => vec![artifact::member(session, files, spec)?],
    };
    if members.len() == 1 || !describe.is_empty() {
        for member in &mut members {
            describe.apply(&mut member.descriptor);
        }
    }
    let digests = members
        .iter()
        .map(|m| m.descriptor.digest.clone())
        .collect();
    change(session, &found.record.id, |list| {
        for member in members {
            list.put(member);
        }
        Ok(())
    })?;
    Ok((found.record.id, digests))
}

/// Adds an image that is here to a list, which is made when there is none: what `build --manifest`
/// does.
///
/// # Errors
/// `Invalid` when the name is an image's that is no list.
pub fn add_record(session: &Session, list: &str, record: &ImageRecord) -> Result<Digest> {
    let id = match find(session, list) {
        Ok(found) => found.record.id,
        Err(e) if e.kind() == Kind::NotFound => {
            create(session, list, &[], &CreateOptions::default())?
        }
        Err(e) => return Err(e),
    };
    let member = member::of_record(record)?;
    change(session, &id, |list| {
        list.put(member);
        Ok(())
    })?;
    Ok(id)
}

/// Makes a list of these members under these names. With `amend` they are added to the list that the
/// first name stands for: a member for the same platform gives way, and what is stated about it. A
/// list that is the same already stays.
///
/// # Errors
/// `Exists` when the name to amend is an image's that is no list; what the kernel says.
pub fn keep(
    session: &Session,
    members: Vec<Member>,
    annotations: &BTreeMap<String, String>,
    names: &[Reference],
    amend: bool,
) -> Result<ImageRecord> {
    let images = super::images(session);
    let first = names.first().map(ToString::to_string);
    let old = match first.map(|name| super::lookup_any(session, &name)) {
        None => None,
        Some(Ok(found)) => Some(found.record),
        Some(Err(e)) if e.kind() == Kind::NotFound => None,
        Some(Err(e)) => return Err(e),
    };
    if amend
        && let Some(old) = &old
        && old.list.is_none()
    {
        return Err(Error::new(
            Kind::Exists,
            format!(
                "image {} has that name, and is no manifest list",
                old.id.short()
            ),
        )
        .hint("choose another name for the list, or take this one away: coracle untag"));
    }
    let mut record = match &old {
        Some(old) if amend => old.clone(),
        _ => ImageRecord::new_list()?,
    };
    if let Some(list) = &mut record.list {
        list.replace(members);
        list.annotations.extend(annotations.clone());
    }
    record.settle()?;
    let same =
        |old: &ImageRecord| old.list.is_some() && old.manifest_digest() == record.manifest_digest();
    if let Some(old) = old.filter(same) {
        record = old;
    }
    let entries: Vec<_> = names
        .iter()
        .map(|name| {
            let entry = NameEntry {
                id: record.id.clone(),
                digest: None,
            };
            (name.clone(), entry)
        })
        .collect();
    images.add(&record, &entries)?;
    // A list that was there has its old members until now.
    images.change(&record.id, |stored| {
        stored.list.clone_from(&record.list);
        stored.settle()
    })?;
    Ok(record)
}

/// Changes what a member, or the index itself (`member` absent), says of itself. Answers the
/// list's id.
///
/// # Errors
/// `NotFound` when the list has no such member.
pub fn annotate(
    session: &Session,
    list: &str,
    member: Option<&str>,
    describe: &Describe,
    subject: Option<&str>,
    registry: &RegistryOptions,
) -> Result<Digest> {
    let found = find(session, list)?;
    let subject = match subject {
        None => None,
        Some(text) => Some(descriptor_of(session, text, registry)?),
    };
    let digest = match member {
        None => None,
        Some(text) => Some(member_digest(session, &found, text)?),
    };
    change(session, &found.record.id, |list| {
        match &digest {
            None => list.annotations.extend(describe.annotations.clone()),
            Some(digest) => {
                let member = list
                    .members
                    .iter_mut()
                    .find(|m| m.descriptor.digest == *digest)
                    .ok_or_else(|| no_member(&digest.to_string()))?;
                describe.apply(&mut member.descriptor);
            }
        }
        if let Some(subject) = subject {
            list.subject = Some(subject);
        }
        Ok(())
    })?;
    Ok(found.record.id)
}

/// What points to an image, here or in a registry.
///
/// # Errors
/// `NotFound` when nobody has it.
pub fn descriptor_of(
    session: &Session,
    text: &str,
    registry: &RegistryOptions,
) -> Result<Descriptor> {
    let member = member::of_name(session, text, false, registry)?
        .into_iter()
        .next();
    let own = member.map(|m| m.descriptor);
    own.map(|own| Descriptor::new(own.media_type, own.digest, own.size))
        .ok_or_else(|| Error::not_found(format!("no such image: {text:?}")))
}

/// Takes a member out. Answers the list's id.
///
/// # Errors
/// `NotFound` when the list has no such member.
pub fn remove(session: &Session, list: &str, member: &str) -> Result<Digest> {
    let found = find(session, list)?;
    let digest = member_digest(session, &found, member)?;
    change(session, &found.record.id, |list| {
        list.members.retain(|m| m.descriptor.digest != digest);
        Ok(())
    })?;
    Ok(found.record.id)
}

/// The index as JSON text: of a list here, else of whatever a registry answers to the name.
///
/// # Errors
/// `NotFound` when it is nowhere; `Invalid` for an image here that is no list.
pub fn inspect(session: &Session, text: &str, registry: &RegistryOptions) -> Result<String> {
    let plain = text.strip_prefix("docker://").unwrap_or(text);
    let mut local = None;
    if plain == text {
        match super::lookup_any(session, text) {
            Ok(found) if found.record.list.is_some() => {
                let index = found.record.manifests.into_iter().next();
                return Ok(index.map(|m| m.raw).unwrap_or_default());
            }
            Ok(found) => local = Some(found),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    match member::fetch(session, plain, registry) {
        Ok((_, _, top)) => match Document::parse(&top.bytes, &top.content_type)? {
            Document::Index(_) => String::from_utf8(top.bytes)
                .map_err(|e| Error::new(Kind::Corrupt, "the index is no text").because(e)),
            Document::Manifest(_) => String::from_utf8(top.bytes)
                .map_err(|e| Error::new(Kind::Corrupt, "the manifest is no text").because(e)),
        },
        Err(e) => match local {
            Some(_) => {
                Err(Error::invalid(format!("{text:?} is an image, not a manifest list")).because(e))
            }
            None => Err(e),
        },
    }
}

fn no_member(text: &str) -> Error {
    Error::not_found(format!("the list has no member {text:?}"))
        .hint("`coracle manifest inspect` lists them")
}

/// A member by digest, or by the name of an image that is in the list.
fn member_digest(session: &Session, list: &Found, text: &str) -> Result<Digest> {
    let members = list
        .record
        .list
        .as_ref()
        .map(|l| &l.members[..])
        .unwrap_or_default();
    let has = |digest: &Digest| members.iter().any(|m| m.descriptor.digest == *digest);
    let after = text.rsplit('@').next().unwrap_or(text);
    if let Ok(digest) = after.parse::<Digest>() {
        return if has(&digest) {
            Ok(digest)
        } else {
            Err(no_member(text))
        };
    }
    let plain = text.strip_prefix("docker://").unwrap_or(text);
    if let Ok(found) = super::lookup(session, plain)
        && let Some(manifest) = found.record.manifests.iter().find(|m| has(&m.digest))
    {
        return Ok(manifest.digest.clone());
    }
    // One that only a registry has, by the name it was added by.
    let wanted = Reference::parse_normalized(plain)?;
    members
        .iter()
        .find(|m| {
            let source = m.source.as_deref().map(Reference::parse_normalized);
            source.is_some_and(|s| s.is_ok_and(|s| s.name() == wanted.name()))
        })
        .map(|m| m.descriptor.digest.clone())
        .ok_or_else(|| no_member(text))
}

/// Changes a list under the lock of the images.
fn change(
    session: &Session,
    id: &Digest,
    how: impl FnOnce(&mut ImageList) -> Result<()>,
) -> Result<()> {
    super::images(session).change(id, |record| {
        let list = record
            .list
            .as_mut()
            .ok_or_else(|| Error::invalid("the image is no manifest list any more"))?;
        how(list)?;
        record.settle()
    })
}

impl Describe {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        let texts = [
            &self.architecture,
            &self.os,
            &self.os_version,
            &self.variant,
        ];
        texts.iter().all(|t| t.is_none())
            && self.os_features.is_empty()
            && self.features.is_empty()
            && self.annotations.is_empty()
    }

    fn apply(&self, descriptor: &mut Descriptor) {
        descriptor.annotations.extend(self.annotations.clone());
        let asked = Self {
            annotations: BTreeMap::new(),
            ..self.clone()
        };
        if asked.is_empty() {
            return;
        }
        let platform = descriptor.platform.get_or_insert_default();
        let set = |to: &mut String, from: &Option<String>| {
            if let Some(text) = from {
                to.clone_from(text);
            }
        };
        set(&mut platform.architecture, &self.architecture);
        set(&mut platform.os, &self.os);
        let set = |to: &mut Option<String>, from: &Option<String>| {
            if from.is_some() {
                to.clone_from(from);
            }
        };
        set(&mut platform.variant, &self.variant);
        set(&mut platform.os_version, &self.os_version);
        if !self.os_features.is_empty() {
            platform.os_features.clone_from(&self.os_features);
        }
        if !self.features.is_empty() {
            platform.features.clone_from(&self.features);
        }
    }
}

/// The image that a list stands for on a platform, when it is here.
///
/// # Errors
/// `NotFound` when the list has none for it, or its image is not here.
pub fn resolve(
    session: &Session,
    list: &ImageList,
    wish: Option<&Platform>,
) -> Result<ImageRecord> {
    let host = Platform::host();
    let member: &Member = list.choose(wish.unwrap_or(&host))?;
    let record = member.record()?;
    super::images(session)
        .get(&record.id)
        .map_err(|e| e.hint("the list names it, and it was removed here: build or pull it again"))
}
