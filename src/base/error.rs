//! The error of everything above the kernel layer: what was attempted, on which object, why it
//! failed, and what to do next.
//!
//! Invariants: `Display` prints one sentence and never the source; the report at the edge walks
//! the chain once. The first line is the goal that failed, each cause goes one level down, the
//! last one names the errno. A hint is something to do.

use std::error::Error as StdError;
use std::fmt;

use crate::sys;

/// The boxed cause of an error.
pub type Source = Box<dyn StdError + Send + Sync + 'static>;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as callers and exit codes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The named object does not exist.
    NotFound,
    /// The object is used by another one, or is in the wrong state.
    InUse,
    /// The name is taken.
    Exists,
    /// The input is malformed or contradicts itself.
    Invalid,
    /// The kernel, the registry or a policy said no.
    Denied,
    /// This kernel, this host or this version of coracle cannot do it.
    Unsupported,
    /// A peer or a resource is out of reach: network, registry, full disk.
    Unavailable,
    /// Stored or received data is damaged.
    Corrupt,
    /// A deadline passed.
    TimedOut,
    /// A signal ended it.
    Interrupted,
    /// A defect in coracle.
    Internal,
}

/// An error with its chain of causes and its hints.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    what: String,
    source: Option<Source>,
    hints: Vec<String>,
    exit_code: Option<u8>,
}

impl Error {
    /// Makes an error of `kind` whose own sentence is `what` (lower case, no full stop).
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            source: None,
            hints: Vec::new(),
            exit_code: None,
        }))
    }

    /// Shorthand for [`Kind::Invalid`].
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, what)
    }

    /// Shorthand for [`Kind::NotFound`].
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, what)
    }

    /// Shorthand for [`Kind::Unsupported`].
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, what)
    }

    /// Shorthand for [`Kind::Internal`].
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Kind::Internal, what)
    }

    /// Adds the cause. The kind stays.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds one next step for the person, e.g. a command to run.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Replaces the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Sets the exit code of the process, where it is not the usual 125 (126, 127, 1, …).
    #[must_use]
    pub fn exit_code(mut self, code: u8) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// This error's own sentence.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The exit code asked for here or by a cause further down.
    pub fn asked_exit_code(&self) -> Option<u8> {
        if self.0.exit_code.is_some() {
            return self.0.exit_code;
        }
        let mut source = self.source();
        while let Some(cause) = source {
            if let Some(code) = cause.downcast_ref::<Self>().and_then(|e| e.0.exit_code) {
                return Some(code);
            }
            source = cause.source();
        }
        None
    }

    /// All hints of the chain, outermost first, without repeats.
    pub fn hints(&self) -> Vec<&str> {
        let mut hints: Vec<&str> = self.0.hints.iter().map(String::as_str).collect();
        let mut source = self.source();
        while let Some(cause) = source {
            if let Some(e) = cause.downcast_ref::<Self>() {
                for hint in &e.0.hints {
                    if !hints.contains(&hint.as_str()) {
                        hints.push(hint);
                    }
                }
            }
            source = cause.source();
        }
        hints
    }

    /// The errno at the bottom of the chain, if a system call is to blame.
    pub fn errno(&self) -> Option<i32> {
        let mut source: Option<&(dyn StdError + 'static)> = self.source();
        while let Some(cause) = source {
            if let Some(e) = cause.downcast_ref::<sys::Error>() {
                return Some(e.errno);
            }
            if let Some(code) = cause
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::raw_os_error)
            {
                return Some(code);
            }
            source = cause.source();
        }
        None
    }

    /// The sentences of the chain, outermost first. One that the next only repeats with the
    /// kernel's answer (`pwrite`, `pwrite: ENOSPC`) is left out.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![self.0.what.clone()];
        let mut source = self.source();
        while let Some(cause) = source {
            let next = cause.to_string();
            match sentences.last_mut() {
                Some(last) if next.starts_with(last.as_str()) => *last = next,
                _ => sentences.push(next),
            }
            source = cause.source();
        }
        sentences
    }

    /// [`Error::sentences`] in one line, for logs, events and exit records.
    pub fn one_line(&self) -> String {
        self.sentences().join(": ")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.one_line())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|s| &**s as &(dyn StdError + 'static))
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        let kind = kind_of_errno(error.errno);
        Self::new(kind, error.attempt()).because(error)
    }
}

/// The kind that an errno stands for when nothing better is known.
pub fn kind_of_errno(errno: i32) -> Kind {
    match errno {
        libc::ENOENT | libc::ESRCH | libc::ENXIO => Kind::NotFound,
        libc::EEXIST => Kind::Exists,
        libc::EBUSY | libc::ENOTEMPTY | libc::ETXTBSY | libc::EADDRINUSE => Kind::InUse,
        libc::EACCES | libc::EPERM | libc::EROFS => Kind::Denied,
        libc::EINVAL | libc::ENAMETOOLONG | libc::ELOOP | libc::ENOTDIR | libc::EISDIR => {
            Kind::Invalid
        }
        libc::ENOSYS | libc::EOPNOTSUPP | libc::ENODEV => Kind::Unsupported,
        libc::ENOSPC
        | libc::EDQUOT
        | libc::ENOMEM
        | libc::EMFILE
        | libc::ENFILE
        | libc::ECONNREFUSED
        | libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ECONNRESET => Kind::Unavailable,
        libc::ETIMEDOUT => Kind::TimedOut,
        libc::EINTR => Kind::Interrupted,
        _ => Kind::Internal,
    }
}

fn kind_of_source(source: &(dyn StdError + 'static)) -> Kind {
    if let Some(e) = source.downcast_ref::<Error>() {
        return e.kind();
    }
    if let Some(e) = source.downcast_ref::<sys::Error>() {
        return kind_of_errno(e.errno);
    }
    if let Some(e) = source.downcast_ref::<std::io::Error>() {
        return e.raw_os_error().map_or(Kind::Internal, kind_of_errno);
    }
    Kind::Invalid
}

/// Adds the attempt to a failure on its way up.
pub trait Context<T> {
    /// Wraps the error in one whose sentence is `what()`; the kind is taken from the cause.
    fn what<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
    /// As [`Context::what`], with a kind of its own.
    fn what_kind<S: Into<String>>(self, kind: Kind, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Source>> Context<T> for std::result::Result<T, E> {
    fn what<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| {
            let source: Source = e.into();
            Error::new(kind_of_source(&*source), what()).because(source)
        })
    }

    fn what_kind<S: Into<String>>(self, kind: Kind, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::new(kind, what()).because(e))
    }
}

/// Adds a hint to a failure on its way up.
pub trait Hint<T> {
    /// Adds one next step.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Hint<T> for Result<T> {
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Self {
        self.map_err(|e| e.hint(hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_keeps_kind_hints_exit_code_and_errno() {
        let low = sys::Error::new("openat2", "/etc/x", libc::ENOENT);
        let e: Result<()> = Err(low).what(|| "cannot read the record");
        let e = e.map_err(|e| e.hint("run doctor").exit_code(127));
        let e: Result<()> = e.what(|| "cannot start container \"web\"");
        let e = e.unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound);
        assert_eq!(e.errno(), Some(libc::ENOENT));
        assert_eq!(e.hints(), ["run doctor"]);
        assert_eq!(e.asked_exit_code(), Some(127));
        assert_eq!(
            e.one_line(),
            "cannot start container \"web\": cannot read the record: openat2 /etc/x: ENOENT (No such file or directory)"
        );
        let repeated = Error::from(sys::Error::new("pwrite", "", libc::ENOSPC));
        assert_eq!(
            repeated.sentences(),
            ["pwrite: ENOSPC (No space left on device)"]
        );
    }
}
