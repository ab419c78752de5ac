//! Uplinks on their way: begun one after the other until one connects, without waiting in between.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::super::bridge::links;
use super::super::namespace::Namespace;
use super::super::plan::{Families, NetworkPlan, Tool, UplinkPlan};
use super::{Child, Named, Uplink, pasta, pipe, slirp, spawn};
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::state::options::PortMapping;
use crate::sys::nl;
use crate::sys::process::Identity;

/// An uplink that is being started. Dropping it ends what was begun.
#[derive(Debug)]
pub struct Starting {
    /// Those that were not tried yet.
    left: VecDeque<UplinkPlan>,
    ports: Vec<PortMapping>,
    scratch: PathBuf,
    patience: Duration,
    begun: Option<Begun>,
    first: Option<Error>,
}

/// How far it is.
#[derive(Debug)]
pub enum Step {
    /// The network is there.
    Ready(Box<Uplink>),
    /// Look again when one of [`Starting::watched`] is readable, or then.
    Waiting(Instant),
}

/// A program that was started.
#[derive(Debug)]
struct Begun {
    plan: UplinkPlan,
    child: Child,
    identity: Identity,
    pidfd: OwnedFd,
    seen: Families,
    /// The default routes that it made.
    defaults: Vec<Vec<u8>>,
    deadline: Instant,
    api: Option<slirp::Api>,
    /// It opens this path at its leisure.
    _netns: Named,
}

impl Starting {
    pub(super) fn new(plan: &NetworkPlan, scratch: &Path, patience: Duration) -> Self {
        Self {
            left: plan.uplinks.iter().cloned().collect(),
            ports: plan.ports.clone(),
            scratch: scratch.to_owned(),
            patience,
            begun: None,
            first: None,
        }
    }

    /// Goes on as far as that is possible now. Call it from the thread that lives as long as the
    /// monitor does.
    ///
    /// # Errors
    /// The first program's, when none connects: `Unavailable` with what it said; `TimedOut`.
    pub fn step(&mut self, namespace: &Namespace) -> Result<Step> {
        loop {
            let Some(mut begun) = self.begun.take() else {
                let Some(plan) = self.left.pop_front() else {
                    let none = || Error::internal("this network has no uplink");
                    return Err(self.first.take().unwrap_or_else(none));
                };
                match Begun::begin(plan, &self.ports, namespace, &self.scratch, self.patience) {
                    Ok(begun) => self.begun = Some(begun),
                    Err(e) => self.failed(e),
                }
                continue;
            };
            match begun.is_ready(namespace, self.patience) {
                Ok(false) => {
                    let deadline = begun.deadline;
                    self.begun = Some(begun);
                    return Ok(Step::Waiting(deadline));
                }
                Ok(true) => {
                    begun.set_pace(namespace);
                    match begun.publish(&self.ports) {
                        Ok(uplink) => return Ok(Step::Ready(Box::new(uplink))),
                        Err(e) => self.failed(e),
                    }
                }
                Err(e) => self.failed(e),
            }
        }
    }

    fn failed(&mut self, e: Error) {
        log::warn!("{}", e.one_line());
        self.first.get_or_insert(e);
    }

    /// The program that is being tried: nobody else may reap it.
    pub fn identity(&self) -> Option<&Identity> {
        self.begun.as_ref().map(|begun| &begun.identity)
    }

    /// What becomes readable when [`Self::step`] can go on.
    pub fn watched<'a>(&'a self, namespace: &'a Namespace) -> Vec<BorrowedFd<'a>> {
        let pidfd = self.begun.as_ref().map(|begun| begun.pidfd.as_fd());
        std::iter::once(namespace.routes.as_fd())
            .chain(pidfd)
            .collect()
    }

    /// Waits for that.
    ///
    /// # Errors
    /// What poll(2) says.
    pub(super) fn wait(&self, namespace: &Namespace, until: Instant) -> Result<()> {
        let mut fds: Vec<PollFd<'_>> = self
            .watched(namespace)
            .into_iter()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e).what(|| "cannot wait for the network"),
        }
    }
}

impl Begun {
    fn begin(
        plan: UplinkPlan,
        ports: &[PortMapping],
        namespace: &Namespace,
        scratch: &Path,
        patience: Duration,
    ) -> Result<Self> {
        let name = plan.name();
        let what = || format!("cannot connect the container with {name}");
        // What an earlier try left in the queue is not about this one.
        drop(namespace.routes.read());
        let netns = Named::put(namespace.fd.as_fd(), scratch).what(what)?;
        let (mut arguments, mut inherited, lifeline) = match plan.tool {
            Tool::Pasta => (pasta::arguments(&plan, ports), vec![], None),
            Tool::Slirp4netns => {
                let (ours, theirs) = pipe().what(what)?;
                let arguments = slirp::arguments(&plan, theirs.as_raw_fd());
                (arguments, vec![theirs], Some(ours))
            }
        };
        let api = if plan.tool == Tool::Slirp4netns && !ports.is_empty() {
            let api = slirp::Api::prepare(scratch)?;
            let folder = api.folder().what(what)?;
            arguments.push(format!("--api-socket={}", slirp::socket_in(&folder)).into());
            inherited.push(folder);
            Some(api)
        } else {
            None
        };
        arguments.extend(netns.arguments(plan.tool));
        let mut child = spawn(&plan, arguments, inherited, lifeline).what(what)?;
        child.has_ports = !ports.is_empty();
        let pid = child.handle.pids().first().copied().unwrap_or_default();
        let pid = i32::try_from(pid).unwrap_or_default();
        let identity = Identity::of(pid).what(what)?;
        let pidfd = identity.open().what(what)?;
        Ok(Self {
            plan,
            child,
            identity,
            pidfd,
            seen: Families::default(),
            defaults: Vec::new(),
            deadline: Instant::now() + patience,
            api,
            _netns: netns,
        })
    }

    /// Whether the default routes are there; an error when the program ended, or took too long.
    fn is_ready(&mut self, namespace: &Namespace, patience: Duration) -> Result<bool> {
        let name = self.plan.name();
        let what = || format!("cannot connect the container with {name}");
        let now = namespace
            .routes
            .read()
            .what(|| "cannot watch the network")
            .what(what)?;
        self.seen.v4 |= now.default_v4;
        self.seen.v6 |= now.default_v6;
        self.defaults.extend(now.defaults);
        let families = self.plan.families;
        if (self.seen.v4 || !families.v4) && (self.seen.v6 || !families.v6) {
            return Ok(true);
        }
        let said = || self.child.messages();
        let failure = if crate::sys::fd::wait_readable(&self.pidfd, Some(Duration::ZERO))? {
            let said = match said() {
                said if said.is_empty() => "it ended without a word".to_owned(),
                said => said,
            };
            Error::new(Kind::Unavailable, said)
        } else if self.deadline <= Instant::now() {
            Error::new(
                Kind::TimedOut,
                format!(
                    "the network did not come up within {patience:?}; it said: {:?}",
                    said()
                ),
            )
        } else {
            return Ok(false);
        };
        Err(failure)
            .what(what)
            .hint(|| "`--network none` starts it without; `coracle doctor` looks for the reason")
    }

    /// Makes connections that go out through pasta behave as on a wire of this machine
    /// ([`Pace::Near`](links::Pace::Near)): up to twenty times what is sent.
    fn set_pace(&self, namespace: &Namespace) {
        if self.plan.tool != Tool::Pasta {
            return;
        }
        let mut batch = nl::Batch::new();
        for told in &self.defaults {
            links::near_again(&mut batch, told);
        }
        // A kernel without that way to control congestion is only slower.
        if let Err(e) = namespace.routes.ask(batch) {
            log::info!("{e}");
        }
    }

    fn publish(self, ports: &[PortMapping]) -> Result<Uplink> {
        if let Some(api) = &self.api {
            api.forward(self.plan.guest, ports)?;
        }
        Ok(Uplink {
            name: self.plan.name(),
            identity: self.identity,
            pidfd: self.pidfd,
            child: self.child,
        })
    }
}
