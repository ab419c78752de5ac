//! Replicas brought to what a service should be: made, started, replaced in groups, taken away.
//!
//! Each replica is worked on by a fork of the command ([`tasks`]), those of a group side by side. An
//! old one goes only when nobody is connected to it any more, and a new one counts when it is ready.
//! The service's lock is held all the time; killed in the middle, everything is as the next command
//! finds it: replicas say themselves what they were made from.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::plan::{self, Step};
use super::{drain, replica};
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::control::Control;
use crate::operations::compose::tasks::{self, Task, Work};
use crate::operations::container::remove::{RemoveOptions, remove};
use crate::operations::container::request::RunOptions;
use crate::operations::container::run::{self, Ran, run};
use crate::operations::container::stop::{StopOptions, stop};
use crate::operations::container::summary::Summary;
use crate::operations::container::wait::{Condition, wait_first};
use crate::operations::session::Session;
use crate::runtime::userns::{self, Want};
use crate::state::container::{Container, Containers, State};
use crate::state::health::Health;
use crate::state::options::ContainerOptions;
use crate::state::service::{OnFailure, Order, ProgressState, Rolling, ServiceLock, ServiceRecord};

/// So many replicas are made side by side.
const AT_ONCE: usize = 8;

/// What is told of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// A step is done: the replica, and what became of it.
    Done(&'a str, &'a str),
    /// Something to know.
    Warning(&'a str),
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it should be.
    Converged,
    /// Too many failed, and it stopped there: why.
    Paused(String),
    /// Too many failed, and it was undone: why.
    RolledBack(String),
}

/// Who works on a service.
pub struct Driver<'a> {
    /// The session.
    pub session: &'a Session,
    /// The service's.
    pub lock: &'a ServiceLock,
    /// Hears of it.
    pub tell: &'a mut dyn FnMut(Told<'_>),
}

impl std::fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// Takes all replicas of a service away.
///
/// # Errors
/// As `stop` and `rm`.
pub(super) fn clear(session: &Session, record: &ServiceRecord) -> Result<()> {
    userns::enter(&session.dirs, Want::Default)?;
    let mut list: Vec<Task<'_>> = Vec::new();
    for replica in replica::replicas(session, record)? {
        let container = replica.summary.container;
        list.push(Task {
            noun: "Replica",
            name: container.name().to_owned(),
            done: "removed",
            after: Vec::new(),
            waits: false,
            work: Box::new(move |_| away(session, &container)),
        });
    }
    tasks::run(list, AT_ONCE, &mut |_| {})
}

impl Driver<'_> {
    /// Brings the replicas to what the record says, and notes how that went.
    ///
    /// # Errors
    /// What starting the first ones says; the record says it too. That an update failed is none.
    pub fn drive(&mut self, record: &mut ServiceRecord) -> Result<Outcome> {
        let back = matches!(
            record.progress.as_ref().map(|p| p.state),
            Some(ProgressState::RollbackStarted)
        );
        let rolling = match back {
            true => record.desired.rollback.clone(),
            false => record.desired.update.clone(),
        };
        let why = match self.converge(record, &rolling) {
            Ok(None) => {
                let (state, message) = match back {
                    true => (ProgressState::RollbackCompleted, "rollback completed"),
                    false => (ProgressState::Completed, "update completed"),
                };
                self.note(record, state, message)?;
                return Ok(Outcome::Converged);
            }
            Ok(Some(why)) => why,
            Err(e) => {
                let state = match back {
                    true => ProgressState::RollbackPaused,
                    false => ProgressState::Paused,
                };
                self.note(record, state, &e.one_line())?;
                return Err(e);
            }
        };
        if !back && rolling.on_failure == OnFailure::Rollback && record.previous.is_some() {
            super::turn_back(self.session, record, self.lock, false)?;
            return match self.drive(record)? {
                Outcome::Paused(more) => Ok(Outcome::Paused(more)),
                _ => Ok(Outcome::RolledBack(why)),
            };
        }
        let (state, message) = match back {
            true => (
                ProgressState::RollbackPaused,
                format!("rollback paused due to failure: {why}"),
            ),
            false => (
                ProgressState::Paused,
                format!("update paused due to failure: {why}"),
            ),
        };
        self.note(record, state, &message)?;
        Ok(Outcome::Paused(why))
    }

    /// Notes how it went, where there was a change to be made.
    fn note(&self, record: &mut ServiceRecord, state: ProgressState, text: &str) -> Result<()> {
        if let Some(progress) = &mut record.progress
            && (progress.completed.is_none() || progress.state != state)
        {
            progress.state = state;
            progress.completed = Some(Timestamp::now());
            text.clone_into(&mut progress.message);
            super::write(self.session, record, self.lock)?;
        }
        Ok(())
    }

    /// Answers why it stopped, where it did.
    fn converge(&mut self, record: &ServiceRecord, rolling: &Rolling) -> Result<Option<String>> {
        let session = self.session;
        let Some(options) = record.desired.options.as_deref() else {
            return Ok(None);
        };
        let present: Vec<plan::Present> = replica::replicas(session, record)?
            .iter()
            .map(replica::Replica::present)
            .collect();
        let steps = plan::plan(record.desired.revision, record.desired.replicas, &present);
        if steps.is_empty() {
            return Ok(None);
        }
        // Once, before the forks: each of them has it then.
        userns::enter(&session.dirs, Want::Default)?;
        let containers = Containers::new(&session.dirs);
        let open = |id: &str| containers.open(&id.parse()?);
        let mut first: Vec<Task<'_>> = Vec::new();
        let mut outdated = Vec::new();
        for step in steps {
            let (name, done, work): (String, &'static str, Work<'_>) = match step {
                Step::Welcome(id) => {
                    let container = open(&id)?;
                    let name = container.name().to_owned();
                    (
                        name,
                        "running",
                        Box::new(move |_| drain::set(&container, false)),
                    )
                }
                Step::Start(id) => {
                    let container = open(&id)?;
                    let name = container.name().to_owned();
                    let work = move |warn: &mut dyn FnMut(&str)| {
                        run::start(session, &container, None, warn)?;
                        ready(session, &container)
                    };
                    (name, "running", Box::new(work))
                }
                Step::Create(slot) => {
                    let name = format!("{}.{slot}", record.name);
                    let work = move |warn: &mut dyn FnMut(&str)| {
                        let container = make(session, record, options, slot, warn)?;
                        ready(session, &container)
                    };
                    (name, "running", Box::new(work))
                }
                Step::Remove(id) => {
                    let container = open(&id)?;
                    let name = container.name().to_owned();
                    (
                        name,
                        "removed",
                        Box::new(move |_| retire(session, &container)),
                    )
                }
                Step::Replace { slot, old, new } => {
                    let old = old.iter().map(|id| open(id)).collect::<Result<Vec<_>>>()?;
                    let new = new.as_deref().map(open).transpose()?;
                    outdated.push((slot, old, new));
                    continue;
                }
            };
            first.push(task(self.lock, name, done, work));
        }
        self.run(first)?;
        self.roll(record, options, rolling, outdated)
    }

    fn run(&mut self, list: Vec<Task<'_>>) -> Result<usize> {
        let mut done = 0;
        let tell = &mut self.tell;
        tasks::run(list, AT_ONCE, &mut |step| match step {
            tasks::Step::Done(_, name, word) => {
                done += 1;
                tell(Told::Done(name, word));
            }
            tasks::Step::Warning(text) => tell(Told::Warning(text)),
        })?;
        Ok(done)
    }

    /// Replaces outdated replicas, a group after the other.
    fn roll(
        &mut self,
        record: &ServiceRecord,
        options: &ContainerOptions,
        rolling: &Rolling,
        outdated: Vec<(u32, Vec<Container>, Option<Container>)>,
    ) -> Result<Option<String>> {
        let session = self.session;
        let total = outdated.len();
        if total == 0 {
            return Ok(None);
        }
        let width = match rolling.parallelism {
            0 => total,
            n => usize::try_from(n).unwrap_or(total),
        };
        let goes_on = rolling.on_failure == OnFailure::Continue;
        let allowed = |failed: usize| {
            let ratio = f64::from(u32::try_from(failed).unwrap_or(u32::MAX))
                / f64::from(u32::try_from(total).unwrap_or(1));
            failed == 0 || goes_on || ratio <= rolling.max_failure_ratio
        };
        let mut failed = 0;
        let mut why = None;
        let mut begun = false;
        let mut rest = outdated.into_iter().peekable();
        while rest.peek().is_some() {
            if begun && rolling.delay > 0 {
                crate::sys::process::pause(Duration::from_nanos(rolling.delay));
            }
            begun = true;
            let group: Vec<_> = rest.by_ref().take(width).collect();
            let count = group.len();
            let mut list = Vec::new();
            for (slot, old, new) in group {
                let work: Work<'_> = Box::new(move |warn| {
                    replace(session, record, options, rolling, (slot, old, new), warn)
                });
                let name = format!("{}.{slot}", record.name);
                list.push(task(self.lock, name, "updated", work));
            }
            let mut done = 0;
            let tell = &mut self.tell;
            let ended = tasks::run(list, count, &mut |step| match step {
                tasks::Step::Done(_, name, word) => {
                    done += 1;
                    tell(Told::Done(name, word));
                }
                tasks::Step::Warning(text) => tell(Told::Warning(text)),
            });
            if let Err(e) = ended {
                failed += count - done;
                tell(Told::Warning(&e.one_line()));
                why.get_or_insert_with(|| e.one_line());
            }
            let fallen = fallen(session, record)?;
            if !allowed(failed + fallen.len()) {
                return Ok(why.or_else(|| fallen.into_iter().next()));
            }
        }
        watch(session, record, Duration::from_nanos(rolling.monitor))?;
        let fallen = fallen(session, record)?;
        match allowed(failed + fallen.len()) {
            true => Ok(None),
            false => Ok(why.or_else(|| fallen.into_iter().next())),
        }
    }
}

fn task<'a>(lock: &'a ServiceLock, name: String, done: &'static str, work: Work<'a>) -> Task<'a> {
    Task {
        noun: "Replica",
        name,
        done,
        after: Vec::new(),
        waits: false,
        work: Box::new(move |warn| {
            // A monitor that is started here outlives the command.
            lock.leave();
            work(warn)
        }),
    }
}

/// Makes a replica and starts it.
fn make(
    session: &Session,
    record: &ServiceRecord,
    options: &ContainerOptions,
    slot: u32,
    warn: &mut dyn FnMut(&str),
) -> Result<Container> {
    let options = replica::options(record, options, slot)?;
    let request = RunOptions {
        detach: true,
        ..RunOptions::default()
    };
    match run(session, options, &request, warn)? {
        Ran::Detached(id) => Containers::new(&session.dirs).open(&id),
        _ => Err(Error::internal(
            "a replica was not started in the background",
        )),
    }
}

/// Waits until a replica takes connections: it runs, and is healthy where it is checked.
fn ready(session: &Session, container: &Container) -> Result<()> {
    let name = container.name();
    let mut summary = Summary::of(container.clone())?;
    let checked = summary.health.is_some();
    let conditions = match checked {
        true => vec![
            Condition::Health(Health::Healthy),
            Condition::Health(Health::Unhealthy),
            Condition::Stopped,
        ],
        false => vec![Condition::Running, Condition::Stopped],
    };
    if checked || summary.state != State::Running {
        wait_first(session, std::slice::from_ref(container), &conditions)?;
        summary = Summary::of(container.clone())?;
    }
    let failed = |what: String| {
        Err(Error::new(Kind::Unavailable, what).hint(format!("coracle logs {name}")))
    };
    match (summary.state, summary.health()) {
        (State::Running | State::Paused, "none" | "healthy") => Ok(()),
        (State::Running | State::Paused, health) => failed(format!("replica {name} is {health}")),
        _ => {
            let code = summary.exit.as_ref().map_or(-1, |e| e.code);
            failed(format!("replica {name} exited ({code})"))
        }
    }
}

/// Ends a replica that nobody is connected to any more, or whose time is over.
fn settle(session: &Session, container: &Container) -> Result<()> {
    drain::drain(container, drain::grace(container))?;
    stop(session, container, &StopOptions::default()).map(drop)
}

/// Takes a replica away, gently.
fn retire(session: &Session, container: &Container) -> Result<()> {
    settle(session, container)?;
    away(session, container)
}

/// Takes a replica away.
fn away(session: &Session, container: &Container) -> Result<()> {
    let gone = |e: &Error| e.kind() == Kind::NotFound;
    match stop(session, container, &StopOptions::default()) {
        Err(e) if gone(&e) => return Ok(()),
        other => drop(other?),
    }
    let options = RemoveOptions {
        force: true,
        volumes: true,
        ..RemoveOptions::default()
    };
    match remove(session, container.clone(), &options) {
        Err(e) if gone(&e) => Ok(()),
        other => other.map(drop),
    }
}

/// Replaces one replica. When the new one cannot be had, the old one is as it was, unless failures are
/// to be passed over.
fn replace(
    session: &Session,
    record: &ServiceRecord,
    options: &ContainerOptions,
    rolling: &Rolling,
    (slot, old, new): (u32, Vec<Container>, Option<Container>),
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    let was_running: Vec<bool> = old
        .iter()
        .map(|c| c.state().is_ok_and(State::is_active))
        .collect();
    if rolling.order == Order::StopFirst {
        old.iter().try_for_each(|c| settle(session, c))?;
    }
    let made = match new {
        Some(there) => {
            drain::set(&there, false)?;
            run::start(session, &there, None, warn).map(|_| there)
        }
        None => make(session, record, options, slot, warn),
    };
    let outcome = made.and_then(|container| match ready(session, &container) {
        Ok(()) => Ok(()),
        Err(e) => {
            if rolling.on_failure != OnFailure::Continue {
                // The error that brought us here is the one to report.
                drop(away(session, &container));
            }
            Err(e)
        }
    });
    match outcome {
        Err(e) if rolling.on_failure != OnFailure::Continue => {
            for (container, ran) in old.iter().zip(was_running) {
                if ran && rolling.order == Order::StopFirst {
                    let again = run::start(session, container, None, warn);
                    drop(again.and_then(|_| ready(session, container)));
                }
            }
            Err(e)
        }
        other => {
            old.iter().try_for_each(|c| retire(session, c))?;
            other
        }
    }
}

/// What is wrong with replicas that are as new as they should be.
fn fallen(session: &Session, record: &ServiceRecord) -> Result<Vec<String>> {
    let all = replica::replicas(session, record)?;
    let new = all
        .iter()
        .filter(|r| r.revision == record.desired.revision)
        .map(|r| &r.summary);
    Ok(new
        .filter_map(|s| {
            let name = s.container.name();
            if !s.state.is_active() {
                Some(format!("replica {name} exited ({})", s.exit_code()))
            } else if s.restarts() > 0 {
                Some(format!("replica {name} was started again"))
            } else if s.health() == "unhealthy" {
                Some(format!("replica {name} is unhealthy"))
            } else {
                None
            }
        })
        .collect())
}

/// Waits for so long, or until a new replica ends.
fn watch(session: &Session, record: &ServiceRecord, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    let mut waiting = Vec::new();
    for replica in replica::replicas(session, record)? {
        let socket = replica.summary.container.control_socket();
        if replica.revision == record.desired.revision
            && let Ok(connected) = Control::connect(&socket).and_then(Control::wait)
        {
            waiting.push(connected);
        }
    }
    loop {
        let mut list: Vec<PollFd<'_>> = waiting
            .iter()
            .map(|w| PollFd::from_borrowed_fd(w.as_fd(), PollFlags::IN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut list, left.as_ref()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).what(|| "cannot wait for replicas"),
        }
    }
}
