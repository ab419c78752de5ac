//! Making processes without an exec: `fork` and `clone3` for callers that have one thread.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::error::{Error, Result};

/// Not fit for libc's 32-bit type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The caller.
    Parent(Child),
}

/// A new process, as its parent sees it.
#[derive(Debug)]
pub struct Child {
    /// Its pid, as the caller's pid namespace counts.
    pub pid: i32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
}

/// What `clone3` shall do besides copying the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clone<'a> {
    /// `CLONE_NEW*` and `CLONE_PARENT` bits.
    pub flags: u64,
    /// A cgroup v2 directory to be born in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The signal that the parent gets at its end; 0 means none, and then only waits with
    /// `__WALL` find it.
    pub exit_signal: i32,
}

/// Whether this process has one thread. A thread that was joined may be in the kernel for a moment
/// longer, on its way out: that is waited for, 100 ms at most.
pub fn is_single_threaded() -> bool {
    for _ in 0..2000 {
        match thread_count() {
            Some(1) | None => return true,
            Some(_) => super::process::pause(std::time::Duration::from_micros(50)),
        }
    }
    false
}

/// How many threads this process has; `None` when /proc does not tell.
pub fn thread_count() -> Option<u64> {
    let stat = rustix::fs::stat(c"/proc/self/task").ok()?;
    // A directory has two links, and one for each directory in it: procfs counts threads so.
    stat.st_nlink.checked_sub(2)
}

/// Copies the process into new namespaces or another cgroup.
///
/// Kernel: clone3(2).
///
/// The caller must have one thread: else the child would find the allocator as another thread left
/// it, half-way through a change.
///
/// # Errors
/// What the kernel says: `EPERM` without the right to a namespace, `ENOSPC` for too many.
/// `EBUSY` with several threads.
pub fn clone(what: Clone<'_>) -> Result<Fork> {
    if !is_single_threaded() {
        return Err(Error::new("clone3", "several threads", libc::EBUSY));
    }
    let mut pidfd: i32 = -1;
    let mut flags = what.flags | libc::CLONE_PIDFD as u64;
    let mut args = libc::clone_args {
        flags: 0,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(what.exit_signal.unsigned_abs()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = what.cgroup {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    args.flags = flags;
    // SAFETY: `args` is a valid structure of the size given; no CLONE_VM, so parent and child each
    // go on with their own copy of this stack, and no other thread is lost half-way (checked).
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(Error::last("clone3", format!("{:#x}", what.flags))),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Child {
            pid: i32::try_from(pid).unwrap_or(-1),
            // SAFETY: CLONE_PIDFD succeeded: the kernel stored a descriptor that nobody else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// Copies the process. The C library's handlers run, so its allocator works in the child even if
/// the caller had several threads; a lock of our own that another thread held stays locked, so call
/// it with one thread.
///
/// # Errors
/// `EAGAIN` or `ENOMEM`.
pub fn fork() -> Result<Fork> {
    // SAFETY: the child has a copy of all memory; the C library puts its own state in order.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last("fork", "")),
        0 => Ok(Fork::Child),
        pid => {
            let id = rustix::process::Pid::from_raw(pid)
                .ok_or_else(|| Error::new("fork", "", libc::EINVAL))?;
            // The child is ours and not waited for: its pid cannot be reused meanwhile.
            let pidfd = rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty())
                .map_err(|e| Error::new("pidfd_open", pid.to_string(), e.raw_os_error()))?;
            Ok(Fork::Parent(Child { pid, pidfd }))
        }
    }
}

/// Runs `body` in a forked child and ends it with the returned code, without running exit handlers
/// or destructors of the caller's frames.
///
/// # Errors
/// As [`fork`].
pub fn fork_with(body: impl FnOnce() -> u8) -> Result<Child> {
    match fork()? {
        Fork::Parent(child) => Ok(child),
        Fork::Child => exit_now(body()),
    }
}

/// Ends the process at once: no exit handlers, no buffers flushed.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(i32::from(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pidfd;

    #[test]
    fn a_forked_child_ends_with_the_code_of_its_body() {
        let child = fork_with(|| 7).unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap(), pidfd::Ended::Exited(7));
    }

    #[test]
    fn a_clone_reports_its_pid_and_status_and_needs_one_thread() {
        let body = || {
            let what = Clone {
                exit_signal: libc::SIGCHLD,
                ..Clone::default()
            };
            match clone(what) {
                Ok(Fork::Child) => exit_now(3),
                Ok(Fork::Parent(child)) if child.pid > 0 => {
                    pidfd::wait(&child.pidfd).map_or(1, |e| e.code().try_into().unwrap_or(2))
                }
                _ => 4,
            }
        };
        let child = fork_with(body).unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap(), pidfd::Ended::Exited(3));
        let child = fork_with(|| {
            std::thread::scope(|scope| {
                scope
                    .spawn(|| clone(Clone::default()).map_or_else(|e| e.errno, |_| 0))
                    .join()
                    .map_or(1, |errno| u8::from(errno != libc::EBUSY))
            })
        })
        .unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap(), pidfd::Ended::Exited(0));
    }
}
