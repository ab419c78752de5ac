//! `up` without `-d`: shows what the containers write until they end or the person has enough.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::base::time::Timestamp;
use crate::base::{Context as _, Result};
use crate::cli::compose::logs::{Looks, short, show};
use crate::cli::compose::project::{ProjectFlags, Shell};
use crate::cli::output::Out;
use crate::compose::Project;
use crate::operations::compose::down;
use crate::operations::compose::observe::Member;
use crate::operations::container::logs::LogsOptions;
use crate::operations::container::stop::kill;
use crate::operations::session::Session;
use crate::sys::clone::{self, Child};
use crate::sys::{attributes, pidfd, signal};

/// What `up` stays for.
pub(super) struct Request {
    /// The containers.
    pub members: Vec<Member>,
    /// Those whose lines are shown.
    pub shown: Vec<Member>,
    /// Lines since then.
    pub since: Timestamp,
    /// How.
    pub looks: Looks,
    /// The first end is everybody's.
    pub abort_on_exit: bool,
    /// The first failure is everybody's.
    pub abort_on_failure: bool,
    /// Whose exit code is answered.
    pub exit_code_from: Option<String>,
    /// How long a stop may take.
    pub timeout: Option<Duration>,
    /// How many at a time.
    pub parallel: usize,
    /// Files are watched, for these services.
    pub watch: Option<(ProjectFlags, Vec<String>)>,
}

/// Ends the process when the time is over: a child that waits.
pub(super) struct Limit(Option<Child>);

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            drop(pidfd::send_signal(&child.pidfd, libc::SIGKILL));
            drop(pidfd::wait(&child.pidfd));
        }
    }
}

/// From now on the process has so many seconds; then it says so and ends with 1.
pub(super) fn limit(seconds: u64) -> Limit {
    let parent = std::process::id();
    let child = clone::fork_with(|| {
        drop(attributes::set_death_signal(libc::SIGKILL));
        crate::sys::process::pause(Duration::from_secs(seconds));
        let mut out = Out::standard();
        out.note(&format!(
            "Error: the services were not ready within {seconds} seconds"
        ));
        drop(signal::send(
            i32::try_from(parent).unwrap_or(0),
            libc::SIGTERM,
        ));
        0
    });
    Limit(child.ok())
}

/// Stays until all containers ended, one did that counts, or a signal came.
pub(super) fn stay(
    session: &Session,
    project: &Project,
    request: Request,
    out: &mut Out,
) -> Result<u8> {
    out.flush()?;
    let signals = signal::Set::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    let before = signal::block(&signals)?;
    let typed = signal::descriptor(&signals)?;
    let logger = child(&before, || {
        let options = LogsOptions {
            follow: true,
            since: Some(request.since),
            ..LogsOptions::default()
        };
        let mut out = Out::standard();
        u8::from(show(&request.shown, &options, request.looks, &mut out).is_err())
    })?;
    let watcher = match &request.watch {
        Some((flags, services)) => {
            let (flags, services) = (flags.clone(), services.clone());
            let mut session = session.clone();
            Some(child(&before, move || {
                let mut out = Out::standard();
                match super::super::watch::follow(
                    &flags,
                    &services,
                    Default::default(),
                    &mut session,
                    &mut out,
                ) {
                    Ok(()) => 0,
                    Err(e) => {
                        out.error(&e);
                        1
                    }
                }
            })?)
        }
        None => None,
    };
    let mut alive: Vec<(usize, OwnedFd)> = Vec::new();
    for (i, member) in request.members.iter().enumerate() {
        let status = member.container.status()?;
        match status.and_then(|s| s.monitor.open().ok()) {
            Some(pidfd) => alive.push((i, pidfd)),
            None => told(&request, i, out)?,
        }
    }
    let mut code = 0;
    // One that ended before we looked counts as well.
    let mut aborting = None;
    for (i, member) in request.members.iter().enumerate() {
        if !alive.iter().any(|(a, _)| *a == i)
            && let Some(exit) = member.container.exit()?
            && counts(&request, exit.code)
        {
            aborting.get_or_insert(exit.code);
        }
    }
    while !alive.is_empty() && aborting.is_none() {
        let mut list = vec![PollFd::from_borrowed_fd(typed.as_fd(), PollFlags::IN)];
        list.extend(
            alive
                .iter()
                .map(|(_, fd)| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)),
        );
        match poll(&mut list, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e).what(|| "cannot wait for the containers"),
        }
        let ready: Vec<bool> = list.iter().map(|p| !p.revents().is_empty()).collect();
        if ready[0] {
            let _ = signal::next(&typed)?;
            out.note("Stopping… (ctrl-c again kills)");
            code = 130;
            break;
        }
        let ended: Vec<usize> = (0..alive.len()).filter(|i| ready[i + 1]).collect();
        for at in ended.into_iter().rev() {
            let (i, _) = alive.remove(at);
            told(&request, i, out)?;
            let exit = request.members[i].container.exit()?.map_or(0, |e| e.code);
            if counts(&request, exit) {
                aborting = Some(exit);
            }
        }
    }
    if let Some(exit) = aborting {
        out.note("Aborting on container exit…");
        code = (exit & 0xFF) as u8;
    }
    if !alive.is_empty() {
        stop_all(session, project, &request, &before, &typed, out)?;
    }
    drop(pidfd::wait(&logger.pidfd));
    if let Some(watcher) = watcher {
        drop(pidfd::send_signal(&watcher.pidfd, libc::SIGTERM));
        drop(pidfd::wait(&watcher.pidfd));
    }
    if let Some(service) = &request.exit_code_from {
        let own = request
            .members
            .iter()
            .filter(|m| m.present.service == *service);
        for member in own {
            if let Some(exit) = member.container.exit()? {
                code = (exit.code & 0xFF) as u8;
            }
        }
    }
    drop(signal::set_mask(&before));
    Ok(code)
}

fn counts(request: &Request, code: i32) -> bool {
    request.abort_on_exit || (request.abort_on_failure && code != 0)
}

/// Says that a container ended.
fn told(request: &Request, index: usize, out: &mut Out) -> Result<()> {
    let member = &request.members[index];
    if let Some(exit) = member.container.exit()? {
        out.line(format!("{} exited with code {}", short(member), exit.code))?;
        out.flush()?;
    }
    Ok(())
}

/// A fork with the caller's signals that ends with us.
fn child(mask: &signal::Set, body: impl FnOnce() -> u8) -> Result<Child> {
    Ok(clone::fork_with(|| {
        drop(attributes::set_death_signal(libc::SIGKILL));
        signal::ignore(libc::SIGINT);
        drop(signal::set_mask(mask));
        body()
    })?)
}

/// Stops the containers; a signal meanwhile kills them.
fn stop_all(
    session: &Session,
    project: &Project,
    request: &Request,
    mask: &signal::Set,
    typed: &OwnedFd,
    out: &mut Out,
) -> Result<()> {
    let stopper = child(mask, || {
        let mut out = Out::standard();
        let mut shell = Shell {
            out: &mut out,
            quiet: false,
        };
        let list = request.members.clone();
        let stopped = down::stop_members(
            session,
            Some(project),
            list,
            request.timeout,
            request.parallel,
            &mut shell,
        );
        match stopped {
            Ok(()) => 0,
            Err(e) => {
                out.error(&e);
                1
            }
        }
    })?;
    loop {
        let mut list = [
            PollFd::from_borrowed_fd(stopper.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(typed.as_fd(), PollFlags::IN),
        ];
        match poll(&mut list, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e).what(|| "cannot wait for the containers"),
        }
        if !list[1].revents().is_empty() {
            let _ = signal::next(typed)?;
            out.note("Killing…");
            for member in &request.members {
                if member.container.state()?.is_active() {
                    drop(kill(session, &member.container, libc::SIGKILL));
                }
            }
        }
        if !list[0].revents().is_empty() {
            drop(pidfd::wait(&stopper.pidfd));
            return Ok(());
        }
    }
}
