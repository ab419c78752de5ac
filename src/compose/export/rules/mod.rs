//! What becomes of each key.

mod kube;
mod swarm;

pub use kube::KUBE;
pub use swarm::SWARM;

use super::Fate::{self, Dropped};

/// A key with `*` for names, or the beginning of a path; its fate; why.
pub type Rule = (&'static str, Fate, &'static str);

pub(super) const MACHINE: &str = "it is about one machine";
pub(super) const ENGINE: &str = "a cluster's own runtime decides";
pub(super) const WINDOWS: &str = "it is for Windows";
pub(super) const LOCAL: &str = "it is for work at this machine";
pub(super) const NETS: &str = "all pods of a cluster reach each other";
pub(super) const BUILT: &str = "the image that was built is named";
pub(super) const READ: &str = "its variables are written out";
pub(super) const LOGS: &str = "the cluster keeps the logs";
pub(super) const CLASS: &str = "the cluster's storage class decides";
pub(super) const WAITS: &str =
    "everything starts at once and is restarted until what it needs is there";
pub(super) const NODE: &str = "no field of a pod says it";
pub(super) const SCHEMA: &str = "a stack has no such key";

fn find<'a>(rules: &'a [Rule], pattern: &str) -> Option<&'a Rule> {
    rules.iter().find(|(key, ..)| {
        pattern == *key
            || pattern
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// Whether a table says something of a key.
#[cfg(test)]
pub fn has(rules: &[Rule], pattern: &str) -> bool {
    find(rules, pattern).is_some()
}

/// What becomes of a key by a table; `pattern` has `*` for the names of objects.
pub fn of(rules: &[Rule], pattern: &str) -> (Fate, String) {
    match find(rules, pattern) {
        Some((_, fate, why)) => (*fate, (*why).to_owned()),
        None => (Dropped, "it is the project's own".to_owned()),
    }
}
