//! `image convert`: the same image with its layers compressed another way, under another name.

use super::compress::{Wanted, prepare};
use super::push::Options;
use super::transfer::{self, Source};
use crate::base::{Error, Result};
use crate::image::manifest::Format;
use crate::image::{ImageRecord, NameEntry};
use crate::operations::session::Session;
use crate::registry::fetch::Sink;
use crate::spec::manifest::Descriptor;
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;

/// How to convert.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What the layers become; absent: they stay.
    pub compression: Option<Wanted>,
    /// The manifest becomes OCI's.
    pub oci: bool,
    /// The image must be for this platform.
    pub platform: Option<Platform>,
}

/// All blobs are here.
struct Nowhere;

impl Source for Nowhere {
    fn fetch(&self, blob: &Descriptor, _sink: &mut dyn Sink) -> Result<()> {
        Err(Error::not_found(format!(
            "blob {} is not here",
            blob.digest
        )))
    }
}

/// Makes `target` of the image that `text` names.
///
/// # Errors
/// `NotFound`; `Unsupported` for layers that a table of contents cannot describe.
pub fn convert(
    session: &Session,
    text: &str,
    target: &Reference,
    request: &Request,
) -> Result<ImageRecord> {
    let found = super::lookup(session, text)?;
    super::check_platform(text, &found, request.platform.as_ref())?;
    let store = super::enter_store(session)?;
    let _growing = super::remove::growing(session, &store)?;
    let options = Options {
        compression: request.compression,
        format: request.oci.then_some(Format::Oci),
        ..Options::default()
    };
    let (manifest, made) = prepare(session, &found.record, &options)?;
    // Layers whose archive is another one are unpacked again.
    transfer::layers(&store, &made.layers, &Nowhere, &*session.progress)?;
    let mut record = ImageRecord::new(
        made.raw_config.clone(),
        manifest,
        made.layers
            .iter()
            .map(|l| (l.digest.clone(), l.media_type.clone(), l.size))
            .collect(),
    )?;
    record.parent.clone_from(&found.record.parent);
    record.size = super::make::unpacked_size(session, &record)?;
    let digest = record.manifest_digest().cloned();
    let entry = NameEntry {
        id: record.id.clone(),
        digest,
    };
    super::images(session).add(&record, &[(target.clone(), entry)])?;
    super::events::note(session, "tag", &record.id, &target.to_string());
    Ok(record)
}
