//! All containers of a user: their names, finding one, making and removing them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::write_json;
use super::{Container, ContainerLock, ContainerRecord, is_recorded, read_record};
use crate::base::failpoint::failpoint;
use crate::base::fs::{self as files, Durability};
use crate::base::parallel;
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::dirs::Dirs;
use crate::spec::id::{ContainerId, ObjectName};

/// A removal that goes on for longer than so many seconds is nobody's any more.
const SETTLE: u64 = 10;

/// How long one that is being made is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// All containers of this user.
#[derive(Clone, Debug)]
pub struct Containers {
    dirs: Dirs,
}

/// Something that an interrupted creation or removal left.
#[derive(Debug)]
pub enum Remains {
    /// A folder that is no container's.
    Folder(PathBuf),
    /// A container without its name.
    Nameless(Container),
    /// A name that leads nowhere.
    Name(PathBuf),
}

impl Remains {
    /// What it is, and where.
    pub fn describe(&self) -> (&'static str, &Path) {
        match self {
            Self::Folder(path) => ("a half-removed container", path),
            Self::Nameless(container) => ("a container without its name", container.dir()),
            Self::Name(path) => ("a name that leads nowhere", path),
        }
    }
}

impl Containers {
    /// The containers below `dirs`.
    pub fn new(dirs: &Dirs) -> Self {
        Self { dirs: dirs.clone() }
    }

    /// The pods beside them.
    pub fn pods(&self) -> crate::state::pod::Pods {
        crate::state::pod::Pods::new(&self.dirs)
    }

    /// Publishes a new container: folder and record first, the name last. A record that is not to
    /// be waited for (`Volatile`) is brought to the disk later by [`Container::sync`].
    ///
    /// # Errors
    /// `Exists` when the name is taken; nothing is left then.
    pub fn create(&self, record: ContainerRecord, durability: Durability) -> Result<Container> {
        self.create_locked(record, durability).map(|(made, _)| made)
    }

    /// As [`Containers::create`], with its lock: nobody sees the container without it.
    ///
    /// # Errors
    /// As [`Containers::create`].
    pub fn create_locked(
        &self,
        record: ContainerRecord,
        durability: Durability,
    ) -> Result<(Container, ContainerLock)> {
        let container = self.container_of(record);
        let make = || -> Result<ContainerLock> {
            match fs::DirBuilder::new().mode(0o700).create(&container.dir) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    files::create_private_dir_all(&self.dirs.containers())?;
                    files::create_private_dir_all(&self.dirs.names())?;
                    fs::DirBuilder::new()
                        .mode(0o700)
                        .create(&container.dir)
                        .what(|| format!("cannot create {}", container.dir.display()))?;
                }
                other => other.what(|| format!("cannot create {}", container.dir.display()))?,
            }
            let lock = ContainerLock::of_new(&container.dir)?;
            failpoint("container::folder")?;
            let durability = match &container.record.transient {
                Some(boot) => {
                    let link = container.dir.join(super::BOOT);
                    std::os::unix::fs::symlink(boot, &link)
                        .what(|| format!("cannot create {}", link.display()))?;
                    Durability::Volatile
                }
                None => durability,
            };
            write_json(
                &container.dir.join("config.json"),
                &container.record,
                durability,
            )?;
            failpoint("container::record")?;
            link_name(&container.names, &container.record.name, container.id())?;
            match durability {
                Durability::Durable => files::sync_dir(&container.names)?,
                Durability::Volatile => {}
            }
            Ok(lock)
        };
        match make() {
            Ok(lock) => Ok((container, lock)),
            Err(e) => {
                drop(fs::remove_dir_all(&container.dir));
                Err(e)
            }
        }
    }

    /// Opens by exact id.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, or `Unsupported` when a newer coracle wrote it.
    pub fn open(&self, id: &ContainerId) -> Result<Container> {
        let path = self.dirs.containers().join(id.as_str()).join("config.json");
        Ok(self.container_of(read_record(&path)?))
    }

    /// Finds by name, id, or unique id prefix.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when a prefix fits several.
    pub fn find(&self, text: &str) -> Result<Container> {
        let missing = || {
            Error::not_found(format!("no such container: {text:?}"))
                .hint("`coracle ps -a` lists all containers")
        };
        if let Ok(name) = text.parse::<ObjectName>()
            && let Ok(target) = fs::read_link(self.dirs.names().join(name.as_str()))
            && let Some(id) = target.to_str().and_then(|t| t.parse::<ContainerId>().ok())
        {
            match self.open(&id) {
                Ok(container) if container.record.name == name => return Ok(container),
                // A rename or removal was cut short: the link is stale.
                Ok(_) => {}
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        if text.is_empty()
            || text.len() > 64
            || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(missing());
        }
        if let Ok(id) = text.parse::<ContainerId>() {
            return self.open(&id).map_err(|e| {
                if e.kind() == Kind::NotFound {
                    missing()
                } else {
                    e
                }
            });
        }
        let mut found: Option<ContainerId> = None;
        for id in self.ids()? {
            if id.as_str().starts_with(text) {
                if found.is_some() {
                    return Err(Error::invalid(format!(
                        "container id prefix {text:?} fits several containers"
                    ))
                    .hint("write more digits"));
                }
                found = Some(id);
            }
        }
        self.open(&found.ok_or_else(missing)?)
    }

    /// Every container id, in no order.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let dir = self.dirs.containers();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).what(|| format!("cannot list {}", dir.display())),
        };
        Ok(entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect())
    }

    /// Every readable container, oldest first; a damaged record disables that container only and
    /// is returned beside.
    ///
    /// # Errors
    /// What the kernel says of the folder.
    pub fn list(&self) -> Result<(Vec<Container>, Vec<Error>)> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for opened in parallel::map(self.ids()?, |id| self.open(&id)) {
            match opened {
                Ok(container) => good.push(container),
                // Being created or removed right now.
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => bad.push(e),
            }
        }
        let (certain, doubtful) = self.by_name(good, bad.is_empty());
        good = certain;
        for container in doubtful {
            match self.open_named(container.id()) {
                Ok(named) => good.extend(named),
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => bad.push(e),
            }
        }
        good.sort_by(|a, b| (a.record.created, a.id()).cmp(&(b.record.created, b.id())));
        Ok((good, bad))
    }

    /// Parts those that surely have their names from those whose link must be read: a name that is
    /// there, and that one record claims, is that one's. Reading a thousand links would be a tenth
    /// of `ps -a`. A record that cannot be read (`complete` is false) may claim any name.
    fn by_name(&self, all: Vec<Container>, complete: bool) -> (Vec<Container>, Vec<Container>) {
        let entries = fs::read_dir(self.dirs.names()).into_iter().flatten();
        let mut claims: HashMap<String, u32> = entries
            .flatten()
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, 0)))
            .collect();
        for container in &all {
            if let Some(count) = claims.get_mut(container.name()) {
                *count += 1;
            }
        }
        all.into_iter()
            .partition(|c| complete && claims.get(c.name()) == Some(&1))
    }

    /// As [`Containers::open`], for one whose id was settled before it was made: if its creation or
    /// its removal was cut short, it gets its name here, for nobody else would find it by then. One
    /// that is being made is waited for.
    ///
    /// # Errors
    /// As [`Containers::open`]; `Exists` when another one has the name; as [`Container::lock`].
    pub fn open_settled(&self, id: &ContainerId) -> Result<Container> {
        let mut container = self.open(id)?;
        if !container.has_its_name() {
            let _lock = container.lock(PATIENCE)?;
            container.reload()?;
            if !container.has_its_name() {
                link_name(&container.names, &container.record.name, container.id())?;
            }
        }
        Ok(container)
    }

    /// As [`Containers::open`]; `None` for one without its name: its creation or removal was killed
    /// half-way, or goes on right now.
    fn open_named(&self, id: &ContainerId) -> Result<Option<Container>> {
        // A rename may come between record and name; the second look sees it done.
        for _ in 0..2 {
            let container = self.open(id)?;
            if container.has_its_name() {
                return Ok(Some(container));
            }
        }
        Ok(None)
    }

    /// Removes a container's records: the name first, then the folder under a new name (so that it
    /// is gone at once), then what it held. Files of other owners need the user namespace: the
    /// caller has entered it. Lock: the container's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, container: &Container) -> Result<()> {
        let trash = self.discard(container)?;
        self.forget_runtime(container);
        match trash {
            Some(trash) => remove_tree(&trash),
            None => Ok(()),
        }
    }

    /// The quick half of [`Containers::remove`]: name and records are gone, the files lie in the
    /// folder that is returned, for [`remove_tree`]. `None` when there was nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn discard(&self, container: &Container) -> Result<Option<PathBuf>> {
        let link = container.names.join(container.name());
        // Into the folder that goes, where there is one: some disks are waited for when a file's
        // blocks are given back, and somebody may be waiting for us.
        if container.has_its_name() && fs::rename(&link, container.dir.join("name")).is_err() {
            files::remove_file_if_exists(&link)?;
        }
        failpoint("container::unnamed")?;
        let trash = self
            .dirs
            .containers()
            .join(format!(".removing-{}", container.id()));
        match fs::rename(&container.dir, &trash) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.what(|| format!("cannot remove container {:?}", container.name()))?,
        }
        Ok(Some(trash))
    }

    /// Removes the runtime folder of a container that was discarded.
    pub fn forget_runtime(&self, container: &Container) {
        // On a temporary file system, and swept up with the next removal at the latest.
        drop(fs::remove_dir_all(&container.runtime_dir));
    }

    /// What interrupted removals and creations left: `.removing-*`, folders without a record or
    /// with one that has not its name, older than a minute, runtime folders of containers that are
    /// gone, and names that lead nowhere. What a process works on right now is not among it, but for
    /// a removal: whoever ends a container removes its files without a lock. With `hasty` they count
    /// at once, else after a while.
    pub fn remains(&self, hasty: bool) -> Vec<Remains> {
        let dir = self.dirs.containers();
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let path = entry.path();
            let old = || age(&entry) > 60;
            if name.to_str().is_some_and(|n| n.starts_with(".removing-")) {
                // Its name was moved into it, so its time is that of the removal.
                if hasty || age(&entry) > SETTLE {
                    found.push(Remains::Folder(path));
                }
                continue;
            }
            if !is_recorded(&path) && old() {
                found.push(Remains::Folder(path));
                continue;
            }
            let id = name.to_str().and_then(|n| n.parse().ok());
            if let Some(id) = id.filter(|_| old())
                && let Ok(None) = self.open_named(&id)
                && let Ok(container) = self.open(&id)
            {
                found.push(Remains::Nameless(container));
            }
        }
        for entry in fs::read_dir(self.dirs.runtime_containers())
            .into_iter()
            .flatten()
            .flatten()
        {
            // A container has its folder before it has one here.
            if !dir.join(entry.file_name()).exists() && (hasty || age(&entry) > SETTLE) {
                found.push(Remains::Folder(entry.path()));
            }
        }
        for entry in fs::read_dir(self.dirs.names())
            .into_iter()
            .flatten()
            .flatten()
        {
            let dangling = fs::read_link(entry.path()).is_ok_and(|t| !dir.join(t).exists());
            if dangling {
                found.push(Remains::Name(entry.path()));
            }
        }
        found
    }

    /// Removes what [`Containers::remains`] finds.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep(&self) -> Result<()> {
        for remains in self.remains(true) {
            match remains {
                Remains::Folder(path) => remove_tree(&path)?,
                Remains::Name(path) => files::remove_file_if_exists(&path)?,
                Remains::Nameless(container) => {
                    if let Ok(_lock) = container.lock(Duration::ZERO)
                        && !container.has_its_name()
                    {
                        self.remove(&container)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn container_of(&self, record: ContainerRecord) -> Container {
        let dir = self.dirs.containers().join(record.id.as_str());
        let runtime_dir = self.dirs.runtime_containers().join(record.id.as_str());
        Container {
            record: Box::new(record),
            dir,
            runtime_dir,
            names: self.dirs.names(),
        }
    }
}

/// How long ago it was changed, seconds; 0 when nobody can tell.
fn age(entry: &fs::DirEntry) -> u64 {
    let changed = entry.metadata().and_then(|m| m.modified());
    changed.map_or(0, |t| t.elapsed().map_or(0, |e| e.as_secs()))
}

/// Removes a tree of ours, inside the user namespace: its root may open what nobody else may.
///
/// # Errors
/// The first failure.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.what(|| format!("cannot remove {}", path.display())).map_err(|e| {
            e.hint("files of the container's users need the user namespace: try `coracle unshare rm -rf` on that path")
        }),
    }
}

pub(super) fn link_name(names: &Path, name: &ObjectName, id: &ContainerId) -> Result<()> {
    let link = names.join(name.as_str());
    for _ in 0..2 {
        match std::os::unix::fs::symlink(id.as_str(), &link) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                files::create_private_dir_all(names)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                // A creation or removal that was killed leaves a name that leads nowhere.
                let stale = fs::read_link(&link).is_ok_and(|t| {
                    names
                        .parent()
                        .is_some_and(|data| !is_recorded(&data.join("containers").join(t)))
                });
                if !stale {
                    return Err(Error::new(
                        Kind::Exists,
                        format!("the container name {:?} is already in use", name.as_str()),
                    )
                    .hint("remove or rename that container, or use --replace"));
                }
                files::remove_file_if_exists(&link)?;
            }
            Err(e) => return Err(e).what(|| format!("cannot create {}", link.display())),
        }
    }
    Err(Error::new(
        Kind::Exists,
        format!("the container name {:?} is already in use", name.as_str()),
    ))
}
