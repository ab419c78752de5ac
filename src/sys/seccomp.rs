//! Loading a compiled system call filter.

use std::os::fd::{FromRawFd as _, OwnedFd};

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
    set(filter, flags & !WAIT_KILLABLE).map(drop)
}

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: only with a listener.
pub const WAIT_KILLABLE: u32 = 1 << 5;

/// As [`load`], for a filter that asks an agent: its listener, close-on-exec.
///
/// # Errors
/// As [`load`]; `EBUSY` when this process has a listener already.
pub fn load_with_listener(filter: &[Instruction], flags: u32) -> Result<OwnedFd> {
    let flags = flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    let number = set(filter, flags)?;
    // SAFETY: with NEW_LISTENER the kernel returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn set(filter: &[Instruction], flags: u32) -> Result<i32> {
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
    if rc >= 0 {
        Ok(i32::try_from(rc).unwrap_or(-1))
    } else {
        Err(Error::last("seccomp", "SET_MODE_FILTER"))
    }
}

/// Raw calls for the tests of filters, which answer them before the kernel does.
#[cfg(all(test, target_arch = "x86_64"))]
pub mod raw {
    /// Makes a call with three numbers and answers its errno, 0 when it succeeded.
    pub fn call(nr: i64, a: i64, b: i64, c: i64) -> i32 {
        // SAFETY: the tests make calls that their filter denies, or that take plain numbers.
        if unsafe { libc::syscall(nr, a, b, c) } == -1 {
            std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
        } else {
            0
        }
    }

    /// Makes a call through the 32-bit entry; answers the kernel's result, `-errno` on failure.
    pub fn call32(nr: u32, first: u32) -> i32 {
        let result: i64;
        // SAFETY: as in `call`; rbx, which the compiler keeps for itself, is put back.
        unsafe {
            std::arch::asm!(
                "push rbx",
                "mov ebx, {first:e}",
                "int 0x80",
                "pop rbx",
                first = in(reg) first,
                inlateout("rax") i64::from(nr) => result,
                in("rcx") 0_u64, in("rdx") 0_u64, in("rsi") 0_u64, in("rdi") 0_u64,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        result as i32
    }
}
