//! What systemd is told of a container: sd_notify(3).
//!
//! The monitor is the service's main process. It tells that, and that the container is up; or it
//! passes on what the container says of itself, but for process ids, which mean nothing outside.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use super::NotifyPlan;
use crate::state::options::SdNotify;
use crate::sys::event::{Interest, Poller};

/// sd_notify messages are short; longer ones are cut.
const MESSAGE: usize = 4096;

/// So many at once; the others have their turn later.
const TURN: usize = 64;

/// What may be passed on.
const PASSED: &[&str] = &[
    "READY",
    "RELOADING",
    "MONOTONIC_USEC",
    "STOPPING",
    "STATUS",
    "ERRNO",
    "BUSERROR",
    "VARLINKERROR",
    "WATCHDOG",
    "WATCHDOG_USEC",
    "EXTEND_TIMEOUT_USEC",
];

/// Tells the manager at `NOTIFY_SOCKET`: a path, or a name after `@`.
pub fn tell(socket: &OsStr, text: &str) {
    let name = socket.as_bytes();
    let address = match name.split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest),
        _ => SocketAddr::from_pathname(OsStr::from_bytes(name)),
    };
    // A manager that is gone needs no message.
    let _gone = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address));
}

/// The monitor's line to systemd.
#[derive(Debug)]
pub(super) struct Notify {
    plan: NotifyPlan,
    ready: bool,
    /// When the watchdog is told next.
    pub beat: Option<Instant>,
}

impl Notify {
    /// Begins to listen to the container, where that is wanted.
    pub(super) fn new(plan: NotifyPlan, token: u64, poller: &Poller) -> Self {
        if let Some(proxy) = &plan.proxy {
            let _none = proxy.set_nonblocking(true);
            let _none = poller.add(proxy, token, Interest::READ);
        }
        Self {
            beat: plan.watchdog.map(|_| Instant::now()),
            plan,
            ready: false,
        }
    }

    fn send(&self, text: &str) {
        tell(&self.plan.socket, text);
    }

    /// The container's process runs; the monitor has this pid.
    pub(super) fn started(&mut self, monitor: i32) {
        let mut text = format!("MAINPID={monitor}\n");
        if self.plan.mode == SdNotify::Conmon && !self.ready {
            self.ready = true;
            text.push_str("READY=1\n");
        }
        self.send(&text);
    }

    /// It is healthy.
    pub(super) fn healthy(&mut self) {
        if self.plan.mode == SdNotify::Healthy && !self.ready {
            self.ready = true;
            self.send("READY=1\n");
        }
    }

    /// The container said something.
    pub(super) fn relay(&mut self) {
        let mut buffer = [0; MESSAGE];
        for _ in 0..TURN {
            let Some(Ok(n)) = self.plan.proxy.as_ref().map(|p| p.recv(&mut buffer)) else {
                return;
            };
            let text = passed_on(&String::from_utf8_lossy(&buffer[..n]));
            if !text.is_empty() {
                self.send(&text);
            }
        }
    }

    /// Tells the watchdog that all is well, when that is due. A container that is not well, is not
    /// told of.
    pub(super) fn see_to_watchdog(&mut self, now: Instant, unhealthy: bool) {
        let Some(every) = self.plan.watchdog else {
            return;
        };
        if self.beat.is_some_and(|b| b <= now) {
            self.beat = Some(now + every.max(Duration::from_millis(1)) / 2);
            if !(unhealthy && self.plan.mode == SdNotify::Healthy) {
                self.send("WATCHDOG=1\n");
            }
        }
    }
}

/// The lines of a message that mean the same outside.
fn passed_on(message: &str) -> String {
    message
        .lines()
        .filter(|l| {
            l.split_once('=')
                .is_some_and(|(key, _)| PASSED.contains(&key))
        })
        .map(|l| format!("{l}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ids_and_descriptors_are_not_passed_on() {
        let said = "MAINPID=7\nREADY=1\nSTATUS=a=b\nFDSTORE=1\nBARRIER=1\nnonsense\nX_OWN=1";
        assert_eq!(passed_on(said), "READY=1\nSTATUS=a=b\n");
    }

    #[test]
    fn each_mode_says_ready_once_and_at_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let manager = UnixDatagram::bind(&path).unwrap();
        let heard = || {
            let mut buffer = [0; 256];
            let n = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        let poller = Poller::new().unwrap();
        for (mode, started) in [
            (SdNotify::Conmon, "MAINPID=7\nREADY=1\n"),
            (SdNotify::Healthy, "MAINPID=7\n"),
            (SdNotify::Container, "MAINPID=7\n"),
        ] {
            let proxy = (mode == SdNotify::Container).then(|| UnixDatagram::unbound().unwrap());
            let plan = NotifyPlan {
                mode,
                socket: path.clone().into_os_string(),
                proxy,
                watchdog: Some(Duration::from_secs(10)),
            };
            let mut notify = Notify::new(plan, 1, &poller);
            notify.started(7);
            assert_eq!(heard(), started);
            notify.healthy();
            if mode == SdNotify::Healthy {
                assert_eq!(heard(), "READY=1\n");
                notify.healthy();
            }
            let now = Instant::now();
            notify.see_to_watchdog(now, true);
            if mode == SdNotify::Healthy {
                notify.see_to_watchdog(now + Duration::from_secs(5), false);
            }
            assert_eq!(heard(), "WATCHDOG=1\n");
            assert!(notify.beat.unwrap() >= now + Duration::from_secs(5));
        }
        manager.set_nonblocking(true).unwrap();
        assert!(manager.recv(&mut [0; 8]).is_err(), "nothing was said twice");
    }
}
