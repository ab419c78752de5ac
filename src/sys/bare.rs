//! Files for a server that answers requests with an errno: by an opened folder and one name, or by
//! descriptor. Failures carry the errno only and allocate nothing; no link is followed.

use std::ffi::CStr;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    self as rfs, AtFlags, FallocateFlags, FileType, Mode, OFlags, RenameFlags, SeekFrom,
    StatxFlags, Timespec, Timestamps, XattrFlags,
};
use rustix::io::Errno;

/// The longest name of a file (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// What a request ends with when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

impl From<Errno> for Code {
    fn from(errno: Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<super::Error> for Code {
    fn from(error: super::Error) -> Self {
        Self(error.errno)
    }
}

/// A result with an errno.
pub type Result<T> = std::result::Result<T, Code>;

/// Where a file is.
#[derive(Clone, Copy, Debug)]
pub enum Spot<'a> {
    /// In an opened folder, under this name: one component.
    Name(BorrowedFd<'a>, &'a [u8]),
    /// Opened, be it with `O_PATH`.
    Open(BorrowedFd<'a>),
}

/// The way to a spot through our own descriptors, for calls that know paths only.
struct Way {
    bytes: [u8; 32 + NAME_MAX + 1],
}

impl Way {
    fn to(spot: Spot<'_>) -> Result<Self> {
        let mut way = Self {
            bytes: [0; 32 + NAME_MAX + 1],
        };
        // The last byte stays NUL.
        let end = way.bytes.len() - 1;
        let mut rest = &mut way.bytes[..end];
        let written = match spot {
            Spot::Name(dir, name) => {
                check(name)?;
                write!(rest, "/proc/self/fd/{}/", dir.as_raw_fd())
                    .and_then(|()| rest.write_all(name))
            }
            Spot::Open(fd) => write!(rest, "/proc/self/fd/{}", fd.as_raw_fd()),
        };
        written.map_err(|_| Code(libc::ENAMETOOLONG))?;
        Ok(way)
    }

    fn path(&self) -> Result<&CStr> {
        CStr::from_bytes_until_nul(&self.bytes).map_err(|_| Code(libc::EINVAL))
    }
}

/// Refuses what is not one component of a path.
///
/// # Errors
/// `EINVAL`, `ENAMETOOLONG`.
pub fn check(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Code(libc::ENAMETOOLONG));
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0)
    {
        return Err(Code(libc::EINVAL));
    }
    Ok(())
}

/// What the kernel says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
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
    /// The best size for reading and writing.
    pub block_size: u32,
    /// For devices: major and minor.
    pub device: (u32, u32),
    /// Last access: seconds and nanoseconds.
    pub atime: (i64, u32),
    /// Last modification.
    pub mtime: (i64, u32),
    /// Last change of attributes.
    pub ctime: (i64, u32),
}

impl Stat {
    /// The type bits.
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Whether it is the kernel overlay's whiteout.
    pub fn is_whiteout(&self) -> bool {
        self.kind() == libc::S_IFCHR && self.device == (0, 0)
    }
}

/// The attributes of a file.
///
/// # Errors
/// What statx(2) says.
pub fn stat(spot: Spot<'_>) -> Result<Stat> {
    let wanted = StatxFlags::BASIC_STATS;
    let s = match spot {
        Spot::Name(dir, name) => rfs::statx(
            dir,
            name,
            AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
            wanted,
        ),
        Spot::Open(fd) => rfs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted),
    }?;
    Ok(Stat {
        dev: rfs::makedev(s.stx_dev_major, s.stx_dev_minor),
        ino: s.stx_ino,
        mode: s.stx_mode.into(),
        nlink: s.stx_nlink,
        uid: s.stx_uid,
        gid: s.stx_gid,
        size: s.stx_size,
        blocks: s.stx_blocks,
        block_size: s.stx_blksize,
        device: (s.stx_rdev_major, s.stx_rdev_minor),
        atime: (s.stx_atime.tv_sec, s.stx_atime.tv_nsec),
        mtime: (s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec),
        ctime: (s.stx_ctime.tv_sec, s.stx_ctime.tv_nsec),
    })
}

fn open(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rfs::openat(dir, name, flags, Mode::from_raw_mode(mode))?)
}

/// A handle of whatever has the name, without opening it.
///
/// # Errors
/// What openat(2) says.
pub fn open_path(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open(dir, name, OFlags::PATH, 0)
}

/// A handle of the folder `name`.
///
/// # Errors
/// `ENOTDIR` for all else, links too.
pub fn open_dir_path(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open(dir, name, OFlags::PATH | OFlags::DIRECTORY, 0)
}

/// Opens a regular file, which the caller knows to be one, to read or to read and write.
///
/// # Errors
/// What openat(2) says.
pub fn open_data(spot: Spot<'_>, writable: bool) -> Result<OwnedFd> {
    let access = if writable {
        OFlags::RDWR
    } else {
        OFlags::RDONLY
    };
    let flags = access | OFlags::NOCTTY | OFlags::NONBLOCK;
    match spot {
        Spot::Name(dir, name) => open(dir, name, flags, 0),
        Spot::Open(_) => {
            let way = Way::to(spot)?;
            Ok(rfs::open(
                way.path()?,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
            )?)
        }
    }
}

/// Makes a regular file that must not exist, opened to read and write.
///
/// # Errors
/// What openat(2) says.
pub fn create(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd> {
    open(
        dir,
        name,
        OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        mode,
    )
}

/// Makes a folder.
///
/// # Errors
/// What mkdirat(2) says.
pub fn mkdir(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    Ok(rfs::mkdirat(dir, name, Mode::from_raw_mode(mode))?)
}

/// Makes a FIFO, a socket, a device or a regular file, by the type bits of `mode`.
///
/// # Errors
/// What mknodat(2) says.
pub fn mknod(dir: BorrowedFd<'_>, name: &[u8], mode: u32, device: u64) -> Result<()> {
    let kind = FileType::from_raw_mode(mode);
    let mode = Mode::from_raw_mode(mode & 0o7777);
    Ok(rfs::mknodat(dir, name, kind, mode, device)?)
}

/// Makes the kernel overlay's whiteout.
///
/// # Errors
/// `EPERM` where the file system refuses it.
pub fn whiteout(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    mknod(dir, name, libc::S_IFCHR, 0)
}

/// Makes a symbolic link.
///
/// # Errors
/// What symlinkat(2) says.
pub fn symlink(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    Ok(rfs::symlinkat(target, dir, name)?)
}

/// The text of a symbolic link.
///
/// # Errors
/// What readlinkat(2) says.
pub fn readlink(spot: Spot<'_>) -> Result<Vec<u8>> {
    let text = match spot {
        Spot::Name(dir, name) => rfs::readlinkat(dir, name, Vec::with_capacity(256)),
        Spot::Open(fd) => rfs::readlinkat(fd, c"", Vec::with_capacity(256)),
    }?;
    Ok(text.into_bytes())
}

/// Makes another name of a file.
///
/// # Errors
/// What linkat(2) says.
pub fn link(from: BorrowedFd<'_>, old: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    Ok(rfs::linkat(from, old, to, new, AtFlags::empty())?)
}

/// Removes a name that is no folder.
///
/// # Errors
/// What unlinkat(2) says.
pub fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    Ok(rfs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Removes an empty folder.
///
/// # Errors
/// `ENOTEMPTY`.
pub fn rmdir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    Ok(rfs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// How a rename treats what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// It is replaced.
    Replace,
    /// It gets the old name.
    Exchange,
    /// It is replaced, and the old name becomes a whiteout.
    Whiteout,
}

/// Renames.
///
/// # Errors
/// What renameat2(2) says.
pub fn rename(
    from: BorrowedFd<'_>,
    old: &[u8],
    to: BorrowedFd<'_>,
    new: &[u8],
    how: Rename,
) -> Result<()> {
    let flags = match how {
        Rename::Replace => return Ok(rfs::renameat(from, old, to, new)?),
        Rename::Exchange => RenameFlags::EXCHANGE,
        Rename::Whiteout => RenameFlags::WHITEOUT,
    };
    Ok(rfs::renameat_with(from, old, to, new, flags)?)
}

/// Changes owner and group; `None` keeps one.
///
/// # Errors
/// What fchownat(2) says.
pub fn chown(spot: Spot<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let uid = uid.map(rfs::Uid::from_raw);
    let gid = gid.map(rfs::Gid::from_raw);
    match spot {
        Spot::Name(dir, name) => rfs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?,
        Spot::Open(fd) => rfs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)?,
    }
    Ok(())
}

/// Changes the permissions of what the caller knows to be no symbolic link.
///
/// # Errors
/// What fchmodat(2) says.
pub fn chmod(spot: Spot<'_>, mode: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(mode & 0o7777);
    match spot {
        Spot::Name(dir, name) => rfs::chmodat(dir, name, mode, AtFlags::empty())?,
        Spot::Open(_) => rfs::chmod(Way::to(spot)?.path()?, mode)?,
    }
    Ok(())
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Stays.
    Keep,
    /// Now.
    Now,
    /// Seconds and nanoseconds.
    At(i64, u32),
}

impl Time {
    fn spec(self) -> Timespec {
        let (tv_sec, tv_nsec) = match self {
            Self::Keep => (0, libc::UTIME_OMIT),
            Self::Now => (0, libc::UTIME_NOW),
            Self::At(seconds, nanoseconds) => (seconds, nanoseconds.into()),
        };
        Timespec { tv_sec, tv_nsec }
    }
}

/// Sets the times of last access and last modification.
///
/// # Errors
/// What utimensat(2) says.
pub fn set_times(spot: Spot<'_>, access: Time, modification: Time) -> Result<()> {
    let times = Timestamps {
        last_access: access.spec(),
        last_modification: modification.spec(),
    };
    match spot {
        Spot::Name(dir, name) => rfs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?,
        Spot::Open(_) => {
            rfs::utimensat(rfs::CWD, Way::to(spot)?.path()?, &times, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Reads an extended attribute into `buffer`; its size is returned, which an empty buffer asks for.
///
/// # Errors
/// `ENODATA`, `ERANGE`.
pub fn getxattr(spot: Spot<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let way = Way::to(spot)?;
    let path = way.path()?;
    Ok(match spot {
        Spot::Name(..) => rfs::lgetxattr(path, name, buffer)?,
        Spot::Open(_) => rfs::getxattr(path, name, buffer)?,
    })
}

/// Reads a whole extended attribute; `None` when the file has none of the name.
///
/// # Errors
/// What getxattr(2) says.
pub fn xattr(spot: Spot<'_>, name: &CStr) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 256];
    loop {
        match getxattr(spot, name, &mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(Some(buffer));
            }
            Err(Code(libc::ENODATA | libc::EOPNOTSUPP)) => return Ok(None),
            Err(Code(libc::ERANGE)) if buffer.len() < super::xattr::MAX_VALUE => {
                buffer = vec![0; super::xattr::MAX_VALUE];
            }
            Err(code) => return Err(code),
        }
    }
}

/// Sets an extended attribute; `flags` as setxattr(2) has them.
///
/// # Errors
/// What setxattr(2) says.
pub fn setxattr(spot: Spot<'_>, name: &CStr, value: &[u8], flags: u32) -> Result<()> {
    let way = Way::to(spot)?;
    let path = way.path()?;
    let flags = XattrFlags::from_bits_truncate(flags);
    match spot {
        Spot::Name(..) => rfs::lsetxattr(path, name, value, flags)?,
        Spot::Open(_) => rfs::setxattr(path, name, value, flags)?,
    }
    Ok(())
}

/// Removes an extended attribute.
///
/// # Errors
/// `ENODATA`.
pub fn removexattr(spot: Spot<'_>, name: &CStr) -> Result<()> {
    let way = Way::to(spot)?;
    let path = way.path()?;
    match spot {
        Spot::Name(..) => rfs::lremovexattr(path, name)?,
        Spot::Open(_) => rfs::removexattr(path, name)?,
    }
    Ok(())
}

/// The names of all extended attributes, each ended by a NUL.
///
/// # Errors
/// What listxattr(2) says.
pub fn listxattr(spot: Spot<'_>) -> Result<Vec<u8>> {
    let way = Way::to(spot)?;
    let path = way.path()?;
    let mut buffer = vec![0; 1024];
    loop {
        let listed = match spot {
            Spot::Name(..) => rfs::llistxattr(path, &mut buffer[..]),
            Spot::Open(_) => rfs::listxattr(path, &mut buffer[..]),
        };
        match listed {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(buffer);
            }
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if buffer.len() < super::xattr::MAX_VALUE => {
                buffer = vec![0; super::xattr::MAX_VALUE];
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads at an offset until `buffer` is full or the file ends.
///
/// # Errors
/// What pread(2) says.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(fd, rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) if done == 0 => return Err(e.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Writes at an offset; says how much of `bytes`, which is less when the disk is full.
///
/// # Errors
/// What pwrite(2) says.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pwrite(fd, rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) if done == 0 => return Err(e.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Sets the length of a file.
///
/// # Errors
/// What ftruncate(2) says.
pub fn truncate(fd: BorrowedFd<'_>, length: u64) -> Result<()> {
    Ok(rfs::ftruncate(fd, length)?)
}

/// Allocates, punches or zeroes; `mode` as fallocate(2) has it.
///
/// # Errors
/// What fallocate(2) says.
pub fn allocate(fd: BorrowedFd<'_>, mode: u32, offset: u64, length: u64) -> Result<()> {
    let mode = FallocateFlags::from_bits_retain(mode);
    Ok(rfs::fallocate(fd, mode, offset, length)?)
}

/// The next place with data, or the next hole, from `offset` on.
///
/// # Errors
/// `ENXIO` beyond the end.
pub fn seek(fd: BorrowedFd<'_>, offset: u64, hole: bool) -> Result<u64> {
    let to = if hole {
        SeekFrom::Hole(offset)
    } else {
        SeekFrom::Data(offset)
    };
    Ok(rfs::seek(fd, to)?)
}

/// Copies inside the kernel; says how much.
///
/// # Errors
/// What copy_file_range(2) says.
pub fn copy_range(
    from: BorrowedFd<'_>,
    mut at: u64,
    to: BorrowedFd<'_>,
    mut into: u64,
    length: u64,
) -> Result<u64> {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
    Ok(rfs::copy_file_range(from, Some(&mut at), to, Some(&mut into), length)? as u64)
}

/// Shares all content of `from` with `to`.
///
/// # Errors
/// `EOPNOTSUPP` where the file system cannot, `EXDEV`; see ioctl_ficlone(2).
pub fn reflink(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    Ok(rfs::ioctl_ficlone(to, from)?)
}

/// Flushes a file; `data` only what is needed to read its content again.
///
/// # Errors
/// What fsync(2) says.
pub fn sync(fd: BorrowedFd<'_>, data: bool) -> Result<()> {
    let synced = if data {
        rfs::fdatasync(fd)
    } else {
        rfs::fsync(fd)
    };
    Ok(synced?)
}

/// A name in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// The name; never `.` or `..`.
    pub name: &'a [u8],
    /// The type bits, 0 when the file system does not tell.
    pub kind: u32,
    /// The inode number.
    pub ino: u64,
}

/// Calls `each` for every name of a folder, opened in whatever way.
///
/// # Errors
/// What getdents64(2) or `each` says.
pub fn list(dir: BorrowedFd<'_>, mut each: impl FnMut(Listed<'_>) -> Result<()>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rfs::openat(dir, c".", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32 << 10];
    let mut entries = rfs::RawDir::new(&dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => 0,
            known => known.as_raw_mode(),
        };
        each(Listed {
            name,
            kind,
            ino: entry.ino(),
        })?;
    }
    Ok(())
}

/// What is left on a file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Space {
    /// Blocks of `fragment` bytes: all, free, free for us.
    pub blocks: (u64, u64, u64),
    /// Inodes: all, free.
    pub files: (u64, u64),
    /// The best size for reading and writing.
    pub block: u32,
    /// The unit of `blocks`, in bytes.
    pub fragment: u32,
}

/// Asks the file system that `fd` is on.
///
/// # Errors
/// What fstatfs(2) says.
pub fn space(fd: BorrowedFd<'_>) -> Result<Space> {
    let s = rfs::fstatvfs(fd)?;
    Ok(Space {
        blocks: (s.f_blocks, s.f_bfree, s.f_bavail),
        files: (s.f_files, s.f_ffree),
        block: u32::try_from(s.f_bsize).unwrap_or(4096),
        fragment: u32::try_from(s.f_frsize).unwrap_or(4096),
    })
}

/// Lets this process open as many files as it may; says how many that are.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(1 << 20).min(1 << 20);
    let wanted = Rlimit {
        current: Some(most),
        maximum: now.maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => most,
        Err(_) => now.current.unwrap_or(1024),
    }
}

/// Takes no permission bits away from what this process makes.
pub fn clear_umask() {
    rustix::process::umask(Mode::empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn names_are_one_component() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check(&[b'x'; 255]), Ok(()));
        assert_eq!(check(b"..."), Ok(()));
    }

    #[test]
    fn attributes_and_times_are_reached_by_name_and_by_handle() {
        let dir = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let long = [b'n'; 255];
        drop(create(root.as_fd(), &long, 0o600).unwrap());
        let handle = open_path(root.as_fd(), &long).unwrap();
        let (name, open) = (Spot::Name(root.as_fd(), &long), Spot::Open(handle.as_fd()));
        for (n, spot) in [name, open].into_iter().enumerate() {
            setxattr(spot, c"user.a", &[7; 300], 0).unwrap();
            assert_eq!(xattr(spot, c"user.a").unwrap().unwrap(), [7; 300]);
            assert_eq!(listxattr(spot).unwrap(), b"user.a\0");
            removexattr(spot, c"user.a").unwrap();
            assert_eq!(removexattr(spot, c"user.a"), Err(Code(libc::ENODATA)));
            let second = 100 + i64::try_from(n).unwrap();
            set_times(spot, Time::Keep, Time::At(second, 5)).unwrap();
            chmod(spot, 0o640).unwrap();
            assert_eq!(stat(spot).unwrap().mtime, (second, 5));
        }
        assert_eq!(stat(name).unwrap(), stat(open).unwrap());
        symlink(b"target", root.as_fd(), b"l").unwrap();
        assert_eq!(readlink(Spot::Name(root.as_fd(), b"l")).unwrap(), b"target");
        let mut found = Vec::new();
        list(handle_of(&root).as_fd(), |entry| {
            found.push((entry.name.len(), entry.kind));
            Ok(())
        })
        .unwrap();
        found.sort_unstable();
        assert_eq!(found, [(1, libc::S_IFLNK), (255, libc::S_IFREG)]);
    }

    fn handle_of(dir: &std::fs::File) -> OwnedFd {
        open_path(dir.as_fd(), b".").unwrap()
    }
}
