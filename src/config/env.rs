//! The only reader of environment variables.
//!
//! Everything else receives an [`Env`], so that a test can say what the environment is. Values
//! that are not UTF-8 are read lossily where text is wanted, and kept as they are where a path is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An environment: that of this process, or a fixed one.
#[derive(Clone, Debug, Default)]
pub struct Env {
    fixed: Option<BTreeMap<OsString, OsString>>,
    /// What holds where a variable is not set at all.
    defaults: BTreeMap<OsString, OsString>,
}

impl Env {
    /// This process's.
    pub fn process() -> Self {
        Self::default()
    }

    /// One that holds just these variables.
    pub fn fixed<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            fixed: Some(
                variables
                    .into_iter()
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect(),
            ),
            ..Self::default()
        }
    }

    /// The same, with variables for where they are not set: `env` in `[engine]` of containers.conf.
    #[must_use]
    pub fn with_defaults(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let words = variables.into_iter();
        self.defaults
            .extend(words.map(|(k, v)| (k.into(), v.into())));
        self
    }

    fn get(&self, name: &str) -> Option<OsString> {
        let name = std::ffi::OsStr::new(name);
        let value = match &self.fixed {
            Some(map) => map.get(name).cloned(),
            None => std::env::var_os(name),
        };
        value.or_else(|| self.defaults.get(name).cloned())
    }

    /// A variable as it is; an empty one counts as absent.
    pub fn raw(&self, name: &str) -> Option<OsString> {
        self.get(name).filter(|v| !v.is_empty())
    }

    /// A variable as text; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(|v| v.to_string_lossy().into_owned())
    }

    /// A variable as an absolute path; relative values are ignored, as the XDG rules say.
    pub fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    }

    /// A variable as a switch: set and not one of `0`, `false`, `no`, `off`.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|v| {
            !matches!(
                v.to_ascii_lowercase().as_str(),
                "0" | "false" | "no" | "off"
            )
        })
    }

    /// Every variable, as text, in the order of the environment (`--env-host`, `-e NAME*`).
    pub fn all(&self) -> Vec<(String, String)> {
        let lossy = |(k, v): (OsString, OsString)| {
            (
                k.to_string_lossy().into_owned(),
                v.to_string_lossy().into_owned(),
            )
        };
        let owned = |(k, v): (&OsString, &OsString)| (k.clone(), v.clone());
        let mut all: Vec<(OsString, OsString)> = match &self.fixed {
            Some(map) => map.iter().map(owned).collect(),
            None => std::env::vars_os().collect(),
        };
        for (name, value) in &self.defaults {
            if !all.iter().any(|(n, _)| n == name) {
                all.push((name.clone(), value.clone()));
            }
        }
        all.into_iter().map(lossy).collect()
    }

    /// A variable that may be empty: `-e NAME` hands on even that.
    pub fn exact(&self, name: &str) -> Option<String> {
        self.get(name).map(|v| v.to_string_lossy().into_owned())
    }

    /// `HOME`, when absolute. The account's home is in [`super::user`].
    pub fn home(&self) -> Option<PathBuf> {
        self.absolute_path("HOME")
    }

    /// `CORACLE_ROOT`.
    pub fn coracle_root(&self) -> Option<PathBuf> {
        self.raw("CORACLE_ROOT").map(PathBuf::from)
    }

    /// `CORACLE_RUNROOT`.
    pub fn coracle_runroot(&self) -> Option<PathBuf> {
        self.raw("CORACLE_RUNROOT").map(PathBuf::from)
    }

    /// `CORACLE_STORAGE_DRIVER`, else podman's `STORAGE_DRIVER`.
    pub fn storage_driver(&self) -> Option<String> {
        self.text("CORACLE_STORAGE_DRIVER")
            .or_else(|| self.text("STORAGE_DRIVER"))
    }

    /// `STORAGE_OPTS`: `--storage-opt` of who gives none, separated by commas.
    pub fn storage_opts(&self) -> Vec<String> {
        let text = self.text("STORAGE_OPTS").unwrap_or_default();
        let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
        words.map(str::to_owned).collect()
    }

    /// Where the systemd journal listens; with failpoints built in, where `CORACLE_JOURNAL` says: for
    /// tests.
    pub fn journal_socket(&self) -> PathBuf {
        let given = match cfg!(debug_assertions) {
            true => self.absolute_path("CORACLE_JOURNAL"),
            false => None,
        };
        given.unwrap_or_else(|| PathBuf::from(crate::base::journald::SOCKET))
    }

    /// How often systemd's watchdog wants to hear of the process `pid`: `WATCHDOG_USEC`, unless
    /// `WATCHDOG_PID` names another one.
    ///
    /// Spec: sd_watchdog_enabled(3).
    pub fn watchdog(&self, pid: u32) -> Option<Duration> {
        let whose = self.text("WATCHDOG_PID").map(|p| p.parse::<u32>());
        if matches!(whose, Some(Ok(other)) if other != pid) {
            return None;
        }
        let usec: u64 = self.text("WATCHDOG_USEC")?.parse().ok()?;
        (usec > 0).then(|| Duration::from_micros(usec))
    }

    /// `PODMAN_USERNS`: the `--userns` of who gives none.
    pub fn podman_userns(&self) -> Option<String> {
        self.text("PODMAN_USERNS")
    }

    /// `XDG_DATA_HOME`.
    pub fn xdg_data_home(&self) -> Option<PathBuf> {
        self.absolute_path("XDG_DATA_HOME")
    }

    /// `XDG_CONFIG_HOME`, else `~/.config`.
    pub fn config_home(&self, home: &Path) -> PathBuf {
        self.absolute_path("XDG_CONFIG_HOME")
            .unwrap_or_else(|| home.join(".config"))
    }

    /// `XDG_RUNTIME_DIR`.
    pub fn xdg_runtime_dir(&self) -> Option<PathBuf> {
        self.absolute_path("XDG_RUNTIME_DIR")
    }

    /// `CONTAINERS_CONF`: the one file to read in place of the usual ones.
    pub fn containers_conf(&self) -> Option<PathBuf> {
        self.raw("CONTAINERS_CONF").map(PathBuf::from)
    }

    /// `CONTAINERS_CONF_OVERRIDE`: a file read after all others.
    pub fn containers_conf_override(&self) -> Option<PathBuf> {
        self.raw("CONTAINERS_CONF_OVERRIDE").map(PathBuf::from)
    }

    /// `CONTAINERS_STORAGE_CONF`.
    pub fn containers_storage_conf(&self) -> Option<PathBuf> {
        self.raw("CONTAINERS_STORAGE_CONF").map(PathBuf::from)
    }

    /// `CONTAINERS_REGISTRIES_CONF`, else the older `REGISTRIES_CONFIG_PATH`.
    pub fn registries_conf(&self) -> Option<PathBuf> {
        self.raw("CONTAINERS_REGISTRIES_CONF")
            .or_else(|| self.raw("REGISTRIES_CONFIG_PATH"))
            .map(PathBuf::from)
    }

    /// `REGISTRY_AUTH_FILE`.
    pub fn registry_auth_file(&self) -> Option<PathBuf> {
        self.raw("REGISTRY_AUTH_FILE").map(PathBuf::from)
    }

    /// `DOCKER_CONFIG`: the folder of docker's `config.json`.
    pub fn docker_config(&self) -> Option<PathBuf> {
        self.raw("DOCKER_CONFIG").map(PathBuf::from)
    }

    /// `PATH`, split.
    pub fn path(&self) -> Vec<PathBuf> {
        let path = self
            .raw("PATH")
            .unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        std::env::split_paths(&path).collect()
    }

    /// The first executable file named `program` in `PATH` and the system folders that a plain
    /// user's `PATH` often lacks. An absolute name stands for itself.
    pub fn find_program(&self, program: &str) -> Option<PathBuf> {
        if program.starts_with('/') {
            return Some(PathBuf::from(program)).filter(|p| is_program(p));
        }
        let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
        self.path()
            .into_iter()
            // An empty word means the current folder: never look for helpers there.
            .filter(|p| p.is_absolute())
            .chain(extra.iter().map(PathBuf::from))
            .map(|dir| dir.join(program))
            .find(|p| is_program(p))
    }

    /// The proxy variables that are set, for `--http-proxy` and our own downloads: name and value.
    pub fn proxies(&self) -> Vec<(String, String)> {
        [
            "http_proxy",
            "https_proxy",
            "ftp_proxy",
            "no_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "FTP_PROXY",
            "NO_PROXY",
            "ALL_PROXY",
        ]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), self.text(name)?)))
        .collect()
    }

    /// Whether colour is unwanted: `NO_COLOR` set, or `TERM=dumb`.
    pub fn no_color(&self) -> bool {
        self.raw("NO_COLOR").is_some() || self.text("TERM").as_deref() == Some("dumb")
    }

    /// `TMPDIR`, else `/var/tmp`: room for large temporary files.
    pub fn big_temp(&self) -> PathBuf {
        self.absolute_path("TMPDIR")
            .unwrap_or_else(|| PathBuf::from("/var/tmp"))
    }

    /// How many descriptors systemd passes from number 3 on, if they are for process `pid`.
    pub fn listen_fds(&self, pid: u32) -> u32 {
        let is_ours = self.text("LISTEN_PID").and_then(|v| v.parse().ok()) == Some(pid);
        match self.text("LISTEN_FDS").and_then(|v| v.parse().ok()) {
            Some(count) if is_ours => count,
            _ => 0,
        }
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_relative_values_count_as_absent() {
        let env = Env::fixed([("HOME", ""), ("XDG_RUNTIME_DIR", "run"), ("X", "off")]);
        assert_eq!(env.home(), None);
        assert_eq!(env.xdg_runtime_dir(), None);
        assert_eq!(env.exact("HOME").as_deref(), Some(""));
        assert!(!env.is_on("X"));
        assert_eq!(env.config_home(Path::new("/h")), Path::new("/h/.config"));
    }

    #[test]
    fn defaults_hold_where_a_variable_is_not_set_at_all() {
        let env = Env::fixed([("A", "own"), ("B", "")]);
        let words = [
            ("A", "x"),
            ("B", "x"),
            ("http_proxy", "http://p:1"),
            ("STORAGE_OPTS", "a=1, b=2"),
        ];
        let env = env.with_defaults(words.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(env.text("A").as_deref(), Some("own"));
        assert_eq!(env.exact("B").as_deref(), Some(""));
        assert_eq!(env.proxies().len(), 1);
        assert_eq!(env.storage_opts(), ["a=1", "b=2"]);
        assert_eq!(env.all().len(), 4);
    }

    #[test]
    fn programs_are_found_in_the_system_folders_and_never_in_the_current_one() {
        let env = Env::fixed([("PATH", "::relative")]);
        assert!(env.find_program("sh").unwrap().is_absolute());
        assert_eq!(env.find_program("/nowhere/sh"), None);
        assert_eq!(env.find_program("no-such-program-here"), None);
    }

    #[test]
    fn socket_activation_is_for_the_named_process_only() {
        let env = Env::fixed([("LISTEN_FDS", "2"), ("LISTEN_PID", "7")]);
        assert_eq!((env.listen_fds(7), env.listen_fds(8)), (2, 0));
    }
}
