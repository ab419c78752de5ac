//! A container's own user namespace below the shared one: keep-id, nomap, auto, given maps.

use std::os::fd::OwnedFd;

use crate::base::{Error, Result};
use crate::spec::idmap::IdMaps;

/// A user namespace and the namespaces it owns.
#[derive(Debug)]
pub struct Nested {
    /// The user namespace.
    pub userns: OwnedFd,
    /// Its maps, relative to the shared namespace.
    pub maps: IdMaps,
    /// A network namespace with the loopback up, if asked for.
    pub net: Option<OwnedFd>,
    /// An IPC namespace, if asked for.
    pub ipc: Option<OwnedFd>,
    /// A UTS namespace, if asked for.
    pub uts: Option<OwnedFd>,
}

/// Which namespaces the new user namespace shall own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owns {
    /// Network.
    pub net: bool,
    /// IPC.
    pub ipc: bool,
    /// UTS.
    pub uts: bool,
}

/// Makes a user namespace with `maps` (outside ids are those of the shared namespace, in which
/// this process must be) and the namespaces of `owns`. Lines may span extents of the parent's map:
/// they are split. Give `net` to the uplink as the container's network namespace.
///
/// # Errors
/// `Invalid` when a line maps ids that the shared namespace does not have.
pub fn create(_maps: &IdMaps, _owns: Owns) -> Result<Nested> {
    Err(Error::unsupported("being written"))
}
