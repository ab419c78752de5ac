//! Layers compressed anew: for a push, for `image convert`, for a manifest that cannot name what
//! they have.

use std::io::{self, BufReader, Read};

use super::push::Options;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::manifest::{self, Format};
use crate::image::{ImageRecord, LayerRecord, StoredManifest};
use crate::operations::session::Session;
use crate::spec::digest::Digest;
use crate::spec::image::chain_ids;
use crate::spec::manifest::{self as media_types, media};
use crate::storage::Store;
use crate::storage::chunked::write::{Form, pack};
use crate::storage::chunked::{STARGZ_DIGEST, ZSTD_CHECKSUM};
use crate::storage::codec::{Compression, Decoder, Encoder};

/// What a layer's blob is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One stream.
    Stream(Compression),
    /// With a table of contents, so that files can be fetched one by one.
    Table(Form),
}

impl Wanted {
    fn kind(self) -> media_types::Compression {
        match self {
            Self::Stream(Compression::None) => media_types::Compression::None,
            Self::Stream(Compression::Gzip(_)) | Self::Table(Form::Stargz(_)) => {
                media_types::Compression::Gzip
            }
            Self::Stream(Compression::Zstd(_)) | Self::Table(Form::Zstd(_)) => {
                media_types::Compression::Zstd
            }
        }
    }

    /// Whether a layer is that already.
    fn is(self, layer: &LayerRecord) -> Result<bool> {
        let have = media_types::Compression::of_media_type(&layer.media_type)?;
        let table = match self {
            Self::Stream(_) => true,
            Self::Table(Form::Zstd(_)) => layer.annotations.contains_key(ZSTD_CHECKSUM),
            Self::Table(Form::Stargz(_)) => layer.annotations.contains_key(STARGZ_DIGEST),
        };
        Ok(have == self.kind() && table)
    }
}

/// The manifest and the image to give away: the stored ones, or others that were asked for. An
/// eStargz layer has another diff id than the layer it was made of, so the image then has another
/// configuration and another id.
///
/// # Errors
/// `Unsupported` for a form of manifest that cannot say how the layers are compressed; as
/// [`recompress`].
pub fn prepare(
    session: &Session,
    record: &ImageRecord,
    options: &Options,
) -> Result<(StoredManifest, ImageRecord)> {
    let own = record.manifests.first();
    let own_format = match own {
        Some(m) if m.media_type == media::DOCKER_MANIFEST => Format::Docker,
        _ => Format::Oci,
    };
    let table = matches!(options.compression, Some(Wanted::Table(_)));
    let format = match options.format {
        Some(Format::Docker) if table => {
            return Err(Error::unsupported(
                "Docker's v2s2 manifests cannot say where a table of contents is",
            )
            .hint("use --format oci"));
        }
        Some(format) => format,
        None if table => Format::Oci,
        None => own_format,
    };
    let mut layers = record.layers.clone();
    let mut changed = false;
    let outside = super::store(session)?;
    let mut store = None;
    for layer in &mut layers {
        let have = media_types::Compression::of_media_type(&layer.media_type)?;
        let apart = in_parts(&outside, layer);
        let wanted = match options.compression {
            Some(wanted) => wanted,
            None if apart && format == Format::Oci => Wanted::Table(Form::Zstd(3)),
            None if options.compress && have == media_types::Compression::None => {
                Wanted::Stream(Compression::Gzip(6))
            }
            // Docker's manifests have no word for zstd.
            None if format == Format::Docker && have == media_types::Compression::Zstd => {
                Wanted::Stream(Compression::Gzip(6))
            }
            None => continue,
        };
        if wanted.is(layer)?
            && !apart
            && !(options.force_compression && options.compression.is_some())
        {
            continue;
        }
        let store = match &store {
            Some(store) => store,
            None => store.insert(super::enter_store(session)?),
        };
        *layer = recompress(session, store, layer, wanted)?;
        changed = true;
    }
    let mut record = ImageRecord {
        layers,
        ..record.clone()
    };
    rename_layers(&mut record)?;
    let manifest = match own {
        Some(own) if !changed && format == own_format => own.clone(),
        _ => manifest::build(format, &record.raw_config, &record.layers)?,
    };
    record.manifests = vec![manifest.clone()];
    Ok((manifest, record))
}

/// Whether a layer came in parts: its blob is not here.
pub fn in_parts(store: &Store, layer: &LayerRecord) -> bool {
    !store.blobs().has(&layer.digest) && store.layers().has_recipe(&layer.chain_id)
}

/// Lets the configuration name the layers that there are.
fn rename_layers(record: &mut ImageRecord) -> Result<()> {
    let diff_ids: Vec<Digest> = record.layers.iter().map(|l| l.diff_id.clone()).collect();
    if diff_ids == record.config.rootfs.diff_ids {
        return Ok(());
    }
    let what = || "cannot change the image's configuration";
    let mut config: serde_json::Value =
        serde_json::from_str(&record.raw_config).what_kind(Kind::Corrupt, what)?;
    let names: Vec<String> = diff_ids.iter().map(ToString::to_string).collect();
    match config.pointer_mut("/rootfs/diff_ids") {
        Some(list) => *list = names.into(),
        None => return Err(Error::new(Kind::Corrupt, what())),
    }
    record.raw_config = serde_json::to_string(&config).what_kind(Kind::Internal, what)?;
    record.id = Digest::sha256_of(record.raw_config.as_bytes());
    for (layer, chain) in record.layers.iter_mut().zip(chain_ids(&diff_ids)) {
        layer.chain_id = chain;
    }
    record.config.rootfs.diff_ids = diff_ids;
    Ok(())
}

/// A layer's blob compressed anew. Inside the user namespace. An eStargz layer has another diff id,
/// and keeps its old chain id here.
///
/// # Errors
/// `Corrupt` for a damaged blob; what the kernel says.
pub(in crate::operations) fn recompress(
    session: &Session,
    store: &Store,
    layer: &LayerRecord,
    wanted: Wanted,
) -> Result<LayerRecord> {
    let what = || format!("cannot compress layer {}", layer.diff_id.short());
    let key = layer.digest.to_string();
    let label = format!("Compressing blob {}", layer.digest.short());
    session.progress.update(&key, &label, 0, 0);
    let source: Box<dyn Read + Send> = if in_parts(store, layer) {
        Box::new(store.layers().archive(&layer.chain_id)?)
    } else {
        Box::new(store.blobs().open(&layer.digest)?)
    };
    let mut decoder = Decoder::new(source, layer.diff_id.algorithm())?;
    let sink = store.blobs().sink()?;
    let mut made = LayerRecord {
        media_type: wanted.kind().oci_layer().to_owned(),
        annotations: std::collections::BTreeMap::new(),
        ..layer.clone()
    };
    let sink = match wanted {
        Wanted::Stream(compression) => {
            let mut encoder = Encoder::new(sink, compression)?;
            io::copy(&mut decoder, &mut encoder).what(what)?;
            encoder.finish()?.sink
        }
        Wanted::Table(form) => {
            let packed = pack(
                BufReader::with_capacity(1 << 18, decoder.by_ref()),
                sink,
                form,
            )
            .what(what)?;
            made.annotations = packed.annotations;
            if let Form::Stargz(_) = form {
                made.diff_id = packed.diff_id;
            }
            packed.sink
        }
    };
    if decoder.finish() != layer.diff_id {
        return Err(Error::new(
            Kind::Corrupt,
            format!("blob {} is damaged", layer.digest),
        ));
    }
    (made.digest, made.size) = sink.commit()?;
    session.progress.finish(&key, &label, "done");
    Ok(made)
}
