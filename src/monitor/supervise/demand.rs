//! The monitor's part in containers that run on demand: it waits for connections, starts the
//! container at the first, has them carried, and stops it when there is none.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use super::{CARRIER, DEMAND, Monitor, Phase};
use crate::base::Result;
use crate::monitor::Demand;
use crate::monitor::health::enter_network;
use crate::state::container::{ExitRecord, Status};
use crate::sys::clone::{self, Child};
use crate::sys::event::Interest;
use crate::sys::{attributes, daemon, pidfd};

/// One that died is started again after so long.
const AGAIN: Duration = Duration::from_millis(200);

/// The process that carries connections. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Carrier(Child);

impl Carrier {
    fn start(demand: &dyn Demand, status: &Status) -> Result<Self> {
        let child = clone::fork_with(|| {
            let body = || child(demand, status);
            // Never back into the monitor's frames.
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
                Ok(Ok(())) => 0,
                _ => 1,
            }
        })?;
        Ok(Self(child))
    }

    /// Readable when it ended.
    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.0.pidfd
    }

    pub(super) fn pid(&self) -> i32 {
        self.0.pid
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // Gone already, where it ended by itself; SIGCHLD has it reaped.
        let _gone = pidfd::send_signal(&self.0.pidfd, libc::SIGKILL);
    }
}

/// The life of that process.
fn child(demand: &dyn Demand, status: &Status) -> Result<()> {
    let _name = rustix::thread::set_name(c"coracle-ports");
    attributes::set_death_signal(libc::SIGKILL)?;
    // The monitor's clients and the container's streams must see their ends when the monitor closes
    // them.
    daemon::close_all_but(&demand.sockets());
    enter_network(status)?;
    demand.carry(status)
}

impl Monitor<'_> {
    /// From here on the first connection starts the container; none is looked at before `from`.
    ///
    /// # Errors
    /// That the status cannot be stored.
    pub(super) fn wait_for_connection(&mut self, from: Option<Instant>) -> Result<()> {
        self.status.waiting = true;
        self.status.init = None;
        self.status.uplink = None;
        self.status.ip_address = None;
        if let Some(demand) = &self.plan.demand {
            self.status.ports = demand.ports().to_vec();
        }
        self.plan.container.write_status(&self.status)?;
        self.phase = Phase::Waiting(from);
        if from.is_none() {
            self.look_at_connections();
        }
        if let Some(notify) = &mut self.notify {
            notify.started(self.status.monitor.pid);
        }
        Ok(())
    }

    /// A run ended, or could not begin.
    pub(super) fn wait_again(&mut self, record: ExitRecord, ran: Duration) {
        if let (Some(_), Some(demand)) = (&record.error, &self.plan.demand) {
            demand.refuse();
        }
        // One that is stopped for want of connections may be wanted at once.
        let idle = std::mem::take(&mut self.idle);
        let delay = (!idle).then(|| Instant::now() + self.restarts.pause(ran));
        match self.wait_for_connection(delay) {
            Ok(()) => self.last = Some(record),
            Err(e) => {
                let record = self.failed(&e);
                self.finish(&record, Vec::new());
                self.last = Some(record);
                self.phase = Phase::Over;
            }
        }
    }

    /// Connections are looked at from now on.
    pub(super) fn look_at_connections(&self) {
        for socket in self.plan.demand.iter().flat_map(|d| d.sockets()) {
            let _known = self.poller.add(socket, DEMAND, Interest::READ);
        }
    }

    /// Somebody wants the container.
    pub(super) fn demanded(&mut self) {
        if !matches!(self.phase, Phase::Waiting(None)) {
            return;
        }
        for socket in self.plan.demand.iter().flat_map(|d| d.sockets()) {
            let _known = self.poller.remove(socket);
        }
        if let Err(e) = self.start(self.restarts.count()) {
            log::warn!("cannot start the container for a connection: {e}");
            let record = self.failed(&e);
            self.over_or_again(record, Duration::ZERO);
        }
    }

    /// Has connections carried to the container that runs, when that is due.
    pub(super) fn see_to_carrier(&mut self, now: Instant) {
        let (Phase::Running(current), Some(demand)) = (&mut self.phase, &self.plan.demand) else {
            return;
        };
        if current.carrier_at.is_none_or(|at| at > now) {
            return;
        }
        current.carrier_at = None;
        let carrier = Carrier::start(&**demand, &self.status);
        let added = carrier.and_then(|carrier| {
            self.poller
                .add(carrier.pidfd().as_fd(), CARRIER, Interest::READ)?;
            Ok(carrier)
        });
        match added {
            Ok(carrier) => current.carrier = Some(carrier),
            Err(e) => {
                log::warn!("cannot carry connections to the container: {e}");
                current.carrier_at = Some(Instant::now() + AGAIN);
            }
        }
    }

    /// There was no connection for long enough; or it died.
    pub(super) fn carrier_ended(&mut self) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        let Some(carrier) = &current.carrier else {
            return;
        };
        let code = match pidfd::try_wait(carrier.pidfd()) {
            Ok(None) => return,
            Ok(Some(ended)) => ended.code(),
            Err(_) => -1,
        };
        let _known = self.poller.remove(carrier.pidfd());
        current.carrier = None;
        match code {
            0 => {
                self.idle = true;
                self.ask_to_end();
            }
            _ => current.carrier_at = Some(Instant::now() + AGAIN),
        }
    }
}
