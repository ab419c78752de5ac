//! Devices as their vendors describe them (Container Device Interface): the name
//! `vendor.com/class=name` stands for nodes, mounts, variables and groups.
//!
//! Files are `*.json`, `*.yaml` and `*.yml` of `/etc/cdi` and `/var/run/cdi`, or of the folders
//! given instead; a later folder wins. A file that cannot be read is passed over, and named when a
//! device is not found. Two files of one folder that describe the same device make it unusable.
//!
//! Spec: CDI 1.0, SPEC.md. What a container gets is applied by `operations::container::launch`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::fs as files;
use crate::base::{Context as _, Error, Result};

/// Where specifications are when nobody says otherwise.
pub const DEFAULT_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A specification larger than this is a mistake.
const LIMIT: u64 = 4 << 20;

/// More files of one folder are not looked at.
const FILES: usize = 1000;

/// Who makes GPUs, in the order of asking.
const GPU_KINDS: [&str; 3] = ["nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu"];

/// What a container gets for its devices, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Edits {
    /// Variables, `KEY=VALUE`.
    pub env: Vec<String>,
    /// Nodes.
    pub device_nodes: Vec<DeviceNode>,
    /// Binds.
    pub mounts: Vec<Mount>,
    /// Groups of the process, as numbers inside.
    pub additional_gids: Vec<u32>,
    hooks: Vec<serde_json::Value>,
    net_devices: Vec<serde_json::Value>,
    intel_rdt: Option<serde_json::Value>,
}

/// A node of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceNode {
    /// Path inside.
    pub path: String,
    /// Path on the host; empty means the same.
    pub host_path: String,
}

/// A bind of a host path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mount {
    /// Path on the host.
    pub host_path: String,
    /// Path inside.
    pub container_path: String,
    /// `mount -o` words.
    pub options: Vec<String>,
    /// Empty or `bind`.
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    cdi_version: String,
    kind: String,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// Whether a text has the form `vendor/class=name`.
pub fn is_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else {
        return false;
    };
    let word = |text: &str, more: &str| {
        let mut chars = text.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
            && chars.all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    is_kind(kind) && word(name, "_-.:")
}

fn is_kind(kind: &str) -> bool {
    let word = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    kind.split_once('/')
        .is_some_and(|(vendor, class)| word(vendor, "_-.") && word(class, "_-"))
}

/// Everything that the files of some folders describe.
#[derive(Default)]
struct Registry {
    files: Vec<File>,
    /// `kind=name` -> file and device; `None` when two files of a folder claim it.
    devices: BTreeMap<String, Option<(usize, usize)>>,
    /// Why files were passed over.
    bad: Vec<String>,
}

impl Registry {
    fn read(dirs: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for dir in dirs {
            let Ok(entries) = std::fs::read_dir(dir) else {
                continue;
            };
            let mut paths: Vec<PathBuf> = entries
                .filter_map(|e| e.ok().map(|e| e.path()))
                .filter(|p| {
                    let ending = p.extension().and_then(|e| e.to_str());
                    matches!(ending, Some("json" | "yaml" | "yml"))
                })
                .collect();
            paths.sort();
            paths.truncate(FILES);
            // What this folder claims; it replaces what folders before it did.
            let mut own: BTreeMap<String, Option<(usize, usize)>> = BTreeMap::new();
            for path in paths {
                match parse(&path) {
                    Ok(file) => {
                        let at = registry.files.len();
                        for (index, device) in file.devices.iter().enumerate() {
                            own.entry(format!("{}={}", file.kind, device.name))
                                .and_modify(|claim| *claim = None)
                                .or_insert(Some((at, index)));
                        }
                        registry.files.push(file);
                    }
                    Err(e) => registry.bad.push(e.one_line()),
                }
            }
            registry.devices.extend(own);
        }
        registry
    }

    fn find(&self, name: &str) -> Result<(usize, usize)> {
        match self.devices.get(name) {
            Some(Some(found)) => Ok(*found),
            Some(None) => Err(Error::invalid(format!(
                "two CDI files of one folder describe the device {name:?}"
            ))),
            None => {
                let mut error = Error::not_found(format!("no CDI file describes {name:?}"));
                if !self.bad.is_empty() {
                    error = error.because(self.bad.join("; "));
                }
                let known: Vec<&str> = self.devices.keys().map(String::as_str).collect();
                Err(error.hint(match known.is_empty() {
                    true => format!(
                        "there are none in {}; for NVIDIA: nvidia-ctk cdi generate",
                        DEFAULT_DIRS.join(" and ")
                    ),
                    false => format!("known are {}", known.join(", ")),
                }))
            }
        }
    }
}

fn parse(path: &Path) -> Result<File> {
    let what = || format!("cannot use the CDI file {}", path.display());
    let bytes = files::read(path, LIMIT).what(what)?;
    let file: File = if path.extension().is_some_and(|e| e == "json") {
        serde_json::from_slice(&bytes).what(what)?
    } else {
        serde_yaml::from_slice(&bytes).what(what)?
    };
    let bad = |why: String| Err(Error::invalid(what()).because(why));
    let major = file.cdi_version.split('.').next();
    if !matches!(major, Some("0" | "1")) {
        return bad(format!("its version is {:?}", file.cdi_version));
    }
    if !is_kind(&file.kind) {
        return bad(format!("its kind {:?} is not vendor/class", file.kind));
    }
    for device in &file.devices {
        if !is_name(&format!("{}={}", file.kind, device.name)) {
            return bad(format!("{:?} is no name of a device", device.name));
        }
    }
    Ok(file)
}

/// What the named devices stand for. `gpus` are names without vendor: of the first vendor that
/// describes GPUs here.
///
/// # Errors
/// `NotFound` for a device that no file describes; `Invalid` for one that two describe or whose
/// description is no good; `Unsupported` for one that needs hooks or network devices.
pub fn resolve(dirs: &[PathBuf], names: &[String], gpus: &[String]) -> Result<Edits> {
    let registry = Registry::read(dirs);
    let mut names = names.to_vec();
    let kind = GPU_KINDS.iter().find(|kind| {
        let prefix = format!("{kind}=");
        registry.devices.keys().any(|d| d.starts_with(&prefix))
    });
    let kind = kind.unwrap_or(&GPU_KINDS[0]);
    names.extend(gpus.iter().map(|gpu| format!("{kind}={gpu}")));
    let mut all = Edits::default();
    let mut files = Vec::new();
    for name in &names {
        let (file, device) = registry.find(name)?;
        let what = || format!("cannot use the device {name:?}");
        let spec = &registry.files[file];
        // What the whole file asks for comes once, before its first device.
        if !files.contains(&file) {
            files.push(file);
            add(&mut all, &spec.container_edits).what(what)?;
        }
        add(&mut all, &spec.devices[device].container_edits).what(what)?;
    }
    Ok(all)
}

/// Checks and appends.
fn add(all: &mut Edits, edits: &Edits) -> Result<()> {
    let refuse = |why: &str| Err(Error::unsupported(format!("its CDI file {why}")));
    if !edits.hooks.is_empty() {
        return refuse(
            "asks for programs to be run on the host (hooks), which coracle does not do",
        );
    }
    if !edits.net_devices.is_empty() {
        return refuse("asks for network devices to be moved, which coracle does not do");
    }
    if edits.intel_rdt.is_some() {
        return refuse("asks for Intel RDT, which needs root on the host");
    }
    if let Some(mount) = edits
        .mounts
        .iter()
        .find(|m| !matches!(m.kind.as_str(), "" | "bind"))
    {
        return refuse(&format!("asks for a mount of type {:?}", mount.kind));
    }
    let bad = |what: &str, text: &str| {
        Err(Error::invalid(format!(
            "{text:?} of its CDI file is no {what}"
        )))
    };
    if let Some(entry) = edits
        .env
        .iter()
        .find(|e| e.contains('\0') || e.find('=').is_none_or(|at| at == 0))
    {
        return bad("KEY=VALUE", entry);
    }
    let paths = edits
        .mounts
        .iter()
        .flat_map(|m| [&m.host_path, &m.container_path])
        .chain(edits.device_nodes.iter().map(|d| &d.path))
        .chain(edits.device_nodes.iter().map(|d| &d.host_path))
        .filter(|p| !p.is_empty());
    for path in paths {
        if !path.starts_with('/') || path.contains('\0') {
            return bad("absolute path", path);
        }
    }
    all.env.extend(edits.env.iter().cloned());
    all.device_nodes.extend(edits.device_nodes.iter().cloned());
    all.mounts.extend(edits.mounts.iter().cloned());
    all.additional_gids.extend(&edits.additional_gids);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use std::fs;

    fn write(dir: &Path, name: &str, text: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(name), text).unwrap();
    }

    fn spec(kind: &str, device: &str, edits: &str) -> String {
        format!(
            r#"{{"cdiVersion":"0.6.0","kind":"{kind}","devices":[{{"name":"{device}","containerEdits":{edits}}}],
                "containerEdits":{{"env":["ALL={kind}"]}}}}"#
        )
    }

    #[test]
    fn names_have_a_vendor_a_class_and_a_device() {
        for good in [
            "nvidia.com/gpu=0",
            "v/c=all",
            "a-b.c/d_e=GPU-1:2.3",
            "vendor.com/net=eth0",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "", "/dev/x", "gpu=0", "v/=0", "/c=0", "v/c=", "v/c", "v/c=a/b", "1/c=0", "v/c.d=0",
            "v/c= ",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_device_brings_the_files_edits_once_and_its_own() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            "v.yaml",
            "cdiVersion: '0.5.0'\nkind: v.com/c\ncontainerEdits:\n  env: [ALL=1]\n  additionalGids: [7]\n\
             devices:\n- name: a\n  containerEdits:\n    env: [A=1]\n    deviceNodes:\n    - path: /dev/a\n      \
             hostPath: /dev/null\n      type: c\n      fileMode: 438\n    mounts:\n    - hostPath: /h\n      \
             containerPath: /c\n      options: [ro, nosuid]\n- name: b\n  containerEdits: {env: [B=1]}\n",
        );
        let dirs = [dir.path().to_owned()];
        let names = ["v.com/c=a", "v.com/c=b"].map(str::to_owned);
        let edits = resolve(&dirs, &names, &[]).unwrap();
        assert_eq!(edits.env, ["ALL=1", "A=1", "B=1"]);
        assert_eq!(edits.additional_gids, [7]);
        assert_eq!(edits.device_nodes[0].host_path, "/dev/null");
        assert_eq!(edits.mounts[0].options, ["ro", "nosuid"]);
    }

    #[test]
    fn later_folders_win_and_claims_within_one_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        write(
            &one,
            "a.json",
            &spec("v.com/c", "x", r#"{"env":["W=one"]}"#),
        );
        write(
            &two,
            "a.json",
            &spec("v.com/c", "x", r#"{"env":["W=two"]}"#),
        );
        write(&two, "bad.json", "{");
        write(
            &two,
            "odd.json",
            r#"{"cdiVersion":"9","kind":"v/c","devices":[]}"#,
        );
        write(&two, "ignored.txt", "{");
        write(&two, "amd.json", &spec("amd.com/gpu", "all", "{}"));
        let dirs = [one, two.clone()];
        let name = ["v.com/c=x".to_owned()];
        let edits = resolve(&dirs, &name, &["all".to_owned()]).unwrap();
        assert_eq!(edits.env, ["ALL=v.com/c", "W=two", "ALL=amd.com/gpu"]);
        let e = resolve(&dirs, &["v.com/c=y".to_owned()], &[]).unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound);
        let e = e.one_line();
        assert!(e.contains("bad.json") && e.contains("version"), "{e}");
        write(&two, "b.json", &spec("v.com/c", "x", "{}"));
        let e = resolve(&dirs, &name, &[]).unwrap_err();
        assert!(e.what().contains("two CDI files"), "{e}");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().to_owned()];
        for (edits, word) in [
            (
                r#"{"hooks":[{"hookName":"createContainer","path":"/x"}]}"#,
                "hooks",
            ),
            (
                r#"{"netDevices":[{"hostInterfaceName":"eth0"}]}"#,
                "network",
            ),
            (r#"{"intelRdt":{}}"#, "RDT"),
            (
                r#"{"mounts":[{"hostPath":"x","containerPath":"/c"}]}"#,
                "absolute",
            ),
            (
                r#"{"mounts":[{"hostPath":"/x","containerPath":"/c","type":"proc"}]}"#,
                "proc",
            ),
            (r#"{"env":["HOME"]}"#, "KEY=VALUE"),
            (r#"{"deviceNodes":[{"path":"dev"}]}"#, "absolute"),
        ] {
            write(dir.path(), "v.json", &spec("v.com/c", "x", edits));
            let e = resolve(&dirs, &["v.com/c=x".to_owned()], &[]).unwrap_err();
            assert!(e.one_line().contains(word), "{edits}: {e:?}");
        }
    }
}
