//! Where mounts go: targets inside the container's root, as descriptors.
//!
//! `/proc`, `/sys` and `/dev` are our own mounts on real directories (an image that has links there
//! is refused: CVE-2026-41579, CVE-2019-19921); targets below them are opened from the mount's own
//! descriptor, following nothing. Every other target is resolved inside the root, and refused when
//! it turns out to be on a procfs or sysfs (CVE-2025-52881).

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::resolve::{self, Leaf, Make};
use crate::sys::{self, Call as _, mount};

/// The container's root while mounts are made.
#[derive(Debug)]
pub(crate) struct Place {
    root: OwnedFd,
    /// Mounts at or below `/proc`, `/sys` and `/dev`, in the order made.
    special: Vec<Special>,
}

#[derive(Debug)]
struct Special {
    at: PathBuf,
    tree: OwnedFd,
    /// Made by us, so nothing in it is a stranger's link.
    ours: bool,
}

/// A target, opened.
#[derive(Debug)]
pub(crate) struct Target {
    fd: OwnedFd,
    path: PathBuf,
}

impl Target {
    /// Puts a detached tree there.
    pub(crate) fn attach(&self, tree: &OwnedFd) -> Result<()> {
        mount::attach(tree, &self.fd).what(|| format!("cannot mount on {}", self.path.display()))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn is_dir(&self) -> Result<bool> {
        Ok(resolve::kind(&self.fd)? == FileType::Directory)
    }
}

fn is_special(path: &Path) -> bool {
    ["/proc", "/sys", "/dev"]
        .iter()
        .any(|top| path.starts_with(top))
}

/// Absolute, without `.` and `..`.
fn clean(path: &str) -> Result<PathBuf> {
    let mut out = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            std::path::Component::Normal(name) => out.push(name),
            std::path::Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    // The specification once allowed relative ones, which start at the root.
    if path.is_empty() {
        return Err(Error::invalid("a mount without a destination"));
    }
    Ok(out)
}

impl Place {
    /// Takes `root` as the place; with `at_root`, attaches it over the present root first.
    pub(crate) fn begin(root: OwnedFd, at_root: bool) -> Result<Self> {
        if !at_root {
            return Ok(Self {
                root,
                special: Vec::new(),
            });
        }
        // The old root stays visible to absolute paths of this process: they start below the new
        // mount. No directory of the host is needed to mount it on.
        mount::attach_at(&root, rustix::fs::CWD, c"/")
            .what(|| "cannot attach the root file system")?;
        Ok(Self {
            root,
            special: Vec::new(),
        })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The mount of ours at exactly `path`.
    pub(crate) fn ours(&self, path: &str) -> Option<BorrowedFd<'_>> {
        self.special
            .iter()
            .rev()
            .find(|s| s.ours && s.at == Path::new(path))
            .map(|s| s.tree.as_fd())
    }

    /// Opens the target of a mount, making it where that is possible. `make`: what is missing.
    pub(crate) fn target(&self, destination: &str, leaf: Leaf) -> Result<Target> {
        let path = clean(destination)?;
        let what = || format!("cannot prepare the mount point {}", path.display());
        let fd = match self.above(&path) {
            Some((above, rest)) if above.ours => below_ours(&above.tree, rest, leaf).what(what)?,
            Some((above, rest)) => {
                resolve::make(&above.tree, rest, leaf, Make::default()).what(what)?
            }
            None if is_special(&path) && path.components().count() == 2 => {
                self.top(&path).what(what)?
            }
            None => {
                let fd = resolve::make(&self.root, &path, leaf, Make::default()).what(what)?;
                self.refuse_detour(&fd, &path)?;
                fd
            }
        };
        let found = resolve::kind(&fd)?;
        if (found == FileType::Directory) != (leaf == Leaf::Directory) {
            let (source, there) = match leaf {
                Leaf::Directory => ("a directory", "is not one"),
                Leaf::File => ("a file", "is a directory"),
            };
            return Err(Error::invalid(format!(
                "cannot mount {source} on {}: that path of the image {there}",
                path.display()
            ))
            .hint("mount files on files and directories on directories"));
        }
        Ok(Target { fd, path })
    }

    /// Opens something that is there, to cover it; `None` when it is not.
    pub(crate) fn existing(&self, path: &str) -> Result<Option<Target>> {
        let path = clean(path)?;
        let found = match self.above(&path) {
            Some((above, rest)) if rest.as_os_str().is_empty() => {
                mount_handle(&above.tree).map(Some)
            }
            Some((above, rest)) if above.ours => {
                match resolve::beneath(&above.tree, rest, OFlags::PATH) {
                    // Covered by a mount of the caller's proc already, or a link into it.
                    Err(e) if matches!(e.errno, libc::EXDEV | libc::ELOOP) => return Ok(None),
                    other => other.map(Some),
                }
            }
            Some((above, rest)) => resolve::handle(&above.tree, rest).map(Some),
            None => resolve::handle(&self.root, &path).map(Some),
        };
        match found {
            Ok(Some(fd)) => {
                if !is_special(&path) {
                    self.refuse_detour(&fd, &path)?;
                }
                Ok(Some(Target { fd, path }))
            }
            Ok(None) => Ok(None),
            Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR | libc::EACCES) => Ok(None),
            Err(e) => Err(e).what(|| format!("cannot look at {}", path.display())),
        }
    }

    /// Refuses a path that led to a kernel file system, or to the top of a mount of ours, by a link:
    /// what covers that would be missing where it was meant to be.
    fn refuse_detour(&self, fd: &OwnedFd, path: &Path) -> Result<()> {
        refuse_kernel_files(fd, path)?;
        let stat = rustix::fs::fstat(fd).call("fstat", String::new)?;
        for special in self
            .special
            .iter()
            .filter(|s| s.at.components().count() == 2)
        {
            let top = rustix::fs::fstat(&special.tree).call("fstat", String::new)?;
            if (top.st_dev, top.st_ino) == (stat.st_dev, stat.st_ino) {
                return Err(Error::new(
                    Kind::Denied,
                    format!(
                        "{} leads to {} by a link",
                        path.display(),
                        special.at.display()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Attaches `tree` at `destination` and remembers it where later targets may be below it.
    pub(crate) fn mount(
        &mut self,
        tree: OwnedFd,
        destination: &str,
        leaf: Leaf,
        ours: bool,
    ) -> Result<()> {
        let target = self.target(destination, leaf)?;
        target.attach(&tree)?;
        if is_special(&target.path) {
            self.special.push(Special {
                at: target.path,
                tree,
                ours,
            });
        }
        Ok(())
    }

    /// The longest remembered mount at or above `path`, and the rest of the path.
    fn above<'a>(&'a self, path: &'a Path) -> Option<(&'a Special, &'a Path)> {
        self.special
            .iter()
            .rev()
            .filter_map(|s| Some((s, path.strip_prefix(&s.at).ok()?)))
            .min_by_key(|(_, rest)| rest.components().count())
    }

    /// `/proc`, `/sys` or `/dev` itself: a real directory of the root.
    fn top(&self, path: &Path) -> sys::Result<OwnedFd> {
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let open = || {
            rustix::fs::openat(
                &self.root,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .call("openat", || path.display().to_string())
        };
        let fd = match open() {
            Err(e) if e.errno == libc::ENOENT => {
                rustix::fs::mkdirat(&self.root, name, Mode::from_raw_mode(0o755))
                    .call("mkdirat", || path.display().to_string())?;
                open()?
            }
            other => other?,
        };
        match resolve::kind(&fd)? {
            FileType::Directory => Ok(fd),
            FileType::Symlink => Err(sys::Error::new(
                "openat",
                format!("{} of the image", path.display()),
                libc::ELOOP,
            )),
            _ => Err(sys::Error::new(
                "openat",
                format!("{} of the image", path.display()),
                libc::ENOTDIR,
            )),
        }
    }
}

/// The root of a mount, as something to mount on.
fn mount_handle(tree: &OwnedFd) -> sys::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(tree, 3).call("fcntl", || "F_DUPFD_CLOEXEC".into())
}

/// Opens what is mounted at a path below a mount of ours, in a folder of that mount itself.
fn mounted(tree: &OwnedFd, rest: &Path) -> sys::Result<OwnedFd> {
    let target = || rest.display().to_string();
    let name = rest.file_name().unwrap_or(OsStr::new("."));
    let dir = match rest.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => resolve::beneath(tree, parent, OFlags::PATH | OFlags::DIRECTORY)?,
        None => mount_handle(tree)?,
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&dir, name, flags, Mode::empty()).call("openat", target)?;
    match resolve::kind(&fd)? {
        FileType::Symlink => Err(sys::Error::new("openat", target(), libc::ELOOP)),
        _ => Ok(fd),
    }
}

/// Opens a path below a mount of ours, making what is missing, following nothing.
fn below_ours(tree: &OwnedFd, rest: &Path, leaf: Leaf) -> sys::Result<OwnedFd> {
    if rest.as_os_str().is_empty() {
        return mount_handle(tree);
    }
    match resolve::beneath(tree, rest, OFlags::PATH) {
        Err(e) if e.errno == libc::ENOENT => {}
        // A node that was bound there already: what is asked for goes over it.
        Err(e) if e.errno == libc::EXDEV && leaf == Leaf::File => return mounted(tree, rest),
        other => return other,
    }
    let mut dir = mount_handle(tree)?;
    let mut names = rest.components().peekable();
    while let Some(name) = names.next() {
        let name: &Path = name.as_ref();
        let last = names.peek().is_none();
        let make_file = last && leaf == Leaf::File;
        let made = if make_file {
            rustix::fs::openat(
                &dir,
                name,
                OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o644),
            )
            .map(drop)
        } else {
            rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755))
        };
        match made {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e).call("mkdirat", || name.display().to_string()),
        }
        dir = resolve::beneath(&dir, name, OFlags::PATH)?;
    }
    Ok(dir)
}

/// A link of the image must not lead a mount onto procfs or sysfs.
fn refuse_kernel_files(fd: &OwnedFd, path: &Path) -> Result<()> {
    let fs = rustix::fs::fstatfs(fd).call("fstatfs", || path.display().to_string())?;
    if matches!(fs.f_type, libc::PROC_SUPER_MAGIC | libc::SYSFS_MAGIC) {
        return Err(Error::new(
            Kind::Denied,
            format!(
                "the image leads the mount destination {} into a kernel file system",
                path.display()
            ),
        ));
    }
    Ok(())
}

/// A C string of a name without NUL bytes.
pub(crate) fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| Error::invalid(format!("the path {name:?} has a NUL byte")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder and a bind mount's worth of /proc, /sys and the host change places all the time
    /// (here by links of a hostile image): no target is ever on a kernel file system.
    #[test]
    fn targets_that_change_all_the_time_are_never_kernel_files() {
        use std::sync::atomic::{AtomicBool, Ordering};
        for aim in ["proc", "proc/sys", "sys"] {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path();
            std::fs::create_dir_all(at.join("data/dir/kernel")).unwrap();
            std::fs::write(at.join("data/dir/kcore"), "").unwrap();
            // The image's own /proc and /sys are the host's, the worst that a shared volume can show.
            std::os::unix::fs::symlink(Path::new("/").join(aim), at.join("data/link")).unwrap();
            let open = |path: &Path| {
                rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
            };
            let (root, data) = (open(Path::new("/")), open(&at.join("data")));
            let below = at.strip_prefix("/").unwrap().join("data/dir");
            let below = Path::new("/").join(below);
            let text = |name: &str| below.join(name).to_str().unwrap().to_owned();
            let place = Place::begin(root, false).unwrap();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let flags = rustix::fs::RenameFlags::EXCHANGE;
                        rustix::fs::renameat_with(&data, "dir", &data, "link", flags).unwrap();
                    }
                });
                let safe = |target: Result<Option<Target>>| {
                    if let Ok(Some(target)) = target {
                        let fs = rustix::fs::fstatfs(&target.fd).unwrap().f_type;
                        assert!(
                            ![libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC].contains(&fs),
                            "{aim}"
                        );
                    }
                };
                for _ in 0..3000 {
                    safe(place.target(&text("kernel"), Leaf::Directory).map(Some));
                    safe(place.existing(&text("kcore")));
                    safe(place.existing(&text("kernel")));
                    safe(place.existing(&text("")));
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    }

    #[test]
    fn destinations_are_cleaned_and_start_at_the_root() {
        for (path, expected) in [("/a/b", "/a/b"), ("/a/../b/./c/", "/b/c"), ("/../..", "/")] {
            assert_eq!(clean(path).unwrap(), Path::new(expected));
        }
        assert_eq!(clean("a").unwrap(), Path::new("/a"));
        assert!(clean("").is_err());
        assert!(is_special(Path::new("/proc/x")) && !is_special(Path::new("/process")));
    }
}
