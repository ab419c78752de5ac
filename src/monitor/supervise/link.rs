//! An uplink that ends before its container: started again a bounded number of times.

use std::time::{Duration, Instant};

use super::super::Again;
use super::{Monitor, Phase, UPLINK, UPLINK_START};
use crate::sys::event::Interest;

impl Monitor<'_> {
    /// The uplink ended before its container.
    pub(super) fn uplink_ended(&mut self) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        if let Some(uplink) = &current.running.uplink {
            let _known = self.poller.remove(&uplink.pidfd);
        }
        let ran = current.uplink_since.elapsed();
        let delay = current.uplink_restarts.after(ran);
        // Asked to end: so was the uplink, and the container is about to.
        current.uplink_at = delay.filter(|_| !self.ending).map(|d| Instant::now() + d);
        let given_up = current.uplink_at.is_none();
        self.status.uplink = None;
        let _lost = self.write_status();
        self.network_event(if given_up { "down" } else { "restarting" });
    }

    /// The delay is over, or something happened to the start that is under way.
    pub(super) fn start_uplink(&mut self) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        let Some(uplink) = &mut current.running.uplink else {
            return;
        };
        for fd in std::mem::take(&mut current.uplink_watch) {
            let _known = self.poller.remove(&fd);
        }
        current.uplink_at = None;
        match (uplink.again)() {
            Ok(Again::Waiting {
                process,
                watch,
                until,
            }) => {
                if let Some(process) = process {
                    uplink.identity = process;
                }
                for fd in &watch {
                    let _known = self.poller.add(fd, UPLINK_START, Interest::READ);
                }
                current.uplink_watch = watch;
                current.uplink_at = Some(until);
            }
            Ok(Again::Ready(identity, pidfd)) => {
                current.uplink_since = Instant::now();
                (uplink.identity, uplink.pidfd) = (identity, pidfd);
                let _known = self.poller.add(&uplink.pidfd, UPLINK, Interest::READ);
                self.status.uplink = Some(uplink.identity.clone());
                let _lost = self.write_status();
                self.network_event("up");
            }
            Err(_) => match current.uplink_restarts.after(Duration::ZERO) {
                Some(delay) => current.uplink_at = Some(Instant::now() + delay),
                None => self.network_event("down"),
            },
        }
    }

    /// What became of the uplink.
    pub(super) fn network_event(&self, state: &str) {
        if let Some((journal, template)) = &self.plan.events {
            let mut event = template.again("network");
            event
                .attributes
                .insert("uplink".to_owned(), state.to_owned());
            journal.write(&event);
        }
    }
}
