//! Docker's lines of JSON about long work.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::conn::{Conn, gone};
use crate::base::progress::Progress;
use crate::base::{Context as _, Error, Result};

/// An answer of lines, begun with the first one; for several threads.
pub struct Lines(Mutex<Sink>);

struct Sink {
    stream: UnixStream,
    /// The head of the answer, until it was sent.
    head: Vec<u8>,
    chunked: bool,
    failed: Option<std::io::Error>,
}

impl Sink {
    fn say(&mut self, value: &Value) {
        if self.failed.is_some() {
            return;
        }
        let line = format!("{value}\r\n");
        let mut bytes = std::mem::take(&mut self.head);
        if self.chunked {
            bytes.extend(format!("{:x}\r\n{line}\r\n", line.len()).into_bytes());
        } else {
            bytes.extend(line.into_bytes());
        }
        self.failed = self.stream.write_all(&bytes).err();
    }
}

impl Lines {
    /// Prepares an answer on this connection.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new(conn: &mut Conn) -> Result<Self> {
        let head = conn.stream_head(200, &[("Content-Type", "application/json")]);
        let chunked = conn.chunks();
        let stream = conn.stream().try_clone();
        Ok(Self(Mutex::new(Sink {
            stream: stream.what(|| "cannot duplicate a connection")?,
            head,
            chunked,
            failed: None,
        })))
    }

    fn sink(&self) -> std::sync::MutexGuard<'_, Sink> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a line was sent.
    pub fn has_begun(&self) -> bool {
        self.sink().head.is_empty()
    }

    /// Sends a line.
    pub fn say(&self, value: &Value) {
        self.sink().say(value);
    }

    /// Sends the line that tells of an error.
    pub fn failure(&self, error: &Error) {
        let message = super::body(error, false)["message"].clone();
        self.say(&json!({"errorDetail": {"message": message}, "error": message}));
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// The client went away.
    pub fn finish(&self, conn: &mut Conn) -> Result<()> {
        let mut sink = self.sink();
        if !sink.head.is_empty() {
            let head = std::mem::take(&mut sink.head);
            sink.failed = sink.stream.write_all(&head).err();
        }
        conn.streamed();
        match sink.failed.take() {
            Some(e) => {
                conn.cut();
                Err(gone(e))
            }
            None => conn.finish(),
        }
    }
}

/// Docker's short id of a layer.
fn short(key: &str) -> &str {
    let hex = key.rsplit(':').next().unwrap_or(key);
    hex.get(..12).unwrap_or(hex)
}

impl Progress for Lines {
    fn message(&self, _text: &str) {}

    fn update(&self, key: &str, _label: &str, done: u64, total: u64) {
        let detail = match total {
            0 => json!({"current": done}),
            total => json!({"current": done, "total": total}),
        };
        self.say(&json!({"status": "Downloading", "progressDetail": detail, "id": short(key)}));
    }

    fn finish(&self, key: &str, _label: &str, outcome: &str) {
        let status = match outcome {
            "done" => "Pull complete",
            "already exists" | "skipped: already exists" => "Already exists",
            other => other,
        };
        self.say(&json!({"status": status, "progressDetail": {}, "id": short(key)}));
    }
}
