//! The monitor's part in health checks: it begins them, hears of them, and does what follows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{HEALTH, Monitor, Phase};
use crate::base::fs::{Durability, replace};
use crate::base::{Error, Kind, Result};
use crate::monitor::health::{Action, Flight, Judge, Landed};
use crate::state::health::{CheckResult, Checks, Health, LogDestination};
use crate::sys::event::Interest;
use crate::sys::pidfd;
use crate::sys::process::is_exiting;

/// The checks of the present run.
pub(super) struct Checking {
    judge: Judge,
    since: Instant,
    /// When the next one begins.
    due: Option<Instant>,
    flight: Option<Flight>,
    /// Clients that want one more.
    waiting: Vec<u64>,
}

impl Checking {
    fn new(checks: Checks, now: Instant) -> Self {
        let judge = Judge::new(checks);
        Self {
            due: judge.first().map(|d| now + d),
            judge,
            since: now,
            flight: None,
            waiting: Vec::new(),
        }
    }

    /// When the loop must look at it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.flight {
            Some(flight) => Some(flight.until),
            None => self.due,
        }
    }
}

impl Monitor<'_> {
    /// A run begins.
    pub(super) fn begin_health(&mut self) {
        let now = Instant::now();
        self.health = self.plan.health.clone().map(|c| Checking::new(c, now));
        let container = &self.plan.container;
        let _lost = match &self.health {
            Some(checking) => container.write_health(&checking.judge.record),
            None => container.clear_health(),
        };
    }

    /// The run is over: what is under way does not count.
    pub(super) fn end_health(&mut self) {
        let Some(mut checking) = self.health.take() else {
            return;
        };
        let mut askers = std::mem::take(&mut checking.waiting);
        if let Some(mut flight) = checking.flight.take() {
            let _known = self.poller.remove(flight.pipe());
            askers.append(&mut flight.askers);
        }
        let ended = Err(Error::new(Kind::InUse, "the container ended meanwhile"));
        askers.iter().for_each(|token| self.answer(*token, &ended));
    }

    /// Begins a check that is due, and ends one that hangs.
    pub(super) fn see_to_health(&mut self, now: Instant) {
        let paused = self.status.paused;
        let Some(checking) = &mut self.health else {
            return;
        };
        if let Some(flight) = &checking.flight {
            if flight.until <= now {
                self.health_landed();
            }
            return;
        }
        let due = checking.due.is_some_and(|d| d <= now);
        if !due && checking.waiting.is_empty() {
            return;
        }
        let init = self.status.init.as_ref();
        if init.is_none_or(|init| is_exiting(init.pid)) {
            checking.due = None;
            return;
        }
        if paused {
            // Looked at again when it goes on.
            checking.due = None;
            return;
        }
        let since_start = checking.since.elapsed();
        let askers = std::mem::take(&mut checking.waiting);
        let (probe, limit) = checking.judge.next();
        let exec = &mut self.plan.exec;
        let started = Flight::start(probe, limit, &self.status, exec, since_start);
        let added = started.and_then(|flight| {
            self.poller.add(flight.pipe(), HEALTH, Interest::READ)?;
            Ok(flight)
        });
        match added {
            Ok(mut flight) => {
                flight.askers = askers;
                checking.flight = Some(flight);
            }
            // The host is short of something: that says nothing of the container.
            Err(e) => {
                checking.due = checking.judge.pause(since_start).map(|p| now + p);
                let answer = Err(e);
                askers.iter().for_each(|token| self.answer(*token, &answer));
            }
        }
    }

    /// The pipe of a check has something, or its time is over.
    pub(super) fn health_landed(&mut self) {
        let Some(checking) = &mut self.health else {
            return;
        };
        let Some(mut flight) = checking.flight.take() else {
            return;
        };
        let overdue = flight.until <= Instant::now();
        if !flight.read() && !overdue {
            checking.flight = Some(flight);
            return;
        }
        let _known = self.poller.remove(flight.pipe());
        let Landed {
            result,
            since_start,
            askers,
        } = flight.land();
        if result.as_ref().is_some_and(|r| r.exit_code != 0) && self.is_ending() {
            // They are told at the end, which is near.
            if let Some(checking) = &mut self.health {
                checking.waiting.extend(askers);
                checking.due = None;
            }
            return;
        }
        let Some(checking) = &mut self.health else {
            return;
        };
        let Some(result) = result else {
            let e = Error::new(Kind::InUse, "the container was paused meanwhile");
            let answer = Err(e);
            askers.iter().for_each(|token| self.answer(*token, &answer));
            return;
        };
        let verdict = checking.judge.take(result.clone(), since_start);
        let pause = checking.judge.pause(since_start);
        checking.due = pause.map(|p| Instant::now() + p);
        let record = checking.judge.record.clone();
        let checks = checking.judge.checks();
        let every = checks.log == LogDestination::Events;
        if let LogDestination::Directory(folder) = &checks.log {
            let path = folder.join(format!("{}-healthcheck.log", self.plan.container.id()));
            let text = record.json().to_string();
            let _lost = replace(&path, text.as_bytes(), 0o600, Durability::Volatile);
        }
        if verdict.changed {
            // Before the record: whoever sees that it is well may end the one that it replaces.
            self.tell_ready();
        }
        let _lost = self.plan.container.write_health(&record);
        if record.status == Health::Healthy
            && let Some(notify) = &mut self.notify
        {
            notify.healthy();
        }
        if verdict.changed || every {
            self.tell_health(record.status.name(), record.failing_streak, &result);
        }
        let answer = Ok(json!({
            "healthy": result.exit_code == 0,
            "status": record.status.name(),
            "output": result.output,
        }));
        askers.iter().for_each(|token| self.answer(*token, &answer));
        match verdict.action {
            None => {}
            Some(Action::Kill) => {
                if let Phase::Running(current) = &self.phase {
                    let _gone = pidfd::send_signal(&current.running.pidfd, libc::SIGKILL);
                }
            }
            Some(Action::Stop) => {
                self.stopping = true;
                self.ask_to_end();
            }
            Some(Action::Restart) => {
                self.start_anew = true;
                self.ask_to_end();
            }
        }
    }

    /// Whether its checks say so, where it has any.
    pub(super) fn is_healthy(&self) -> bool {
        self.health
            .as_ref()
            .is_none_or(|c| c.judge.record.status == Health::Healthy)
    }

    /// Whether its checks say so.
    pub(super) fn is_unhealthy(&self) -> bool {
        self.health
            .as_ref()
            .is_some_and(|c| c.judge.record.status == Health::Unhealthy)
    }

    /// Whether the container's first process is on its way out: the kernel has ended the others by
    /// then, a check among them.
    fn is_ending(&self) -> bool {
        let init = self.status.init.as_ref();
        init.is_none_or(|init| is_exiting(init.pid))
    }

    fn tell_health(&self, status: &str, streak: u32, result: &CheckResult) {
        if !self.plan.health_events {
            return;
        }
        let event = self.event_of("health_status", None).map(|mut event| {
            for (key, value) in [
                ("health_status", status),
                ("health_failing_streak", &streak.to_string()),
                ("health_log", result.output.trim_end()),
            ] {
                event.attributes.insert(key.to_owned(), value.to_owned());
            }
            event
        });
        self.tell(&Vec::from_iter(event));
    }

    /// The processes were frozen or thawed.
    pub(in crate::monitor) fn paused(&mut self, paused: bool) -> Result<()> {
        self.status.paused = paused;
        if let Some(checking) = &mut self.health {
            if let Some(flight) = &mut checking.flight {
                flight.void = true;
            }
            if !paused {
                let pause = checking.judge.pause(checking.since.elapsed());
                checking.due = pause.map(|_| Instant::now());
            }
        }
        self.tell_ready();
        self.write_status()
    }

    /// A client wants a check now; it is answered when that is done.
    ///
    /// # Errors
    /// `Invalid` without a check, `InUse` when the container cannot be looked at.
    pub(in crate::monitor) fn check_health(&mut self, token: u64) -> Result<()> {
        if self.status.paused {
            return Err(Error::new(Kind::InUse, "the container is paused"));
        }
        if self.plan.health.is_none() {
            return Err(Error::invalid("the container has no health check"));
        }
        match &mut self.health {
            None => Err(Error::new(
                Kind::InUse,
                "the container is between two starts",
            )),
            Some(checking) => {
                checking.waiting.push(token);
                Ok(())
            }
        }
    }

    /// Other checks from now on, or none.
    pub(in crate::monitor) fn change_health(&mut self, checks: Option<Checks>) {
        self.plan.health.clone_from(&checks);
        let running = matches!(self.phase, Phase::Running(_));
        match (&mut self.health, checks) {
            (Some(checking), Some(checks)) => {
                checking.judge.change(checks);
                let pause = checking.judge.pause(checking.since.elapsed());
                checking.due = pause.map(|_: Duration| Instant::now());
            }
            (None, Some(_)) if running => self.begin_health(),
            (Some(_), None) => {
                self.end_health();
                let _lost = self.plan.container.clear_health();
            }
            _ => {}
        }
        self.tell_ready();
    }
}

/// The checks in a request.
///
/// # Errors
/// `Invalid` when they cannot be read.
pub(in crate::monitor) fn checks_of(value: Value) -> Result<Option<Checks>> {
    serde_json::from_value(value).map_err(|e| Error::invalid("invalid health check").because(e))
}
