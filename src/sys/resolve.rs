//! Paths inside a root that somebody else controls: the only way from a path string to a file.
//!
//! Every function takes the root as a descriptor and never leaves it, whatever symbolic links say:
//! `openat2` with `RESOLVE_IN_ROOT`, or, where something must be made on the way or a filter
//! forbids `openat2`, a walk that opens one component at a time without following and expands
//! links itself. Magic links (`/proc/self/fd/N`) are refused. Results are descriptors.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::error::{Call as _, Error, Result};

/// As many links as the kernel follows in one path.
const MAX_LINKS: u32 = 40;

/// The longest path that the kernel takes, and the most components that one can have.
const MAX_PATH: usize = 4096;

/// How often a walk that lost a race with a rename is tried again.
const RETRIES: u32 = 128;

/// What the last component of a path to be made is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A directory.
    Directory,
    /// An empty regular file.
    File,
}

/// Owner and permission bits of what is made on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Make {
    /// Permission bits of directories; files get them without the execute bits.
    pub mode: u32,
    /// Owner and group, if not the process's own.
    pub owner: Option<(u32, u32)>,
}

impl Default for Make {
    fn default() -> Self {
        Self {
            mode: 0o755,
            owner: None,
        }
    }
}

/// Opens `path` inside `root`, absolute or relative alike; links are followed inside the root.
/// `flags` gets `O_CLOEXEC`.
///
/// # Errors
/// `ENOENT`, `ELOOP` for magic links and loops, and what openat2(2) says.
pub fn open(root: impl AsFd, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
    let (root, path) = (root.as_fd(), path.as_ref());
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, resolve) {
        Err(e) if matches!(e.errno, libc::ENOSYS | libc::EPERM) => {
            let found = walk(root, path, !flags.contains(OFlags::NOFOLLOW), None)?;
            reopen(&found, path, flags)
        }
        other => other,
    }
}

/// Opens `path` from the working directory, for a process that is inside the root already: magic
/// links are refused, everything else is as plain openat(2).
///
/// # Errors
/// As [`open`].
pub fn open_from_here(path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
    openat2(
        rustix::fs::CWD,
        path.as_ref(),
        flags,
        ResolveFlags::NO_MAGICLINKS,
    )
}

/// Whether this process may execute an opened file, by its effective ids and capabilities.
///
/// # Errors
/// `EACCES`.
pub fn may_execute(fd: impl AsFd) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call, the path is a constant.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::X_OK,
            libc::AT_EACCESS | libc::AT_EMPTY_PATH,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("faccessat2", ""))
    }
}

/// Opens `path` with `O_PATH`: a handle to stat, mount on or pass on, whatever kind of file it is.
///
/// # Errors
/// As [`open`].
pub fn handle(root: impl AsFd, path: impl AsRef<Path>) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH)
}

/// As [`handle`], but a symbolic link at the end is opened itself.
///
/// # Errors
/// As [`open`].
pub fn handle_nofollow(root: impl AsFd, path: impl AsRef<Path>) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH | OFlags::NOFOLLOW)
}

/// Opens the directory that holds `path`'s last component, and gives that component: for making,
/// renaming and removing by `*at` calls. The component is never `..`; `.` stands for the root
/// itself.
///
/// # Errors
/// As [`open`].
pub fn parent(root: impl AsFd, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString)> {
    let (root, path) = (root.as_fd(), path.as_ref());
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match path.file_name() {
        Some(name) => {
            let dir = path.parent().unwrap_or(Path::new(""));
            Ok((open(root, dir, flags)?, name.to_owned()))
        }
        // "/", "" and paths that end in "..": the directory itself is meant.
        None => Ok((open(root, path, flags)?, OsString::from("."))),
    }
}

/// Opens `path` below `dir` without following any link and without leaving the file system mounted
/// there: for the inside of mounts of our own.
///
/// # Errors
/// `ELOOP` for links, `EXDEV` for mounts on the way, and what openat2(2) says.
pub fn beneath(dir: impl AsFd, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
    openat2(
        dir.as_fd(),
        path.as_ref(),
        flags,
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    )
}

/// Opens `path` inside `root`, making what is missing: directories on the way, and at the end what
/// `leaf` says. What exists is left as it is, of whatever kind. Gives an `O_PATH` handle.
///
/// # Errors
/// As [`open`]; `ENOTDIR`, `EROFS`, `ENOSPC`.
pub fn make(root: impl AsFd, path: impl AsRef<Path>, leaf: Leaf, with: Make) -> Result<OwnedFd> {
    let (root, path) = (root.as_fd(), path.as_ref());
    match handle(root, path) {
        Err(e) if e.errno == libc::ENOENT => walk(root, path, true, Some((leaf, with))),
        other => other,
    }
}

/// Makes a directory and its parents inside `root`.
///
/// # Errors
/// As [`make`]; `ENOTDIR` when another kind of file is there.
pub fn mkdir_all(root: impl AsFd, path: impl AsRef<Path>, with: Make) -> Result<OwnedFd> {
    let path = path.as_ref();
    let dir = make(root, path, Leaf::Directory, with)?;
    if kind(&dir)? != FileType::Directory {
        return Err(Error::new("mkdir", path.to_string_lossy(), libc::ENOTDIR));
    }
    Ok(dir)
}

/// Reads a regular file of at most `limit` bytes; `None` when there is none. Never blocks on a
/// FIFO, never reads a device.
///
/// # Errors
/// `EINVAL` for another kind of file, `EFBIG` for a larger one.
pub fn read(root: impl AsFd, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open(root, path, flags) {
        Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => return Ok(None),
        other => other?,
    };
    let target = || path.to_string_lossy().into_owned();
    if kind(&fd)? != FileType::RegularFile {
        return Err(Error::new("read", target(), libc::EINVAL));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .call("read", target)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new("read", target(), libc::EFBIG));
    }
    Ok(Some(bytes))
}

/// The kind of an opened file.
///
/// # Errors
/// What fstat(2) says.
pub fn kind(fd: impl AsFd) -> Result<FileType> {
    let stat = rustix::fs::fstat(fd).call("fstat", String::new)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn openat2(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    // The empty path means the directory itself here.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let target = || path.to_string_lossy().into_owned();
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel saw a rename that might have led out, and could not tell.
            Err(rustix::io::Errno::AGAIN) if tries < RETRIES => tries += 1,
            Err(rustix::io::Errno::INTR) => {}
            other => return other.call("openat2", target),
        }
    }
}

/// Walks to `path` one component at a time; with `make`, what is missing is made.
fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    follow_last: bool,
    make: Option<(Leaf, Make)>,
) -> Result<OwnedFd> {
    let failed = |errno| Error::new("openat", path.to_string_lossy(), errno);
    if path.as_os_str().len() >= MAX_PATH {
        return Err(failed(libc::ENAMETOOLONG));
    }
    let mut todo: VecDeque<OsString> = components(path);
    // The directories from the root down to where we are: `..` goes back along it, so a directory
    // that is moved meanwhile cannot lead out.
    let mut stack = vec![dup(root)?];
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let dir = stack.last().ok_or_else(|| failed(libc::EINVAL))?;
        let last = todo.is_empty();
        let next = match open_one(dir, &name) {
            Err(e) if e.errno == libc::ENOENT => {
                let Some((leaf, with)) = make else {
                    return Err(e);
                };
                let leaf = if last { leaf } else { Leaf::Directory };
                make_one(dir, &name, leaf, with)?;
                open_one(dir, &name)?
            }
            other => other?,
        };
        match kind(&next)? {
            FileType::Symlink if !last || follow_last => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(libc::ELOOP));
                }
                let target = rustix::fs::readlinkat(&next, c"", Vec::new())
                    .call("readlinkat", || name.to_string_lossy().into_owned())?;
                // proc's magic links read as something, but lead elsewhere.
                if is_proc(&next)? && !is_plain_proc_link(&name) {
                    return Err(failed(libc::ELOOP));
                }
                let target = OsStr::from_bytes(target.as_bytes()).to_owned();
                if target.as_bytes().starts_with(b"/") {
                    stack.truncate(1);
                }
                for part in components(Path::new(&target)).into_iter().rev() {
                    todo.push_front(part);
                }
                if todo.len() > MAX_PATH {
                    return Err(failed(libc::ENAMETOOLONG));
                }
            }
            FileType::Directory => stack.push(next),
            _ if last => return Ok(next),
            _ => return Err(failed(libc::ENOTDIR)),
        }
    }
    stack.pop().ok_or_else(|| failed(libc::EINVAL))
}

/// `/proc/self` and `/proc/thread-self`, `/proc/mounts`, `/proc/net` hold plain text.
fn is_plain_proc_link(name: &OsStr) -> bool {
    ["self", "thread-self", "mounts", "net"]
        .iter()
        .any(|plain| name == *plain)
}

fn is_proc(fd: impl AsFd) -> Result<bool> {
    let fs = rustix::fs::fstatfs(fd).call("fstatfs", String::new)?;
    Ok(fs.f_type == libc::PROC_SUPER_MAGIC)
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

fn open_one(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    rustix::fs::openat(
        dir,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("openat", || name.to_string_lossy().into_owned())
}

fn make_one(dir: &OwnedFd, name: &OsStr, leaf: Leaf, with: Make) -> Result<()> {
    let target = || name.to_string_lossy().into_owned();
    let made = match leaf {
        Leaf::Directory => rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(with.mode)),
        Leaf::File => rustix::fs::openat(
            dir,
            name,
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(with.mode & 0o666),
        )
        .map(drop),
    };
    match made {
        // Somebody was faster; what is there is looked at next.
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        other => other.call("mkdirat", target)?,
    }
    if let Some((uid, gid)) = with.owner {
        rustix::fs::chownat(
            dir,
            name,
            Some(rustix::fs::Uid::from_raw(uid)),
            Some(rustix::fs::Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .call("fchownat", target)?;
    }
    Ok(())
}

/// Opens a handle for real, through our own /proc: no path of the root is looked at again.
fn reopen(handle: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    if flags.contains(OFlags::PATH) {
        if flags.contains(OFlags::DIRECTORY) && kind(handle)? != FileType::Directory {
            return Err(Error::new("openat", path.to_string_lossy(), libc::ENOTDIR));
        }
        return dup(handle.as_fd());
    }
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::open(
        &link,
        (flags | OFlags::CLOEXEC) - OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .call("open", || path.to_string_lossy().into_owned())
}

fn dup(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).call("fcntl", || "F_DUPFD_CLOEXEC".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::create_dir_all(dir.path().join("root/run")).unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::write(dir.path().join("root/etc/passwd"), "inside").unwrap();
        let root = dir.path().join("root");
        symlink("/etc", root.join("abs")).unwrap();
        symlink("../../../secret", root.join("etc/up")).unwrap();
        symlink("/secret", root.join("etc/out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/run/deep/er", root.join("dangling")).unwrap();
        symlink("/proc/self/fd/0", root.join("magic")).unwrap();
        let fd = rustix::fs::open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn links_stay_inside_the_root_for_both_resolvers() {
        let (dir, root) = root();
        let inside = |fd: &OwnedFd, at: &str| {
            let a = rustix::fs::fstat(fd).unwrap();
            let b = rustix::fs::stat(dir.path().join("root").join(at)).unwrap();
            assert_eq!((a.st_dev, a.st_ino), (b.st_dev, b.st_ino), "{at}");
        };
        for (path, at) in [
            ("/etc/passwd", "etc/passwd"),
            ("etc/../etc/./passwd", "etc/passwd"),
            ("abs/passwd", "etc/passwd"),
            ("../../../../etc/passwd", "etc/passwd"),
            ("", ""),
            ("/", ""),
        ] {
            inside(&handle(&root, path).unwrap(), at);
            inside(
                &walk(root.as_fd(), Path::new(path), true, None).unwrap(),
                at,
            );
        }
        for (path, errno) in [
            ("etc/up", libc::ENOENT),
            ("etc/out", libc::ENOENT),
            ("loop", libc::ELOOP),
            ("etc/passwd/x", libc::ENOTDIR),
            ("magic", libc::ENOENT),
        ] {
            assert_eq!(handle(&root, path).unwrap_err().errno, errno, "{path}");
            assert_eq!(
                walk(root.as_fd(), Path::new(path), true, None)
                    .unwrap_err()
                    .errno,
                errno,
                "{path}"
            );
        }
    }

    /// A folder and links out of the root, below it and into /proc are exchanged all the time: each
    /// of thousands of look-ups ends inside, and so does whatever it makes.
    #[test]
    fn exchanges_in_a_tight_loop_lead_nowhere() {
        use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
        const ROUNDS: u32 = 3000;
        for aim in ["/", "../../..", "/proc/self/root", "/etc", "."] {
            let (dir, root) = root();
            let at = dir.path().join("root");
            fs::create_dir_all(at.join("dir/sub")).unwrap();
            fs::write(at.join("dir/file"), "inside").unwrap();
            // Outside there is the same, by the same names.
            fs::create_dir_all(dir.path().join("sub")).unwrap();
            fs::write(dir.path().join("file"), "outside").unwrap();
            symlink(aim, at.join("link")).unwrap();
            let device = rustix::fs::fstat(&root).unwrap().st_dev;
            let outside = |name: &str| rustix::fs::stat(dir.path().join(name)).unwrap().st_ino;
            let forbidden = [
                outside("file"),
                outside("sub"),
                outside("secret"),
                outside(""),
            ];
            let (stop, exchanged) = (AtomicBool::new(false), AtomicU32::new(0));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let flags = rustix::fs::RenameFlags::EXCHANGE;
                        rustix::fs::renameat_with(&root, "dir", &root, "link", flags).unwrap();
                        exchanged.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let inside = |fd: Result<OwnedFd>| {
                    // What is missing at that moment, or no folder, is an error; never a way out.
                    if let Ok(fd) = fd {
                        let stat = rustix::fs::fstat(&fd).unwrap();
                        assert_eq!(stat.st_dev, device, "{aim}");
                        assert!(!forbidden.contains(&stat.st_ino), "{aim}");
                    }
                };
                let mut round = 0;
                while round < ROUNDS || exchanged.load(Ordering::Relaxed) < ROUNDS {
                    round += 1;
                    inside(handle(&root, "dir/file"));
                    inside(walk(root.as_fd(), Path::new("dir/../dir/sub"), true, None));
                    inside(beneath(&root, "dir/file", OFlags::PATH));
                    inside(parent(&root, "dir/sub/file").map(|(dir, _)| dir));
                    if let Ok(Some(text)) = read(&root, "dir/file", 100) {
                        assert_eq!(text, b"inside", "{aim}");
                    }
                    if round % 16 == 0 {
                        let name = format!("dir/sub/new{round}/deep");
                        inside(mkdir_all(&root, name, Make::default()));
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
            let left: Vec<_> = fs::read_dir(dir.path().join("sub")).unwrap().collect();
            assert!(left.is_empty(), "{aim}: something was made outside");
        }
    }

    #[test]
    fn missing_directories_are_made_inside_even_through_dangling_links() {
        let (dir, root) = root();
        mkdir_all(&root, "dangling/x", Make::default()).unwrap();
        assert!(dir.path().join("root/run/deep/er/x").is_dir());
        make(&root, "/etc/out", Leaf::File, Make::default()).unwrap();
        assert_eq!(fs::read(dir.path().join("root/secret")).unwrap(), b"");
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"outside");
        let made = make(
            &root,
            "a/b/c",
            Leaf::File,
            Make {
                mode: 0o700,
                owner: None,
            },
        )
        .unwrap();
        assert_eq!(kind(&made).unwrap(), FileType::RegularFile);
        assert_eq!(
            mkdir_all(&root, "a/b/c", Make::default())
                .unwrap_err()
                .errno,
            libc::ENOTDIR
        );
    }

    #[test]
    fn only_bounded_regular_files_are_read() {
        let (dir, root) = root();
        let fifo = dir.path().join("root/etc/fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(read(&root, "etc/passwd", 6).unwrap().unwrap(), b"inside");
        assert_eq!(read(&root, "etc/none", 6).unwrap(), None);
        assert_eq!(read(&root, "etc/passwd", 5).unwrap_err().errno, libc::EFBIG);
        assert_eq!(read(&root, "etc/fifo", 5).unwrap_err().errno, libc::EINVAL);
        assert_eq!(read(&root, "etc", 5).unwrap_err().errno, libc::EINVAL);
    }

    #[test]
    fn parents_are_resolved_and_the_name_is_left() {
        let (_dir, root) = root();
        let (parent_fd, name) = parent(&root, "/abs/new").unwrap();
        let etc = handle(&root, "etc").unwrap();
        assert_eq!(
            rustix::fs::fstat(&parent_fd).unwrap().st_ino,
            rustix::fs::fstat(&etc).unwrap().st_ino
        );
        assert_eq!(name, "new");
        assert_eq!(parent(&root, "/").unwrap().1, ".");
        assert_eq!(parent(&root, "etc/..").unwrap().1, ".");
    }

    #[test]
    fn beneath_follows_nothing() {
        let (_dir, root) = root();
        assert!(beneath(&root, "etc/passwd", OFlags::PATH).is_ok());
        for path in ["abs/passwd", "../secret", "/etc/passwd"] {
            assert!(beneath(&root, path, OFlags::PATH).is_err(), "{path}");
        }
    }
}
