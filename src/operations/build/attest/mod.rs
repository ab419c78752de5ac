//! Statements about an image, in in-toto's form and kept as BuildKit keeps them: a manifest beside
//! the image's in the index, each statement a layer of it.
//!
//! Spec: in-toto attestation framework, Statement v0.1; SPDX 2.3; SLSA provenance v1; BuildKit's
//! "Image attestation storage".

mod provenance;
pub mod wish;

use std::os::fd::AsFd as _;

use serde_json::{Value, json};

use self::wish::Wish;
use super::{Built, Request, export};
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::build::packages::{self, Distribution, Package, apk, dpkg, ndb, rpm, spdx, sqlite};
use crate::image::list::ABOUT;
use crate::image::{ImageRecord, Member, StoredManifest};
use crate::operations::session::Session;
use crate::operations::system::version::VERSION;
use crate::spec::digest::Digest;
use crate::spec::manifest::{Descriptor, DescriptorPlatform, Manifest, media};
use crate::spec::reference::Reference;
use crate::storage::Store;
use crate::sys::{at, resolve};

/// What a statement's layer is.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// Says what a layer states.
const PREDICATE: &str = "in-toto.io/predicate-type";
const SPDX: &str = "https://spdx.dev/Document";
const SLSA: &str = "https://slsa.dev/provenance/v1";

/// The most bytes of a database of packages that are read.
const DATABASE: u64 = 128 << 20;

/// Makes the statements that are wished for, and keeps their blobs.
///
/// # Errors
/// `Unsupported` or `Corrupt` for a database of packages that cannot be read; what the kernel says.
pub fn make(
    session: &Session,
    store: &Store,
    request: &Request,
    wish: &Wish,
    built: &Built,
    names: &[Reference],
) -> Result<Option<Member>> {
    if !wish.any() {
        return Ok(None);
    }
    let manifest = built
        .record
        .manifest_digest()
        .ok_or_else(|| Error::internal("an image without a manifest"))?;
    let subjects = subjects(&built.record, manifest, names);
    let mut layers = Vec::new();
    let mut add = |kind: &str, predicate: Value| -> Result<()> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": kind,
            "subject": subjects,
            "predicate": predicate,
        });
        let bytes = statement.to_string();
        let (digest, size) = store.blobs().ingest(&mut bytes.as_bytes())?;
        let mut layer = Descriptor::new(STATEMENT, digest, size);
        layer
            .annotations
            .insert(PREDICATE.to_owned(), kind.to_owned());
        layers.push(layer);
        Ok(())
    };
    if wish.sbom {
        let (found, distribution) = scan(session, &built.record)?;
        let name = names
            .first()
            .map_or_else(|| built.record.id.to_string(), ToString::to_string);
        let about = spdx::About {
            name: &name,
            manifest,
            created: &built.record.created().rfc3339(),
            version: VERSION,
        };
        add(SPDX, spdx::document(&about, &found, &distribution))?;
    }
    if let Some(detail) = wish.provenance {
        add(
            SLSA,
            provenance::predicate(request, detail, &wish.builder, built),
        )?;
    }
    let ids: Vec<&Digest> = layers.iter().map(|l| &l.digest).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": ids },
    })
    .to_string();
    let about = manifest;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        config: Descriptor::new(
            media::OCI_CONFIG,
            Digest::sha256_of(config.as_bytes()),
            config.len() as u64,
        ),
        layers,
        artifact_type: None,
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let raw = serde_json::to_string(&manifest)
        .what_kind(Kind::Internal, || "cannot write the attestation")?;
    let stored = StoredManifest {
        digest: Digest::sha256_of(raw.as_bytes()),
        media_type: media::OCI_MANIFEST.to_owned(),
        raw,
    };
    let mut descriptor = Descriptor::new(
        stored.media_type.clone(),
        stored.digest.clone(),
        stored.raw.len() as u64,
    );
    descriptor.platform = Some(DescriptorPlatform {
        architecture: "unknown".to_owned(),
        os: "unknown".to_owned(),
        ..DescriptorPlatform::default()
    });
    descriptor.annotations.extend([
        (ABOUT.to_owned(), about.to_string()),
        (
            "vnd.docker.reference.type".to_owned(),
            "attestation-manifest".to_owned(),
        ),
    ]);
    Ok(Some(Member {
        descriptor,
        manifest: stored,
        config: Some(config),
        source: None,
    }))
}

/// What the statements are about: the image under each of its names.
fn subjects(record: &ImageRecord, manifest: &Digest, names: &[Reference]) -> Vec<Value> {
    let digest = json!({ manifest.algorithm().name(): manifest.hex() });
    let platform = packages::escaped(&record.platform().to_string());
    if names.is_empty() {
        return vec![json!({ "name": "_", "digest": digest })];
    }
    names
        .iter()
        .map(|name| {
            let version = name.tag().unwrap_or("latest");
            json!({
                "name": format!("pkg:docker/{}@{version}?platform={platform}", name.name()),
                "digest": digest,
            })
        })
        .collect()
}

/// The packages in an image.
fn scan(session: &Session, record: &ImageRecord) -> Result<(Vec<Package>, Distribution)> {
    let (_store, rootfs) = export::root(session, record)?;
    let root = rootfs.tree.as_fd();
    let read = |path: &str| -> Result<Option<Vec<u8>>> {
        resolve::read(root, path, DATABASE).what(|| format!("cannot read /{path} of the image"))
    };
    let text = |path: &str| -> Result<Option<String>> {
        Ok(read(path)?.map(|b| String::from_utf8_lossy(&b).into_owned()))
    };
    let mut distribution = Distribution::default();
    for path in ["etc/os-release", "usr/lib/os-release"] {
        if distribution.id.is_empty()
            && let Ok(Some(text)) = text(path)
        {
            distribution = Distribution::parse(&text);
        }
    }
    let mut found = Vec::new();
    if let Some(text) = text("var/lib/dpkg/status")? {
        found.extend(dpkg::parse(&text));
    }
    if let Ok(dir) = at::open_dir_in_root(root, b"var/lib/dpkg/status.d") {
        for entry in at::list(dir.as_fd())? {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            // Lists of checksums lie beside the pieces.
            if !name.ends_with(".md5sums")
                && let Some(text) = text(&format!("var/lib/dpkg/status.d/{name}"))?
            {
                found.extend(dpkg::parse(&text));
            }
        }
    }
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(text) = text(path)? {
            found.extend(apk::parse(&text));
        }
    }
    for dir in ["usr/lib/sysimage/rpm", "var/lib/rpm"] {
        found.extend(rpms(dir, &read)?);
    }
    // One may be a link to the other.
    found.sort();
    found.dedup();
    Ok((found, distribution))
}

/// The packages of RPM's database in a folder, in whichever of its three forms.
fn rpms(dir: &str, read: &dyn Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Vec<Package>> {
    let broken = |name: &str, why: &str| {
        Error::new(
            Kind::Corrupt,
            format!("cannot list the packages of the image: /{dir}/{name} is damaged: {why}"),
        )
        .hint("leave out --sbom, or repair it in a step: RUN rpm --rebuilddb")
    };
    let name = "rpmdb.sqlite";
    if let Some(bytes) = read(&format!("{dir}/{name}"))? {
        let journal = read(&format!("{dir}/{name}-wal"))?;
        if journal.is_some_and(|j| !j.is_empty()) {
            return Err(broken(name, "it has changes in a journal beside it (-wal)"));
        }
        let blobs = sqlite::blobs(&bytes, "Packages", 1).map_err(|why| broken(name, why))?;
        return Ok(blobs.iter().filter_map(|b| rpm::parse(b)).collect());
    }
    let name = "Packages.db";
    if let Some(bytes) = read(&format!("{dir}/{name}"))? {
        let headers = ndb::headers(&bytes).map_err(|why| broken(name, why))?;
        return Ok(headers.into_iter().filter_map(rpm::parse).collect());
    }
    if read(&format!("{dir}/Packages"))?.is_some() {
        return Err(Error::unsupported(format!(
            "cannot list the packages of the image: /{dir}/Packages is a Berkeley DB, RPM's form \
             until 2020, which coracle does not read"
        )))
        .hint(|| "convert it in a step: RUN rpm --rebuilddb with %_db_backend sqlite; or leave out --sbom");
    }
    Ok(Vec::new())
}
