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
    /// Keep so many bytes in any case, the most recently used.
    pub reserved: Option<u64>,
    /// Keep no more than so many bytes.
    pub most: Option<u64>,
    /// Stop when the disk has so many bytes free.
    pub free: Option<u64>,
    /// Only these ids, by prefix; empty means all.
    pub ids: Vec<String>,
    /// Only this kind: `step` or `mount`.
    pub kind: Option<String>,
    /// Only what images have too, or only what they have not.
    pub shared: Option<bool>,
    /// Only where the description has this text.
    pub text: Option<String>,
}

impl Prune {
    /// Whether an entry is one of those that the filters let through.
    fn names(&self, usage: &Usage, now: Timestamp) -> bool {
        (self.ids.is_empty() || self.ids.iter().any(|id| usage.id.starts_with(id)))
            && self
                .unused_for
                .is_none_or(|age| now.since(usage.used) >= age)
            && self.kind.as_deref().is_none_or(|k| k == usage.kind)
            && self.text.as_deref().is_none_or(|t| usage.text.contains(t))
            && self.shared.is_none_or(|shared| shared == usage.shared)
    }

    /// Whether there is still too much: `kept` bytes in the cache, `available` free on the disk.
    fn is_over(&self, kept: u64, available: u64) -> bool {
        if kept <= self.reserved.unwrap_or(0) && self.reserved.is_some() {
            return false;
        }
        match (self.most, self.free) {
            (None, None) => true,
            (most, free) => {
                most.is_some_and(|most| kept > most) || free.is_some_and(|free| available < free)
            }
        }
    }
}

/// What it took.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The entries.
    pub entries: Vec<Usage>,
    /// What the disk got back, bytes.
    pub bytes: u64,
}

/// What the filters of `wish` let through, the least recently used first.
///
/// # Errors
/// As [`list`].
pub fn some(session: &Session, wish: &Prune) -> Result<Vec<Usage>> {
    let now = Timestamp::now();
    let mut all = list(session)?;
    all.retain(|usage| wish.names(usage, now));
    Ok(all)
}

/// Everything in the cache, the least recently used first.
///
/// # Errors
/// What the kernel says.
pub fn list(session: &Session) -> Result<Vec<Usage>> {
    let store = enter_store(session)?;
    let held = remove::held(session)?;
    Cache::new(session).usage(&store, &held.layers)
}

/// Removes entries and what only they hold. What a build uses now stays.
///
/// # Errors
/// What the kernel says.
pub fn prune(session: &Session, wish: &Prune) -> Result<Pruned> {
    let cache = Cache::new(session);
    let all = list(session)?;
    let mut kept: u64 = all.iter().map(|u| u.bytes).sum();
    let before = kept;
    let available = rustix::fs::statvfs(session.dirs.store().as_path())
        .map_or(u64::MAX, |s| s.f_bavail.saturating_mul(s.f_frsize));
    let mut pruned = Pruned::default();
    let now = Timestamp::now();
    for usage in all {
        let free = wish.shared.is_some() || wish.all || !usage.shared;
        let over = wish.is_over(kept, available.saturating_add(before - kept));
        if !(wish.names(&usage, now) && free && over) || usage.in_use {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_say_when_there_is_still_too_much() {
        let over = |reserved, most, free, kept, available| {
            let wish = Prune {
                reserved,
                most,
                free,
                ..Prune::default()
            };
            wish.is_over(kept, available)
        };
        assert!(over(None, None, None, 1, 0));
        // docker's keep-storage: down to it.
        assert!(over(Some(10), None, None, 11, 0));
        assert!(!over(Some(10), None, None, 10, 0));
        assert!(!over(None, Some(10), None, 10, 0));
        assert!(over(None, Some(10), None, 11, 0));
        // The disk decides, but never below what is reserved.
        assert!(over(Some(10), None, Some(100), 50, 99));
        assert!(!over(Some(10), None, Some(100), 50, 100));
        assert!(!over(Some(60), None, Some(100), 50, 0));
        assert!(over(None, Some(40), Some(100), 50, 200));
    }
}
