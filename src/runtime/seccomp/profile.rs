//! Profile files: the runtime specification's `seccomp`, and what Docker and podman add to it
//! (`archMap`, `includes`, `excludes`, `defaultErrno`, one `name` in place of `names`).
//!
//! A profile is the user's own file, but it is often copied from elsewhere: its size is bounded,
//! and a word that is not known is an error, never passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::compile::Machine;
use crate::base::{Context as _, Error, Result};
use crate::spec::runtime::{Seccomp, SeccompArg, SeccompRule};

/// What decides about conditional rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    /// The bounding set, `CAP_...`.
    pub caps: &'a [String],
    pub machine: Machine,
    /// The kernel's version, for `minKernel`.
    pub kernel: (u32, u32),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    default_errno: Option<String>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<Option<SeccompArg>>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Reads a profile and leaves the rules that apply in this situation.
///
/// # Errors
/// `Invalid` for anything that is not a profile.
pub(super) fn parse(text: &[u8], situation: &Situation<'_>) -> Result<Seccomp> {
    let file: File = serde_json::from_slice(text).what(|| "the file is no seccomp profile")?;
    if let Some(key) = file
        .rest
        .keys()
        .find(|k| !k.starts_with("//") && *k != "comment")
    {
        return Err(Error::invalid(format!(
            "unknown key {key:?} in the seccomp profile"
        )));
    }
    if file.default_action.is_empty() {
        return Err(Error::invalid("the seccomp profile has no defaultAction"));
    }
    if file.listener_path.is_some_and(|p| !p.is_empty()) {
        return Err(Error::unsupported(
            "the seccomp profile names an agent (listenerPath), which coracle does not talk to",
        ));
    }
    let mut architectures = file.architectures.unwrap_or_default();
    for map in file.arch_map.unwrap_or_default() {
        if map.architecture == situation.machine.native() {
            architectures.push(map.architecture);
            architectures.extend(map.sub_architectures.unwrap_or_default());
        }
    }
    let mut syscalls = Vec::new();
    for rule in file.syscalls.unwrap_or_default() {
        let included = match &rule.includes {
            Some(filter) => situation.fits(filter)?,
            None => true,
        };
        let excluded = match &rule.excludes {
            Some(filter) => situation.touches(filter)?,
            None => false,
        };
        if !included || excluded {
            continue;
        }
        let mut names = rule.names.unwrap_or_default();
        names.extend(rule.name.filter(|n| !n.is_empty()));
        syscalls.push(SeccompRule {
            names,
            action: rule.action,
            errno_ret: errno(rule.errno_ret, rule.errno.as_deref())?,
            args: rule
                .args
                .unwrap_or_default()
                .into_iter()
                .flatten()
                .collect(),
        });
    }
    Ok(Seccomp {
        default_action: file.default_action,
        default_errno_ret: errno(file.default_errno_ret, file.default_errno.as_deref())?,
        architectures,
        flags: file.flags.unwrap_or_default(),
        syscalls,
        ..Seccomp::default()
    })
}

impl Situation<'_> {
    /// `includes`: every list that is given must fit.
    fn fits(&self, filter: &Filter) -> Result<bool> {
        let kernel = match filter.min_kernel.as_deref().filter(|v| !v.is_empty()) {
            Some(least) => self.kernel >= version(least)?,
            None => true,
        };
        let listed = |list: &Option<Vec<String>>| list.as_ref().filter(|l| !l.is_empty()).cloned();
        let caps = listed(&filter.caps).is_none_or(|l| l.iter().all(|c| self.caps.contains(c)));
        let arches =
            listed(&filter.arches).is_none_or(|l| l.iter().any(|a| a == self.machine.go()));
        Ok(kernel && caps && arches)
    }

    /// `excludes`: one hit is enough.
    fn touches(&self, filter: &Filter) -> Result<bool> {
        let kernel = match filter.min_kernel.as_deref().filter(|v| !v.is_empty()) {
            Some(least) => self.kernel >= version(least)?,
            None => false,
        };
        let caps = filter.caps.iter().flatten().any(|c| self.caps.contains(c));
        let arches = filter
            .arches
            .iter()
            .flatten()
            .any(|a| a == self.machine.go());
        Ok(kernel || caps || arches)
    }
}

/// `4.8` and longer forms.
pub(super) fn version(text: &str) -> Result<(u32, u32)> {
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(Error::invalid(format!("invalid kernel version {text:?}"))),
    }
}

/// Names that profiles use.
const ERRNOS: [(&str, i32); 12] = [
    ("EPERM", libc::EPERM),
    ("ENOENT", libc::ENOENT),
    ("EIO", libc::EIO),
    ("EAGAIN", libc::EAGAIN),
    ("ENOMEM", libc::ENOMEM),
    ("EACCES", libc::EACCES),
    ("ENODEV", libc::ENODEV),
    ("EINVAL", libc::EINVAL),
    ("ENOSYS", libc::ENOSYS),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("ENOTSUP", libc::ENOTSUP),
    ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
];

/// The number, where one is given; else the one that the name stands for.
fn errno(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>> {
    match (number, name) {
        (Some(number), _) => Ok(Some(number)),
        (None, None | Some("")) => Ok(None),
        (None, Some(name)) => {
            let found = ERRNOS.iter().find(|(n, _)| *n == name);
            let number = found.map(|(_, n)| *n).and_then(|n| u32::try_from(n).ok());
            number.map(Some).ok_or_else(|| {
                Error::invalid(format!("unknown errno {name:?} in the seccomp profile"))
                    .hint("give its number as errnoRet")
            })
        }
    }
}
