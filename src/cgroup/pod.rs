//! The group of a pod with limits, which its containers share.
//!
//! The container that holds the pod's namespaces makes it: `coracle-pod-<id>` where that container's
//! own group would be, or, where systemd makes a scope, that scope's `container`. Every container of
//! the pod has its group below. Monitors are outside: those of a unit stay in their unit, those of a
//! login session, from where nobody reaches that part of the tree, get a scope of their own first.
//!
//! Kernel: cgroup-v2.rst, "Delegation Containment".

use std::fs;
use std::path::{Path, PathBuf};

use super::group::{COUNTERS, Group, PREFIX, Who, scope_of, unit_stem};
use super::limits::Settings;
use super::manager::{CONTAINER, MONITOR, Manager};
use super::place::{OURS, Place};
use super::probe::{Support, is_writable};
use crate::base::{Context as _, Error, Result};
use crate::config::env::Env;

/// What the names of their groups begin with; the pod's id follows.
pub(super) const POD: &str = "coracle-pod-";

impl Place {
    /// The place of the container that holds a pod's namespaces, when the pod has limits: a group
    /// for all in the place that was chosen, and its own below.
    #[must_use]
    pub fn of_pod(self, id: &str) -> Self {
        match self {
            Self::Folder(_) | Self::Scope(..) => Self::Pod(Box::new(self), id.to_owned()),
            // There is none to make, which the check of the limits refuses.
            Self::Nowhere | Self::Split(_) | Self::Pod(..) | Self::Shared(..) => self,
        }
    }
}

impl Group {
    /// The group of a pod with its limits, and the first one below it.
    ///
    /// # Errors
    /// As [`Group::create`].
    pub(super) fn create_pod(
        place: &Place,
        id: &str,
        who: &Who<'_>,
        settings: &Settings,
    ) -> Result<Self> {
        let folder = match place {
            Place::Scope(manager, slice) => {
                let scope = scope_of(who, slice.as_ref());
                // After a kill it is there still when other containers of the pod run in it.
                drop(manager.attach(&scope.unit, MONITOR));
                manager.enter(&scope)?.join(CONTAINER)
            }
            Place::Folder(parent) => parent.join(format!("{POD}{id}")),
            _ => return Err(Error::internal("a pod's group in no place")),
        };
        let path = folder.join(unit_stem(who.id));
        // The lower one first: as long as it is there nobody removes the upper one.
        fs::create_dir_all(&path).what(|| format!("cannot make the cgroup {}", path.display()))?;
        let group = Self::at(&path)?;
        let limited = Self::at(&folder)
            .and_then(|pod| pod.apply_with(settings, &COUNTERS))
            .and_then(|()| group.apply_with(&Settings::default(), &COUNTERS));
        match limited {
            Ok(()) => Ok(group),
            Err(e) => {
                drop(group.remove());
                Err(e)
            }
        }
    }
}

/// A pod's group, from the one of the container that holds its namespaces.
pub fn of_holder(group: &str) -> Option<PathBuf> {
    let folder = Path::new(group).parent()?;
    let name = folder.file_name()?.to_str()?;
    (name.starts_with(POD) || name == CONTAINER).then(|| folder.to_owned())
}

/// The place of a container whose pod's group is `folder`.
///
/// # Errors
/// `Unsupported` where this process cannot have a child there.
pub fn below(folder: &Path, support: &Support, env: &Env, is_root: bool) -> Result<Place> {
    if reaches(support, folder) {
        return Ok(Place::Shared(folder.to_owned(), None));
    }
    match Manager::find(env, support, is_root) {
        Some(manager) => Ok(Place::Shared(folder.to_owned(), Some(manager))),
        None => Err(Error::unsupported(format!(
            "the limits of the pod cannot be applied: its control group {} is out of reach from {}",
            folder.display(),
            support.own
        ))
        .hint("start it where the pod was started")),
    }
}

/// Whether a process of this one's group may be born in that one.
pub(super) fn reaches(support: &Support, folder: &Path) -> bool {
    let own = support.mount.join(support.own.trim_start_matches('/'));
    let common = own.ancestors().find(|a| folder.starts_with(a));
    common.is_some_and(|c| is_writable(&c.join("cgroup.procs")))
}

/// Whether a folder is a pod's group beside other groups of ours: it goes with the last in it.
pub(super) fn is_pods(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|n| n.to_str());
    name.is_some_and(|n| n.starts_with(POD))
}

/// The name of a container's group below.
pub(super) fn is_ours(name: &std::ffi::OsStr) -> bool {
    name == OURS || name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_group_is_above_its_holders() {
        for (group, want) in [
            (
                "/c/coracle/coracle-pod-abc/coracle-1",
                Some("/c/coracle/coracle-pod-abc"),
            ),
            (
                "/c/coracle-1.scope/container/coracle-1",
                Some("/c/coracle-1.scope/container"),
            ),
            // A container without a pod's limits.
            ("/c/coracle/1", None),
            ("/c/coracle-1.scope/container", None),
        ] {
            assert_eq!(of_holder(group).as_deref(), want.map(Path::new), "{group}");
        }
    }

    #[test]
    fn who_cannot_reach_a_group_needs_a_manager() {
        let dir = tempfile::tempdir().unwrap();
        let pod = dir.path().join("user/coracle/coracle-pod-1");
        std::fs::create_dir_all(&pod).unwrap();
        std::fs::write(dir.path().join("user/cgroup.procs"), "").unwrap();
        let support = |own: &str| Support {
            mount: dir.path().to_owned(),
            own: own.to_owned(),
            ..Support::default()
        };
        let env = Env::fixed([("A", "b")]);
        let place = below(&pod, &support("/user/app/web.service"), &env, false).unwrap();
        assert_eq!(place, Place::Shared(pod.clone(), None));
        // Their common group is the root, which is not this user's.
        let e = below(&pod, &support("/session-1.scope"), &env, false).unwrap_err();
        assert_eq!(e.kind(), crate::base::Kind::Unsupported);
        assert!(!e.hints().is_empty());
    }
}
