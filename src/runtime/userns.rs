//! The caller's user namespace: join or make it.

use crate::base::{Error, Result};
use crate::config::dirs::Dirs;
use crate::spec::idmap::IdMaps;
use crate::sys::process::Identity;

/// Which user namespace a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The caller's shared one, wherever it lives.
    Default,
    /// The one of this monitor (or of any other process of the caller).
    Of(Identity),
}

/// How the namespace was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Through a container's monitor.
    Monitor,
    /// Through the idle holder.
    Holder,
    /// Made now; a holder was left behind.
    Created,
    /// This process was in it already.
    Already,
    /// Root where the kernel refuses user namespaces: none at all.
    None,
}

/// Where [`enter`] brought this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Ids inside, and what they are for the caller's own namespace.
    pub maps: IdMaps,
    /// Only one id is mapped: every other owner is refused by the kernel.
    pub single: bool,
    /// How it was found.
    pub joined: Joined,
    /// A sentence for the person, once, when something is missing (e.g. subordinate ids).
    pub notice: Option<String>,
}

/// Puts this single-threaded process into the caller's user namespace and a mount namespace of its
/// own; from then on it is uid 0 with all capabilities there. A second call returns at once.
///
/// # Errors
/// `Denied` or `Unsupported` with a hint when the kernel refuses user namespaces.
pub fn enter(_dirs: &Dirs, _want: Want) -> Result<Entered> {
    Err(Error::unsupported("being written"))
}
