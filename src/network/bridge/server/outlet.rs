//! The uplink of the role: started when a network first needs one, and again when it ends.

use std::time::Instant;

use super::{Server, UPLINK_DELAY, UPLINK_GOOD, UPLINK_TOKEN, UPLINK_TRIES};
use crate::sys::event::Interest;

impl Server<'_> {
    /// A way out; a line for the person where there is none.
    pub(super) fn ensure_uplink(&mut self) -> Option<String> {
        if self.outlet.plan.is_none() {
            return self.outlet.missing.clone();
        }
        if self.uplink.is_none() && self.uplink_at.is_none() {
            self.start_uplink();
        }
        match self.uplink {
            Some(_) => None,
            None => Some(
                "no way out of networks for now: the uplink does not start; `coracle doctor` looks for the reason"
                    .to_owned(),
            ),
        }
    }

    pub(super) fn start_uplink(&mut self) {
        let Some(starter) = &self.starter else {
            return;
        };
        match starter.start(&self.namespace) {
            Ok(uplink) => {
                drop(self.poller.add(&uplink, UPLINK_TOKEN, Interest::READ));
                self.uplink = Some(uplink);
                self.uplink_since = Instant::now();
            }
            Err(e) => {
                log::warn!("{}", e.one_line());
                self.try_uplink_again();
            }
        }
    }

    pub(super) fn uplink_ended(&mut self) {
        if let Some(uplink) = self.uplink.take() {
            drop(self.poller.remove(&uplink));
        }
        if self.uplink_since.elapsed() > UPLINK_GOOD {
            self.uplink_tries = 0;
        }
        self.try_uplink_again();
    }

    pub(super) fn try_uplink_again(&mut self) {
        if self.uplink_tries < UPLINK_TRIES {
            self.uplink_at = Some(Instant::now() + UPLINK_DELAY * 2_u32.pow(self.uplink_tries));
            self.uplink_tries += 1;
        }
    }
}
