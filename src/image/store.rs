//! All images of this user: the name index and the records.
//!
//! Invariants: a name in the index always has a record (the record is written first and removed
//! last); `names.json` and records change only under the lock, an `flock` on `store/images`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::record::ImageRecord;
use crate::base::failpoint::failpoint;
use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::dirs::Dirs;
use crate::spec::digest::Digest;
use crate::spec::reference::Reference;

/// A record larger than this is damaged: configuration and manifests are bounded by 4 MiB each.
const RECORD_LIMIT: u64 = 64 << 20;
const NAMES_LIMIT: u64 = 64 << 20;
const VERSION: u32 = 1;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameEntry {
    /// The image.
    pub id: Digest,
    /// The manifest or index that the name stood for when it was pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// The name index: full references, with a tag or with a digest, never both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub BTreeMap<Reference, NameEntry>);

#[derive(Serialize, Deserialize)]
struct NamesFile {
    version: u32,
    names: BTreeMap<String, NameEntry>,
}

impl Names {
    /// `repository:tag` names of an image, sorted.
    pub fn tags_of<'a>(&'a self, id: &'a Digest) -> impl Iterator<Item = &'a Reference> {
        self.of(id).filter(|r| r.tag().is_some())
    }

    /// `repository@digest` names of an image, sorted.
    pub fn digests_of<'a>(&'a self, id: &'a Digest) -> impl Iterator<Item = &'a Reference> {
        self.of(id).filter(|r| r.digest().is_some())
    }

    /// All names of an image.
    pub fn of<'a>(&'a self, id: &'a Digest) -> impl Iterator<Item = &'a Reference> {
        self.0
            .iter()
            .filter(move |(_, entry)| entry.id == *id)
            .map(|(name, _)| name)
    }
}

/// An image together with how it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The image.
    pub record: ImageRecord,
    /// The stored name that matched; absent when it was found by id.
    pub name: Option<Reference>,
}

/// The images below one data directory.
#[derive(Clone, Debug)]
pub struct Images {
    dir: PathBuf,
    pub(super) names: PathBuf,
    /// Stores of others, only read.
    others: Vec<PathBuf>,
}

/// The lock over records and names; gone when dropped, or with the process.
#[derive(Debug)]
pub struct ImagesLock(#[expect(dead_code, reason = "holding it is its use")] File);

impl Images {
    /// The images below `dirs`; makes nothing.
    pub fn open(dirs: &Dirs) -> Self {
        let store = dirs.store();
        Self {
            dir: store.join("images"),
            names: store.join("names.json"),
            others: dirs.others.clone(),
        }
    }

    /// Reads the name index; names of other stores' images are among it, ours go before.
    ///
    /// # Errors
    /// `Corrupt`, or `Unsupported` when a newer coracle wrote it.
    pub fn names(&self) -> Result<Names> {
        let mut names = self.own_names()?;
        for store in &self.others {
            for (name, entry) in Self::read_names(&store.join("names.json"))?.0 {
                names.0.entry(name).or_insert(entry);
            }
        }
        Ok(names)
    }

    /// The names that we gave ourselves.
    ///
    /// # Errors
    /// As [`Images::names`].
    pub fn own_names(&self) -> Result<Names> {
        Self::read_names(&self.names)
    }

    fn read_names(path: &Path) -> Result<Names> {
        let Some(bytes) = files::read_if_exists(path, NAMES_LIMIT)? else {
            return Ok(Names::default());
        };
        let damaged = || format!("{} is damaged", path.display());
        let file: NamesFile = serde_json::from_slice(&bytes).what_kind(Kind::Corrupt, damaged)?;
        if file.version > VERSION {
            return Err(Error::unsupported(format!(
                "{} was written by a newer coracle",
                path.display()
            )));
        }
        let mut names = BTreeMap::new();
        for (name, entry) in file.names {
            names.insert(
                Reference::parse_untagged(&name).what_kind(Kind::Corrupt, damaged)?,
                entry,
            );
        }
        Ok(Names(names))
    }

    /// Opens one image by its exact id.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` or `Unsupported`.
    pub fn get(&self, id: &Digest) -> Result<ImageRecord> {
        for path in self.record_paths(id) {
            if let Some(bytes) = files::read_if_exists(&path, RECORD_LIMIT)? {
                return ImageRecord::from_json(&bytes, id.short());
            }
        }
        Err(Error::not_found(format!("no such image: {}", id.short())))
    }

    /// Whether there is an image with this id.
    pub fn has(&self, id: &Digest) -> bool {
        self.record_paths(id).any(|path| path.exists())
    }

    /// Whether an image is in a store of others only: it is never changed or removed.
    pub fn is_read_only(&self, id: &Digest) -> bool {
        let mut paths = self.record_paths(id);
        !self.others.is_empty()
            && !paths.next().is_some_and(|own| own.exists())
            && paths.any(|path| path.exists())
    }

    /// Where its record may be, our own place first.
    fn record_paths(&self, id: &Digest) -> impl Iterator<Item = PathBuf> {
        let name = format!("{}.json", id.hex());
        let others = self.others.iter().map(|store| store.join("images"));
        std::iter::once(self.dir.clone())
            .chain(others)
            .map(move |dir| dir.join(&name))
    }

    /// Finds by name, `name@digest`, id, or unique id prefix.
    ///
    /// A name without a registry is looked for as `localhost/name`, then as Docker Hub's; the
    /// operation adds what registries.conf says.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when an id prefix fits several.
    pub fn find(&self, text: &str) -> Result<ImageRecord> {
        Ok(self.find_named(text, &[])?.record)
    }

    /// As [`Images::find`], with more names to try, and saying which one matched.
    ///
    /// # Errors
    /// As [`Images::find`].
    pub fn find_named(&self, text: &str, more: &[Reference]) -> Result<Found> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let hexadecimal =
            !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hexadecimal && hex.len() == 64 {
            let id: Digest = format!("sha256:{hex}").parse()?;
            if let Ok(record) = self.get(&id) {
                return Ok(Found { record, name: None });
            }
        }
        let candidates = candidates(text);
        if !candidates.is_empty() || !more.is_empty() {
            let names = self.names()?;
            for candidate in candidates.iter().chain(more) {
                if let Some(found) = self.lookup(&names, candidate)? {
                    return Ok(found);
                }
            }
        }
        if hexadecimal && hex.len() <= 64 {
            let mut ids = self
                .ids()?
                .into_iter()
                .filter(|id| id.hex().starts_with(hex));
            match (ids.next(), ids.next()) {
                (Some(id), None) => {
                    return Ok(Found {
                        record: self.get(&id)?,
                        name: None,
                    });
                }
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(format!(
                        "image id prefix {text:?} fits several images"
                    ))
                    .hint("give more digits: `coracle images --no-trunc` shows them"));
                }
                _ => {}
            }
        }
        Err(no_such_image(text))
    }

    /// Looks one full reference up in an index that was read before.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn lookup(&self, names: &Names, wanted: &Reference) -> Result<Option<Found>> {
        let Some(digest) = wanted.digest() else {
            return match names.0.get(wanted) {
                Some(entry) => self.found(&entry.id, wanted),
                None => Ok(None),
            };
        };
        // With a digest the tag says nothing more.
        let exact = wanted.with_digest(digest.clone());
        if let Some(entry) = names.0.get(&exact) {
            return self.found(&entry.id, &exact);
        }
        for (name, entry) in &names.0 {
            if name.name() == wanted.name()
                && let Some(found) = self.found(&entry.id, name)?
                && found.record.has_manifest(digest)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn found(&self, id: &Digest, name: &Reference) -> Result<Option<Found>> {
        match self.get(id) {
            Ok(record) => Ok(Some(Found {
                record,
                name: Some(name.clone()),
            })),
            Err(e) if e.kind() == Kind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The ids of all images, those of other stores as well.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ids(&self) -> Result<Vec<Digest>> {
        let mut ids = self.own_ids()?;
        for store in &self.others {
            ids.extend(Self::ids_in(&store.join("images"))?);
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// The ids of the images in our own store.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn own_ids(&self) -> Result<Vec<Digest>> {
        Self::ids_in(&self.dir)
    }

    fn ids_in(dir: &Path) -> Result<Vec<Digest>> {
        let what = || format!("cannot list {}", dir.display());
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).what(what),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.what(what)?.file_name();
            if let Some(hex) = name.to_str().and_then(|n| n.strip_suffix(".json"))
                && let Ok(id) = format!("sha256:{hex}").parse()
            {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// All images, sorted by id. One that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        let mut records = Vec::new();
        for id in self.ids()? {
            match self.get(&id) {
                Ok(record) => records.push(record),
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(records)
    }

    /// Waits for the lock over records and names.
    ///
    /// # Errors
    /// `TimedOut` after half a minute.
    pub fn lock(&self) -> Result<ImagesLock> {
        let what = || format!("cannot lock {}", self.dir.display());
        files::create_private_dir_all(&self.dir)?;
        let file = File::open(&self.dir).what(what)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(ImagesLock(file)),
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    crate::sys::process::pause(Duration::from_millis(2));
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    return Err(Error::new(Kind::TimedOut, what())
                        .hint("another command changes images: try again"));
                }
                Err(std::fs::TryLockError::Error(e)) => return Err(e).what(what),
            }
        }
    }

    /// Stores an image and gives it names; older bearers of a name lose it. Its layers and blobs
    /// must be in the store already. An image that is there keeps its other manifests.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&self, record: &ImageRecord, names: &[(Reference, NameEntry)]) -> Result<()> {
        let _lock = self.lock()?;
        let mut record = record.clone();
        if let Ok(old) = self.get(&record.id) {
            for manifest in old.manifests {
                if !record.has_manifest(&manifest.digest) {
                    record.manifests.push(manifest);
                }
            }
            record.stored = old.stored;
            record.size = record.size.max(old.size);
            record.parent = record.parent.or(old.parent);
        }
        failpoint("image::record")?;
        self.write_record(&record)?;
        if names.is_empty() {
            return Ok(());
        }
        failpoint("image::names")?;
        let mut index = self.own_names()?;
        let before = index.clone();
        for (name, entry) in names {
            index.0.insert(name.clone(), entry.clone());
        }
        if index != before {
            self.write_names(&index)?;
        }
        Ok(())
    }

    /// Changes a record under the lock.
    ///
    /// # Errors
    /// `NotFound` when the image is gone; those of `how`: nothing is changed then.
    pub fn change(
        &self,
        id: &Digest,
        how: impl FnOnce(&mut ImageRecord) -> Result<()>,
    ) -> Result<()> {
        let _lock = self.lock()?;
        if self.is_read_only(id) {
            return Err(read_only(id));
        }
        let mut record = self.get(id)?;
        how(&mut record)?;
        self.write_record(&record)
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// `NotFound` when the image is gone; what the kernel says.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<()> {
        let _lock = self.lock()?;
        let record = self.get(id)?;
        let mut index = self.own_names()?;
        let digest = record.manifest_digest().cloned();
        index.0.insert(
            name.clone(),
            NameEntry {
                id: id.clone(),
                digest,
            },
        );
        self.write_names(&index)
    }

    /// Takes names away; those that are not there are skipped. Returns what was removed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn untag(&self, names: &[Reference]) -> Result<Vec<Reference>> {
        let _lock = self.lock()?;
        let mut index = self.own_names()?;
        let removed: Vec<Reference> = names
            .iter()
            .filter(|name| index.0.remove(name).is_some())
            .cloned()
            .collect();
        if !removed.is_empty() {
            self.write_names(&index)?;
        }
        Ok(removed)
    }

    /// Removes an image: its names first, then its record. Blobs and layers stay for the caller
    /// to collect. Returns the names it had; `Ok(None)` when there was no such image.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, id: &Digest) -> Result<Option<Vec<Reference>>> {
        let gone = self.remove_unless(std::slice::from_ref(id), || Ok(BTreeSet::new()))?;
        Ok(gone.into_iter().next().map(|(_, names)| names))
    }

    /// As [`Images::remove`], for any number at the cost of one: those that `used` answers are as
    /// before. It is asked when all are out of sight: whoever counts on one from then on sees that it
    /// is gone, and whoever did before is found by it. Who holds [`Images::lock`] sees nothing of
    /// that. Answers what went, with its names.
    ///
    /// # Errors
    /// That of `used`, and all is as before; what the kernel says.
    pub fn remove_unless(
        &self,
        ids: &[Digest],
        used: impl FnOnce() -> Result<BTreeSet<Digest>>,
    ) -> Result<Vec<(Digest, Vec<Reference>)>> {
        let _lock = self.lock()?;
        let before = self.own_names()?;
        let mut there = Vec::new();
        for id in ids {
            if let Some(record) = files::read_if_exists(&self.record_path(id), RECORD_LIMIT)? {
                there.push((id, record));
            }
        }
        let away: BTreeSet<&Digest> = there.iter().map(|(id, _)| *id).collect();
        self.replace_names(&before, |id| !away.contains(id))?;
        for (id, _) in &there {
            files::remove_file_if_exists(&self.record_path(id))?;
        }
        let (used, failure) = match used() {
            Ok(used) => (used, None),
            Err(e) => (there.iter().map(|(id, _)| (*id).clone()).collect(), Some(e)),
        };
        let (back, gone): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|(id, _)| used.contains(*id));
        if !back.is_empty() {
            for (id, record) in &back {
                files::replace(&self.record_path(id), record, 0o600, Durability::Durable)?;
            }
            let gone: BTreeSet<&Digest> = gone.iter().map(|(id, _)| *id).collect();
            self.replace_names(&before, |id| !gone.contains(id))?;
        }
        if let Some(e) = failure {
            return Err(e);
        }
        let named = |id: &Digest| before.of(id).cloned().collect();
        Ok(gone
            .iter()
            .map(|(id, _)| ((*id).clone(), named(id)))
            .collect())
    }

    /// Writes the names of those images that `stays` holds for, unless it is what is written.
    fn replace_names(&self, all: &Names, stays: impl Fn(&Digest) -> bool) -> Result<()> {
        let mut index = all.clone();
        index.0.retain(|_, entry| stays(&entry.id));
        match index == self.own_names()? {
            true => Ok(()),
            false => self.write_names(&index),
        }
    }

    /// Every blob that a record of an image, a list or an artifact needs: configurations and
    /// manifests are in the records, so these are the layers of all manifests.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn referenced_blobs(&self) -> Result<BTreeSet<Digest>> {
        let mut blobs = BTreeSet::new();
        for record in self.list()? {
            blobs.extend(record.layers.iter().map(|l| l.digest.clone()));
            let members = record.list.iter().flat_map(|l| &l.members);
            let manifests = record.manifests.iter();
            for manifest in manifests.chain(members.map(|m| &m.manifest)) {
                blobs.extend(super::manifest::layer_digests(&manifest.raw));
            }
        }
        for artifact in self.artifacts()? {
            blobs.extend(super::manifest::layer_digests(
                &artifact.member.manifest.raw,
            ));
        }
        Ok(blobs)
    }

    fn record_path(&self, id: &Digest) -> PathBuf {
        self.dir.join(format!("{}.json", id.hex()))
    }

    fn write_record(&self, record: &ImageRecord) -> Result<()> {
        files::replace(
            &self.record_path(&record.id),
            &record.to_json()?,
            0o600,
            Durability::Durable,
        )
    }

    fn write_names(&self, names: &Names) -> Result<()> {
        let file = NamesFile {
            version: VERSION,
            names: names
                .0
                .iter()
                .map(|(name, entry)| (name.to_string(), entry.clone()))
                .collect(),
        };
        let bytes = serde_json::to_vec(&file)
            .what_kind(Kind::Internal, || "cannot write the image names")?;
        files::replace(&self.names, &bytes, 0o600, Durability::Durable)
    }
}

/// The error for changing an image of a store of others.
pub fn read_only(id: &Digest) -> Error {
    Error::new(
        Kind::Denied,
        format!("image {} is in a read-only store", id.short()),
    )
    .hint("whoever owns that store can remove it there (additionalimagestores)")
}

/// The error for a name that is nowhere on this machine.
pub fn no_such_image(text: &str) -> Error {
    Error::not_found(format!("no such image: {text:?}"))
        .hint("`coracle images` lists what is here; `coracle pull` brings more")
}

/// The full names that a text may mean on this machine, best first. Empty when it is no name.
pub fn candidates(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    if !has_registry(text)
        && let Ok(local) = Reference::parse_normalized(&format!("localhost/{text}"))
    {
        found.push(local);
    }
    if let Ok(hub) = Reference::parse_normalized(text) {
        found.push(hub);
    }
    found
}

/// Whether a name begins with a registry.
pub fn has_registry(text: &str) -> bool {
    text.split_once('/').is_some_and(|(first, _)| {
        first == "localhost"
            || first.contains(['.', ':'])
            || first.bytes().any(|b| b.is_ascii_uppercase())
    })
}

/// The full name of something made here: `localhost/` is put before a name without registry.
///
/// # Errors
/// `Invalid` when the text breaks the grammar, or has a digest.
pub fn local_name(text: &str) -> Result<Reference> {
    let name = if has_registry(text) {
        Reference::parse_normalized(text)?
    } else {
        Reference::parse_normalized(&format!("localhost/{text}"))?
    };
    if name.digest().is_some() {
        return Err(Error::invalid(format!(
            "an image made here cannot be named by digest: {text:?}"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::super::record::StoredManifest;
    use super::*;

    fn images() -> (tempfile::TempDir, Images) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path().join("data"), dir.path().join("run"));
        let images = Images::open(&dirs);
        (dir, images)
    }

    fn image(label: &str) -> ImageRecord {
        let raw = format!(
            r#"{{"os":"linux","architecture":"amd64","author":"{label}","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let manifest = StoredManifest {
            digest: Digest::sha256_of(label.as_bytes()),
            media_type: String::new(),
            raw: label.to_owned(),
        };
        ImageRecord::new(raw, manifest, vec![]).unwrap()
    }

    fn name(text: &str) -> Reference {
        Reference::parse_normalized(text).unwrap()
    }

    fn add(images: &Images, record: &ImageRecord, names: &[&str]) {
        let names: Vec<_> = names
            .iter()
            .map(|n| {
                let entry = NameEntry {
                    id: record.id.clone(),
                    digest: None,
                };
                (name(n), entry)
            })
            .collect();
        images.add(record, &names).unwrap();
    }

    #[test]
    fn images_are_found_by_name_digest_id_and_prefix() {
        let (_dir, images) = images();
        let a = image("a");
        let digest = a.manifest_digest().unwrap().clone();
        let by_digest = format!("quay.io/x/y@{digest}");
        add(&images, &a, &["alpine", "quay.io/x/y:1", &by_digest]);
        for text in [
            "alpine",
            "alpine:latest",
            "docker.io/library/alpine",
            "quay.io/x/y:1",
            &by_digest,
            &format!("quay.io/x/y:other@{digest}"),
            &format!("alpine@{digest}"),
            a.id.hex(),
            &a.id.hex()[..7],
            &a.id.to_string(),
            &a.id.to_string()[..20],
        ] {
            assert_eq!(images.find(text).unwrap().id, a.id, "{text}");
        }
        for text in ["alpine:3", "quay.io/x/y", "y", "", "ffff", "../x"] {
            assert_eq!(
                images.find(text).unwrap_err().kind(),
                Kind::NotFound,
                "{text}"
            );
        }
    }

    #[test]
    fn local_names_come_before_docker_hub() {
        let (_dir, images) = images();
        let (a, b) = (image("a"), image("b"));
        add(&images, &a, &["x"]);
        add(&images, &b, &["localhost/x"]);
        assert_eq!(images.find("x").unwrap().id, b.id);
        assert_eq!(local_name("x").unwrap().to_string(), "localhost/x:latest");
        assert_eq!(local_name("q.io/x:1").unwrap().to_string(), "q.io/x:1");
    }

    #[test]
    fn names_move_and_go_with_the_image() {
        let (_dir, images) = images();
        let (a, b) = (image("a"), image("b"));
        add(&images, &a, &["x", "y"]);
        add(&images, &b, &["x"]);
        assert_eq!(images.find("x").unwrap().id, b.id);
        images.tag(&a.id, &name("z:2")).unwrap();
        let mut gone = images.remove(&a.id).unwrap().unwrap();
        gone.sort();
        assert_eq!(gone, [name("y"), name("z:2")]);
        assert!(images.find("y").is_err());
        assert_eq!(images.remove(&a.id).unwrap(), None);
        assert_eq!(images.untag(&[name("x"), name("q")]).unwrap(), [name("x")]);
        assert!(images.find("x").is_err());
        assert_eq!(images.list().unwrap().len(), 1);
    }
}
