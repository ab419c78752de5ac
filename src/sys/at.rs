//! Files by descriptor and one name: open, stat, create, link, rename, remove, attributes, listing.
//!
//! Names are single components unless the function says path; none of these follows a symbolic
//! link in the last component.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    self as rfs, AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags,
    Timespec, Timestamps, XattrFlags,
};

use super::error::{Call as _, Error, Result};

/// What `statx` says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Device of the file system, as `makedev` packs it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner, in the namespace we run in.
    pub uid: u32,
    /// Group, in the namespace we run in.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// For devices: major.
    pub major: u32,
    /// For devices: minor.
    pub minor: u32,
    /// Last modification: seconds.
    pub mtime: i64,
    /// Last modification: nanoseconds.
    pub mtime_nsec: u32,
    /// Last access: seconds.
    pub atime: i64,
    /// Last access: nanoseconds.
    pub atime_nsec: u32,
    /// Whether another mount begins here.
    pub mount_root: bool,
}

impl Meta {
    /// The type bits, `S_IFREG` and the like.
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }

    /// Whether it is the kernel overlay's whiteout.
    pub fn is_whiteout(&self) -> bool {
        self.kind() == libc::S_IFCHR && self.major == 0 && self.minor == 0
    }

    /// Permissions with set-id and sticky bits.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

fn show(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn statx(dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<Meta> {
    let s = rfs::statx(dir, name, flags, StatxFlags::BASIC_STATS).call("statx", || show(name))?;
    Ok(Meta {
        dev: rfs::makedev(s.stx_dev_major, s.stx_dev_minor),
        ino: s.stx_ino,
        mode: s.stx_mode.into(),
        nlink: s.stx_nlink,
        uid: s.stx_uid,
        gid: s.stx_gid,
        size: s.stx_size,
        blocks: s.stx_blocks,
        major: s.stx_rdev_major,
        minor: s.stx_rdev_minor,
        mtime: s.stx_mtime.tv_sec,
        mtime_nsec: s.stx_mtime.tv_nsec,
        atime: s.stx_atime.tv_sec,
        atime_nsec: s.stx_atime.tv_nsec,
        mount_root: s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    })
}

/// What lies at `name`.
///
/// # Errors
/// `ENOENT` and what else statx(2) says.
pub fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Meta> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// As [`stat`], `None` if there is nothing.
///
/// # Errors
/// What statx(2) says.
pub fn stat_if_exists(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Meta>> {
    match stat(dir, name) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What the descriptor refers to.
///
/// # Errors
/// What statx(2) says.
pub fn fstat(fd: BorrowedFd<'_>) -> Result<Meta> {
    statx(fd, b"", AtFlags::EMPTY_PATH)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    // openat2 says EAGAIN when a rename elsewhere made it doubt its own walk.
    for _ in 0..64 {
        match call() {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
    call()
}

fn open(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: u32) -> Result<OwnedFd> {
    rfs::openat(
        dir,
        name,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(mode),
    )
    .call("openat", || show(name))
}

/// Opens the folder `name` for listing.
///
/// # Errors
/// `ENOTDIR` for anything else, symbolic links too.
pub fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, 0)
}

/// Opens `name` without touching its content; a symbolic link itself.
///
/// # Errors
/// `ENOENT`.
pub fn open_path(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open(dir, name, OFlags::PATH, 0)
}

/// Opens the regular file `name` for reading; never blocks on a FIFO or a device.
///
/// # Errors
/// `EINVAL` when it is no regular file.
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, Meta)> {
    // A look first: opening a device may have effects, even with O_NONBLOCK.
    let not_regular = || Error::new("openat", show(name), libc::EINVAL);
    if !stat(dir, name)?.is_file() {
        return Err(not_regular());
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = open(dir, name, flags, 0)?;
    let meta = fstat(fd.as_fd())?;
    if !meta.is_file() {
        return Err(not_regular());
    }
    Ok((fd, meta))
}

/// Creates the file `name`, which must not exist, for writing.
///
/// # Errors
/// `EEXIST`.
pub fn create_file(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    open(dir, name, flags, mode)
}

/// Opens the folder at `path` strictly below `dir`: no `..`, no symbolic link anywhere.
///
/// # Errors
/// `ELOOP` for a link, `EXDEV` for a way out.
pub fn open_dir_beneath(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry(|| rfs::openat2(dir, path, flags, Mode::empty(), resolve)).call("openat2", || show(path))
}

/// Opens `path` (O_PATH) as if `root` were `/`: links and `..` stay inside. The last component is
/// followed when `follow`.
///
/// # Errors
/// What openat2(2) says.
pub fn open_path_in_root(root: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    retry(|| rfs::openat2(root, path, flags, Mode::empty(), resolve)).call("openat2", || show(path))
}

/// Opens the folder at `path` for listing, as if `root` were `/`.
///
/// # Errors
/// `ENOTDIR`, and what else openat2(2) says.
pub fn open_dir_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry(|| rfs::openat2(root, path, flags, Mode::empty(), resolve)).call("openat2", || show(path))
}

/// Opens a host folder by path, following links: our own folders and those a person named.
///
/// # Errors
/// What open(2) says.
pub fn open_host_dir(path: &std::path::Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rfs::open(path, flags, Mode::empty()).call("open", || path.display().to_string())
}

/// Opens a host path (O_PATH), following links.
///
/// # Errors
/// What open(2) says.
pub fn open_host_path(path: &std::path::Path) -> Result<OwnedFd> {
    rfs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call("open", || path.display().to_string())
}

/// Opens a folder that was opened with O_PATH again, for listing.
///
/// # Errors
/// What open(2) says.
pub fn reopen_dir(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rfs::openat(
        fd,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("openat", || ".".to_owned())
}

/// Opens the folder above.
///
/// # Errors
/// What open(2) says.
pub fn open_parent(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rfs::openat(
        fd,
        c"..",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("openat", || "..".to_owned())
}

/// Opens the regular file `name` for writing, as it is; never blocks on a FIFO or a device.
///
/// # Errors
/// `EINVAL` when it is no regular file.
pub fn open_file_for_write(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let not_regular = || Error::new("openat", show(name), libc::EINVAL);
    if !stat(dir, name)?.is_file() {
        return Err(not_regular());
    }
    let fd = open(
        dir,
        name,
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY,
        0,
    )?;
    if fstat(fd.as_fd())?.is_file() {
        Ok(fd)
    } else {
        Err(not_regular())
    }
}

/// Opens for reading the regular file behind an O_PATH descriptor: that very file.
///
/// # Errors
/// `ENOENT` without /proc.
pub fn reopen_file(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rfs::open(&path, flags, Mode::empty()).call("open", || path.clone())
}

/// Makes the folder `name`.
///
/// # Errors
/// `EEXIST`.
pub fn mkdir(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    rfs::mkdirat(dir, name, Mode::from_raw_mode(mode)).call("mkdirat", || show(name))
}

/// Makes a symbolic link.
///
/// # Errors
/// `EEXIST`.
pub fn symlink(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rfs::symlinkat(target, dir, name).call("symlinkat", || show(name))
}

/// Makes a hard link; of a symbolic link itself, if `from` is one.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EXDEV`.
pub fn link(from_dir: BorrowedFd<'_>, from: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rfs::linkat(from_dir, from, dir, name, AtFlags::empty()).call("linkat", || show(name))
}

/// Makes a FIFO.
///
/// # Errors
/// `EEXIST`.
pub fn mkfifo(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    rfs::mknodat(dir, name, FileType::Fifo, Mode::from_raw_mode(mode), 0)
        .call("mknodat", || show(name))
}

/// Makes the kernel overlay's whiteout: a character device 0/0, which needs no right since 5.8.
///
/// # Errors
/// `EPERM` on file systems that refuse it, `EEXIST`.
pub fn mkwhiteout(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rfs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
        .call("mknodat", || show(name))
}

/// Removes a name that is no folder.
///
/// # Errors
/// `EISDIR`, `ENOENT`.
pub fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rfs::unlinkat(dir, name, AtFlags::empty()).call("unlinkat", || show(name))
}

/// Removes an empty folder.
///
/// # Errors
/// `ENOTEMPTY`, `ENOENT`.
pub fn rmdir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rfs::unlinkat(dir, name, AtFlags::REMOVEDIR).call("rmdir", || show(name))
}

/// Renames, replacing what has the new name.
///
/// # Errors
/// What rename(2) says.
pub fn rename(
    from_dir: BorrowedFd<'_>,
    from: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
) -> Result<()> {
    rfs::renameat(from_dir, from, dir, name).call("renameat", || show(name))
}

/// The text of a symbolic link.
///
/// # Errors
/// `EINVAL` when it is none.
pub fn readlink(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    rfs::readlinkat(dir, name, Vec::new())
        .call("readlinkat", || show(name))
        .map(std::ffi::CString::into_bytes)
}

fn ids(uid: u32, gid: u32) -> (Option<rfs::Uid>, Option<rfs::Gid>) {
    (
        (uid != u32::MAX).then(|| rfs::Uid::from_raw(uid)),
        (gid != u32::MAX).then(|| rfs::Gid::from_raw(gid)),
    )
}

/// Changes the owner of an open file; clears set-id bits. `u32::MAX` keeps an id.
///
/// # Errors
/// `EINVAL` for an id that is not mapped.
pub fn fchown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    let (u, g) = ids(uid, gid);
    rfs::fchown(fd, u, g).call("fchown", || format!("{uid}:{gid}"))
}

/// Changes the owner of `name`.
///
/// # Errors
/// `EINVAL` for an id that is not mapped.
pub fn chown(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> Result<()> {
    let (u, g) = ids(uid, gid);
    rfs::chownat(dir, name, u, g, AtFlags::SYMLINK_NOFOLLOW).call("fchownat", || show(name))
}

/// Changes the permissions of an open file.
///
/// # Errors
/// What fchmod(2) says.
pub fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    rfs::fchmod(fd, Mode::from_raw_mode(mode)).call("fchmod", || format!("{mode:o}"))
}

/// Changes the permissions of a file opened with O_PATH that is no symbolic link.
///
/// # Errors
/// `ENOENT` without /proc.
pub fn chmod_path_fd(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rfs::chmod(&path, Mode::from_raw_mode(mode)).call("chmod", || path.clone())
}

fn times(mtime: i64, nsec: u32) -> Timestamps {
    let at = Timespec {
        tv_sec: mtime,
        tv_nsec: nsec.into(),
    };
    Timestamps {
        last_access: at,
        last_modification: at,
    }
}

/// Sets both times of an open file.
///
/// # Errors
/// What futimens(3) says.
pub fn futimens(fd: BorrowedFd<'_>, mtime: i64, nsec: u32) -> Result<()> {
    rfs::futimens(fd, &times(mtime, nsec)).call("futimens", String::new)
}

/// Sets both times of `name`.
///
/// # Errors
/// What utimensat(2) says.
pub fn utimens(dir: BorrowedFd<'_>, name: &[u8], mtime: i64, nsec: u32) -> Result<()> {
    rfs::utimensat(dir, name, &times(mtime, nsec), AtFlags::SYMLINK_NOFOLLOW)
        .call("utimensat", || show(name))
}

/// Sets an extended attribute of an open file.
///
/// # Errors
/// `EPERM`, `ENOTSUP`, `ENOSPC`.
pub fn setxattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    rfs::fsetxattr(fd, name, value, XattrFlags::empty()).call("fsetxattr", || show(name.to_bytes()))
}

/// Removes an extended attribute of an open file; fine if there is none.
///
/// # Errors
/// What fremovexattr(2) says.
pub fn removexattr(fd: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match rfs::fremovexattr(fd, name).call("fremovexattr", || show(name.to_bytes())) {
        Err(e) if matches!(e.errno, libc::ENODATA | libc::ENOTSUP) => Ok(()),
        other => other,
    }
}

/// Reads an extended attribute of an open file; `None` if there is none.
///
/// # Errors
/// What fgetxattr(2) says.
pub fn getxattr(fd: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>> {
    let mut small = [0_u8; 256];
    let target = || show(name.to_bytes());
    let mut big;
    let (n, buffer) = match rfs::fgetxattr(fd, name, &mut small[..]) {
        Err(rustix::io::Errno::RANGE) => {
            big = vec![0; 64 << 10];
            let n = rfs::fgetxattr(fd, name, &mut big[..]).call("fgetxattr", target)?;
            (n, &big[..])
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => return Ok(None),
        other => (other.call("fgetxattr", target)?, &small[..]),
    };
    Ok(Some(buffer[..n].to_vec()))
}

/// The names of the extended attributes of an open file.
///
/// # Errors
/// What flistxattr(2) says.
pub fn listxattr(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut small = [0_u8; 1024];
    let mut big;
    let names = match rfs::flistxattr(fd, &mut small[..]) {
        Err(rustix::io::Errno::RANGE) => {
            big = vec![0; 64 << 10];
            let n = rfs::flistxattr(fd, &mut big[..]).call("flistxattr", String::new)?;
            &big[..n]
        }
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        other => {
            let n = other.call("flistxattr", String::new)?;
            &small[..n]
        }
    };
    Ok(names
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// One name of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, never `.` or `..`.
    pub name: Vec<u8>,
    /// The type bits if the file system tells, else 0.
    pub kind: u32,
}

/// Lists an open folder from its start, sorted by name.
///
/// # Errors
/// What getdents64(2) says.
pub fn list(dir: BorrowedFd<'_>) -> Result<Vec<DirEntry>> {
    rfs::seek(dir, rfs::SeekFrom::Start(0)).call("lseek", String::new)?;
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); 32 << 10];
    let mut found = Vec::new();
    let mut entries = rfs::RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.call("getdents64", String::new)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => 0,
            known => known.as_raw_mode(),
        };
        found.push(DirEntry {
            name: name.to_vec(),
            kind,
        });
    }
    found.sort_unstable();
    Ok(found)
}

/// Flushes the whole file system that the descriptor is on.
///
/// # Errors
/// `EIO`, `ENOSPC`.
pub fn syncfs(fd: BorrowedFd<'_>) -> Result<()> {
    rfs::syncfs(fd).call("syncfs", String::new)
}

/// Writes all bytes at `offset`.
///
/// # Errors
/// `ENOSPC` and what else pwrite(2) says.
pub fn pwrite_all(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        let n = match rustix::io::pwrite(fd, bytes, offset) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) => return Err(Error::new("pwrite", "", libc::ENOSPC)),
            other => other.call("pwrite", String::new)?,
        };
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}

/// Sets the length of an open file.
///
/// # Errors
/// What ftruncate(2) says.
pub fn ftruncate(fd: BorrowedFd<'_>, len: u64) -> Result<()> {
    rfs::ftruncate(fd, len).call("ftruncate", String::new)
}

/// Shares the content of `from` with the empty file `to` (FICLONE); `false` where the file system
/// cannot.
///
/// # Errors
/// None but `EBADF`-like defects are passed on: whatever it is, the caller copies instead.
pub fn reflink(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    rfs::ioctl_ficlone(to, from).is_ok()
}

/// Copies up to `len` bytes inside the kernel, each file at its own offset; 0 at the end.
///
/// # Errors
/// What copy_file_range(2) says.
pub fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> Result<usize> {
    rfs::copy_file_range(from, None, to, None, len).call("copy_file_range", String::new)
}

/// mount(2) of an overlay, for kernels whose mount contexts take too short strings.
///
/// # Errors
/// What mount(2) says.
pub fn mount_overlay(target: &std::path::Path, options: &str, read_only: bool) -> Result<()> {
    let mut flags = rustix::mount::MountFlags::empty();
    flags.set(rustix::mount::MountFlags::RDONLY, read_only);
    let data = std::ffi::CString::new(options)
        .map_err(|_| Error::new("mount", "overlay", libc::EINVAL))?;
    rustix::mount::mount("coracle", target, "overlay", flags, Some(data.as_c_str()))
        .call("mount", || "overlay".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_walks_never_follow_and_never_leave() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_host_dir(dir.path()).unwrap();
        let root = root.as_fd();
        mkdir(root, b"a", 0o755).unwrap();
        symlink(b"a", root, b"l").unwrap();
        symlink(b"/etc", root, b"abs").unwrap();
        assert!(open_dir_beneath(root, b"a").is_ok());
        assert_eq!(open_dir_beneath(root, b"l").unwrap_err().errno, libc::ELOOP);
        assert_eq!(
            open_dir_beneath(root, b"a/../..").unwrap_err().errno,
            libc::EXDEV
        );
        assert!(open_dir_in_root(root, b"l").is_ok());
        assert!(open_dir_in_root(root, b"../../a").is_ok(), "stays inside");
        assert!(open_dir_in_root(root, b"abs").is_err(), "no etc inside");
    }

    #[test]
    fn a_fifo_is_never_opened_for_reading() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_host_dir(dir.path()).unwrap();
        mkfifo(root.as_fd(), b"f", 0o666).unwrap();
        let fifo = open_path(root.as_fd(), b"f").unwrap();
        chmod_path_fd(fifo.as_fd(), 0o666).unwrap();
        assert_eq!(
            open_file(root.as_fd(), b"f").unwrap_err().errno,
            libc::EINVAL
        );
        let found = list(root.as_fd()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, libc::S_IFIFO);
        assert_eq!(stat(root.as_fd(), b"f").unwrap().permissions(), 0o666);
    }
}
