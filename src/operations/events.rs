//! `events`: the journal, and what happens from now on.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::journalctl::Journalctl;
use super::session::Session;
use crate::base::fs::create_private_dir_all;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Error, Result};
use crate::events::{Event, Filter, Journal, Reader, decode};
use crate::sys::watch::Watch;

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct EventsOptions {
    /// Which, and from when to when.
    pub filter: Filter,
    /// Stay and show what happens.
    pub stream: bool,
}

/// Gives events to `show`; `None` when there is none for now.
///
/// Without bounds in time only what happens from now on is shown, unless it is not streamed.
///
/// # Errors
/// `Unsupported` when none are kept; what the kernel says; what `show` says.
pub fn events(
    session: &Session,
    options: &EventsOptions,
    show: &mut dyn FnMut(Option<&Event>) -> Result<()>,
) -> Result<()> {
    let EventsOptions { filter, stream } = options;
    let past = filter.since.is_some() || filter.until.is_some() || !stream;
    let journal = super::container::events::journal(session).ok_or_else(|| {
        Error::unsupported("cannot read events: none are kept").hint(
            "set events_logger = \"file\" in [engine] of containers.conf, or give --events-backend file",
        )
    })?;
    let mut source = Source::open(&journal, filter, past, *stream)?;
    loop {
        while let Some(event) = source.next()? {
            if filter.accepts(&event) {
                show(Some(&event))?;
            }
        }
        let left = filter.until.map(|u| u.0.saturating_sub(Timestamp::now().0));
        if !stream || source.is_over() || left.is_some_and(|l| l < 0) {
            return Ok(());
        }
        show(None)?;
        let timeout = left.map(|l| {
            let left =
                Duration::from_nanos(u64::try_from(l).unwrap_or(0)) + Duration::from_millis(1);
            Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut source.waits(), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => source.seen(),
            Err(e) => return Err(e).what(|| "cannot wait for events"),
        }
    }
}

/// Where events are read.
enum Source {
    Files(Reader, Watch),
    System(Box<Journalctl>),
}

impl Source {
    fn open(journal: &Journal, filter: &Filter, past: bool, stream: bool) -> Result<Self> {
        if let Some(query) = journal.query(filter.since, past, stream) {
            let journal = Journalctl::start(&query, stream)?;
            return Ok(Self::System(Box::new(journal)));
        }
        let watch = Watch::new()?;
        if let Some(folder) = journal.folder() {
            create_private_dir_all(folder)?;
            watch.add(folder)?;
        }
        let reader = match past {
            true => Reader::from_start(journal)?,
            false => Reader::from_end(journal)?,
        };
        Ok(Self::Files(reader, watch))
    }

    fn next(&mut self) -> Result<Option<Event>> {
        match self {
            Self::Files(reader, _) => reader.next_event(),
            Self::System(journal) => journal.next(decode),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::System(journal) if journal.is_over())
    }

    fn waits(&self) -> Vec<PollFd<'_>> {
        let fd = match self {
            Self::Files(_, watch) => Some(watch.as_fd()),
            Self::System(journal) => journal.fd(),
        };
        fd.into_iter()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect()
    }

    fn seen(&self) {
        if let Self::Files(_, watch) = self {
            watch.clear();
        }
    }
}
