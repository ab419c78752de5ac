//! What a container writes, and who takes it: the words that the monitor and the log drivers share.

use serde::{Deserialize, Serialize};

use crate::base::Result;
use crate::base::time::Timestamp;

/// One of the two output streams. A terminal has standard output only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`, as log formats write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Takes a container's output: a log driver.
pub trait Sink {
    /// Takes bytes as they were read, at `time`. They may end in the middle of a line or of a
    /// character.
    ///
    /// # Errors
    /// What the kernel says. The monitor goes on: a full disk must not stop a container.
    fn write(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) -> Result<()>;

    /// The process ended: writes what was held back for want of a line's end. More may follow, of
    /// the next process under a restart policy.
    ///
    /// # Errors
    /// What the kernel says.
    fn flush(&mut self) -> Result<()>;

    /// Opens the file again by its path: somebody rotated it.
    ///
    /// # Errors
    /// What the kernel says; the old file stays open then.
    fn reopen(&mut self) -> Result<()>;
}

/// Takes everything and keeps nothing: driver `none`, and `passthrough`, where the monitor never
/// sees a byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Sink for Discard {
    fn write(&mut self, _stream: Stream, _time: Timestamp, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        Ok(())
    }
}
