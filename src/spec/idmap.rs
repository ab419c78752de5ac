//! Id maps as values: translation, composition, keep-id. Pure.

use serde::{Deserialize, Serialize};

use super::runtime::IdMapping;

/// The two maps of a user namespace, lines as in `/proc/PID/uid_map`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

/// Translates an id from inside to outside.
pub fn to_host(map: &[IdMapping], id: u32) -> Option<u32> {
    map.iter().find_map(|m| {
        let offset = id.checked_sub(m.container_id)?;
        (offset < m.size).then(|| m.host_id.checked_add(offset))?
    })
}

/// Translates an id from outside to inside.
pub fn to_container(map: &[IdMapping], id: u32) -> Option<u32> {
    map.iter().find_map(|m| {
        let offset = id.checked_sub(m.host_id)?;
        (offset < m.size).then(|| m.container_id.checked_add(offset))?
    })
}

/// How many ids a map has.
pub fn total(map: &[IdMapping]) -> u64 {
    map.iter().map(|m| u64::from(m.size)).sum()
}

impl IdMaps {
    /// Whether only one uid is mapped: no subordinate ids.
    pub fn is_single(&self) -> bool {
        total(&self.uids) <= 1
    }

    /// The text for `/proc/PID/uid_map` or `gid_map`.
    pub fn render(map: &[IdMapping]) -> String {
        map.iter()
            .map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size))
            .collect()
    }

    /// Parses the text of `/proc/PID/uid_map` or `gid_map`.
    pub fn parse(text: &str) -> Vec<IdMapping> {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace().map(str::parse);
                match (words.next(), words.next(), words.next()) {
                    (Some(Ok(container_id)), Some(Ok(host_id)), Some(Ok(size))) => {
                        Some(IdMapping {
                            container_id,
                            host_id,
                            size,
                        })
                    }
                    _ => None,
                }
            })
            .collect()
    }
}

impl IdMaps {
    /// The map of a caller without subordinate ids: itself as 0.
    pub fn single(uid: u32, gid: u32) -> Self {
        let one = |host_id| {
            vec![IdMapping {
                container_id: 0,
                host_id,
                size: 1,
            }]
        };
        Self {
            uids: one(uid),
            gids: one(gid),
        }
    }

    /// The default map: the caller as 0, the ranges (start, count) after it.
    pub fn with_ranges(caller: (u32, u32), uids: &[(u32, u32)], gids: &[(u32, u32)]) -> Self {
        let lines = |id, ranges: &[(u32, u32)]| {
            let mut lines = vec![IdMapping {
                container_id: 0,
                host_id: id,
                size: 1,
            }];
            let mut next: u32 = 1;
            for (start, count) in ranges {
                let size = (*count).min(u32::MAX - next);
                if size > 0 {
                    lines.push(IdMapping {
                        container_id: next,
                        host_id: *start,
                        size,
                    });
                    next += size;
                }
            }
            lines
        };
        Self {
            uids: lines(caller.0, uids),
            gids: lines(caller.1, gids),
        }
    }

    /// The map of a namespace below one with the maps `own` that has the same ids.
    pub fn identity(own: &Self) -> Self {
        let same = |map: &[IdMapping]| {
            map.iter()
                .map(|m| IdMapping {
                    host_id: m.container_id,
                    ..*m
                })
                .collect()
        };
        Self {
            uids: same(&own.uids),
            gids: same(&own.gids),
        }
    }

    /// keep-id below a shared namespace with the maps `shared`, where the caller is 0: the caller
    /// is `uid` and `gid` inside, the other ids fill up around it, at most `size` in all.
    ///
    /// Returns `None` when the shared namespace has too few ids to reach `uid` or `gid`; with one id
    /// only, just the caller is mapped.
    pub fn keep_id(shared: &Self, uid: u32, gid: u32, size: Option<u32>) -> Option<Self> {
        Some(Self {
            uids: keep(total(&shared.uids), uid, size)?,
            gids: keep(total(&shared.gids), gid, size)?,
        })
    }

    /// nomap below a shared namespace: everything but the caller, from 0 on.
    pub fn nomap(shared: &Self) -> Self {
        let lines = |map: &[IdMapping]| {
            let rest = u32::try_from(total(map).saturating_sub(1)).unwrap_or(u32::MAX);
            line(0, 1, rest).into_iter().collect()
        };
        Self {
            uids: lines(&shared.uids),
            gids: lines(&shared.gids),
        }
    }

    /// `size` ids from `start` of the shared namespace on, as 0 and following: `auto`.
    pub fn slice(start: u32, size: u32) -> Self {
        let lines: Vec<_> = line(0, start, size).into_iter().collect();
        Self {
            uids: lines.clone(),
            gids: lines,
        }
    }

    /// Cuts each line where it spans two lines of the parent's map: the kernel refuses it else.
    /// `None` when a line maps ids that the parent does not have.
    pub fn split_for(&self, parent: &Self) -> Option<Self> {
        Some(Self {
            uids: split(&self.uids, &parent.uids)?,
            gids: split(&self.gids, &parent.gids)?,
        })
    }

    /// This map below `parent`: ids inside to the ids outside of `parent`. Ids that the parent does
    /// not have are left out.
    pub fn below(&self, parent: &Self) -> Self {
        let lines = |map: &[IdMapping], parent: &[IdMapping]| {
            map.iter()
                .flat_map(|m| pieces(m, parent))
                .filter_map(|piece| {
                    Some(IdMapping {
                        host_id: to_host(parent, piece.host_id)?,
                        ..piece
                    })
                })
                .collect()
        };
        Self {
            uids: lines(&self.uids, &parent.uids),
            gids: lines(&self.gids, &parent.gids),
        }
    }
}

fn line(container_id: u32, host_id: u32, size: u32) -> Option<IdMapping> {
    (size > 0).then_some(IdMapping {
        container_id,
        host_id,
        size,
    })
}

/// Ids below `inside`, the caller, ids above it.
fn keep(available: u64, inside: u32, size: Option<u32>) -> Option<Vec<IdMapping>> {
    let available = u32::try_from(available).unwrap_or(u32::MAX);
    let all = size.map_or(available, |s| s.min(available));
    if all <= 1 {
        return Some(line(inside, 0, 1).into_iter().collect());
    }
    // Too few ids below: those that are there are mapped, as podman does.
    let below = inside.min(all - 1);
    let above = all - 1 - below;
    let after = inside.checked_add(1)?;
    after.checked_add(above)?;
    Some(
        [
            line(0, 1, below),
            line(inside, 0, 1),
            line(after, below + 1, above),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}

/// The parts of `m` that each lie within one line of `parent`.
fn pieces<'a>(m: &'a IdMapping, parent: &'a [IdMapping]) -> impl Iterator<Item = IdMapping> + 'a {
    let (from, to) = (
        u64::from(m.host_id),
        u64::from(m.host_id) + u64::from(m.size),
    );
    parent.iter().filter_map(move |p| {
        let start = from.max(p.container_id.into());
        let end = to.min(u64::from(p.container_id) + u64::from(p.size));
        let size = u32::try_from(end.checked_sub(start)?).ok()?;
        let offset = u32::try_from(start - from).ok()?;
        line(
            m.container_id.checked_add(offset)?,
            u32::try_from(start).ok()?,
            size,
        )
    })
}

fn split(map: &[IdMapping], parent: &[IdMapping]) -> Option<Vec<IdMapping>> {
    let mut lines = Vec::new();
    for m in map {
        let parts: Vec<_> = pieces(m, parent).collect();
        if total(&parts) != u64::from(m.size) {
            return None;
        }
        lines.extend(parts);
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(u32, u32, u32)];

    fn map(lines: &[(u32, u32, u32)]) -> Vec<IdMapping> {
        lines
            .iter()
            .map(|(container_id, host_id, size)| IdMapping {
                container_id: *container_id,
                host_id: *host_id,
                size: *size,
            })
            .collect()
    }

    fn shared() -> IdMaps {
        IdMaps::with_ranges((1000, 1000), &[(100_000, 65536)], &[(100_000, 65536)])
    }

    #[test]
    fn the_default_map_has_the_caller_first() {
        assert_eq!(shared().uids, map(&[(0, 1000, 1), (1, 100_000, 65536)]));
        assert_eq!(to_host(&shared().uids, 33), Some(100_032));
        assert_eq!(to_container(&shared().uids, 1000), Some(0));
        assert_eq!(to_host(&shared().uids, 65537), None);
        assert!(!shared().is_single());
        assert!(IdMaps::single(5, 6).is_single());
        let two = IdMaps::with_ranges((7, 7), &[(10, 5), (100, 5)], &[]);
        assert_eq!(two.uids, map(&[(0, 7, 1), (1, 10, 5), (6, 100, 5)]));
    }

    #[test]
    fn keep_id_fills_up_around_the_caller() {
        let cases: &[(u32, Option<u32>, Lines<'_>)] = &[
            (
                1000,
                None,
                &[(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536)],
            ),
            (0, None, &[(0, 0, 1), (1, 1, 65536)]),
            (
                1000,
                Some(2000),
                &[(0, 1, 1000), (1000, 0, 1), (1001, 1001, 999)],
            ),
            (70000, None, &[(0, 1, 65536), (70000, 0, 1)]),
        ];
        for (uid, size, expected) in cases {
            let maps = IdMaps::keep_id(&shared(), *uid, *uid, *size).unwrap();
            assert_eq!(maps.uids, map(expected), "{uid}");
        }
        let single = IdMaps::keep_id(&IdMaps::single(1000, 1000), 1000, 1000, None).unwrap();
        assert_eq!(single.uids, map(&[(1000, 0, 1)]));
        assert_eq!(IdMaps::nomap(&shared()).uids, map(&[(0, 1, 65536)]));
    }

    #[test]
    fn lines_are_cut_at_the_parents_bounds() {
        let identity = IdMaps {
            uids: map(&[(0, 0, 65537)]),
            gids: map(&[(0, 0, 1)]),
        };
        let cut = identity.split_for(&shared()).unwrap();
        assert_eq!(cut.uids, map(&[(0, 0, 1), (1, 1, 65536)]));
        let too_many = IdMaps {
            uids: map(&[(0, 0, 65538)]),
            gids: map(&[(0, 0, 1)]),
        };
        assert_eq!(too_many.split_for(&shared()), None);
        let keep = IdMaps::keep_id(&shared(), 1000, 1000, None).unwrap();
        assert_eq!(
            keep.below(&shared()).uids,
            map(&[(0, 100_000, 1000), (1000, 1000, 1), (1001, 101_000, 64536)])
        );
    }

    #[test]
    fn maps_survive_text() {
        let text = IdMaps::render(&shared().uids);
        assert_eq!(text, "0 1000 1\n1 100000 65536\n");
        assert_eq!(IdMaps::parse(&text), shared().uids);
        assert_eq!(
            IdMaps::parse("         0          0 4294967295\n"),
            map(&[(0, 0, u32::MAX)])
        );
        assert_eq!(
            IdMaps::identity(&shared()).uids,
            map(&[(0, 0, 1), (1, 1, 65536)])
        );
    }
}
