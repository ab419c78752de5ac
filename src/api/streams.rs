//! Connections that became a container's streams: attach and exec.
//!
//! A client attaches before the container is started (`docker run`). Its request waits on a socket of
//! its own below `api/attach`; whoever starts the container over this interface hands it the monitor's
//! stream, so that not a byte is lost.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::Cx;
use super::conn::Conn;
use super::websocket;
use crate::base::fs::{create_private_dir_all, remove_file_if_exists};
use crate::base::{Context as _, Error, Result};
use crate::handoff::address;
use crate::handoff::control::{AttachRequest, Control};
use crate::handoff::keys::{self, DetachKeys};
use crate::handoff::output::Stream;
use crate::handoff::relay::{self, Caller};
use crate::operations::container::logs::{LogsOptions, Show, logs};
use crate::operations::container::{events, run};
use crate::operations::session::Session;
use crate::state::container::Container;
use crate::sys::clone::fork_with;
use crate::sys::daemon;
use crate::sys::fd as descriptors;
use crate::sys::fd;
use crate::sys::process::pause;
use rustix::event::{PollFd, PollFlags, poll};

/// The media type of frames, and of a terminal's bytes.
const FRAMES: &str = "application/vnd.docker.multiplexed-stream";
/// The media type of a terminal's bytes.
pub const RAW: &str = "application/vnd.docker.raw-stream";

/// The media type of the streams of a process.
pub fn kind(tty: bool) -> &'static str {
    match tty {
        true => RAW,
        false => FRAMES,
    }
}

/// Where attach requests wait.
fn folder(session: &Session) -> PathBuf {
    session.dirs.runtime.join("api").join("attach")
}

/// An answer is looked at so often, five times in a millisecond, for whether the client has read it.
const PATIENCE: u32 = 2500;

/// The client's end of a hijacked connection.
pub struct Client {
    input: OwnedFd,
    output: OwnedFd,
}

impl Client {
    /// Takes the connection over. What the client sent before it was told that it may is not lost: a
    /// process of its own passes it on, and what follows.
    ///
    /// # Errors
    /// The client went away.
    pub fn hijack(cx: &Cx<'_>, conn: &mut Conn, kind: &str) -> Result<Self> {
        let upgrade = cx.head.upgrades().then_some("tcp");
        let (stream, early) = conn.hijack(upgrade, ("Content-Type", kind))?;
        // docker-py loses what it reads along with the answer: the streams begin when that was read.
        for _ in 0..PATIENCE {
            if descriptors::unread(&stream).map_or(true, |n| n == 0) {
                break;
            }
            pause(Duration::from_micros(200));
        }
        let copy = |s: &UnixStream| s.try_clone().what(|| "cannot duplicate a connection");
        let output = OwnedFd::from(copy(&stream)?);
        if early.is_empty() {
            let input = OwnedFd::from(stream);
            return Ok(Self { input, output });
        }
        let (ours, mut theirs) = UnixStream::pair().what(|| "cannot make a pair of sockets")?;
        fork_with(|| {
            let mut from = &stream;
            let sent = theirs.write_all(&early);
            let _copied = sent.and_then(|()| std::io::copy(&mut from, &mut theirs));
            0
        })?;
        let input = OwnedFd::from(ours);
        Ok(Self { input, output })
    }

    /// As [`Client::hijack`], for a client that wants a websocket: it reads bytes as they are.
    ///
    /// # Errors
    /// `Invalid` for a request that begins none; the client went away.
    fn websocket(cx: &Cx<'_>, conn: &mut Conn) -> Result<Self> {
        let field = |name: &str| cx.head.field(name);
        let asked = field("upgrade").filter(|u| u.eq_ignore_ascii_case("websocket"));
        let version = asked.and_then(|_| field("sec-websocket-version"));
        let accept = websocket::accept(field("sec-websocket-key"), version)?;
        let answer = ("Sec-WebSocket-Accept", accept.as_str());
        let (stream, early) = conn.hijack(Some("websocket"), answer)?;
        let (ours, theirs) = UnixStream::pair().what(|| "cannot make a pair of sockets")?;
        fork_with(|| {
            daemon::close_all_but(&[stream.as_fd(), theirs.as_fd()]);
            drop(websocket::carry(&stream, early, &theirs));
            0
        })?;
        let output = OwnedFd::from(ours.try_clone().what(|| "cannot duplicate a connection")?);
        let input = OwnedFd::from(ours);
        Ok(Self { input, output })
    }

    /// The streams asked for.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn caller(self, stdin: bool, stdout: bool, stderr: bool) -> Result<Caller> {
        let copy = |wanted: bool| {
            let copy = || {
                self.output
                    .try_clone()
                    .what(|| "cannot duplicate a connection")
            };
            wanted.then(copy).transpose()
        };
        Ok(Caller {
            stdout: copy(stdout)?,
            stderr: copy(stderr)?,
            stdin: stdin.then_some(self.input),
        })
    }
}

/// How a client's streams are relayed.
///
/// # Errors
/// `Invalid` for keys that are none.
pub fn options(tty: bool, keys: Option<&str>) -> Result<relay::Options> {
    Ok(relay::Options {
        tty,
        detach_keys: DetachKeys::parse(keys.unwrap_or(keys::DEFAULT))?,
        proxy_signals: false,
        framed: !tty,
    })
}

/// Sends a sentence as standard output.
///
/// # Errors
/// The client went away.
pub fn tell(caller: Caller, tty: bool, bytes: &[u8]) -> Result<()> {
    let Some(output) = caller.stdout else {
        return Ok(());
    };
    let whole = match tty {
        true => bytes.to_vec(),
        false => frame(Stream::Stdout, bytes),
    };
    fd::write_all(&output, &whole).map_err(Into::into)
}

/// `POST /containers/{id}/attach`, and `GET /containers/{id}/attach/ws`.
///
/// # Errors
/// As the operation; that the client went away.
pub fn attach(
    cx: &Cx<'_>,
    conn: &mut Conn,
    container: &Container,
    by_messages: bool,
) -> Result<()> {
    let head = cx.head;
    let settings = &container.record.options;
    let mut options = options(settings.tty, head.given("detachKeys"))?;
    options.framed &= !by_messages;
    let wanted = AttachRequest {
        stdin: head.flag("stdin") && settings.interactive,
        stdout: head.flag("stdout"),
        stderr: head.flag("stderr"),
        size: None,
        owner: false,
    };
    let active = container.state()?.is_active();
    let waiting = match active {
        true => None,
        false => Some(Waiting::new(cx.session, container)?),
    };
    let hijack = |conn: &mut Conn| match by_messages {
        true => Client::websocket(cx, conn),
        false => Client::hijack(cx, conn, kind(settings.tty)),
    };
    let told = |client: &Client| match head.flag("logs") {
        true => so_far(container, wanted, options.framed, &client.output),
        false => Ok(()),
    };
    if !head.flag("stream") {
        return told(&hijack(conn)?);
    }
    // Connected before the client is told that it is attached: what it starts now is seen.
    let monitor = match active {
        true => Some(Control::connect(&container.control_socket())?.attach(wanted)?),
        false => None,
    };
    events::write(cx.session, container, "attach");
    let client = hijack(conn)?;
    // The monitor keeps what is written meanwhile: it may come twice, and is never lost.
    told(&client)?;
    let monitor = match (monitor, waiting) {
        (Some(monitor), _) => {
            cx.line.may_be_cut();
            Some(monitor)
        }
        (None, Some(waiting)) => {
            let monitor = waiting.monitor(&client)?;
            cx.line.may_be_cut();
            monitor
        }
        (None, None) => None,
    };
    let Some(monitor) = monitor else {
        return Ok(());
    };
    let caller = client.caller(wanted.stdin, wanted.stdout, wanted.stderr)?;
    relay::attached(monitor, caller, &options).map(drop)
}

/// What the container has written until now.
fn so_far(
    container: &Container,
    wanted: AttachRequest,
    framed: bool,
    output: &OwnedFd,
) -> Result<()> {
    let options = LogsOptions {
        follow: false,
        tail: None,
        since: None,
        until: None,
    };
    logs(std::slice::from_ref(container), &options, &mut |show| {
        let Show::Entry(_, entry) = show else {
            return Ok(());
        };
        if !match entry.stream {
            Stream::Stdout => wanted.stdout,
            Stream::Stderr => wanted.stderr,
        } {
            return Ok(());
        }
        let mut text = entry.text.clone();
        if entry.ends_line {
            text.push(b'\n');
        }
        let bytes = match framed {
            true => frame(entry.stream, &text),
            false => text,
        };
        fd::write_all(output, &bytes).map_err(Into::into)
    })
}

/// One frame of Docker's stream of two.
pub fn frame(stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let number = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![number, 0, 0, 0, a, b, c, d];
    frame.extend_from_slice(bytes);
    frame
}

/// An attach request whose container does not run yet.
struct Waiting {
    path: PathBuf,
    listener: std::os::unix::net::UnixListener,
}

impl Waiting {
    fn new(session: &Session, container: &Container) -> Result<Self> {
        let folder = folder(session);
        create_private_dir_all(&folder)?;
        let path = folder.join(format!("{}.{}", container.id(), std::process::id()));
        let listener = address::listen(&path)?;
        Ok(Self { path, listener })
    }

    /// The monitor's stream, once the container is started; `None` when the client went before.
    fn monitor(self, client: &Client) -> Result<Option<UnixStream>> {
        let mut fds = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&client.output, PollFlags::empty()),
        ];
        while let Err(e) = poll(&mut fds, None) {
            if e != rustix::io::Errno::INTR {
                return Err(e).what(|| "cannot wait for the start of the container");
            }
        }
        if fds[0].revents().is_empty() {
            return Ok(None);
        }
        let socket = fd::accept(&self.listener)?;
        let (_, mut fds) = fd::receive(&socket, 16)?;
        Ok(fds.pop().map(UnixStream::from))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _left = remove_file_if_exists(&self.path);
    }
}

/// Starts a container and gives its streams to whoever waits for them. Answers whether it had to be
/// started.
///
/// # Errors
/// As `start`.
pub fn start(session: &Session, container: &Container) -> Result<bool> {
    let mut waiting = Vec::new();
    let prefix = format!("{}.", container.id());
    for entry in std::fs::read_dir(folder(session))
        .into_iter()
        .flatten()
        .flatten()
    {
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        match address::connect(&entry.path()) {
            Ok(socket) => waiting.push(socket),
            // Its process was killed.
            Err(_) => drop(remove_file_if_exists(&entry.path())),
        }
    }
    let settings = &container.record.options;
    let request = (!waiting.is_empty()).then_some(AttachRequest {
        stdin: settings.interactive,
        stdout: true,
        stderr: true,
        size: None,
        owner: true,
    });
    let mut warn = |text: &str| log::warn!("{text}");
    let Some(started) = run::begin(session, container, request, &mut warn)? else {
        return Ok(false);
    };
    let mut own = started.client;
    for socket in waiting {
        let stream = match own.take() {
            Some(stream) => Ok(stream),
            None => Control::connect(&container.control_socket()).and_then(|c| {
                c.attach(AttachRequest {
                    owner: false,
                    ..request.unwrap_or_default()
                })
            }),
        };
        // One that ended so soon has nothing for a second client.
        if let Ok(stream) = stream {
            let _gone = fd::send(&socket, b"s", &[stream.as_fd()]);
        }
    }
    Ok(true)
}

/// `POST …/resize`: the size asked for.
///
/// # Errors
/// `Invalid`.
pub fn size(cx: &Cx<'_>) -> Result<crate::handoff::terminal::Size> {
    let number = |key: &str| -> Result<u16> {
        let text = cx.head.value(key).unwrap_or_default();
        text.parse()
            .map_err(|_| Error::invalid(format!("invalid size of a terminal: {key}={text:?}")))
    };
    Ok(crate::handoff::terminal::Size {
        rows: number("h")?,
        columns: number("w")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_talks_early_loses_nothing() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
            .unwrap();
        let mut conn = Conn::new(theirs);
        let head = conn.head(None).unwrap().unwrap();
        assert!(head.upgrades());
        let (_socket, early) = conn.hijack(Some("tcp"), ("Content-Type", RAW)).unwrap();
        assert_eq!(early, b"early");
        drop((_socket, conn));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut ours, &mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{text}");
        assert!(
            text.ends_with("\r\n\r\n") && text.contains("Upgrade: tcp\r\n"),
            "{text}"
        );
    }
}
