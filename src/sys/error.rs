//! The kernel's refusal: which call, on what, which errno.

use std::fmt;

/// A system call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The call's name, as in its man page.
    pub call: &'static str,
    /// The object it was made on: a path, a pid, an option. May be empty.
    pub target: String,
    /// The errno, positive.
    pub errno: i32,
}

/// A result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes one.
    pub fn new(call: &'static str, target: impl Into<String>, errno: i32) -> Self {
        Self {
            call,
            target: target.into(),
            errno,
        }
    }

    /// Takes the thread's errno.
    pub fn last(call: &'static str, target: impl Into<String>) -> Self {
        Self::new(
            call,
            target,
            std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        )
    }

    /// The attempt without the answer, e.g. `openat2 /etc/x`.
    pub fn attempt(&self) -> String {
        if self.target.is_empty() {
            self.call.to_owned()
        } else {
            format!("{} {}", self.call, self.target)
        }
    }

    /// The symbolic name, e.g. `ENOENT`.
    pub fn errno_name(&self) -> String {
        let name = format!("{:?}", nix::errno::Errno::from_raw(self.errno));
        if name == "UnknownErrno" {
            format!("errno {}", self.errno)
        } else {
            name
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let desc = nix::errno::Errno::from_raw(self.errno).desc();
        write!(f, "{}: {} ({desc})", self.attempt(), self.errno_name())
    }
}

impl std::error::Error for Error {}

/// Turns an error of nix or rustix into ours, naming the call and its target.
pub trait Call<T> {
    /// Names the call and the object.
    fn call(self, call: &'static str, target: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Call<T> for std::result::Result<T, nix::errno::Errno> {
    fn call(self, call: &'static str, target: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::new(call, target(), e as i32))
    }
}

impl<T> Call<T> for std::result::Result<T, rustix::io::Errno> {
    fn call(self, call: &'static str, target: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::new(call, target(), e.raw_os_error()))
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call(self, call: &'static str, target: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::new(call, target(), e.raw_os_error().unwrap_or(0)))
    }
}
