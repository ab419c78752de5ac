//! Looking for damage in the store, and mending what can be mended without losing anything.
//!
//! Nothing here trusts a record: a layer's record is held against its folder, its tree against the
//! blob that it came from, a blob against its name. Reading and mending run inside the user
//! namespace; whoever mends holds the store's lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::blob::Hasher;
use super::codec::{Decoder, decoded};
use super::driver;
use super::gc::disk_usage;
use super::layer::{self, LayerInfo, Limits};
use super::store::Store;
use super::tar::read::from_io;
use super::tar::{Kind, Reader};
use crate::base::{Context as _, Error, Kind as ErrorKind, Result};
use crate::spec::digest::{Algorithm, Digest};
use crate::sys::at;

/// A folder of the layer store with what is to be said of it.
#[derive(Debug)]
pub struct Shelf {
    /// The folder.
    pub path: PathBuf,
    /// Its record.
    pub info: Result<LayerInfo>,
}

/// What somebody who died left; it takes space and does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// In words, e.g. "staging folder".
    pub kind: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Bytes of disk blocks.
    pub bytes: u64,
}

/// A file of a tree: how long it is, and the hash of its content.
type Content = (u64, Digest);

impl Store {
    /// Every folder of the layer store, damaged ones too.
    ///
    /// # Errors
    /// What the kernel says of the folder that they are in.
    pub fn shelves(&self) -> Result<Vec<Shelf>> {
        let mut found = Vec::new();
        for path in self.layers().folders()? {
            // `None`: it was removed meanwhile, or has no record.
            let info = match layer::read_record(&path.join("layer.json")) {
                Ok(Some(info)) if self.layers().own_path(&info.chain_id) == path => Ok(info),
                Ok(Some(info)) => Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("its record is that of layer {}", info.chain_id.short()),
                )),
                Ok(None) if !path.exists() => continue,
                Ok(None) => Err(Error::new(ErrorKind::Corrupt, "it has no record")),
                Err(e) => Err(e),
            };
            found.push(Shelf { path, info });
        }
        Ok(found)
    }

    /// Whether a layer's tree is there; what is wrong in words.
    pub fn layer_flaw(&self, info: &LayerInfo) -> Option<String> {
        let tree = self.layers().path(&info.chain_id).join("diff");
        (!tree.is_dir()).then(|| "its tree is gone".to_owned())
    }

    /// Reads the blob that a layer came from and the layer's tree, and says what differs: the
    /// blob's content from `diff_id`, or the content of a file. `None` when all is well.
    ///
    /// # Errors
    /// `NotFound` without the blob; what the kernel says.
    pub fn content_flaw(&self, info: &LayerInfo, blob: &Digest) -> Result<Option<String>> {
        let limits = Limits::default();
        let algorithm = info.diff_id.algorithm();
        let source = self.blobs().open(blob)?;
        let listed = decoded(source, (algorithm, limits.ratio), |pieces| {
            let mut reader = Reader::new(pieces);
            let listed = contents(&mut reader)?;
            reader.drain()?;
            Ok(listed)
        });
        let (listed, found) = match listed {
            Ok(listed) => listed,
            Err(e) => return Ok(Some(format!("blob {}: {}", blob.short(), e.one_line()))),
        };
        if found != info.diff_id {
            return Ok(Some(format!(
                "blob {} holds another layer: {}",
                blob.short(),
                found.short()
            )));
        }
        let root = self.layers().open(&info.chain_id)?;
        for (path, content) in &listed {
            if let Some(flaw) = file_flaw(root.as_fd(), path, content)? {
                return Ok(Some(format!(
                    "{:?} {flaw}",
                    String::from_utf8_lossy(path).into_owned()
                )));
            }
        }
        Ok(None)
    }

    /// Puts the archive of a layer that came in parts together, and says when it is another one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn recipe_flaw(&self, info: &LayerInfo) -> Result<Option<String>> {
        let archive = self.layers().archive(&info.chain_id)?;
        let mut plain = Decoder::local(archive, info.diff_id.algorithm())?;
        Ok(match io::copy(&mut plain, &mut io::sink()) {
            Err(e) => Some(from_io(e, "its archive cannot be put together").one_line()),
            Ok(_) if plain.finish() != info.diff_id => Some("its files have changed".to_owned()),
            Ok(_) => None,
        })
    }

    /// Hashes a blob; what is wrong with it in words.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn blob_flaw(&self, digest: &Digest) -> Result<Option<String>> {
        let mut file = match self.blobs().open(digest) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let found = hash(&mut file, digest.algorithm())
            .what(|| format!("cannot read blob {}", digest.short()))?
            .1;
        Ok((found != *digest).then(|| format!("its content has digest {found}")))
    }

    /// Takes a blob away that is not what its name says.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_blob(&self, digest: &Digest) -> Result<()> {
        crate::base::fs::remove_file_if_exists(&self.blobs().path(digest))
    }

    /// What is older than `age` and nobody will miss: staging folders and partial downloads of
    /// dead processes, what waits to be deleted, clones and copies of layers that are not in
    /// `wanted`.
    pub fn leftovers(&self, age: Duration, wanted: &BTreeSet<Digest>) -> Vec<Leftover> {
        let mut found = Vec::new();
        let mut note = |kind, path: PathBuf| {
            found.push(Leftover {
                kind,
                bytes: disk_usage_of(&path),
                path,
            });
        };
        for path in old_entries(&self.dir.join("staging"), age) {
            if is_free(&path) {
                note("staging folder", path);
            }
        }
        for path in old_entries(&self.dir.join("trash"), age) {
            note("trash", path);
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for path in old_entries(&self.dir.join("blobs").join(algorithm.name()), age) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let known = format!("{}:{name}", algorithm.name())
                    .parse::<Digest>()
                    .is_ok();
                if !known && is_free(&path) {
                    note("partial download", path);
                }
            }
        }
        for path in old_entries(&self.dir.join("clones"), age) {
            if !driver::clone_top(&path).is_some_and(|top| wanted.contains(&top)) {
                note("metadata clone", path);
            }
        }
        for path in old_entries(&self.dir.join("copies"), age) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let shown = name.split('-').next().unwrap_or_default();
            if !wanted.iter().any(|top| shown == top.hex()) {
                note("copy of an image", path);
            }
        }
        found
    }

    /// Removes a leftover, or a layer's folder that is damaged.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clear_away(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            self.staging.discard(path)?;
            self.staging.empty_trash()
        } else {
            crate::base::fs::remove_file_if_exists(path)
        }
    }

    /// Moves a damaged layer out of the way and unpacks it anew; the old one comes back when that
    /// fails.
    ///
    /// # Errors
    /// `NotFound` without the blob or the layer below; `Corrupt` when the blob is another content.
    pub fn renew(
        &self,
        parent: Option<&Digest>,
        diff_id: &Digest,
        blob: &Digest,
    ) -> Result<LayerInfo> {
        let path = self.layers().own_path(&layer::chain_id(parent, diff_id));
        let aside = self.staging.dir()?;
        let old = aside.path().join("old");
        let had = match fs::rename(&path, &old) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            other => {
                other.what(|| format!("cannot move {}", path.display()))?;
                true
            }
        };
        let made = self.restore(parent, diff_id, blob);
        if made.is_err() && had {
            fs::rename(&old, &path).what(|| format!("cannot move {}", old.display()))?;
        }
        made
    }
}

/// The regular files that a layer's archive leaves, by path; the later entry wins.
fn contents<R: io::BufRead>(reader: &mut Reader<R>) -> Result<BTreeMap<Vec<u8>, Content>> {
    let mut files: BTreeMap<Vec<u8>, Content> = BTreeMap::new();
    // Names that are links may be replaced through any of them: only the first is looked at.
    while let Some(entry) = reader.next()? {
        if entry.kind != Kind::Dir {
            forget(&mut files, &entry.path);
        }
        let name = entry.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if entry.kind != Kind::File || entry.sparse.is_some() || name.starts_with(b".wh.") {
            continue;
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut size = 0_u64;
        loop {
            let piece = reader.data()?;
            if piece.is_empty() {
                break;
            }
            hasher.update(piece);
            let n = piece.len();
            size += n as u64;
            reader.consume(n);
        }
        files.insert(entry.path, (size, hasher.finish()));
    }
    Ok(files)
}

/// What is no folder any more has nothing below it.
fn forget(files: &mut BTreeMap<Vec<u8>, Content>, path: &[u8]) {
    files.remove(path);
    let below = [path, b"/"].concat();
    let gone: Vec<Vec<u8>> = files
        .range(below.clone()..)
        .map(|(p, _)| p.clone())
        .take_while(|p| p.starts_with(&below))
        .collect();
    for path in gone {
        files.remove(&path);
    }
}

fn file_flaw(root: BorrowedFd<'_>, path: &[u8], content: &Content) -> Result<Option<String>> {
    let (size, wanted) = content;
    let (folder, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let opened = || -> crate::sys::Result<(OwnedFd, at::Meta)> {
        match folder {
            b"" => at::open_file(root, name),
            folder => at::open_file(at::open_dir_beneath(root, folder)?.as_fd(), name),
        }
    };
    let (file, meta) = match opened() {
        Ok(opened) => opened,
        Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => {
            return Ok(Some("is gone".to_owned()));
        }
        Err(e) => return Ok(Some(format!("cannot be read: {e}"))),
    };
    if meta.size != *size {
        return Ok(Some(format!("has {} bytes in place of {size}", meta.size)));
    }
    match hash(&mut File::from(file), wanted.algorithm()) {
        Ok((_, found)) if found == *wanted => Ok(None),
        Ok(_) => Ok(Some("has another content".to_owned())),
        Err(e) => Ok(Some(format!("cannot be read: {e}"))),
    }
}

fn hash(file: &mut dyn io::Read, algorithm: Algorithm) -> io::Result<Content> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, hasher.finish())),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The entries of a folder that were not changed for so long.
fn old_entries(dir: &Path, age: Duration) -> Vec<PathBuf> {
    let now = SystemTime::now();
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let changed = entry.metadata().and_then(|m| m.modified());
            changed.is_ok_and(|t| now.duration_since(t).unwrap_or_default() >= age)
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Whether no process has it locked.
fn is_free(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

fn disk_usage_of(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => disk_usage(path),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::dirs::Dirs;

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn a_changed_file_a_truncated_one_and_a_damaged_blob_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path().join("data"), dir.path().join("run"));
        let store = Store::open(&dirs, None).unwrap();
        let tar = packed(&[("d/a", "old"), ("d/a", "new"), ("b", "bb")]);
        let (blob, _) = store.blobs().ingest(&mut &tar[..]).unwrap();
        let info = store
            .layers()
            .unpack(
                &layer::Unpack {
                    parent: None,
                    diff_id: None,
                    limits: Limits::default(),
                },
                &tar[..],
            )
            .unwrap();
        assert_eq!(store.layer_flaw(&info), None);
        assert_eq!(store.content_flaw(&info, &blob).unwrap(), None);
        assert_eq!(store.blob_flaw(&blob).unwrap(), None);
        let file = store.layers().path(&info.chain_id).join("diff/d/a");
        fs::write(&file, "net").unwrap();
        assert_eq!(store.layer_flaw(&info), None);
        let flaw = store.content_flaw(&info, &blob).unwrap().unwrap();
        assert_eq!(flaw, "\"d/a\" has another content");
        fs::write(&file, "").unwrap();
        assert!(store.content_flaw(&info, &blob).unwrap().is_some());
        store.renew(None, &info.diff_id, &blob).unwrap();
        assert_eq!(store.content_flaw(&info, &blob).unwrap(), None);
        assert_eq!(fs::read(&file).unwrap(), b"new");
        fs::write(store.blobs().path(&blob), "x").unwrap();
        assert!(store.blob_flaw(&blob).unwrap().is_some());
        assert!(store.renew(None, &info.diff_id, &blob).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"new", "the old one is back");
    }

    #[test]
    fn only_what_nobody_holds_is_a_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path().join("data"), dir.path().join("run"));
        let store = Store::open(&dirs, None).unwrap();
        let live = store.staging.dir().unwrap();
        fs::create_dir(store.dir.join("staging/dead")).unwrap();
        let digest = Digest::sha256_of(b"x");
        let super::super::blob::Claim::Write(writer) = store.blobs().writer(&digest, None).unwrap()
        else {
            panic!("it is there");
        };
        let wanted = BTreeSet::new();
        let found = store.leftovers(Duration::ZERO, &wanted);
        assert_eq!(found.len(), 1, "{found:?}");
        drop(writer);
        let found = store.leftovers(Duration::ZERO, &wanted);
        let kinds: Vec<_> = found.iter().map(|l| l.kind).collect();
        assert_eq!(kinds, ["staging folder", "partial download"]);
        assert!(store.leftovers(Duration::from_secs(60), &wanted).is_empty());
        for leftover in &found {
            store.clear_away(&leftover.path).unwrap();
        }
        assert!(store.leftovers(Duration::ZERO, &wanted).is_empty());
        drop(live);
    }
}
