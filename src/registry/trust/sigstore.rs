//! sigstore's signatures with a key: an artifact beside the image, under the tag `sha256-<hex>.sig`,
//! each of whose layers is a payload with its signature in an annotation.
//!
//! Spec: github.com/sigstore/cosign specs/SIGNATURE_SPEC.md.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::AtomicBool;

use super::key::{PrivateKey, PublicKey};
use super::payload;
use super::{Image, keys, refused};
use crate::base::{Context as _, Error, Kind, Result};
use crate::registry::client::Client;
use crate::registry::fetch::Which;
use crate::registry::policy::Rule;
use crate::registry::upload::Upload;
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, Document, Manifest, media};
use crate::spec::reference::Reference;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Signatures of an image that are looked at.
const MOST: usize = 128;

fn tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm().name(), digest.hex())
}

/// The artifact with the signatures of a manifest, if there is one.
fn artifact(client: &Client, repository: &str, digest: &Digest) -> Result<Option<Manifest>> {
    let fetched = match client.manifest(repository, Which::Tag(&tag(digest))) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        other => other.what(|| "cannot read the image's signatures")?,
    };
    match Document::parse(&fetched.bytes, &fetched.content_type)? {
        Document::Manifest(manifest) => Ok(Some(manifest)),
        Document::Index(_) => Err(Error::new(
            Kind::Corrupt,
            "the image's signatures are an index",
        )),
    }
}

/// Verifies that one of the keys of `rule` signed the image.
///
/// # Errors
/// `Denied` when none did; `Unsupported` for keyless rules.
pub(super) fn verify(image: &Image<'_>, rule: &Rule) -> Result<()> {
    let keyless = rule.fulcio.is_some() || rule.pki.is_some();
    let log = rule.rekor_public_key_path.is_some()
        || rule.rekor_public_key_data.is_some()
        || rule.rekor_public_key_paths.is_some()
        || rule.rekor_public_key_datas.is_some();
    if keyless || log {
        return Err(Error::unsupported(
            "it must have a keyless or logged signature (fulcio, pki, rekor), which coracle does not verify",
        )
        .hint("name a key in policy.json: keyPath"));
    }
    if !image.lookaside.attachments(image.reference) {
        return Err(Error::new(
            Kind::Denied,
            "it must be signed, and registries.d does not let signatures be looked for",
        )
        .hint("say \"use-sigstore-attachments: true\" for its registry in a file of ~/.config/containers/registries.d"));
    }
    let keys = keys(rule)?
        .iter()
        .map(|key| PublicKey::parse(key))
        .collect::<Result<Vec<_>>>()?;
    let identity = rule.signed_identity.clone().unwrap_or_default();
    let mut reasons = Vec::new();
    for digest in image.digests {
        let Some(artifact) = artifact(image.client, image.repository, digest)? else {
            continue;
        };
        for layer in artifact.layers.iter().take(MOST) {
            let Some(signature) = layer.annotations.get(SIGNATURE) else {
                continue;
            };
            if layer.media_type != PAYLOAD {
                continue;
            }
            let outcome = STANDARD
                .decode(signature)
                .what_kind(Kind::Corrupt, || "a signature is no base64")
                .and_then(|signature| {
                    let content = image.client.small_blob(image.repository, layer)?;
                    if !keys.iter().any(|key| key.verifies(&content, &signature)) {
                        return Err(Error::new(
                            Kind::Denied,
                            "a signature is of a key that the policy does not name",
                        ));
                    }
                    let names = (image.reference, image.digests);
                    payload::check(&content, payload::COSIGN, names, &identity)
                });
            match outcome {
                Ok(()) => return Ok(()),
                Err(e) => reasons.push(e.one_line()),
            }
        }
    }
    Err(refused(&reasons))
}

/// Signs a manifest that was pushed: adds to the signatures that it has.
///
/// # Errors
/// What the registry says.
pub fn sign(
    key: &PrivateKey,
    (client, repository): (&Client, &str),
    reference: &Reference,
    digest: &Digest,
) -> Result<()> {
    let content = payload::make(payload::COSIGN, &reference.to_string(), digest)?;
    let signature = STANDARD.encode(key.sign(&content)?);
    let mut layers = artifact(client, repository, digest)?
        .map(|artifact| artifact.layers)
        .unwrap_or_default();
    let mut layer = Descriptor::new(PAYLOAD, Digest::sha256_of(&content), content.len() as u64);
    layer.annotations.insert(SIGNATURE.to_owned(), signature);
    place(client, repository, &content, &layer.digest)?;
    layers.push(layer);
    let diff_ids: Vec<String> = layers.iter().map(|l| l.digest.to_string()).collect();
    let config = serde_json::json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let config_digest = Digest::sha256_of(config.as_bytes());
    place(client, repository, config.as_bytes(), &config_digest)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        config: Descriptor::new(media::OCI_CONFIG, config_digest, config.len() as u64),
        layers,
        annotations: BTreeMap::new(),
        artifact_type: None,
        subject: None,
    };
    let bytes = serde_json::to_vec(&manifest)
        .what_kind(Kind::Internal, || "cannot write the signatures")?;
    client
        .put_manifest(repository, &tag(digest), media::OCI_MANIFEST, &bytes)
        .map(drop)
}

/// Brings a small blob to the repository.
fn place(client: &Client, repository: &str, bytes: &[u8], digest: &Digest) -> Result<()> {
    let what = || "cannot hold a signature";
    let memory = rustix::fs::memfd_create("signature", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(std::io::Error::from)
        .what(what)?;
    let mut file = File::from(memory);
    file.write_all(bytes).what(what)?;
    client
        .place_blob(
            repository,
            &Upload {
                digest,
                file: &file,
                size: bytes.len() as u64,
                mount_from: None,
                sent: &|_| {},
                whole: &AtomicBool::new(false),
            },
        )
        .map(drop)
}
