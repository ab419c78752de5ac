//! `/dev`: nodes bound from the host's, each checked by its number, and the usual links.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};

use super::place::c_name;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::runtime::Device;
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

/// Fills our tmpfs at `/dev`, which is attached. `devices`: further nodes of the configuration.
pub(crate) fn fill(dev: BorrowedFd<'_>, devices: &[Device]) -> Result<()> {
    for (name, major, minor) in NODES {
        let node = host_node(
            &format!("/dev/{name}"),
            major,
            minor,
            FileType::CharacterDevice,
        )?;
        bind(dev, name, &node)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, dev, name).call("symlinkat", || format!("/dev/{name}"))?;
    }
    for device in devices {
        further(dev, device)?;
    }
    Ok(())
}

fn further(dev: BorrowedFd<'_>, device: &Device) -> Result<()> {
    let what = || format!("cannot add the device {}", device.path);
    let name = device
        .path
        .strip_prefix("/dev/")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Error::unsupported(format!("the device {} is not in /dev", device.path)))?;
    if NODES.iter().any(|(usual, _, _)| *usual == name) {
        return Ok(());
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        other => {
            return Err(Error::unsupported(format!(
                "the device type {other:?} of {} is not supported",
                device.path
            )));
        }
    };
    let number = |n: i64| {
        u32::try_from(n)
            .map_err(|_| Error::invalid(format!("bad device number of {}", device.path)))
    };
    let node = host_node(
        &device.path,
        number(device.major)?,
        number(device.minor)?,
        kind,
    )
    .what(what)?;
    let dir = match name.rsplit_once('/') {
        Some((dir, _)) => resolve::mkdir_all(dev, dir, resolve::Make::default()).what(what)?,
        None => rustix::io::fcntl_dupfd_cloexec(dev, 3).call("fcntl", String::new)?,
    };
    let leaf = name.rsplit('/').next().unwrap_or(name);
    bind(dir.as_fd(), leaf, &node).what(what)
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
