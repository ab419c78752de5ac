//! Volumes: `volumes/<name>/{volume.json,_data}`.
//!
//! A volume is built beside its place and published by one rename; its first content is built in
//! `_data.fresh` and takes the place of the empty `_data` by another. Killed at any moment, a volume is
//! there whole or not at all.
//!
//! Lock: `flock` on `volumes/<name>`, held while it is copied up, imported or removed, and, for a
//! tmpfs volume, while a container has it.

mod backing;
mod record;

use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backing::{Backing, MOUNT_WORDS};
use record::{VERSION, read_record, write_record};
pub use record::{VolumeRecord, VolumeSpec};

use super::rootfs::View;
use super::{driver, staging, tree};
use crate::base::failpoint::failpoint;
use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::config::dirs::Dirs;
use crate::spec::id::ObjectName;
use crate::sys::{at, mount};

/// How old a leftover of a creation or removal must be before it counts as one.
const SETTLE: Duration = Duration::from_secs(60);

/// A volume ready to be attached.
#[derive(Debug)]
pub struct VolumeMount {
    /// The detached mount.
    pub tree: OwnedFd,
    /// Keep it open while the mount lives.
    pub lock: Option<OwnedFd>,
}

/// All volumes of this user.
#[derive(Clone, Debug)]
pub struct Volumes {
    dir: PathBuf,
}

impl Volumes {
    /// The volumes below `dirs`.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            dir: dirs.volumes(),
        }
    }

    /// `volumes/<name>/_data`: what `inspect` shows as the mount point.
    pub fn data_path(&self, name: &ObjectName) -> PathBuf {
        self.folder(name).join("_data")
    }

    /// What every mount of the volume takes of its options: `ro`, `nodev`, ….
    pub fn mount_words(record: &VolumeRecord) -> Vec<String> {
        let words = record.options.get("o").map_or("", String::as_str);
        let own = words.split(',').filter(|w| MOUNT_WORDS.contains(w));
        own.map(str::to_owned).collect()
    }

    fn folder(&self, name: &ObjectName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    /// Creates one.
    ///
    /// # Errors
    /// `Exists` when the name is taken; `Invalid` for a bad name or option; `Unsupported` for a
    /// driver or a file system that we do not have.
    pub fn create(&self, spec: &VolumeSpec) -> Result<VolumeRecord> {
        let name: ObjectName = match &spec.name {
            Some(name) => name.parse()?,
            None => (0..4)
                .map(|_| staging::random_name())
                .collect::<Result<String>>()?
                .parse()?,
        };
        let what = || format!("cannot create volume {:?}", name.as_str());
        if let Some(driver) = spec
            .driver
            .as_deref()
            .filter(|d| !d.is_empty() && *d != "local")
        {
            return Err(Error::unsupported(format!(
                "volume driver {driver:?} is not supported"
            )))
            .what(what)
            .hint(|| "coracle has the driver \"local\"");
        }
        let backing = Backing::parse(&spec.options).what(what)?;
        let record = VolumeRecord {
            version: VERSION,
            name: name.clone(),
            driver: "local".to_owned(),
            created: Timestamp::now(),
            labels: spec.labels.clone(),
            options: spec.options.clone(),
            anonymous: spec.anonymous || spec.name.is_none(),
            used: false,
        };
        files::create_private_dir_all(&self.dir)?;
        let fresh = self
            .dir
            .join(format!(".creating-{}", staging::random_name()?));
        let made = (|| {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&fresh)
                .what(|| format!("cannot create {}", fresh.display()))?;
            make_data(&fresh.join("_data"), &backing)?;
            // An anonymous volume goes with its container: a power cut may take both.
            let durability = if record.anonymous {
                Durability::Volatile
            } else {
                Durability::Durable
            };
            write_record(&fresh, &record, durability)?;
            failpoint("volume::publish")?;
            match fs::rename(&fresh, self.folder(&name)) {
                Err(e) if matches!(e.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
                    Err(Error::new(
                        Kind::Exists,
                        format!("a volume named {:?} exists already", name.as_str()),
                    )
                    .hint("use it, choose another name, or give --ignore"))
                }
                other => other.what(|| format!("cannot publish {}", self.folder(&name).display())),
            }
        })();
        if made.is_err() {
            drop(tree::remove_all(&fresh));
        }
        made.what(what)?;
        Ok(record)
    }

    /// One by its exact name, if it is there.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record.
    pub fn get(&self, name: &str) -> Result<Option<VolumeRecord>> {
        match name.parse::<ObjectName>() {
            Ok(name) => read_record(&self.folder(&name)),
            Err(_) => Ok(None),
        }
    }

    /// One by name, or by a prefix that no other has.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a prefix of several.
    pub fn find(&self, name: &str) -> Result<VolumeRecord> {
        if let Some(record) = self.get(name)? {
            return Ok(record);
        }
        let mut fits = if name.is_empty() {
            Vec::new()
        } else {
            self.names()?
        };
        fits.retain(|n| n.as_str().starts_with(name));
        match &fits[..] {
            [one] => read_record(&self.folder(one))?.ok_or_else(|| missing(name)),
            [] => Err(missing(name)),
            _ => Err(
                Error::invalid(format!("volume name {name:?} fits several volumes"))
                    .hint("write more of it"),
            ),
        }
    }

    /// All, by name. One with a damaged record is left out, with a warning in the log.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn list(&self) -> Result<Vec<VolumeRecord>> {
        let mut records = Vec::new();
        for name in self.names()? {
            match read_record(&self.folder(&name)) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {}
                Err(e) => log::warn!("{}", e.one_line()),
            }
        }
        Ok(records)
    }

    fn names(&self) -> Result<Vec<ObjectName>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.what(|| format!("cannot list {}", self.dir.display()))?,
        };
        let mut names: Vec<ObjectName> = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Removes one. The caller made sure that no container uses it.
    ///
    /// # Errors
    /// `NotFound`; `InUse` when it is being filled, or is a tmpfs that a container has.
    pub fn remove(&self, name: &ObjectName) -> Result<()> {
        let what = || format!("cannot remove volume {:?}", name.as_str());
        let folder = self.folder(name);
        let lock = match File::open(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing(name.as_str()));
            }
            other => other.what(what)?,
        };
        try_lock(&lock, name.as_str()).what(what)?;
        let trash = self
            .dir
            .join(format!(".removing-{}", staging::random_name()?));
        fs::rename(&folder, &trash).what(what)?;
        failpoint("volume::remove")?;
        tree::remove_all(&trash).what(what)
    }

    /// What creations and removals that were killed left behind.
    pub fn remains(&self) -> Vec<PathBuf> {
        let leftover = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let named = name
                .to_str()
                .is_some_and(|n| n.starts_with(".creating-") || n.starts_with(".removing-"));
            let changed = || entry.metadata().and_then(|m| m.modified());
            named && changed().is_ok_and(|t| t.elapsed().is_ok_and(|age| age > SETTLE))
        };
        fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter(leftover)
            .map(|entry| entry.path())
            .collect()
    }

    /// Removes what [`Volumes::remains`] finds; returns how many.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep(&self) -> Result<usize> {
        let remains = self.remains();
        for path in &remains {
            tree::remove_all(path)?;
        }
        Ok(remains.len())
    }

    /// Every volume by name, damaged ones too; `None` has no record at all.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn examine(&self) -> Result<Vec<(ObjectName, Result<Option<VolumeRecord>>)>> {
        let names = self.names()?.into_iter();
        Ok(names
            .map(|name| {
                let record = read_record(&self.folder(&name));
                (name, record)
            })
            .collect())
    }

    /// Writes the record of a volume anew that has lost it: its files stay, its labels and options
    /// are gone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn renew(&self, name: &ObjectName) -> Result<VolumeRecord> {
        let record = VolumeRecord {
            version: VERSION,
            name: name.clone(),
            driver: "local".to_owned(),
            created: Timestamp::now(),
            labels: Default::default(),
            options: Default::default(),
            anonymous: false,
            used: true,
        };
        write_record(&self.folder(name), &record, Durability::Durable)?;
        files::create_private_dir_all(&self.data_path(name))?;
        Ok(record)
    }

    /// The volume as a detached mount: its folder, or what its options say (tmpfs, bind).
    /// `subpath` is resolved inside it and must be there.
    ///
    /// # Errors
    /// `NotFound`; `InUse` for a tmpfs volume that another container has.
    pub fn mount(&self, record: &VolumeRecord, subpath: Option<&str>) -> Result<VolumeMount> {
        let name = record.name.as_str();
        let what = || format!("cannot mount volume {name:?}");
        let mut lock = None;
        let root = match Backing::parse(&record.options).what(what)? {
            Backing::Folder { .. } => {
                at::open_host_dir(&self.data_path(&record.name)).what(what)?
            }
            Backing::Bind { path } => at::open_host_dir(&path).what(what).hint(|| {
                format!(
                    "the volume stands for the folder {}: make it",
                    path.display()
                )
            })?,
            Backing::Tmpfs { options } => {
                let file = File::open(self.folder(&record.name)).what(what)?;
                try_lock(&file, name).what(what)?;
                lock = Some(file.into());
                let context = mount::Context::open("tmpfs").what(what)?;
                for (key, value) in &options {
                    context.string(key, value).what(what)?;
                }
                context.mount(0).what(what)?
            }
        };
        let tmpfs = lock.is_some();
        let tree = match subpath.filter(|s| !s.is_empty()) {
            Some(path) => {
                let inside = at::open_path_in_root(root.as_fd(), path.as_bytes(), true)
                    .what(|| format!("cannot mount {path:?} of volume {name:?}"))
                    .hint(|| "a subpath must be in the volume before it is mounted")?;
                mount::clone_fd(inside, true).what(what)?
            }
            None if tmpfs => root,
            None => mount::clone_fd(root, true).what(what)?,
        };
        Ok(VolumeMount { tree, lock })
    }

    /// First use: copies content and ownership of `path` in the image's tree into an empty
    /// volume. Nothing happens when the volume has content, or a container had it before. Returns
    /// whether it copied.
    ///
    /// # Errors
    /// What the kernel says; the volume is then still empty.
    pub fn copy_up(
        &self,
        record: &VolumeRecord,
        rootfs: BorrowedFd<'_>,
        path: &str,
    ) -> Result<bool> {
        if record.used
            || !matches!(
                Backing::parse(&record.options)?,
                Backing::Folder { nocopy: false, .. }
            )
        {
            return Ok(false);
        }
        let what = || {
            format!(
                "cannot copy {path:?} of the image into volume {:?}",
                record.name.as_str()
            )
        };
        let folder = self.folder(&record.name);
        let lock = File::open(&folder).what(what)?;
        lock.lock().what(what)?;
        let Some(mut now) = read_record(&folder)?.filter(|now| !now.used) else {
            return Ok(false);
        };
        let data = self.data_path(&record.name);
        let empty = fs::read_dir(&data).what(what)?.next().is_none();
        let source = match at::open_dir_in_root(rootfs, path.trim_start_matches('/').as_bytes()) {
            Ok(fd) => Some(fd),
            Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => None,
            Err(e) => return Err(e).what(what),
        };
        let mut copied = false;
        if let (true, Some(source)) = (empty, source) {
            let fresh = folder.join("_data.fresh");
            tree::remove_all(&fresh)?;
            fs::DirBuilder::new()
                .mode(0o755)
                .create(&fresh)
                .what(what)?;
            let out = at::open_host_dir(&fresh).what(what)?;
            driver::copy_tree(source, out.as_fd(), &View::Same).what(what)?;
            failpoint("volume::copied")?;
            // Over the empty folder: one rename, so that nobody ever sees half of it.
            fs::rename(&fresh, &data).what(what)?;
            copied = true;
        }
        now.used = true;
        let durability = if now.anonymous {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        write_record(&folder, &now, durability)?;
        Ok(copied)
    }

    /// Bytes of disk blocks that the volume's folder takes; 0 for tmpfs and bind volumes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn weight(&self, record: &VolumeRecord) -> Result<u64> {
        match Backing::parse(&record.options)? {
            Backing::Folder { .. } => {
                let root = at::open_host_dir(&self.data_path(&record.name))?;
                Ok(tree::weigh(root.as_fd())?.disk)
            }
            _ => Ok(0),
        }
    }
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("no such volume: {name:?}"))
        .hint("`coracle volume ls` lists all volumes")
}

fn try_lock(file: &File, name: &str) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(Error::new(
            Kind::InUse,
            format!("volume {name:?} is in use"),
        )
        .hint("a container has it or is being started with it")),
        Err(fs::TryLockError::Error(e)) => Err(e).what(|| format!("cannot lock volume {name:?}")),
    }
}

/// Makes `_data` with its owner.
fn make_data(path: &Path, backing: &Backing) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(path)
        .what(|| format!("cannot create {}", path.display()))?;
    if let Backing::Folder { uid, gid, .. } = backing
        && (*uid, *gid) != (0, 0)
    {
        let dir = at::open_host_dir(path)?;
        at::fchown(dir.as_fd(), *uid, *gid)
            .what(|| format!("cannot give the volume to {uid}:{gid}"))
            .hint(|| "the ids must be mapped: see /etc/subuid and `coracle doctor`")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
