//! `wait`: until a container is in a certain state.
//!
//! Nothing is polled: the exit comes over the control socket, everything else is told by the
//! folders where the records are, and by the monitor's end.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

use super::reap;
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::control::{Control, Waiting};
use crate::handoff::ended;
use crate::operations::session::Session;
use crate::state::container::{Container, State};
use crate::state::health::Health;
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
    /// Its health checks say so, while it runs.
    Health(Health),
}

impl Condition {
    /// Parses podman's words.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "stopped" | "exited" | "not-running" => Self::Stopped,
            "configured" | "created" | "initialized" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "removed" | "removing" => Self::Removed,
            "healthy" => Self::Health(Health::Healthy),
            "unhealthy" => Self::Health(Health::Unhealthy),
            _ => {
                return Err(Error::invalid(format!("no such state: {text:?}"))
                    .hint("states are created, running, paused, healthy, unhealthy, stopped (or exited) and \
                           removed"));
            }
        })
    }

    fn holds(self, state: State, health: Option<Health>) -> bool {
        match self {
            Self::Health(wanted) => {
                health == Some(wanted) && matches!(state, State::Running | State::Paused)
            }
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
    wait_first(session, std::slice::from_ref(container), conditions)
}

/// Waits until one of the conditions holds for one of the containers; as [`wait`].
///
/// # Errors
/// As [`wait`]; `Invalid` without containers.
pub fn wait_first(
    session: &Session,
    containers: &[Container],
    conditions: &[Condition],
) -> Result<i32> {
    if containers.is_empty() {
        return Err(Error::invalid("there is no container to wait for"));
    }
    // Connections stay: with --rm there is no record afterwards, and only the monitor tells the code.
    let mut all: Vec<(Container, Option<Waiting>)> =
        containers.iter().map(|c| (c.clone(), None)).collect();
    'again: loop {
        let mut pending = Vec::new();
        for (container, waiting) in &mut all {
            match look(session, container, waiting, conditions)? {
                Look::Holds(code) => return Ok(code),
                Look::Again => continue 'again,
                Look::Until(watch, monitor) => pending.push((watch, monitor)),
            }
        }
        let mut fds = Vec::new();
        for (index, (watch, monitor)) in pending.iter().enumerate() {
            fds.extend(all[index].1.as_ref().map(|w| (Some(index), w.as_fd())));
            fds.push((None, watch.as_fd()));
            fds.extend(monitor.as_ref().map(|m| (None, m.as_fd())));
        }
        let list: Vec<_> = fds.iter().map(|(_, fd)| *fd).collect();
        if let Some(index) = fds[any(&list)?].0
            && let Some(waiting) = all[index].1.take()
            && let Some(code) = waiting.finish()?
        {
            return Ok(code);
        }
    }
}

/// What is known of a container.
enum Look {
    /// A condition holds: what to answer.
    Holds(i32),
    /// It changed this very moment.
    Again,
    /// Its folders tell of a change, and so does the end of the monitor.
    Until(Watch, Option<OwnedFd>),
}

fn look(
    session: &Session,
    container: &mut Container,
    waiting: &mut Option<Waiting>,
    conditions: &[Condition],
) -> Result<Look> {
    // Watched before it is looked at: what happens in between is told.
    let Some(watch) = watch(container)? else {
        if let Some(waiting) = waiting.take()
            && let Some(code) = waiting.finish()?
        {
            return Ok(Look::Holds(code));
        }
        if conditions.contains(&Condition::Removed) {
            return Ok(Look::Holds(-1));
        }
        return Err(Error::not_found(format!(
            "container {:?} was removed meanwhile",
            container.name()
        )));
    };
    let (state, status) = container.state_and_status()?;
    let health = match conditions.iter().any(|c| matches!(c, Condition::Health(_))) {
        true => container.health()?.map(|h| h.status),
        false => None,
    };
    let holds = conditions.iter().any(|c| c.holds(state, health));
    match state {
        // The next command cleans up: this one.
        State::Lost if holds => {
            let gone = reap::reap_lost(session, container)?;
            return Ok(Look::Holds(if gone { -1 } else { code(container)? }));
        }
        State::Exited if holds => return Ok(Look::Holds(code(container)?)),
        _ if holds => return Ok(Look::Holds(-1)),
        _ => {}
    }
    if conditions.iter().all(|c| matches!(c, Condition::Health(_))) {
        in_vain(container, state, health.is_some())?;
    }
    if conditions.contains(&Condition::Stopped) && state.is_active() {
        if waiting.is_none() {
            match Control::connect(&container.control_socket()).and_then(Control::wait) {
                Ok(connected) => *waiting = Some(connected),
                // It ends this very moment: the records have the last word.
                Err(e) if is_gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
        if waiting.is_some() {
            return Ok(Look::Until(watch, None));
        }
    }
    // The records change, or the monitor ends.
    let Some(status) = status else {
        return Ok(Look::Until(watch, None));
    };
    Ok(match ended::watch(&status.monitor)? {
        None => Look::Again,
        monitor => Look::Until(watch, monitor),
    })
}

/// Refuses to wait for the health of what will have none.
fn in_vain(container: &Container, state: State, checked: bool) -> Result<()> {
    let name = container.name();
    match state {
        State::Exited | State::Lost => Err(Error::new(
            Kind::InUse,
            format!(
                "container {name:?} has ended with exit code {}",
                code(container)?
            ),
        )
        .hint(format!("coracle logs {name}"))),
        State::Running | State::Paused if !checked => Err(Error::invalid(format!(
            "container {name:?} has no health check"
        ))
        .hint("coracle update --health-cmd COMMAND gives it one")),
        _ => Ok(()),
    }
}

fn is_gone(e: &Error) -> bool {
    matches!(e.kind(), Kind::NotFound | Kind::Unavailable)
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
        let healthy = Condition::parse("Healthy").unwrap();
        assert_eq!(healthy, Condition::Health(Health::Healthy));
        assert_eq!(Condition::parse("happy").unwrap_err().kind(), Kind::Invalid);
    }
}
