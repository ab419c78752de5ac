//! `load`, and `pull` from archives: images in files become images here.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::archive::{Form, Location};
use super::import::Source as Input;
use super::transfer::{self, Source};
use crate::archive::{Pack, Part, dir, docker, oci};
use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::manifest::{self, Format};
use crate::image::store::{has_registry, local_name};
use crate::image::{Found, ImageRecord, LayerRecord, NameEntry, StoredManifest};
use crate::operations::session::Session;
use crate::registry::fetch::Sink;
use crate::registry::policy::Policy;
use crate::spec::digest::{Algorithm, Digest};
use crate::spec::image::chain_ids;
use crate::spec::manifest::{Compression, DOCUMENT_LIMIT, Descriptor, Manifest};
use crate::spec::platform::Platform;
use crate::spec::reference::Reference;
use crate::storage::Store;
use crate::storage::codec::Decoder;
use crate::storage::layer::Limits;

/// Loads every image of a file, folder, address or standard input, whatever its form. Enters the
/// user namespace.
///
/// # Errors
/// `Invalid` for what is no image; `Corrupt` for wrong digests.
pub fn load(session: &Session, input: &Input, platform: Option<&Platform>) -> Result<Vec<Found>> {
    let what = || match input {
        Input::Stdin => "cannot load from standard input".to_owned(),
        Input::File(path) => format!("cannot load {}", path.display()),
        Input::Url(url) => format!("cannot load {url}"),
    };
    (|| -> Result<Vec<Found>> {
        let pack = match input {
            Input::File(path) => open(session, path)?,
            other => spool(session, other.open(session)?)?,
        };
        let form = sniff(&pack)?;
        let label = match input {
            Input::File(path) => path.display().to_string(),
            _ => String::new(),
        };
        Policy::load(&session.env)?.check_path(form.name(), &label)?;
        let store = super::enter_store(session)?;
        let _growing = super::remove::growing(session, &store)?;
        let job = Job {
            session,
            store: &store,
            pack: &pack,
            path: &label,
            platform,
        };
        match form {
            Form::DockerArchive => docker::read(&pack)?
                .iter()
                .map(|item| job.docker(item, &item.repo_tags))
                .collect(),
            Form::OciArchive | Form::OciDir => {
                let mut items = oci::read(&pack)?;
                items.retain(|item| job.may_fit(&item.descriptor));
                if let (true, Some(wish)) = (items.is_empty(), platform) {
                    return Err(Error::not_found(format!(
                        "the archive has no image for {wish}"
                    )));
                }
                items
                    .iter()
                    .map(|item| job.oci(item, item.name.as_deref()))
                    .collect()
            }
            Form::DockerDir => Ok(vec![job.dir()?]),
        }
    })()
    .what(what)
}

/// Loads the one image that a transport names. Enters the user namespace.
///
/// # Errors
/// As [`load`].
pub fn from_location(session: &Session, location: &Location) -> Result<Vec<Found>> {
    let label = location.path.display().to_string();
    (|| -> Result<Vec<Found>> {
        Policy::load(&session.env)?.check_path(location.form.name(), &label)?;
        let pack = open(session, &location.path)?;
        let store = super::enter_store(session)?;
        let _growing = super::remove::growing(session, &store)?;
        let job = Job {
            session,
            store: &store,
            pack: &pack,
            path: &label,
            platform: None,
        };
        let wanted = location.name.as_deref();
        let found = match location.form {
            Form::DockerArchive => {
                let items = docker::read(&pack)?;
                let item = docker::choose(&items, wanted)?;
                job.docker(item, &item.repo_tags)?
            }
            Form::OciArchive | Form::OciDir => {
                let items = oci::read(&pack)?;
                let item = oci::choose(&items, wanted, &Platform::host())?;
                job.oci(item, item.name.as_deref().or(wanted))?
            }
            Form::DockerDir => job.dir()?,
        };
        Ok(vec![found])
    })()
    .what(|| format!("cannot pull {}:{label}", location.form.name()))
}

/// Keeps an image of an OCI layout here without a name: by tag, by digest, or the only one.
/// Enters the user namespace.
///
/// # Errors
/// `NotFound` for a tag, a digest or a platform that is not there; as [`load`].
pub fn from_layout(
    session: &Session,
    path: &Path,
    tag: Option<&str>,
    digest: Option<&Digest>,
    platform: &Platform,
) -> Result<ImageRecord> {
    (|| -> Result<ImageRecord> {
        let label = path.display().to_string();
        Policy::load(&session.env)?.check_path(Form::OciDir.name(), &label)?;
        let pack = open(session, path)?;
        let store = super::enter_store(session)?;
        let _growing = super::remove::growing(session, &store)?;
        let items = oci::read(&pack)?;
        let item = match digest {
            Some(digest) => items
                .iter()
                .find(|i| i.descriptor.digest == *digest)
                .ok_or_else(|| Error::not_found(format!("there is no {digest}")))?,
            None => oci::choose(&items, tag, platform)?,
        };
        let job = Job {
            session,
            store: &store,
            pack: &pack,
            path: &label,
            platform: Some(platform),
        };
        Ok(job.oci(item, None)?.record)
    })()
    .what(|| format!("cannot read the layout {}", path.display()))
}

/// Opens a folder or a tar; a compressed one is inflated into a file without a name first.
fn open(session: &Session, path: &Path) -> Result<Pack> {
    let what = || format!("cannot open {}", path.display());
    let meta = std::fs::metadata(path).what(what)?;
    if meta.is_dir() {
        return Pack::folder(path);
    }
    let file = File::open(path).what(what)?;
    if meta.is_file() {
        let again = File::open(path).what(what)?;
        if Decoder::new(again, Algorithm::Sha256)?.compression() == Compression::None {
            return Pack::tar(file);
        }
    }
    spool(session, Box::new(file))
}

/// Writes a stream into a file without a name, inflated, so that it can be read in any order.
fn spool(session: &Session, stream: Box<dyn Read + Send>) -> Result<Pack> {
    let mut stream = Decoder::new(stream, Algorithm::Sha256)?;
    let dir = session.dirs.store();
    files::create_private_dir_all(&dir)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(&dir)
        .what(|| format!("cannot make a temporary file in {}", dir.display()))?;
    let mut buffer = vec![0_u8; 256 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                file.write_all(&buffer[..n])
                    .what(|| "cannot store the archive")?;
                stream.check_ratio(Limits::default().ratio)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).what(|| "cannot read the archive"),
        }
    }
    Pack::tar(file)
}

/// Which form a pack has, by what it holds.
fn sniff(pack: &Pack) -> Result<Form> {
    let manifest = pack.find("manifest.json")?;
    if pack.find("oci-layout")?.is_some() || pack.find("index.json")?.is_some() {
        // docker since version 25 writes both; the layout keeps digests, unless it lacks names.
        let named = oci::read(pack)?.iter().all(|item| item.name.is_some());
        if named || manifest.is_none() {
            return Ok(Form::OciArchive);
        }
    }
    let Some(manifest) = manifest else {
        return Err(Error::invalid(
            "this is neither a docker archive, nor an OCI layout, nor a dir: folder",
        )
        .hint("for the tar of a root file system use \"coracle import\""));
    };
    let bytes = manifest.bytes(DOCUMENT_LIMIT)?;
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    Ok(if first == Some(&b'[') {
        Form::DockerArchive
    } else {
        Form::DockerDir
    })
}

struct Job<'a> {
    session: &'a Session,
    store: &'a Store,
    pack: &'a Pack,
    path: &'a str,
    platform: Option<&'a Platform>,
}

/// Blobs out of a pack.
pub(in crate::operations) struct FromPack<'a> {
    /// The pack.
    pub pack: &'a Pack,
    /// Where a blob is in it.
    pub find: fn(&Pack, &Descriptor) -> Result<Part>,
}

impl Source for FromPack<'_> {
    fn fetch(&self, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()> {
        let part = (self.find)(self.pack, blob)?;
        let mut reader = part.reader_from(sink.offset());
        let mut buffer = vec![0_u8; 256 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => sink.write(&buffer[..n])?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).what(|| "cannot read the archive"),
            }
        }
    }
}

impl Job<'_> {
    fn oci(&self, item: &oci::Item, name: Option<&str>) -> Result<Found> {
        let host = Platform::host();
        let wish = self.platform.unwrap_or(&host);
        let (descriptor, bytes, manifest) = oci::resolve(self.pack, &item.descriptor, wish)?;
        manifest.check_image()?;
        let config = oci::document(self.pack, &manifest.config)?;
        let name = name.and_then(|name| self.name_of(name));
        self.keep(bytes, descriptor.digest, &manifest, config, name, oci::blob)
    }

    fn dir(&self) -> Result<Found> {
        let (bytes, manifest) = dir::read(self.pack)?;
        manifest.check_image()?;
        let config = dir::document(self.pack, &manifest.config)?;
        let digest = Digest::sha256_of(&bytes);
        self.keep(bytes, digest, &manifest, config, None, dir::blob)
    }

    /// Stores an image whose blobs are in the pack as its manifest says.
    fn keep(
        &self,
        bytes: Vec<u8>,
        digest: Digest,
        manifest: &Manifest,
        config: Vec<u8>,
        name: Option<Reference>,
        find: fn(&Pack, &Descriptor) -> Result<Part>,
    ) -> Result<Found> {
        let stored = StoredManifest {
            digest,
            media_type: manifest.media_type_or_guess().to_owned(),
            raw: text(bytes, "manifest")?,
        };
        let layers = manifest
            .layers
            .iter()
            .map(|l| (l.digest.clone(), l.media_type.clone(), l.size))
            .collect();
        let record = ImageRecord::new(text(config, "configuration")?, stored, layers)?;
        self.check_platform(&record.platform())?;
        let source = FromPack {
            pack: self.pack,
            find,
        };
        transfer::layers(self.store, &record.layers, &source, &*self.session.progress)?;
        self.add(record, name.into_iter().collect())
    }

    /// Stores an image of a docker-archive: its layers are compressed for our own store.
    fn docker(&self, item: &docker::Item, tags: &[String]) -> Result<Found> {
        let raw = text(
            self.pack.part(&item.config)?.bytes(DOCUMENT_LIMIT)?,
            "configuration",
        )?;
        let config: crate::spec::image::ImageConfig = serde_json::from_str(&raw)
            .what_kind(Kind::Corrupt, || "the image's configuration is malformed")?;
        self.check_platform(&config.platform())?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != item.layers.len() {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the archive has {} layers for an image of {}",
                    item.layers.len(),
                    diff_ids.len()
                ),
            ));
        }
        let known = super::images(self.session).list()?;
        let mut layers: Vec<LayerRecord> = Vec::new();
        for ((name, diff_id), chain_id) in item.layers.iter().zip(diff_ids).zip(chain_ids(diff_ids))
        {
            let label = format!("Copying layer {}", diff_id.short());
            let key = diff_id.to_string();
            let have = known
                .iter()
                .flat_map(|r| &r.layers)
                .find(|l| l.chain_id == chain_id && self.store.blobs().has(&l.digest))
                .filter(|l| self.store.layers().has(&l.chain_id));
            if let Some(have) = have {
                layers.push(have.clone());
                self.session.progress.finish(&key, &label, "already exists");
                continue;
            }
            let part = self.pack.part(name)?;
            self.session.progress.update(&key, &label, 0, part.size());
            let parent = layers.last().map(|l| &l.chain_id);
            layers.push(super::make::verified_layer(
                self.store,
                parent,
                diff_id,
                part.reader(),
            )?);
            self.session.progress.finish(&key, &label, "done");
        }
        let stored = manifest::build(Format::Oci, &raw, &layers)?;
        let triples = layers
            .into_iter()
            .map(|l| (l.digest, l.media_type, l.size))
            .collect();
        let record = ImageRecord::new(raw, stored, triples)?;
        let mut names = Vec::new();
        for tag in tags {
            names.push(Reference::parse_normalized(tag)?);
        }
        self.add(record, names)
    }

    /// Whether a member of an index may be for the wanted platform, as far as the index says.
    fn may_fit(&self, member: &Descriptor) -> bool {
        match (self.platform, &member.platform) {
            (Some(wish), Some(own)) => wish.rank(&own.normalized()).is_some(),
            _ => true,
        }
    }

    fn check_platform(&self, own: &Platform) -> Result<()> {
        match self.platform {
            Some(wish) if wish.rank(own).is_none() => Err(Error::not_found(format!(
                "the archive has an image for {own}, not for {wish}"
            ))),
            _ => Ok(()),
        }
    }

    fn add(&self, mut record: ImageRecord, names: Vec<Reference>) -> Result<Found> {
        record.size = super::make::unpacked_size(self.session, &record)?;
        let entry = NameEntry {
            id: record.id.clone(),
            digest: record.manifest_digest().cloned(),
        };
        let entries: Vec<_> = names.iter().map(|n| (n.clone(), entry.clone())).collect();
        super::images(self.session).add(&record, &entries)?;
        let first = names.first().map(ToString::to_string).unwrap_or_default();
        super::events::note(self.session, "load", &record.id, &first);
        Ok(Found {
            record,
            name: names.into_iter().next(),
        })
    }

    /// The full name that a layout's annotation means: a bare word is a tag, and the image is then
    /// called after its file.
    fn name_of(&self, name: &str) -> Option<Reference> {
        if has_registry(name) {
            return Reference::parse_normalized(name).ok();
        }
        if name.contains([':', '/']) {
            return local_name(name).ok();
        }
        let stem = Path::new(self.path).file_name()?.to_str()?;
        let stem = stem.split('.').next()?.to_ascii_lowercase();
        local_name(&format!("{stem}:{name}"))
            .or_else(|_| local_name(name))
            .ok()
    }
}

fn text(bytes: Vec<u8>, what: &str) -> Result<String> {
    String::from_utf8(bytes).what_kind(Kind::Corrupt, || format!("the image's {what} is no text"))
}
