//! `artifact`: files in the form of images, for registries: models, policies, reports.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::RegistryOptions;
use super::manifest::artifact::{ArtifactSpec, TITLE, assemble, layer};
use super::manifest::{member, push as lists};
use super::push::Signing;
use super::remote::Remote;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::StoredManifest;
use crate::image::artifact::ArtifactRecord;
use crate::image::list::Member;
use crate::image::store::local_name;
use crate::operations::session::Session;
use crate::registry::client::Client;
use crate::registry::fetch::Sink;
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, Document};
use crate::spec::reference::Reference;
use crate::storage::Store;
use crate::storage::blob::{BlobWriter, Claim};

/// How files become an artifact.
#[derive(Clone, Debug, Default)]
pub struct AddOptions {
    /// Annotations of each file.
    pub annotations: BTreeMap<String, String>,
    /// Add to an artifact that is here.
    pub append: bool,
    /// Take the place of an artifact that is here.
    pub replace: bool,
    /// Media type of the files.
    pub file_type: Option<String>,
    /// Type of the artifact.
    pub kind: Option<String>,
}

/// Makes an artifact of files, or adds files to one. Answers its digest.
///
/// # Errors
/// `Exists` when the name is taken, or a file's name in it; what the kernel says of the files.
pub fn add(
    session: &Session,
    name: &str,
    files: &[PathBuf],
    options: &AddOptions,
) -> Result<Digest> {
    let images = super::images(session);
    let reference = local_name(name)?;
    let old = match images.artifact(name) {
        Ok(old) => Some(old),
        Err(e) if e.kind() == Kind::NotFound => None,
        Err(e) => return Err(e),
    };
    let mut layers = Vec::new();
    let mut spec = ArtifactSpec {
        kind: options.kind.clone(),
        layer_type: options.file_type.clone(),
        file_annotations: options.annotations.clone(),
        ..ArtifactSpec::default()
    };
    match &old {
        None if options.append => {
            return Err(Error::not_found(format!("no such artifact: {name:?}"))
                .hint("leave out --append to make it"));
        }
        Some(old) if options.append => {
            let manifest = old.member.parsed()?;
            layers = manifest.layers;
            spec.kind = manifest.artifact_type;
            spec.annotations = manifest.annotations;
        }
        Some(_) if !options.replace => {
            return Err(
                Error::new(Kind::Exists, format!("artifact {name:?} is here already"))
                    .hint("--append adds to it, --replace makes it anew"),
            );
        }
        _ => {}
    }
    let _growing = {
        let store = super::enter_store(session)?;
        super::remove::growing(session, &store)?
    };
    for path in files {
        let new = layer(session, path, &spec)?;
        let taken = |l: &Descriptor| l.annotations.get(TITLE) == new.annotations.get(TITLE);
        if layers.iter().any(taken) {
            return Err(Error::new(
                Kind::Exists,
                format!("the artifact has a file {:?} already", title(&new)),
            ));
        }
        layers.push(new);
    }
    let record = ArtifactRecord::new(&reference, assemble(layers, &spec)?);
    images.put_artifact(&record)?;
    Ok(record.digest().clone())
}

/// The name of a file in an artifact: its title, else its digest.
pub fn title(layer: &Descriptor) -> String {
    layer
        .annotations
        .get(TITLE)
        .cloned()
        .unwrap_or_else(|| layer.digest.to_string().replace(':', "-"))
}

/// Which file of an artifact.
#[derive(Clone, Debug)]
pub enum Pick {
    /// All of them.
    All,
    /// The one with this digest.
    Digest(String),
    /// The one with this title.
    Title(String),
}

/// Writes files of an artifact: into a folder, or one file under another name.
///
/// # Errors
/// `NotFound` for a file that is not in it; `Invalid` for a name that would leave the folder, or
/// several files and no folder; what the kernel says.
pub fn extract(session: &Session, name: &str, pick: &Pick, target: &Path) -> Result<()> {
    let record = super::images(session).artifact(name)?;
    let layers = record.member.parsed()?.layers;
    let wanted: Vec<&Descriptor> = layers
        .iter()
        .filter(|l| match pick {
            Pick::All => true,
            Pick::Digest(digest) => l.digest.to_string() == *digest || l.digest.hex() == digest,
            Pick::Title(text) => l.annotations.get(TITLE) == Some(text),
        })
        .collect();
    if wanted.is_empty() {
        return Err(Error::not_found(format!(
            "artifact {name:?} has no such file"
        )));
    }
    let folder = target.is_dir();
    if wanted.len() > 1 && !folder {
        return Err(Error::invalid(format!(
            "artifact {name:?} has {} files, and {} is no folder",
            wanted.len(),
            target.display()
        ))
        .hint("name a folder, or one file with --title or --digest"));
    }
    let store = super::store(session)?;
    for layer in wanted {
        let title = title(layer);
        // The name comes from a stranger.
        let strange =
            title.is_empty() || title.contains(['/', '\0']) || title == "." || title == "..";
        if folder && strange {
            return Err(Error::invalid(format!(
                "the artifact's file {title:?} would not stay in {}",
                target.display()
            ))
            .hint("take it out with --digest, to a path of your own"));
        }
        let path = if folder {
            target.join(&title)
        } else {
            target.to_owned()
        };
        let what = || format!("cannot write {}", path.display());
        let mut from = store.blobs().open(&layer.digest)?;
        let mut to = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .what(what)?;
        io::copy(&mut from, &mut to).what(what)?;
    }
    Ok(())
}

/// A blob on its way here.
struct Coming(BlobWriter);

impl Sink for Coming {
    fn offset(&self) -> u64 {
        self.0.resume_offset()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write(bytes)
    }

    fn restart(&mut self) -> Result<()> {
        self.0.restart()
    }
}

/// Brings the files of an artifact here.
///
/// # Errors
/// What the registry or the disk says.
pub(super) fn blobs(
    session: &Session,
    store: &Store,
    (client, repository): &(&Client, &str),
    files: &[Descriptor],
) -> Result<()> {
    for file in files {
        let key = file.digest.to_string();
        let label = format!("Copying blob {}", file.digest.short());
        session.progress.update(&key, &label, 0, file.size);
        if let Claim::Write(writer) = store.blobs().writer(&file.digest, Some(file.size))? {
            let mut coming = Coming(writer);
            client.download(repository, file, &mut coming)?;
            coming.0.finish()?;
        }
        session.progress.finish(&key, &label, "done");
    }
    Ok(())
}

/// Brings an artifact here. Answers its digest.
///
/// # Errors
/// `Invalid` for an image; what the registry says.
pub fn pull(session: &Session, name: &str, registry: &RegistryOptions) -> Result<Digest> {
    let (reference, (client, endpoint), top) = member::fetch(session, name, registry)?;
    let Document::Manifest(manifest) = Document::parse(&top.bytes, &top.content_type)? else {
        return Err(Error::invalid(format!(
            "{name:?} is a manifest list, not an artifact"
        )));
    };
    if manifest.artifact_type.is_none() && manifest.check_image().is_ok() {
        return Err(
            Error::invalid(format!("{name:?} is an image, not an artifact"))
                .hint(format!("coracle pull {name}")),
        );
    }
    let config = client.small_blob(&endpoint.repository, &manifest.config)?;
    let config = String::from_utf8(config).what_kind(
        Kind::Unsupported,
        || "the artifact's configuration is no text",
    )?;
    let store = super::enter_store(session)?;
    let _growing = super::remove::growing(session, &store)?;
    blobs(
        session,
        &store,
        &(&client, &endpoint.repository),
        &manifest.layers,
    )?;
    let raw =
        String::from_utf8(top.bytes).what_kind(Kind::Corrupt, || "the manifest is no text")?;
    let stored = StoredManifest {
        digest: top.digest.clone(),
        media_type: manifest.media_type_or_guess().to_owned(),
        raw,
    };
    let mut descriptor = Descriptor::new(
        stored.media_type.clone(),
        stored.digest.clone(),
        stored.raw.len() as u64,
    );
    descriptor.artifact_type = manifest.artifact_type;
    let member = Member {
        descriptor,
        manifest: stored,
        config: Some(config),
        source: None,
    };
    super::images(session).put_artifact(&ArtifactRecord::new(&reference, member))?;
    Ok(top.digest)
}

/// Gives an artifact to a registry. Answers its digest.
///
/// # Errors
/// `NotFound` when it is not here; what the registry says.
pub fn push(
    session: &Session,
    name: &str,
    destination: Option<&str>,
    registry: &RegistryOptions,
    signing: &Signing,
) -> Result<Digest> {
    let signer = signing.ready()?;
    let record = super::images(session).artifact(name)?;
    let target = match destination {
        Some(text) => Reference::parse_normalized(text.strip_prefix("docker://").unwrap_or(text))?,
        None => record.reference()?,
    };
    let what = || format!("cannot push artifact {target}");
    let remote = Remote::open(session, registry)?;
    let endpoint = remote
        .registries
        .endpoints(&target)?
        .into_iter()
        .find(|e| !e.mirror)
        .ok_or_else(|| Error::not_found("no registry to push to"))?;
    let client = remote.client(&endpoint)?;
    lists::document(session, &(&client, &endpoint.repository), &record.member).what(what)?;
    if let Some(tag) = target.tag() {
        let manifest = &record.member.manifest;
        client
            .put_manifest(
                &endpoint.repository,
                tag,
                &manifest.media_type,
                manifest.raw.as_bytes(),
            )
            .what(what)?;
    }
    signer.sign_all(session, &target, registry, [record.digest()])?;
    Ok(record.digest().clone())
}

/// Removes artifacts and what only they hold. Answers their digests.
///
/// # Errors
/// `NotFound`, unless those are to be passed over.
pub fn remove(session: &Session, names: &[String], all: bool, ignore: bool) -> Result<Vec<Digest>> {
    let images = super::images(session);
    let mut going = Vec::new();
    if all {
        going = images.artifacts()?;
    }
    for name in names {
        match images.artifact(name) {
            Ok(record) => going.push(record),
            Err(e) if ignore && e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    for record in &going {
        images.remove_artifact(record)?;
    }
    if !going.is_empty() {
        super::remove::collect(session)?;
    }
    Ok(going.iter().map(|r| r.digest().clone()).collect())
}

/// Bytes of an artifact's files.
///
/// # Errors
/// `Corrupt` for a damaged manifest.
pub fn size(record: &ArtifactRecord) -> Result<u64> {
    Ok(record.member.parsed()?.layers.iter().map(|l| l.size).sum())
}
