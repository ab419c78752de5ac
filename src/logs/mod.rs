//! Log drivers: where a container's output is kept, and how it is read again.
//!
//! `k8s-file` (CRI's format) and `json-file` (Docker's) are files in the container's folder with
//! rotation; `journald` speaks the journal's datagram protocol; `none` keeps nothing;
//! `passthrough` never sees the output.
//!
//! Invariants: a line is written by one write(2), so that a reader never sees two mixed; a torn
//! last line (power cut, kill -9) costs that line only.

mod file;
pub mod journald;
mod json;
mod k8s;
mod lines;
pub mod read;

use std::path::PathBuf;

use crate::base::time::Timestamp;
use crate::base::{Context as _, Result};
use crate::handoff::output::{Discard, Sink, Stream};
use crate::state::container::Container;
use crate::state::options::LogDriver;
use file::LogFile;

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
/// What the kernel says of the file; `Unavailable` when no journal listens; `Invalid` for a tag
/// with an unknown template.
pub fn open(container: &Container) -> Result<Box<dyn Sink>> {
    let options = &container.record.options.log;
    let what = || format!("cannot open the log of container {:?}", container.name());
    let file = |path: PathBuf| {
        LogFile::open(path, options.max_size, options.max_file.unwrap_or(1)).what(what)
    };
    Ok(match (options.driver, path(container)) {
        (LogDriver::K8sFile, Some(path)) => Box::new(k8s::K8sLog::new(file(path)?)),
        (LogDriver::JsonFile, Some(path)) => Box::new(json::JsonLog::new(file(path)?)),
        (LogDriver::Journald, _) => Box::new(journald::Journal::open(container).what(what)?),
        _ => Box::new(Discard),
    })
}

/// One entry of a log: a line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was read from the container.
    pub time: Timestamp,
    /// Where it came out.
    pub stream: Stream,
    /// The bytes, without the line's end.
    pub text: Vec<u8>,
    /// Whether a line ends here.
    pub ends_line: bool,
}
