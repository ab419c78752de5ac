//! What the host has and what of it is ours.

use std::path::{Path, PathBuf};

use crate::base::fs as files;

/// The kernel's files are shorter; hosts with thousands of mounts have the longest.
const LIMIT: u64 = 16 << 20;

/// The layout of `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// None is mounted.
    #[default]
    None,
    /// The old one alone.
    V1,
    /// The old one with an empty new one beside it: no controllers in the new one.
    Hybrid,
    /// The new one.
    V2,
}

/// What can be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// The layout.
    pub version: Version,
    /// Where the new hierarchy is mounted.
    pub mount: PathBuf,
    /// Our own group in it, `/` first.
    pub own: String,
    /// The folder below which containers get groups; absent when no group on our way is writable.
    pub base: Option<PathBuf>,
    /// The controllers that groups below `base` can have.
    pub controllers: Vec<String>,
    /// Controllers that the host has, delegated or not.
    pub host_controllers: Vec<String>,
}

impl Support {
    /// Whether groups can be made.
    pub fn is_usable(&self) -> bool {
        self.base.is_some()
    }

    /// Whether groups can have that controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// Looks at this process's place. Writes nothing.
pub fn probe() -> Support {
    let layout = usual_layout().unwrap_or_else(|| layout(&read(Path::new("/proc/self/mountinfo"))));
    probe_with(
        layout,
        &read(Path::new("/proc/self/cgroup")),
        &is_writable,
        &read,
    )
}

/// The same as if this process were in that group: what can be done for a container that runs.
pub fn probe_at(group: &Path) -> Support {
    let mut support = probe();
    if let Ok(below) = group.strip_prefix(&support.mount) {
        let own = format!("0::/{}\n", below.display());
        let layout = (support.version, Some(support.mount.clone()));
        support = probe_with(layout, &own, &is_writable, &read);
    }
    support
}

/// A file of the kernel's, whose size nobody knows, in one piece; empty when it cannot be read.
fn read(path: &Path) -> String {
    files::read(path, LIMIT).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// Where systemd mounts them, told by the file systems there: every start asks, and the list of all
/// mounts can be long.
fn usual_layout() -> Option<(Version, Option<PathBuf>)> {
    const ROOT: &str = "/sys/fs/cgroup";
    const BESIDE: &str = "/sys/fs/cgroup/unified";
    let is_cgroup2 =
        |path: &str| Some(rustix::fs::statfs(path).ok()?.f_type == libc::CGROUP2_SUPER_MAGIC);
    if is_cgroup2(ROOT)? {
        return Some((Version::V2, Some(PathBuf::from(ROOT))));
    }
    if is_cgroup2(BESIDE)? {
        return Some((Version::Hybrid, Some(PathBuf::from(BESIDE))));
    }
    None
}

/// Whether the caller may change a folder's entries, or a file.
pub(super) fn is_writable(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD};
    rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn probe_with(
    (version, mount): (Version, Option<PathBuf>),
    own: &str,
    is_writable: &dyn Fn(&Path) -> bool,
    read: &dyn Fn(&Path) -> String,
) -> Support {
    let own = own
        .lines()
        .find_map(|l| l.strip_prefix("0::"))
        .unwrap_or("/")
        .to_owned();
    let mut support = Support {
        version,
        own,
        ..Support::default()
    };
    let Some(mount) = mount else {
        return support;
    };
    let words = |path: PathBuf| -> Vec<String> {
        read(&path)
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect()
    };
    support.host_controllers = words(mount.join("cgroup.controllers"));
    // A group outside our cgroup namespace shows as "/../..": not on our way.
    let own_path = support.own.trim_start_matches('/');
    if !own_path.split('/').any(|w| w == "..") {
        let start = mount.join(own_path);
        // The kernel asks for the right to write cgroup.procs of the common ancestor, so the
        // highest writable one serves every group below it.
        support.base = start
            .ancestors()
            .take_while(|p| p.starts_with(&mount))
            .take_while(|p| is_writable(p) && is_writable(&p.join("cgroup.procs")))
            .last()
            .map(Path::to_owned);
    }
    if let Some(base) = &support.base {
        let is_root = *base == mount && !read(&base.join("cgroup.type")).contains("domain");
        let is_own = *base == mount.join(own_path);
        let available = words(base.join("cgroup.controllers"));
        let enabled = words(base.join("cgroup.subtree_control"));
        // A group with processes of its own cannot hand controllers down, but the root can.
        support.controllers = if is_root || !is_own {
            available
        } else {
            enabled
        };
    }
    support.mount = mount;
    support
}

fn layout(mountinfo: &str) -> (Version, Option<PathBuf>) {
    let mut v1 = false;
    let mut v2 = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let path = left.split(' ').nth(4).unwrap_or_default();
        match right.split(' ').next() {
            Some("cgroup") => v1 = true,
            Some("cgroup2") if v2.is_none() && path.starts_with("/sys/fs/cgroup") => {
                v2 = Some(PathBuf::from(path));
            }
            _ => {}
        }
    }
    let version = match (v1, &v2) {
        (false, None) => Version::None,
        (true, None) => Version::V1,
        (true, Some(_)) => Version::Hybrid,
        (false, Some(_)) => Version::V2,
    };
    (version, v2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn run(mountinfo: &str, own: &str, writable: &str) -> Support {
        let writable = writable.to_owned();
        probe_with(
            layout(mountinfo),
            own,
            &move |p| !writable.is_empty() && p.to_string_lossy().starts_with(&writable),
            &|p| match p.file_name().and_then(|n| n.to_str()) {
                Some("cgroup.controllers") => "cpu memory pids\n".into(),
                Some("cgroup.subtree_control") => "pids\n".into(),
                Some("cgroup.type") if p.parent() != Some(Path::new("/sys/fs/cgroup")) => {
                    "domain\n".into()
                }
                _ => String::new(),
            },
        )
    }

    #[test]
    fn the_highest_writable_group_on_our_way_is_the_base() {
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n";
        let base = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
        let s = run(UNIFIED, user, base);
        assert_eq!(s.base.as_deref(), Some(Path::new(base)));
        assert!(s.has("memory"));
        let s = run(
            UNIFIED,
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            base,
        );
        assert!(!s.is_usable() && s.version == Version::V2);
        let s = run(
            UNIFIED,
            "0::/system.slice/ci.service\n",
            "/sys/fs/cgroup/system.slice/ci.service",
        );
        assert_eq!(s.controllers, ["pids"], "it has processes of its own");
        let s = run(UNIFIED, "0::/init.scope\n", "/sys/fs/cgroup");
        assert_eq!(s.base.as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert!(s.has("cpu"));
        assert!(!run(UNIFIED, "0::/../../x\n", "/sys/fs/cgroup").is_usable());
    }

    #[test]
    fn old_layouts_are_recognized() {
        let s = run(HYBRID, "4:memory:/x\n0::/\n", "/sys/fs/cgroup");
        assert_eq!(s.version, Version::Hybrid);
        assert_eq!(s.mount, Path::new("/sys/fs/cgroup/unified"));
        let v1 = "31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(run(v1, "4:memory:/x\n", "").version, Version::V1);
        assert_eq!(run("", "", "").version, Version::None);
    }
}
