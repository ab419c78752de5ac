//! Commands about manifests of Kubernetes: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod apply;
pub mod down;
pub mod generate;
pub mod play;

/// `coracle kube VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "apply",
        "Hand manifests to a cluster",
        apply::ApplyArgs,
        apply::run
    ),
    command!(
        "down",
        "Remove what manifests made",
        down::DownArgs,
        down::run
    ),
    command!(
        "generate",
        "Write manifests of pods, containers and volumes",
        generate::GenerateArgs,
        generate::run
    ),
    command!(
        "play",
        "Run what manifests describe",
        play::PlayArgs,
        play::run
    ),
];

/// `coracle play VERB`.
pub const PLAY: &[Entry] = &[command!(
    "kube",
    "Run what manifests describe",
    play::PlayArgs,
    play::run
)];
