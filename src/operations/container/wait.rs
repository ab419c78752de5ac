//! `wait`: until a container is in a certain state.
//!
//! Nothing is polled: the exit comes over the control socket, everything else is told by the
//! folders where the records are, and by the monitor's end.

use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, poll};

use super::reap;
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::control::Control;
use crate::handoff::ended;
use crate::operations::session::Session;
use crate::state::container::{Container, State};
use crate::sys::watch::Watch;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its process ended.
    Stopped,
    /// It exists and has not run.
    Created,
    /// Its process runs.
    Running,
    /// It is frozen.
    Paused,
    /// It is gone.
    Removed,
}

impl Condition {
    /// Parses podman's words.
    ///
    /// # Errors
    /// `Unsupported` for states of health checks, `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "stopped" | "exited" | "not-running" => Self::Stopped,
            "configured" | "created" | "initialized" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "removed" | "removing" => Self::Removed,
            "healthy" | "unhealthy" => {
                return Err(Error::unsupported(format!(
                    "cannot wait for {text:?}: health checks do not run yet"
                )));
            }
            _ => {
                return Err(Error::invalid(format!("no such state: {text:?}"))
                    .hint("states are created, running, paused, stopped (or exited) and removed"));
            }
        })
    }

    fn holds(self, state: State) -> bool {
        match self {
            Self::Stopped => matches!(state, State::Exited | State::Lost),
            Self::Created => state == State::Created,
            Self::Running => state == State::Running,
            Self::Paused => state == State::Paused,
            Self::Removed => false,
        }
    }
}

/// Waits until one of the conditions holds. Answers the exit code when the container ended, -1
/// otherwise, as podman does.
///
/// # Errors
/// `NotFound` when it goes away and that was not waited for.
pub fn wait(session: &Session, container: &Container, conditions: &[Condition]) -> Result<i32> {
    let mut container = container.clone();
    let stopped = conditions.contains(&Condition::Stopped);
    loop {
        // Watched before it is looked at: what happens in between is told.
        let Some(watch) = watch(&container)? else {
            if conditions.contains(&Condition::Removed) {
                return Ok(-1);
            }
            return Err(Error::not_found(format!(
                "container {:?} was removed meanwhile",
                container.name()
            )));
        };
        let (state, status) = container.state_and_status()?;
        let holds = conditions.iter().any(|c| c.holds(state));
        match state {
            // The next command cleans up: this one.
            State::Lost if holds => {
                let gone = reap::reap_lost(session, &mut container)?;
                return Ok(if gone { -1 } else { code(&container)? });
            }
            State::Exited if holds => return code(&container),
            _ if holds => return Ok(-1),
            _ => {}
        }
        // With --rm there is no record afterwards: only the monitor can tell the code.
        if stopped && state.is_active() {
            match Control::connect(&container.control_socket()).and_then(Control::wait) {
                Ok(waiting) if conditions.len() == 1 => {
                    if let Some(code) = waiting.finish()? {
                        return Ok(code);
                    }
                }
                Ok(waiting) => {
                    if any(&[waiting.as_fd(), watch.as_fd()])? == 0
                        && let Some(code) = waiting.finish()?
                    {
                        return Ok(code);
                    }
                }
                // It ends this very moment: the records have the last word.
                Err(e) if is_gone(&e) => settle(&watch, status.map(|s| s.monitor))?,
                Err(e) => return Err(e),
            }
            continue;
        }
        settle(&watch, status.map(|s| s.monitor))?;
    }
}

fn is_gone(e: &Error) -> bool {
    matches!(e.kind(), Kind::NotFound | Kind::Unavailable)
}

/// Waits until something happens to the records, or the monitor ends.
fn settle(watch: &Watch, monitor: Option<crate::sys::process::Identity>) -> Result<()> {
    let monitor = monitor.map(|m| ended::watch(&m)).transpose()?;
    match monitor {
        Some(Some(monitor)) => any(&[watch.as_fd(), monitor.as_fd()]).map(drop),
        // It is dead already: look again at once.
        Some(None) => Ok(()),
        None => any(&[watch.as_fd()]).map(drop),
    }
}

/// Watches the folders of a container; `None` when it is gone.
fn watch(container: &Container) -> Result<Option<Watch>> {
    let watch = Watch::new()?;
    match watch.add(container.dir()) {
        Err(e) if e.errno == libc::ENOENT => return Ok(None),
        other => other?,
    }
    container.make_runtime_dir()?;
    watch.add(container.runtime_dir())?;
    // Removed, and perhaps renamed, between the two.
    Ok(container
        .dir()
        .join("config.json")
        .exists()
        .then_some(watch))
}

/// The exit code of the last run.
fn code(container: &Container) -> Result<i32> {
    Ok(container.exit()?.map_or(-1, |e| e.code))
}

/// Waits until one of the descriptors can be read: which.
fn any(fds: &[std::os::fd::BorrowedFd<'_>]) -> Result<usize> {
    let mut list: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    loop {
        match poll(&mut list, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).what(|| "cannot wait for the container"),
            Ok(_) => {
                let ready = list.iter().position(|fd| !fd.revents().is_empty());
                return Ok(ready.unwrap_or(0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::progress::Silent;
    use crate::config::env::Env;
    use crate::monitor::spawn;
    use crate::monitor::tests::{World, wait_for};
    use crate::state::container::Containers;
    use crate::sys::signal;

    fn session(world: &World) -> Session {
        Session {
            dirs: world.dirs(),
            env: Env::fixed::<&str, &str>([]),
            user: crate::config::user::current(),
            options: Default::default(),
            progress: Arc::new(Silent),
            command_line: Vec::new(),
        }
    }

    /// Begins to wait in a thread.
    fn waiting(
        world: &World,
        conditions: &'static [Condition],
    ) -> std::thread::JoinHandle<Result<i32>> {
        let (session, container) = (session(world), world.container.clone());
        std::thread::spawn(move || wait(&session, &container, conditions))
    }

    #[test]
    fn the_code_comes_whether_it_ended_runs_or_was_not_started_yet() {
        let world = World::new();
        let early = waiting(&world, &[Condition::Stopped]);
        let either = waiting(&world, &[Condition::Stopped, Condition::Paused]);
        let gate = world.path("gate");
        let script = format!(
            "while ! test -e {}; do sleep 0.01; done; exit 42",
            gate.display()
        );
        spawn(world.plan(&script)).unwrap();
        let late = waiting(&world, &[Condition::Stopped]);
        std::fs::write(gate, "").unwrap();
        for waiting in [early, either, late] {
            assert_eq!(waiting.join().unwrap().unwrap(), 42);
        }
        let after = waiting(&world, &[Condition::Stopped]);
        assert_eq!(after.join().unwrap().unwrap(), 42);
    }

    #[test]
    fn other_states_and_the_removal_are_seen() {
        let world = World::new();
        let created = waiting(&world, &[Condition::Created]);
        assert_eq!(created.join().unwrap().unwrap(), -1);
        let running = waiting(&world, &[Condition::Running]);
        let paused = waiting(&world, &[Condition::Paused]);
        let removed = waiting(&world, &[Condition::Removed]);
        let removed_meanwhile = waiting(&world, &[Condition::Created, Condition::Paused]);
        assert_eq!(removed_meanwhile.join().unwrap().unwrap(), -1);
        let started = spawn(world.plan("while :; do sleep 0.01; done")).unwrap();
        assert_eq!(running.join().unwrap().unwrap(), -1);
        world.control().set_paused(true).unwrap();
        assert_eq!(paused.join().unwrap().unwrap(), -1);
        let never = waiting(&world, &[Condition::Created]);
        signal::send(started.pid, libc::SIGKILL).unwrap();
        wait_for("the end", || world.text("cleanup") == "137\n");
        Containers::new(&world.dirs())
            .remove(&world.container)
            .unwrap();
        assert_eq!(removed.join().unwrap().unwrap(), -1);
        assert_eq!(never.join().unwrap().unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn states_are_podmans_words() {
        for (word, condition) in [
            ("stopped", Condition::Stopped),
            ("Exited", Condition::Stopped),
            ("running", Condition::Running),
            ("configured", Condition::Created),
        ] {
            assert_eq!(Condition::parse(word).unwrap(), condition);
        }
        assert_eq!(
            Condition::parse("healthy").unwrap_err().kind(),
            Kind::Unsupported
        );
        assert_eq!(Condition::parse("happy").unwrap_err().kind(), Kind::Invalid);
    }
}
