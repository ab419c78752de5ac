//! Capability names and the rules of `--cap-add` and `--cap-drop`. Pure.

use crate::base::{Error, Result};
use crate::spec::runtime::Capabilities;

/// Every capability, at the index that is its number. Kernel: `include/uapi/linux/capability.h`.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise: podman's eleven and `CAP_NET_RAW`, which Docker gives
/// as well. Debian's ping carries it as a file capability and could not even be executed without;
/// it reaches no further than the container's own network namespace (docs/decisions/0010).
pub const DEFAULT: [&str; 12] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The word that stands for every capability.
pub const ALL: &str = "ALL";

/// The number of a capability given as `CAP_CHOWN`.
pub fn number(name: &str) -> Option<u8> {
    NAMES
        .iter()
        .position(|n| *n == name)
        .and_then(|n| u8::try_from(n).ok())
}

/// Brings a name as people write it (`chown`, `CAP_CHOWN`, `all`) to the kernel's form, or [`ALL`].
///
/// # Errors
/// `Invalid` for a name that does not exist.
pub fn normalize(name: &str) -> Result<&'static str> {
    let upper = name.trim().to_ascii_uppercase();
    if upper == ALL || upper == "CAP_ALL" {
        return Ok(ALL);
    }
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .find(|n| n.strip_prefix("CAP_") == Some(bare))
        .copied()
        .ok_or_else(|| {
            Error::invalid(format!("unknown capability {name:?}"))
                .hint("capabilities(7) lists them, e.g. NET_ADMIN")
        })
}

/// The bounding set that results from the defaults, what is added and what is dropped; sorted by
/// name. Dropping `ALL` leaves what is added; adding `ALL` leaves all but what is dropped.
///
/// # Errors
/// `Invalid` for unknown names, and for one that is both added and dropped.
pub fn bounding(privileged: bool, add: &[String], drop: &[String]) -> Result<Vec<&'static str>> {
    let add = add
        .iter()
        .map(|n| normalize(n))
        .collect::<Result<Vec<_>>>()?;
    let drop = drop
        .iter()
        .map(|n| normalize(n))
        .collect::<Result<Vec<_>>>()?;
    if add.contains(&ALL) && drop.contains(&ALL) {
        return Err(Error::invalid(
            "all capabilities are both added and dropped",
        ));
    }
    if let Some(both) = add.iter().find(|n| drop.contains(n)) {
        return Err(Error::invalid(format!(
            "capability {both} is both added and dropped"
        )));
    }
    let mut set: Vec<&'static str> = if drop.contains(&ALL) {
        Vec::new()
    } else if privileged || add.contains(&ALL) {
        NAMES.to_vec()
    } else {
        DEFAULT.to_vec()
    };
    set.extend(add.iter().filter(|n| **n != ALL));
    set.retain(|n| !drop.contains(n));
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

/// The five sets of the first process, and of `exec`.
///
/// Root has the bounding set, without inheritable and ambient ones. Another user has what was
/// added by name, ambient too, so that it survives `execve`; otherwise nothing.
///
/// # Errors
/// As [`bounding`].
pub fn sets(uid: u32, privileged: bool, add: &[String], drop: &[String]) -> Result<Capabilities> {
    let owned = |names: &[&'static str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let bounding = bounding(privileged, add, drop)?;
    if uid == 0 {
        let all = owned(&bounding);
        return Ok(Capabilities {
            effective: all.clone(),
            permitted: all.clone(),
            bounding: all,
            ..Capabilities::default()
        });
    }
    let mut added: Vec<&'static str> = Vec::new();
    for name in add {
        match normalize(name)? {
            ALL => added.extend(&bounding),
            one => added.push(one),
        }
    }
    added.sort_unstable();
    added.dedup();
    let added = owned(&added);
    Ok(Capabilities {
        bounding: owned(&bounding),
        effective: added.clone(),
        permitted: added.clone(),
        inheritable: added.clone(),
        ambient: added,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn adding_and_dropping_follow_podman() {
        let all = NAMES.len();
        for (privileged, add, drop, count, has, lacks) in [
            (false, "", "", 12, "CAP_NET_RAW", "CAP_AUDIT_WRITE"),
            (false, "audit_write", "", 13, "CAP_AUDIT_WRITE", "CAP_MKNOD"),
            (
                false,
                "CAP_AUDIT_WRITE",
                "chown",
                12,
                "CAP_AUDIT_WRITE",
                "CAP_CHOWN",
            ),
            (false, "", "all", 0, "", "CAP_CHOWN"),
            (false, "chown", "ALL", 1, "CAP_CHOWN", "CAP_KILL"),
            (
                false,
                "all",
                "sys_admin",
                all - 1,
                "CAP_BPF",
                "CAP_SYS_ADMIN",
            ),
            (true, "", "", all, "CAP_SYS_ADMIN", ""),
            (true, "", "MKNOD", all - 1, "CAP_SYS_ADMIN", "CAP_MKNOD"),
        ] {
            let set = bounding(privileged, &words(add), &words(drop)).unwrap();
            assert_eq!(set.len(), count, "{add} {drop}");
            assert!(has.is_empty() || set.contains(&has), "{add} {drop}");
            assert!(!set.contains(&lacks), "{add} {drop}");
        }
    }

    #[test]
    fn contradictions_and_unknown_names_are_refused() {
        for (add, drop) in [
            ("all", "all"),
            ("chown", "CAP_CHOWN"),
            ("flying", ""),
            ("", "cap_"),
        ] {
            assert!(
                bounding(false, &words(add), &words(drop)).is_err(),
                "{add} {drop}"
            );
        }
    }

    #[test]
    fn a_user_who_is_not_root_has_only_what_was_added_and_keeps_it() {
        let none = sets(1000, false, &[], &[]).unwrap();
        assert_eq!((none.bounding.len(), none.effective.len()), (12, 0));
        let some = sets(1000, false, &words("net_bind_service"), &[]).unwrap();
        assert_eq!(some.ambient, ["CAP_NET_BIND_SERVICE"]);
        assert_eq!(some.inheritable, some.permitted);
        let root = sets(0, false, &[], &[]).unwrap();
        assert!(root.inheritable.is_empty() && root.ambient.is_empty());
        assert_eq!(root.effective, root.bounding);
        assert_eq!(sets(1000, true, &[], &[]).unwrap().effective.len(), 0);
    }
}
