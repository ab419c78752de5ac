//! `builder du` and `builder prune`: what the cache weighs, and less of it.

use std::time::Duration;

use super::cache::{Cache, Usage};
use crate::base::Result;
use crate::base::time::Timestamp;
use crate::operations::image::{enter_store, remove};
use crate::operations::session::Session;

/// What a prune takes.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Also what images have and cache mounts that nobody asked to forget.
    pub all: bool,
    /// Only what was not used for so long.
    pub unused_for: Option<Duration>,
    /// Keep so many bytes, the most recently used.
    pub keep: Option<u64>,
    /// Only these ids, by prefix; empty means all.
    pub ids: Vec<String>,
    /// Only this kind: `step` or `mount`.
    pub kind: Option<String>,
}

/// What it took.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The entries.
    pub entries: Vec<Usage>,
    /// What the disk got back, bytes.
    pub bytes: u64,
}

/// Everything in the cache, the least recently used first.
///
/// # Errors
/// What the kernel says.
pub fn list(session: &Session) -> Result<Vec<Usage>> {
    let store = enter_store(session)?;
    let held = remove::held(session)?;
    Cache::new(session).usage(&store, &held)
}

/// Removes entries and what only they hold. What a build uses now stays.
///
/// # Errors
/// What the kernel says.
pub fn prune(session: &Session, wish: &Prune) -> Result<Pruned> {
    let cache = Cache::new(session);
    let all = list(session)?;
    let mut kept: u64 = all.iter().map(|u| u.bytes).sum();
    let mut pruned = Pruned::default();
    let now = Timestamp::now();
    for usage in all {
        let wanted = wish.ids.is_empty() || wish.ids.iter().any(|id| usage.id.starts_with(id));
        let old = wish
            .unused_for
            .is_none_or(|age| now.since(usage.used) >= age);
        let kind = wish.kind.as_deref().is_none_or(|k| k == usage.kind);
        let free = wish.all || !usage.shared;
        let over = wish.keep.is_none_or(|limit| kept > limit);
        if !(wanted && old && kind && free && over) || usage.in_use {
            continue;
        }
        if cache.forget(&usage)? {
            kept = kept.saturating_sub(usage.bytes);
            if usage.kind == "mount" {
                pruned.bytes += usage.bytes;
            }
            pruned.entries.push(usage);
        }
    }
    cache.sweep_claims();
    pruned.bytes += remove::collect(session)?.bytes;
    Ok(pruned)
}
