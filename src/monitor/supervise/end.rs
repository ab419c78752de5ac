//! The ends of a run: its record, what follows of it, and who is told.

use std::time::{Duration, Instant};

use super::{CLIENTS, DRAIN, Monitor, Phase, SIGNALS};
use crate::base::Error;
use crate::base::failpoint::failpoint;
use crate::base::time::Timestamp;
use crate::events::Event as Happening;
use crate::monitor::serve;
use crate::state::container::ExitRecord;
use crate::sys::pidfd;

impl Monitor<'_> {
    pub(super) fn give_up_restart(&mut self) {
        // One on demand may never have run.
        let mut record = self.last.take().unwrap_or_else(|| self.exited(0));
        record.stopped_by_user = self.stopping;
        self.finish(&record, Vec::new());
        self.last = Some(record);
        self.phase = Phase::Over;
    }

    /// The process has ended.
    pub(super) fn ended(&mut self) {
        let Phase::Running(current) = &self.phase else {
            return;
        };
        let code = match pidfd::try_wait(&current.running.pidfd) {
            Ok(None) => return,
            Ok(Some(ended)) => Some(ended.code()),
            Err(_) => None,
        };
        self.end_health();
        self.tell_pod(false);
        // What it wrote last is still in the pipes; nobody adds to it any more, so this ends.
        self.relay(false, DRAIN);
        self.relay(true, DRAIN);
        let _lost = self.plan.log.flush();
        self.memory_changed();
        let oom_killed = self.status.out_of_memory;
        let Phase::Running(mut current) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        // Descriptors leave the poller with their last copy; those that the launch's children may
        // have inherited leave it here.
        let _known = self.poller.remove(&current.running.pidfd);
        if let Some(uplink) = &current.running.uplink {
            let _known = self.poller.remove(&uplink.pidfd);
        }
        if let Some(networks) = &current.running.networks
            && current.networks_at.is_none()
        {
            let _known = self.poller.remove(networks.socket());
        }
        current.leave(&self.poller);
        let ran = current.since.elapsed();
        drop(current.ends);
        drop(current.running.uplink.take());
        drop(current.running.networks.take());
        self.status.networks.clear();
        self.status.bridges = None;
        for held in std::mem::take(&mut current.running.held) {
            drop(held);
        }
        self.status.init = None;
        let record = ExitRecord {
            version: 1,
            code: code.unwrap_or(-1),
            unknown: code.is_none(),
            oom_killed,
            started: self.status.started,
            finished: Timestamp::now(),
            error: None,
            stopped_by_user: self.stopping,
            restarts: self.restarts.count(),
        };
        self.reap_orphans();
        self.over_or_again(record, ran);
    }

    pub(super) fn over_or_again(&mut self, record: ExitRecord, ran: Duration) {
        let events: Vec<_> = self
            .event_of("died", Some(record.code))
            .into_iter()
            .collect();
        let stopped = self.stopping || self.ending;
        let anew = std::mem::take(&mut self.start_anew) && !stopped;
        if self.plan.demand.is_some() && !anew && !stopped {
            self.tell(&events);
            let _lost = self.plan.container.write_exit(&record);
            self.clients.exited(record.code, &self.poller);
            self.wait_again(record, ran);
            return;
        }
        let again = match anew {
            true => Some(Duration::ZERO),
            false => self.restarts.after(record.code, ran, stopped),
        };
        match again {
            Some(delay) => {
                self.tell(&events);
                let _lost = self.plan.container.write_exit(&record);
                let _lost = self.plan.container.write_status(&self.status);
                self.clients.exited(record.code, &self.poller);
                self.phase = Phase::Restarting(Instant::now() + delay);
            }
            None => {
                self.finish(&record, events);
                self.clients.exited(record.code, &self.poller);
                self.phase = Phase::Over;
            }
        }
        self.last = Some(record);
    }

    pub(super) fn restart(&mut self) {
        self.event("restart");
        if let Err(e) = self.start(self.restarts.count()) {
            let record = self.failed(&e);
            self.over_or_again(record, Duration::ZERO);
        }
    }

    /// The record of a start that failed.
    pub(super) fn failed(&self, error: &Error) -> ExitRecord {
        ExitRecord {
            error: Some(error.one_line()),
            ..self.exited(error.asked_exit_code().unwrap_or(125).into())
        }
    }

    /// The record of an end now.
    pub(super) fn exited(&self, code: i32) -> ExitRecord {
        let now = Timestamp::now();
        ExitRecord {
            version: 1,
            code,
            unknown: false,
            oom_killed: false,
            started: now,
            finished: now,
            error: None,
            stopped_by_user: self.stopping,
            restarts: self.restarts.count(),
        }
    }

    /// The last exit: records it and what must be done before anybody hears of it. `events` are
    /// told with what comes of that, at one go.
    pub(super) fn finish(&mut self, record: &ExitRecord, mut events: Vec<Happening>) {
        // What fails here is told to nobody: a test looks at what it leaves.
        let _armed = failpoint("exit::seen");
        // With --rm the record would only be removed again; whoever waits is told by the socket.
        if !self.plan.container.record.options.remove {
            let _lost = self.plan.container.write_exit(record);
        }
        let _armed = failpoint("exit::recorded");
        // Whoever has asked for the exit already, gets it.
        self.clients.accept(&self.poller);
        for token in self.clients.asking() {
            serve::messages(self, token);
        }
        self.clients.stop_listening(&self.poller);
        events.append(&mut (self.plan.on_exit)(record));
        self.tell(&events);
        let _armed = failpoint("exit::freed");
        // A folder that goes altogether goes after everybody was told.
        if !self.plan.container.record.options.remove {
            let _gone = self.plan.container.clear_status();
        }
        let _armed = failpoint("exit::cleared");
    }

    /// Stays for clients that have not taken everything.
    pub(super) fn linger(&mut self, until: Option<Instant>) {
        self.clients.drop_idle(&self.poller);
        while !self.clients.is_empty() {
            let now = Instant::now();
            if until.is_some_and(|u| u <= now) {
                return;
            }
            let deadline = [until, self.clients.deadline()].into_iter().flatten().min();
            let patience = deadline.map(|d| d.saturating_duration_since(now));
            for event in self.poller.wait(patience).unwrap_or_default() {
                if event.token >= CLIENTS {
                    self.serve(event.token, event);
                } else if event.token == SIGNALS {
                    self.take_signals();
                }
            }
            self.clients.drop_slow(Instant::now(), &self.poller);
            self.clients.drop_idle(&self.poller);
        }
    }
}
