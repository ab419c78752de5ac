//! Mounts by descriptor: contexts, detached trees, attributes, pivoting. No path string of a
//! container ever reaches mount(2).
//!
//! Kernel: fsopen(2), fsmount(2), open_tree(2), move_mount(2) since 5.2, mount_setattr(2) since 5.12.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::error::{Call as _, Error, Result};

/// Opens the device that FUSE servers speak to the kernel by.
///
/// # Errors
/// `ENOENT` where it is missing, `EACCES` or `EPERM` where it is refused.
pub fn fuse_device() -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(c"/dev/fuse", flags, Mode::empty()).call("open", || "/dev/fuse".into())
}

/// A file system being configured. Dropping it gives it up.
#[derive(Debug)]
pub struct Context {
    fd: OwnedFd,
    kind: String,
}

impl Context {
    /// Starts a file system of type `kind`.
    ///
    /// # Errors
    /// `ENODEV` when the kernel lacks it, `EPERM` where it is refused.
    pub fn open(kind: &str) -> Result<Self> {
        let fd = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .call("fsopen", || kind.to_owned())?;
        Ok(Self {
            fd,
            kind: kind.to_owned(),
        })
    }

    /// Sets an option without a value.
    ///
    /// # Errors
    /// `EINVAL` for what the file system does not know; its own words are in the target.
    pub fn flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.fd, key)
            .call("fsconfig", || format!("{} {key}{}", self.kind, self.said()))
    }

    /// Sets an option to a string of at most 255 bytes.
    ///
    /// # Errors
    /// As [`Context::flag`].
    pub fn string(&self, key: &str, value: &str) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value).call("fsconfig", || {
            format!("{} {key}={value}{}", self.kind, self.said())
        })
    }

    /// Sets an option to a descriptor (overlay's layers).
    ///
    /// # Errors
    /// As [`Context::flag`].
    pub fn descriptor(&self, key: &str, value: impl AsFd) -> Result<()> {
        rustix::mount::fsconfig_set_fd(&self.fd, key, value)
            .call("fsconfig", || format!("{} {key}{}", self.kind, self.said()))
    }

    /// Makes the file system and a detached mount of it with `attributes` (`MOUNT_ATTR_*`).
    ///
    /// # Errors
    /// What the file system says; its own words are in the target.
    pub fn mount(&self, attributes: u32) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.fd).call("fsconfig", || {
            format!("{} create{}", self.kind, self.said())
        })?;
        rustix::mount::fsmount(
            &self.fd,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::from_bits_retain(attributes),
        )
        .call("fsmount", || format!("{}{}", self.kind, self.said()))
    }

    /// What the file system wrote into its context about the last failure.
    fn said(&self) -> String {
        let mut text = String::new();
        let mut buffer = [0; 512];
        // Each read gives one line; ENODATA ends it.
        for _ in 0..8 {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(n) if n > 0 => {
                    let line = String::from_utf8_lossy(buffer.get(..n).unwrap_or_default());
                    text.push_str(if text.is_empty() { ": " } else { "; " });
                    text.push_str(line.trim().trim_start_matches("e "));
                }
                _ => break,
            }
        }
        text
    }
}

/// Read-only.
pub const RDONLY: u32 = 0x1;
/// No set-user-id.
pub const NOSUID: u32 = 0x2;
/// No device nodes.
pub const NODEV: u32 = 0x4;
/// No programs.
pub const NOEXEC: u32 = 0x8;
/// No access times.
pub const NOATIME: u32 = 0x10;
/// Every access time.
pub const STRICTATIME: u32 = 0x20;
/// The bits of the access time mode; must be cleared to set one.
pub const ATIME_MASK: u32 = 0x70;
/// No access times of directories.
pub const NODIRATIME: u32 = 0x80;
/// Symbolic links are not followed.
pub const NOSYMFOLLOW: u32 = 0x0020_0000;
/// Owners are mapped through a user namespace.
pub const IDMAP: u32 = 0x0010_0000;

/// Whether mount events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the master only.
    Slave,
    /// Both ways.
    Shared,
    /// Neither way, and it cannot be bound.
    Unbindable,
}

/// Clones the mount tree below `path` (relative to `dir`) as a detached one; `recursive` with its
/// submounts. Follows a symbolic link at the end only when `follow`.
///
/// # Errors
/// `EINVAL` when it is not of this mount namespace, or not recursive over mounts that this user
/// namespace must not uncover.
pub fn clone_at(
    dir: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    follow: bool,
) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, !follow);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.is_empty());
    rustix::mount::open_tree(dir, path, flags)
        .call("open_tree", || path.to_string_lossy().into_owned())
}

/// Clones the mount tree at an opened file or directory.
///
/// # Errors
/// As [`clone_at`].
pub fn clone_fd(fd: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    clone_at(fd.as_fd(), c"", recursive, false)
}

/// Attaches a detached tree (or moves a mount) onto an opened file or directory.
///
/// # Errors
/// `ENOTDIR` for a file onto a directory or the reverse; `EINVAL`.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    attach_at(tree, target.as_fd(), c"")
}

/// Attaches onto a name in an opened directory; a symbolic link there is not followed.
///
/// # Errors
/// As [`attach`]; `ELOOP`.
pub fn attach_at(tree: impl AsFd, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    if name.is_empty() {
        flags |= MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    }
    rustix::mount::move_mount(tree.as_fd(), c"", dir, name, flags)
        .call("move_mount", || name.to_string_lossy().into_owned())
}

/// A change of mount attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// `MOUNT_ATTR_*` to set.
    pub set: u32,
    /// To clear.
    pub clear: u32,
    /// New propagation.
    pub propagation: Option<Propagation>,
}

impl Change {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation.is_none()
    }
}

/// Changes the attributes of the mount at `fd`, with everything below when `recursive`.
///
/// # Errors
/// `EPERM` for attributes that this user namespace must not clear.
pub fn set_attributes(fd: impl AsFd, change: Change, recursive: bool) -> Result<()> {
    set(fd.as_fd(), change, recursive, None)
}

/// Makes a detached mount show its files' owners through the map of `userns`.
///
/// # Errors
/// `EINVAL` where the file system does not support it, `EPERM` for file systems of other owners.
pub fn set_idmap(fd: impl AsFd, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let change = Change {
        set: IDMAP,
        ..Change::default()
    };
    set(fd.as_fd(), change, recursive, Some(userns))
}

fn set(
    fd: BorrowedFd<'_>,
    change: Change,
    recursive: bool,
    userns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let propagation = match change.propagation {
        None => 0,
        Some(Propagation::Private) => libc::MS_PRIVATE,
        Some(Propagation::Slave) => libc::MS_SLAVE,
        Some(Propagation::Shared) => libc::MS_SHARED,
        Some(Propagation::Unbindable) => libc::MS_UNBINDABLE,
    };
    let attr = libc::mount_attr {
        attr_set: change.set.into(),
        attr_clr: change.clear.into(),
        propagation,
        userns_fd: userns.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `attr` is a valid structure of the size given; the descriptors are borrowed for the
    // call; the path is a constant empty string.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("mount_setattr", format!("{:#x}", change.set)))
    }
}

/// Makes every mount of this namespace stop sending events, and still receive them.
///
/// # Errors
/// What mount(2) says.
pub fn make_slave() -> Result<()> {
    rustix::mount::mount_change(
        c"/",
        rustix::mount::MountPropagationFlags::REC
            | rustix::mount::MountPropagationFlags::DOWNSTREAM,
    )
    .call("mount", || "/ rslave".into())
}

/// Makes the attached mount at `root` the root directory and the working directory, and detaches
/// everything that was outside.
///
/// # Errors
/// `EINVAL` where the present root is the initial ramfs.
pub fn pivot(root: impl AsFd) -> Result<()> {
    rustix::process::fchdir(root).call("fchdir", || "root".into())?;
    // The old root is stacked on the new one: no directory for it is needed inside.
    rustix::process::pivot_root(c".", c".").call("pivot_root", String::new)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).call("umount2", || "old root".into())?;
    rustix::process::chdir(c"/").call("chdir", || "/".into())
}

/// Makes the directory `root` the root and the working directory, and nothing else: what was outside
/// stays reachable for a process with `CAP_SYS_CHROOT`.
///
/// # Errors
/// What chroot(2) says.
pub fn change_root(root: impl AsFd) -> Result<()> {
    rustix::process::fchdir(root).call("fchdir", || "root".into())?;
    rustix::process::chroot(c".").call("chroot", || ".".into())
}

/// Detaches the mount at a path of this process's own choice.
///
/// # Errors
/// What umount2(2) says.
pub fn detach(path: &CStr) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .call("umount2", || path.to_string_lossy().into_owned())
}

/// Takes the mount at a path of this process's own choice away.
///
/// # Errors
/// `EBUSY` while somebody works in it.
pub fn unmount(path: &CStr) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)
        .call("umount2", || path.to_string_lossy().into_owned())
}

/// The id of the mount that an opened file is on, unique until the mount is gone.
///
/// # Errors
/// What statx(2) says.
pub fn id_of(fd: impl AsFd) -> Result<u64> {
    // SAFETY: statx is plain data; all zeros is a value of it.
    let mut buffer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a constant, the buffer is valid for the call.
    let rc = unsafe {
        libc::statx(
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT,
            libc::STATX_MNT_ID,
            &raw mut buffer,
        )
    };
    if rc == 0 {
        Ok(buffer.stx_mnt_id)
    } else {
        Err(Error::last("statx", "mount id"))
    }
}

/// Clones the mount tree at a path of the host.
///
/// # Errors
/// As [`clone_at`].
pub fn clone_path(path: &CStr, recursive: bool) -> Result<OwnedFd> {
    clone_at(rustix::fs::CWD, path, recursive, true)
}

/// Whether a failure means that this user namespace may not make such a file system here, so that
/// the caller's own mount of it is the next best.
pub fn is_refusal(error: &Error) -> bool {
    matches!(error.errno, libc::EPERM | libc::EACCES | libc::ENODEV)
}
