//! One container's group.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::limits::Settings;
use super::manager::{CONTAINER, Manager, Scope};
use super::place::{OURS, Place};
use super::pod::{is_ours, is_pods, reaches};
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::id::ContainerId;
use crate::sys::process::pause;

/// What our units' names and our groups' among others' begin with.
pub(super) const PREFIX: &str = "coracle-";

/// The group of everything but the container, under `--cgroups=split`.
pub(super) const SUPERVISOR: &str = "supervisor";

/// What goes to another owner, where the kernel does not list it.
const DELEGATED: &str = "cgroup.procs cgroup.subtree_control cgroup.threads";

/// What a scope has from the start, so that `stats` has figures and `update` can set limits.
pub(super) const COUNTERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// `systemctl stop` of a scope waits so much longer than the container may take: its monitor then
/// has the time to record the end.
const MARGIN: Duration = Duration::from_secs(5);

/// Whose group it is.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Its name, for people.
    pub name: &'a str,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
}

/// A group that exists.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    dir: OwnedFd,
}

/// The file `memory.events`, in two copies of one descriptor.
#[derive(Debug)]
pub struct MemoryWatch {
    /// Raises `POLLPRI` and `POLLERR` when the file changes, until it is read again.
    pub changed: OwnedFd,
    /// Reads it.
    pub kills: Kills,
}

/// See [`MemoryWatch`].
#[derive(Debug)]
pub struct Kills(File);

impl Kills {
    /// How many processes were killed; `None` when the group is gone.
    pub fn count(&mut self) -> Option<u64> {
        use std::io::{Read as _, Seek as _};
        let mut text = String::new();
        self.0.rewind().ok()?;
        self.0.read_to_string(&mut text).ok()?;
        Some(value_of(&text, "oom_kill").unwrap_or(0))
    }
}

/// What a group has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time, microseconds.
    pub cpu_usec: Option<u64>,
    /// Of that in the kernel, microseconds.
    pub system_usec: Option<u64>,
    /// Memory without the inactive page cache, bytes, as podman counts.
    pub memory: Option<u64>,
    /// The limit, bytes; absent means none.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The limit; absent means none.
    pub pids_limit: Option<u64>,
    /// Read from block devices, bytes.
    pub read: Option<u64>,
    /// Written to them, bytes.
    pub written: Option<u64>,
}

impl Group {
    /// Makes the group of a container and applies its limits; `None` where no group can be made,
    /// which [`super::check`] has then found acceptable. For a scope and for `--cgroups=split` this
    /// process moves, too: it must be the one that starts the container.
    ///
    /// # Errors
    /// What the kernel or systemd says, with the file or the unit.
    pub fn create(place: &Place, who: &Who<'_>, settings: &Settings) -> Result<Option<Self>> {
        match Self::create_in(place, who, settings) {
            Ok(group) => Ok(group),
            // Nothing was promised: a read-only or foreign hierarchy is then as good as none.
            Err(e)
                if matches!(place, Place::Folder(parent) if parent.ends_with(OURS))
                    && settings.controllers.iter().all(|c| c == "pids")
                    && matches!(e.kind(), Kind::Denied | Kind::InUse | Kind::Unsupported) =>
            {
                log::info!("{}", e.one_line());
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn create_in(place: &Place, who: &Who<'_>, settings: &Settings) -> Result<Option<Self>> {
        let path = match place {
            Place::Nowhere => return Ok(None),
            Place::Pod(place, id) => return Self::create_pod(place, id, who, settings).map(Some),
            Place::Shared(folder, manager) => {
                if let Some(manager) = manager {
                    manager.enter(&scope_of(who, None))?;
                }
                folder.join(unit_stem(who.id))
            }
            Place::Folder(parent) if parent.ends_with(OURS) => parent.join(who.id.as_str()),
            Place::Folder(parent) => parent.join(unit_stem(who.id)),
            Place::Split(own) => {
                let supervisor = own.join(SUPERVISOR);
                let mut list = Vec::new();
                collect(own, &mut list, DEPTH)?;
                move_to(&supervisor, &list)?;
                own.join(unit_stem(who.id))
            }
            Place::Scope(manager, slice) => manager
                .enter(&scope_of(who, slice.as_ref()))?
                .join(CONTAINER),
        };
        fs::create_dir_all(&path).what(|| format!("cannot make the cgroup {}", path.display()))?;
        let group = Self::at(&path)?;
        let counters: &[&str] = match place {
            // A scope was asked for: then with its counters, where they are to be had.
            Place::Scope(..) | Place::Shared(..) => &COUNTERS,
            _ => &[],
        };
        match group.apply_with(settings, counters) {
            Ok(()) => Ok(Some(group)),
            Err(e) => {
                drop(fs::remove_dir(&group.path));
                Err(e)
            }
        }
    }

    /// The group at `path` as `status.json` has it.
    ///
    /// # Errors
    /// `NotFound` when it is gone; `Invalid` for a path that is not one of ours.
    pub fn open(path: &str) -> Result<Self> {
        let what = || format!("cannot open the cgroup {path}");
        let path = PathBuf::from(path);
        let has_our_name = path.is_absolute()
            && (path.file_name().is_some_and(is_ours)
                || path.parent().and_then(Path::file_name).is_some_and(is_ours))
            && !path.components().any(|c| c.as_os_str() == "..");
        if !has_our_name {
            return Err(Error::invalid(what()));
        }
        let dir = File::open(&path).what(what)?.into();
        Ok(Self { path, dir })
    }

    /// A group at a place of somebody else's choosing, as a bundle's configuration names it.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn at(path: &Path) -> Result<Self> {
        let dir = File::open(path)
            .what(|| format!("cannot open the cgroup {}", path.display()))?
            .into();
        Ok(Self {
            path: path.to_owned(),
            dir,
        })
    }

    /// Its path, for `status.json` and `inspect`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A copy of its descriptor, for `CLONE_INTO_CGROUP`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn directory(&self) -> Result<OwnedFd> {
        self.dir.try_clone().what(|| "cannot copy a descriptor")
    }

    /// The folder in which another process of the container is born: the group, or where its first
    /// process is when a systemd inside hands controllers down, which leaves no place for processes
    /// in the group itself.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn birthplace(&self, init: i32) -> Result<OwnedFd> {
        let control = fs::read_to_string(self.path.join("cgroup.subtree_control"));
        if control.unwrap_or_default().trim().is_empty() {
            return self.directory();
        }
        let own = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
        let own = own.lines().find_map(|l| l.strip_prefix("0::/"));
        let mount = super::probe().mount;
        match own.map(|own| mount.join(own)) {
            Some(path) if path.starts_with(&self.path) => Self::at(&path)?.directory(),
            _ => self.directory(),
        }
    }

    /// Writes limits, for a new group and for `update`.
    ///
    /// # Errors
    /// With the file and the value that the kernel refused.
    pub fn apply(&self, settings: &Settings) -> Result<()> {
        self.apply_with(settings, &[])
    }

    pub(super) fn apply_with(&self, settings: &Settings, counters: &[&str]) -> Result<()> {
        for controller in counters {
            if !settings.controllers.iter().any(|c| c == controller) {
                // Without, there are no figures for `stats`, but the container runs.
                drop(enable(&self.path, controller));
            }
        }
        for controller in &settings.controllers {
            enable(&self.path, controller)?;
        }
        for (file, value) in &settings.files {
            // Not created: the kernel would say that this is forbidden, not that there is no file.
            let written = OpenOptions::new()
                .write(true)
                .open(self.path.join(file))
                .and_then(|mut f| f.write_all(value.as_bytes()));
            match written {
                // No swap accounting, or no swap: the memory limit holds all the same.
                Err(e) if file == "memory.swap.max" && e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    return Err(Error::unsupported(format!(
                        "cannot set {file} to {value:?}: this kernel has no such file"
                    ))
                    .hint(format!("`ls {}` lists what there is", self.path.display())));
                }
                other => other.what(|| format!("cannot set {file} to {value:?}"))?,
            }
        }
        Ok(())
    }

    /// Gives the group to somebody who makes groups below it: a systemd inside.
    ///
    /// Spec: cgroup-v2.rst, "Delegation": the folder and what moves processes and hands controllers
    /// down, but no limit.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delegate(&self, uid: u32, gid: Option<u32>) -> Result<()> {
        // The kernel's own list; what a group has depends on its controllers.
        let list = fs::read_to_string("/sys/kernel/cgroup/delegate");
        let list = list.unwrap_or_else(|_| DELEGATED.to_owned());
        let files = list.split_ascii_whitespace().filter(|f| !f.contains('/'));
        for file in std::iter::once("").chain(files) {
            match std::os::unix::fs::chown(self.path.join(file), Some(uid), gid) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => other.what(|| format!("cannot give {file:?} of the cgroup away"))?,
            }
        }
        Ok(())
    }

    /// Brings the caller to where it may have children born in the group, if it is not there: a
    /// command in a login session cannot reach into a scope by itself.
    ///
    /// # Errors
    /// As [`super::Manager::attach`].
    pub fn approach(&self, manager: impl FnOnce() -> Option<Manager>) -> Result<()> {
        let unit = self.unit();
        if unit.is_none() && reaches(&super::probe(), &self.path) {
            return Ok(());
        }
        match (manager(), unit) {
            (Some(manager), Some((unit, part))) => manager.attach(unit, part),
            // Of no unit, but in the part of the tree that is the manager's.
            (Some(manager), None) if self.path.starts_with(&manager.root) => manager
                .enter(&Scope {
                    unit: format!("{PREFIX}exec-{}.scope", std::process::id()),
                    slice: None,
                    description: "coracle exec".to_owned(),
                    stop_timeout: MARGIN,
                })
                .map(drop),
            _ => Ok(()),
        }
    }

    /// The unit of systemd's, when the group is the container's part of one, and the part that is
    /// the monitor's.
    fn unit(&self) -> Option<(&str, &'static str)> {
        let above = self.path.parent()?;
        // Of a pod with limits the scope is the one of the container that holds its namespaces.
        let above = match above.ends_with(CONTAINER) {
            true => above.parent()?,
            false => above,
        };
        let name = above.file_name()?.to_str()?;
        if name.starts_with(PREFIX) && name.ends_with(".scope") {
            return Some((name, super::manager::MONITOR));
        }
        // A service that was split; the user's manager is none of its own units.
        let service = name.ends_with(".service") && !name.starts_with("user@");
        service.then_some((name, SUPERVISOR))
    }

    /// Freezes every process and waits until they are.
    ///
    /// # Errors
    /// `TimedOut` when one of them sits in the kernel for too long; it is then thawed again.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)?;
        if self.wait_event("frozen 1", Duration::from_secs(10))? {
            return Ok(());
        }
        drop(self.set_frozen(false));
        Err(Error::new(
            Kind::TimedOut,
            "cannot freeze the container: a process sits in the kernel",
        ))
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let text = if frozen { "1" } else { "0" };
        fs::write(self.path.join("cgroup.freeze"), text)
            .what(|| format!("cannot write {text} to cgroup.freeze"))
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.events().contains("frozen 1")
    }

    /// What tells when a process is killed for want of memory, here or in a group below; `None`
    /// without the memory controller.
    pub fn memory_watch(&self) -> Option<MemoryWatch> {
        let file = File::open(self.path.join("memory.events")).ok()?;
        let changed = file.try_clone().ok()?.into();
        let mut kills = Kills(file);
        // What happened before is no news.
        kills.count()?;
        Some(MemoryWatch { changed, kills })
    }

    fn events(&self) -> String {
        fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default()
    }

    /// Waits for a line of `cgroup.events`, which raises POLLPRI when it changes.
    fn wait_event(&self, line: &str, patience: Duration) -> Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use std::io::{Read as _, Seek as _};
        let what = || "cannot watch cgroup.events";
        let mut file = File::open(self.path.join("cgroup.events")).what(what)?;
        let deadline = Instant::now() + patience;
        loop {
            let mut text = String::new();
            file.rewind().what(what)?;
            file.read_to_string(&mut text).what(what)?;
            if text.lines().any(|l| l == line) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&file, PollFlags::PRI)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).what(what),
            }
        }
    }

    /// The pids of its processes and those of groups below it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut list = Vec::new();
        collect(&self.path, &mut list, 0)?;
        Ok(list)
    }

    /// Kills every process.
    ///
    /// Kernel: 5.14 for cgroup.kill.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&self) -> Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1").what(|| "cannot write cgroup.kill")
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let read = |file: &str| fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let number = |file: &str| read(file).trim().parse::<u64>().ok();
        let cpu = read("cpu.stat");
        let inactive = value_of(&read("memory.stat"), "inactive_file").unwrap_or(0);
        let io = read("io.stat");
        let sum = |key: &str| {
            let mut words = io
                .split_ascii_whitespace()
                .filter_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok());
            words
                .next()
                .map(|first| words.fold(first, u64::saturating_add))
        };
        Stats {
            cpu_usec: value_of(&cpu, "usage_usec"),
            system_usec: value_of(&cpu, "system_usec"),
            memory: number("memory.current").map(|m| m.saturating_sub(inactive)),
            memory_limit: number("memory.max"),
            pids: number("pids.current"),
            pids_limit: number("pids.max"),
            read: sum("rbytes"),
            written: sum("wbytes"),
        }
    }

    /// Removes it and what a container made below it. All processes must have ended.
    ///
    /// # Errors
    /// `InUse` when one has not after a while.
    pub fn remove(self) -> Result<()> {
        // The kernel counts a killed process until it is reaped, a moment after the pidfd says so.
        let deadline = Instant::now() + Duration::from_millis(500);
        loop {
            match remove_tree(&self.path, 0) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    pause(Duration::from_millis(2));
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
                other => {
                    other.what(|| format!("cannot remove the cgroup {}", self.path.display()))?;
                    break;
                }
            }
        }
        // The pod's goes with the last one in it.
        match self.path.parent() {
            Some(pod) if is_pods(pod) => drop(fs::remove_dir(pod)),
            _ => {}
        }
        Ok(())
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Lets a group have a controller: all groups above it hand it down, from the highest that does
/// not.
fn enable(group: &Path, controller: &str) -> Result<()> {
    let has = |folder: &Path, file: &str| {
        fs::read_to_string(folder.join(file))
            .unwrap_or_default()
            .split_ascii_whitespace()
            .any(|c| c == controller)
    };
    let mut above: Vec<&Path> = Vec::new();
    for folder in group.ancestors().skip(1) {
        if has(folder, "cgroup.subtree_control") || !folder.join("cgroup.procs").exists() {
            break;
        }
        above.push(folder);
    }
    for folder in above.iter().rev() {
        fs::write(
            folder.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .what(|| {
            format!(
                "cannot turn the {controller} controller on below {}",
                folder.display()
            )
        })?;
    }
    Ok(())
}

/// Moves processes to a group, made if need be; 0 is this one.
///
/// # Errors
/// What the kernel says.
pub(super) fn move_to(folder: &Path, pids: &[i32]) -> Result<()> {
    let what = || format!("cannot move to the cgroup {}", folder.display());
    match fs::create_dir(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e).what(what),
        _ => {}
    }
    for pid in pids {
        match fs::write(folder.join("cgroup.procs"), pid.to_string()) {
            // It has ended meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            other => other.what(what)?,
        }
    }
    Ok(())
}

/// The name of a container's group where others are, too.
pub(super) fn unit_stem(id: &ContainerId) -> String {
    format!("{PREFIX}{id}")
}

/// The name of a container's scope.
fn unit_of(id: &ContainerId) -> String {
    format!("{PREFIX}{id}.scope")
}

/// A container's scope.
pub(super) fn scope_of(who: &Who<'_>, slice: Option<&String>) -> Scope {
    Scope {
        unit: unit_of(who.id),
        slice: slice.cloned(),
        description: format!("coracle container {}", who.name),
        stop_timeout: who.stop_timeout + MARGIN,
    }
}

/// How deep a container may nest groups before we stop looking.
const DEPTH: u32 = 32;

fn collect(path: &Path, list: &mut Vec<i32>, depth: u32) -> Result<()> {
    let what = || format!("cannot read the cgroup {}", path.display());
    let text = fs::read_to_string(path.join("cgroup.procs")).what(what)?;
    list.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
    if depth < DEPTH {
        for entry in fs::read_dir(path)
            .what(what)?
            .filter_map(std::io::Result::ok)
        {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                collect(&entry.path(), list, depth + 1)?;
            }
        }
    }
    Ok(())
}

fn remove_tree(path: &Path, depth: u32) -> std::io::Result<()> {
    if depth < DEPTH {
        for entry in fs::read_dir(path)?.filter_map(std::io::Result::ok) {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove_tree(&entry.path(), depth + 1)?;
            }
        }
    }
    fs::remove_dir(path)
}

/// The number behind a key, as in `memory.stat`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
