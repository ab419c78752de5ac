//! Log drivers: where a container's output is kept, and how it is read again.
//!
//! `k8s-file` (CRI's format) and `json-file` (Docker's) are files in the container's folder with
//! rotation; `journald` speaks the journal's datagram protocol; `none` keeps nothing;
//! `passthrough` never sees the output. Formats: docs/formats/logs.md.

use std::path::PathBuf;

use crate::base::{Error, Result};
use crate::handoff::output::{Discard, Sink};
use crate::state::container::Container;
use crate::state::options::LogDriver;

/// The file that holds a container's log (the newest part, when it is rotated); `None` for drivers
/// without one.
pub fn path(container: &Container) -> Option<PathBuf> {
    let options = &container.record.options.log;
    match options.driver {
        LogDriver::K8sFile | LogDriver::JsonFile => Some(
            options
                .path
                .clone()
                .unwrap_or_else(|| container.dir().join("log")),
        ),
        LogDriver::Journald | LogDriver::None | LogDriver::Passthrough => None,
    }
}

/// Opens the log of a container for writing. The command does it before it forks the monitor, so
/// that a bad path is its error.
///
/// # Errors
/// What the kernel says of the file, `Unavailable` when no journal listens.
pub fn open(container: &Container) -> Result<Box<dyn Sink>> {
    match container.record.options.log.driver {
        LogDriver::None | LogDriver::Passthrough => Ok(Box::new(Discard)),
        _ => Err(Error::unsupported("log driver")),
    }
}
