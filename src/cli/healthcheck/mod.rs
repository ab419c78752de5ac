//! Commands about health checks: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod run;

/// `coracle healthcheck VERB`.
pub const NOUN: &[Entry] = &[command!(
    "run",
    "Check a container's health now",
    run::RunArgs,
    run::run
)];
