//! Commands about networks: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod connect;
pub mod create;
pub mod disconnect;
pub mod exists;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod reload;
pub mod rm;
pub mod update;

/// `coracle network VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "connect",
        "Put a container on a network",
        connect::ConnectArgs,
        connect::run
    ),
    command!(
        "create",
        "Create a network",
        create::CreateArgs,
        create::run
    ),
    command!(
        "disconnect",
        "Take a container off a network",
        disconnect::DisconnectArgs,
        disconnect::run
    ),
    command!(
        "exists",
        "Tell by the exit code whether a network exists",
        exists::ExistsArgs,
        exists::run
    ),
    command!(
        "inspect",
        "Show everything about networks",
        inspect::InspectArgs,
        inspect::run
    ),
    command!("ls", "List networks", ls::LsArgs, ls::run).aliases(&["list"]),
    command!(
        "prune",
        "Remove networks that no container has",
        prune::PruneArgs,
        prune::run
    ),
    command!(
        "reload",
        "Make the rules of running containers' networks anew",
        reload::ReloadArgs,
        reload::run
    ),
    command!("rm", "Remove networks", rm::RmArgs, rm::run).aliases(&["remove"]),
    command!(
        "update",
        "Change the name servers of a network",
        update::UpdateArgs,
        update::run
    ),
];
