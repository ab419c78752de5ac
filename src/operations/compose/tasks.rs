//! Tasks that wait for each other, each in a fork of its own.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Result};
use crate::handoff::failure::Failure;
use crate::sys::clone::{self, Child};
use crate::sys::{attributes, fd as descriptors, pidfd};

/// What a task does; it is given what to tell of its steps.
pub type Work<'a> = Box<dyn FnOnce(&mut dyn FnMut(&str)) -> Result<()> + 'a>;

/// A piece of work.
pub struct Task<'a> {
    /// What it is about: a noun and a name.
    pub noun: &'a str,
    /// The name.
    pub name: String,
    /// The word for how it went.
    pub done: &'static str,
    /// The tasks before it, by their places in the list.
    pub after: Vec<usize>,
    /// It only waits for something: nothing is told of it, it takes nobody's place, and a failure
    /// elsewhere ends it.
    pub waits: bool,
    /// The work; it may warn.
    pub work: Work<'a>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    warnings: Vec<String>,
    failure: Option<Failure>,
}

struct Running {
    index: usize,
    waits: bool,
    child: Child,
    answer: OwnedFd,
}

/// How the tasks went so far, for whoever watches.
pub enum Step<'a> {
    /// A task is done: noun, name, word.
    Done(&'a str, &'a str, &'a str),
    /// A task warns.
    Warning(&'a str),
}

/// Does all tasks, as many at a time as `most` says. After a failure none is begun any more; those
/// under way come to their end, and those that only wait are ended.
///
/// # Errors
/// The first failure.
pub fn run(tasks: Vec<Task<'_>>, most: usize, tell: &mut dyn FnMut(Step<'_>)) -> Result<()> {
    let total = tasks.len();
    let mut waiting: Vec<Option<Task<'_>>> = tasks.into_iter().map(Some).collect();
    let mut labels: Vec<(String, String, &'static str)> = Vec::new();
    for task in waiting.iter().flatten() {
        labels.push((task.noun.to_owned(), task.name.clone(), task.done));
    }
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut running: Vec<Running> = Vec::new();
    let mut failed: Option<Error> = None;
    loop {
        for (slot, place) in waiting.iter_mut().enumerate() {
            if failed.is_some() {
                break;
            }
            let busy = running.iter().filter(|r| !r.waits).count();
            let ready = place.as_ref().is_some_and(|t| {
                (t.waits || busy < most.max(1)) && t.after.iter().all(|a| done.contains(a))
            });
            if ready && let Some(task) = place.take() {
                running.push(begin(slot, task)?);
            }
        }
        if failed.is_some() {
            for one in running.extract_if(.., |r| r.waits) {
                drop(pidfd::send_signal(&one.child.pidfd, libc::SIGKILL));
                drop(pidfd::wait(&one.child.pidfd));
            }
        }
        if running.is_empty() {
            break;
        }
        let at = first_to_end(&running)?;
        let one = running.swap_remove(at);
        let answer = finish(&one)?;
        for warning in &answer.warnings {
            tell(Step::Warning(warning));
        }
        match answer.failure {
            Some(failure) => {
                let error = failure.into_error();
                match failed {
                    Some(_) => tell(Step::Warning(&error.one_line())),
                    None => failed = Some(error),
                }
            }
            None => {
                done.insert(one.index);
                let (noun, name, word) = &labels[one.index];
                if !one.waits {
                    tell(Step::Done(noun, name, word));
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None if done.len() < total => Err(Error::internal("tasks wait for each other in a circle")),
        None => Ok(()),
    }
}

fn begin(index: usize, task: Task<'_>) -> Result<Running> {
    let (answer, theirs) = descriptors::pipe()?;
    match clone::fork()? {
        clone::Fork::Parent(child) => Ok(Running {
            index,
            waits: task.waits,
            child,
            answer,
        }),
        clone::Fork::Child => {
            drop(answer);
            drop(attributes::set_death_signal(libc::SIGTERM));
            let mut said = Answer::default();
            let mut warnings = Vec::new();
            let outcome = (task.work)(&mut |text| warnings.push(text.to_owned()));
            said.warnings = warnings;
            said.failure = outcome.err().map(|e| Failure::from(&e));
            let bytes = serde_json::to_vec(&said).unwrap_or_default();
            drop(descriptors::write_all(&theirs, &bytes));
            clone::exit_now(0)
        }
    }
}

/// The place of a task that has ended. By the process, not the pipe: what it started may have
/// copies of that.
fn first_to_end(running: &[Running]) -> Result<usize> {
    loop {
        let mut list: Vec<PollFd<'_>> = Vec::new();
        for one in running {
            list.push(PollFd::new(&one.child.pidfd, PollFlags::IN));
            list.push(PollFd::new(&one.answer, PollFlags::IN));
        }
        match poll(&mut list, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e).what(|| "cannot wait for a task"),
        }
        let ready = list.iter().position(|p| !p.revents().is_empty());
        if let Some(at) = ready {
            return Ok(at / 2);
        }
    }
}

fn finish(one: &Running) -> Result<Answer> {
    // An answer is shorter than a pipe or has a reader now: it ends with the process.
    let mut bytes = Vec::new();
    let copy = one
        .answer
        .try_clone()
        .what(|| "cannot duplicate a descriptor")?;
    let mut file = std::fs::File::from(copy);
    loop {
        let mut buffer = [0; 4096];
        let n = file
            .read(&mut buffer)
            .what(|| "cannot read a task's answer")?;
        bytes.extend_from_slice(&buffer[..n]);
        // The monitor that the task started may hold the other end: the answer is one JSON value.
        if n == 0 || serde_json::from_slice::<Answer>(&bytes).is_ok() {
            break;
        }
    }
    drop(pidfd::wait(&one.child.pidfd));
    serde_json::from_slice(&bytes).map_err(|_| Error::internal("a task ended without an answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_wait_for_each_other_and_failures_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let task = |name: &str, after: &[usize], fails: bool| {
            let (file, own) = (file.clone(), name.to_owned());
            Task {
                noun: "Test",
                name: name.to_owned(),
                done: "Done",
                after: after.to_vec(),
                waits: false,
                work: Box::new(move |warn| {
                    if fails {
                        return Err(Error::invalid("no"));
                    }
                    warn(&own);
                    let before = std::fs::read_to_string(&file).unwrap_or_default();
                    std::fs::write(&file, format!("{before}{own}")).unwrap();
                    Ok(())
                }),
            }
        };
        let mut heard = Vec::new();
        let mut tell = |step: Step<'_>| match step {
            Step::Done(_, name, _) => heard.push(format!("done {name}")),
            Step::Warning(text) => heard.push(text.to_owned()),
        };
        run(
            vec![
                task("a", &[1], false),
                task("b", &[], false),
                task("c", &[0, 1], false),
            ],
            4,
            &mut tell,
        )
        .unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "bac");
        let error = run(
            vec![task("x", &[], true), task("y", &[0], false)],
            4,
            &mut |_| {},
        )
        .unwrap_err();
        assert_eq!(error.what(), "no");
        // One that would wait for ever holds nobody up, and ends with the failure.
        let forever = Task {
            waits: true,
            work: Box::new(|_| {
                loop {
                    crate::sys::process::pause(std::time::Duration::from_secs(3600));
                }
            }),
            ..task("w", &[], false)
        };
        let error = run(vec![forever, task("x", &[], true)], 1, &mut |_| {}).unwrap_err();
        assert_eq!(error.what(), "no");
        assert_eq!(heard, ["b", "done b", "a", "done a", "c", "done c"]);
    }
}
