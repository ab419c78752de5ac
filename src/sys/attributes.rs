//! What a process is besides its memory: ids, death signal, dumpability, title, limits, keyring.
//!
//! Ids are set by raw system calls: the C library's wrappers signal every thread that they
//! believe in, which a cloned child does not have.

use std::os::fd::{AsFd, AsRawFd as _};

use super::error::{Error, Result};

fn check(rc: libc::c_long, call: &'static str, target: impl Into<String>) -> Result<()> {
    if rc == -1 {
        Err(Error::last(call, target))
    } else {
        Ok(())
    }
}

fn prctl(option: libc::c_int, value: libc::c_ulong, call: &'static str) -> Result<()> {
    // SAFETY: used with options that take numbers only.
    let rc = unsafe { libc::prctl(option, value, 0, 0, 0) };
    check(rc.into(), call, value.to_string())
}

/// Asks for `signal` when the parent's thread ends; 0 asks for none. Cleared by the kernel when
/// ids or capabilities change: ask again then.
///
/// # Errors
/// `EINVAL` for a bad signal.
pub fn set_death_signal(signal: i32) -> Result<()> {
    let value = libc::c_ulong::from(signal.unsigned_abs());
    prctl(libc::PR_SET_PDEATHSIG, value, "prctl(PR_SET_PDEATHSIG)")
}

/// Makes orphans below this process its children.
///
/// # Errors
/// None in practice.
pub fn set_subreaper(on: bool) -> Result<()> {
    prctl(
        libc::PR_SET_CHILD_SUBREAPER,
        on.into(),
        "prctl(PR_SET_CHILD_SUBREAPER)",
    )
}

/// Whether others with the same ids may trace the process and read its /proc entry.
///
/// # Errors
/// None in practice.
pub fn set_dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, on.into(), "prctl(PR_SET_DUMPABLE)")
}

/// Forbids every gain of privilege by execve, for good.
///
/// # Errors
/// None in practice.
pub fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, "prctl(PR_SET_NO_NEW_PRIVS)")
}

/// The short name (15 bytes) that `ps` and `/proc/<pid>/comm` show.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the string is terminated and only read. A failure only costs the name.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Replaces the command line that `ps` shows, cut to the room that the original one had, and the
/// short name. For processes forked from a command that live on. The process must not look at its
/// arguments afterwards.
pub fn set_title(title: &str) {
    if let Ok(name) = std::ffi::CString::new(title.get(..15).unwrap_or(title)) {
        set_name(&name);
    }
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    // Fields 48 and 49, arg_start and arg_end; the name in field 2 may hold spaces.
    let mut fields = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest)
        .unwrap_or_default()
        .split(' ')
        .skip(45);
    let mut next = || fields.next().and_then(|f| f.trim().parse::<usize>().ok());
    let (Some(start), Some(end)) = (next(), next()) else {
        return;
    };
    if start == 0 || end <= start + 1 {
        return;
    }
    let room = end - start;
    let bytes = title.as_bytes();
    let used = bytes.len().min(room - 1);
    // SAFETY: the kernel names this range as the argument strings on our own stack, which are
    // writable; std copied what it hands out, and nothing else of ours points there.
    unsafe {
        let area = start as *mut u8;
        std::ptr::write_bytes(area, 0, room);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), area, used);
    }
}

/// Sets real, effective and saved group id.
///
/// # Errors
/// `EINVAL` when the id is not mapped, `EPERM`.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: numbers only.
    let rc = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    check(rc, "setresgid", gid.to_string())
}

/// Sets real, effective and saved user id.
///
/// # Errors
/// `EINVAL` when the id is not mapped, `EPERM`, `EAGAIN`.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: numbers only.
    let rc = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    check(rc, "setresuid", uid.to_string())
}

/// Sets the ids under which files are made and checked, keeping all capabilities: for making files
/// as the root of a nested user namespace before entering it. Undone by [`set_uid`] and
/// [`set_secure_bits`].
///
/// # Errors
/// `EPERM` when an id is not mapped or the capabilities cannot be kept.
pub fn set_file_ids(uid: u32, gid: u32) -> Result<()> {
    // Else leaving uid 0 takes the capabilities over files away.
    set_secure_bits(true)?;
    // The calls return the former id, whatever happens; asking with -1 shows what is in force.
    // SAFETY: numbers only.
    let now = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        [
            libc::syscall(libc::SYS_setfsuid, u32::MAX),
            libc::syscall(libc::SYS_setfsgid, u32::MAX),
        ]
    };
    if now == [i64::from(uid), i64::from(gid)] {
        Ok(())
    } else {
        Err(Error::new("setfsuid", format!("{uid}:{gid}"), libc::EPERM))
    }
}

/// Whether capabilities stay as they are when user ids change (`SECBIT_NO_SETUID_FIXUP`); off is
/// the rule of Unix.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn set_secure_bits(keep: bool) -> Result<()> {
    let bits = if keep { 1 << 2 } else { 0 };
    prctl(libc::PR_SET_SECUREBITS, bits, "prctl(PR_SET_SECUREBITS)")
}

/// Sets the supplementary groups.
///
/// # Errors
/// `EINVAL` when one is not mapped, `EPERM` (also where `setgroups` is denied).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length are of one slice, which is only read.
    let rc = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    check(rc, "setgroups", format!("{groups:?}"))
}

/// Starts a new session; the process leads it and has no terminal.
///
/// # Errors
/// `EPERM` when it leads a process group.
pub fn new_session() -> Result<()> {
    // SAFETY: no arguments.
    let rc = unsafe { libc::setsid() };
    check(rc.into(), "setsid", "")
}

/// Makes the process group lead itself.
///
/// # Errors
/// `EPERM` for a session leader.
pub fn new_process_group() -> Result<()> {
    // SAFETY: numbers only.
    let rc = unsafe { libc::setpgid(0, 0) };
    check(rc.into(), "setpgid", "")
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    // SAFETY: cannot fail.
    unsafe { libc::umask(mask & 0o777) };
}

/// Sets the host name of the UTS namespace.
///
/// # Errors
/// `EPERM`, `EINVAL` when longer than 64 bytes.
pub fn set_host_name(name: &str) -> Result<()> {
    // SAFETY: pointer and length are of one string, which is only read.
    let rc = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    check(rc.into(), "sethostname", name)
}

/// Sets the NIS domain name of the UTS namespace.
///
/// # Errors
/// As [`set_host_name`].
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: as in `set_host_name`.
    let rc = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    check(rc.into(), "setdomainname", name)
}

/// Joins a new, empty session keyring: the caller's keys stay outside.
///
/// # Errors
/// `ENOSYS` without key management, `EPERM` behind a filter, `EDQUOT`.
pub fn new_session_keyring() -> Result<()> {
    // KEYCTL_JOIN_SESSION_KEYRING with no name.
    // SAFETY: numbers and a null pointer, which stands for "anonymous".
    let rc = unsafe { libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<u8>(), 0, 0, 0) };
    check(rc, "keyctl", "JOIN_SESSION_KEYRING")
}

/// Sets a resource limit; `u64::MAX` is unlimited.
///
/// # Errors
/// `EPERM` when the hard limit would rise.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the structure lives over the call and is only read.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null::<libc::rlimit64>(),
        )
    };
    check(rc, "prlimit64", format!("{soft}:{hard}"))
}

/// Sets the execution domain.
///
/// # Errors
/// `EINVAL`.
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: numbers only.
    let rc = unsafe { libc::personality(persona) };
    check(rc.into(), "personality", format!("{persona:#x}"))
}

/// Whether the process on the other end of a socket pair or pipe is still there: nobody hung up.
///
/// # Errors
/// What poll(2) says.
pub fn peer_lives(socket: impl AsFd) -> Result<bool> {
    let mut fds = libc::pollfd {
        fd: socket.as_fd().as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one valid structure, no waiting.
    let rc = unsafe { libc::poll(&raw mut fds, 1, 0) };
    check(rc.into(), "poll", "")?;
    Ok(fds.revents & (libc::POLLHUP | libc::POLLERR) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{clone, pidfd};

    #[test]
    fn the_title_replaces_the_command_line() {
        let child = clone::fork_with(|| {
            set_title("coracle x");
            let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
            let comm = std::fs::read("/proc/self/comm").unwrap_or_default();
            u8::from(!(line.starts_with(b"coracle x\0") && comm == b"coracle x\n"))
        })
        .unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap().code(), 0);
    }

    #[test]
    fn a_gone_peer_is_noticed() {
        let (a, b) = crate::sys::fd::packet_pair().unwrap();
        assert!(peer_lives(&a).unwrap());
        drop(b);
        assert!(!peer_lives(&a).unwrap());
    }
}
