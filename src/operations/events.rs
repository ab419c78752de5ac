//! `events`: the journal, and what happens from now on.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::session::Session;
use crate::base::fs::create_private_dir_all;
use crate::base::time::Timestamp;
use crate::base::{Context as _, Result};
use crate::events::{Event, Filter, Journal, Reader};
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
/// What the kernel says; what `show` says.
pub fn events(
    session: &Session,
    options: &EventsOptions,
    show: &mut dyn FnMut(Option<&Event>) -> Result<()>,
) -> Result<()> {
    let journal = Journal::new(&session.dirs);
    let EventsOptions { filter, stream } = options;
    create_private_dir_all(journal.folder())?;
    let watch = Watch::new()?;
    watch.add(journal.folder())?;
    let past = filter.since.is_some() || filter.until.is_some() || !stream;
    let mut reader = if past {
        Reader::from_start(&journal)?
    } else {
        Reader::from_end(&journal)?
    };
    loop {
        while let Some(event) = reader.next_event()? {
            if filter.accepts(&event) {
                show(Some(&event))?;
            }
        }
        let left = filter.until.map(|u| u.0.saturating_sub(Timestamp::now().0));
        if !stream || left.is_some_and(|l| l < 0) {
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
        let mut list = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
        match poll(&mut list, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => watch.clear(),
            Err(e) => return Err(e).what(|| "cannot wait for events"),
        }
    }
}
