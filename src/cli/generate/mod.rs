//! Commands that write files of other programs': words to requests, results to text.

use super::frame::Entry;
use super::kube::generate as kube;
use crate::command;

pub mod systemd;

/// `coracle generate VERB`.
pub const NOUN: &[Entry] = &[
    command!(
        "kube",
        "Write manifests of pods, containers and volumes",
        kube::GenerateArgs,
        kube::run
    ),
    command!(
        "systemd",
        "Write systemd units for a container or a pod",
        systemd::SystemdArgs,
        systemd::run
    ),
];
