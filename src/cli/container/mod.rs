//! Commands about containers: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod create;
pub mod exec_options;
pub mod options;
pub mod run;

/// `coracle VERB`.
pub const TOP: &[Entry] = &[
    command!(
        "create",
        "Make a container without starting it",
        create::CreateArgs,
        create::run
    ),
    command!(
        "run",
        "Run a command in a new container",
        run::RunArgs,
        run::run
    ),
];

/// `coracle container VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "create",
        "Make a container without starting it",
        create::CreateArgs,
        create::run
    ),
    command!(
        "run",
        "Run a command in a new container",
        run::RunArgs,
        run::run
    ),
];
