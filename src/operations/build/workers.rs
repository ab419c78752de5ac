//! What workers answer, and what comes of it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::job::Answer;
use super::running;
use super::schedule::{Running, Schedule, Standing, Work, shorten, wrapped};
use super::watch::{Event, Outcome, Watch};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::image::images;
use crate::sys::signal;

/// How often a live display moves.
const TICK: Duration = Duration::from_millis(100);

/// How much of a failing step's output is kept for the error.
const TAIL: usize = 16 << 10;

impl Schedule<'_> {
    /// Waits until a worker says something.
    pub(super) fn wait(&mut self, signals: &OwnedFd, watch: &mut dyn Watch) -> Result<()> {
        let until = watch.is_live().then(|| Instant::now() + TICK);
        {
            let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(signals, PollFlags::IN)];
            for running in &self.running {
                for fd in running.job.descriptors() {
                    fds.push(PollFd::new(fd, PollFlags::IN));
                }
            }
            let patience = until.map(|_| rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: TICK.subsec_nanos().into(),
            });
            match poll(&mut fds, patience.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    return Err(std::io::Error::from(e)).what(|| "cannot wait for workers");
                }
            }
        }
        if let Ok(Some(number)) = signal::next(signals.as_fd()) {
            return Err(Error::new(
                Kind::Interrupted,
                format!(
                    "the build was ended by {}",
                    crate::base::signal::name(number)
                ),
            )
            .hint("finished steps are kept: build again to go on")
            .exit_code(u8::try_from(128 + number).unwrap_or(130)));
        }
        if until.is_some() {
            watch.event(&Event::Tick);
        }
        let mut index = 0;
        while index < self.running.len() {
            let running = &mut self.running[index];
            let (id, tail) = (running.id, &mut running.tail);
            let ended = running.job.listen(&mut |bytes| {
                tail.extend_from_slice(bytes);
                if tail.len() > 2 * TAIL {
                    let cut = tail.len() - TAIL;
                    tail.drain(..cut);
                }
                watch.event(&Event::Output { id, bytes });
            })?;
            if !ended {
                index += 1;
                continue;
            }
            let running = self.running.remove(index);
            self.ended(running, watch)?;
        }
        Ok(())
    }

    fn ended(&mut self, running: Running, watch: &mut dyn Watch) -> Result<()> {
        let Running {
            job,
            work,
            id,
            tail,
        } = running;
        let took = job.began.elapsed();
        let mut end = |outcome| watch.event(&Event::End { id, outcome, took });
        let (answer, draft) = match job.finish() {
            Ok(pair) => pair,
            Err(e) => {
                end(Outcome::Failed);
                return Err(e);
            }
        };
        match (work, answer) {
            (Work::Image(key), Answer::Image(image)) => {
                end(Outcome::Done);
                let record = images(self.session).get(&image)?;
                self.images.insert(key, record);
                Ok(())
            }
            (Work::Cache(_), Answer::Cache(imported)) => {
                end(Outcome::Done);
                self.imported.push(*imported);
                Ok(())
            }
            (Work::Cache(_), Answer::Failed(failure)) => {
                end(Outcome::Failed);
                let error = failure.into_error();
                watch.event(&Event::Warning(&error.one_line()));
                Ok(())
            }
            (
                Work::Step { stage, text },
                Answer::Step {
                    record,
                    cached,
                    why,
                },
            ) => {
                for reason in &why {
                    watch.event(&Event::Note { id, text: reason });
                }
                watch.event(&Event::End {
                    id,
                    outcome: if cached {
                        Outcome::Cached
                    } else {
                        Outcome::Done
                    },
                    took,
                });
                match cached {
                    true => self.cached += 1,
                    false => self.ran += 1,
                }
                if let Some(track) = self.tracks.get_mut(&stage)
                    && let Standing::Busy(mut state) =
                        std::mem::replace(&mut track.standing, Standing::New)
                {
                    state.add(&record, text);
                    track.next += 1;
                    track.standing = Standing::Ready(state);
                }
                drop(draft);
                Ok(())
            }
            (Work::Step { stage, .. }, Answer::Exited(code)) => {
                end(Outcome::Failed);
                self.failed(stage, code, &tail, draft)
            }
            (work, Answer::Failed(failure)) => {
                end(Outcome::Failed);
                let error = failure.into_error();
                Err(match work {
                    Work::Step { stage, .. } => {
                        let line = self.line_of(stage);
                        wrapped(error, &self.request.file.name, line.0, || shorten(&line.1))
                    }
                    Work::Cache(name) | Work::Image((name, _)) => {
                        Error::new(error.kind(), format!("cannot get {name}")).because(error)
                    }
                })
            }
            _ => Err(Error::internal(
                "a worker gave another answer than asked for",
            )),
        }
    }

    fn line_of(&self, stage: usize) -> (u32, String) {
        let step = self.tracks.get(&stage).and_then(|t| t.steps.get(t.next));
        step.map_or((0, String::new()), |s| (s.line, s.text.clone()))
    }

    /// A RUN that ended with a code: the error shows its last lines and where it stands.
    fn failed(
        &mut self,
        stage: usize,
        code: i32,
        tail: &[u8],
        draft: Option<crate::storage::draft::Draft>,
    ) -> Result<()> {
        let (line, text) = self.line_of(stage);
        let from = tail.len().saturating_sub(TAIL);
        let said = String::from_utf8_lossy(&tail[from..]).into_owned();
        let last: Vec<&str> = said.lines().rev().take(10).collect();
        let mut what = format!(
            "{}:{line}: {} ended with code {code}",
            self.request.file.name,
            shorten(&text)
        );
        let mut error = Error::invalid(String::new());
        if !last.is_empty() {
            what.push_str("; it said last:");
            for one in last.iter().rev() {
                what.push_str("\n    ");
                what.push_str(one);
            }
        }
        if self.request.shell_on_error
            && let (Some(track), Some(draft)) = (self.tracks.get(&stage), &draft)
            && let Standing::Busy(state) = &track.standing
            && let Some(step) = track.steps.get(track.next)
        {
            running::debug(self, stage, state, step, draft)?;
            error = Error::invalid(what);
        } else {
            error = Error::new(error.kind(), what)
                .hint("build --on-error=shell opens a shell where it failed");
        }
        let code = match self.request.docker {
            true => 1,
            false => u8::try_from(code).unwrap_or(1),
        };
        Err(error.exit_code(code.max(1)))
    }
}
