//! Users and groups of an image: `/etc/passwd` and `/etc/group` below a root descriptor.

use std::os::fd::BorrowedFd;

use crate::base::{Error, Result};

/// A user inside a root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary groups: those of `/etc/group` (only when no group was named) and those asked
    /// for, without repeats.
    pub groups: Vec<u32>,
    /// Home directory from passwd; `/` when there is no entry.
    pub home: String,
    /// Login name from passwd, if there is an entry.
    pub name: Option<String>,
    /// Whether passwd has an entry for the uid.
    pub known: bool,
}

/// Resolves `user[:group]` (names or ids; empty means root) and further `groups`.
///
/// # Errors
/// `NotFound` for a name that the files do not have; `Invalid` for a file that is too large or not
/// a regular file.
pub fn resolve_user(
    _root: BorrowedFd<'_>,
    _user: &str,
    _groups: &[String],
) -> Result<ResolvedUser> {
    Err(Error::unsupported("being written"))
}
