//! Programs for the kernel's virtual machine: only what decides about devices in a cgroup.
//!
//! Kernel: bpf(2); Documentation/bpf/prog_cgroup_sysctl is a sibling.

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use super::error::{Error, Result};

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// One instruction in the kernel's layout: code, registers, offset, immediate.
pub type Instruction = u64;

/// The part of `union bpf_attr` for loading.
#[repr(C, align(8))]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// The part of `union bpf_attr` for attaching.
#[repr(C, align(8))]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program that decides about devices.
///
/// # Errors
/// `EPERM` in a user namespace; `EINVAL` or `EACCES` for a program that the kernel does not trust.
pub fn load_device_program(instructions: &[Instruction]) -> Result<OwnedFd> {
    let license = c"GPL";
    let attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len())
            .map_err(|_| Error::new("bpf", "BPF_PROG_LOAD", libc::E2BIG))?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: the structure is valid and of the size given; what it points to outlives the call
    // and is only read.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const attributes,
            size_of::<Load>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel just made it, close-on-exec; nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Error::last("bpf", "BPF_PROG_LOAD")),
    }
}

/// Makes a program decide about the devices of a cgroup v2, beside those that are there.
///
/// # Errors
/// `EPERM`; `EINVAL` for what is no cgroup v2.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let attributes = Attach {
        target: cgroup.as_fd().as_raw_fd().unsigned_abs(),
        program: program.as_fd().as_raw_fd().unsigned_abs(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: a valid structure of the size given, only read.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attributes,
            size_of::<Attach>(),
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("bpf", "BPF_PROG_ATTACH"))
    }
}
