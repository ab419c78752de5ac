//! Filling a fresh tmpfs with what the image has at that place (`tmpcopyup`). By descriptor,
//! bounded in depth and bytes, nothing followed.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};

use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::{self, Call as _, xattr};

/// Deeper trees are refused.
const DEPTH: u32 = 64;

/// More entries are refused: a tmpfs lives in memory.
const ENTRIES: u64 = 100_000;

/// Copies what is in `from` into `to`; with `itself`, also the owner and mode of the directory.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, itself: bool) -> Result<()> {
    let mut left = ENTRIES;
    // A mount's descriptor is a handle only: owner and mode need an opened directory.
    let to = open(to, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    directory(from, to.as_fd(), DEPTH, &mut left)?;
    if itself {
        let stat = rustix::fs::fstat(from).call("fstat", String::new)?;
        settle(to.as_fd(), &stat)?;
    }
    Ok(())
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32, left: &mut u64) -> Result<()> {
    if depth == 0 {
        return Err(Error::new(
            Kind::Invalid,
            format!("the directory to copy is more than {DEPTH} levels deep"),
        ));
    }
    let entries = Dir::read_from(from).call("getdents", String::new)?;
    for entry in entries {
        let entry = entry.call("getdents", String::new)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| {
            Error::new(
                Kind::Invalid,
                format!("the directory to copy has more than {ENTRIES} entries"),
            )
        })?;
        one(from, to, name, depth, left)
            .what(|| format!("cannot copy {}", name.to_string_lossy()))?;
    }
    Ok(())
}

fn one(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    depth: u32,
    left: &mut u64,
) -> Result<()> {
    let target = || name.to_string_lossy().into_owned();
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).call("fstatat", target)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let inner = open(from, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)).call("mkdirat", target)?;
            let made = open(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            directory(inner.as_fd(), made.as_fd(), depth - 1, left)?;
            attributes(&inner, &made)?;
            settle(made.as_fd(), &stat)
        }
        FileType::RegularFile => {
            let inner = open(from, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let made = open(to, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
            content(&inner, &made)?;
            attributes(&inner, &made)?;
            settle(made.as_fd(), &stat)
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new()).call("readlinkat", target)?;
            rustix::fs::symlinkat(&link, to, name).call("symlinkat", target)?;
            own(to, name, &stat)
        }
        kind @ (FileType::Fifo | FileType::Socket) => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            rustix::fs::mknodat(to, name, kind, mode, 0).call("mknodat", target)?;
            own(to, name, &stat)
        }
        // Devices cannot be made here, and images have none that count.
        _ => Ok(()),
    }
}

fn open(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd> {
    Ok(rustix::fs::openat(
        dir,
        name,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )
    .call("openat", || name.to_string_lossy().into_owned())?)
}

fn content(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    loop {
        match rustix::fs::sendfile(to, from, None, 1 << 20) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call("sendfile", String::new).map_err(Into::into),
        }
    }
}

fn attributes(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    for name in xattr::list(from)? {
        if name.as_bytes().starts_with(b"user.overlay.") {
            continue;
        }
        if let Some(value) = xattr::get(from, &name)? {
            match xattr::set(to, &name, &value) {
                // The tmpfs may know fewer kinds than the image's file system.
                Err(e) if matches!(e.errno, libc::EOPNOTSUPP | libc::EPERM) => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn settle(fd: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
    let owned = rustix::fs::fchown(
        fd,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    );
    tolerate(owned.call("fchown", String::new))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .call("fchmod", String::new)?;
    let time = |tv_sec, tv_nsec: u64| Timespec {
        tv_sec,
        tv_nsec: tv_nsec.cast_signed(),
    };
    rustix::fs::futimens(
        fd,
        &Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        },
    )
    .call("futimens", String::new)?;
    Ok(())
}

fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let owned = rustix::fs::chownat(
        dir,
        name,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    tolerate(owned.call("fchownat", String::new))
}

/// An owner that this user namespace does not have stays ours.
fn tolerate(result: sys::Result<()>) -> Result<()> {
    match result {
        Err(e) if matches!(e.errno, libc::EINVAL | libc::EPERM | libc::EOVERFLOW) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_tree_arrives_with_modes_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/b/f"), "x").unwrap();
        fs::set_permissions(from.join("a/b/f"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("/nowhere", from.join("l")).unwrap();
        let open =
            |p| rustix::fs::open(p, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        copy(open(&from).as_fd(), open(&to).as_fd(), true).unwrap();
        assert_eq!(fs::read(to.join("a/b/f")).unwrap(), b"x");
        let mode = |p: &str| fs::metadata(to.join(p)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a/b/f"), mode("a")), (0o4711, 0o1777));
        assert_eq!(
            fs::read_link(to.join("l")).unwrap().to_str(),
            Some("/nowhere")
        );
    }
}
