//! `--subuidname`, `--subgidname`.

use super::flags;
use crate::base::{Error, Result};
use crate::config::subid::{self, IdRange};
use crate::config::user::User;
use crate::spec::runtime::IdMapping;
use crate::state::options::UsernsMode;

/// `--subuidname`, `--subgidname`: the subordinate ids of somebody, and nothing else. Root has all
/// ids and may give those of anybody; others have their own only.
///
/// # Errors
/// `Unsupported` for the ids of others; `Invalid` when there are none, or `--userns` contradicts.
pub(super) fn mode(flags: &flags::Security, user: &User) -> Result<Option<UsernsMode>> {
    let (of_uids, of_gids) = match (&flags.subuidname, &flags.subgidname) {
        (None, None) => return Ok(None),
        (Some(one), None) | (None, Some(one)) => (one, one),
        (Some(uids), Some(gids)) => (uids, gids),
    };
    let others = [&flags.uidmap, &flags.gidmap];
    let mode = flags.userns.as_deref().unwrap_or_default();
    if others.iter().any(|l| !l.is_empty()) || !matches!(mode, "" | "private") {
        return Err(Error::invalid(
            "--subuidname and --subgidname describe a user namespace: --userns, --uidmap and --gidmap \
             cannot be used with them",
        ));
    }
    if !user.is_root {
        let own = |name: &str| name == user.name || name.parse() == Ok(user.uid);
        return match [of_uids, of_gids].into_iter().find(|name| !own(name)) {
            None => Ok(Some(UsernsMode::Nomap)),
            Some(name) => Err(Error::unsupported(format!(
                "the subordinate ids of {name:?} cannot be mapped: without root you have your own only"
            ))
            .hint(format!("--subuidname {}", user.name))),
        };
    }
    let lines = |name: &str, gids: bool| -> Result<Vec<IdMapping>> {
        let owner = User {
            name: name.to_owned(),
            uid: name.parse().unwrap_or(u32::MAX),
            ..user.clone()
        };
        let all = subid::ranges(&owner);
        let (list, file) = match gids {
            true => (all.gids, "/etc/subgid"),
            false => (all.uids, "/etc/subuid"),
        };
        if list.is_empty() {
            return Err(Error::invalid(format!("{file} gives {name:?} no ids"))
                .hint(format!("add a line such as {name}:100000:65536")));
        }
        let mut next = 0_u32;
        let line = |r: IdRange| {
            let container_id = next;
            next = next.saturating_add(r.count);
            IdMapping {
                container_id,
                host_id: r.start,
                size: r.count,
            }
        };
        Ok(list.into_iter().map(line).collect())
    };
    Ok(Some(UsernsMode::Maps {
        uids: lines(of_uids, false)?,
        gids: lines(of_gids, true)?,
    }))
}
