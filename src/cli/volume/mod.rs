//! Commands about volumes: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod create;
pub mod exists;
pub mod export;
pub mod import;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod rm;

/// `coracle volume VERB`.
pub const NOUN: &[Entry] = &[
    command!("create", "Create a volume", create::CreateArgs, create::run),
    command!(
        "exists",
        "Tell by the exit code whether a volume exists",
        exists::ExistsArgs,
        exists::run
    ),
    command!(
        "export",
        "Write a volume's content as a tar",
        export::ExportArgs,
        export::run
    ),
    command!(
        "import",
        "Unpack a tar into a volume",
        import::ImportArgs,
        import::run
    ),
    command!(
        "inspect",
        "Show everything about volumes",
        inspect::InspectArgs,
        inspect::run
    ),
    command!("ls", "List volumes", ls::LsArgs, ls::run).aliases(&["list"]),
    command!(
        "prune",
        "Remove volumes that no container has",
        prune::PruneArgs,
        prune::run
    ),
    command!("rm", "Remove volumes", rm::RmArgs, rm::run).aliases(&["remove"]),
];
