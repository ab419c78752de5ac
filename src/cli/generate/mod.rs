//! Commands that write files of other programs': words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod systemd;

/// `coracle generate VERB`.
pub const NOUN: &[Entry] = &[command!(
    "systemd",
    "Write a systemd unit for a container",
    systemd::SystemdArgs,
    systemd::run
)];
