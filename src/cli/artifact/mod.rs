//! Commands about artifacts: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod add;
pub mod extract;
pub mod inspect;
pub mod ls;
pub mod pull;
pub mod push;
pub mod rm;

/// `coracle artifact VERB`.
pub const NOUN: &[Entry] = &[
    command!("add", "Make an artifact of files", add::AddArgs, add::run),
    command!(
        "extract",
        "Write an artifact's files",
        extract::ExtractArgs,
        extract::run
    ),
    command!(
        "inspect",
        "Show everything about an artifact",
        inspect::InspectArgs,
        inspect::run
    ),
    command!("ls", "List artifacts", ls::LsArgs, ls::run).aliases(&["list"]),
    command!("pull", "Bring an artifact here", pull::PullArgs, pull::run),
    command!(
        "push",
        "Give an artifact to a registry",
        push::PushArgs,
        push::run
    ),
    command!("rm", "Remove artifacts", rm::RmArgs, rm::run).aliases(&["remove"]),
];
