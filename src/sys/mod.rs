//! The kernel: every raw system call, and all unsafe code of the crate.
//!
//! One family a file. Wrappers take `BorrowedFd` and `&CStr` (or paths) and return `OwnedFd`, so
//! that soundness never rests on a caller. Errors name the call, its object and the errno.

#![expect(
    unsafe_code,
    reason = "this is the one module that talks to the kernel by hand"
)]

pub mod at;
pub mod attributes;
pub mod bare;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod confine;
pub mod daemon;
mod error;
pub mod event;
pub mod exec;
pub mod fd;
pub mod interface;
pub mod landlock;
pub mod link;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod nl;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod resolve;
pub mod schedule;
pub mod seccomp;
pub mod signal;
pub mod spawn;
pub mod termios;
pub mod watch;
pub mod xattr;

pub use error::{Call, Error, Result};
