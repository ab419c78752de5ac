//! The monitor: the parent of one container's first process.
//!
//! Started by: `operations::container`, through [`spawn`]: a fork of the command, no exec.
//! Namespaces: the user's own user namespace and the command's mount namespace; host network and
//! pids. Holds: stdio pipes or the pty's master, the log, the control socket, the pidfd, and what
//! the launch asked it to hold. Writes: `status.json`, `exit.json`, the log; and the events
//! `start`, `died`, `restart` and `network`.
//! Ends: after the exit record is stored and clean-up ran. Never before the container.
//! If killed: the container's first process dies with it (PDEATHSIG); the next command that takes
//! the container's lock sees a dead monitor, stores exit "unknown" and runs the same clean-up.
//!
//! Invariants: one thread; no allocation grows with output; no error of a log or a client stops
//! the container.

mod client;
mod health;
pub mod notify;
mod outbox;
mod restart;
mod serve;
mod start;
mod streams;
mod supervise;

use std::any::Any;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::Result;
use crate::events::Event;
use crate::handoff::control::{AttachRequest, NetworkChange};
use crate::handoff::output::Sink;
use crate::handoff::terminal::Size;
use crate::state::container::{Container, ExitRecord, Status};
use crate::state::health::Checks;
use crate::state::network::AttachedNetwork;
use crate::state::options::{PortMapping, RestartPolicy, SdNotify};
use crate::sys::process::Identity;

/// The second half of a start, uplink included; returns when the process runs. Dropped unused, it
/// undoes the first half.
pub type Finish = Box<dyn FnOnce() -> Result<Running>>;

/// What is done at an end before anybody hears of it, and the events that tell of it.
pub type OnExit<'a> = Box<dyn FnMut(&ExitRecord) -> Vec<Event> + 'a>;

/// Runs a program of a health check in the container. Called in a process of its own, which may
/// join namespaces for good and wait.
pub type Exec<'a> = Box<dyn FnMut(&Status, &[String]) -> Result<Probing> + 'a>;

/// How systemd hears of the container.
#[derive(Debug)]
pub struct NotifyPlan {
    /// Who tells that it is up.
    pub mode: SdNotify,
    /// `NOTIFY_SOCKET`: a path, or a name after `@`.
    pub socket: OsString,
    /// The container's own end; what comes here is passed on.
    pub proxy: Option<UnixDatagram>,
    /// The watchdog wants to hear from the monitor this often.
    pub watchdog: Option<Duration>,
}

/// A program of a health check: a child of the caller that leads a session of its own.
#[derive(Debug)]
pub struct Probing {
    /// Its pid, as the caller counts.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// What it writes, to both streams.
    pub output: OwnedFd,
}

/// Everything that a monitor needs to know.
///
/// The closures run in the monitor: single-threaded, in a session of its own, standard streams on
/// /dev/null. What they captured is the fork's own copy.
pub struct MonitorPlan<'a> {
    /// The container: folders, records, lock.
    pub container: Container,
    /// Begins the start of the container's first process: it sets itself up while the monitor does
    /// the same. Called again for every restart, so it makes mounts and network anew; on an error
    /// it has undone what it did. The child must reset its signal mask: the monitor blocks signals.
    pub launch: Box<dyn FnMut(Attempt) -> Result<Finish> + 'a>,
    /// The process has ended, or could not be started (`error` is set): what must be done before
    /// anybody hears of it, in microseconds. Frees the name with `--rm`, stops the uplink so that
    /// its ports are free. Not called between two starts of a restart policy. What it returns is
    /// told in the journal after `died`.
    pub on_exit: OnExit<'a>,
    /// The rest, after everybody was told: removing trees.
    pub cleanup: Box<dyn FnMut(&ExitRecord) + 'a>,
    /// Where output goes: `logs::open`.
    pub log: Box<dyn Sink + 'a>,
    /// The kind of standard streams.
    pub stdio: StdioPlan,
    /// The command wants to be a client from the first byte on: [`Started::client`] is its end.
    pub attach: Option<AttachRequest>,
    /// When to start it again.
    pub restart: RestartPolicy,
    /// `--timeout`: SIGKILL after so long.
    pub timeout: Option<Duration>,
    /// The signal that asks it to end, when the monitor itself is asked to (SIGTERM at logout).
    pub stop_signal: i32,
    /// How long it may take then, before SIGKILL.
    pub stop_timeout: Duration,
    /// `--pidfile`: gets the container's pid.
    pub pidfile: Option<PathBuf>,
    /// `--conmon-pidfile`: gets the monitor's pid.
    pub monitor_pidfile: Option<PathBuf>,
    /// The container's events are copies of this one (type, id, name, image, attributes), and go
    /// to this journal; `None` writes none.
    pub events: Option<(crate::events::Journal, Event)>,
    /// The health checks, if it has any.
    pub health: Option<Checks>,
    /// Whether events tell of them.
    pub health_events: bool,
    /// Runs their programs.
    pub exec: Exec<'a>,
    /// It is started by its first connection, and again by the first one after it ended.
    pub demand: Option<Box<dyn Demand + 'a>>,
    /// Whom to tell that it is up. The monitor then ends with the container's exit code.
    pub notify: Option<NotifyPlan>,
    /// Descriptors of this process that the monitor must not keep, above all the container's lock.
    /// (What the command inherited without close-on-exec is closed anyway.)
    pub foreign: Vec<BorrowedFd<'a>>,
}

/// The kind of standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdioPlan {
    /// Pipes through the monitor; standard input is /dev/null unless it is to be open (`-i`).
    Pipes {
        /// `--interactive`.
        stdin: bool,
    },
    /// A pty of the container's own devpts; the launch returns its master.
    Terminal {
        /// Its first size.
        size: Option<Size>,
    },
    /// The launch knows (log driver `passthrough`): the monitor sees nothing.
    Passthrough,
}

/// One start.
#[derive(Debug)]
pub struct Attempt {
    /// 0 for the first start, then 1, 2, … under the restart policy.
    pub number: u32,
    /// What the process gets as its standard streams.
    pub stdio: AttemptStdio,
}

/// The container's side of the standard streams.
#[derive(Debug)]
pub enum AttemptStdio {
    /// Descriptors 0, 1 and 2. The launch gives pipes to the container's user (fchown), else
    /// `/dev/stdout` cannot be opened by anybody but root.
    Fds([OwnedFd; 3]),
    /// A pty of this size.
    Terminal(Option<Size>),
    /// What the closure captured.
    Passthrough,
}

/// A started container.
pub struct Running {
    /// Its first process, as this process sees it.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// The master of its terminal.
    pub pty: Option<OwnedFd>,
    /// The uplink, if it has one.
    pub uplink: Option<Uplink>,
    /// Its networks with a name, if it is on any.
    pub networks: Option<Box<dyn Networks>>,
    /// Published ports with random ones filled in.
    pub ports: Vec<PortMapping>,
    /// Kind of network in effect.
    pub network: String,
    /// Address inside.
    pub ip_address: Option<String>,
    /// Path of the cgroup.
    pub cgroup: Option<String>,
    /// Counts processes killed for want of memory.
    pub memory: Option<Memory>,
    /// Held while it runs and dropped in order when it has ended, before `on_exit` and after the
    /// uplink: locks, the cgroup.
    pub held: Vec<Box<dyn Any>>,
}

impl Running {
    /// A process without network and cgroup.
    pub fn new(pid: i32, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            pty: None,
            uplink: None,
            networks: None,
            ports: Vec::new(),
            network: String::new(),
            ip_address: None,
            cgroup: None,
            memory: None,
            held: Vec::new(),
        }
    }
}

/// What watches a container's memory.
pub struct Memory {
    /// Tells of a change by an error condition (poll(2): `POLLERR`) until `kills` is called; as the
    /// event files of cgroups do.
    pub changed: OwnedFd,
    /// How many processes the out-of-memory killer has ended; `None` when that cannot be told any
    /// more.
    pub kills: Box<dyn FnMut() -> Option<u64>>,
}

/// The program that connects a running container's network.
pub struct Uplink {
    /// Its process.
    pub identity: Identity,
    /// Readable when it ended.
    pub pidfd: OwnedFd,
    /// It ended: reaps it and starts it again, with the same addresses and ports, as far as that
    /// goes without waiting; called until it answers something else than [`Again::Waiting`]. What
    /// this captured is what keeps the uplink: dropping it ends the process.
    pub again: Box<dyn FnMut() -> Result<Again>>,
}

/// How far an uplink's second start is.
pub enum Again {
    /// It is connected.
    Ready(Identity, OwnedFd),
    /// Ask again when one of these is readable, or then.
    Waiting {
        /// The process, which only whoever started it reaps.
        process: Option<Identity>,
        /// Copies of descriptors of its.
        watch: Vec<OwnedFd>,
        /// At the latest.
        until: std::time::Instant,
    },
}

/// A running container's networks with a name, which another process of the user's serves. Dropped,
/// the container leaves them all.
pub trait Networks {
    /// Readable when that process ended.
    fn socket(&self) -> BorrowedFd<'_>;
    /// It ended: starts it again, or finds it started. The container has kept what it has.
    ///
    /// # Errors
    /// What starting it says.
    fn again(&mut self) -> Result<()>;
    /// One network more or less.
    ///
    /// # Errors
    /// What that process says.
    fn change(&mut self, change: &NetworkChange) -> Result<()>;
    /// Whether the container takes connections for its services.
    ///
    /// # Errors
    /// When that process is gone; [`Networks::again`] tells the next one.
    fn ready(&mut self, ready: bool) -> Result<()>;
    /// What the container has.
    fn attached(&self) -> Vec<AttachedNetwork>;
    /// The inode of the namespace that this process keeps alive.
    fn bridges(&self) -> Option<u64>;
}

/// The ports of a container that runs on demand. Their sockets are open as long as this is.
pub trait Demand {
    /// Readable when somebody waits.
    fn sockets(&self) -> Vec<BorrowedFd<'_>>;
    /// What is published.
    fn ports(&self) -> &[PortMapping];
    /// Closes the connections that wait: the container cannot be started.
    fn refuse(&self);
    /// Carries connections to the container that `status` tells of, in whose network the calling
    /// process is, until there was none for long enough.
    ///
    /// # Errors
    /// What the kernel says.
    fn carry(&self, status: &Status) -> Result<()>;
}

/// What the command learns.
#[derive(Debug)]
pub struct Started {
    /// The monitor, a child of this process.
    pub monitor: Identity,
    /// The container's first process. It may have ended already; 0 while it waits for a connection.
    pub pid: i32,
    /// The command's end of the attach stream, for `handoff::relay::attached`.
    pub client: Option<UnixStream>,
}

/// Forks the monitor and waits until the container runs or could not be started.
///
/// This process must have one thread. On failure the monitor has recorded it in `exit.json` and
/// run `on_exit` and `cleanup`.
///
/// # Errors
/// The launch's own error, exit code and hints included.
pub fn spawn(plan: MonitorPlan<'_>) -> Result<Started> {
    start::spawn(plan)
}

#[cfg(test)]
pub(crate) mod tests;
