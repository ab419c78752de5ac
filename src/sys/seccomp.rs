//! Loading a compiled system call filter.

use super::error::{Error, Result};

/// One instruction of classic BPF.
pub type Instruction = libc::sock_filter;

/// The longest filter that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Loads `filter` for the calling thread and everything it executes. `flags` are
/// `SECCOMP_FILTER_FLAG_*` bits. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// Kernel: seccomp(2), `SECCOMP_SET_MODE_FILTER`.
///
/// # Errors
/// What the kernel says: `EINVAL` for a malformed program, `EACCES` without the right.
pub fn load(filter: &[Instruction], flags: u32) -> Result<()> {
    let len = u16::try_from(filter.len())
        .map_err(|_| Error::new("seccomp", "SET_MODE_FILTER", libc::E2BIG))?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `program` names `len` instructions of the kernel's layout that outlive the call; the
    // kernel only reads them.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("seccomp", "SET_MODE_FILTER"))
    }
}
