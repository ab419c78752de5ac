//! `/dev`: nodes made, or bound from the host's, each checked by its number, and the usual links.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

use super::place::c_name;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::idmap::{self, IdMaps};
use crate::spec::runtime::{Device, IdMapping};
use crate::sys::{Call as _, mount, resolve};

/// What every container has.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Where the usual links lead.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Opens the host's node at `/dev/<name>` and checks that it is the expected character device
/// (CVE-2025-31133: a path that should be /dev/null need not be).
pub(crate) fn host_node(path: &str, major: u32, minor: u32, kind: FileType) -> Result<OwnedFd> {
    let fd = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open", || path.to_owned())
    .what(|| format!("the host has no {path}"))?;
    let stat = rustix::fs::fstat(&fd).call("fstat", || path.to_owned())?;
    if FileType::from_raw_mode(stat.st_mode) != kind
        || stat.st_rdev != rustix::fs::makedev(major, minor)
    {
        return Err(Error::new(
            Kind::Denied,
            format!("the host's {path} is not device {major}:{minor}"),
        ));
    }
    Ok(fd)
}

/// How nodes come to be there.
pub(crate) struct Manner<'a> {
    /// Make them where the kernel allows it; else, and always without, bind the host's.
    pub(crate) make: bool,
    /// The container's root, for devices outside `/dev`.
    pub(crate) root: BorrowedFd<'a>,
    /// The maps of the user namespace that the container will be in.
    pub(crate) nested: Option<&'a IdMaps>,
}

/// Fills `/dev`: our tmpfs, which is attached, or the image's own directory. `devices`: further
/// nodes of the configuration.
pub(crate) fn fill(dev: BorrowedFd<'_>, devices: &[Device], manner: &Manner<'_>) -> Result<()> {
    let mut make = manner.make;
    for (name, major, minor) in NODES {
        let given = devices
            .iter()
            .any(|d| d.path.strip_prefix("/dev/") == Some(name) && d.file_mode.is_some());
        if make && given {
            // With the mode that the configuration wants, below.
            continue;
        }
        let node = Node {
            kind: FileType::CharacterDevice,
            major,
            minor,
            mode: 0o666,
        };
        if make && node.make(dev, name)? {
            continue;
        }
        make = false;
        let node = host_node(
            &format!("/dev/{name}"),
            major,
            minor,
            FileType::CharacterDevice,
        )?;
        bind(dev, name, &node)?;
    }
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, dev, name) {
            // The image's own.
            Err(rustix::io::Errno::EXIST) if manner.make => {}
            other => other.call("symlinkat", || format!("/dev/{name}"))?,
        }
    }
    // A privileged container lists all of the host's: its multiplexer and console are its own.
    let own = |d: &&Device| {
        let name = d.path.strip_prefix("/dev/").unwrap_or_default();
        name == "console" || LINKS.iter().any(|(link, _)| *link == name)
    };
    for device in devices.iter().filter(|d| !own(d)) {
        further(dev, device, make, manner)
            .what(|| format!("cannot add the device {}", device.path))?;
    }
    Ok(())
}

/// A node to be made.
struct Node {
    kind: FileType,
    major: u32,
    minor: u32,
    mode: u32,
}

impl Node {
    /// Makes it; `false` when the kernel does not allow it.
    ///
    /// Spec: config-linux, "Devices": another file at that place is an error.
    fn make(&self, dir: BorrowedFd<'_>, name: &str) -> Result<bool> {
        let number = rustix::fs::makedev(self.major, self.minor);
        let mode = Mode::from_raw_mode(self.mode);
        match rustix::fs::mknodat(dir, name, self.kind, mode, number) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::PERM) => Ok(false),
            Err(rustix::io::Errno::EXIST) => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                    .call("fstatat", || name.to_owned())?;
                let found = FileType::from_raw_mode(stat.st_mode);
                let same =
                    found == self.kind && (self.kind == FileType::Fifo || stat.st_rdev == number);
                if same {
                    Ok(true)
                } else {
                    Err(Error::new(
                        Kind::Exists,
                        format!("{name} is there already and is not that device"),
                    ))
                }
            }
            Err(e) => Err(e)
                .call("mknodat", || name.to_owned())
                .map_err(Into::into),
        }
    }
}

fn further(dev: BorrowedFd<'_>, device: &Device, make: bool, manner: &Manner<'_>) -> Result<()> {
    let in_dev = device.path.strip_prefix("/dev/").filter(|n| !n.is_empty());
    let (base, name) = match in_dev {
        Some(name) => (dev, name),
        None if manner.make && device.path.starts_with('/') => (manner.root, device.path.as_str()),
        None => {
            return Err(Error::unsupported(format!(
                "the device {} is not in /dev",
                device.path
            )));
        }
    };
    if NODES.iter().any(|(usual, _, _)| *usual == name) && !(make && device.file_mode.is_some()) {
        return Ok(());
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" if manner.make => FileType::Fifo,
        other => {
            return Err(Error::unsupported(format!(
                "the device type {other:?} is not supported"
            )));
        }
    };
    let number = |n: i64| u32::try_from(n).map_err(|_| Error::invalid("bad device number"));
    let (major, minor) = (number(device.major)?, number(device.minor)?);
    let dir = match name.rsplit_once('/') {
        Some((dir, _)) if !dir.is_empty() => {
            resolve::mkdir_all(base, dir, resolve::Make::default())?
        }
        _ => rustix::io::fcntl_dupfd_cloexec(base, 3).call("fcntl", String::new)?,
    };
    let leaf = name.rsplit('/').next().unwrap_or(name);
    let node = Node {
        kind,
        major,
        minor,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
    };
    if (make || kind == FileType::Fifo) && node.make(dir.as_fd(), leaf)? {
        return give(dir.as_fd(), leaf, device, manner.nested);
    }
    bind(
        dir.as_fd(),
        leaf,
        &host_node(&device.path, major, minor, kind)?,
    )
}

/// Sets the owner that the configuration names.
fn give(dir: BorrowedFd<'_>, name: &str, device: &Device, nested: Option<&IdMaps>) -> Result<()> {
    if device.uid.is_none() && device.gid.is_none() {
        return Ok(());
    }
    let outside = |id: u32, map: fn(&IdMaps) -> &[IdMapping]| match nested {
        None => Ok(id),
        Some(maps) => idmap::to_host(map(maps), id)
            .ok_or_else(|| Error::invalid(format!("there is no id {id} inside"))),
    };
    let uid = device.uid.map(|id| outside(id, |m| &m.uids)).transpose()?;
    let gid = device.gid.map(|id| outside(id, |m| &m.gids)).transpose()?;
    rustix::fs::chownat(
        dir,
        name,
        uid.map(Uid::from_raw),
        gid.map(Gid::from_raw),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .call("fchownat", || name.to_owned())?;
    Ok(())
}

/// Binds a node on a new empty file.
fn bind(dir: BorrowedFd<'_>, name: &str, node: &OwnedFd) -> Result<()> {
    let tree = mount::clone_fd(node, false).what(|| format!("cannot bind /dev/{name}"))?;
    place(dir, name, &tree)
}

/// Attaches a tree that is one file on a new empty file.
pub(crate) fn place(dir: BorrowedFd<'_>, name: &str, tree: &OwnedFd) -> Result<()> {
    match rustix::fs::mknodat(
        dir,
        name,
        FileType::RegularFile,
        Mode::from_raw_mode(0o644),
        0,
    ) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => {
            return Err(e)
                .call("mknodat", || format!("/dev/{name}"))
                .map_err(Into::into);
        }
    }
    mount::attach_at(tree, dir, &c_name(name)?).what(|| format!("cannot mount /dev/{name}"))
}
