//! Waiting for many descriptors at once: epoll, timers.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::error::{Call as _, Result};

/// A set of descriptors to wait for, each with a number of the caller's choice.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

/// What may happen to a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Readable, or the peer closed.
    pub read: bool,
    /// Writable.
    pub write: bool,
}

impl Interest {
    /// Nothing but hang-ups and errors, which are always told.
    pub const NONE: Self = Self {
        read: false,
        write: false,
    };
    /// Reading only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// Writing only.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
    };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN | EventFlags::RDHUP, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number given with the descriptor.
    pub token: u64,
    /// Reading will not block (data, end of file or error).
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The other side is gone.
    pub closed: bool,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn new() -> Result<Self> {
        let fd = epoll::create(CreateFlags::CLOEXEC).call("epoll_create1", String::new)?;
        Ok(Self { fd })
    }

    /// Adds a descriptor (level-triggered). It must be removed, or every copy of it closed, before
    /// its number is used again.
    ///
    /// # Errors
    /// `EEXIST`; `EPERM` for a regular file.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::add(&self.fd, fd, EventData::new_u64(token), interest.flags())
            .call("epoll_ctl", || "add".into())
    }

    /// Changes what a descriptor is waited for.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::modify(&self.fd, fd, EventData::new_u64(token), interest.flags())
            .call("epoll_ctl", || "modify".into())
    }

    /// Removes a descriptor.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, fd: impl AsFd) -> Result<()> {
        epoll::delete(&self.fd, fd).call("epoll_ctl", || "delete".into())
    }

    /// Waits for events; none when `patience` passed first.
    ///
    /// # Errors
    /// None in practice: an interrupted wait returns no event.
    pub fn wait(&self, patience: Option<Duration>) -> Result<Vec<Event>> {
        let timeout = patience.map(timespec);
        let mut events = Vec::with_capacity(32);
        match epoll::wait(
            &self.fd,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call("epoll_wait", String::new),
        }
        Ok(events
            .iter()
            .map(|event| {
                let flags = event.flags;
                let closed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                Event {
                    token: event.data.u64(),
                    readable: closed || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
                    writable: closed || flags.contains(EventFlags::OUT),
                    closed,
                }
            })
            .collect())
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// A timer as a descriptor, readable when it fired. Non-blocking, close-on-exec.
///
/// # Errors
/// `EMFILE`.
pub fn timer() -> Result<OwnedFd> {
    rustix::time::timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
    )
    .call("timerfd_create", String::new)
}

/// Sets a timer to fire once after `after`, or with `None` never.
///
/// # Errors
/// None in practice.
pub fn set_timer(timer: impl AsFd, after: Option<Duration>) -> Result<()> {
    // Zero would disarm it.
    let after = after.map(|a| a.max(Duration::from_nanos(1)));
    let value = Itimerspec {
        it_interval: timespec(Duration::ZERO),
        it_value: timespec(after.unwrap_or_default()),
    };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &value)
        .map(drop)
        .call("timerfd_settime", String::new)
}

/// Takes the firings of a timer, so that it is no longer readable; whether there was any.
pub fn clear_timer(timer: impl AsFd) -> bool {
    let mut count = [0; 8];
    rustix::io::read(timer, &mut count).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_and_a_pipe_are_told_apart() {
        let poller = Poller::new().unwrap();
        let timer = timer().unwrap();
        let (reader, writer) = super::super::fd::pipe().unwrap();
        poller.add(&timer, 1, Interest::READ).unwrap();
        poller.add(&reader, 2, Interest::READ).unwrap();
        assert!(poller.wait(Some(Duration::ZERO)).unwrap().is_empty());
        set_timer(&timer, Some(Duration::ZERO)).unwrap();
        let events = poller.wait(None).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].token, 1);
        assert!(clear_timer(&timer));
        assert!(!clear_timer(&timer));
        drop(writer);
        let events = poller.wait(None).unwrap();
        assert!(events[0].token == 2 && events[0].closed && events[0].readable);
    }
}
