//! One check: the process that does it, and the monitor's end of it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::grpc;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::monitor::{Exec, Probing};
use crate::state::container::Status;
use crate::state::health::{CheckResult, Probe};
use crate::sys::clone::{self, Child};
use crate::sys::namespace::{self, Kind as Ns};
use crate::sys::{attributes, daemon, fd, pidfd, signal};

/// Output beyond this is read and thrown away, bytes.
const OUTPUT: usize = 64 << 10;

/// The process of a check writes one line of at most so many bytes.
const LINE: usize = 1 << 20;

/// A check that does not keep its own time limit is ended so much later.
const GRACE: Duration = Duration::from_secs(3);

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// 0 is healthy.
    pub exit_code: i32,
    /// What it wrote.
    pub output: String,
}

impl Found {
    fn failed(exit_code: i32, output: impl Into<String>) -> Self {
        Self {
            exit_code,
            output: output.into(),
        }
    }

    fn late(limit: Duration) -> Self {
        Self::failed(-1, format!("the check took longer than {limit:?}"))
    }
}

/// A check under way. Dropped, it ends.
#[derive(Debug)]
pub struct Flight {
    child: Child,
    pipe: OwnedFd,
    text: Vec<u8>,
    begun: Timestamp,
    /// When it is ended, whatever it does.
    pub until: Instant,
    /// How long after the container's start it began.
    pub since_start: Duration,
    /// Its result does not count: the container was frozen meanwhile.
    pub void: bool,
    /// Clients that wait for its result.
    pub askers: Vec<u64>,
}

/// A check that is over.
#[derive(Debug)]
pub struct Landed {
    /// What to make of it; `None` when it does not count.
    pub result: Option<CheckResult>,
    /// How long after the container's start it began.
    pub since_start: Duration,
    /// Clients that wait for its result.
    pub askers: Vec<u64>,
}

impl Flight {
    /// Begins a check of the container that `status` tells of.
    ///
    /// # Errors
    /// What the kernel says of one more process.
    pub fn start(
        probe: &Probe,
        limit: Duration,
        status: &Status,
        exec: &mut Exec<'_>,
        since_start: Duration,
    ) -> Result<Self> {
        let (ours, theirs) = fd::pipe()?;
        fd::set_nonblocking(&ours, true)?;
        let begun = Timestamp::now();
        let child = clone::fork_with(|| {
            let body = || child(probe, limit, status, exec, &theirs);
            // Never back into the monitor's frames.
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).map_or(1, |()| 0)
        })?;
        Ok(Self {
            child,
            pipe: ours,
            text: Vec::new(),
            begun,
            until: Instant::now() + limit + GRACE,
            since_start,
            void: false,
            askers: Vec::new(),
        })
    }

    /// Readable when it has something to say, or ended.
    pub fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Takes what it says; whether that was all.
    pub fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match rustix::io::read(&self.pipe, &mut chunk) {
                Ok(0) => return true,
                Ok(n) if self.text.len() + n <= LINE => self.text.extend_from_slice(&chunk[..n]),
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// What came of it.
    pub fn land(mut self) -> Landed {
        let found = serde_json::from_slice(&self.text)
            .unwrap_or_else(|_| Found::failed(-1, "the check was killed"));
        let result = (!self.void).then(|| CheckResult {
            start: self.begun,
            end: Timestamp::now(),
            exit_code: found.exit_code,
            output: found.output,
        });
        Landed {
            result,
            since_start: self.since_start,
            askers: std::mem::take(&mut self.askers),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Its program goes with it. Gone already, in most cases; SIGCHLD has it reaped.
        let _gone = pidfd::send_signal(&self.child.pidfd, libc::SIGKILL);
    }
}

/// The life of the process of a check.
fn child(probe: &Probe, limit: Duration, status: &Status, exec: &mut Exec<'_>, line: &OwnedFd) {
    let _name = rustix::thread::set_name(c"coracle-health");
    let armed = attributes::set_death_signal(libc::SIGKILL);
    // The monitor's clients and the container's streams must see their ends when the monitor closes
    // them.
    daemon::close_all_but(&[line.as_fd()]);
    let deadline = Instant::now() + limit;
    let found = armed
        .map_err(Error::from)
        .and_then(|()| look(probe, deadline, limit, status, exec))
        .unwrap_or_else(|e| {
            let code = e.asked_exit_code().map_or(-1, i32::from);
            Found::failed(code, e.one_line())
        });
    let bytes = serde_json::to_vec(&found).unwrap_or_default();
    // The monitor may be gone; then so is this process.
    let _gone = fd::write_all(line, &bytes);
}

fn look(
    probe: &Probe,
    deadline: Instant,
    limit: Duration,
    status: &Status,
    exec: &mut Exec<'_>,
) -> Result<Found> {
    let over_network = |ask: &dyn Fn(&mut TcpStream) -> Result<Found>, address: &str| {
        enter_network(status)?;
        match connect(address, deadline).and_then(|mut stream| ask(&mut stream)) {
            Err(e) if e.kind() == Kind::TimedOut => Ok(Found::late(limit)),
            Err(e) => Ok(Found::failed(1, e.one_line())),
            Ok(found) => Ok(found),
        }
    };
    match probe {
        Probe::Exec(words) => Ok(watch(&exec(status, words)?, deadline, limit)),
        Probe::Tcp { address } => over_network(
            &|_| Ok(Found::failed(0, format!("{address} accepts connections"))),
            address,
        ),
        Probe::Http {
            address,
            path,
            headers,
        } => over_network(
            &|stream| http(stream, address, path, headers, deadline),
            address,
        ),
        Probe::Grpc { address, service } => over_network(
            &|stream| {
                let serving = grpc::check(stream, address, service, &|s| patience(s, deadline))?;
                Ok(Found::failed(
                    i32::from(!serving.is_serving()),
                    serving.text(),
                ))
            },
            address,
        ),
    }
}

/// Waits for a program, reads what it writes, and ends its process group when it takes too long.
fn watch(probing: &Probing, deadline: Instant, limit: Duration) -> Found {
    let Probing { pid, pidfd, output } = probing;
    let mut text = Vec::new();
    let mut open = fd::set_nonblocking(output, true).is_ok();
    loop {
        if let Ok(Some(ended)) = pidfd::try_wait(pidfd) {
            drain(output, &mut text);
            return Found::failed(ended.code(), String::from_utf8_lossy(&text));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // It leads a session of its own.
            let _gone = signal::send(-*pid, libc::SIGKILL);
            let _gone = pidfd::send_signal(pidfd, libc::SIGKILL);
            return Found::late(limit);
        }
        let mut fds = vec![rustix::event::PollFd::new(
            pidfd,
            rustix::event::PollFlags::IN,
        )];
        if open {
            fds.push(rustix::event::PollFd::new(
                output,
                rustix::event::PollFlags::IN,
            ));
        }
        let left = rustix::event::Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let _again = rustix::event::poll(&mut fds, Some(&left));
        open = open && drain(output, &mut text);
    }
}

/// Reads what is there; `false` at the end.
fn drain(output: &OwnedFd, text: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    // Somebody who never stops writing does not keep the deadline from being looked at.
    for _ in 0..64 {
        match rustix::io::read(output, &mut chunk) {
            Ok(0) => return false,
            Ok(n) => {
                let room = OUTPUT.saturating_sub(text.len());
                text.extend_from_slice(&chunk[..n.min(room)]);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
    true
}

/// Joins the container's network namespace.
///
/// # Errors
/// `NotFound` when it does not run; what the kernel says.
pub(in crate::monitor) fn enter_network(status: &Status) -> Result<()> {
    let ended = || "the container is not running";
    let init = status
        .init
        .as_ref()
        .ok_or_else(|| Error::not_found(ended()))?;
    let process = init.open().what(ended)?;
    let ns = namespace::of(&process, init.pid, Ns::Net)?;
    if namespace::is_own(&ns, Ns::Net)? {
        return Ok(());
    }
    namespace::join(&ns, Ns::Net.flag())
        .what_kind(Kind::Denied, || "cannot join the container's network")
}

fn connect(address: &str, deadline: Instant) -> Result<TcpStream> {
    let parsed: SocketAddr = address
        .parse()
        .map_err(|e| Error::invalid(format!("invalid address {address:?}")).because(e))?;
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(late(address));
    }
    TcpStream::connect_timeout(&parsed, left).map_err(|e| io_error(address, e))
}

fn late(address: &str) -> Error {
    Error::new(Kind::TimedOut, format!("no answer from {address} in time"))
}

fn io_error(address: &str, e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => late(address),
        _ => Error::new(Kind::Unavailable, format!("no answer from {address}")).because(e),
    }
}

/// Gives a stream what is left of the time.
fn patience(stream: &TcpStream, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(late("the service"));
    }
    stream
        .set_read_timeout(Some(left))
        .and_then(|()| stream.set_write_timeout(Some(left)))
        .what(|| "cannot set a deadline")
}

/// Asks for a page: RFC 9112. Only the status counts; redirections are not followed, as the
/// kubelet does not follow those to other hosts.
fn http(
    stream: &mut TcpStream,
    address: &str,
    path: &str,
    headers: &[String],
    deadline: Instant,
) -> Result<Found> {
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    let given = |name: &str| {
        headers.iter().any(|h| {
            h.split(':')
                .next()
                .unwrap_or_default()
                .eq_ignore_ascii_case(name)
        })
    };
    for (name, value) in [
        ("Host", address),
        ("User-Agent", "coracle-health"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ] {
        if !given(name) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request.push_str("\r\n");
    patience(stream, deadline)?;
    stream
        .write_all(request.as_bytes())
        .map_err(|e| io_error(address, e))?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.contains(&b'\n') && answer.len() < 8192 {
        patience(stream, deadline)?;
        match stream.read(&mut chunk).map_err(|e| io_error(address, e))? {
            0 => break,
            n => answer.extend_from_slice(&chunk[..n]),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let line = text.lines().next().unwrap_or_default().trim_end();
    let status: Option<u16> = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    Ok(match status {
        Some(200..=399) => Found::failed(0, line),
        Some(_) => Found::failed(1, line),
        None => Found::failed(1, format!("{address} does not speak HTTP: {line:?}")),
    })
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::net::TcpListener;

    use super::*;

    fn ask(answer: &'static str, headers: &[&str]) -> (Result<Found>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let reader = std::io::BufReader::new(stream.try_clone().unwrap());
            let lines: Vec<String> = reader
                .lines()
                .map_while(std::io::Result::ok)
                .take_while(|l| !l.is_empty())
                .collect();
            stream.write_all(answer.as_bytes()).unwrap();
            lines
        });
        let deadline = Instant::now() + Duration::from_secs(5);
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        let found = connect(&address, deadline)
            .and_then(|mut s| http(&mut s, &address, "/up?x=1", &headers, deadline));
        (found, server.join().unwrap())
    }

    #[test]
    fn the_status_of_a_page_decides() {
        for (answer, code) in [
            ("HTTP/1.1 200 OK\r\n\r\nhello", 0),
            ("HTTP/1.0 302 Found\r\n\r\n", 0),
            ("HTTP/1.1 404 Not Found\r\n\r\n", 1),
            ("HTTP/1.1 503 Busy\r\n\r\n", 1),
            ("SSH-2.0-x\r\n", 1),
            ("", 1),
        ] {
            let (found, lines) = ask(answer, &["host: example.org", "X-A: b"]);
            assert_eq!(found.unwrap().exit_code, code, "{answer:?}");
            assert_eq!(lines[0], "GET /up?x=1 HTTP/1.1");
            assert!(lines.contains(&"X-A: b".to_owned()));
            let hosts = lines
                .iter()
                .filter(|l| l.to_lowercase().starts_with("host:"));
            assert_eq!(hosts.count(), 1);
        }
    }

    #[test]
    fn a_closed_port_is_told_and_a_silent_one_is_late() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let deadline = Instant::now() + Duration::from_millis(50);
        let e = connect(&address, deadline)
            .and_then(|mut s| http(&mut s, &address, "/", &[], deadline))
            .unwrap_err();
        assert_eq!(e.kind(), Kind::TimedOut);
        // Nobody but root could listen there.
        let deadline = Instant::now() + Duration::from_secs(5);
        let e = connect("127.0.0.1:1", deadline).unwrap_err();
        assert_eq!(e.kind(), Kind::Unavailable);
    }
}
