//! The listener, one process for each connection, and one for each request (docs/decisions/0025).
//!
//! A request's process is what a command of the command line is: one thread, free to enter user and
//! mount namespaces and to fork a monitor. What it holds ends with it. The connection's process knows
//! HTTP only, and sees that a client went away while nobody writes to it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::conn::Conn;
use super::http::{Head, Refusal};
use super::{Cx, dispatch};
use crate::base::{Context as _, Result};
use crate::operations::session::Session;
use crate::sys::clone::{Child, fork_with};
use crate::sys::{daemon, fd, pidfd, signal};

/// So many connections are served at once; more wait in the listener's queue.
const CONNECTIONS: usize = 1024;

/// A connection that is quiet for so long is closed, if the service itself may be quiet for longer.
const QUIET: Duration = Duration::from_secs(300);

/// A request's process says: the answer is complete, another request may follow.
const NEXT: u8 = b'n';

/// A request's process says: if the client goes, I may be ended.
const CANCEL: u8 = b'c';

/// Tells the connection's process how a request goes.
#[derive(Debug)]
pub struct Line<'a>(&'a OwnedFd);

impl Line<'_> {
    /// The answer is complete, whatever this process still does.
    pub fn next(&self, conn: &Conn) {
        if conn.may_go_on() {
            let _gone = fd::write_all(self.0, &[NEXT]);
        } else {
            let _gone = fd::write_all(self.0, b"e");
        }
    }

    /// From now on the request ends with its client: it changes nothing, or can be cut anywhere.
    pub fn may_be_cut(&self) {
        let _gone = fd::write_all(self.0, &[CANCEL]);
    }
}

/// Serves until nothing was asked for so long, or SIGTERM or SIGINT comes.
///
/// # Errors
/// What the kernel says of the listener.
pub fn serve(session: &Session, listener: &UnixListener, idle: Option<Duration>) -> Result<()> {
    let set = signal::Set::of(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
    let before = signal::block(&set)?;
    let signals = signal::descriptor(&set)?;
    listener
        .set_nonblocking(true)
        .what(|| "cannot prepare the socket")?;
    let mut children: Vec<Child> = Vec::new();
    let mut quiet_since = Instant::now();
    loop {
        children.retain(|c| matches!(pidfd::try_wait(&c.pidfd), Ok(None)));
        if !children.is_empty() {
            quiet_since = Instant::now();
        }
        let left = match (idle, children.is_empty()) {
            (Some(idle), true) => Some(idle.saturating_sub(quiet_since.elapsed())),
            _ => None,
        };
        if left.is_some_and(|l| l.is_zero()) {
            return Ok(());
        }
        let accepts = children.len() < CONNECTIONS;
        let mut fds = vec![PollFd::new(&signals, PollFlags::IN)];
        if accepts {
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        wait(&mut fds, left)?;
        while let Some(number) = signal::next(&signals)? {
            if number != libc::SIGCHLD {
                // Requests in flight end by themselves.
                return Ok(());
            }
        }
        if !accepts {
            continue;
        }
        if let Ok((stream, _)) = listener.accept() {
            let quiet = idle.map_or(QUIET, |i| i.min(QUIET));
            let child = fork_with(|| {
                let _mask = signal::set_mask(&before);
                let _blocking = stream.set_nonblocking(false);
                daemon::close_all_but(&[stream.as_fd()]);
                connection(session, stream, quiet);
                0
            });
            match child {
                Ok(child) => children.push(child),
                // No process for it: the client sees the end of the connection.
                Err(e) => log::warn!("cannot serve a connection: {e}"),
            }
        }
    }
}

/// Waits for one of them.
fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<()> {
    let timeout = timeout.map(|t| Timespec {
        tv_sec: t.as_secs().cast_signed(),
        // Rounded up: else the last millisecond would be a busy one.
        tv_nsec: (t.subsec_millis() * 1_000_000 + 999_999).into(),
    });
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e).what(|| "cannot wait for connections"),
    }
}

/// The life of a connection's process.
fn connection(session: &Session, stream: UnixStream, quiet: Duration) {
    let ours = |uid: u32| uid == session.user.uid || uid == 0;
    let peer = rustix::net::sockopt::socket_peercred(&stream);
    if !peer.is_ok_and(|p| ours(p.uid.as_raw())) {
        return;
    }
    let mut conn = Conn::new(stream);
    conn.version = super::VERSION.to_owned();
    loop {
        match conn.head(Some(quiet)) {
            Ok(Some(head)) => {
                if !request(session, &mut conn, &head) {
                    return;
                }
            }
            Ok(None) => return,
            Err(Refusal { status, message }) => {
                conn.cut();
                drop(conn.json(status, &serde_json::json!({ "message": message })));
                return;
            }
        }
    }
}

/// One request, in a process of its own; answers whether another may follow.
fn request(session: &Session, conn: &mut Conn, head: &Head) -> bool {
    let Ok((ours, theirs)) = fd::pipe() else {
        return false;
    };
    let child = fork_with(|| {
        // A monitor that is forked here closes what is not close-on-exec: it must not keep the
        // client's connection open.
        let _leaks = fd::set_cloexec(conn.stream(), false);
        let _leaks = fd::set_cloexec(&theirs, false);
        daemon::close_foreign(&[ours.as_fd()]);
        let line = Line(&theirs);
        let cx = Cx {
            session,
            head,
            libpod: head.is_libpod(),
            line: &line,
        };
        // A panic ends this request only, and drops nothing of the frames above.
        let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            dispatch(&cx, conn);
            line.next(conn);
        }));
        u8::from(whole.is_err())
    });
    drop(theirs);
    let Ok(child) = child else {
        conn.cut();
        let sentence = serde_json::json!({"message": "cannot start a process for the request"});
        drop(conn.json(503, &sentence));
        return false;
    };
    let next = follow(conn, &child, &ours);
    conn.forget();
    next
}

/// Waits for the answer. A client that goes away ends what may be ended.
fn follow(conn: &Conn, child: &Child, line: &OwnedFd) -> bool {
    let mut may_be_cut = false;
    let next = loop {
        let mut fds = [
            PollFd::new(line, PollFlags::IN),
            PollFd::new(conn.stream(), PollFlags::empty()),
        ];
        let watched = if may_be_cut { 2 } else { 1 };
        if wait(&mut fds[..watched], None).is_err() {
            break false;
        }
        if fds[0].revents().is_empty() {
            if may_be_cut && fds[1].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
                let _gone = pidfd::send_signal(&child.pidfd, libc::SIGTERM);
                break false;
            }
            continue;
        }
        let mut byte = [0];
        match rustix::io::read(line, &mut byte) {
            Ok(1) if byte[0] == CANCEL => may_be_cut = true,
            Ok(1) if byte[0] == NEXT => break true,
            Err(Errno::INTR) => {}
            _ => break false,
        }
    };
    // It ends now, or goes on with what outlives the answer (exec without a client).
    let _reaped = pidfd::try_wait(&child.pidfd);
    next
}
