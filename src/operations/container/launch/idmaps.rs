//! `--userns`: the maps of a container's own user namespace, below the shared one. Pure.
//!
//! In the shared namespace 0 is the caller and 1, 2, … are subordinate ids; a line's host id is one
//! of these.

use crate::base::{Error, Kind, Result};
use crate::spec::idmap::{IdMaps, total};
use crate::spec::runtime::IdMapping;
use crate::state::options::UsernsMode;

/// Ids of a `--userns=auto` container that says no size.
const AUTO_SIZE: u32 = 65_536;

/// The caller's ids outside.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The maps for a mode; `None` when the container shares the shared namespace, or joins another.
///
/// # Errors
/// `Invalid` when the mode asks for ids that the shared namespace does not have.
pub fn nested_maps(
    mode: &UsernsMode,
    shared: &IdMaps,
    caller: Caller,
    auto: Option<&IdMaps>,
) -> Result<Option<IdMaps>> {
    Ok(match mode {
        UsernsMode::Host | UsernsMode::Container(_) | UsernsMode::Path(_) => None,
        UsernsMode::Nested => Some(IdMaps::identity(shared)),
        UsernsMode::KeepId { uid, gid, size } => Some(IdMaps {
            uids: keep(uid.unwrap_or(caller.uid), *size, count(&shared.uids))?,
            gids: keep(gid.unwrap_or(caller.gid), *size, count(&shared.gids))?,
        }),
        UsernsMode::Nomap => {
            let without = |n: u32| {
                if n < 2 {
                    return Err(Error::unsupported(
                        "--userns=nomap needs subordinate ids, and this user has none",
                    )
                    .hint(
                        "add ranges to /etc/subuid and /etc/subgid; `coracle doctor` tells how",
                    ));
                }
                Ok(vec![line(0, 1, n - 1)])
            };
            Some(IdMaps {
                uids: without(count(&shared.uids))?,
                gids: without(count(&shared.gids))?,
            })
        }
        UsernsMode::Auto { .. } => Some(auto.cloned().ok_or_else(|| {
            Error::internal("a --userns=auto container without its range of ids")
        })?),
        UsernsMode::Maps { uids, gids } => {
            let check = |lines: &[IdMapping], shared: &[IdMapping], flag: &str| {
                for l in lines {
                    let end = u64::from(l.host_id) + u64::from(l.size);
                    if l.size == 0 || end > u64::from(count(shared)) {
                        return Err(Error::invalid(format!(
                            "--{flag} {}:{}:{}: this user has the ids 0 to {} only",
                            l.container_id,
                            l.host_id,
                            l.size,
                            count(shared).saturating_sub(1)
                        ))
                        .hint("0 is your own id, 1 and up are your subordinate ids"));
                    }
                }
                Ok(lines.to_vec())
            };
            // One list alone stands for both, as in podman.
            let (uids, gids) = match (uids.is_empty(), gids.is_empty()) {
                (true, false) => (gids, gids),
                (false, true) => (uids, uids),
                _ => (uids, gids),
            };
            Some(IdMaps {
                uids: check(uids, &shared.uids, "uidmap")?,
                gids: check(gids, &shared.gids, "gidmap")?,
            })
        }
    })
}

fn line(container_id: u32, host_id: u32, size: u32) -> IdMapping {
    IdMapping {
        container_id,
        host_id,
        size,
    }
}

fn count(map: &[IdMapping]) -> u32 {
    u32::try_from(total(map)).unwrap_or(u32::MAX)
}

/// The caller keeps `own`; the ids around it are the subordinate ones in order.
fn keep(own: u32, size: Option<u32>, available: u32) -> Result<Vec<IdMapping>> {
    let n = size.map_or(available, |s| s.saturating_add(1).min(available));
    if n == 0 || own == u32::MAX {
        return Err(Error::invalid("--userns=keep-id: no such id"));
    }
    let below = own.min(n - 1);
    let mut lines = Vec::new();
    if below > 0 {
        lines.push(line(0, 1, below));
    }
    lines.push(line(own, 0, 1));
    if n - 1 > below {
        lines.push(line(own + 1, below + 1, n - 1 - below));
    }
    Ok(lines)
}

/// Chooses a range for `--userns=auto` that no other such container has; `None` for other modes.
///
/// # Errors
/// `Unavailable` when no range of that size is left; what `taken` says.
pub fn allocate_auto(
    mode: &UsernsMode,
    shared: &IdMaps,
    taken: impl FnOnce() -> Result<Vec<IdMaps>>,
) -> Result<Option<IdMaps>> {
    let UsernsMode::Auto { size, uids, gids } = mode else {
        return Ok(None);
    };
    let available = count(&shared.uids).min(count(&shared.gids));
    if available < 2 {
        return Err(Error::unsupported(
            "--userns=auto needs subordinate ids, and this user has none",
        )
        .hint("add ranges to /etc/subuid and /etc/subgid; `coracle doctor` tells how"));
    }
    let used: Vec<(u32, u32)> = taken()?
        .iter()
        .flat_map(|m| m.uids.iter())
        .map(|m| (m.host_id, m.host_id.saturating_add(m.size)))
        .collect();
    // Without a size: as many as containers usually need, but leave room for others.
    let want = size.unwrap_or_else(|| {
        AUTO_SIZE
            .min((available - 1) / 8)
            .max(1024.min(available - 1))
    });
    let mut first = 1_u32;
    let mut ends: Vec<(u32, u32)> = used;
    ends.sort_unstable();
    for (start, end) in ends {
        if first.saturating_add(want) <= start {
            break;
        }
        first = first.max(end);
    }
    if want == 0 || first.saturating_add(want) > available {
        return Err(Error::new(
            Kind::Unavailable,
            format!("no {want} subordinate ids are left for --userns=auto"),
        )
        .hint("remove containers that use it, ask for fewer with --userns=auto:size=N, or widen /etc/subuid and /etc/subgid"));
    }
    let with = |fixed: &[IdMapping]| {
        let mut lines = fixed.to_vec();
        let mut next = 0_u32;
        // The rest goes around the fixed lines.
        let mut left = want;
        let mut host = first;
        let mut sorted = fixed.to_vec();
        sorted.sort_by_key(|l| l.container_id);
        for l in &sorted {
            let gap = l.container_id.saturating_sub(next).min(left);
            if gap > 0 {
                lines.push(line(next, host, gap));
                host += gap;
                left -= gap;
            }
            next = l.container_id.saturating_add(l.size);
        }
        if left > 0 {
            lines.push(line(next, host, left));
        }
        lines
    };
    Ok(Some(IdMaps {
        uids: with(uids),
        gids: with(gids),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(n: u32) -> IdMaps {
        let map = vec![line(0, 1000, 1), line(1, 100_000, n - 1)];
        IdMaps {
            uids: map.clone(),
            gids: map,
        }
    }

    const ME: Caller = Caller {
        uid: 1000,
        gid: 1000,
    };

    #[test]
    fn keep_id_gives_the_caller_its_own_id_and_every_other_id_once() {
        let mode = UsernsMode::KeepId {
            uid: None,
            gid: Some(0),
            size: None,
        };
        let maps = nested_maps(&mode, &shared(65_537), ME, None)
            .unwrap()
            .unwrap();
        assert_eq!(
            maps.uids,
            [line(0, 1, 1000), line(1000, 0, 1), line(1001, 1001, 64_536)]
        );
        assert_eq!(maps.gids, [line(0, 0, 1), line(1, 1, 65_536)]);
        let single = IdMaps {
            uids: vec![line(0, 1000, 1)],
            gids: vec![line(0, 1000, 1)],
        };
        let mode = UsernsMode::KeepId {
            uid: None,
            gid: None,
            size: None,
        };
        let maps = nested_maps(&mode, &single, ME, None).unwrap().unwrap();
        assert_eq!(maps.uids, [line(1000, 0, 1)]);
    }

    #[test]
    fn an_own_id_above_the_range_still_maps() {
        let lines = keep(70_000, None, 65_537).unwrap();
        assert_eq!(lines, [line(0, 1, 65_536), line(70_000, 0, 1)]);
    }

    #[test]
    fn given_maps_are_checked_and_one_list_serves_both() {
        let mode = UsernsMode::Maps {
            uids: vec![line(0, 1, 10)],
            gids: Vec::new(),
        };
        let maps = nested_maps(&mode, &shared(65_537), ME, None)
            .unwrap()
            .unwrap();
        assert_eq!(maps.gids, [line(0, 1, 10)]);
        let mode = UsernsMode::Maps {
            uids: vec![line(0, 60_000, 10_000)],
            gids: Vec::new(),
        };
        assert!(nested_maps(&mode, &shared(65_537), ME, None).is_err());
    }

    #[test]
    fn auto_ranges_do_not_overlap() {
        let mode = UsernsMode::Auto {
            size: Some(1000),
            uids: Vec::new(),
            gids: Vec::new(),
        };
        let shared = shared(65_537);
        let mut taken: Vec<IdMaps> = Vec::new();
        for _ in 0..60 {
            let maps = allocate_auto(&mode, &shared, || Ok(taken.clone()))
                .unwrap()
                .unwrap();
            for other in &taken {
                let (a, b) = (maps.uids[0], other.uids[0]);
                assert!(a.host_id >= b.host_id + b.size || b.host_id >= a.host_id + a.size);
            }
            taken.push(maps);
        }
        taken.remove(10);
        assert!(allocate_auto(&mode, &shared, || Ok(taken.clone())).is_ok());
        let big = UsernsMode::Auto {
            size: Some(60_000),
            uids: Vec::new(),
            gids: Vec::new(),
        };
        assert!(allocate_auto(&big, &shared, || Ok(taken.clone())).is_err());
    }
}
