//! Namespaces: leaving, joining, telling apart.

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use super::error::{Call as _, Error, Result};

/// A kind of namespace, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Cgroup view.
    Cgroup,
    /// IPC.
    Ipc,
    /// Mounts.
    Mount,
    /// Network.
    Net,
    /// Process ids.
    Pid,
    /// Clocks.
    Time,
    /// Ids.
    User,
    /// Host name.
    Uts,
}

impl Kind {
    /// Every kind that a container may have of its own.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Mount,
        Self::Net,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Pid,
        Self::Time,
    ];

    /// The `CLONE_NEW*` bit.
    pub fn flag(self) -> u64 {
        let flag = match self {
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Net => libc::CLONE_NEWNET,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Time => 0x80,
            Self::User => libc::CLONE_NEWUSER,
            Self::Uts => libc::CLONE_NEWUTS,
        };
        // CLONE_* are bit patterns; the highest used one fits.
        u64::from(flag.cast_unsigned())
    }

    /// The file's name in `/proc/<pid>/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    /// The ioctl that opens it from a pidfd (6.11).
    fn pidfd_request(self) -> libc::c_ulong {
        // _IO(0xFF, n), linux/pidfd.h.
        0xFF00
            | match self {
                Self::Cgroup => 1,
                Self::Ipc => 2,
                Self::Mount => 3,
                Self::Net => 4,
                Self::Pid => 5,
                Self::Time => 7,
                Self::User => 9,
                Self::Uts => 10,
            }
    }
}

/// Moves the calling thread into new namespaces (`CLONE_NEW*` bits).
///
/// Kernel: unshare(2).
///
/// # Errors
/// `EPERM`, `ENOSPC` (too many), `EINVAL` (user namespace with several threads).
pub fn unshare(flags: u64) -> Result<()> {
    let bits = i32::try_from(flags).map_err(|_| Error::new("unshare", "", libc::EINVAL))?;
    // SAFETY: only CLONE_NEW* bits are passed by this crate; they do not split memory or
    // descriptor tables between threads.
    if unsafe { libc::unshare(bits) } == 0 {
        Ok(())
    } else {
        Err(Error::last("unshare", format!("{flags:#x}")))
    }
}

/// Joins the namespace behind an nsfs descriptor (`flags`: its bit, or 0 for any), or several at
/// once behind a pidfd.
///
/// Kernel: setns(2).
///
/// # Errors
/// `EPERM`, `EINVAL` (one's own user namespace; several threads), `ESRCH`.
pub fn join(fd: impl AsFd, flags: u64) -> Result<()> {
    let bits = i32::try_from(flags).map_err(|_| Error::new("setns", "", libc::EINVAL))?;
    // SAFETY: a borrowed descriptor and bits; the kernel checks both.
    if unsafe { libc::setns(fd.as_fd().as_raw_fd(), bits) } == 0 {
        Ok(())
    } else {
        Err(Error::last("setns", format!("{flags:#x}")))
    }
}

/// Opens a namespace of the calling process.
///
/// # Errors
/// What the kernel says; /proc must be there.
pub fn own(kind: Kind) -> Result<OwnedFd> {
    open_path(&format!("/proc/self/ns/{}", kind.file()))
}

/// Opens the pid namespace in which children are born.
///
/// # Errors
/// What the kernel says.
pub fn own_for_children() -> Result<OwnedFd> {
    open_path("/proc/self/ns/pid_for_children")
}

/// Opens a namespace of the process behind `pidfd`, whose pid is `pid`: by ioctl, on older kernels
/// through /proc (the pidfd then proves that the pid was not reused).
///
/// # Errors
/// `ESRCH` when it ended, `EACCES` or `EPERM` without ptrace rights over it.
pub fn of(pidfd: impl AsFd, pid: i32, kind: Kind) -> Result<OwnedFd> {
    let target = || format!("/proc/{pid}/ns/{}", kind.file());
    // SAFETY: the request takes no argument and returns a new descriptor.
    let fd = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), kind.pidfd_request(), 0) };
    if fd >= 0 {
        // SAFETY: just returned by the kernel, nobody else owns it.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let error = Error::last("ioctl(PIDFD_GET_NAMESPACE)", target());
    if !matches!(error.errno, libc::ENOTTY | libc::EINVAL | libc::EOPNOTSUPP) {
        return Err(error);
    }
    let ns = open_path(&target())?;
    super::pidfd::send_signal(pidfd, 0)?;
    Ok(ns)
}

/// Opens a namespace by path; anything that is not one is refused.
///
/// # Errors
/// `EINVAL` for another kind of file.
pub fn open_path(path: &str) -> Result<OwnedFd> {
    let fd = rustix::fs::open(
        path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK,
        rustix::fs::Mode::empty(),
    )
    .call("open", || path.to_owned())?;
    let fs = rustix::fs::fstatfs(&fd).call("fstatfs", || path.to_owned())?;
    if fs.f_type != libc::NSFS_MAGIC {
        return Err(Error::new("open", path, libc::EINVAL));
    }
    Ok(fd)
}

/// Whether an nsfs descriptor is of that kind.
///
/// Kernel: ioctl_nsfs(2), `NS_GET_NSTYPE`, 4.11.
///
/// # Errors
/// What the kernel says.
pub fn is_of_kind(ns: impl AsFd, kind: Kind) -> Result<bool> {
    // _IO(0xb7, 0x3)
    // SAFETY: the request takes no argument.
    let found = unsafe { libc::ioctl(ns.as_fd().as_raw_fd(), 0xb703) };
    if found < 0 {
        return Err(Error::last("ioctl(NS_GET_NSTYPE)", ""));
    }
    Ok(u64::from(found.cast_unsigned()) == kind.flag())
}

/// Opens the time namespace in which this process's children are born.
///
/// # Errors
/// What the kernel says.
pub fn own_time_for_children() -> Result<OwnedFd> {
    open_path("/proc/self/ns/time_for_children")
}

/// The inode number, which tells namespaces of one boot apart.
///
/// # Errors
/// What fstat(2) says.
pub fn inode(ns: impl AsFd) -> Result<u64> {
    Ok(rustix::fs::fstat(ns).call("fstat", String::new)?.st_ino)
}

/// Opens the user namespace that owns a namespace.
///
/// Kernel: ioctl_nsfs(2), `NS_GET_USERNS`, 4.9.
///
/// # Errors
/// `EPERM` when it is none that the caller may see.
pub fn owner(ns: impl AsFd) -> Result<OwnedFd> {
    // SAFETY: the request takes no argument and answers a new descriptor.
    let fd = unsafe { libc::ioctl(ns.as_fd().as_raw_fd(), 0xb701) };
    if fd < 0 {
        return Err(Error::last("ioctl(NS_GET_USERNS)", ""));
    }
    // SAFETY: just opened, and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the calling process is in that namespace.
///
/// # Errors
/// What the kernel says.
pub fn is_own(ns: impl AsFd, kind: Kind) -> Result<bool> {
    let path = format!("/proc/self/ns/{}", kind.file());
    let own = rustix::fs::stat(&path).call("stat", || path)?;
    Ok(inode(ns)? == own.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_open_by_pidfd_and_by_path_alike() {
        let pid = std::process::id().cast_signed();
        let pidfd = super::super::pidfd::open(pid).unwrap();
        for kind in Kind::ALL {
            let ns = of(&pidfd, pid, kind).unwrap();
            assert_eq!(inode(&ns).unwrap(), inode(own(kind).unwrap()).unwrap());
            assert!(is_own(&ns, kind).unwrap());
        }
    }

    #[test]
    fn a_namespace_tells_its_owner() {
        let net = own(Kind::Net).unwrap();
        // Not for a namespace of the host seen from inside another user namespace.
        if let Ok(owner) = owner(&net) {
            assert!(is_of_kind(owner, Kind::User).unwrap());
        }
        assert!(owner(std::io::stdin()).is_err());
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused() {
        assert_eq!(open_path("/dev/null").unwrap_err().errno, libc::EINVAL);
    }
}
