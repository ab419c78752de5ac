//! `save`, and `push` to archives: images here become files.
//!
//! A file is written beside its name and renamed when it is complete. The store is only read, so
//! no user namespace is entered.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::archive::Form;
use super::compress::in_parts;
use crate::archive::write::{FolderOutput, Output, TarOutput, document};
use crate::archive::{dir, docker, oci};
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::list::ImageList;
use crate::image::manifest::{self, Format};
use crate::image::{ImageRecord, LayerRecord, StoredManifest};
use crate::operations::session::Session;
use crate::spec::digest::Algorithm;
use crate::spec::manifest::{Descriptor, Index, media};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;
use crate::storage::Store;
use crate::storage::codec::Decoder;

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file or folder.
    Path(PathBuf),
}

/// What goes.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The image.
    pub record: ImageRecord,
    /// The names it is saved under.
    pub names: Vec<Reference>,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The form.
    pub form: Form,
    /// Layers as plain tars in the OCI forms too.
    pub uncompressed: bool,
    /// Plain layers go compressed with gzip; for a folder of skopeo's form.
    pub compress: bool,
}

/// Finds what a command line names: several names of one image are saved as one image.
///
/// # Errors
/// `NotFound`.
pub fn select(
    session: &Session,
    names: &[String],
    platform: Option<&Platform>,
) -> Result<Vec<Saved>> {
    let mut found: Vec<Saved> = Vec::new();
    for text in names {
        let one = super::lookup(session, text)?;
        super::check_platform(text, &one, platform)?;
        let name = one.name.filter(|n| n.tag().is_some());
        match found.iter_mut().find(|s| s.record.id == one.record.id) {
            Some(saved) => saved
                .names
                .extend(name.filter(|n| !saved.names.contains(n))),
            None => found.push(Saved {
                record: one.record,
                names: name.into_iter().collect(),
            }),
        }
    }
    Ok(found)
}

/// Saves images. Standard output must not be a terminal: the caller checks.
///
/// # Errors
/// `Invalid` for several images in a form that holds one; what the kernel says.
pub fn save(session: &Session, images: &[Saved], target: &Target, options: Options) -> Result<()> {
    let store = super::store(session)?;
    let mut whole = images.to_vec();
    let mut held = Vec::new();
    for image in &mut whole {
        if image.record.layers.iter().any(|l| in_parts(&store, l)) {
            let (record, growing) = super::push::compressed(session, &image.record, false)?;
            image.record = record;
            held.push(growing);
        }
    }
    let images = &whole[..];
    match (options.form, target) {
        (Form::OciDir | Form::DockerDir, Target::Stdout) => Err(Error::invalid(format!(
            "a {} is a folder and needs --output",
            options.form.name()
        ))),
        (Form::DockerDir, Target::Path(path)) if options.compress => {
            let [one] = images else {
                return Err(one_only());
            };
            let (record, _growing) = super::push::compressed(session, &one.record, true)?;
            let one = Saved {
                record,
                names: one.names.clone(),
            };
            write(&store, &[one], options, &mut FolderOutput::new(path)?)
        }
        (Form::OciDir | Form::DockerDir, Target::Path(path)) => {
            let mut output = FolderOutput::new(path)?;
            write(&store, images, options, &mut output)
        }
        (_, Target::Stdout) => {
            let stdout = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            write(&store, images, options, &mut TarOutput::new(stdout))
        }
        (_, Target::Path(path)) => {
            let special = std::fs::metadata(path).is_ok_and(|m| !m.is_file());
            let written = if special { path.clone() } else { beside(path) };
            let what = || format!("cannot write {}", path.display());
            let file = File::create(&written).what(what)?;
            let mut output = TarOutput::new(BufWriter::with_capacity(1 << 20, file));
            let outcome = write(&store, images, options, &mut output);
            if special {
                return outcome;
            }
            let outcome = outcome.and_then(|()| std::fs::rename(&written, path).what(what));
            if outcome.is_err() {
                // Half an archive helps nobody.
                drop(std::fs::remove_file(&written));
            }
            outcome
        }
    }
}

fn one_only() -> Error {
    Error::invalid("a dir: folder holds one image")
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn write(store: &Store, images: &[Saved], options: Options, output: &mut dyn Output) -> Result<()> {
    match options.form {
        Form::DockerArchive => docker_archive(store, images, output)?,
        Form::OciArchive | Form::OciDir => layout(store, images, options, output)?,
        Form::DockerDir => match images {
            [one] => folder(store, one, output)?,
            _ => return Err(one_only()),
        },
    }
    output.finish()
}

fn docker_archive(store: &Store, images: &[Saved], output: &mut dyn Output) -> Result<()> {
    let mut items = Vec::new();
    for image in images {
        let record = &image.record;
        let mut layers = Vec::new();
        for layer in &record.layers {
            let name = format!("{}.tar", layer.diff_id.hex());
            plain_layer(store, layer, &name, output)?;
            layers.push(name);
        }
        let config = format!("{}.json", record.id.hex());
        document(output, &config, record.raw_config.as_bytes())?;
        items.push(docker::Item {
            config,
            repo_tags: image.names.iter().map(familiar_full).collect(),
            layers,
        });
    }
    let bytes =
        serde_json::to_vec(&items).what_kind(Kind::Internal, || "cannot write manifest.json")?;
    document(output, "manifest.json", &bytes)
}

/// Docker and podman read both; podman writes the full one.
fn familiar_full(name: &Reference) -> String {
    name.to_string()
}

/// Writes a layer inflated. Its size stands before it, so it is inflated twice.
fn plain_layer(
    store: &Store,
    layer: &LayerRecord,
    name: &str,
    output: &mut dyn Output,
) -> Result<()> {
    if output.has(name) {
        return Ok(());
    }
    let size = plain_size(store, layer)?;
    let mut decoder = decoder(store, layer)?;
    output.part(name, size, &mut decoder)?;
    let found = decoder.finish();
    if found == layer.diff_id {
        return Ok(());
    }
    Err(Error::new(
        Kind::Corrupt,
        format!("blob {} is damaged: it inflates to {found}", layer.digest),
    ))
}

fn decoder(store: &Store, layer: &LayerRecord) -> Result<Decoder<'static>> {
    Decoder::new(open(store, layer)?, layer.diff_id.algorithm())
}

fn open(store: &Store, layer: &LayerRecord) -> Result<File> {
    store.blobs().open(&layer.digest).map_err(|e| {
        if e.kind() == Kind::NotFound {
            e.hint("the blob is gone from the store: pull the image again")
        } else {
            e
        }
    })
}

fn plain_size(store: &Store, layer: &LayerRecord) -> Result<u64> {
    let mut decoder = Decoder::new(open(store, layer)?, Algorithm::Sha256)?;
    io::copy(&mut decoder, &mut io::sink()).what(|| format!("cannot inflate blob {}", layer.digest))
}

fn layout(
    store: &Store,
    images: &[Saved],
    options: Options,
    output: &mut dyn Output,
) -> Result<()> {
    document(output, "oci-layout", oci::LAYOUT)?;
    let mut members = Vec::new();
    for image in images {
        let descriptor = match &image.record.list {
            Some(list) => index(store, list, &image.record, output)?,
            None => {
                let manifest = one(store, &image.record, options.uncompressed, output)?;
                let record = ImageRecord {
                    manifests: vec![manifest],
                    ..image.record.clone()
                };
                super::manifest::of_record(&record)?.descriptor
            }
        };
        if image.names.is_empty() {
            members.push(descriptor.clone());
        }
        for name in &image.names {
            let mut named = descriptor.clone();
            named
                .annotations
                .insert(oci::REF_NAME.to_owned(), name.to_string());
            members.push(named);
        }
    }
    let index = Index {
        schema_version: 2,
        media_type: media::OCI_INDEX.to_owned(),
        manifests: members,
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let bytes =
        serde_json::to_vec(&index).what_kind(Kind::Internal, || "cannot write index.json")?;
    document(output, "index.json", &bytes)
}

/// Writes an image's blobs and documents; the manifest that describes them.
fn one(
    store: &Store,
    record: &ImageRecord,
    uncompressed: bool,
    output: &mut dyn Output,
) -> Result<StoredManifest> {
    let manifest = if uncompressed {
        plain_blobs(store, record, output)?
    } else {
        for layer in &record.layers {
            copy_blob(store, layer, &oci::blob_name(&layer.digest), output)?;
        }
        oci_manifest(record)?
    };
    documents(&manifest, &record.raw_config, output)?;
    Ok(manifest)
}

fn documents(manifest: &StoredManifest, config: &str, output: &mut dyn Output) -> Result<()> {
    let name = oci::blob_name(&manifest::config_digest(manifest)?);
    document(output, &name, config.as_bytes())?;
    let name = oci::blob_name(&manifest.digest);
    document(output, &name, manifest.raw.as_bytes())
}

/// Writes everything of a list, as it is; its descriptor.
fn index(
    store: &Store,
    list: &ImageList,
    record: &ImageRecord,
    output: &mut dyn Output,
) -> Result<Descriptor> {
    for member in &list.members {
        for blob in member.parsed()?.layers {
            let name = oci::blob_name(&blob.digest);
            if !output.has(&name) {
                let mut file = store.blobs().open(&blob.digest)?;
                output.part(&name, blob.size, &mut file)?;
            }
        }
        let config = member.config.as_deref().unwrap_or("{}");
        documents(&member.manifest, config, output)?;
    }
    let own = record
        .manifests
        .first()
        .ok_or_else(|| Error::internal("a list without an index"))?;
    document(output, &oci::blob_name(&own.digest), own.raw.as_bytes())?;
    Ok(Descriptor::new(
        own.media_type.clone(),
        own.digest.clone(),
        own.raw.len() as u64,
    ))
}

fn copy_blob(
    store: &Store,
    layer: &LayerRecord,
    name: &str,
    output: &mut dyn Output,
) -> Result<()> {
    if output.has(name) {
        return Ok(());
    }
    let mut file = open(store, layer)?;
    output.part(name, layer.size, &mut file)
}

/// The image's own manifest when it is OCI's, else one that says the same.
///
/// # Errors
/// `Unsupported` for layers that OCI has no name for.
pub fn oci_manifest(record: &ImageRecord) -> Result<StoredManifest> {
    match record.manifests.first() {
        Some(own) if own.media_type == media::OCI_MANIFEST => Ok(own.clone()),
        _ => manifest::build(Format::Oci, &record.raw_config, &record.layers),
    }
}

fn plain_blobs(
    store: &Store,
    record: &ImageRecord,
    output: &mut dyn Output,
) -> Result<StoredManifest> {
    let mut layers = record.layers.clone();
    for layer in &mut layers {
        let size = plain_size(store, layer)?;
        plain_layer(store, layer, &oci::blob_name(&layer.diff_id), output)?;
        layer.size = size;
        layer.digest = layer.diff_id.clone();
        media::OCI_LAYER.clone_into(&mut layer.media_type);
    }
    manifest::build(Format::Oci, &record.raw_config, &layers)
}

fn folder(store: &Store, image: &Saved, output: &mut dyn Output) -> Result<()> {
    let record = &image.record;
    let own = match record.manifests.first() {
        Some(own) => own.clone(),
        None => oci_manifest(record)?,
    };
    // The names of the files follow the manifest.
    let config = manifest::config_digest(&own)?;
    document(output, "version", dir::VERSION.as_bytes())?;
    for layer in &record.layers {
        copy_blob(store, layer, &dir::blob_name(&layer.digest), output)?;
    }
    document(
        output,
        &dir::blob_name(&config),
        record.raw_config.as_bytes(),
    )?;
    document(output, "manifest.json", own.raw.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporary_name_is_in_the_same_folder() {
        let path = beside(Path::new("/a/b.tar"));
        assert_eq!(path.parent(), Some(Path::new("/a")));
        assert_ne!(path, Path::new("/a/b.tar"));
    }
}
