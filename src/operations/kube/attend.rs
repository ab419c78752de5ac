//! `kube play --wait` and the main process of a `.kube` service: it stays until everything that
//! was played has ended, or somebody wants it to end.

use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::{Context as _, Error, Kind, Result};
use crate::monitor::notify;
use crate::operations::container::wait::{Condition, wait};
use crate::operations::session::Session;
use crate::state::container::Containers;
use crate::sys::signal;

/// What ends a waiting.
const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// How a waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it ended, with these exit codes.
    Over(Vec<i32>),
    /// A signal came, and it was taken down.
    Asked,
}

/// Which exit codes of containers are the service's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// That of the first container that failed, when all failed.
    All,
    /// That of the first container that failed.
    Any,
    /// None.
    #[default]
    Never,
}

impl std::str::FromStr for Propagation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => Ok(Self::All),
            "any" => Ok(Self::Any),
            "none" => Ok(Self::Never),
            _ => Err(Error::invalid(format!(
                "{text:?} is not one of all, any, none"
            ))),
        }
    }
}

impl Propagation {
    /// The exit code of a service whose containers ended with these.
    pub fn code(self, codes: &[i32]) -> u8 {
        let failed = codes.iter().copied().filter(|c| *c != 0);
        let counts = match self {
            Self::All => !codes.contains(&0),
            Self::Any => true,
            Self::Never => false,
        };
        match failed.into_iter().next() {
            // A code that is not known is a failure nevertheless.
            Some(code) if counts => u8::try_from(code).unwrap_or(125),
            _ => 0,
        }
    }
}

/// Tells the manager something.
fn tell(session: &Session, message: &str) {
    if let Some(socket) = session.env.raw("NOTIFY_SOCKET") {
        notify::tell(&socket, message);
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Vigil<'a> {
    /// Containers, by id.
    pub containers: &'a [String],
    /// A manager is told that they run.
    pub service: bool,
    /// There are timers besides: only a signal ends it.
    pub timers: bool,
}

/// Waits until all containers have ended; at a signal `down` takes them away.
///
/// # Errors
/// What `down` says, or the kernel.
pub fn attend(
    session: &Session,
    vigil: &Vigil<'_>,
    down: &mut dyn FnMut() -> Result<()>,
) -> Result<End> {
    let signals = signal::Set::of(&SIGNALS);
    let before = signal::block(&signals).what(|| "cannot block signals")?;
    let asked = signal::descriptor(&signals).what(|| "cannot wait for signals")?;
    if vigil.service {
        // From here on it can be asked to end.
        let me = std::process::id();
        tell(session, &format!("MAINPID={me}\nREADY=1\n"));
    }
    // Twice as often as the watchdog wants it.
    let watchdog = session.env.watchdog(std::process::id());
    let beat = watchdog.filter(|_| vigil.service).map(|every| {
        let half = every / 2;
        Timespec {
            tv_sec: half.as_secs().cast_signed(),
            tv_nsec: half.subsec_nanos().max(1).into(),
        }
    });
    let (over, done) = std::io::pipe().what(|| "cannot make a pipe")?;
    std::thread::scope(|scope| {
        // The pipe ends with the thread, however that ends.
        let waiting = scope.spawn(move || {
            let codes = codes(session, vigil.containers);
            drop(done);
            codes
        });
        loop {
            let mut list = [&asked.as_fd(), &over.as_fd()]
                .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN));
            let watched = if vigil.timers { 1 } else { 2 };
            match poll(&mut list[..watched], beat.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) => {
                    tell(session, "WATCHDOG=1\n");
                    continue;
                }
                other => other.what(|| "cannot wait for the containers")?,
            };
            let [signalled, _] = list.map(|fd| !fd.revents().is_empty());
            if signalled {
                signal::next(&asked).what(|| "cannot read signals")?;
            }
            // A second one ends this process as usual.
            drop(signal::set_mask(&before));
            if signalled {
                // The thread sees them go.
                down()?;
            }
            let codes = waiting
                .join()
                .unwrap_or_else(|_| Err(Error::internal("the thread that waits panicked")))?;
            return Ok(if signalled {
                End::Asked
            } else {
                End::Over(codes)
            });
        }
    })
}

/// The exit codes, once all have ended; one that is gone has none.
fn codes(session: &Session, containers: &[String]) -> Result<Vec<i32>> {
    let records = Containers::new(&session.dirs);
    let mut codes = Vec::new();
    for id in containers {
        let gone = |e: &Error| e.kind() == Kind::NotFound;
        let container = match records.find(id) {
            Err(e) if gone(&e) => continue,
            other => other?,
        };
        match wait(session, &container, &[Condition::Stopped]) {
            Err(e) if gone(&e) => {}
            other => codes.push(other?),
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_service_is_as_it_was_asked() {
        for (word, codes, code) in [
            ("none", &[3, 4][..], 0),
            ("any", &[0, 4, 3], 4),
            ("any", &[0, 0], 0),
            ("all", &[0, 4], 0),
            ("all", &[3, 4], 3),
            ("all", &[], 0),
            ("any", &[-1], 125),
        ] {
            let policy: Propagation = word.parse().unwrap();
            assert_eq!(policy.code(codes), code, "{word} {codes:?}");
        }
        assert!("some".parse::<Propagation>().is_err());
    }
}
