//! The kernel: every raw system call, and all unsafe code of the crate.
//!
//! One family a file. Wrappers take `BorrowedFd` and `&CStr` (or paths) and return `OwnedFd`, so
//! that soundness never rests on a caller. Errors name the call, its object and the errno.

#![expect(
    unsafe_code,
    reason = "this is the one module that talks to the kernel by hand"
)]

mod error;
pub mod process;
pub mod seccomp;

pub use error::{Call, Error, Result};
