//! `build`, `builder` and `buildx`: words to requests, results to text.

pub mod flags;
pub mod imagetools;
pub mod prune;
mod request;
pub mod run;
pub mod usage;

use super::frame::Entry;
use crate::{command, noun};

/// `coracle build` and `coracle image build`.
pub const BOTH: &[Entry] = &[command!(
    "build",
    "Make an image from a Dockerfile",
    flags::BuildArgs,
    run::run
)];

/// Below `builder`: `ls` is what it holds.
pub const ENTRIES: &[Entry] = &[command!(
    "ls",
    "List what the build cache holds",
    usage::DuArgs,
    usage::du
)];

/// Below `builder` and `buildx`.
pub const CACHE: &[Entry] = &[
    command!(
        "du",
        "Show what the build cache weighs",
        usage::DuArgs,
        usage::du
    ),
    command!(
        "prune",
        "Make the build cache smaller",
        prune::PruneArgs,
        prune::run
    ),
];

/// Below `buildx` only.
pub const BUILDX: &[Entry] = &[
    command!(
        "ls",
        "List builders: there is one",
        usage::LsArgs,
        usage::ls
    ),
    command!(
        "inspect",
        "Show the builder",
        usage::InspectArgs,
        usage::inspect
    ),
    noun!("imagetools", "Images at registries", imagetools::NOUN),
    command!(
        "bake",
        "Build what files of bake describe: refused",
        usage::BakeArgs,
        usage::bake
    ),
    command!(
        "version",
        "Show the version",
        usage::VersionArgs,
        usage::version
    ),
];
