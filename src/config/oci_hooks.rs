//! The hook files of oci-hooks(5), as podman and CRI-O read them: which programs run around which
//! containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::fs as files;
use crate::base::{Error, Result};
use crate::spec::runtime::Hook;

/// Where hook files are unless other folders are given; a file of a later folder replaces one of
/// the same name.
const FOLDERS: [&str; 2] = [
    "/usr/share/containers/oci/hooks.d",
    "/etc/containers/oci/hooks.d",
];

/// A hook file is not larger.
const LIMIT: u64 = 1 << 20;

/// One hook file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HookFile {
    /// Version of the form: 1.0.0.
    pub version: String,
    /// The program.
    pub hook: Hook,
    /// For which containers.
    pub when: When,
    /// `prestart`, `createRuntime` and so on.
    pub stages: Vec<String>,
}

/// Conditions: all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct When {
    /// For all.
    pub always: Option<bool>,
    /// Regular expressions of keys and values: each must fit an annotation.
    pub annotations: BTreeMap<String, String>,
    /// Regular expressions of the command's first word: one must fit.
    pub commands: Vec<String>,
    /// For those with volumes or binds.
    pub has_bind_mounts: Option<bool>,
}

/// Reads the hook files of `folders`, or of the usual ones when there are none, by name.
///
/// # Errors
/// `NotFound` for a folder that was given and is not there; `Invalid` for a file that is none.
pub fn read(folders: &[PathBuf]) -> Result<Vec<HookFile>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let usual = FOLDERS.map(PathBuf::from);
    let all = if folders.is_empty() {
        &usual[..]
    } else {
        folders
    };
    for folder in all {
        let entries = match std::fs::read_dir(folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && folders.is_empty() => continue,
            Err(e) => {
                return Err(Error::not_found(format!(
                    "cannot read the hooks folder {}",
                    folder.display()
                ))
                .because(e));
            }
            Ok(entries) => entries,
        };
        for entry in entries.filter_map(std::result::Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                found.insert(name, entry.path());
            }
        }
    }
    found.values().map(|path| one(path)).collect()
}

fn one(path: &Path) -> Result<HookFile> {
    let bad = |why: &str| Error::invalid(format!("the hook file {} {why}", path.display()));
    let text = files::read(path, LIMIT)?;
    let file: HookFile =
        serde_json::from_slice(&text).map_err(|e| bad("is not valid").because(e))?;
    if file.version != "1.0.0" {
        return Err(bad(&format!(
            "has the version {:?}, not 1.0.0",
            file.version
        )));
    }
    if !file.hook.path.starts_with('/') {
        return Err(bad("names a program that is not an absolute path"));
    }
    if file.stages.is_empty() {
        return Err(bad("has no stages"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_folder_replaces_files_of_the_same_name() {
        let temp = tempfile::tempdir().unwrap();
        let folders = ["a", "b"].map(|f| temp.path().join(f));
        let text = |path: &str| {
            format!(
                r#"{{"version":"1.0.0","hook":{{"path":"{path}"}},"when":{{"always":true}},"stages":["poststop"]}}"#
            )
        };
        for (folder, names) in folders
            .iter()
            .zip([["1.json", "2.json"], ["2.json", "x.txt"]])
        {
            std::fs::create_dir(folder).unwrap();
            for name in names {
                let path = folder.join(name);
                std::fs::write(&path, text(path.to_str().unwrap())).unwrap();
            }
        }
        let read_all = read(&folders).unwrap();
        let paths: Vec<&str> = read_all.iter().map(|f| f.hook.path.as_str()).collect();
        let at = |f: usize, name: &str| folders[f].join(name).to_str().unwrap().to_owned();
        assert_eq!(paths, [at(0, "1.json"), at(1, "2.json")]);
        std::fs::write(folders[1].join("3.json"), text("relative")).unwrap();
        assert!(read(&folders).is_err());
        assert!(read(&[temp.path().join("none")]).is_err());
    }
}
