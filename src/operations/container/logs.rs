//! `logs`: what containers wrote, of one or several, and on while they run.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::time::Timestamp;
use crate::base::{Context as _, Kind, Result};
use crate::handoff::control::{Control, Waiting};
use crate::logs::read::Reader;
use crate::logs::{Entry, journald, read};
use crate::operations::journalctl::Journalctl;
use crate::state::container::Container;
use crate::state::options::LogDriver;
use crate::sys::fd;
use crate::sys::watch::Watch;

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct LogsOptions {
    /// Stay while the containers run.
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<u64>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

/// What is shown next.
#[derive(Debug)]
pub enum Show<'a> {
    /// An entry of the container with this index.
    Entry(usize, &'a Entry),
    /// Nothing for now: send what is buffered on its way.
    Idle,
}

/// The journal tells of the end of a container and of its last words by different ways.
const JOURNAL_DELAY: Duration = Duration::from_millis(300);

/// Shows the logs of containers, merged by time.
///
/// # Errors
/// `Unsupported` for a driver that keeps nothing; what the kernel says; what `show` says.
pub fn logs(
    containers: &[Container],
    options: &LogsOptions,
    show: &mut dyn FnMut(Show<'_>) -> Result<()>,
) -> Result<()> {
    let watch = Watch::new()?;
    let mut sources = containers
        .iter()
        .map(|c| Source::open(c, options, &watch))
        .collect::<Result<Vec<_>>>()?;
    loop {
        while let Some((index, entry)) = next(&mut sources)? {
            if options.until.is_some_and(|until| entry.time > until) {
                // Times only grow: nothing that follows is wanted.
                sources[index].finished = true;
            } else if options.since.is_none_or(|since| entry.time >= since) {
                show(Show::Entry(index, &entry))?;
            }
        }
        for source in &mut sources {
            source.finished |= source.is_over();
        }
        let late = options.until.is_some_and(|until| Timestamp::now() > until);
        if late || sources.iter().all(|s| s.finished) {
            return Ok(());
        }
        show(Show::Idle)?;
        settle(&mut sources, &watch, options.until)?;
    }
}

/// The oldest entry that is there now.
fn next(sources: &mut [Source]) -> Result<Option<(usize, Entry)>> {
    for source in sources.iter_mut().filter(|s| !s.finished) {
        if source.ahead.is_none() {
            source.ahead = source.tape.next()?;
        }
    }
    let oldest = sources
        .iter()
        .enumerate()
        .filter(|(_, s)| !s.finished)
        .filter_map(|(index, s)| s.ahead.as_ref().map(|e| (e.time, index)))
        .min();
    Ok(oldest.and_then(|(_, index)| sources[index].ahead.take().map(|entry| (index, entry))))
}

/// Waits until something was written, or a container ended.
fn settle(sources: &mut [Source], watch: &Watch, until: Option<Timestamp>) -> Result<()> {
    let mut list = vec![PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
    let mut patience = until.map(|u| {
        let left = u.0.saturating_sub(Timestamp::now().0);
        Duration::from_nanos(u64::try_from(left).unwrap_or(0)) + Duration::from_millis(1)
    });
    for source in sources.iter().filter(|s| !s.finished) {
        if let Some(waiting) = &source.waiting {
            list.push(PollFd::from_borrowed_fd(waiting.as_fd(), PollFlags::IN));
        }
        if let Tape::Journal(journal) = &source.tape {
            if let Some(fd) = journal.fd() {
                list.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
            if source.waiting.is_none() {
                patience = Some(patience.map_or(JOURNAL_DELAY, |p| p.min(JOURNAL_DELAY)));
            }
        }
    }
    let timeout = patience.map(|p| Timespec {
        tv_sec: p.as_secs().cast_signed(),
        tv_nsec: p.subsec_nanos().into(),
    });
    let found = match poll(&mut list, timeout.as_ref()) {
        Ok(n) => n,
        Err(rustix::io::Errno::INTR) => 1,
        Err(e) => return Err(e).what(|| "cannot wait for the log"),
    };
    watch.clear();
    for source in sources.iter_mut().filter(|s| !s.finished) {
        source.look(found == 0)?;
    }
    Ok(())
}

/// One container's log.
struct Source {
    container: Container,
    tape: Tape,
    ahead: Option<Entry>,
    /// It runs, and will tell when it ended.
    waiting: Option<Waiting>,
    /// It ended, and everything that it wrote is there.
    ended: bool,
    finished: bool,
}

enum Tape {
    File(Reader),
    Journal(Box<Journalctl>),
}

impl Tape {
    fn next(&mut self) -> Result<Option<Entry>> {
        match self {
            Self::File(reader) => reader.next_entry(),
            Self::Journal(journal) => journal.next(journald::decode),
        }
    }
}

impl Source {
    fn open(container: &Container, options: &LogsOptions, watch: &Watch) -> Result<Self> {
        let journal = container.record.options.log.driver == LogDriver::Journald;
        // Asked for before the log is read: what it writes from now on is seen.
        let waiting = if options.follow {
            waiting(container)?
        } else {
            None
        };
        let follow = waiting.is_some();
        let tape = if journal {
            let query = journald::query(container, options.tail, follow);
            Tape::Journal(Box::new(Journalctl::start(&query, follow)?))
        } else {
            let reader = read::open(container, options.tail)?;
            if follow {
                watch.add(reader.folder())?;
            }
            Tape::File(reader)
        };
        Ok(Self {
            container: container.clone(),
            tape,
            ahead: None,
            ended: !follow,
            waiting,
            finished: false,
        })
    }

    /// Whether nothing more can come. Asked when nothing is there now.
    fn is_over(&self) -> bool {
        match &self.tape {
            Tape::File(_) => self.ended,
            Tape::Journal(journal) => journal.is_over(),
        }
    }

    /// Looks whether it ended.
    fn look(&mut self, quiet: bool) -> Result<()> {
        if let Some(waiting) = &self.waiting {
            if fd::wait_readable(waiting, Some(Duration::ZERO))? {
                // Under a restart policy it may go on.
                self.waiting = waiting_again(&self.container)?;
                self.ended = self.waiting.is_none();
            }
        } else if let (true, Tape::Journal(journal)) = (quiet, &mut self.tape) {
            journal.stop();
        }
        Ok(())
    }
}

/// The pending end of a container; `None` when it does not run.
fn waiting(container: &Container) -> Result<Option<Waiting>> {
    match Control::connect(&container.control_socket()).and_then(Control::wait) {
        Ok(waiting) => Ok(Some(waiting)),
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Unavailable) => Ok(None),
        Err(e) => Err(e),
    }
}

fn waiting_again(container: &Container) -> Result<Option<Waiting>> {
    match container.state() {
        Ok(state) if state.is_active() => waiting(container),
        // Removed with its records, or damaged: it is over in any case.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::tests::World;
    use crate::monitor::{MonitorPlan, spawn};
    use crate::state::options::{ContainerOptions, LogOptions, RestartPolicy};

    fn world(log: LogOptions) -> World {
        World::with(ContainerOptions {
            log,
            ..ContainerOptions::default()
        })
    }

    fn text(containers: &[Container], options: &LogsOptions) -> String {
        let mut text = String::new();
        logs(containers, options, &mut |show| {
            if let Show::Entry(index, entry) = show {
                text.push_str(&format!("{index}{} ", &entry.stream.name()[3..]));
                text.push_str(&String::from_utf8_lossy(&entry.text));
                text.push_str(if entry.ends_line { "\n" } else { "" });
            }
            Ok(())
        })
        .unwrap();
        text
    }

    fn start(world: &World, script: &str, restart: RestartPolicy) {
        spawn(MonitorPlan {
            log: crate::logs::open(&world.container).unwrap(),
            restart,
            ..world.plan(script)
        })
        .unwrap();
    }

    #[test]
    fn following_sees_everything_and_ends_with_the_container() {
        let rotated = LogOptions {
            max_size: Some(2000),
            max_file: Some(50),
            ..LogOptions::default()
        };
        for log in [LogOptions::default(), rotated] {
            let world = world(log);
            let script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done; echo end";
            start(&world, script, RestartPolicy::No);
            let follow = LogsOptions {
                follow: true,
                ..LogsOptions::default()
            };
            let seen = text(std::slice::from_ref(&world.container), &follow);
            let mut expected: String = (0..400).map(|n| format!("0out line {n}\n")).collect();
            expected.push_str("0out end\n");
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn following_goes_on_over_restarts() {
        let world = world(LogOptions::default());
        start(
            &world,
            "echo run $ATTEMPT; exit 1",
            RestartPolicy::OnFailure(Some(2)),
        );
        let follow = LogsOptions {
            follow: true,
            ..LogsOptions::default()
        };
        let seen = text(std::slice::from_ref(&world.container), &follow);
        assert_eq!(seen, "0out run 0\n0out run 1\n0out run 2\n");
    }

    #[test]
    fn several_containers_are_merged_by_time_and_bounds_hold() {
        let (one, two) = (world(LogOptions::default()), world(LogOptions::default()));
        let line = |n: u32, text: &str| format!("2026-01-01T00:00:0{n}Z stderr F {text}\n");
        let write = |world: &World, lines: &[(u32, &str)]| {
            let text: String = lines.iter().map(|(n, t)| line(*n, t)).collect();
            std::fs::write(world.container.dir().join("log"), text).unwrap();
        };
        write(&one, &[(1, "a"), (4, "d"), (5, "e")]);
        write(&two, &[(2, "b"), (3, "c"), (6, "f")]);
        let both = [one.container.clone(), two.container.clone()];
        assert_eq!(
            text(&both, &LogsOptions::default()),
            "0err a\n1err b\n1err c\n0err d\n0err e\n1err f\n"
        );
        let bounds = LogsOptions {
            since: Some(Timestamp::parse_rfc3339("2026-01-01T00:00:02Z").unwrap()),
            until: Some(Timestamp::parse_rfc3339("2026-01-01T00:00:04Z").unwrap()),
            ..LogsOptions::default()
        };
        assert_eq!(text(&both, &bounds), "1err b\n1err c\n0err d\n");
        let tail = LogsOptions {
            tail: Some(1),
            ..LogsOptions::default()
        };
        assert_eq!(text(&both, &tail), "0err e\n1err f\n");
    }
}
