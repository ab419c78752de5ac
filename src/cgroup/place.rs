//! Where a container's group goes, and whose it is to make.

use std::path::{Path, PathBuf};

use super::manager::Manager;
use super::probe::{Support, Version, is_writable, probe};
use crate::base::{Error, Result};
use crate::config::env::Env;
use crate::state::options::CgroupManager;

/// The folder of all our groups, below the base.
pub(super) const OURS: &str = "coracle";

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// `--cgroups`; absent means enabled.
    pub mode: Option<&'a str>,
    /// `--cgroup-manager`.
    pub manager: CgroupManager,
    /// `--cgroup-parent`.
    pub parent: Option<&'a str>,
    /// There are limits, which only a group can give.
    pub limits: bool,
    /// The container would like a group of its own, as a systemd inside does.
    pub wanted: bool,
    /// The caller is root on the host.
    pub is_root: bool,
}

/// The place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The container stays in its caller's group.
    Nowhere,
    /// A group below this folder.
    Folder(PathBuf),
    /// A scope of systemd's, in that slice or the usual one.
    Scope(Manager, Option<String>),
    /// Below the caller's own group, which a unit with `Delegate=yes` gave it.
    Split(PathBuf),
    /// The group of the pod with that id in that place, and a group of the container's own below it.
    Pod(Box<Self>, String),
    /// A group below a pod's, which is there; a manager makes a scope first for who cannot reach it.
    Shared(PathBuf, Option<Manager>),
}

/// What a container with limits and no other wish gets: for `info` and `doctor`.
pub fn usual(env: &Env, is_root: bool) -> (Support, Place) {
    let mut support = probe();
    let wish = Wish {
        limits: true,
        is_root,
        ..Wish::default()
    };
    // Nothing is asked for by name, so nothing is refused.
    let place = choose(&mut support, &wish, env).unwrap_or(Place::Nowhere);
    (support, place)
}

/// Decides, and sets in `support` what controllers groups there can have.
///
/// # Errors
/// `Unsupported` for what was asked for by name and cannot be had, with the way out; `Invalid` for
/// contradictions.
pub fn choose(support: &mut Support, wish: &Wish<'_>, env: &Env) -> Result<Place> {
    if wish.mode == Some("disabled") {
        return if wish.limits || wish.parent.is_some() {
            Err(
                Error::invalid("--cgroups=disabled and limits contradict each other")
                    .hint("leave one of them out"),
            )
        } else {
            Ok(Place::Nowhere)
        };
    }
    if support.version != Version::V2 {
        return asked_by_name(wish).map_or(Ok(Place::Nowhere), |option| {
            Err(Error::unsupported(format!(
                "{option} cannot be applied: this host has no cgroup v2"
            ))
            .hint("boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line"))
        });
    }
    if wish.mode == Some("split") {
        return split(support, wish);
    }
    let slice = wish.parent.filter(|p| p.ends_with(".slice"));
    if let (Some(slice), CgroupManager::Cgroupfs) = (slice, wish.manager) {
        return Err(Error::invalid(format!(
            "--cgroup-parent {slice} is a slice of systemd's, and --cgroup-manager is cgroupfs"
        ))
        .hint("leave --cgroup-manager out"));
    }
    let by_name = slice.is_some() || wish.manager == CgroupManager::Systemd;
    let by_need = !support.is_usable()
        && (wish.limits || wish.wanted || wish.parent.is_some())
        && wish.manager != CgroupManager::Cgroupfs;
    if by_name || by_need || wish.manager == CgroupManager::SystemdIfAny {
        match (Manager::find(env, support, wish.is_root), wish.parent) {
            (Some(_), Some(parent)) if slice.is_none() && !support.is_usable() => {
                return Err(Error::invalid(format!(
                    "--cgroup-parent {parent} is not the name of a slice"
                ))
                .hint("the manager is systemd: e.g. `--cgroup-parent work.slice`"));
            }
            (Some(manager), _) => {
                support.controllers = manager.controllers();
                support.base = Some(manager.root.clone());
                let slice = slice.map(|s| s.rsplit('/').next().unwrap_or(s).to_owned());
                return Ok(Place::Scope(manager, slice));
            }
            (None, _) if by_name => {
                let option = if slice.is_some() {
                    "--cgroup-parent"
                } else {
                    "--cgroup-manager systemd"
                };
                return Err(Error::unsupported(format!(
                    "{option} cannot be applied: there is no systemd that manages your processes"
                ))
                .hint("log in by ssh or on a console, or use `--cgroup-manager cgroupfs`"));
            }
            (None, _) => {}
        }
    }
    match (wish.parent, &support.base) {
        (None, None) => Ok(Place::Nowhere),
        (None, Some(base)) => Ok(Place::Folder(base.join(OURS))),
        (Some(parent), base) => folder(support, parent, base.as_deref()),
    }
}

fn asked_by_name<'a>(wish: &Wish<'a>) -> Option<&'a str> {
    if wish.parent.is_some() {
        Some("--cgroup-parent")
    } else if wish.mode == Some("split") {
        Some("--cgroups=split")
    } else if wish.manager == CgroupManager::Systemd {
        Some("--cgroup-manager systemd")
    } else {
        None
    }
}

/// `--cgroup-parent /a/b` of the whole tree, `a/b` of ours.
fn folder(support: &Support, parent: &str, base: Option<&Path>) -> Result<Place> {
    if parent.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!(
            "--cgroup-parent {parent} must not have .."
        )));
    }
    let foreign = || {
        Error::unsupported(format!(
            "--cgroup-parent {parent} cannot be applied: that group is not delegated to you"
        ))
        .hint("name one below your own, or a slice: `--cgroup-parent work.slice`")
    };
    let path = match parent.strip_prefix('/') {
        Some(absolute) => support.mount.join(absolute),
        None => base.ok_or_else(foreign)?.join(parent),
    };
    let existing = path.ancestors().find(|p| p.is_dir());
    if existing.is_none_or(|p| !p.starts_with(&support.mount) || !is_writable(p)) {
        return Err(foreign());
    }
    Ok(Place::Folder(path))
}

fn split(support: &mut Support, wish: &Wish<'_>) -> Result<Place> {
    if let Some(parent) = wish.parent {
        return Err(Error::invalid(format!(
            "--cgroups=split and --cgroup-parent {parent} contradict each other"
        )));
    }
    let own = support.mount.join(support.own.trim_start_matches('/'));
    // A second container of the same unit finds itself where the first one put it.
    let own = match own.file_name() {
        Some(name) if name == super::group::SUPERVISOR => own.parent().unwrap_or(&own).to_owned(),
        _ => own,
    };
    if own == support.mount || !is_writable(&own) || !is_writable(&own.join("cgroup.procs")) {
        return Err(Error::unsupported(format!(
            "--cgroups=split cannot be applied: the group of this process ({}) is not delegated to you",
            support.own
        ))
        .hint("run it as the command of a unit with Delegate=yes"));
    }
    support.controllers = std::fs::read_to_string(own.join("cgroup.controllers"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    support.base = Some(own.clone());
    Ok(Place::Split(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    /// A tree with a user manager in it, seen from a login session.
    fn session(dir: &Path) -> (Support, Env) {
        let manager = dir.join("user.slice/user-1000.slice/user@1000.service");
        std::fs::create_dir_all(&manager).unwrap();
        std::fs::write(manager.join("cgroup.controllers"), "cpu memory\n").unwrap();
        let support = Support {
            version: Version::V2,
            mount: dir.to_owned(),
            own: "/user.slice/user-1000.slice/session-1.scope".to_owned(),
            ..Support::default()
        };
        (support, Env::fixed([("XDG_RUNTIME_DIR", "/run/user/1000")]))
    }

    fn wish() -> Wish<'static> {
        Wish {
            limits: true,
            ..Wish::default()
        }
    }

    #[test]
    fn a_session_gets_a_scope_only_for_what_needs_one() {
        let dir = tempfile::tempdir().unwrap();
        let (support, env) = session(dir.path());
        let choose = |wish: &Wish<'_>| {
            let mut support = support.clone();
            choose(&mut support, wish, &env).map(|place| (place, support))
        };
        let (place, after) = choose(&wish()).unwrap();
        assert!(matches!(place, Place::Scope(_, None)));
        assert_eq!(after.controllers, ["cpu", "memory"]);
        assert!(after.is_usable());
        assert_eq!(choose(&Wish::default()).unwrap().0, Place::Nowhere);
        let systemd_inside = Wish {
            wanted: true,
            ..Wish::default()
        };
        assert!(matches!(
            choose(&systemd_inside).unwrap().0,
            Place::Scope(..)
        ));
        let cgroupfs = Wish {
            manager: CgroupManager::Cgroupfs,
            ..wish()
        };
        let (place, after) = choose(&cgroupfs).unwrap();
        assert!(place == Place::Nowhere && !after.is_usable());
        let slice = Wish {
            parent: Some("work.slice"),
            ..Wish::default()
        };
        let (place, _) = choose(&slice).unwrap();
        assert!(matches!(place, Place::Scope(_, Some(slice)) if slice == "work.slice"));
        let contradictions = [
            Wish {
                manager: CgroupManager::Cgroupfs,
                ..slice
            },
            Wish {
                mode: Some("disabled"),
                ..wish()
            },
            Wish {
                parent: Some("/a/folder"),
                manager: CgroupManager::Systemd,
                ..Wish::default()
            },
            Wish {
                mode: Some("split"),
                ..slice
            },
        ];
        for wish in contradictions {
            assert_eq!(choose(&wish).unwrap_err().kind(), Kind::Invalid, "{wish:?}");
        }
    }

    #[test]
    fn a_tree_of_ones_own_needs_no_systemd() {
        let dir = tempfile::tempdir().unwrap();
        let (mut support, env) = session(dir.path());
        support.base = Some(dir.path().to_owned());
        let place = choose(&mut support, &wish(), &env).unwrap();
        assert_eq!(place, Place::Folder(dir.path().join(OURS)));
        let below = Wish {
            parent: Some("a/b"),
            ..wish()
        };
        let place = choose(&mut support, &below, &env).unwrap();
        assert_eq!(place, Place::Folder(dir.path().join("a/b")));
        let out = Wish {
            parent: Some("/a/../.."),
            ..wish()
        };
        assert!(choose(&mut support, &out, &env).is_err());
    }

    #[test]
    fn without_systemd_or_v2_what_is_asked_for_by_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let support = Support {
            version: Version::V2,
            mount: dir.path().to_owned(),
            own: "/x".to_owned(),
            ..Support::default()
        };
        let old = Support {
            version: Version::V1,
            ..Support::default()
        };
        let env = Env::fixed([("A", "b")]);
        let named = [
            Wish {
                manager: CgroupManager::Systemd,
                ..Wish::default()
            },
            Wish {
                parent: Some("a.slice"),
                ..Wish::default()
            },
        ];
        for wish in named {
            for support in [&support, &old] {
                let e = choose(&mut support.clone(), &wish, &env).unwrap_err();
                assert_eq!(e.kind(), Kind::Unsupported);
                assert!(!e.hints().is_empty());
            }
        }
        let any = Wish {
            manager: CgroupManager::SystemdIfAny,
            ..Wish::default()
        };
        for support in [&support, &old] {
            let place = choose(&mut support.clone(), &any, &env).unwrap();
            assert_eq!(place, Place::Nowhere);
        }
    }
}
