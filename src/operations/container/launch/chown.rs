//! `:U`: gives a mounted tree to the container's user, by descriptor, never following a link and
//! never leaving the file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::Call as _;

/// Deeper trees are refused: each level holds a descriptor.
const DEPTH: u32 = 512;

/// Changes owner and group of everything below `tree`, itself included. What has them already is
/// left alone, so that a second start costs a walk only.
///
/// # Errors
/// What the kernel says; `Invalid` for a tree that is too deep.
pub(super) fn tree(tree: &OwnedFd, owner: (u32, u32)) -> Result<()> {
    let stat = rustix::fs::fstat(tree).call("fstat", String::new)?;
    change(tree.as_fd(), c"", owner, &stat)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let dir = open_dir(tree.as_fd(), c".")?;
        below(&dir, owner, stat.st_dev, DEPTH)?;
    }
    Ok(())
}

fn below(dir: &OwnedFd, owner: (u32, u32), device: u64, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Error::new(
            Kind::Invalid,
            format!("a folder with the option U is more than {DEPTH} levels deep"),
        ));
    }
    let entries = Dir::read_from(dir).call("getdents64", String::new)?;
    for entry in entries {
        let entry = entry.call("getdents64", String::new)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let target = || name.to_string_lossy().into_owned();
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Removed meanwhile.
            Err(rustix::io::Errno::NOENT) => continue,
            other => other.call("fstatat", target)?,
        };
        if stat.st_dev != device {
            continue;
        }
        change(dir.as_fd(), name, owner, &stat)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match open_dir(dir.as_fd(), name) {
                Ok(inner) => below(&inner, owner, device, depth - 1)?,
                Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR)) => {
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

fn open_dir(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd> {
    rustix::fs::openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("openat", || name.to_string_lossy().into_owned())
    .map_err(Into::into)
}

fn change(
    dir: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    (uid, gid): (u32, u32),
    stat: &rustix::fs::Stat,
) -> Result<()> {
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    let mut flags = AtFlags::SYMLINK_NOFOLLOW;
    flags.set(AtFlags::EMPTY_PATH, name.is_empty());
    rustix::fs::chownat(
        dir,
        name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        flags,
    )
    .call("fchownat", || name.to_string_lossy().into_owned())
    .what(|| "cannot give the mount to the container's user (option U)")
}
