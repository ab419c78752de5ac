//! Commands about pods: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod act;
pub mod clone;
pub mod create;
pub mod exists;
pub mod inspect;
pub mod logs;
pub mod prune;
pub mod ps;
pub mod rm;
mod targets;
pub mod watch;

/// `coracle pod VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "clone",
        "Make a pod with the options of another one",
        clone::CloneArgs,
        clone::run
    ),
    command!("create", "Make a pod", create::CreateArgs, create::run),
    command!(
        "exists",
        "Tell by the exit code whether a pod exists",
        exists::ExistsArgs,
        exists::run
    ),
    command!(
        "inspect",
        "Show everything about pods",
        inspect::InspectArgs,
        inspect::run
    ),
    command!(
        "kill",
        "Send a signal to the containers of pods",
        act::KillArgs,
        act::kill
    ),
    command!(
        "logs",
        "Show what the containers of a pod wrote",
        logs::LogsArgs,
        logs::run
    ),
    command!(
        "pause",
        "Freeze all containers of pods",
        act::PlainArgs,
        act::pause
    ),
    command!(
        "prune",
        "Remove all pods that do not run",
        prune::PruneArgs,
        prune::run
    ),
    command!("ps", "List pods", ps::PsArgs, ps::run).aliases(&["ls", "list"]),
    command!(
        "restart",
        "Stop pods and start them again",
        act::PlainArgs,
        act::restart
    ),
    command!(
        "rm",
        "Remove pods with their containers",
        rm::RmArgs,
        rm::run
    )
    .aliases(&["remove"]),
    command!("start", "Start pods", act::StartArgs, act::start),
    command!(
        "stats",
        "Show what the containers of pods use",
        watch::StatsArgs,
        watch::stats
    ),
    command!("stop", "Stop pods", act::StopArgs, act::stop),
    command!(
        "top",
        "Show the processes of a pod",
        watch::TopArgs,
        watch::top
    ),
    command!(
        "unpause",
        "Thaw all containers of pods",
        act::PlainArgs,
        act::unpause
    ),
];
