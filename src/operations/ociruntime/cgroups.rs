//! Where a container's cgroup is, making it, and removing it.
//!
//! On v2 one group, in which the process is born; on v1 one a hierarchy, which the process enters
//! first of all. Groups are made through the file system, but for a `slice:prefix:name` of the
//! systemd form: that is a scope, or where no systemd can be asked, the folder that it would have.
//!
//! Spec: config-linux, "Control groups".

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::limits::{self, Files};
use super::record::Record;
use super::{Place, bpf, rights};
use crate::base::{Context as _, Error, Kind, Result};
use crate::cgroup::{self, CONTAINER, Group, Manager, Scope};
use crate::config::env::Env;
use crate::spec::resources::{DeviceRule, Resources};
use crate::spec::runtime::{NamespaceKind, Spec};
use crate::sys;
use crate::sys::namespace::{self, Kind as Ns};
use crate::sys::process::pause;

/// Where cgroup v2 is on every host that has it alone.
const MOUNT: &str = "/sys/fs/cgroup";

/// Controllers that are turned on where they can be, so that there are counters to be read.
const COUNTERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// How long `systemctl stop` of a scope waits before it kills.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Groups of a container that is being created; those that were made go with the value unless
/// kept.
#[derive(Debug, Default)]
pub struct Made {
    /// All of them.
    pub all: Vec<PathBuf>,
    /// Those that were not there before.
    pub own: Vec<PathBuf>,
    /// The v2 folder to be born in.
    pub born: Option<OwnedFd>,
    /// `cgroup.procs` of each v1 group.
    pub enter: Vec<OwnedFd>,
    kept: bool,
}

impl Made {
    /// They stay: the container is created.
    pub fn keep(mut self) {
        self.kept = true;
        if let Some(group) = self.all.first() {
            show_limit(group);
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.kept {
            for path in self.own.iter().rev() {
                drop(Group::at(path).and_then(Group::remove));
            }
        }
    }
}

/// Makes the groups that a configuration asks for, with their limits.
///
/// # Errors
/// `Unsupported` for limits that cannot be applied; what the kernel says.
pub fn make(place: &Place, spec: &Spec, id: &str) -> Result<Made> {
    let none = Resources::default();
    let linux = spec.linux.as_ref();
    let resources = linux.and_then(|l| l.resources.as_ref()).unwrap_or(&none);
    let given = linux
        .and_then(|l| l.cgroups_path.as_deref())
        .filter(|p| !p.is_empty());
    if given.is_some_and(|p| p.split('/').any(|part| part == "..")) {
        return Err(Error::invalid("linux.cgroupsPath must not have .."));
    }
    if place.no_cgroup {
        return nowhere(resources, "--cgroup-manager disabled");
    }
    let fs = rustix::fs::statfs(MOUNT).map(|fs| fs.f_type);
    if fs.is_ok_and(|kind| kind == libc::CGROUP2_SUPER_MAGIC) {
        let made = v2(place, given, resources, id)?;
        give_away(&made, spec)?;
        Ok(made)
    } else {
        v1(given, resources, id)
    }
}

/// Without any group: fine when nothing was asked for.
fn nowhere(resources: &Resources, why: &str) -> Result<Made> {
    let asked = limits::v2(resources).map_or(true, |files| !files.list.is_empty());
    if asked {
        return Err(Error::unsupported(format!(
            "linux.resources cannot be applied: {why}"
        )));
    }
    Ok(Made::default())
}

/// Whether a failure to make a group only means that the tree is not ours.
fn is_foreign(e: &Error) -> bool {
    matches!(e.errno(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

fn v2(place: &Place, given: Option<&str>, resources: &Resources, id: &str) -> Result<Made> {
    let mount = Path::new(MOUNT);
    let path = match given {
        Some(text) if place.systemd_cgroup => match scope(text)? {
            Some(path) => path,
            None => of_systemd(mount, text)?,
        },
        Some(text) if text.starts_with('/') => mount.join(text.trim_start_matches('/')),
        _ => match cgroup::probe().base {
            Some(base) => base.join(given.map_or_else(|| default_path(id), str::to_owned)),
            None => return nowhere(resources, "no cgroup is delegated to you"),
        },
    };
    let path: PathBuf = path.components().collect();
    let files = limits::v2(resources)?;
    let mut made = Made::default();
    match make_path(&path, &mut made) {
        Err(e) if is_foreign(&e) => {
            // Without rights over the tree, as for a plain user: the process stays where it is.
            return nowhere(resources, "the cgroup cannot be made")
                .map_err(|refused| refused.because(e));
        }
        other => other?,
    }
    check_fit(&path)?;
    enable(mount, &path, &files)?;
    write(&path, &files)?;
    let dir: OwnedFd = File::open(&path)
        .what(|| format!("cannot open the cgroup {}", path.display()))?
        .into();
    device_program(&dir, resources.devices.as_deref().unwrap_or_default())?;
    made.all.push(path);
    made.born = Some(dir);
    Ok(made)
}

/// A group that the container sees writable becomes its user's: the folder, and what the kernel lists
/// as harmless to be given away.
///
/// Spec: config-linux, "Cgroup ownership".
fn give_away(made: &Made, spec: &Spec) -> Result<()> {
    let writable = spec.mounts.iter().any(|m| {
        m.source.as_deref() == Some("cgroup")
            && m.destination == "/sys/fs/cgroup"
            && !m.options.iter().any(|o| o == "ro")
    });
    let own =
        spec.linux.iter().flat_map(|l| &l.namespaces).any(|n| {
            n.kind == NamespaceKind::Cgroup && n.path.as_deref().is_none_or(str::is_empty)
        });
    let (Some(path), Some(uid), true) =
        (made.all.first(), rights::outer_uid(spec), writable && own)
    else {
        return Ok(());
    };
    if uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    match Group::at(path)?.delegate(uid, None) {
        // A plain user has nothing to give; the container runs all the same.
        Err(e) if is_foreign(&e) => {
            log::info!("{}", e.one_line());
            Ok(())
        }
        other => other,
    }
}

/// Shows a memory limit at a scope, too, where other engines look for it (`podman stats`). What holds
/// is the container's own group below, which systemd never touches.
fn show_limit(group: &Path) {
    let scope = group.parent().filter(|parent| {
        group.file_name().is_some_and(|name| name == CONTAINER)
            && parent.extension().is_some_and(|e| e == "scope")
    });
    if let Some(scope) = scope
        && let Ok(limit) = fs::read(group.join("memory.max"))
    {
        // Where that is not ours, nothing is lost but the figure.
        drop(fs::write(scope.join("memory.max"), limit));
    }
}

/// A group that is there already must be fit for a new process, which would hang in a frozen one.
fn check_fit(path: &Path) -> Result<()> {
    let events = fs::read_to_string(path.join("cgroup.events")).unwrap_or_default();
    if events.lines().any(|l| l == "frozen 1") {
        return Err(Error::new(
            Kind::InUse,
            format!("the cgroup {} is frozen", path.display()),
        ));
    }
    Ok(())
}

/// Where a group goes when the configuration does not say: unique on the host, as the id alone is
/// not (other callers have other roots).
fn default_path(id: &str) -> String {
    format!("coracle/{id}-{}", std::process::id())
}

/// `slice:prefix:name`, taken apart: the slice and the unit.
fn unit_of(text: &str) -> Result<(&str, String)> {
    let mut parts = text.split(':');
    let (Some(slice), Some(prefix), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::invalid(format!(
            "linux.cgroupsPath {text:?} is not slice:prefix:name, as --systemd-cgroup expects"
        )));
    };
    let unit = match (prefix, name) {
        (_, name) if name.ends_with(".slice") => name.to_owned(),
        ("", name) => format!("{name}.scope"),
        (prefix, name) => format!("{prefix}-{name}.scope"),
    };
    let slice = match slice {
        "" if is_first_user_namespace() => "system.slice",
        "" => "user.slice",
        other => other,
    };
    Ok((slice, unit))
}

/// The container's folder below a scope that systemd makes around this process. Absent for a slice
/// and where no systemd can be asked.
fn scope(text: &str) -> Result<Option<PathBuf>> {
    let (slice, unit) = unit_of(text)?;
    let (env, support) = (Env::process(), cgroup::probe());
    let Some(manager) = Manager::find(&env, &support, is_first_user_namespace()) else {
        return Ok(None);
    };
    if unit.ends_with(".slice") {
        return Ok(None);
    }
    let scope = Scope {
        description: format!("container {}", unit.trim_end_matches(".scope")),
        unit,
        slice: Some(slice.to_owned()),
        stop_timeout: STOP_TIMEOUT,
    };
    match manager.enter(&scope) {
        Ok(folder) => Ok(Some(folder.join(CONTAINER))),
        Err(e) if e.kind() == Kind::Unavailable => {
            log::info!("{}", e.one_line());
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// The folder of `slice:prefix:name`, where systemd does not make it.
fn of_systemd(mount: &Path, text: &str) -> Result<PathBuf> {
    let (slice, unit) = unit_of(text)?;
    let mut path = if is_first_user_namespace() {
        mount.to_owned()
    } else {
        // The user manager's subtree.
        cgroup::probe().base.unwrap_or_else(|| mount.to_owned())
    };
    // `a-b-c.slice` is a.slice/a-b.slice/a-b-c.slice.
    let stem = slice
        .strip_suffix(".slice")
        .ok_or_else(|| Error::invalid(format!("{slice:?} is not the name of a slice")))?;
    if stem != "-" {
        let ends = stem.match_indices('-').map(|(at, _)| at);
        for end in ends.chain([stem.len()]) {
            let part = stem.get(..end).unwrap_or_default();
            path.push(format!("{part}.slice"));
        }
    }
    path.push(unit);
    Ok(path)
}

/// Whether this process has the rights of real root: it is in no user namespace.
pub fn is_first_user_namespace() -> bool {
    // The kernel's own number for the first one (PROC_USER_INIT_INO).
    namespace::own(Ns::User)
        .and_then(namespace::inode)
        .is_ok_and(|inode| inode == 0xEFFF_FFFD)
}

/// Makes a folder and what is missing above it.
fn make_path(path: &Path, made: &mut Made) -> Result<()> {
    let what = || format!("cannot make the cgroup {}", path.display());
    let mut missing = vec![path];
    loop {
        let Some(next) = missing.last() else {
            return Ok(());
        };
        match fs::create_dir(next) {
            Ok(()) => {
                if missing.len() == 1 {
                    made.own.push(path.to_owned());
                }
                missing.pop();
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                missing.pop();
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => match next.parent() {
                Some(parent) => missing.push(parent),
                None => return Err(e).what(what),
            },
            Err(e) => return Err(e).what(what),
        }
    }
}

fn words(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Turns controllers on for a group: those that are needed, and those that count.
///
/// Spec: config-linux, "Unified": what is needed is enabled, or it is an error.
fn enable(mount: &Path, path: &Path, files: &Files) -> Result<()> {
    let there = words(&mount.join("cgroup.controllers"));
    let on = words(&path.join("cgroup.controllers"));
    let needed = files.controllers();
    let wanted: Vec<&str> = COUNTERS
        .iter()
        .copied()
        .filter(|c| there.iter().any(|t| t == c))
        .chain(needed.iter().copied())
        .filter(|c| !on.iter().any(|o| o == c))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let above: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|p| p.starts_with(mount))
        .collect();
    for folder in above.iter().rev() {
        let control = folder.join("cgroup.subtree_control");
        for controller in &wanted {
            // What comes of it is looked at below.
            drop(fs::write(&control, format!("+{controller}")));
        }
    }
    let on = words(&path.join("cgroup.controllers"));
    match needed.iter().find(|c| !on.iter().any(|o| o == *c)) {
        None => Ok(()),
        Some(missing) => Err(Error::unsupported(format!(
            "linux.resources cannot be applied: the {missing} controller is not available in {}",
            path.display()
        ))),
    }
}

/// Writes limits into a group.
///
/// # Errors
/// With the file and what the kernel refused.
pub fn write(path: &Path, files: &Files) -> Result<()> {
    for (_, file, value) in &files.list {
        // Not created: the kernel would say that this is forbidden, not that there is no file.
        let written = OpenOptions::new()
            .write(true)
            .open(path.join(file))
            .and_then(|mut f| f.write_all(value.as_bytes()));
        // No swap accounting, or no swap: the memory limit holds all the same. And where what is
        // reserved is not counted, what is used is.
        let spare = file == "memory.swap.max" || file.contains(".rsvd.");
        match written {
            Err(e) if spare && e.kind() == std::io::ErrorKind::NotFound => {}
            other => other.what(|| format!("cannot set {file} to {value:?}"))?,
        }
    }
    Ok(())
}

/// Lets a program of the kernel's virtual machine decide about devices.
fn device_program(group: &OwnedFd, rules: &[DeviceRule]) -> Result<()> {
    if !restricts(rules) {
        return Ok(());
    }
    let program = bpf::program(&bpf::with_usual(rules))?;
    let loaded = sys::bpf::load_device_program(&program)
        .and_then(|program| sys::bpf::attach_device_program(group, program));
    match loaded {
        // In a user namespace nobody can make a device node, nor use one that somebody made.
        Err(e) if e.errno == libc::EPERM && !is_first_user_namespace() => Ok(()),
        other => other.what(|| "cannot apply the device rules of linux.resources"),
    }
}

/// Whether a list of rules forbids anything.
fn restricts(rules: &[DeviceRule]) -> bool {
    rules.iter().any(|r| !r.allow)
        // As for privileged containers: everything is allowed in the end.
        && !rules.last().is_some_and(|r| {
            r.allow
                && r.kind.as_deref().is_none_or(|k| k == "a")
                && r.major.is_none_or(|n| n == -1)
                && r.minor.is_none_or(|n| n == -1)
                && r.access.as_deref().is_none_or(|a| a.len() >= 3)
        })
}

/// A mounted hierarchy of v1 and the controllers (or the name) that it has.
#[derive(Debug)]
struct Hierarchy {
    mount: PathBuf,
    controllers: Vec<String>,
    /// This process's own group in it.
    own: String,
}

fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut all: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ');
        if right.next() != Some("cgroup") {
            continue;
        }
        let mount = PathBuf::from(left.split(' ').nth(4).unwrap_or_default());
        let options = right.nth(1).unwrap_or_default();
        let found = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let list = parts.next()?;
            let path = parts.next()?;
            let same =
                !list.is_empty() && list.split(',').all(|c| options.split(',').any(|o| o == c));
            same.then(|| {
                (
                    list.split(',').map(str::to_owned).collect(),
                    path.to_owned(),
                )
            })
        });
        if let Some((controllers, own)) = found
            && !all.iter().any(|h| h.controllers == controllers)
        {
            all.push(Hierarchy {
                mount,
                controllers,
                own,
            });
        }
    }
    all
}

fn v1(given: Option<&str>, resources: &Resources, id: &str) -> Result<Made> {
    let devices = resources.devices.as_deref().unwrap_or_default();
    let restricted = restricts(devices) && is_first_user_namespace();
    let asked = limits::v1(resources).map_or(true, |files| !files.list.is_empty());
    if given.is_none() && !asked && !restricted {
        return Ok(Made::default());
    }
    let files = limits::v1(resources)?;
    let mut made = Made::default();
    let mut applied = Vec::new();
    for hierarchy in hierarchies() {
        let path = match given {
            Some(text) if text.starts_with('/') => {
                hierarchy.mount.join(text.trim_start_matches('/'))
            }
            Some(text) => hierarchy
                .mount
                .join(hierarchy.own.trim_start_matches('/'))
                // The systemd form has colons, which are as good as any letter here.
                .join(text),
            None => hierarchy
                .mount
                .join(hierarchy.own.trim_start_matches('/'))
                .join(default_path(id)),
        };
        match make_path(&path, &mut made) {
            Err(e) if is_foreign(&e) => continue,
            other => other?,
        }
        let has = |name: &str| hierarchy.controllers.iter().any(|c| c == name);
        if has("cpuset") {
            inherit_cpuset(&hierarchy.mount, &path)?;
        }
        if has("devices") && restricted {
            old_device_rules(&path, devices)?;
        }
        let own = Files {
            list: files
                .list
                .iter()
                .filter(|(controller, _, _)| has(controller))
                .cloned()
                .collect(),
        };
        write(&path, &own)?;
        applied.extend(hierarchy.controllers.iter().cloned());
        let procs = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.procs"))
            .what(|| format!("cannot enter the cgroup {}", path.display()))?;
        made.enter.push(procs.into());
        made.all.push(path);
    }
    if let Some(missing) = files
        .controllers()
        .iter()
        .find(|c| !applied.iter().any(|a| a == *c))
    {
        return Err(Error::unsupported(format!(
            "linux.resources cannot be applied: there is no {missing} hierarchy that is yours"
        )));
    }
    Ok(made)
}

/// A new cpuset is empty, and nothing can run in it.
fn inherit_cpuset(mount: &Path, path: &Path) -> Result<()> {
    let below: Vec<&Path> = path.ancestors().take_while(|p| *p != mount).collect();
    for folder in below.iter().rev() {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(folder.join(file)).unwrap_or_default();
            if own.trim().is_empty()
                && let Some(parent) = folder.parent()
            {
                let value = fs::read_to_string(parent.join(file)).unwrap_or_default();
                fs::write(folder.join(file), value.trim())
                    .what(|| format!("cannot fill {}", folder.join(file).display()))?;
            }
        }
    }
    Ok(())
}

fn old_device_rules(path: &Path, rules: &[DeviceRule]) -> Result<()> {
    for rule in bpf::with_usual(rules) {
        let number = |n: Option<i64>| match n {
            None | Some(-1) => "*".to_owned(),
            Some(n) => n.to_string(),
        };
        let kind = rule
            .kind
            .as_deref()
            .filter(|k| !k.is_empty())
            .unwrap_or("a");
        let line = format!(
            "{kind} {}:{} {}",
            number(rule.major),
            number(rule.minor),
            rule.access.as_deref().unwrap_or("rwm")
        );
        let file = if rule.allow {
            "devices.allow"
        } else {
            "devices.deny"
        };
        fs::write(path.join(file), &line).what(|| format!("cannot write {line:?} to {file}"))?;
    }
    Ok(())
}

/// Applies limits to a container that exists.
///
/// # Errors
/// `Unsupported`; what the kernel says.
pub fn update(record: &Record, resources: &Resources) -> Result<()> {
    let Some(first) = record.cgroups.first() else {
        return Err(Error::unsupported(
            "the container has no cgroup of its own, so there is nothing to be limited",
        ));
    };
    if first.join("cgroup.controllers").exists() {
        let files = limits::v2(resources)?;
        if let Some(memory) = &resources.memory
            && memory.check_before_update == Some(true)
            && let Some(limit) = memory.limit.filter(|l| *l > 0)
        {
            let used = fs::read_to_string(first.join("memory.current")).unwrap_or_default();
            if used.trim().parse::<i64>().is_ok_and(|used| used > limit) {
                return Err(Error::new(
                    Kind::InUse,
                    format!(
                        "the container uses {} bytes, more than the new limit",
                        used.trim()
                    ),
                ));
            }
        }
        enable(Path::new(MOUNT), first, &files)?;
        write(first, &files)?;
        show_limit(first);
        return Ok(());
    }
    let files = limits::v1(resources)?;
    for item in &files.list {
        let file = record.cgroups.iter().find(|p| p.join(&item.1).exists());
        let Some(path) = file else {
            return Err(Error::unsupported(format!(
                "the container has no {} cgroup of its own",
                item.0
            )));
        };
        let one = Files {
            list: vec![item.clone()],
        };
        write(path, &one)?;
    }
    Ok(())
}

/// The processes of a container, as its cgroup has them; `None` without one.
///
/// # Errors
/// What the kernel says.
pub fn processes(record: &Record) -> Result<Option<Vec<i32>>> {
    match record.cgroups.first() {
        Some(path) => Group::at(path)?.processes().map(Some),
        None => Ok(None),
    }
}

/// Removes what `create` made. Processes that are left (in a pid namespace of others) are ended
/// first.
///
/// # Errors
/// What the kernel says.
pub fn remove(record: &Record) -> Result<()> {
    for path in record.own_cgroups.iter().rev() {
        let group = match Group::at(path) {
            Err(e) if e.kind() == Kind::NotFound => continue,
            other => other?,
        };
        if !group.processes()?.is_empty() {
            for pid in group.processes()? {
                drop(sys::signal::send(pid, libc::SIGKILL));
            }
            pause(Duration::from_millis(1));
        }
        group.remove()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systemd_form_names_a_folder() {
        let mount = Path::new("/m");
        if is_first_user_namespace() {
            for (text, expected) in [
                ("machine.slice:libpod:x", "/m/machine.slice/libpod-x.scope"),
                (
                    "a-b-c.slice:p:n",
                    "/m/a.slice/a-b.slice/a-b-c.slice/p-n.scope",
                ),
                ("-.slice::n", "/m/n.scope"),
                (":docker:n", "/m/system.slice/docker-n.scope"),
            ] {
                assert_eq!(of_systemd(mount, text).unwrap(), Path::new(expected));
            }
        }
        for bad in ["/a/b", "a:b", "a:b:c", "a.slice:b:c:d"] {
            assert!(of_systemd(mount, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_limit_below_what_is_used_is_refused_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("cgroup.controllers", "memory pids");
        write("memory.current", "100\n");
        write("memory.max", "max\n");
        let record = Record {
            cgroups: vec![dir.path().to_owned()],
            ..super::super::record::example()
        };
        let limit = |text: &str| update(&record, &serde_json::from_str(text).unwrap());
        let refused = limit(r#"{"memory":{"limit":50,"checkBeforeUpdate":true}}"#).unwrap_err();
        assert_eq!(refused.kind(), Kind::InUse);
        limit(r#"{"memory":{"limit":150,"checkBeforeUpdate":true}}"#).unwrap();
        limit(r#"{"memory":{"limit":50}}"#).unwrap();
        // (A plain file keeps what is longer.)
        assert!(
            fs::read_to_string(dir.path().join("memory.max"))
                .unwrap()
                .starts_with("50")
        );
    }

    #[test]
    fn a_scope_shows_the_limit_of_what_is_below() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, shown) in [
            ("a.scope/container", true),
            ("b/container", false),
            ("c.scope/x", false),
        ] {
            let group = dir.path().join(folder);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("memory.max"), "77\n").unwrap();
            let above = group.parent().unwrap().join("memory.max");
            fs::write(&above, "max\n").unwrap();
            show_limit(&group);
            let text = fs::read_to_string(above).unwrap();
            assert_eq!(text, if shown { "77\n" } else { "max\n" }, "{folder}");
        }
    }

    #[test]
    fn a_frozen_group_is_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        check_fit(dir.path()).unwrap();
        fs::write(dir.path().join("cgroup.events"), "populated 0\nfrozen 1\n").unwrap();
        assert_eq!(check_fit(dir.path()).unwrap_err().kind(), Kind::InUse);
    }

    #[test]
    fn only_rules_that_forbid_need_a_program() {
        let rule = |allow| DeviceRule {
            allow,
            ..DeviceRule::default()
        };
        assert!(!restricts(&[]));
        assert!(!restricts(&[rule(true)]));
        assert!(!restricts(&[rule(false), rule(true)]));
        assert!(restricts(&[rule(true), rule(false)]));
    }
}
