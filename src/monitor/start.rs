//! Both sides of a start: the fork, the child's first steps, and the one answer to the parent.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::supervise::{self, Monitor};
use super::{MonitorPlan, Started};
use crate::base::fs::{Durability, replace};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::address;
use crate::handoff::failure::Failure;
use crate::state::container::Status;
use crate::sys::process::Identity;
use crate::sys::{daemon, fd};

/// How long a start may take, uplink included.
const PATIENCE: Duration = Duration::from_secs(120);

/// The answer is one line of at most so many bytes.
const LIMIT: u64 = 256 << 10;

/// The monitor's one answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Report {
    /// The container runs.
    Ready {
        /// The monitor.
        monitor: Identity,
        /// The container's first process.
        pid: i32,
    },
    /// It could not be started.
    Failed(Failure),
}

/// The monitor's end of the answer.
#[derive(Debug)]
pub(super) struct Answer(Option<File>);

impl Answer {
    /// Gives the answer, once; later ones have nobody to go to.
    pub(super) fn send(&mut self, report: &Report) {
        if let Some(mut pipe) = self.0.take() {
            let mut line = serde_json::to_vec(report).unwrap_or_default();
            line.push(b'\n');
            // The command may be gone; the container lives on.
            let _gone = pipe.write_all(&line);
        }
    }
}

/// See [`super::spawn`].
pub(super) fn spawn(plan: MonitorPlan<'_>) -> Result<Started> {
    let name = plan.container.name().to_owned();
    let what = || format!("cannot start container {name:?}");
    plan.container.make_runtime_dir()?;
    let (ours, theirs) = fd::pipe()?;
    let (client, server) = match plan.attach {
        Some(_) => {
            let (client, server) = UnixStream::pair().what(what)?;
            (Some(client), Some(server))
        }
        None => (None, None),
    };
    // The child drops its copies itself, and the parent's frames are never returned to there.
    let mut foreign = vec![ours.as_fd()];
    foreign.extend(client.as_ref().map(|c| c.as_fd()));
    let pid = daemon::fork_daemon(|| {
        daemon::close_foreign(&foreign);
        child(plan, Answer(Some(File::from(theirs))), server)
    })?;
    let report = receive(ours);
    match report {
        Ok(Report::Ready { monitor, pid }) => Ok(Started {
            monitor,
            pid,
            client,
        }),
        Ok(Report::Failed(failure)) => {
            reap(pid);
            Err(failure.into_error())
        }
        Err(e) => {
            // Silent: it died, or hangs. Its end takes the container along.
            let _gone = crate::sys::signal::send(pid, libc::SIGKILL);
            reap(pid);
            Err(e).what(what)
        }
    }
}

fn reap(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _gone = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
    }
}

fn receive(pipe: OwnedFd) -> Result<Report> {
    if !fd::wait_readable(&pipe, Some(PATIENCE))? {
        return Err(Error::new(
            Kind::TimedOut,
            format!("no answer from its monitor in {} s", PATIENCE.as_secs()),
        ));
    }
    let mut bytes = Vec::new();
    // Up to the line's end, not the pipe's: a process that was forked at the same moment (tests are
    // threads of one process) may keep the other end for as long as it lives.
    BufReader::new(File::from(pipe).take(LIMIT))
        .read_until(b'\n', &mut bytes)
        .what(|| "cannot read its monitor's answer")?;
    if bytes.is_empty() {
        return Err(Error::new(
            Kind::Interrupted,
            "its monitor was killed before the container ran",
        ));
    }
    serde_json::from_slice(&bytes).what_kind(Kind::Internal, || "malformed answer of its monitor")
}

/// The monitor's life.
fn child(plan: MonitorPlan<'_>, mut answer: Answer, owner: Option<UnixStream>) -> u8 {
    let _name = rustix::thread::set_name(c"coracle-monitor");
    let container = plan.container.clone();
    match prepare(plan, owner) {
        Ok(monitor) => monitor.run(&mut answer),
        Err(e) => {
            let _kept = container.clear_status();
            answer.send(&Report::Failed(Failure::from(&e)));
            1
        }
    }
}

fn prepare(mut plan: MonitorPlan<'_>, owner: Option<UnixStream>) -> Result<Monitor<'_>> {
    let monitor = Identity::of(std::process::id().cast_signed())?;
    // Nobody else starts it, though the command and its lock may be killed: the lock is let go only
    // after the status says so.
    let status = Status::begun(monitor, Timestamp::now());
    // The container's process sets itself up meanwhile; it dies with this one.
    let marked = plan.container.mark_start(&status);
    let begun = match (marked, &plan.demand) {
        (Ok(()), Some(_)) => None,
        (marked, _) => Some(marked.and_then(|()| supervise::begin(&mut plan, 0))),
    };
    plan.container.write_status(&status)?;
    daemon::close_foreign(&plan.foreign);
    plan.foreign.clear();
    let listener = address::listen(&plan.container.control_socket())?;
    if let Some(path) = &plan.monitor_pidfile {
        write_pid(path, status.monitor.pid)?;
    }
    Monitor::new(plan, status, listener, owner, begun)
}

/// Writes a pid file, as scripts read it.
///
/// # Errors
/// What the kernel says.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    replace(
        path,
        pid.to_string().as_bytes(),
        0o644,
        Durability::Volatile,
    )
}
