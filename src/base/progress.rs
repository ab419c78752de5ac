//! What long work reports, without knowing who shows it.

/// Receives the progress of long work. Called from several threads.
pub trait Progress: Send + Sync {
    /// A line for the person, e.g. `Trying to pull docker.io/library/alpine:latest...`.
    fn message(&self, text: &str);
    /// A piece of work began or changed: `key` stays the same, `label` is shown, `total` is in
    /// bytes and 0 when unknown.
    fn update(&self, key: &str, label: &str, done: u64, total: u64);
    /// A piece of work ended; `outcome` is one word or two (`done`, `already exists`).
    fn finish(&self, key: &str, label: &str, outcome: &str);
    /// Whether a person sees any of it.
    fn is_seen(&self) -> bool {
        true
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn message(&self, _text: &str) {}
    fn update(&self, _key: &str, _label: &str, _done: u64, _total: u64) {}
    fn finish(&self, _key: &str, _label: &str, _outcome: &str) {}
    fn is_seen(&self) -> bool {
        false
    }
}
