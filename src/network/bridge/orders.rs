//! How a thread that waits for sockets is told what to do.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use crate::base::{Context as _, Error, Result};
use crate::sys::event::{Interest, Poller};

/// The giving end.
pub(super) struct Orders<T> {
    queue: Sender<T>,
    wake: OwnedFd,
    /// What the thread is, for errors.
    who: &'static str,
}

/// The thread's end.
pub(super) struct Inbox<T> {
    queue: Receiver<T>,
    wake: OwnedFd,
}

impl<T> fmt::Debug for Orders<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders")
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

/// Both ends, and a poller that waits for orders under `token`; `who` is the thread.
///
/// # Errors
/// `EMFILE`.
pub(super) fn orders<T>(token: u64, who: &'static str) -> Result<(Orders<T>, Inbox<T>, Poller)> {
    let what = || format!("cannot start {who}");
    let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
    let wake = rustix::event::eventfd(0, flags)
        .map_err(std::io::Error::from)
        .what(what)?;
    let own = wake.try_clone().what(what)?;
    let poller = Poller::new()?;
    poller.add(&own, token, Interest::READ)?;
    let (queue, receiver) = channel();
    let inbox = Inbox {
        queue: receiver,
        wake: own,
    };
    Ok((Orders { queue, wake, who }, inbox, poller))
}

impl<T> Orders<T> {
    /// Tells the thread.
    ///
    /// # Errors
    /// `Internal` when it is gone.
    pub(super) fn tell(&self, order: T) -> Result<()> {
        self.queue
            .send(order)
            .map_err(|_| Error::internal(format!("{} ended", self.who)))?;
        // Full means that it is awake.
        let _full = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        Ok(())
    }
}

impl<T> Inbox<T> {
    /// Hears what woke the thread: orders that come from now on wake it again.
    pub(super) fn hear(&self) {
        let mut count = [0; 8];
        let _empty = rustix::io::read(&self.wake, &mut count);
    }

    /// The next order.
    ///
    /// # Errors
    /// `Empty` when there is none for now; `Disconnected` when nobody is left to give any.
    pub(super) fn next(&self) -> std::result::Result<T, TryRecvError> {
        self.queue.try_recv()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_wakes_who_waits_and_is_heard_once() {
        let (giver, inbox, poller) = orders(7, "the thread").unwrap();
        let moment = Some(std::time::Duration::ZERO);
        assert!(poller.wait(moment).unwrap().is_empty());
        giver.tell(1).unwrap();
        giver.tell(2).unwrap();
        assert_eq!(poller.wait(moment).unwrap()[0].token, 7);
        inbox.hear();
        assert!(poller.wait(moment).unwrap().is_empty());
        assert_eq!((inbox.next(), inbox.next()), (Ok(1), Ok(2)));
        assert_eq!(inbox.next(), Err(TryRecvError::Empty));
        drop(giver);
        assert_eq!(inbox.next(), Err(TryRecvError::Disconnected));
        let (giver, inbox, _poller) = orders(7, "the thread").unwrap();
        drop(inbox);
        let error = giver.tell(1).unwrap_err();
        assert!(error.one_line().contains("the thread ended"));
    }
}
