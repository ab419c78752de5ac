//! `storage.conf`: where podman users keep their storage, and the driver they chose.
//!
//! Order, later wins: `/usr/share/containers/storage.conf`, `/etc/containers/storage.conf`, for a
//! plain user `~/.config/containers/storage.conf`; `$CONTAINERS_STORAGE_CONF` replaces all.
//!
//! coracle's layout differs from containers/storage. A place that is not the distribution's
//! default is therefore used with a folder of its own below it, `coracle`: it says which disk.
//!
//! Spec: containers-storage.conf(5).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::env::Env;
use super::tables::Layers;
use super::user::User;
use crate::base::Result;

/// What we use of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StorageConf {
    storage: Storage,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Storage {
    driver: Option<String>,
    graphroot: Option<PathBuf>,
    runroot: Option<PathBuf>,
    rootless_storage_path: Option<String>,
    transient_store: bool,
    #[serde(skip)]
    graphroot_is_the_users: bool,
    options: Options,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Options {
    additionalimagestores: Vec<String>,
    force_mask: Option<String>,
    pull_options: PullOptions,
    overlay: Overlay,
}

/// containers/storage has words here, not truth values; both are read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct PullOptions {
    enable_partial_images: Option<toml::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Overlay {
    force_mask: Option<String>,
}

impl StorageConf {
    /// `storage.driver`: `overlay`, `vfs`, …
    pub fn driver(&self) -> Option<&str> {
        self.storage.driver.as_deref().filter(|d| !d.is_empty())
    }

    /// `storage.options.additionalimagestores`: stores of others, to read images from.
    pub fn additional_stores(&self, user: &User, env: &Env) -> Vec<PathBuf> {
        let listed = self.storage.options.additionalimagestores.iter();
        listed
            .filter(|path| !path.is_empty())
            .map(|path| PathBuf::from(expand(path, user, env)))
            .collect()
    }

    /// `storage.options.pull_options.enable_partial_images`: whether of a layer only that is pulled
    /// which no other layer has. Yes, unless the file says `false`.
    pub fn partial_images(&self) -> bool {
        let value = &self.storage.options.pull_options.enable_partial_images;
        match value {
            Some(toml::Value::Boolean(value)) => *value,
            Some(toml::Value::String(word)) => word.trim() != "false",
            _ => true,
        }
    }

    /// `storage.transient_store`: containers do not outlive a boot.
    pub fn transient(&self) -> bool {
        self.storage.transient_store
    }

    /// `storage.options.force_mask`: `shared`, or a mode.
    pub fn force_mask(&self) -> Option<&str> {
        let options = &self.storage.options;
        let mask = options.force_mask.as_deref();
        mask.or(options.overlay.force_mask.as_deref())
            .filter(|mask| !mask.is_empty())
    }

    /// The folder of the persistent tree that the files ask for, if any.
    pub fn data(&self, user: &User, env: &Env) -> Option<PathBuf> {
        let storage = &self.storage;
        let graphroot = storage
            .graphroot
            .clone()
            .filter(|_| user.is_root || storage.graphroot_is_the_users);
        let path = if user.is_root || graphroot.is_some() {
            graphroot?
        } else {
            PathBuf::from(expand(storage.rootless_storage_path.as_deref()?, user, env))
        };
        own_folder(path, &["/var/lib/containers/storage"])
    }

    /// The folder of the volatile tree that the files ask for, if any.
    pub fn runtime(&self, user: &User) -> Option<PathBuf> {
        let path = self
            .storage
            .runroot
            .clone()
            .filter(|_| user.is_root || self.storage.graphroot_is_the_users)?;
        own_folder(
            path,
            &["/run/containers/storage", "/var/run/containers/storage"],
        )
    }
}

/// `coracle` below `path`, unless that is where distributions point to anyway.
fn own_folder(path: PathBuf, defaults: &[&str]) -> Option<PathBuf> {
    let is_default = defaults.iter().any(|d| Path::new(d) == path);
    (path.is_absolute() && !is_default).then(|| path.join("coracle"))
}

fn expand(text: &str, user: &User, env: &Env) -> String {
    text.replace("$HOME", &user.home.to_string_lossy())
        .replace("$UID", &user.uid.to_string())
        .replace(
            "$USER",
            &env.text("USER").unwrap_or_else(|| user.name.clone()),
        )
}

/// Reads the files below `system` (`/` but in tests): one failed `open` each when there are none.
///
/// # Errors
/// A file that cannot be read, is not TOML, or has a key of the wrong type; the file is named.
pub fn load_from(env: &Env, user: &User, system: &Path) -> Result<StorageConf> {
    let mut layers = Layers::default();
    let mut users = false;
    if let Some(path) = env.containers_storage_conf() {
        layers.add_named(&path, "CONTAINERS_STORAGE_CONF")?;
        users = true;
    } else {
        layers.add(&system.join("usr/share/containers/storage.conf"))?;
        layers.add(&system.join("etc/containers/storage.conf"))?;
        if !user.is_root {
            let own = env.config_home(&user.home).join("containers/storage.conf");
            let before = layers.files.len();
            layers.add(&own)?;
            users = layers.files.len() > before;
        }
    }
    if layers.files.is_empty() {
        return Ok(StorageConf::default());
    }
    let mut conf: StorageConf = layers.finish()?;
    conf.storage.graphroot_is_the_users = users;
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_places_that_somebody_chose_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path();
        fs::create_dir_all(system.join("etc/containers")).unwrap();
        fs::create_dir_all(system.join("home/.config/containers")).unwrap();
        let none: [(&str, &str); 0] = [];
        let env = Env::fixed(none);
        let user = |is_root| User {
            uid: 1000,
            gid: 1000,
            name: "dev".into(),
            home: system.join("home"),
            is_root,
        };
        let cases: &[(&str, &str, bool, Option<&str>)] = &[
            ("", "", false, None),
            ("graphroot='/var/lib/containers/storage'", "", true, None),
            ("graphroot='/big'", "", true, Some("/big/coracle")),
            ("graphroot='/big'", "", false, None),
            (
                "rootless_storage_path='/big/$USER/$UID'",
                "",
                false,
                Some("/big/dev/1000/coracle"),
            ),
            (
                "graphroot='/big'",
                "graphroot='/mine'",
                false,
                Some("/mine/coracle"),
            ),
        ];
        for (etc, own, is_root, expected) in cases {
            let head = "[storage]\ndriver='vfs'\n";
            fs::write(
                system.join("etc/containers/storage.conf"),
                format!("{head}{etc}\n"),
            )
            .unwrap();
            let own_path = system.join("home/.config/containers/storage.conf");
            drop(fs::remove_file(&own_path));
            if !own.is_empty() {
                fs::write(&own_path, format!("[storage]\n{own}\n")).unwrap();
            }
            let user = user(*is_root);
            let conf = load_from(&env, &user, system).unwrap();
            assert_eq!(conf.driver(), Some("vfs"));
            assert_eq!(
                conf.data(&user, &env),
                expected.map(PathBuf::from),
                "{etc} / {own}"
            );
        }
    }
}
