//! Commands about coracle itself: words to requests, results to text.

use super::candidates;
use super::frame::Entry;
use crate::{command, noun};

pub mod boot;
pub mod check;
pub mod completion;
pub mod context;
pub mod df;
pub mod doctor;
pub mod info;
pub mod prune;
pub mod reset;
pub mod service;
pub mod unshare;
pub mod version;

/// `coracle VERB` and `coracle system VERB`.
pub const BOTH: &[Entry] = &[
    command!(
        "events",
        "Show what happens to containers, images and volumes",
        super::events::EventsArgs,
        super::events::run
    ),
    command!(
        "doctor",
        "Check this machine by doing what containers need",
        doctor::DoctorArgs,
        doctor::run
    ),
    command!(
        "info",
        "Show what this host and this installation are",
        info::InfoArgs,
        info::run
    ),
];

/// `coracle VERB` only.
pub const TOP: &[Entry] = &[
    command!(
        "version",
        "Show the version",
        version::VersionArgs,
        version::run
    ),
    command!(
        "unshare",
        "Run a command in the user namespace of the containers",
        unshare::UnshareArgs,
        unshare::run
    ),
    command!(
        "completion",
        "Print the completion script of a shell",
        completion::CompletionArgs,
        completion::run
    ),
    command!(
        "context",
        "Show docker's only context here",
        context::ContextArgs,
        context::run
    )
    .hidden(),
    command!(
        "__complete",
        "Offer what may stand next on a command line",
        candidates::CompleteArgs,
        candidates::run
    )
    .hidden(),
];

/// `coracle system VERB` only.
pub const NOUN: &[Entry] = &[
    noun!(
        "boot",
        "Start containers after a reboot, by their restart policies",
        boot::NOUN
    ),
    command!(
        "check",
        "Look for damage in the store, and mend it",
        check::CheckArgs,
        check::run
    ),
    command!(
        "df",
        "Show what takes how much of the disk",
        df::DfArgs,
        df::run
    ),
    command!(
        "prune",
        "Remove everything that nothing uses",
        prune::PruneArgs,
        prune::run
    ),
    command!(
        "reset",
        "Remove everything: containers, images, volumes, secrets, events",
        reset::ResetArgs,
        reset::run
    ),
    command!(
        "service",
        "Serve docker's interface on a socket",
        service::ServiceArgs,
        service::run
    ),
];
