//! A process beside the role that starts uplinks: it alone may execute programs and mount, for the
//! role gives both up ([`confine`](crate::network::bridge::confine)). It reads nothing but the role's
//! requests, and ends with it; the uplink ends with it.
//!
//! Contract. Started by: the role, before it has threads. Runs: in the role's namespaces. Holds: one
//! end of a socket pair, the uplink. Ends: when the other end closes. Killed: the role ends, and the
//! monitors start another.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::Outlet;
use crate::base::{Context as _, Error, Kind, Result};
use crate::network::bridge::protocol::{self, Attached, LIMIT};
use crate::network::namespace::Namespace;
use crate::network::plan::NetworkPlan;
use crate::network::uplink::{self, Uplink};
use crate::sys::event::{Interest, Poller};
use crate::sys::netlink::Route;
use crate::sys::{attributes, daemon, fd};

/// A request says nothing but that it is one.
const START: &[u8] = b"start";

const ROLE: u64 = 0;
const UPLINK: u64 = 1;

/// The role's side.
#[derive(Debug)]
pub(super) struct Starter {
    socket: OwnedFd,
}

impl Starter {
    /// Forks the process, where there is a way out at all. `foreign` are the role's descriptors,
    /// which it must not keep. This process has one thread.
    ///
    /// # Errors
    /// `EAGAIN`, `EMFILE`.
    pub(super) fn fork(
        outlet: &Outlet,
        folder: &Path,
        foreign: &[BorrowedFd<'_>],
    ) -> Result<Option<Self>> {
        let Some(plan) = &outlet.plan else {
            return Ok(None);
        };
        let what = || "cannot start the starter of uplinks";
        let (socket, theirs) = fd::packet_pair().what(what)?;
        daemon::fork_daemon(|| {
            daemon::close_foreign(foreign);
            daemon::close_foreign(&[socket.as_fd()]);
            attributes::set_title("coracle net uplink");
            serve(&theirs, plan, folder)
        })
        .what(what)?;
        Ok(Some(Self { socket }))
    }

    /// Readable when the process ended.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Starts the uplink of `namespace`, in place of an earlier one, and waits until it is up: what
    /// tells its end.
    ///
    /// # Errors
    /// As [`uplink::start`]; `Unavailable` when the process ended.
    pub(super) fn start(&self, namespace: &Namespace) -> Result<OwnedFd> {
        let gone = || Error::new(Kind::Unavailable, "the starter of uplinks ended");
        let fds = [namespace.fd.as_fd(), namespace.routes.as_fd()];
        fd::send(&self.socket, START, &fds).map_err(|e| gone().because(e))?;
        let (_, fds) = protocol::receive(&self.socket)?;
        fds.into_iter().next().ok_or_else(gone)
    }
}

/// The process; answers its exit code.
fn serve(socket: &OwnedFd, plan: &NetworkPlan, folder: &Path) -> u8 {
    let Ok(poller) = Poller::new() else { return 1 };
    if poller.add(socket, ROLE, Interest::READ).is_err() {
        return 1;
    }
    let mut running: Option<Uplink> = None;
    loop {
        for event in poller.wait(None).unwrap_or_default() {
            if event.token == UPLINK {
                // Dropped, it is reaped.
                running = None;
                daemon::reap_orphans(&[]);
                continue;
            }
            let fds = match fd::receive(socket, LIMIT) {
                Ok((bytes, fds)) if !bytes.is_empty() => fds,
                _ => return 0,
            };
            drop(running.take());
            let started = namespace(fds).and_then(|n| uplink::start(plan, &n, folder));
            let told = match &started {
                Ok(uplink) => {
                    drop(poller.add(&uplink.pidfd, UPLINK, Interest::READ));
                    let pidfd = [uplink.pidfd.as_fd()];
                    protocol::answer(socket, &Ok(Attached::default()), &pidfd)
                }
                Err(e) => {
                    let text = e.one_line();
                    protocol::answer(socket, &Err(Error::new(e.kind(), text)), &[])
                }
            };
            if told.is_err() {
                return 1;
            }
            running = started.ok();
        }
    }
}

fn namespace(fds: Vec<OwnedFd>) -> Result<Namespace> {
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next()) {
        (Some(fd), Some(routes)) => Ok(Namespace {
            fd,
            routes: Route::from(routes),
            links: None,
        }),
        _ => Err(Error::internal("a request without descriptors")),
    }
}
