//! The networks with a name of a running container: the process that serves them may end before
//! the container does, and the person may change them.

use std::time::{Duration, Instant};

use super::{Monitor, NETWORKS, Phase};
use crate::base::{Error, Result};
use crate::handoff::control::{Control, NetworkChange, Request};
use crate::state::options::NetworkMode;
use crate::sys::event::Interest;

impl Monitor<'_> {
    /// The process that serves the networks ended, or let this container go.
    pub(super) fn networks_ended(&mut self) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        if let Some(networks) = &current.running.networks {
            let _known = self.poller.remove(networks.socket());
        }
        if !self.ending {
            // At once: others' connections wait for it. Delays come after failures.
            current.networks_at = Some(Instant::now());
        }
    }

    /// The delay may be over.
    pub(super) fn see_to_networks(&mut self, now: Instant) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        if current.networks_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let Some(networks) = &mut current.running.networks else {
            return;
        };
        match networks.again() {
            Ok(()) => {
                let _known = self.poller.add(networks.socket(), NETWORKS, Interest::READ);
                self.status.networks = networks.attached();
                self.status.bridges = networks.bridges();
                let _lost = self.write_status();
                self.network_event("up");
            }
            Err(_) => match current.networks_restarts.after(Duration::ZERO) {
                Some(delay) => current.networks_at = Some(Instant::now() + delay),
                None => self.network_event("down"),
            },
        }
    }

    /// Somebody changes them.
    ///
    /// # Errors
    /// `Invalid` when the container is on none; what the change says.
    pub(in crate::monitor) fn change_networks(&mut self, change: &NetworkChange) -> Result<()> {
        if let NetworkChange::Member { id, ready } = change {
            self.sharers.insert(id.clone(), *ready);
            self.tell_ready();
            return Ok(());
        }
        if let NetworkChange::Drain { drained } = change {
            // Also between two starts: the next run begins so.
            self.status.drained = *drained;
            self.tell_ready();
            return self.write_status();
        }
        let Phase::Running(current) = &mut self.phase else {
            return Err(Error::invalid("the container does not run"));
        };
        let Some(networks) = &mut current.running.networks else {
            return Err(Error::invalid(
                "the container is on no network with a name, so it can join none while it runs",
            ));
        };
        networks.change(change)?;
        self.status.networks = networks.attached();
        self.write_status()
    }

    /// Tells the services of this container whether it takes connections now: it runs, its checks
    /// do not say otherwise, and nobody is about to end it.
    pub(in crate::monitor) fn tell_ready(&mut self) {
        let ends = self.stopping || self.ending || self.start_anew || self.idle;
        let runs = matches!(self.phase, Phase::Running(_));
        let options = &self.plan.container.record.options;
        // What holds a pod's network has nothing to say itself.
        let speaks = !options.infra
            || (self.sharers.values().any(|r| *r) && self.sharers.values().all(|r| *r));
        let ready = runs
            && !ends
            && speaks
            && !self.status.paused
            && !self.status.drained
            && self.is_healthy();
        self.tell_pod(ready);
        if let Phase::Running(current) = &mut self.phase
            && let Some(networks) = &mut current.running.networks
        {
            // A role that is gone hears it when it is started again.
            let _gone = networks.ready(ready);
        }
    }

    /// Tells what holds the network of this container's pod.
    pub(super) fn tell_pod(&mut self, ready: bool) {
        let container = &self.plan.container;
        let options = &container.record.options;
        if options.pod.is_none()
            || options.infra
            || options.init_ctr.is_some()
            || self.told_pod == Some(ready)
        {
            return;
        }
        let NetworkMode::Container(holder) = &options.network.mode else {
            return;
        };
        let Some(all) = container.runtime_dir().parent() else {
            return;
        };
        let change = Box::new(NetworkChange::Member {
            id: container.id().to_string(),
            ready,
        });
        // One that is gone takes its network along.
        let _gone = Control::connect(&all.join(holder).join("control.sock"))
            .and_then(|mut control| control.call(&Request::Network { change }));
        self.told_pod = Some(ready);
    }
}
