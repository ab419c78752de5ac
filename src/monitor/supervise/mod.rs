//! The monitor's loop: one container from its first start to its last exit.

mod demand;
mod end;
mod flow;
mod health;
mod link;
mod memory;
mod networks;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

pub(super) use health::checks_of;

use super::notify::Notify;
use super::restart::{Restarts, UplinkRestarts};
use super::serve::Clients;
use super::start::{Answer, Report, write_pid};
use super::streams::{self, Ends};
use super::{Attempt, Finish, MonitorPlan, Running};
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::events::Event as Happening;
use crate::handoff::failure::Failure;
use crate::state::container::{ExitRecord, Status};
use crate::state::options::RestartPolicy;
use crate::sys::event::{Event, Interest, Poller};
use crate::sys::memory::Buffer;
use crate::sys::process::Identity;
use crate::sys::{pidfd, signal};

pub(super) const SIGNALS: u64 = 0;
pub(super) const LISTENER: u64 = 1;
const PIDFD: u64 = 2;
const OUT: u64 = 3;
const ERR: u64 = 4;
const INPUT: u64 = 5;
const UPLINK: u64 = 6;
const UPLINK_START: u64 = 7;
const MEMORY: u64 = 8;
const NETWORKS: u64 = 9;
const HEALTH: u64 = 10;
const NOTIFY: u64 = 11;
const DEMAND: u64 = 12;
const CARRIER: u64 = 13;
/// Clients count from here.
pub(super) const CLIENTS: u64 = 16;

/// What is read at once, bytes.
const CHUNK: usize = 64 << 10;

/// How often a stream is read before the others get their turn.
const TURNS: usize = 16;

/// The same once the process has ended. What it left in a pipe or a terminal is less than this
/// many chunks; a process outside that still writes does not hold up the end.
const DRAIN: usize = 64;

/// A terminal that nobody has open is looked at again after so long.
const HUNG_UP: Duration = Duration::from_millis(50);

/// A container that runs for so long gets a small monitor: what only the start needed is given back.
const SETTLED: Duration = Duration::from_secs(2);

/// Clean-up waits so long for clients to take the rest of the output.
const LINGER: Duration = Duration::from_secs(1);

/// What the container is doing.
enum Phase {
    /// Its process runs.
    Running(Box<Current>),
    /// It will be started again then.
    Restarting(Instant),
    /// The first connection starts it. `Some`: connections are looked at from then on.
    Waiting(Option<Instant>),
    /// It is over.
    Over,
}

/// The process that runs now.
struct Current {
    running: Running,
    since: Instant,
    kill_at: Option<Instant>,
    ends: Ends,
    /// Whether the streams are in the poller, in the order of `ends`.
    reading: [bool; 2],
    writing: bool,
    /// When a terminal that was hung up is looked at again.
    look_again: Option<Instant>,
    /// When memory is given back.
    settle_at: Option<Instant>,
    /// When the uplink was started, when it is started again, or that start is looked at again.
    uplink_since: Instant,
    uplink_at: Option<Instant>,
    /// What a start of the uplink waits for.
    uplink_watch: Vec<OwnedFd>,
    /// Processes that were killed for want of memory, as far as that was told.
    kills: u64,
    uplink_restarts: UplinkRestarts,
    /// The same of the process that serves its networks.
    networks_at: Option<Instant>,
    networks_restarts: UplinkRestarts,
    /// What carries connections to a container on demand.
    carrier: Option<demand::Carrier>,
    /// When it is started again.
    carrier_at: Option<Instant>,
}

impl Current {
    /// Takes the streams out of the poller.
    fn leave(&mut self, poller: &Poller) {
        for (source, reading) in [&self.ends.out, &self.ends.err]
            .into_iter()
            .zip(self.reading)
        {
            if let (Some(source), true) = (source, reading) {
                let _known = poller.remove(source);
            }
        }
        if let (Some(input), true) = (&self.ends.input, self.writing) {
            let _known = poller.remove(input);
        }
        for fd in std::mem::take(&mut self.uplink_watch) {
            let _known = poller.remove(&fd);
        }
        if let Some(memory) = &self.running.memory {
            let _known = poller.remove(&memory.changed);
        }
        if let Some(carrier) = self.carrier.take() {
            let _known = poller.remove(carrier.pidfd());
        }
        (self.reading, self.writing) = ([false; 2], false);
    }
}

/// A container's monitor.
pub(super) struct Monitor<'a> {
    plan: MonitorPlan<'a>,
    pub(super) status: Status,
    pub(super) poller: Poller,
    signals: OwnedFd,
    pub(super) clients: Clients,
    pub(super) restarts: Restarts,
    /// A person stops it: recorded, and no restart.
    pub(super) stopping: bool,
    /// The monitor was asked to end: no restart.
    ending: bool,
    /// It is started again whatever the policy: it was stopped for that.
    start_anew: bool,
    /// It is stopped for want of connections.
    idle: bool,
    health: Option<health::Checking>,
    /// Containers that share its network, and whether they are ready.
    sharers: BTreeMap<String, bool>,
    /// What the holder of its pod's network was told last.
    told_pod: Option<bool>,
    pub(super) notify: Option<Notify>,
    phase: Phase,
    last: Option<ExitRecord>,
    buffer: Buffer,
    /// The first start, under way.
    first: Option<Result<Begun>>,
}

/// A start under way: our side of the streams, and what ends it.
pub(super) struct Begun {
    ends: Ends,
    finish: Finish,
}

/// Begins a start.
pub(super) fn begin(plan: &mut MonitorPlan<'_>, number: u32) -> Result<Begun> {
    let (ends, stdio) = streams::make(plan.stdio)?;
    let finish = (plan.launch)(Attempt { number, stdio })?;
    Ok(Begun { ends, finish })
}

impl<'a> Monitor<'a> {
    /// Takes up the signals and the first client, while the container's process sets itself up.
    pub(super) fn new(
        mut plan: MonitorPlan<'a>,
        status: Status,
        listener: UnixListener,
        owner: Option<UnixStream>,
        first: Option<Result<Begun>>,
    ) -> Result<Self> {
        let poller = Poller::new()?;
        // Everything that would end it: hang-ups and keyboards are not its business, and the rest
        // is taken from the descriptor.
        let set = signal::Set::of(&[
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGHUP,
            libc::SIGCHLD,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGALRM,
            libc::SIGPIPE,
        ]);
        signal::block(&set)?;
        let signals = signal::descriptor(&set)?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        let mut clients = Clients::new(listener, &poller)?;
        if let (Some(stream), Some(request)) = (owner, plan.attach) {
            clients.add_owner(stream, request, &poller)?;
        }
        let notify = plan.notify.take();
        let notify = notify.map(|plan| Notify::new(plan, NOTIFY, &poller));
        Ok(Self {
            restarts: Restarts::new(plan.restart),
            plan,
            status,
            poller,
            signals,
            clients,
            stopping: false,
            ending: false,
            start_anew: false,
            idle: false,
            health: None,
            sharers: BTreeMap::new(),
            told_pod: None,
            notify,
            phase: Phase::Over,
            last: None,
            buffer: Buffer::new(CHUNK),
            first,
        })
    }

    /// Starts the container, answers, and stays until everything is done. Answers the exit code of
    /// the monitor: the container's where it is a service's main process.
    pub(super) fn run(mut self, answer: &mut Answer) -> u8 {
        let started = match &self.plan.demand {
            Some(_) => self.wait_for_connection(None).map(|()| 0),
            None => self.start(0),
        };
        match started {
            Ok(pid) => answer.send(&Report::Ready {
                monitor: self.status.monitor.clone(),
                pid,
            }),
            Err(e) => {
                let record = self.failed(&e);
                self.finish(&record, Vec::new());
                answer.send(&Report::Failed(Failure::from(&e)));
                (self.plan.cleanup)(&record);
                return 0;
            }
        }
        while !matches!(self.phase, Phase::Over) {
            self.turn();
        }
        let Some(record) = self.last.take() else {
            return 0;
        };
        self.linger(Some(Instant::now() + LINGER));
        (self.plan.cleanup)(&record);
        self.linger(None);
        match &self.notify {
            Some(_) => u8::try_from(record.code).unwrap_or(125),
            None => 0,
        }
    }

    /// Starts the process.
    fn start(&mut self, number: u32) -> Result<i32> {
        let Begun { mut ends, finish } = match self.first.take() {
            Some(begun) => begun?,
            None => {
                self.status.started = Timestamp::now();
                self.plan.container.mark_start(&self.status)?;
                begin(&mut self.plan, number)?
            }
        };
        let mut running = finish()?;
        if let Some(master) = running.pty.take() {
            ends = Ends::of_terminal(master)?;
        }
        self.poller.add(&running.pidfd, PIDFD, Interest::READ)?;
        if let Some(uplink) = &running.uplink {
            self.poller.add(&uplink.pidfd, UPLINK, Interest::READ)?;
        }
        if let Some(memory) = &running.memory {
            self.poller.add(&memory.changed, MEMORY, Interest::NONE)?;
        }
        if let Some(networks) = &running.networks {
            self.poller
                .add(networks.socket(), NETWORKS, Interest::READ)?;
            self.status.networks = networks.attached();
            self.status.bridges = networks.bridges();
        }
        let now = Instant::now();
        self.status.out_of_memory = false;
        self.status.started = Timestamp::now();
        self.status.restarts = self.restarts.count();
        self.status.paused = false;
        self.status.waiting = false;
        self.status.init = Identity::of(running.pid).ok();
        self.status.uplink = running.uplink.as_ref().map(|u| u.identity.clone());
        self.status.ports.clone_from(&running.ports);
        if let Some(demand) = &self.plan.demand {
            self.status.ports = demand.ports().to_vec();
        }
        self.status.network.clone_from(&running.network);
        self.status.ip_address.clone_from(&running.ip_address);
        self.status.cgroup.clone_from(&running.cgroup);
        let pid = running.pid;
        self.phase = Phase::Running(Box::new(Current {
            kill_at: self.plan.timeout.map(|t| now + t),
            running,
            since: now,
            ends,
            reading: [false; 2],
            writing: false,
            look_again: None,
            settle_at: Some(now + SETTLED),
            uplink_since: now,
            uplink_at: None,
            uplink_watch: Vec::new(),
            kills: 0,
            uplink_restarts: UplinkRestarts::default(),
            networks_at: None,
            networks_restarts: UplinkRestarts::default(),
            carrier: None,
            carrier_at: self.plan.demand.as_ref().map(|_| now),
        }));
        // Before the status: whoever sees that it runs, sees how it is.
        self.begin_health();
        self.tell_ready();
        let recorded = self
            .plan
            .container
            .write_status(&self.status)
            .and_then(|()| {
                let path = self.plan.pidfile.as_deref();
                path.map_or(Ok(()), |path| write_pid(path, pid))
            });
        if let Err(e) = recorded {
            // Nobody could find it: it must not run.
            if let Phase::Running(current) = &self.phase {
                let _gone = pidfd::send_signal(&current.running.pidfd, libc::SIGKILL);
                let _reaped = pidfd::wait(&current.running.pidfd);
            }
            self.phase = Phase::Over;
            self.health = None;
            return Err(e);
        }
        self.event("start");
        if let Some(notify) = &mut self.notify {
            notify.started(self.status.monitor.pid);
        }
        self.update_interest();
        Ok(pid)
    }

    fn event(&self, action: &str) {
        self.tell(&Vec::from_iter(self.event_of(action, None)));
    }

    /// An event of now; none where none are kept.
    fn event_of(&self, action: &str, exit_code: Option<i32>) -> Option<Happening> {
        let (_, template) = self.plan.events.as_ref()?;
        let mut event = template.again(action);
        event.exit_code = exit_code;
        Some(event)
    }

    fn tell(&self, events: &[Happening]) {
        if let Some((journal, _)) = self.plan.events.as_ref().filter(|_| !events.is_empty()) {
            journal.write_all(events);
        }
    }

    /// Waits for something and sees to it.
    fn turn(&mut self) {
        let patience = self
            .deadline()
            .map(|d| d.saturating_duration_since(Instant::now()));
        for event in self.poller.wait(patience).unwrap_or_default() {
            self.see_to(event);
        }
        self.see_to_time();
        self.update_interest();
    }

    fn deadline(&self) -> Option<Instant> {
        let mut deadlines = vec![self.clients.deadline()];
        match &self.phase {
            Phase::Running(current) => {
                deadlines.extend([
                    current.kill_at,
                    current.look_again,
                    current.settle_at,
                    current.uplink_at,
                    current.networks_at,
                    current.carrier_at,
                    self.health.as_ref().and_then(health::Checking::deadline),
                ]);
            }
            Phase::Restarting(when) => deadlines.push(Some(*when)),
            Phase::Waiting(from) => deadlines.push(*from),
            Phase::Over => {}
        }
        deadlines.push(self.notify.as_ref().and_then(|n| n.beat));
        deadlines.into_iter().flatten().min()
    }

    fn see_to(&mut self, event: Event) {
        match event.token {
            SIGNALS => self.take_signals(),
            LISTENER => self.clients.accept(&self.poller),
            PIDFD => self.ended(),
            OUT | ERR => self.relay(event.token == ERR, TURNS),
            INPUT => self.feed(),
            UPLINK => self.uplink_ended(),
            UPLINK_START => self.start_uplink(),
            MEMORY => self.memory_changed(),
            NETWORKS => self.networks_ended(),
            HEALTH => self.health_landed(),
            DEMAND => self.demanded(),
            CARRIER => self.carrier_ended(),
            NOTIFY => {
                if let Some(notify) = &mut self.notify {
                    notify.relay();
                }
            }
            client => self.serve(client, event),
        }
    }

    fn see_to_time(&mut self) {
        let now = Instant::now();
        let due = |when: Option<Instant>| when.is_some_and(|w| w <= now);
        self.clients.drop_slow(now, &self.poller);
        let unhealthy = self.is_unhealthy();
        if let Some(notify) = &mut self.notify {
            notify.see_to_watchdog(now, unhealthy);
        }
        match &mut self.phase {
            Phase::Running(current) => {
                if due(current.kill_at) {
                    current.kill_at = None;
                    let _gone = pidfd::send_signal(&current.running.pidfd, libc::SIGKILL);
                }
                if due(current.settle_at) {
                    current.settle_at = None;
                    crate::sys::daemon::forget_code();
                }
                if due(current.look_again) {
                    current.look_again = None;
                }
                if due(current.uplink_at) {
                    self.start_uplink();
                }
                self.see_to_networks(now);
                self.see_to_carrier(now);
                self.see_to_health(now);
            }
            Phase::Restarting(when) if *when <= now => self.restart(),
            Phase::Waiting(from) if due(*from) => {
                *from = None;
                self.look_at_connections();
            }
            Phase::Restarting(_) | Phase::Waiting(_) | Phase::Over => {}
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(number)) = signal::next(&self.signals) {
            match number {
                libc::SIGCHLD => self.reap_orphans(),
                libc::SIGTERM => self.end_gently(),
                _ => {}
            }
        }
    }

    /// Reaps what the container or the uplink left to the subreaper, never the container itself.
    fn reap_orphans(&self) {
        let keep = match &self.phase {
            Phase::Running(c) => {
                let uplink = c.running.uplink.as_ref();
                [
                    c.running.pid,
                    uplink.map_or(0, |u| u.identity.pid),
                    c.carrier.as_ref().map_or(0, demand::Carrier::pid),
                ]
            }
            _ => [0; 3],
        };
        crate::sys::daemon::reap_orphans(&keep);
    }

    /// SIGTERM for the monitor: logout or shutdown. The container is stopped, without restart.
    fn end_gently(&mut self) {
        self.ending = true;
        self.tell_ready();
        match &self.phase {
            Phase::Running(_) => self.ask_to_end(),
            Phase::Restarting(_) | Phase::Waiting(_) => self.give_up_restart(),
            Phase::Over => {}
        }
    }

    /// Sends the running process its stop signal, and SIGKILL later.
    fn ask_to_end(&mut self) {
        if let Phase::Running(current) = &mut self.phase {
            let pidfd = &current.running.pidfd;
            let _gone = pidfd::send_signal(pidfd, self.plan.stop_signal);
            let at = Instant::now() + self.plan.stop_timeout;
            current.kill_at = Some(current.kill_at.map_or(at, |k| k.min(at)));
        }
    }

    /// Somebody stops it: `stopping` was set.
    pub(super) fn was_stopped(&mut self) {
        self.tell_ready();
        if matches!(self.phase, Phase::Restarting(_) | Phase::Waiting(_)) {
            self.give_up_restart();
        }
    }

    /// Sends a signal to the container.
    pub(super) fn signal(&self, number: i32) {
        if let Phase::Running(current) = &self.phase {
            let _gone = pidfd::send_signal(&current.running.pidfd, number);
        }
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// `Invalid` when there is none.
    pub(super) fn resize(&self, size: crate::handoff::terminal::Size) -> Result<()> {
        match &self.phase {
            Phase::Running(current) if self.is_terminal() => match &current.ends.out {
                Some(out) => size.apply(out),
                None => Ok(()),
            },
            _ => Err(Error::invalid("the container has no terminal")),
        }
    }

    fn is_terminal(&self) -> bool {
        matches!(self.plan.stdio, super::StdioPlan::Terminal { .. })
    }

    /// Opens the log again.
    pub(super) fn reopen_log(&mut self) -> Result<()> {
        self.plan.log.reopen()
    }

    /// Stores the status.
    pub(super) fn write_status(&self) -> Result<()> {
        self.plan.container.write_status(&self.status)
    }

    /// Changes the restart policy.
    pub(super) fn set_policy(&mut self, policy: RestartPolicy) {
        self.restarts.policy = policy;
    }

    /// Sees to a client's socket.
    fn serve(&mut self, token: u64, event: Event) {
        if event.writable {
            self.clients.flush(token, &self.poller);
        }
        if event.readable {
            super::serve::messages(self, token);
        }
    }
}
