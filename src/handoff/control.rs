//! The control socket of a monitor: one JSON line a request, one JSON line an answer.
//!
//! `{"version":1,"request":"pause","paused":true}` → `{"ok":…}` or `{"error":[…]}`. Several
//! requests may follow each other on one connection. After the answer to `attach` the connection
//! carries frames ([`super::frame`]); `wait` is answered when the container's process has ended.
//! A monitor outlives upgrades: fields are only added, and it refuses versions it does not know.

use std::io::{ErrorKind as IoKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address;
use super::failure::Failure;
use super::terminal::Size;
use crate::base::{Context as _, Error, Kind, Result};
use crate::state::network::NetworkRecord;
use crate::state::options::NetworkWish;

/// The version that this program speaks.
pub const VERSION: u32 = 1;

/// No request or answer line is longer, bytes.
pub const LINE_LIMIT: usize = 64 << 10;

/// How long an answer may take. A monitor does nothing slow while it serves.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked of a monitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Become a client of the streams.
    Attach(AttachRequest),
    /// Give the terminal another size.
    Resize {
        /// The size.
        size: Size,
    },
    /// A person is about to stop or kill it: no restart, and the exit record says so.
    Stopping,
    /// The processes were frozen or thawed: record it.
    Paused {
        /// Which.
        paused: bool,
    },
    /// Open the log again by its path.
    ReopenLog,
    /// `status.json` as it is now.
    Status,
    /// Another restart policy (`state::options::RestartPolicy`, from `update --restart`).
    Restart {
        /// The policy.
        policy: Value,
    },
    /// Other health checks (`state::health::Checks`, or null for none).
    Health {
        /// The checks.
        checks: Value,
    },
    /// Do a health check now, and answer with what came of it:
    /// `{"healthy":…,"status":…,"output":…}`.
    CheckHealth,
    /// Another network, or one less.
    Network {
        /// Which.
        change: Box<NetworkChange>,
    },
    /// Answer with the exit code when the process has ended (or did since the monitor started).
    Wait,
}

/// How a running container's networks change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkChange {
    /// One more.
    Connect {
        /// The network.
        network: Box<NetworkRecord>,
        /// What is wished of it.
        wish: NetworkWish,
    },
    /// One less.
    Disconnect {
        /// Its name.
        network: String,
    },
    /// A container that shares this one's network is ready for connections, or is not.
    Member {
        /// Its id.
        id: String,
        /// Which.
        ready: bool,
    },
    /// Services send it no new connections, or do again.
    Drain {
        /// Which.
        drained: bool,
    },
}

/// What an attach client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttachRequest {
    /// It will send input.
    pub stdin: bool,
    /// It takes standard output.
    pub stdout: bool,
    /// It takes standard error.
    pub stderr: bool,
    /// Its terminal's size, if it has one.
    pub size: Option<Size>,
    /// The container waits for this client rather than losing it bytes, however slow it is: the
    /// command that started the container. Only granted to the monitor's parent.
    #[serde(skip)]
    pub owner: bool,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    #[serde(flatten)]
    request: T,
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Done; the value depends on the request.
    Ok(Value),
    /// Not done.
    Error(Failure),
}

/// Writes a request as one line.
pub fn encode(request: &Request) -> Vec<u8> {
    line(&Envelope {
        version: VERSION,
        request,
    })
}

/// Reads one line, without its end.
///
/// # Errors
/// `Unsupported` for a newer version or an unknown request, `Invalid` for anything else.
pub fn decode(text: &[u8]) -> Result<Request> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let version = serde_json::from_slice::<Versioned>(text)
        .what_kind(Kind::Invalid, || "control socket: malformed request")?
        .version;
    if version > VERSION {
        return Err(Error::unsupported(format!(
            "this container's monitor speaks control version {VERSION}, not {version}"
        ))
        .hint("restart the container to run it under the new version"));
    }
    serde_json::from_slice::<Envelope<Request>>(text)
        .map(|e| e.request)
        .what_kind(Kind::Unsupported, || "control socket: unknown request")
}

/// Writes an answer as one line.
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    line(answer)
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A connection to a monitor.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
}

impl Control {
    /// Connects to the socket of a monitor.
    ///
    /// # Errors
    /// `NotFound` or `Unavailable` when no monitor serves it: the container does not run.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = address::connect(socket)?;
        let set = |s: &UnixStream| {
            s.set_read_timeout(Some(PATIENCE))?;
            s.set_write_timeout(Some(PATIENCE))
        };
        set(&stream).what(|| "cannot set a deadline on the control socket")?;
        Ok(Self { stream })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The monitor's own; `TimedOut`; `Unavailable` when it went away.
    pub fn call(&mut self, request: &Request) -> Result<Value> {
        self.send(request)?;
        self.answer()
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        self.stream.write_all(&encode(request)).map_err(gone)
    }

    fn answer(&mut self) -> Result<Value> {
        // Byte by byte: after the line other bytes may follow that are not ours to take.
        let mut text = Vec::new();
        let mut byte = [0_u8];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return Err(gone(IoKind::UnexpectedEof.into())),
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if text.len() < LINE_LIMIT => text.push(byte[0]),
                Ok(_) => {
                    return Err(Error::new(Kind::Corrupt, "control socket: endless answer"));
                }
                Err(e) if e.kind() == IoKind::Interrupted => {}
                Err(e) => return Err(gone(e)),
            }
        }
        match serde_json::from_slice(&text)
            .what_kind(Kind::Corrupt, || "control socket: malformed answer")?
        {
            Answer::Ok(value) => Ok(value),
            Answer::Error(failure) => Err(failure.into_error()),
        }
    }

    /// Becomes a client of the container's streams; see [`super::relay::attached`].
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn attach(mut self, request: AttachRequest) -> Result<UnixStream> {
        self.call(&Request::Attach(request))?;
        let clear = |s: &UnixStream| {
            s.set_read_timeout(None)?;
            s.set_write_timeout(None)
        };
        clear(&self.stream).what(|| "cannot clear the deadline of the attach stream")?;
        Ok(self.stream)
    }

    /// Asks for the exit. The answer may take for ever: poll the descriptor, then
    /// [`Waiting::finish`].
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn wait(mut self) -> Result<Waiting> {
        self.send(&Request::Wait)?;
        Ok(Waiting(self))
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// As [`Control::call`]; `Invalid` without a terminal.
    pub fn resize(&mut self, size: Size) -> Result<()> {
        self.call(&Request::Resize { size }).map(drop)
    }

    /// Says that a person is about to stop or kill it: no restart follows.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn stopping(&mut self) -> Result<()> {
        self.call(&Request::Stopping).map(drop)
    }

    /// Records that the processes were frozen or thawed.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn set_paused(&mut self, paused: bool) -> Result<()> {
        self.call(&Request::Paused { paused }).map(drop)
    }

    /// Does a health check now, however long that takes; answers whether it succeeded, and the state.
    ///
    /// # Errors
    /// As [`Control::call`]; `Invalid` without a check, `InUse` when it is paused or ends.
    pub fn check_health(mut self) -> Result<(bool, String)> {
        self.stream
            .set_read_timeout(None)
            .what(|| "cannot clear the deadline of the control socket")?;
        let value = self.call(&Request::CheckHealth)?;
        let healthy = value.get("healthy").and_then(Value::as_bool);
        let status = value.get("status").and_then(Value::as_str);
        Ok((
            healthy.unwrap_or(false),
            status.unwrap_or_default().to_owned(),
        ))
    }

    /// Makes it open the log again.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn reopen_log(&mut self) -> Result<()> {
        self.call(&Request::ReopenLog).map(drop)
    }
}

fn gone(e: std::io::Error) -> Error {
    match e.kind() {
        IoKind::WouldBlock | IoKind::TimedOut => Error::new(
            Kind::TimedOut,
            "the container's monitor did not answer in time",
        ),
        _ => Error::new(Kind::Unavailable, "the container's monitor went away"),
    }
    .because(e)
}

/// A pending [`Control::wait`].
#[derive(Debug)]
pub struct Waiting(Control);

impl AsFd for Waiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.stream.as_fd()
    }
}

impl Waiting {
    /// Blocks until the process ended; `None` when the monitor ended without an answer, so that
    /// the exit record, or the next command, has the last word.
    ///
    /// # Errors
    /// `Corrupt` when it talks nonsense.
    pub fn finish(mut self) -> Result<Option<i32>> {
        self.0
            .stream
            .set_read_timeout(None)
            .what(|| "cannot clear the deadline of the control socket")?;
        match self.0.answer() {
            Ok(value) => Ok(value
                .get("code")
                .and_then(Value::as_i64)
                .and_then(|c| i32::try_from(c).ok())),
            Err(e) if e.kind() == Kind::Unavailable => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip() {
        for request in [
            Request::Attach(AttachRequest {
                stdin: true,
                size: Some(Size {
                    rows: 24,
                    columns: 80,
                }),
                ..AttachRequest::default()
            }),
            Request::Resize {
                size: Size {
                    rows: 1,
                    columns: 2,
                },
            },
            Request::Stopping,
            Request::Paused { paused: true },
            Request::Restart {
                policy: serde_json::json!({"on-failure": 3}),
            },
            Request::Health {
                checks: Value::Null,
            },
            Request::CheckHealth,
            Request::Wait,
        ] {
            let text = encode(&request);
            assert_eq!(decode(text.trim_ascii()).unwrap(), request);
        }
    }

    #[test]
    fn newer_versions_and_unknown_requests_are_refused_by_name() {
        let newer = decode(br#"{"version":9,"request":"wait"}"#).unwrap_err();
        assert_eq!(newer.kind(), Kind::Unsupported);
        assert!(newer.what().contains("version 1, not 9"));
        let unknown = decode(br#"{"version":1,"request":"dance"}"#).unwrap_err();
        assert_eq!(unknown.kind(), Kind::Unsupported);
        assert_eq!(decode(b"x").unwrap_err().kind(), Kind::Invalid);
        // A newer client's additional fields do not matter.
        assert!(decode(br#"{"version":1,"request":"wait","more":1}"#).is_ok());
    }
}
