//! `containers.conf`, the configuration that podman users have already.
//!
//! Order, later wins: `/usr/share/containers/containers.conf`, `/etc/containers/containers.conf`,
//! `/etc/containers/containers.conf.d/*.conf`, for a plain user also
//! `/etc/containers/containers.rootless.conf(.d)`, then `~/.config/containers/containers.conf` and
//! `containers.conf.d/*.conf`, then modules (`--module`), then `$CONTAINERS_CONF_OVERRIDE`.
//! `$CONTAINERS_CONF` replaces all but the last two.
//!
//! Read once, when first asked for. Keys of features that coracle does not have are told of
//! (`notices`); every field is `None` or empty when no file sets it, so that callers know a default from a wish.
//!
//! Spec: containers.conf(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use super::conf_keys;
use super::env::Env;
use super::tables::Layers;
use super::user::{self, User};
use crate::base::{Error, Result};

/// The merged configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainersConf {
    /// `[containers]`.
    pub containers: Containers,
    /// `[network]`.
    pub network: Network,
    /// `[engine]`.
    pub engine: Engine,
    /// `[secrets]`.
    pub secrets: SecretsTable,
    /// A sentence for each key that a person wrote and that has no effect.
    #[serde(skip)]
    pub notices: Vec<String>,
}

impl ContainersConf {
    /// `default_sysctls` of `[containers]`, as names and values; what is malformed is left to
    /// whoever makes a container with it.
    pub fn sysctls(&self) -> BTreeMap<String, String> {
        let lines = self.containers.default_sysctls.iter().flatten();
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// `[secrets]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SecretsTable {
    /// The driver of who names none.
    pub driver: Option<String>,
    /// Its options.
    pub opts: BTreeMap<String, String>,
}

/// `[containers]`: defaults of `run` and `create`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "each field is the key of that name in containers.conf(5)"
)]
pub struct Containers {
    pub annotations: Vec<String>,
    pub apparmor_profile: Option<String>,
    pub base_hosts_file: Option<String>,
    pub cgroups: Option<String>,
    pub cgroupns: Option<String>,
    pub container_name_as_hostname: Option<bool>,
    pub default_capabilities: Option<Vec<String>>,
    pub default_sysctls: Option<Vec<String>>,
    pub default_ulimits: Vec<String>,
    pub devices: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_searches: Vec<String>,
    pub dns_servers: Vec<String>,
    pub env: Option<Vec<String>>,
    pub env_host: Option<bool>,
    pub host_containers_internal_ip: Option<String>,
    pub http_proxy: Option<bool>,
    pub init: Option<bool>,
    pub init_path: Option<String>,
    pub ipcns: Option<String>,
    pub label: Option<bool>,
    pub log_driver: Option<String>,
    pub log_size_max: Option<i64>,
    pub log_tag: Option<String>,
    pub mounts: Vec<String>,
    pub netns: Option<String>,
    pub no_hosts: Option<bool>,
    pub oom_score_adj: Option<i32>,
    pub pidns: Option<String>,
    pub pids_limit: Option<i64>,
    pub privileged: Option<bool>,
    pub read_only: Option<bool>,
    pub seccomp_profile: Option<String>,
    pub shm_size: Option<String>,
    pub tz: Option<String>,
    pub umask: Option<String>,
    pub userns: Option<String>,
    pub utsns: Option<String>,
    pub volumes: Vec<String>,
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "each field is the key of that name in containers.conf(5)"
)]
pub struct Network {
    pub default_subnet: Option<String>,
    pub default_subnet_pools: Vec<SubnetPool>,
    pub network_config_dir: Option<PathBuf>,
    pub default_rootless_network_cmd: Option<String>,
    pub pasta_options: Vec<String>,
    pub default_host_ips: Vec<String>,
}

/// One of `default_subnet_pools`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SubnetPool {
    /// Where subnets are taken from.
    pub base: String,
    /// The length of each one's prefix, bits.
    pub size: u8,
}

/// `[engine]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "each field is the key of that name in containers.conf(5)"
)]
pub struct Engine {
    pub cdi_spec_dirs: Vec<PathBuf>,
    pub cgroup_manager: Option<String>,
    pub detach_keys: Option<String>,
    pub env: Vec<String>,
    pub events_logfile_path: Option<String>,
    pub events_logfile_max_size: Option<String>,
    pub events_logger: Option<String>,
    pub healthcheck_events: Option<bool>,
    pub helper_binaries_dir: Vec<String>,
    pub hooks_dir: Vec<PathBuf>,
    pub image_parallel_copies: Option<u32>,
    pub image_volume_mode: Option<String>,
    pub init_path: Option<String>,
    pub network_cmd_path: Option<String>,
    pub network_cmd_options: Vec<String>,
    pub pull_policy: Option<String>,
    pub retry: Option<u32>,
    pub retry_delay: Option<String>,
    pub stop_timeout: Option<u32>,
    pub compression_format: Option<String>,
    pub compression_level: Option<i32>,
    pub volume_path: Option<PathBuf>,
}

/// The modules of this process, found.
static MODULES: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Names the modules (`--module`) that [`load`] reads: absolute paths, or names below the folders
/// `containers.conf.modules` of the user, `/etc/containers` and `/usr/share/containers`.
///
/// # Errors
/// `NotFound` for a module that is nowhere.
pub fn use_modules(names: &[String], env: &Env, user: &User) -> Result<()> {
    let home = env.config_home(&user.home).join("containers");
    let folders = [
        home,
        PathBuf::from("/etc/containers"),
        PathBuf::from("/usr/share/containers"),
    ];
    let mut found = Vec::new();
    for name in names {
        let mut paths = folders
            .iter()
            .map(|f| f.join("containers.conf.modules").join(name));
        found.push(paths.find(|p| p.is_file()).ok_or_else(|| {
            Error::not_found(format!("no such module: {name:?}")).hint(
                "a module is an absolute path, or a file in ~/.config/containers/containers.conf.modules",
            )
        })?);
    }
    // Only the first call counts, and there is one.
    drop(MODULES.set(found));
    Ok(())
}

/// The configuration of this process, read when first asked for.
///
/// # Errors
/// A file that cannot be read, is not TOML, or has a key of the wrong type; the file is named.
pub fn load() -> Result<&'static ContainersConf> {
    static CONF: OnceLock<std::result::Result<ContainersConf, String>> = OnceLock::new();
    CONF.get_or_init(|| {
        let modules = MODULES.get().map_or(&[][..], Vec::as_slice);
        let (env, user) = (Env::process(), user::current());
        load_from(&env, user, Path::new("/"), modules).map_err(|e| e.one_line())
    })
    .as_ref()
    .map_err(|text| Error::invalid(text.clone()))
}

/// Reads the files below `system` (`/` but in tests).
///
/// # Errors
/// As [`load`].
pub fn load_from(
    env: &Env,
    user: &User,
    system: &Path,
    modules: &[PathBuf],
) -> Result<ContainersConf> {
    let mut layers = Layers::default();
    if let Some(path) = env.containers_conf() {
        layers.add_named(&path, "CONTAINERS_CONF")?;
    } else {
        for folder in ["usr/share/containers", "etc/containers"] {
            let file = system.join(folder).join("containers.conf");
            layers.add(&file)?;
            layers.add_folder(&file.with_extension("conf.d"))?;
            if !user.is_root {
                let file = system.join(folder).join("containers.rootless.conf");
                layers.add(&file)?;
                layers.add_folder(&file.with_extension("conf.d"))?;
            }
        }
        let file = env
            .config_home(&user.home)
            .join("containers/containers.conf");
        layers.add(&file)?;
        layers.add_folder(&file.with_extension("conf.d"))?;
    }
    for path in modules {
        layers.add_named(path, "--module")?;
    }
    if let Some(path) = env.containers_conf_override() {
        layers.add_named(&path, "CONTAINERS_CONF_OVERRIDE")?;
    }
    if layers.files.is_empty() {
        return Ok(ContainersConf::default());
    }
    let keys = std::mem::take(&mut layers.keys);
    let mut conf: ContainersConf = layers.finish()?;
    conf.notices = conf_keys::notices(keys.iter().map(|(s, k)| (s.as_str(), k.as_str())));
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn user(home: &Path) -> User {
        User {
            uid: 1000,
            gid: 1000,
            name: "dev".into(),
            home: home.to_owned(),
            is_root: false,
        }
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn files_are_merged_in_the_documented_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let home = root.join("home");
        write(
            &root.join("usr/share/containers/containers.conf"),
            "[containers]\nlog_driver='a'\ntz='a'\ndns_servers=['1.1.1.1']\npids_limit=7\n[engine]\nunknown_key=1\n",
        );
        write(
            &root.join("etc/containers/containers.conf"),
            "[containers]\nlog_driver='b'\ndns_servers=['2.2.2.2',{append=true}]\n",
        );
        write(
            &root.join("etc/containers/containers.conf.d/10-x.conf"),
            "[containers]\nlog_driver='c'\n",
        );
        write(
            &root.join("etc/containers/containers.conf.d/ignored.txt"),
            "no toml",
        );
        write(
            &home.join(".config/containers/containers.conf"),
            "[containers]\nlog_driver='d'\n[network]\npasta_options=['-4']\n",
        );
        write(&root.join("over.conf"), "[containers]\ntz='over'\n");
        write(&root.join("only.conf"), "[containers]\ntz='only'\n");
        let none: [(&str, &str); 0] = [];
        let conf = load_from(&Env::fixed(none), &user(&home), root, &[]).unwrap();
        assert_eq!(conf.containers.log_driver.as_deref(), Some("d"));
        assert_eq!(conf.containers.tz.as_deref(), Some("a"));
        assert_eq!(conf.containers.dns_servers, ["1.1.1.1", "2.2.2.2"]);
        assert_eq!(conf.containers.pids_limit, Some(7));
        assert_eq!(conf.network.pasta_options, ["-4"]);
        let only = root.join("only.conf");
        let env = Env::fixed([("CONTAINERS_CONF", &only)]);
        let conf = load_from(&env, &user(&home), root, &[]).unwrap();
        assert_eq!(conf.containers.tz.as_deref(), Some("only"));
        assert_eq!(conf.containers.log_driver, None);
        assert!(
            conf.notices.is_empty(),
            "what a distribution ships is nobody's wish"
        );
        let over = root.join("over.conf");
        let env = Env::fixed([
            ("CONTAINERS_CONF", &only),
            ("CONTAINERS_CONF_OVERRIDE", &over),
        ]);
        let conf = load_from(&env, &user(&home), root, &[]).unwrap();
        assert_eq!(conf.containers.tz.as_deref(), Some("over"));
        // A module stands between the two.
        write(
            &root.join("module.conf"),
            "[containers]\ntz='module'\nlog_driver='m'\n",
        );
        let modules = [root.join("module.conf")];
        let conf = load_from(&env, &user(&home), root, &modules).unwrap();
        assert_eq!(conf.containers.tz.as_deref(), Some("over"));
        assert_eq!(conf.containers.log_driver.as_deref(), Some("m"));
    }

    #[test]
    fn a_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["[containers\n", "[containers]\npids_limit='many'\n"] {
            write(&dir.path().join("etc/containers/containers.conf"), text);
            let none: [(&str, &str); 0] = [];
            let e = load_from(&Env::fixed(none), &user(dir.path()), dir.path(), &[]).unwrap_err();
            assert!(e.what().contains("etc/containers/containers.conf"), "{e:?}");
        }
        let env = Env::fixed([("CONTAINERS_CONF", "/nowhere.conf")]);
        let e = load_from(&env, &user(dir.path()), dir.path(), &[]).unwrap_err();
        assert!(e.what().contains("CONTAINERS_CONF"));
    }
}
