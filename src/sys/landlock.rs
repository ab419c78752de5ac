//! Landlock: files and signals that a thread gives up for good.
//!
//! Kernel: landlock(7), Documentation/userspace-api/landlock.rst; since 5.13. Needs `no_new_privs`.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::{Call as _, Error, Result};

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const ASK_VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: i32 = 1;
/// `LANDLOCK_ACCESS_FS_READ_FILE`.
const READ_FILE: u64 = 1 << 2;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
const SCOPES: u64 = 3;

/// `struct landlock_ruleset_attr`; kernels take a longer one than theirs when the rest is zero.
#[repr(C)]
struct Ruleset {
    files: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// Every access to files that version `abi` of the interface knows.
fn accesses(abi: i64) -> u64 {
    match abi {
        ..=1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    }
}

/// From now on the calling thread opens no file but for reading below one of `readable` (those that
/// are there), and signals nobody but its own kind. `false` where the kernel has no Landlock.
///
/// # Errors
/// `EPERM` without `no_new_privs`.
pub fn restrict(readable: &[&Path]) -> Result<bool> {
    // SAFETY: with this flag the kernel reads nothing and answers a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Ruleset>(),
            0,
            ASK_VERSION,
        )
    };
    if abi < 1 {
        return Ok(false);
    }
    let attributes = Ruleset {
        files: accesses(abi),
        net: 0,
        scoped: if abi >= 6 { SCOPES } else { 0 },
    };
    // SAFETY: the structure is valid for its size over the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<Ruleset>(),
            0,
        )
    };
    let number = i32::try_from(fd).unwrap_or(-1);
    if number < 0 {
        return Err(Error::last("landlock_create_ruleset", ""));
    }
    // SAFETY: just returned by the kernel, nobody else owns it.
    let rules = unsafe { OwnedFd::from_raw_fd(number) };
    for path in readable {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Ok(parent) = rustix::fs::open(*path, flags, Mode::empty()) else {
            continue;
        };
        let rule = Beneath {
            allowed: READ_FILE,
            parent: parent.as_raw_fd(),
        };
        // SAFETY: both descriptors are open and the rule is valid over the call.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                rules.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0,
            )
        };
        if rc != 0 {
            return Err(Error::last("landlock_add_rule", path.display().to_string()));
        }
    }
    // SAFETY: a descriptor and a number.
    let rc = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    match rc {
        0 => Ok(true),
        _ => Err(Error::last("landlock_restrict_self", "")),
    }
}

/// Gives up gaining rights by executing a program, which [`restrict`] and filters of system calls
/// want.
///
/// # Errors
/// None in practice.
pub fn no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true).call("prctl(PR_SET_NO_NEW_PRIVS)", String::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_reads_below_its_folders_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (open, shut) = (dir.path().join("open"), dir.path().join("shut"));
        for folder in [&open, &shut] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("file"), "x").unwrap();
        }
        let there = open.clone();
        let thread = std::thread::spawn(move || {
            no_new_privileges().unwrap();
            if !restrict(&[&there, Path::new("/no/such/folder")]).unwrap() {
                return;
            }
            assert_eq!(std::fs::read_to_string(there.join("file")).unwrap(), "x");
            let denied = |result: std::io::Result<()>| {
                assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EACCES));
            };
            denied(std::fs::read(shut.join("file")).map(drop));
            denied(std::fs::write(there.join("file"), "y"));
            denied(std::fs::write(there.join("new"), "y"));
            denied(std::fs::read_dir("/").map(drop));
        });
        thread.join().unwrap();
        assert_eq!(std::fs::read_to_string(open.join("file")).unwrap(), "x");
    }
}
