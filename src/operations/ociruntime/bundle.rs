//! A bundle's configuration: read, checked against the specification, paths made absolute.
//!
//! Spec: runtime-spec 1.3, bundle, config, config-linux.

use std::path::{Path, PathBuf};

use crate::base::fs as files;
use crate::base::{Context as _, Error, Result};
use crate::runtime::capabilities;
use crate::spec::runtime::{Capabilities, NamespaceKind, Process, Spec};
use crate::sys::caps;

/// A configuration is not larger.
const LIMIT: u64 = 8 << 20;

/// A bundle that was read.
#[derive(Debug)]
pub struct Bundle {
    /// Its folder, absolute.
    pub path: PathBuf,
    /// `config.json`, byte for byte.
    pub text: Vec<u8>,
    /// The same, read; mount sources are absolute.
    pub spec: Spec,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
}

/// Reads the bundle in a folder. `config`: crun's `--config`, another file than `config.json`.
///
/// # Errors
/// `NotFound`, `Invalid`.
pub fn read(folder: &Path, config: Option<&Path>) -> Result<Bundle> {
    let path = std::path::absolute(folder)
        .what(|| format!("cannot find the bundle {}", folder.display()))?;
    let file = path.join(config.unwrap_or(Path::new("config.json")));
    let text = files::read(&file, LIMIT)?;
    let mut spec: Spec = serde_json::from_slice(&text)
        .map_err(|e| Error::invalid(format!("{} is not valid", file.display())).because(e))?;
    let root = spec
        .root
        .as_ref()
        .ok_or_else(|| Error::invalid("the configuration has no root"))?;
    let rootfs = path.join(&root.path);
    if root.path.is_empty() || !rootfs.is_dir() {
        return Err(Error::not_found(format!(
            "the root file system {} is no directory",
            rootfs.display()
        )));
    }
    check(&spec)?;
    no_limit_of_old(&mut spec);
    let in_rootfs = rootfs.to_string_lossy().into_owned();
    if let Some(root) = spec.root.as_mut() {
        root.path = in_rootfs;
    }
    if let Some(process) = spec.process.as_mut() {
        settle(process);
    }
    warn_of_missing(&spec);
    for mount in &mut spec.mounts {
        let bind = mount.kind.as_deref() == Some("bind")
            || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if let Some(source) = mount
            .source
            .as_mut()
            .filter(|s| bind && !s.starts_with('/'))
        {
            *source = path.join(&*source).to_string_lossy().into_owned();
        }
    }
    Ok(Bundle {
        path,
        text,
        spec,
        rootfs,
    })
}

/// Warns of capabilities that this process does not have, so that the container cannot get them;
/// in a user namespace of its own it gets any.
///
/// Spec: config, "Linux Process".
fn warn_of_missing(spec: &Spec) {
    let user = |l: &crate::spec::runtime::Linux| {
        l.namespaces.iter().any(|n| n.kind == NamespaceKind::User)
    };
    if spec.linux.as_ref().is_some_and(user) {
        return;
    }
    let wanted = spec.process.as_ref().and_then(|p| p.capabilities.as_ref());
    let (Some(wanted), Ok(own)) = (wanted, caps::get()) else {
        return;
    };
    for name in &wanted.permitted {
        let had = capabilities::number(name).is_some_and(|n| own.permitted & (1 << n) != 0);
        if !had {
            log::warn!("the capability {name} cannot be given: the caller does not have it");
        }
    }
}

/// Drops what no kernel and no process of ours can have: capabilities that this kernel does not
/// know, which the specification wants warned of and left out.
pub fn settle(process: &mut Process) {
    if let Some(capabilities) = process.capabilities.as_mut() {
        let Capabilities {
            bounding,
            effective,
            inheritable,
            permitted,
            ambient,
        } = capabilities;
        for set in [bounding, effective, inheritable, permitted, ambient] {
            set.retain(|name| {
                let known = capabilities::number(name).is_some();
                if !known {
                    log::warn!("the capability {name} is not known here and left out");
                }
                known
            });
        }
    }
    process.env.retain(|entry| {
        let good = entry.find('=').is_some_and(|at| at > 0);
        if !good {
            log::warn!("the environment entry {entry:?} is not KEY=VALUE and left out");
        }
        good
    });
}

fn check(spec: &Spec) -> Result<()> {
    check_version(&spec.oci_version)?;
    if let Some(process) = &spec.process {
        check_process(process)?;
    }
    for key in spec.annotations.keys() {
        if key.is_empty() {
            return Err(Error::invalid("an annotation without a key"));
        }
    }
    for mount in &spec.mounts {
        if mount.destination.is_empty() {
            return Err(Error::invalid("a mount without a destination"));
        }
        if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
            return Err(Error::invalid(format!(
                "the mount {} has uidMappings or gidMappings, but not both",
                mount.destination
            )));
        }
    }
    let Some(linux) = &spec.linux else {
        return Ok(());
    };
    for paths in [&linux.masked_paths, &linux.readonly_paths] {
        if let Some(path) = paths.iter().find(|p| !p.starts_with('/')) {
            return Err(Error::invalid(format!(
                "the masked or read-only path {path:?} is not absolute"
            )));
        }
    }
    for ns in &linux.namespaces {
        if let Some(path) = ns
            .path
            .as_deref()
            .filter(|p| !p.is_empty() && !p.starts_with('/'))
        {
            return Err(Error::invalid(format!(
                "the namespace path {path:?} is not absolute"
            )));
        }
    }
    match linux.rootfs_propagation.as_deref() {
        None
        | Some(
            "" | "shared" | "slave" | "private" | "unbindable" | "rshared" | "rslave" | "rprivate"
            | "runbindable",
        ) => {}
        Some(other) => {
            return Err(Error::invalid(format!(
                "unknown rootfsPropagation {other:?}"
            )));
        }
    }
    linux.intel_rdt.as_ref().map_or(Ok(()), super::rdt::check)
}

/// Before 1.3 the limit of processes was a number that is always there, and 0 meant none: engines of
/// that time write it.
fn no_limit_of_old(spec: &mut Spec) {
    let minor = spec.oci_version.split('.').nth(1);
    let old = minor.is_some_and(|m| m.parse().is_ok_and(|m: u32| m < 3));
    let resources = spec.linux.as_mut().and_then(|l| l.resources.as_mut());
    if let Some(pids) = resources.and_then(|r| r.pids.as_mut())
        && old
        && pids.limit == Some(0)
    {
        pids.limit = None;
    }
}

fn check_version(version: &str) -> Result<()> {
    let bad = || Error::invalid(format!("ociVersion {version:?} is not a version as 1.2.0"));
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(str::parse::<u32>);
    match (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) {
        (Some(Ok(1)), Some(Ok(_)), Some(Ok(_)), None) => Ok(()),
        (Some(Ok(_)), Some(Ok(_)), Some(Ok(_)), None) => Err(Error::unsupported(format!(
            "ociVersion {version} is not supported: this runtime knows 1.x"
        ))),
        _ => Err(bad()),
    }
}

/// Checks a process, of a configuration or for `exec`.
///
/// # Errors
/// `Invalid`.
pub fn check_process(process: &Process) -> Result<()> {
    if process.args.is_empty() {
        return Err(Error::invalid("process.args must not be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::invalid(format!(
            "process.cwd must be an absolute path, not {:?}",
            process.cwd
        )));
    }
    if let Some(score) = process.oom_score_adj
        && !(-1000..=1000).contains(&score)
    {
        return Err(Error::invalid(format!(
            "process.oomScoreAdj {score} is not between -1000 and 1000"
        )));
    }
    for (at, limit) in process.rlimits.iter().enumerate() {
        if process
            .rlimits
            .iter()
            .take(at)
            .any(|other| other.kind == limit.kind)
        {
            return Err(Error::invalid(format!(
                "process.rlimits has {} twice",
                limit.kind
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_first_major_one_pass() {
        for (version, good) in [
            ("1.0.0", true),
            ("1.2.1-rc.1+x", true),
            ("1.3.0", true),
            ("2.0.0", false),
            ("0.5.0", false),
            ("1.0", false),
            ("", false),
        ] {
            assert_eq!(check_version(version).is_ok(), good, "{version:?}");
        }
    }

    #[test]
    fn before_1_3_no_limit_of_processes_was_written_as_0() {
        for (version, limit) in [("1.0.2-dev", None), ("1.2.0", None), ("1.3.0", Some(0))] {
            let mut spec: Spec = serde_json::from_value(serde_json::json!({
                "ociVersion": version,
                "linux": {"resources": {"pids": {"limit": 0}}}
            }))
            .unwrap();
            no_limit_of_old(&mut spec);
            let resources = spec.linux.unwrap().resources.unwrap();
            assert_eq!(resources.pids.unwrap().limit, limit, "{version}");
        }
    }
}
