//! Volumes: `volumes/<name>/{volume.json,_data}`.
//!
//! A volume is built beside its place and published by one rename; its first content is built in
//! `_data.fresh` and takes the place of the empty `_data` by another. Killed at any moment, a volume is
//! there whole or not at all.
//!
//! Lock: `flock` on `volumes/<name>`, held while it is copied up, imported or removed, and, for a
//! tmpfs volume, while a container has it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rootfs::View;
use super::{driver, staging, tree};
use crate::base::failpoint::failpoint;
use crate::base::fs::{self as files, Durability};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Hint as _, Kind, Result, size};
use crate::config::dirs::Dirs;
use crate::spec::id::ObjectName;
use crate::sys::{at, mount};

/// The schema of the records that this program writes.
const VERSION: u32 = 1;

/// A record larger than this is damaged.
const LIMIT: u64 = 1 << 20;

/// How old a leftover of a creation or removal must be before it counts as one.
const SETTLE: Duration = Duration::from_secs(60);

/// `volume.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Schema number.
    pub version: u32,
    /// Its name.
    pub name: ObjectName,
    /// Always `local`.
    pub driver: String,
    /// When it was made.
    pub created: Timestamp,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Made for one container, not by name.
    #[serde(default)]
    pub anonymous: bool,
    /// A container had it: content of images is not copied into it any more.
    #[serde(default)]
    pub used: bool,
}

/// What to create.
#[derive(Clone, Debug, Default)]
pub struct VolumeSpec {
    /// Its name; without one it gets 64 random hex digits and is anonymous.
    pub name: Option<String>,
    /// `--driver`; absent means `local`.
    pub driver: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// Made for a container that removes it with itself.
    pub anonymous: bool,
}

/// A volume ready to be attached.
#[derive(Debug)]
pub struct VolumeMount {
    /// The detached mount.
    pub tree: OwnedFd,
    /// Keep it open while the mount lives.
    pub lock: Option<OwnedFd>,
}

/// Words of `o=` that are the mount's own, wherever the volume is mounted.
const MOUNT_WORDS: &[&str] = &[
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime",
];

/// What `--opt` says, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Backing {
    /// The folder `_data`, perhaps with another owner.
    Folder { uid: u32, gid: u32, nocopy: bool },
    /// A tmpfs, empty at every first use.
    Tmpfs { options: Vec<(String, String)> },
    /// A folder of the person's.
    Bind { path: PathBuf },
}

impl Backing {
    /// Reads the options of the driver `local`.
    fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let refuse = |key: &str, why: &str| {
            Err(
                Error::unsupported(format!("volume option {key:?} is not supported"))
                    .because(why.to_owned()),
            )
        };
        for key in options.keys() {
            match key.as_str() {
                "type" | "device" | "o" | "nocopy" | "copy" | "uid" | "gid" | "UID" | "GID" => {}
                "size" | "inodes" => {
                    return refuse(
                        key,
                        "quotas need a project quota that a plain user cannot set",
                    );
                }
                _ => {
                    return refuse(
                        key,
                        "the driver \"local\" knows type, device, o, uid, gid, copy and nocopy",
                    );
                }
            }
        }
        let words: Vec<&str> = options
            .get("o")
            .map(|o| o.split(',').filter(|w| !w.is_empty()).collect())
            .unwrap_or_default();
        let device = options.get("device").map_or("", String::as_str);
        let id = |name: &str| -> Result<u32> {
            let plain = options
                .get(name)
                .or_else(|| options.get(&name.to_ascii_uppercase()))
                .map(String::as_str);
            let text = plain.or_else(|| {
                words
                    .iter()
                    .find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
            });
            text.map_or(Ok(0), |t| {
                t.parse().what(|| format!("invalid {name} {t:?}"))
            })
        };
        match options.get("type").map_or("", String::as_str) {
            "tmpfs" => {
                let mut list = Vec::new();
                for word in words.iter().filter(|w| !MOUNT_WORDS.contains(w)) {
                    let (key, value) = word.split_once('=').unwrap_or((word, ""));
                    match key {
                        "size" => list.push((key.to_owned(), size::parse(value)?.to_string())),
                        "mode" | "nr_inodes" | "uid" | "gid" => {
                            list.push((key.to_owned(), value.to_owned()));
                        }
                        _ => {
                            return refuse(
                                word,
                                "a tmpfs takes size, mode, nr_inodes, uid and gid",
                            );
                        }
                    }
                }
                Ok(Self::Tmpfs { options: list })
            }
            "none" | "bind" | "" if words.iter().any(|w| matches!(*w, "bind" | "rbind")) => {
                if !Path::new(device).is_absolute() {
                    return Err(Error::invalid(format!(
                        "a bind volume needs device=/absolute/path, not {device:?}"
                    )));
                }
                if let Some(word) = words
                    .iter()
                    .find(|w| !matches!(**w, "bind" | "rbind") && !MOUNT_WORDS.contains(w))
                {
                    return refuse(word, "a bind volume takes o=bind and options of mounts");
                }
                Ok(Self::Bind {
                    path: device.into(),
                })
            }
            "" => {
                if !device.is_empty() {
                    return refuse("device", "it needs a type");
                }
                let known = |w: &&&str| {
                    w.starts_with("uid=")
                        || w.starts_with("gid=")
                        || matches!(**w, "nocopy" | "copy")
                };
                if let Some(word) = words.iter().find(|w| !known(w)) {
                    return refuse(word, "without a type, o= takes uid, gid, copy and nocopy");
                }
                Ok(Self::Folder {
                    uid: id("uid")?,
                    gid: id("gid")?,
                    nocopy: words.contains(&"nocopy") || options.contains_key("nocopy"),
                })
            }
            other => refuse(
                &format!("type={other}"),
                "a plain user may mount tmpfs and bind; mount it on the host and use -v HOSTDIR:/path",
            ),
        }
    }
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

    /// Removes what creations and removals that were killed left behind; returns how many.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep(&self) -> Result<usize> {
        let mut found = 0;
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let leftover = name
                .to_str()
                .is_some_and(|n| n.starts_with(".creating-") || n.starts_with(".removing-"));
            let old = || {
                let changed = entry.metadata().and_then(|m| m.modified());
                changed.is_ok_and(|t| t.elapsed().is_ok_and(|age| age > SETTLE))
            };
            if leftover && old() {
                tree::remove_all(&entry.path())?;
                found += 1;
            }
        }
        Ok(found)
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

fn read_record(folder: &Path) -> Result<Option<VolumeRecord>> {
    let path = folder.join("volume.json");
    let Some(bytes) = files::read_if_exists(&path, LIMIT)? else {
        return Ok(None);
    };
    let record: VolumeRecord = serde_json::from_slice(&bytes).what_kind(Kind::Corrupt, || {
        format!("the record {} is damaged", path.display())
    })?;
    if record.version > VERSION {
        return Err(Error::unsupported(format!(
            "{} was written by a newer coracle",
            path.display()
        ))
        .hint("use the newer coracle"));
    }
    Ok(Some(record))
}

fn write_record(folder: &Path, record: &VolumeRecord, durability: Durability) -> Result<()> {
    let bytes =
        serde_json::to_vec(record).what_kind(Kind::Internal, || "cannot encode a volume record")?;
    files::replace(&folder.join("volume.json"), &bytes, 0o600, durability)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> (tempfile::TempDir, Volumes) {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes {
            dir: dir.path().join("volumes"),
        };
        (dir, volumes)
    }

    fn named(name: &str) -> VolumeSpec {
        VolumeSpec {
            name: Some(name.to_owned()),
            ..VolumeSpec::default()
        }
    }

    #[test]
    fn a_volume_is_made_once_found_by_prefix_and_removed() {
        let (_dir, volumes) = volumes();
        let made = volumes.create(&named("data")).unwrap();
        assert!(!made.anonymous);
        assert_eq!(
            volumes.create(&named("data")).unwrap_err().kind(),
            Kind::Exists
        );
        volumes.create(&named("dust")).unwrap();
        assert_eq!(volumes.find("da").unwrap(), made);
        assert_eq!(volumes.find("d").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(volumes.find("").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(volumes.list().unwrap().len(), 2);
        volumes.remove(&made.name).unwrap();
        assert_eq!(
            volumes.remove(&made.name).unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(volumes.get("data").unwrap(), None);
        assert_eq!(volumes.get("../data").unwrap(), None);
        // Nothing is left beside.
        assert_eq!(fs::read_dir(&volumes.dir).unwrap().count(), 1);
    }

    #[test]
    fn anonymous_volumes_have_long_names() {
        let (_dir, volumes) = volumes();
        let made = volumes.create(&VolumeSpec::default()).unwrap();
        assert!(made.anonymous);
        assert_eq!(made.name.as_str().len(), 64);
    }

    #[test]
    fn options_are_understood_or_refused_by_name() {
        let parse = |pairs: &[(&str, &str)]| {
            Backing::parse(
                &pairs
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            )
        };
        assert_eq!(
            parse(&[]).unwrap(),
            Backing::Folder {
                uid: 0,
                gid: 0,
                nocopy: false
            }
        );
        assert_eq!(
            parse(&[("o", "uid=5,gid=6,nocopy")]).unwrap(),
            Backing::Folder {
                uid: 5,
                gid: 6,
                nocopy: true
            }
        );
        let tmpfs = parse(&[
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "size=1m,nodev,mode=700"),
        ])
        .unwrap();
        let options = vec![
            ("size".to_owned(), "1048576".to_owned()),
            ("mode".to_owned(), "700".to_owned()),
        ];
        assert_eq!(tmpfs, Backing::Tmpfs { options });
        let bind = parse(&[("type", "none"), ("device", "/srv"), ("o", "bind")]).unwrap();
        assert_eq!(
            bind,
            Backing::Bind {
                path: "/srv".into()
            }
        );
        for bad in [
            &[("type", "nfs"), ("device", ":/x")][..],
            &[("size", "1g")],
            &[("o", "noatime")],
            &[("type", "none"), ("o", "bind"), ("device", "relative")],
            &[("colour", "red")],
            &[("o", "uid=x")],
            &[("type", "tmpfs"), ("o", "frob=1")],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_damaged_record_disables_one_volume_only() {
        let (_dir, volumes) = volumes();
        volumes.create(&named("good")).unwrap();
        volumes.create(&named("bad")).unwrap();
        fs::write(volumes.dir.join("bad/volume.json"), "{").unwrap();
        assert_eq!(volumes.list().unwrap().len(), 1);
        assert_eq!(volumes.get("bad").unwrap_err().kind(), Kind::Corrupt);
    }
}
