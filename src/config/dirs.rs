//! Where coracle keeps things.
//!
//! Data (persistent): `--root`, else `$CORACLE_ROOT`, else what `storage.conf` names, else
//! `$XDG_DATA_HOME/coracle`, else `~/.local/share/coracle`; for root `/var/lib/coracle`.
//! Runtime (volatile): `--runroot`, else `$CORACLE_RUNROOT`, else what `storage.conf` names, else
//! `$XDG_RUNTIME_DIR/coracle`, else `/run/user/<uid>/coracle` where that folder is ours, else a
//! checked private folder `/tmp/coracle-<uid>`; for root `/run/coracle`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::env::Env;
use super::storage_conf;
use super::user::User;
use crate::base::{Context as _, Error, Hint as _, Kind, Result};

/// The two trees and the folders below them. Paths only: nothing is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Persistent tree.
    pub data: PathBuf,
    /// Volatile tree.
    pub runtime: PathBuf,
    /// `--imagestore`: in place of `data/store`.
    images: Option<PathBuf>,
    /// `--volumepath`: in place of `data/volumes`.
    volumes: Option<PathBuf>,
    /// `--network-config-dir`: in place of `data/networks`.
    networks: Option<PathBuf>,
    /// Stores of others, to read images from: each holds `layers`, `images` and `names.json`.
    pub others: Vec<PathBuf>,
    /// What is stored here is for other users, too: owners are kept beside the files.
    pub shared: bool,
}

impl Dirs {
    /// The folders below two trees.
    pub fn new(data: PathBuf, runtime: PathBuf) -> Self {
        Self {
            data,
            runtime,
            images: None,
            volumes: None,
            networks: None,
            others: Vec::new(),
            shared: false,
        }
    }

    /// The same with images and volumes elsewhere, where a path is given.
    ///
    /// # Errors
    /// When a relative path cannot be made absolute.
    pub fn with(self, images: Option<&Path>, volumes: Option<&Path>) -> Result<Self> {
        Ok(Self {
            images: images.map(absolute).transpose()?.or(self.images),
            volumes: volumes.map(absolute).transpose()?.or(self.volumes),
            ..self
        })
    }

    /// The same with the records of networks elsewhere, where a path is given.
    ///
    /// # Errors
    /// When a relative path cannot be made absolute.
    pub fn with_networks(self, networks: Option<&Path>) -> Result<Self> {
        Ok(Self {
            networks: networks.map(absolute).transpose()?.or(self.networks),
            ..self
        })
    }

    /// The same with stores of others to read from, in the order of `roots`. A root is a persistent
    /// tree of coracle's, or its `store`. One that is not there is passed over: it may be a share
    /// that is not mounted now.
    ///
    /// # Errors
    /// When a relative path cannot be made absolute.
    pub fn with_others(mut self, roots: &[PathBuf], shared: bool) -> Result<Self> {
        for root in roots {
            let root = absolute(root)?;
            let below = root.join("store");
            let store = if below.is_dir() { below } else { root };
            if store != self.store() && store.join("layers").is_dir() {
                self.others.push(store);
            }
        }
        self.shared = shared;
        Ok(self)
    }

    /// `data/store`: blobs, layers, images, staging.
    pub fn store(&self) -> PathBuf {
        let own = || self.data.join("store");
        self.images.clone().unwrap_or_else(own)
    }
    /// `data/containers`: one folder a container.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }
    /// `data/names`: one symbolic link a container name, to its id.
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }
    /// `data/volumes`: one folder a volume.
    pub fn volumes(&self) -> PathBuf {
        let own = || self.data.join("volumes");
        self.volumes.clone().unwrap_or_else(own)
    }
    /// `data/networks`: one file a network.
    pub fn networks(&self) -> PathBuf {
        let own = || self.data.join("networks");
        self.networks.clone().unwrap_or_else(own)
    }
    /// `data/secrets`: one folder a secret.
    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets")
    }
    /// `data/services`: one folder a service.
    pub fn services(&self) -> PathBuf {
        self.data.join("services")
    }
    /// `data/pods`: one folder a pod.
    pub fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }
    /// `data/events`: the journal.
    pub fn events(&self) -> PathBuf {
        self.data.join("events")
    }
    /// `runtime/containers/<id>`: status and control socket.
    pub fn runtime_containers(&self) -> PathBuf {
        self.runtime.join("containers")
    }

    /// Finds both trees: overrides (`--root`, `--runroot`), environment, files, defaults.
    ///
    /// Makes nothing but the private folder in `/tmp`, which must be ours before it is named.
    ///
    /// # Errors
    /// `Denied` when somebody else made the folder in `/tmp`; what reading `storage.conf` says.
    pub fn resolve(
        root: Option<&Path>,
        runroot: Option<&Path>,
        env: &Env,
        user: &User,
    ) -> Result<Self> {
        Self::resolve_in(root, runroot, env, user, Path::new("/"))
    }

    fn resolve_in(
        root: Option<&Path>,
        runroot: Option<&Path>,
        env: &Env,
        user: &User,
        system: &Path,
    ) -> Result<Self> {
        let data = root.map(Path::to_owned).or_else(|| env.coracle_root());
        let runtime = runroot
            .map(Path::to_owned)
            .or_else(|| env.coracle_runroot());
        if let (Some(data), Some(runtime)) = (&data, &runtime) {
            return Ok(Self::new(absolute(data)?, absolute(runtime)?));
        }
        let conf = storage_conf::load_from(env, user, system)?;
        let data = match data.or_else(|| conf.data(user, env)) {
            Some(path) => absolute(&path)?,
            None if user.is_root => PathBuf::from("/var/lib/coracle"),
            None => env
                .xdg_data_home()
                .unwrap_or_else(|| user.home.join(".local/share"))
                .join("coracle"),
        };
        let runtime = match runtime.or_else(|| conf.runtime(user)) {
            Some(path) => absolute(&path)?,
            None if user.is_root => PathBuf::from("/run/coracle"),
            None => volatile(env, user, system)?,
        };
        Ok(Self::new(data, runtime))
    }
}

/// The caller's volatile tree.
fn volatile(env: &Env, user: &User, system: &Path) -> Result<PathBuf> {
    // After `su` the variable may still name somebody else's folder, and without a login session
    // systemd's folder may exist although nobody says so.
    let candidates = [
        env.xdg_runtime_dir(),
        Some(system.join(format!("run/user/{}", user.uid))),
    ];
    for path in candidates.into_iter().flatten() {
        if fs::metadata(&path).is_ok_and(|m| m.is_dir() && m.uid() == user.uid) {
            return Ok(path.join("coracle"));
        }
    }
    private_temp(&system.join(format!("tmp/coracle-{}", user.uid)), user.uid)
}

/// Makes or checks a folder in `/tmp`: ours, a real directory, closed to others. In a sticky
/// folder nobody can replace it afterwards.
fn private_temp(path: &Path, uid: u32) -> Result<PathBuf> {
    let what = || format!("cannot use {} for runtime files", path.display());
    let hint = || "set XDG_RUNTIME_DIR, or CORACLE_RUNROOT, to a folder of your own";
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(e).what(what).hint(hint);
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(path).what(what).hint(hint)?;
    let refused = if !meta.is_dir() {
        "it is not a directory".to_owned()
    } else if meta.uid() != uid {
        format!("it belongs to uid {}", meta.uid())
    } else if meta.mode() & 0o077 != 0 {
        format!("others have rights on it (mode {:o})", meta.mode() & 0o7777)
    } else {
        return Ok(path.to_owned());
    };
    Err(Error::new(Kind::Denied, what())
        .because(refused)
        .hint(hint()))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).what(|| format!("cannot use the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn user(is_root: bool, home: &Path) -> User {
        User {
            uid: rustix::process::geteuid().as_raw(),
            gid: 0,
            name: "me".into(),
            home: home.to_owned(),
            is_root,
        }
    }

    #[test]
    fn overrides_beat_variables_and_variables_beat_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        fs::create_dir(&run).unwrap();
        let me = user(false, Path::new("/home/me"));
        let env = Env::fixed([
            ("CORACLE_ROOT", "/r".to_owned()),
            ("CORACLE_RUNROOT", "/rr".to_owned()),
        ]);
        let xdg = Env::fixed([
            ("XDG_DATA_HOME", "/xdg".to_owned()),
            ("XDG_RUNTIME_DIR", run.display().to_string()),
        ]);
        let bare = Env::fixed([("XDG_RUNTIME_DIR", run.display().to_string())]);
        let resolve = |root: Option<&Path>, env: &Env, who: &User| {
            let d = Dirs::resolve_in(root, None, env, who, dir.path()).unwrap();
            (d.data, d.runtime)
        };
        let p = PathBuf::from;
        assert_eq!(resolve(None, &env, &me), (p("/r"), p("/rr")));
        assert_eq!(resolve(Some(Path::new("/o")), &env, &me).0, p("/o"));
        assert_eq!(
            resolve(None, &xdg, &me),
            (p("/xdg/coracle"), run.join("coracle"))
        );
        assert_eq!(
            resolve(None, &bare, &me).0,
            p("/home/me/.local/share/coracle")
        );
        let root = user(true, Path::new("/root"));
        assert_eq!(
            resolve(None, &xdg, &root),
            (p("/var/lib/coracle"), p("/run/coracle"))
        );
    }

    #[test]
    fn the_folder_in_tmp_must_be_ours_private_and_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let made = dir.path().join("made");
        assert_eq!(private_temp(&made, uid).unwrap(), made);
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        assert!(private_temp(&made, uid).is_ok());
        assert!(private_temp(&made, uid + 1).is_err());
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_temp(&made, uid).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        let e = private_temp(&link, uid).unwrap_err();
        assert_eq!(e.kind(), Kind::Denied);
        assert!(!e.hints().is_empty());
    }

    #[test]
    fn a_runtime_folder_of_somebody_else_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let mut me = user(false, Path::new("/home/me"));
        let env = Env::fixed([("XDG_RUNTIME_DIR", dir.path().to_owned())]);
        let d = Dirs::resolve_in(None, None, &env, &me, dir.path()).unwrap();
        assert_eq!(d.runtime, dir.path().join("coracle"));
        me.uid += 1;
        // It falls through to the folder in /tmp, which this process makes with its own uid.
        let e = Dirs::resolve_in(None, None, &env, &me, dir.path()).unwrap_err();
        assert!(e.what().contains("tmp/coracle-"), "{e:?}");
    }
}
