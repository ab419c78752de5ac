//! Replacing the program.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd as _};

use super::error::{Error, Result};

/// Arguments and environment in the kernel's form, made before anything is irreversible.
#[derive(Debug)]
pub struct Program {
    strings: Vec<CString>,
    args: usize,
}

impl Program {
    /// Collects `args` (the name first) and `env` (`KEY=VALUE`).
    ///
    /// # Errors
    /// `EINVAL` for a string with a NUL byte, named.
    pub fn new<'a>(
        args: impl IntoIterator<Item = &'a str>,
        env: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let c = |text: &str| {
            CString::new(text).map_err(|_| Error::new("execve", format!("{text:?}"), libc::EINVAL))
        };
        let mut strings = args.into_iter().map(c).collect::<Result<Vec<_>>>()?;
        let args = strings.len();
        for text in env {
            strings.push(c(text)?);
        }
        Ok(Self { strings, args })
    }

    fn pointers(&self) -> (Vec<*const libc::c_char>, Vec<*const libc::c_char>) {
        let list = |part: &[CString]| {
            part.iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect::<Vec<_>>()
        };
        let (args, env) = self.strings.split_at(self.args);
        (list(args), list(env))
    }
}

/// Executes the file at `path`. Only returns on failure.
///
/// # Errors
/// What execve(2) says.
pub fn path(path: &CStr, program: &Program) -> Result<Infallible> {
    let (args, env) = program.pointers();
    // SAFETY: terminated strings and null-terminated lists that live over the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(Error::last("execve", path.to_string_lossy()))
}

/// Executes an opened file. A script fails with `ENOENT` when the descriptor is close-on-exec: its
/// interpreter could not open it. Only returns on failure.
///
/// # Errors
/// What execveat(2) says.
pub fn descriptor(file: impl AsFd, program: &Program) -> Result<Infallible> {
    let (args, env) = program.pointers();
    // SAFETY: as in `path`; the descriptor is borrowed for the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err(Error::last("execveat", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{clone, pidfd};

    #[test]
    fn programs_run_by_path_and_by_descriptor() {
        let program =
            Program::new(["sh", "-c", "exit $CODE"], ["CODE=9", "PATH=/usr/bin:/bin"]).unwrap();
        let file = std::fs::File::open("/bin/sh").unwrap();
        for by_path in [true, false] {
            let child = clone::fork_with(|| {
                if by_path {
                    drop(path(c"/bin/sh", &program));
                } else {
                    drop(descriptor(&file, &program));
                }
                99
            })
            .unwrap();
            assert_eq!(pidfd::wait(&child.pidfd).unwrap().code(), 9);
        }
        assert!(Program::new(["a\0b"], []).is_err());
    }
}
