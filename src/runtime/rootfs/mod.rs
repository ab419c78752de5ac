//! A container's mounts, all by descriptor, applied by its first process before it gives up the
//! host's tree.
//!
//! Order: root, then the mounts of the configuration, then hidden and read-only paths (which must
//! cover user mounts too), then the root's own read-only bit. Kernel file systems that this user
//! namespace may not make (a container around us) are taken from the caller's own mounts.

mod copy_up;
mod devices;
mod options;
mod place;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use self::options::Options;
use self::place::Place;
use super::launch::PreparedMount;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::idmap::{self, IdMaps};
use crate::spec::runtime::{Linux, Mount, Spec};
use crate::sys::mount::{self, Change, Context, Propagation};
use crate::sys::resolve::{self, Leaf};
use crate::sys::{self, pty};

/// Files of proc that may be covered by a mount, as runc has it; everything else there is refused.
const PROC_COVERS: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Whether a mount may go onto `destination`, an absolute path without `.` and `..`. `/proc`
/// itself is no matter of this.
pub(in crate::runtime) fn may_cover(destination: &str) -> bool {
    !destination.starts_with("/proc/") || PROC_COVERS.contains(&destination)
}

/// How mounts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    /// The root goes over the present one (in a mount namespace of the container's own).
    pub(crate) at_root: bool,
    /// Options word by word, as the specification has them, and devices made where that is allowed.
    pub(crate) literal: bool,
}

/// The container's tree, ready but for pivoting.
#[derive(Debug)]
pub(crate) struct Tree {
    place: Place,
    how: How,
    /// The container's own terminals.
    devpts: Option<OwnedFd>,
    /// `/dev` is closed when the terminal is in it.
    dev_read_only: bool,
    /// `/proc/sys`, opened before it is covered by its read-only clone, when it is needed.
    proc_sys: Option<OwnedFd>,
}

/// Clones what must be cloned before the process leaves the caller's mount namespace: sources given
/// as descriptors; with `binds`, those given by path as well, so that they keep their propagation.
pub(crate) fn take_sources(
    spec: &Spec,
    mounts: Vec<Option<PreparedMount>>,
    binds: bool,
) -> Result<Vec<Option<OwnedFd>>> {
    let mut prepared = mounts.into_iter();
    let mut trees = Vec::with_capacity(spec.mounts.len());
    for mount in &spec.mounts {
        trees.push(match prepared.next().flatten() {
            None if binds => {
                let options = Options::parse(&mount.options)?;
                let source = mount.source.as_deref().unwrap_or_default();
                if is_bind(mount, &options) && !options.remount {
                    Some(open_source(source, options.recursive, &mount.destination)?)
                } else {
                    None
                }
            }
            None => None,
            Some(PreparedMount::Tree(tree)) => Some(tree),
            Some(PreparedMount::Source(source)) => {
                let options = Options::parse(&mount.options)?;
                Some(clone_tree(
                    source.as_fd(),
                    options.recursive,
                    &mount.destination,
                )?)
            }
        });
    }
    Ok(trees)
}

fn is_bind(mount: &Mount, options: &Options) -> bool {
    options.bind || mount.kind.as_deref() == Some("bind")
}

fn clone_tree(source: BorrowedFd<'_>, recursive: bool, destination: &str) -> Result<OwnedFd> {
    match mount::clone_fd(source, recursive) {
        Err(e) if e.errno == libc::EINVAL && !recursive => Err(e)
            .what(|| format!("cannot bind the source of {destination} without its submounts"))
            .map_err(|e| {
                e.hint("the kernel allows rootless binds with submounts only: use `rbind`")
            }),
        other => other.what(|| format!("cannot bind the source of {destination}")),
    }
}

/// Makes all mounts. `trees` is index-aligned with `spec.mounts`; `nested` are the maps of the user
/// namespace that the container will be in.
pub(crate) fn build(
    spec: &Spec,
    root: OwnedFd,
    mut trees: Vec<Option<OwnedFd>>,
    nested: Option<&IdMaps>,
    how: How,
) -> Result<Tree> {
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    trees.resize_with(spec.mounts.len(), || None);
    let mut tree = Tree {
        place: Place::begin(root, how.at_root)?,
        how,
        devpts: None,
        dev_read_only: false,
        proc_sys: None,
    };
    if how.literal {
        tree.settle_root(linux)?;
        if !spec
            .mounts
            .iter()
            .any(|m| m.destination.trim_end_matches('/') == "/dev")
        {
            tree.image_dev(linux, nested)?;
        }
    }
    for (mount, source) in spec.mounts.iter().zip(trees) {
        tree.mount(mount, source, nested, linux)
            .what(|| format!("cannot mount {}", mount.destination))?;
    }
    if !linux.sysctl.is_empty() {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        tree.proc_sys = Some(
            match tree.place.ours("/proc") {
                // Opened before it is covered by its own read-only clone.
                Some(proc) => resolve::beneath(proc, "sys", flags),
                // With the host's processes there is none of its own; the host's, which is still
                // below our root, shows the namespaces of whoever opens something in it.
                None => resolve::open_from_here("/proc/sys", flags),
            }
            .what(|| "cannot open /proc/sys")?,
        );
    }
    tree.hide(&linux.masked_paths)?;
    tree.seal(&linux.readonly_paths)?;
    Ok(tree)
}

impl Tree {
    /// `/proc/sys`, when there are kernel parameters to be set.
    pub(crate) fn take_proc_sys(&mut self) -> Option<OwnedFd> {
        self.proc_sys.take()
    }

    /// A terminal of the container's own instance, its slave bound on `/dev/console`.
    pub(crate) fn console(&mut self) -> Result<pty::Pair> {
        let what = || "cannot make the container's terminal";
        if self.devpts.is_none() {
            // The caller brought a whole /dev: an instance that is mounted nowhere will do.
            let context = Context::open("devpts").what(what)?;
            context.string("ptmxmode", "0666").what(what)?;
            context.string("mode", "0620").what(what)?;
            self.devpts = Some(context.mount(mount::NOSUID | mount::NOEXEC).what(what)?);
        }
        let devpts = self
            .devpts
            .as_ref()
            .ok_or_else(|| Error::internal("no devpts"))?;
        let pair = pty::open(devpts).what(what)?;
        let bind = || mount::clone_fd(&pair.slave, false).what(what);
        if let Some(dev) = self.place.ours("/dev") {
            devices::place(dev, "console", &bind()?)?;
        } else if self.how.literal {
            let console = self.place.target("/dev/console", Leaf::File).what(what)?;
            console.attach(&bind()?).what(what)?;
        }
        Ok(pair)
    }

    /// What the host mounts below the root arrives here or not; nothing goes the other way.
    fn settle_root(&self, linux: &Linux) -> Result<()> {
        if !self.how.at_root {
            return Ok(());
        }
        let propagation = match linux.rootfs_propagation.as_deref() {
            Some("private" | "rprivate" | "unbindable" | "runbindable") => Propagation::Private,
            _ => Propagation::Slave,
        };
        let change = Change {
            propagation: Some(propagation),
            ..Change::default()
        };
        mount::set_attributes(self.place.root(), change, true)
            .what(|| "cannot set the propagation of the root file system")
    }

    /// Devices in the image's own `/dev`: nothing is mounted there.
    fn image_dev(&self, linux: &Linux, nested: Option<&IdMaps>) -> Result<()> {
        let dev = self.place.target("/dev", Leaf::Directory)?;
        devices::fill(dev.fd(), &linux.devices, &self.devices(nested))
    }

    fn devices<'a>(&'a self, nested: Option<&'a IdMaps>) -> devices::Manner<'a> {
        devices::Manner {
            make: self.how.literal,
            root: self.place.root(),
            nested,
        }
    }

    /// Makes the tree the root of this process, and the host's unreachable (with `pivot`).
    pub(crate) fn enter(self, spec: &Spec, pivot: bool) -> Result<()> {
        let root = self.place.root();
        if self.dev_read_only
            && let Some(dev) = self.place.ours("/dev")
        {
            let change = Change {
                set: mount::RDONLY,
                ..Change::default()
            };
            mount::set_attributes(dev, change, false).what(|| "cannot make /dev read-only")?;
        }
        if spec.root.as_ref().is_some_and(|r| r.readonly) {
            let change = Change {
                set: mount::RDONLY,
                ..Change::default()
            };
            mount::set_attributes(root, change, false)
                .what(|| "cannot make the root file system read-only")?;
        }
        if !pivot {
            return mount::change_root(root).what(|| "cannot change the root directory");
        }
        mount::pivot(root)
            .what(|| "cannot leave the host's file system")
            .map_err(|e| {
                if e.errno() == Some(libc::EINVAL) {
                    e.hint(
                        "does the host run from its initial ramfs? A real root file system is needed, or --no-pivot",
                    )
                } else {
                    e
                }
            })?;
        let propagation = spec
            .linux
            .as_ref()
            .and_then(|l| l.rootfs_propagation.as_deref());
        if let Some(word) = propagation {
            let options = Options::parse(&[word.to_owned()])?;
            let change = options.change(None);
            if change.propagation != Some(Propagation::Private) {
                mount::set_attributes(root, change, word.starts_with('r'))?;
            }
        }
        Ok(())
    }

    fn mount(
        &mut self,
        mount: &Mount,
        prepared: Option<OwnedFd>,
        nested: Option<&IdMaps>,
        linux: &Linux,
    ) -> Result<()> {
        let mut options = Options::parse(&mount.options)?;
        let maps = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        if (maps || options.idmap.is_some()) && prepared.is_none() {
            return Err(Error::unsupported(
                "a mount with id mappings is not supported here",
            ));
        }
        if let Some(label) = linux.mount_label.as_deref().filter(|l| !l.is_empty())
            && !is_bind(mount, &options)
        {
            options
                .data
                .push(("context".to_owned(), Some(label.to_owned())));
        }
        let kind = mount.kind.as_deref().unwrap_or("none");
        let destination = mount.destination.as_str();
        if !may_cover(destination) {
            return Err(Error::new(
                Kind::Denied,
                format!("{destination} is a part of /proc that must not be covered"),
            ));
        }
        if self.how.literal
            && let Some(source) = mount.source.as_deref().filter(|s| !s.is_empty())
        {
            let named = ("source".to_owned(), Some(source.to_owned()));
            options.data.insert(0, named);
        }
        if options.remount {
            return self.remount(&options, destination);
        }
        if let Some(tree) = prepared {
            return self.bind(tree, &options, destination, true);
        }
        if is_bind(mount, &options) {
            let source = mount.source.as_deref().unwrap_or_default();
            let tree = open_source(source, options.recursive, destination)?;
            return self.bind(tree, &options, destination, options.recursive);
        }
        match kind {
            "proc" => self.kernel("proc", &options, destination, "/proc"),
            "sysfs" => self.kernel("sysfs", &options, destination, "/sys"),
            "cgroup" | "cgroup2" => self.cgroup(&options, destination),
            "mqueue" => self.kernel("mqueue", &options, destination, "/dev/mqueue"),
            "tmpfs" => self.tmpfs("tmpfs", &options, destination, nested, linux),
            "ramfs" => self.tmpfs("ramfs", &options, destination, nested, linux),
            "devpts" => self.devpts(&options, destination, nested),
            other if self.how.literal => {
                let mut data = options.data.clone();
                if options.set & mount::RDONLY != 0 {
                    data.push(("ro".to_owned(), None));
                }
                let tree = fresh(other, &options, &data)?;
                self.place.mount(tree, destination, Leaf::Directory, false)
            }
            other => Err(Error::unsupported(format!(
                "a mount of type {other:?} is not supported"
            ))),
        }
    }

    /// Changes the attributes of what is mounted at a place.
    fn remount(&mut self, options: &Options, destination: &str) -> Result<()> {
        let there = self
            .place
            .existing(destination)?
            .ok_or_else(|| Error::not_found(format!("nothing is mounted at {destination}")))?;
        let (one, tree) = options.changes(Propagation::Slave);
        for (mut change, recursive) in [(one, false), (tree, true)] {
            if options.propagation.is_none() {
                change.propagation = None;
            }
            if !change.is_empty() {
                mount::set_attributes(there.fd(), change, recursive)?;
            }
        }
        Ok(())
    }

    /// Attaches a tree that exists already, with the attributes asked for.
    fn bind(
        &mut self,
        tree: OwnedFd,
        options: &Options,
        destination: &str,
        recursive: bool,
    ) -> Result<()> {
        let what = || format!("cannot set the options of {destination}");
        if self.how.literal {
            let (one, all) = options.changes(Propagation::Slave);
            for (change, recursive) in [(all, true), (one, false)] {
                if !change.is_empty() {
                    mount::set_attributes(&tree, change, recursive).what(what)?;
                }
            }
        } else {
            let change = options.change(Some(Propagation::Private));
            if !change.is_empty() {
                mount::set_attributes(&tree, change, recursive).what(what)?;
            }
        }
        let leaf = match resolve::kind(&tree)? {
            FileType::Directory => Leaf::Directory,
            _ => Leaf::File,
        };
        self.place.mount(tree, destination, leaf, false)
    }

    /// A kernel file system of the container's namespaces; where it is refused, the caller's.
    fn kernel(
        &mut self,
        kind: &str,
        options: &Options,
        destination: &str,
        outer: &str,
    ) -> Result<()> {
        match fresh(kind, options, &options.data) {
            Ok(tree) => self.place.mount(tree, destination, Leaf::Directory, true),
            Err(e) if mount::is_refusal(&e) => {
                let mut safe = options.clone();
                if kind == "sysfs" {
                    // The host's devices are not the container's to switch.
                    safe.set |= mount::RDONLY;
                }
                let tree = open_source(outer, true, destination).map_err(|outer| {
                    Error::new(Kind::Denied, format!("the kernel refuses a {kind} here, and the caller's own cannot be bound: {}", outer.one_line()))
                        .because(e)
                })?;
                mount::set_attributes(&tree, safe.change(Some(Propagation::Private)), true)?;
                // It may have mounts of its own below, so it is not walked as ours are.
                self.place.mount(tree, destination, Leaf::Directory, false)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn cgroup(&mut self, options: &Options, destination: &str) -> Result<()> {
        match fresh("cgroup2", options, &options.data) {
            Ok(tree) => self.place.mount(tree, destination, Leaf::Directory, false),
            Err(e) if mount::is_refusal(&e) => {
                let mut safe = options.clone();
                safe.set |= mount::RDONLY;
                let tree = open_source("/sys/fs/cgroup", true, destination)?;
                mount::set_attributes(&tree, safe.change(Some(Propagation::Private)), true)?;
                self.place.mount(tree, destination, Leaf::Directory, false)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn tmpfs(
        &mut self,
        kind: &str,
        options: &Options,
        destination: &str,
        nested: Option<&IdMaps>,
        linux: &Linux,
    ) -> Result<()> {
        let data = translated(&options.data, nested)?;
        let mut later = options.clone();
        if options.copy_up || destination == "/dev" {
            // Filled first, closed afterwards.
            later.set &= !mount::RDONLY;
        }
        let tree = fresh(kind, &later, &data)?;
        if options.copy_up {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match resolve::open(self.place.root(), destination, flags) {
                Ok(from) => {
                    let itself = options.value("mode").is_none();
                    copy_up::copy(from.as_fd(), tree.as_fd(), itself)?;
                }
                Err(e) if e.errno == libc::ENOENT => {}
                Err(e) => return Err(e.into()),
            }
            if options.set & mount::RDONLY != 0 {
                let change = Change {
                    set: mount::RDONLY,
                    ..Change::default()
                };
                mount::set_attributes(&tree, change, false)?;
            }
        }
        if destination == "/dev" {
            self.dev_read_only = options.set & mount::RDONLY != 0;
            self.place.mount(tree, destination, Leaf::Directory, true)?;
            let dev = self
                .place
                .ours("/dev")
                .ok_or_else(|| Error::internal("no /dev"))?;
            return devices::fill(dev, &linux.devices, &self.devices(nested));
        }
        self.place.mount(tree, destination, Leaf::Directory, true)
    }

    fn devpts(
        &mut self,
        options: &Options,
        destination: &str,
        nested: Option<&IdMaps>,
    ) -> Result<()> {
        let data = translated(&options.data, nested)?;
        // Each mount is an instance of its own; the word is only history.
        let data: Vec<_> = data
            .into_iter()
            .filter(|(k, _)| k != "newinstance")
            .collect();
        let tree = fresh("devpts", options, &data)?;
        if destination == "/dev/pts" {
            let copy = rustix::io::fcntl_dupfd_cloexec(&tree, 3)
                .map_err(|e| sys::Error::new("fcntl", "F_DUPFD_CLOEXEC", e.raw_os_error()))?;
            self.devpts = Some(copy);
        }
        self.place.mount(tree, destination, Leaf::Directory, true)
    }

    /// Covers paths: files with the host's null device, directories with one empty read-only tmpfs.
    fn hide(&self, paths: &[String]) -> Result<()> {
        let mut null: Option<OwnedFd> = None;
        let mut empty: Option<OwnedFd> = None;
        for path in paths {
            let Some(target) = self.place.existing(path)? else {
                continue;
            };
            let what = || format!("cannot hide {path}");
            if target.is_dir()? {
                // Attached first, cloned from there: a detached tree can be cloned by new kernels
                // only, and closing one that was never attached is slow.
                let tree = match &empty {
                    Some(first) => mount::clone_fd(first, false).what(what)?,
                    None => empty_directory().what(what)?,
                };
                target.attach(&tree).what(what)?;
                empty.get_or_insert(tree);
            } else {
                if null.is_none() {
                    null = Some(devices::host_node(
                        "/dev/null",
                        1,
                        3,
                        FileType::CharacterDevice,
                    )?);
                }
                if let Some(null) = &null {
                    let tree = mount::clone_fd(null, false).what(what)?;
                    target.attach(&tree).what(what)?;
                }
            }
        }
        Ok(())
    }

    /// Makes paths read-only, with everything below.
    fn seal(&self, paths: &[String]) -> Result<()> {
        let change = Change {
            set: mount::RDONLY,
            ..Change::default()
        };
        for path in paths {
            let what = || format!("cannot make {path} read-only");
            if let Some(target) = self.place.existing(path)? {
                let tree = mount::clone_fd(target.fd(), true).what(what)?;
                mount::set_attributes(&tree, change, true).what(what)?;
                target.attach(&tree).what(what)?;
            }
        }
        Ok(())
    }
}

/// A new file system, detached.
fn fresh(kind: &str, options: &Options, data: &[(String, Option<String>)]) -> sys::Result<OwnedFd> {
    let context = Context::open(kind)?;
    for (key, value) in data {
        match value {
            Some(value) => context.string(key, value)?,
            None => context.flag(key)?,
        }
    }
    let tree = context.mount(options.set | options.tree_set)?;
    if let Some(propagation) = options.propagation.filter(|p| *p != Propagation::Private) {
        let change = Change {
            propagation: Some(propagation),
            ..Change::default()
        };
        mount::set_attributes(&tree, change, false)?;
    }
    Ok(tree)
}

fn empty_directory() -> sys::Result<OwnedFd> {
    let context = Context::open("tmpfs")?;
    context.string("size", "4k")?;
    context.string("mode", "0755")?;
    context.mount(mount::RDONLY | mount::NOSUID | mount::NODEV | mount::NOEXEC)
}

/// Opens a host path once and clones what was opened: no second look at the path.
fn open_source(path: &str, recursive: bool, destination: &str) -> Result<OwnedFd> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!(
            "the mount source {path:?} is not absolute"
        )));
    }
    let source = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|e| sys::Error::new("open", path, e.raw_os_error()))
    .what(|| format!("cannot open the mount source {path}"))?;
    clone_tree(source.as_fd(), recursive, destination)
}

/// Owner options name ids inside the container; the file system is made one namespace further out.
fn translated(
    data: &[(String, Option<String>)],
    nested: Option<&IdMaps>,
) -> Result<Vec<(String, Option<String>)>> {
    let Some(maps) = nested else {
        return Ok(data.to_vec());
    };
    data.iter()
        .map(|(key, value)| {
            let map = match key.as_str() {
                "uid" => &maps.uids,
                "gid" => &maps.gids,
                _ => return Ok((key.clone(), value.clone())),
            };
            let text = value.as_deref().unwrap_or_default();
            let id = text
                .parse()
                .ok()
                .and_then(|id| idmap::to_host(map, id))
                .ok_or_else(|| {
                    Error::invalid(format!("the mount option {key}={text}: no such id inside"))
                })?;
            Ok((key.clone(), Some(id.to_string())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::idmap::IdMaps;

    #[test]
    fn owner_options_are_translated_through_the_nested_map() {
        let shared = IdMaps::with_ranges((1000, 1000), &[(100_000, 65536)], &[(100_000, 65536)]);
        let keep = IdMaps::keep_id(&shared, 1000, 1000, None).unwrap();
        let data = vec![
            ("gid".to_owned(), Some("5".to_owned())),
            ("uid".to_owned(), Some("1000".to_owned())),
            ("size".to_owned(), Some("5".to_owned())),
        ];
        let out = translated(&data, Some(&keep)).unwrap();
        let values: Vec<_> = out.iter().map(|(_, v)| v.as_deref().unwrap()).collect();
        assert_eq!(values, ["6", "0", "5"]);
        assert_eq!(translated(&data, None).unwrap(), data);
        let far = vec![("uid".to_owned(), Some("99999".to_owned()))];
        assert!(translated(&far, Some(&keep)).is_err());
    }
}
