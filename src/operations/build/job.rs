//! Workers: forks that do one step and answer once.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::cache::StepRecord;
use super::cache::import::Imported;
use crate::base::progress::Progress;
use crate::base::{Context as _, Error, Kind, Result};
use crate::handoff::failure::Failure;
use crate::spec::digest::Digest;
use crate::storage::draft::Draft;
use crate::sys::clone::{self, Child};
use crate::sys::{attributes, fd as descriptors, pidfd, signal};

/// An answer larger than this is none.
const ANSWER: u64 = 16 << 20;

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An image is here.
    Image(Digest),
    /// A cache elsewhere was read.
    Cache(Box<Imported>),
    /// A step has this outcome.
    Step {
        /// Its record.
        record: Box<StepRecord>,
        /// Whether it was there already.
        cached: bool,
        /// Why it was not, with `--why`.
        why: Vec<String>,
    },
    /// A RUN ended with this code.
    Exited(i32),
    /// It could not be done.
    Failed(Failure),
}

/// A worker under way.
#[derive(Debug)]
pub struct Job {
    child: Child,
    /// Where the step's words come out.
    pub output: OwnedFd,
    answer: OwnedFd,
    /// Bytes of the answer so far.
    said: Vec<u8>,
    /// When it began.
    pub began: Instant,
    /// The draft that it works on: gone with the job, unless the worker published it.
    pub draft: Option<Draft>,
    /// Whether output and answer have ended.
    ended: (bool, bool),
}

/// What a worker has of its own.
#[derive(Debug)]
pub struct Desk {
    /// Where a step's words go.
    pub output: OwnedFd,
}

impl Desk {
    /// A sentence of ours among the step's words.
    pub fn note(&self, text: &str) {
        // Whoever does not read it is gone, and so are we soon.
        drop(descriptors::write_all(
            &self.output,
            format!("{text}\n").as_bytes(),
        ));
    }
}

impl Job {
    /// Forks a worker. It dies with this process, and everything that it started dies with it.
    ///
    /// # Errors
    /// `EAGAIN` without room for a process.
    pub fn start(
        draft: Option<Draft>,
        work: impl FnOnce(&Desk, Option<Draft>) -> Result<Answer>,
    ) -> Result<Self> {
        let (output, their_output) = descriptors::pipe()?;
        let (answer, their_answer) = descriptors::pipe()?;
        let parent = rustix::process::getpid();
        let mut theirs = draft;
        // The fork has copies of all descriptors; the draft is moved into it and kept here.
        let child = match clone::fork()? {
            clone::Fork::Parent(child) => child,
            clone::Fork::Child => {
                drop(attributes::set_death_signal(libc::SIGKILL));
                if rustix::process::getppid() != Some(parent) {
                    clone::exit_now(1);
                }
                drop((output, answer));
                // The parent decides what a signal means.
                drop(signal::set_mask(&signal::Set::empty()));
                signal::ignore(libc::SIGINT);
                signal::ignore(libc::SIGHUP);
                let desk = Desk {
                    output: their_output,
                };
                let said = work(&desk, theirs.take())
                    .unwrap_or_else(|e| Answer::Failed(Failure::from(&e)));
                let bytes = serde_json::to_vec(&said).unwrap_or_default();
                drop(desk);
                drop(descriptors::write_all(&their_answer, &bytes));
                clone::exit_now(0);
            }
        };
        drop((their_output, their_answer));
        descriptors::set_nonblocking(&output, true)?;
        descriptors::set_nonblocking(&answer, true)?;
        Ok(Self {
            child,
            output,
            answer,
            said: Vec::new(),
            began: Instant::now(),
            draft: theirs,
            ended: (false, false),
        })
    }

    /// The descriptors to wait for: those that have not ended.
    pub fn descriptors(&self) -> Vec<&OwnedFd> {
        let mut list = Vec::new();
        if !self.ended.0 {
            list.push(&self.output);
        }
        if !self.ended.1 {
            list.push(&self.answer);
        }
        list
    }

    /// Reads what there is; output goes to `heard`. True when both have ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen(&mut self, heard: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut buffer = [0; 16 << 10];
        if !self.ended.0 {
            self.ended.0 = pump(&self.output, &mut buffer, &mut |bytes| {
                heard(bytes);
                true
            })?;
        }
        if !self.ended.1 {
            let said = &mut self.said;
            self.ended.1 = pump(&self.answer, &mut buffer, &mut |bytes| {
                said.extend_from_slice(bytes);
                (said.len() as u64) < ANSWER
            })?;
        }
        Ok(self.ended == (true, true))
    }

    /// Waits for the end and gives the answer and the draft.
    ///
    /// # Errors
    /// `Interrupted` when it was killed without an answer.
    pub fn finish(self) -> Result<(Answer, Option<Draft>)> {
        let ended = pidfd::wait(&self.child.pidfd)?;
        let answer = serde_json::from_slice(&self.said).map_err(|_| {
            let how = match ended {
                pidfd::Ended::Exited(code) => format!("ended with code {code}"),
                pidfd::Ended::Signalled(number) => {
                    format!("was ended by signal {}", crate::base::signal::name(number))
                }
            };
            Error::new(Kind::Interrupted, format!("the step's worker {how}"))
                .hint("out of memory? `dmesg` tells; build again, finished steps are kept")
        })?;
        Ok((answer, self.draft))
    }

    /// Ends it, and everything that it started, and waits for that.
    pub fn kill(self) {
        drop(pidfd::send_signal(&self.child.pidfd, libc::SIGKILL));
        drop(pidfd::wait(&self.child.pidfd));
    }
}

/// Reads until there is nothing more for now; true at the end.
fn pump(fd: &OwnedFd, buffer: &mut [u8], heard: &mut dyn FnMut(&[u8]) -> bool) -> Result<bool> {
    loop {
        match rustix::io::read(fd.as_fd(), &mut *buffer) {
            Ok(0) => return Ok(true),
            Ok(n) => {
                if !heard(&buffer[..n]) {
                    return Ok(true);
                }
            }
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e)).what(|| "cannot read from a worker"),
        }
    }
}

/// Progress of pulls as words of a step.
pub struct Lines {
    output: Mutex<OwnedFd>,
}

impl Lines {
    /// Writes to a worker's output.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn new(desk: &Desk) -> Result<Arc<Self>> {
        let output = desk.output.try_clone().what(|| "cannot duplicate a pipe")?;
        Ok(Arc::new(Self {
            output: Mutex::new(output),
        }))
    }
}

impl Progress for Lines {
    fn message(&self, text: &str) {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        drop(descriptors::write_all(
            &*output,
            format!("{text}\n").as_bytes(),
        ));
    }

    fn update(&self, _key: &str, _label: &str, _done: u64, _total: u64) {}

    fn finish(&self, _key: &str, label: &str, outcome: &str) {
        self.message(&format!("{label} {outcome}"));
    }
}

/// Copies a reader into a file of a draft's folder, at most `limit` bytes.
///
/// # Errors
/// `Invalid` for more.
pub fn save(from: &mut dyn Read, to: &mut dyn Write, limit: u64) -> Result<u64> {
    let copied = io::copy(&mut from.take(limit + 1), to).what(|| "cannot save what was fetched")?;
    if copied > limit {
        return Err(Error::invalid(format!("more than {limit} bytes were sent"))
            .hint("fetch it yourself and copy it from the context"));
    }
    Ok(copied)
}
