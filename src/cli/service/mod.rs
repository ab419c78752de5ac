//! Commands about services: words to requests, results to text.

use super::frame::Entry;
use super::output::Out;
use crate::base::Result;
use crate::command;
use crate::operations::service::{Driver, Outcome, Told};
use crate::operations::session::Session;
use crate::state::service::{ServiceLock, ServiceRecord};

pub mod change;
pub mod create;
mod derive;
pub mod inspect;
pub mod logs;
pub mod ls;
pub mod ps;
mod words;

/// `coracle service VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "create",
        "Create a service",
        create::CreateArgs,
        create::run
    ),
    command!(
        "inspect",
        "Show everything about services",
        inspect::InspectArgs,
        inspect::run
    ),
    command!(
        "logs",
        "Show what the replicas of a service wrote",
        logs::LogsArgs,
        logs::run
    ),
    command!("ls", "List services", ls::LsArgs, ls::run).aliases(&["list"]),
    command!("ps", "List the replicas of services", ps::PsArgs, ps::run),
    command!(
        "rm",
        "Remove services with their replicas",
        change::RmArgs,
        change::rm
    )
    .aliases(&["remove"]),
    command!(
        "rollback",
        "Make a service what it was before its last change",
        change::RollbackArgs,
        change::rollback
    ),
    command!(
        "scale",
        "Change how many replicas services have",
        change::ScaleArgs,
        change::scale
    ),
    command!(
        "update",
        "Change a service, a group of replicas after the other",
        change::UpdateArgs,
        change::update
    ),
];

/// What this machine is called, where docker names a node.
fn node() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// How a command drives a change.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Manner {
    /// Leave the work to a process in the background, which ends with it
    #[arg(short, long)]
    detach: bool,
    /// Tell nothing of the work
    #[arg(short, long)]
    quiet: bool,
}

impl Manner {
    /// Brings a service's replicas to what its record says; answers the exit code.
    ///
    /// # Errors
    /// As [`Driver::drive`]; in the background the record tells them.
    fn drive(
        self,
        record: ServiceRecord,
        lock: ServiceLock,
        session: &Session,
        out: &mut Out,
    ) -> Result<u8> {
        let mut record = record;
        if self.detach {
            out.flush()?;
            let session = session.clone();
            // The lock goes on in the child; this process' end does not free it.
            crate::sys::daemon::fork_daemon(move || {
                let mut driver = Driver {
                    session: &session,
                    lock: &lock,
                    tell: &mut |_| {},
                };
                u8::from(driver.drive(&mut record).is_err())
            })?;
            return Ok(0);
        }
        let mut driver = Driver {
            session,
            lock: &lock,
            tell: &mut |told| match told {
                Told::Done(name, word) if !self.quiet => out.note(&format!("{name}: {word}")),
                Told::Done(..) => {}
                Told::Warning(text) => out.warn(text),
            },
        };
        let outcome = driver.drive(&mut record)?;
        let name = record.name.as_str();
        Ok(match outcome {
            Outcome::Converged => 0,
            Outcome::Paused(why) => {
                out.warn(&format!("service {name}: paused: {why}"));
                1
            }
            Outcome::RolledBack(why) => {
                out.warn(&format!("service {name}: rolled back: {why}"));
                1
            }
        })
    }
}
