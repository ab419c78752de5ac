//! Images made here: a configuration, layers that exist, perhaps a new one on top.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::base::{Context as _, Error, Kind, Result};
use crate::image::manifest::{self, Format};
use crate::image::{ImageRecord, LayerRecord, NameEntry};
use crate::operations::session::Session;
use crate::spec::digest::{Algorithm, Digest};
use crate::spec::image::ImageConfig;
use crate::spec::manifest::Compression;
use crate::spec::reference::Reference;
use crate::storage::Store;
use crate::storage::blob::BlobSink;
use crate::storage::codec::{self, Decoder};
use crate::storage::layer::{Limits, Unpack};

/// Zstandard's level for layers made here: a third of gzip's time, and smaller.
const LEVEL: i32 = 3;

/// Unpacks a tar on top of `parent` and keeps it as a blob: as it comes when it is compressed with
/// what registries know, else compressed with Zstandard. Inside the user namespace.
///
/// # Errors
/// `Invalid` for a hostile or damaged tar; what the kernel says.
pub fn layer<R: Read + Send>(
    store: &Store,
    parent: Option<&Digest>,
    mut tar: R,
) -> Result<LayerRecord> {
    let mut start = [0_u8; Compression::MAGIC];
    let have = fill(&mut tar, &mut start).what(|| "cannot read the archive")?;
    let start = &start[..have];
    let found = Compression::sniff(start);
    let tar = start.chain(tar);
    let sink = store.blobs().sink()?;
    match found {
        Compression::Gzip | Compression::Zstd => kept(store, parent, tar, Keep::Raw(sink), found),
        Compression::None => kept(store, parent, tar, zstd(sink)?, Compression::Zstd),
        Compression::Bzip2 | Compression::Xz => {
            let plain = Decoder::new(tar, Algorithm::Sha256)?;
            kept(store, parent, plain, zstd(sink)?, Compression::Zstd)
        }
    }
}

fn zstd(sink: BlobSink) -> Result<Keep> {
    let encoder = zstd::Encoder::new(sink, LEVEL)
        .what_kind(Kind::Internal, || "cannot compress the layer")?;
    Ok(Keep::Zstd(encoder))
}

fn kept<R: Read + Send>(
    store: &Store,
    parent: Option<&Digest>,
    from: R,
    to: Keep,
    compression: Compression,
) -> Result<LayerRecord> {
    let mut tee = Tee { from, to };
    let info = store.layers().unpack(
        &Unpack {
            parent,
            diff_id: None,
            limits: Limits::default(),
        },
        &mut tee,
    )?;
    // Whatever follows the end of the archive belongs to the blob all the same.
    io::copy(&mut tee, &mut io::sink()).what(|| "cannot read the archive")?;
    let sink = match tee.to {
        Keep::Raw(sink) => sink,
        Keep::Zstd(encoder) => encoder.finish().what(|| "cannot write the layer's blob")?,
    };
    let (digest, size) = sink.commit()?;
    Ok(LayerRecord {
        digest,
        media_type: compression.oci_layer().to_owned(),
        size,
        diff_id: info.diff_id,
        chain_id: info.chain_id,
        annotations: BTreeMap::new(),
    })
}

/// As [`layer`], for a tar that must have this diff id; kept compressed with Zstandard whatever it
/// comes as. Inside the user namespace.
///
/// # Errors
/// As [`layer`], and `Corrupt` for another content.
pub fn verified_layer<R: Read + Send>(
    store: &Store,
    parent: Option<&Digest>,
    diff_id: &Digest,
    tar: R,
) -> Result<LayerRecord> {
    let mut decoder = Decoder::new(tar, diff_id.algorithm())?;
    let mut tee = Tee {
        from: &mut decoder,
        to: zstd(store.blobs().sink()?)?,
    };
    let info = store.layers().unpack(
        &Unpack {
            parent,
            diff_id: Some(diff_id),
            limits: Limits::default(),
        },
        &mut tee,
    )?;
    // The layer may have been there, and the stream left alone.
    io::copy(&mut tee, &mut io::sink()).what(|| "cannot read the layer")?;
    let Keep::Zstd(encoder) = tee.to else {
        return Err(Error::internal("the layer's blob is gone"));
    };
    let sink = encoder.finish().what(|| "cannot write the layer's blob")?;
    let found = decoder.finish();
    if found != *diff_id {
        return Err(Error::new(
            Kind::Corrupt,
            format!("a layer has digest {found} in place of {diff_id}"),
        ));
    }
    let (digest, size) = sink.commit()?;
    Ok(LayerRecord {
        digest,
        media_type: Compression::Zstd.oci_layer().to_owned(),
        size,
        diff_id: info.diff_id,
        chain_id: info.chain_id,
        annotations: BTreeMap::new(),
    })
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match from.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

enum Keep {
    Raw(BlobSink),
    Zstd(zstd::Encoder<'static, BlobSink>),
}

/// Copies what is read into the blob.
struct Tee<R> {
    from: R,
    to: Keep,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        match &mut self.to {
            Keep::Raw(sink) => sink.write_all(&buffer[..n])?,
            Keep::Zstd(encoder) => encoder.write_all(&buffer[..n])?,
        }
        Ok(n)
    }
}

/// Stores an image with this configuration and these layers, under these names.
///
/// The configuration's diff ids are set from the layers. Inside the user namespace.
///
/// # Errors
/// What the kernel says.
pub fn image(
    session: &Session,
    config: ImageConfig,
    layers: &[LayerRecord],
    parent: Option<Digest>,
    names: &[Reference],
) -> Result<ImageRecord> {
    image_as(Format::Oci, session, config, layers, parent, names)
}

/// As [`image`], with a manifest of this form. Docker's has no word for Zstandard: layers
/// compressed so are compressed anew.
///
/// # Errors
/// As [`image`].
pub fn image_as(
    format: Format,
    session: &Session,
    config: ImageConfig,
    layers: &[LayerRecord],
    parent: Option<Digest>,
    names: &[Reference],
) -> Result<ImageRecord> {
    let annotations = &BTreeMap::new();
    let form = Form {
        format,
        annotations,
    };
    image_with(&form, session, config, layers, parent, names)
}

/// What a manifest says beside configuration and layers.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// OCI's or Docker's.
    pub format: Format,
    /// Annotations of the manifest; OCI only.
    pub annotations: &'a BTreeMap<String, String>,
}

/// As [`image_as`], with annotations.
///
/// # Errors
/// As [`image`].
pub fn image_with(
    form: &Form<'_>,
    session: &Session,
    mut config: ImageConfig,
    layers: &[LayerRecord],
    parent: Option<Digest>,
    names: &[Reference],
) -> Result<ImageRecord> {
    let format = form.format;
    let mut layers = layers.to_vec();
    if format == Format::Docker {
        let store = super::store(session)?;
        let gzip = super::compress::Wanted::Stream(codec::Compression::Gzip(6));
        for layer in &mut layers {
            if Compression::of_media_type(&layer.media_type)? == Compression::Zstd {
                *layer = super::compress::recompress(session, &store, layer, gzip)?;
            }
        }
    }
    config.rootfs.diff_ids = layers.iter().map(|l| l.diff_id.clone()).collect();
    let raw = serde_json::to_string(&config)
        .what_kind(Kind::Internal, || "cannot write the image's configuration")?;
    let manifest = manifest::build_with(format, &raw, &layers, form.annotations)?;
    let triples = layers
        .iter()
        .map(|l| (l.digest.clone(), l.media_type.clone(), l.size))
        .collect();
    let mut record = ImageRecord::new(raw, manifest, triples)?;
    record.parent = parent;
    record.size = unpacked_size(session, &record)?;
    let entries: Vec<_> = names
        .iter()
        .map(|name| {
            let entry = NameEntry {
                id: record.id.clone(),
                digest: record.manifest_digest().cloned(),
            };
            (name.clone(), entry)
        })
        .collect();
    super::images(session).add(&record, &entries)?;
    Ok(record)
}

/// Bytes of all layers of an image, unpacked.
///
/// # Errors
/// `Corrupt` for a damaged layer record.
pub fn unpacked_size(session: &Session, record: &ImageRecord) -> Result<u64> {
    let store = super::store(session)?;
    let mut size = 0_u64;
    for layer in &record.layers {
        if let Some(info) = store.layers().get(&layer.chain_id)? {
            size = size.saturating_add(info.size);
        }
    }
    Ok(size)
}
