//! Commands about secrets: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod create;
pub mod exists;
pub mod inspect;
pub mod ls;
pub mod rm;

/// `coracle secret VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "create",
        "Create a secret from a file, standard input or a variable",
        create::CreateArgs,
        create::run
    ),
    command!(
        "exists",
        "Tell by the exit code whether a secret exists",
        exists::ExistsArgs,
        exists::run
    ),
    command!(
        "inspect",
        "Show everything about secrets",
        inspect::InspectArgs,
        inspect::run
    ),
    command!("ls", "List secrets", ls::LsArgs, ls::run).aliases(&["list"]),
    command!("rm", "Remove secrets", rm::RmArgs, rm::run).aliases(&["remove"]),
];
