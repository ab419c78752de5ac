//! A thread that lives in the namespace of bridges: sockets and settings that belong there are
//! made by it.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};

use crate::base::{Context as _, Error, Result};
use crate::sys::namespace::{self, Kind};

type Job = Box<dyn FnOnce() + Send>;

/// A handle of the thread; it ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct Inside(Sender<Job>);

impl Inside {
    /// Starts the thread and brings it into `namespace`.
    ///
    /// # Errors
    /// `Denied` without rights over the namespace.
    pub(super) fn enter(namespace: OwnedFd) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (entered, result) = channel();
        std::thread::Builder::new()
            .name("inside".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                let joined = namespace::join(&namespace, Kind::Net.flag());
                let is_in = joined.is_ok();
                drop(entered.send(joined));
                if is_in {
                    for job in queue {
                        job();
                    }
                }
            })
            .what(|| "cannot start a thread")?;
        result
            .recv()
            .map_err(|_| gone())?
            .what(|| "cannot enter the namespace of networks")?;
        Ok(Self(jobs))
    }

    /// Does something there and waits for it.
    ///
    /// # Errors
    /// `Internal` when the thread is gone.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (done, result) = channel();
        self.0
            .send(Box::new(move || drop(done.send(job()))))
            .map_err(|_| gone())?;
        result.recv().map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::internal("the thread in the namespace of networks ended")
}
