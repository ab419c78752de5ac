//! Artifacts: files as the layers of a manifest, with a type in place of a configuration.
//!
//! Spec: image-spec, "Guidelines for Artifact Usage".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Kind, Result};
use crate::image::StoredManifest;
use crate::image::list::Member;
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, Manifest, media};

/// The annotation that names a file.
pub const TITLE: &str = "org.opencontainers.image.title";

/// The type of an artifact that says nothing of itself.
const UNKNOWN: &str = "application/vnd.unknown.artifact.v1";

/// What an artifact says of itself.
#[derive(Clone, Debug, Default)]
pub struct ArtifactSpec {
    /// `artifactType`.
    pub kind: Option<String>,
    /// A file that is the configuration; without one it is empty.
    pub config: Option<PathBuf>,
    /// The configuration's media type.
    pub config_type: Option<String>,
    /// The files' media type; without one it is guessed from the content.
    pub layer_type: Option<String>,
    /// Do not name the files.
    pub exclude_titles: bool,
    /// What it is about.
    pub subject: Option<Descriptor>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of each file.
    pub file_annotations: BTreeMap<String, String>,
}

/// Stores the files as blobs and makes a manifest of them. Enters the user namespace.
///
/// # Errors
/// `Invalid` without files; what the kernel says of them.
pub fn member(session: &Session, files: &[PathBuf], spec: &ArtifactSpec) -> Result<Member> {
    let mut layers = Vec::new();
    for path in files {
        layers.push(layer(session, path, spec)?);
    }
    if layers.is_empty() {
        return Err(Error::invalid("an artifact has at least one file"));
    }
    assemble(layers, spec)
}

/// A file as a layer: its content becomes a blob.
///
/// # Errors
/// What the kernel says of the file.
pub fn layer(session: &Session, path: &Path, spec: &ArtifactSpec) -> Result<Descriptor> {
    // Opened as the caller: the user namespace has other rights.
    let what = || format!("cannot read {}", path.display());
    let mut file = File::open(path).what(what)?;
    let meta = file.metadata().what(what)?;
    if !meta.is_file() {
        return Err(Error::invalid(format!(
            "{} is no regular file",
            path.display()
        )));
    }
    let mut head = Vec::new();
    (&mut file).take(512).read_to_end(&mut head).what(what)?;
    let store = super::super::enter_store(session)?;
    let mut content = head.as_slice().chain(file);
    let (digest, size) = store.blobs().ingest(&mut content).what(what)?;
    let kind = match &spec.layer_type {
        Some(kind) => kind.clone(),
        None => guess(&head).to_owned(),
    };
    let mut descriptor = Descriptor::new(kind, digest, size);
    descriptor.annotations.clone_from(&spec.file_annotations);
    if !spec.exclude_titles {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        descriptor
            .annotations
            .entry(TITLE.to_owned())
            .or_insert_with(|| name.into_owned());
    }
    Ok(descriptor)
}

/// A manifest of these layers.
///
/// # Errors
/// What the kernel says of the configuration's file.
pub fn assemble(layers: Vec<Descriptor>, spec: &ArtifactSpec) -> Result<Member> {
    let config = match &spec.config {
        None => "{}".to_owned(),
        Some(path) => {
            std::fs::read_to_string(path).what(|| format!("cannot read {}", path.display()))?
        }
    };
    let config_type = match (&spec.config_type, &spec.config) {
        (Some(kind), _) => kind.clone(),
        (None, None) => media::OCI_EMPTY.to_owned(),
        (None, Some(_)) => media::OCI_CONFIG.to_owned(),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        artifact_type: Some(spec.kind.clone().unwrap_or_else(|| UNKNOWN.to_owned())),
        config: Descriptor::new(
            config_type,
            Digest::sha256_of(config.as_bytes()),
            config.len() as u64,
        ),
        layers,
        subject: spec.subject.clone(),
        annotations: spec.annotations.clone(),
    };
    let raw = serde_json::to_string(&manifest)
        .what_kind(Kind::Internal, || "cannot write the manifest")?;
    let digest = Digest::sha256_of(raw.as_bytes());
    let mut descriptor = Descriptor::new(media::OCI_MANIFEST, digest.clone(), raw.len() as u64);
    descriptor.artifact_type = manifest.artifact_type;
    Ok(Member {
        descriptor,
        manifest: StoredManifest {
            digest,
            media_type: media::OCI_MANIFEST.to_owned(),
            raw,
        },
        config: Some(config),
        source: None,
    })
}

/// The media type that the first bytes of a file tell.
///
/// WHATWG MIME Sniffing, the few that occur; text is what has no control characters.
fn guess(head: &[u8]) -> &'static str {
    let known: [(&[u8], &str); 8] = [
        (b"\x1f\x8b\x08", "application/x-gzip"),
        (b"PK\x03\x04", "application/zip"),
        (b"%PDF-", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"\0asm", "application/wasm"),
        (b"<?xml", "text/xml; charset=utf-8"),
    ];
    if let Some((_, kind)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return kind;
    }
    let binary = |b: &u8| matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    match head.iter().any(binary) {
        true => "application/octet-stream",
        false => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_guessed_from_the_content() {
        assert_eq!(guess(b"\x1f\x8b\x08\0"), "application/x-gzip");
        assert_eq!(guess(b"plain\n"), "text/plain; charset=utf-8");
        assert_eq!(guess(b""), "text/plain; charset=utf-8");
        assert_eq!(guess(b"\x7fELF\x02\x01\x01\0"), "application/octet-stream");
    }

    #[test]
    fn manifests_of_artifacts_follow_the_specification() {
        let layer = Descriptor::new("text/plain", Digest::sha256_of(b"x"), 1);
        let made = assemble(vec![layer], &ArtifactSpec::default()).unwrap();
        let theirs: oci_spec::image::ImageManifest =
            serde_json::from_str(&made.manifest.raw).unwrap();
        assert_eq!(
            theirs.artifact_type().as_ref().unwrap().to_string(),
            UNKNOWN
        );
        assert_eq!(
            theirs.config().digest().to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(theirs.config().media_type().to_string(), media::OCI_EMPTY);
    }
}
