//! A thread that takes cables away, beside the role's own work.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};

use crate::base::{Context as _, Error, Result};
use crate::network::bridge::inside::Inside;
use crate::network::bridge::{confine, links};
use crate::sys::nl;

enum Order {
    Remove(String),
    /// Everything before this is done.
    Tell(Sender<()>),
}

/// How it is told what to do; it ends with this.
#[derive(Debug)]
pub(super) struct Janitor(Sender<Order>);

impl Janitor {
    /// Starts the thread for the namespace of bridges.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn start(bridges: OwnedFd) -> Result<Self> {
        let inside = Inside::enter(bridges)?;
        let socket = inside.run(nl::Socket::route)??;
        let (orders, queue) = channel();
        let (ready, result) = channel();
        std::thread::Builder::new()
            .name("janitor".to_owned())
            .stack_size(128 << 10)
            .spawn(move || {
                confine::thread(confine::OF_NETWORKS);
                let _gone = ready.send(());
                for order in queue {
                    match order {
                        Order::Remove(name) => {
                            if let Err(e) = remove(&socket, &name) {
                                log::info!("{e}");
                            }
                        }
                        Order::Tell(done) => {
                            let _gone = done.send(());
                        }
                    }
                }
            })
            .what(|| "cannot start a thread")?;
        result.recv().map_err(|_| ended())?;
        Ok(Self(orders))
    }

    /// Takes a cable away, some time.
    pub(super) fn remove(&self, name: &str) {
        // Without the thread it goes with its container's namespace.
        drop(self.0.send(Order::Remove(name.to_owned())));
    }

    /// Returns when all that was asked for is done.
    ///
    /// # Errors
    /// `Internal` when the thread is gone.
    pub(super) fn wait(&self) -> Result<()> {
        let (done, result) = channel();
        self.0.send(Order::Tell(done)).map_err(|_| ended())?;
        result.recv().map_err(|_| ended())
    }
}

fn ended() -> Error {
    Error::internal("the thread that takes cables away ended")
}

/// Takes a device away, if it is there.
///
/// # Errors
/// What the kernel says.
pub(super) fn remove(socket: &nl::Socket, name: &str) -> crate::sys::Result<()> {
    let gone = |e: &crate::sys::Error| e.errno == libc::ENODEV;
    let index = match socket.index(name) {
        Err(e) if gone(&e) => return Ok(()),
        other => other?,
    };
    let mut batch = nl::Batch::new();
    links::remove(&mut batch, index, name);
    match socket.ask(batch) {
        Err(e) if gone(&e) => Ok(()),
        other => other,
    }
}
