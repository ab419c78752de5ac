//! Giving images to registries.
//!
//! Blobs go as they came, so digests stay; they are compressed anew only when the command line
//! asks for it, or when the form of manifest cannot name their compression.

use std::path::{Path, PathBuf};

use super::archive::{Form, Location};
use super::compress::{Wanted, in_parts, prepare};
use super::destination::Destination;
use super::policy::RegistryOptions;
use super::remove::Growing;
use super::save;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::manifest::{self, Format};
use crate::image::{Found, ImageRecord, NameEntry};
use crate::operations::session::Session;
use crate::registry::trust::key::PrivateKey;
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;
use crate::storage::codec::Compression;

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--format`.
    pub format: Option<Format>,
    /// `--compression-format` and `--compression-level`.
    pub compression: Option<Wanted>,
    /// `--force-compression`: also layers that are compressed so already.
    pub force_compression: bool,
    /// `--compress`, for folders: plain layers go compressed with gzip.
    pub compress: bool,
    /// `--platform`: the image must be for this one.
    pub platform: Option<Platform>,
    /// How to talk to registries.
    pub registry: RegistryOptions,
    /// Who signs it.
    pub signing: Signing,
}

/// Who signs what is pushed.
#[derive(Clone, Debug, Default)]
pub struct Signing {
    /// `--sign-by`: the GPG key to sign with.
    pub by: Option<String>,
    /// `--sign-by-sigstore-private-key`: the file with the key to sign with.
    pub sigstore_key: Option<PathBuf>,
    /// `--sign-passphrase-file`: what opens either.
    pub passphrase_file: Option<PathBuf>,
}

/// [`Signing`], with the key in memory.
pub(super) struct Signer<'a> {
    how: &'a Signing,
    key: Option<PrivateKey>,
}

impl Signing {
    /// Whether nobody signs.
    pub fn is_none(&self) -> bool {
        self.by.is_none() && self.sigstore_key.is_none()
    }

    /// Reads the key, before anything is pushed.
    pub(super) fn ready(&self) -> Result<Signer<'_>> {
        let key = match &self.sigstore_key {
            Some(path) => Some(private_key(path, self.passphrase_file.as_deref())?),
            None => None,
        };
        Ok(Signer { how: self, key })
    }
}

impl Signer<'_> {
    /// Signs a manifest that is there.
    pub(super) fn sign(&self, destination: &Destination<'_>, digest: &Digest) -> Result<()> {
        if let Some(key) = &self.key {
            destination.sign(key, digest)?;
        }
        if let Some(by) = &self.how.by {
            destination.sign_simple(by, self.how.passphrase_file.as_deref(), digest)?;
        }
        Ok(())
    }

    /// Signs manifests that are there, if anybody is to.
    pub(super) fn sign_all<'d>(
        &self,
        session: &Session,
        target: &Reference,
        registry: &RegistryOptions,
        digests: impl IntoIterator<Item = &'d Digest>,
    ) -> Result<()> {
        if self.how.is_none() {
            return Ok(());
        }
        let destination = Destination::open(session, target, registry)?;
        for digest in digests {
            self.sign(&destination, digest)?;
        }
        Ok(())
    }
}

/// Pushes an image, to its own name or another place. Answers the manifest's digest.
///
/// # Errors
/// `NotFound` when it is not here; what the registry says.
pub fn push(
    session: &Session,
    text: &str,
    destination: Option<&str>,
    options: &Options,
) -> Result<Digest> {
    let list = match super::lookup_any(session, text) {
        Ok(found) => found.record.list.is_some(),
        Err(_) => false,
    };
    let elsewhere = destination.map(Location::parse).transpose()?.flatten();
    if list && options.platform.is_none() && elsewhere.is_none() {
        let how = super::manifest::PushOptions {
            all: true,
            format: options.format.unwrap_or_default(),
            rm: false,
            registry: options.registry.clone(),
            signing: options.signing.clone(),
        };
        return super::manifest::push(session, text, destination, &how);
    }
    let found = super::lookup_for(session, text, options.platform.as_ref())?;
    super::check_platform(text, &found, options.platform.as_ref())?;
    if let Some(location) = elsewhere {
        return to_location(session, &found, &location, options);
    }
    let target = match destination {
        Some(text) => {
            let text = text.strip_prefix("docker://").unwrap_or(text);
            Reference::parse_normalized(text)?
        }
        None => own_name(session, text, &found)?,
    };
    let pushed = to_registry(session, &found, &target, options);
    pushed
        .map_err(|e| match e.kind() {
            Kind::Unavailable if destination.is_none() && target.registry() == "localhost" => e
                .hint(format!(
                    "the image was made here and names no registry: coracle push {text} REGISTRY/{text}"
                )),
            _ => e,
        })
        .what(|| format!("cannot push {target}"))
}

/// Pushes every tag of a repository that is here, as `docker push --all-tags` does. Answers what
/// was pushed.
///
/// # Errors
/// As [`push`]; `Invalid` for a name with a tag or digest; the first tag that fails ends it.
pub fn all_tags(
    session: &Session,
    name: &str,
    options: &Options,
) -> Result<Vec<(Reference, Digest)>> {
    if name.contains('@') || super::pull::name_has_tag(name) {
        return Err(Error::invalid(format!(
            "--all-tags takes a name without tag and digest, not {name:?}"
        )));
    }
    let names = super::images(session).names()?;
    let tags_of = |wanted: &Reference| -> Vec<Reference> {
        let tagged = names.0.keys().filter(|n| n.tag().is_some());
        tagged
            .filter(|n| n.name() == wanted.name() && n.digest().is_none())
            .cloned()
            .collect()
    };
    let tags = crate::image::store::candidates(name)
        .iter()
        .map(tags_of)
        .find(|tags| !tags.is_empty())
        .ok_or_else(|| Error::not_found(format!("no image here is called {name:?}")))?;
    tags.into_iter()
        .map(|tag| {
            let digest = push(session, &tag.to_string(), None, options)?;
            Ok((tag, digest))
        })
        .collect()
}

pub(super) fn own_name(session: &Session, text: &str, found: &Found) -> Result<Reference> {
    if let Some(name) = &found.name {
        return Ok(name.clone());
    }
    let names = super::images(session).names()?;
    let mut tags = names.tags_of(&found.record.id);
    match (tags.next(), tags.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(
            Error::invalid(format!("{text:?} does not say where to push to"))
                .hint(format!("coracle push {text} REGISTRY/NAME:TAG")),
        ),
    }
}

fn to_location(
    session: &Session,
    found: &Found,
    location: &Location,
    options: &Options,
) -> Result<Digest> {
    let form = location.form;
    if !options.signing.is_none() {
        return Err(Error::unsupported("only images in registries are signed"));
    }
    if options.compress && form != Form::DockerDir {
        return Err(Error::invalid("--compress is for dir:PATH only"));
    }
    let refused = match (form, options.format) {
        (Form::DockerArchive, _)
            if options
                .compression
                .is_some_and(|c| c != Wanted::Stream(Compression::None)) =>
        {
            Some("a docker-archive holds plain layers: --compression-format does not apply")
        }
        (Form::DockerArchive, Some(Format::Oci)) => Some("a docker-archive has no OCI manifest"),
        (Form::OciArchive | Form::OciDir, Some(Format::Docker)) => {
            Some("an OCI layout has no docker manifest")
        }
        _ => None,
    };
    if let Some(refused) = refused {
        return Err(Error::unsupported(refused));
    }
    let names = match &location.name {
        Some(name) => vec![Reference::parse_normalized(name)?],
        None => found
            .name
            .iter()
            .filter(|n| n.tag().is_some())
            .cloned()
            .collect(),
    };
    let mut record = found.record.clone();
    let mut how = options.clone();
    if matches!(form, Form::OciArchive | Form::OciDir) {
        how.format = Some(Format::Oci);
    }
    let _growing = growing(session, &record, &how)?;
    if form != Form::DockerArchive {
        record = prepare(session, &record, &how)?.1;
    }
    let digest = match record.manifests.first() {
        Some(own) if form != Form::DockerArchive => own.digest.clone(),
        _ => save::oci_manifest(&record)?.digest,
    };
    save::save(
        session,
        &[save::Saved { record, names }],
        &save::Target::Path(location.path.clone()),
        save::Options {
            form,
            uncompressed: false,
            compress: false,
        },
    )?;
    Ok(digest)
}

/// Blobs compressed anew have no record: they must outlive the push, no longer.
fn growing(session: &Session, record: &ImageRecord, options: &Options) -> Result<Option<Growing>> {
    let outside = super::store(session)?;
    let apart = record.layers.iter().any(|l| in_parts(&outside, l));
    if options.compression.is_none() && options.format.is_none() && !options.compress && !apart {
        return Ok(None);
    }
    let store = super::enter_store(session)?;
    super::remove::growing(session, &store).map(Some)
}

/// The image with all its blobs here, plain layers compressed with gzip if `compress`; hold the second
/// until it is written.
///
/// # Errors
/// As [`push`].
pub fn compressed(
    session: &Session,
    record: &ImageRecord,
    compress: bool,
) -> Result<(ImageRecord, Option<Growing>)> {
    let options = Options {
        compress,
        ..Options::default()
    };
    let growing = growing(session, record, &options)?;
    Ok((prepare(session, record, &options)?.1, growing))
}

pub(super) fn to_registry(
    session: &Session,
    found: &Found,
    target: &Reference,
    options: &Options,
) -> Result<Digest> {
    let destination = Destination::open(session, target, &options.registry)?;
    let signer = options.signing.ready()?;
    let _growing = growing(session, &found.record, options)?;
    let (manifest, record) = prepare(session, &found.record, options)?;
    destination.blobs(&blobs(&record))?;
    destination.bytes(
        &manifest::config_digest(&manifest)?,
        record.raw_config.as_bytes(),
        &format!("Copying config {}", record.id.short()),
    )?;
    let digest = destination.top(&manifest)?;
    signer.sign(&destination, &digest)?;
    super::events::note(session, "push", &found.record.id, &target.to_string());
    if found.record.has_manifest(&digest) {
        // From now on it is known here by that digest as well.
        let name = target.with_digest(digest.clone());
        let entry = NameEntry {
            id: found.record.id.clone(),
            digest: Some(digest.clone()),
        };
        super::images(session).add(&found.record, &[(name, entry)])?;
    }
    Ok(digest)
}

/// The layers' blobs and their sizes.
fn blobs(record: &ImageRecord) -> Vec<(Digest, u64)> {
    let layers = record.layers.iter();
    layers.map(|l| (l.digest.clone(), l.size)).collect()
}

/// A key to sign with, opened by the first line of `passphrase`.
fn private_key(path: &Path, passphrase: Option<&Path>) -> Result<PrivateKey> {
    let read = |path: &Path| std::fs::read(path).what(|| format!("cannot read {}", path.display()));
    let passphrase = match passphrase {
        Some(path) => {
            let text = read(path)?;
            let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
            Some(line.to_vec())
        }
        None => None,
    };
    PrivateKey::parse(&read(path)?, passphrase.as_deref())
        .what(|| format!("cannot use the key {}", path.display()))
}
