//! Commands with several targets: how they are named, each is reported, the others go on, the exit
//! code says the worst.

use std::path::PathBuf;

use crate::base::{Kind, Result, signal};
use crate::cli::args::seconds;
use crate::cli::output::{Out, report};
use crate::operations::container::select::{Selection, Target};
use crate::operations::container::stop::StopOptions;
use crate::operations::session::Session;
use crate::state::container::{Container, State};

/// The ways to name containers that all such commands have.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// Read a container id from this file
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Vec<PathBuf>,
    /// The newest container
    #[arg(short, long)]
    pub(super) latest: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub(super) containers: Vec<String>,
}

/// What else chooses containers; its options' letters and help differ from command to command.
#[derive(Debug)]
pub(super) struct Choice {
    /// `--all`.
    pub all: bool,
    /// `--filter`.
    pub filters: Vec<String>,
    /// `--ignore`: what is not there is no error.
    pub ignore: bool,
}

impl Named {
    /// The containers that are meant. Unless they are named, only those in one of `states`; none
    /// means any.
    ///
    /// # Errors
    /// A selection or filter that makes no sense.
    pub(super) fn find(
        self,
        session: &Session,
        choice: Choice,
        states: &[State],
    ) -> Result<Vec<Target>> {
        let by_name = !self.containers.is_empty() || !self.cidfile.is_empty() || self.latest;
        let found = Selection {
            names: self.containers,
            all: choice.all,
            latest: self.latest,
            ignore: choice.ignore,
            cidfiles: self.cidfile,
            filters: choice.filters,
        }
        .resolve(session)?;
        match by_name || states.is_empty() {
            true => Ok(found),
            false => in_states(found, states),
        }
    }
}

/// How containers are stopped.
#[derive(Debug, clap::Args)]
pub struct Stopping {
    /// The signal to send first
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until KILL (0: at once, -1: never; default: the container's own, 10)
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        alias = "timeout",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
}

impl Stopping {
    /// Typed.
    ///
    /// # Errors
    /// `Invalid` for a signal that does not exist.
    pub(super) fn options(&self) -> Result<StopOptions> {
        Ok(StopOptions {
            timeout: self.time.map(seconds),
            signal: self.signal.as_deref().map(signal::parse).transpose()?,
        })
    }
}

/// Does something to every container and prints what the person typed for it.
///
/// # Errors
/// When nobody reads standard output any more; a failure of one container only changes the exit
/// code.
pub(super) fn each(
    out: &mut Out,
    targets: Vec<Target>,
    act: &mut dyn FnMut(&Container, &mut Out) -> Result<()>,
) -> Result<u8> {
    let mut worst = 0;
    for target in targets {
        let done = target.container.and_then(|c| act(&c, out));
        match done {
            Ok(()) => {
                out.line(&target.shown)?;
                out.flush()?;
            }
            Err(e) => {
                out.error(&e);
                worst = join(worst, report::exit_code(&e));
            }
        }
    }
    Ok(worst)
}

/// One code for several failures: theirs when they agree.
fn join(before: u8, code: u8) -> u8 {
    match before {
        0 => code,
        same if same == code => code,
        _ => 125,
    }
}

/// Keeps the containers in one of `states`: what `--all` means for a verb.
///
/// # Errors
/// Damaged records.
pub(super) fn in_states(targets: Vec<Target>, states: &[State]) -> Result<Vec<Target>> {
    let mut kept = Vec::new();
    for target in targets {
        let keep = match &target.container {
            Ok(container) => states.contains(&container.state()?),
            Err(e) => e.kind() != Kind::NotFound,
        };
        if keep {
            kept.push(target);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_become_125() {
        assert_eq!(join(0, 1), 1);
        assert_eq!(join(1, 1), 1);
        assert_eq!(join(1, 2), 125);
        assert_eq!(join(125, 1), 125);
    }
}
