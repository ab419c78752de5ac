//! Options + image configuration + facts about the host -> runtime specification. Pure.
//!
//! Conventions of the result, which `runtime::launch` applies:
//! - `spec.mounts` is in the order of mounting; `Generated::origins` has one entry for each.
//! - binds have kind `bind`, a host path as source (empty where only a descriptor can say it) and
//!   `bind` or `rbind` among the options.
//! - `linux.seccomp` stays empty: the compiled program goes beside the specification.

mod env;
mod mounts;
mod paths;
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use mounts::{NO_DEREFERENCE, check_destination, check_idmap, clean, idmap_of, is_idmap};
pub use process::{argv, exec_process, is_systemd, stop_signal};

use crate::base::Result;
use crate::runtime::capabilities;
use crate::runtime::seccomp::ARCHITECTURE;
use crate::runtime::user::ResolvedUser;
use crate::spec::idmap::IdMaps;
use crate::spec::image::ImageConfig;
use crate::spec::runtime::{
    Linux, Namespace, NamespaceKind, OCI_VERSION, Personality, Rlimit, Root, Spec,
};
use crate::state::options::{ContainerOptions, MountOption, NamespaceMode, NetworkMode};

/// Where `--init-path`'s program is bound inside.
const INIT_INSIDE: &str = "/run/podman-init";

/// What is known about the host and the container when it is started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The container's id.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// Host name inside, for a UTS namespace of its own; also the value of `HOSTNAME`.
    pub hostname: String,
    /// The user, resolved in the root file system.
    pub user: ResolvedUser,
    /// The user namespace that the container is in, ids inside -> ids of the caller's.
    pub maps: IdMaps,
    /// Lines of a user namespace of the container's own below the shared one (`keep-id`, `auto`,
    /// `--uidmap`), relative to the shared one; absent when it shares that.
    pub nested: Option<IdMaps>,
    /// The caller's resource limits (`getrlimit`), for `--ulimit host` and as upper bound.
    pub caller_limits: Vec<Rlimit>,
    /// The caller's own `oom_score_adj`: a process without privileges cannot go below it.
    pub caller_oom_score_adj: i32,
    /// Generated `/etc/hosts`; absent leaves the image's.
    pub hosts: Option<PathBuf>,
    /// Generated `/etc/resolv.conf`; absent leaves the image's.
    pub resolv_conf: Option<PathBuf>,
    /// Generated `/etc/hostname`; absent leaves the image's.
    pub hostname_file: Option<PathBuf>,
    /// Generated `/run/.containerenv`.
    pub containerenv: Option<PathBuf>,
    /// Generated `/etc/passwd` with an entry for an unknown user.
    pub passwd: Option<PathBuf>,
    /// Generated `/etc/group`.
    pub group: Option<PathBuf>,
    /// `/etc/localtime`'s source for `--tz`, resolved on the host.
    pub localtime: Option<PathBuf>,
    /// Bound volumes, anonymous and the image's ones included.
    pub volumes: Vec<VolumeFact>,
    /// Mounts taken over by `--volumes-from`, already resolved.
    pub inherited: Vec<MountOption>,
    /// Secrets as files, in the order of the options' file secrets.
    pub secret_files: Vec<SecretFact>,
    /// Secrets as variables, `KEY=VALUE`.
    pub secret_env: Vec<String>,
    /// What a service of systemd is given, `KEY=VALUE`.
    pub service_env: Vec<String>,
    /// The folder with the socket for sd_notify(3).
    pub notify: Option<PathBuf>,
    /// Host device nodes for `--privileged`, `/dev/...` paths.
    pub host_devices: Vec<PathBuf>,
    /// The host has cgroup v2 mounted.
    pub cgroup2: bool,
    /// `/dev/mqueue` is mounted on the host.
    pub host_mqueue: bool,
    /// Namespaces that are joined, with the path that shows them, for the record.
    pub joined: BTreeMap<NamespaceKind, PathBuf>,
}

/// Where a volume of the container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFact {
    /// Its name.
    pub name: String,
    /// Its place inside.
    pub destination: String,
    /// The host folder with its data.
    pub path: PathBuf,
    /// Options of the volume itself (`volume create -o`), as mount words.
    pub options: Vec<String>,
}

/// A secret as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFact {
    /// Absolute path inside.
    pub path: String,
    /// The host file, already with owner and mode.
    pub source: PathBuf,
}

/// A specification and what its mounts stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The specification.
    pub spec: Spec,
    /// One for each of `spec.mounts`.
    pub origins: Vec<Origin>,
    /// Signal for `stop`.
    pub stop_signal: i32,
    /// Whether a systemd inside is catered for.
    pub systemd: bool,
    /// Sentences for the person, e.g. about a limit that was lowered.
    pub notices: Vec<String>,
}

/// What a mount stands for: tells which ones need a descriptor prepared by storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A kernel file system or a file of ours: `runtime::launch` needs nothing else.
    #[default]
    Plain,
    /// A host path given by the user.
    Host {
        /// Make a missing directory.
        create: bool,
        /// `U`.
        chown: bool,
        /// A link is followed; otherwise it is made inside as it is.
        follow: bool,
    },
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// No copy-up.
        nocopy: bool,
        /// Path below it.
        subpath: Option<String>,
        /// `U`.
        chown: bool,
    },
    /// A throw-away overlay over a host directory.
    Overlay {
        /// Host directory.
        path: PathBuf,
        /// `upperdir=`.
        upper: Option<PathBuf>,
        /// `workdir=`.
        work: Option<PathBuf>,
        /// `U`.
        chown: bool,
    },
    /// Another image's file system.
    Image {
        /// Reference or id.
        image: String,
        /// Throw-away upper.
        writable: bool,
        /// Path below it.
        subpath: Option<String>,
    },
    /// A tmpfs that the launcher cannot make alone.
    Tmpfs {
        /// It starts with the image's content.
        copy_up: bool,
        /// `U`.
        chown: bool,
    },
    /// A device node of the host, or a folder of such.
    Device,
    /// The `/dev/shm` of the container whose IPC namespace is joined; only a descriptor can say it.
    SharedShm,
}

/// Makes the specification.
///
/// # Errors
/// `Invalid` for contradictions and when there is no command; `Denied` for an image whose
/// environment is not `KEY=VALUE`.
pub fn generate(
    options: &ContainerOptions,
    image: Option<&ImageConfig>,
    facts: &Facts,
) -> Result<Generated> {
    let args = process::argv(options, image)?;
    let systemd = process::is_systemd(options.systemd, &args);
    let mut notices = Vec::new();
    let process = process::first_process(options, image, facts, args, systemd, &mut notices)?;
    let (mounts, origins) = mounts::mounts(options, image, facts, systemd)?;
    let (masked_paths, readonly_paths) = paths::masked_and_read_only(options)?;
    let stop_signal = process::stop_signal(options, image, systemd)?;
    let own_uts = options.uts != NamespaceMode::Host;
    let joins_uts = matches!(
        options.uts,
        NamespaceMode::Container(_) | NamespaceMode::Path(_)
    );

    let mut annotations = options.annotations.clone();
    for (key, value) in [
        ("io.container.manager", "coracle".to_owned()),
        (
            "org.opencontainers.image.stopSignal",
            stop_signal.to_string(),
        ),
    ] {
        annotations.entry(key.to_owned()).or_insert(value);
    }
    if let Some(image) = image.filter(|i| i.architecture == "386") {
        // Read again when the system call filter is made, for `exec` too.
        annotations.insert(ARCHITECTURE.to_owned(), image.architecture.clone());
    }
    let nested = facts.nested.clone().unwrap_or_default();
    let spec = Spec {
        oci_version: OCI_VERSION.to_owned(),
        process: Some(process),
        root: Some(Root {
            path: "rootfs".to_owned(),
            readonly: options.read_only,
        }),
        hostname: (own_uts && !joins_uts && !facts.hostname.is_empty())
            .then(|| facts.hostname.clone()),
        domainname: options.domainname.clone().filter(|_| own_uts && !joins_uts),
        mounts,
        hooks: None,
        annotations,
        linux: Some(Linux {
            namespaces: namespaces(options, facts),
            uid_mappings: nested.uids,
            gid_mappings: nested.gids,
            sysctl: paths::sysctls(options)?,
            masked_paths,
            readonly_paths,
            personality: options.personality.as_ref().map(|domain| Personality {
                domain: domain.clone(),
                ..Personality::default()
            }),
            ..Linux::default()
        }),
    };
    Ok(Generated {
        spec,
        origins,
        stop_signal,
        systemd,
        notices,
    })
}

/// The namespaces that are not the caller's: new ones, and joined ones with their path.
fn namespaces(options: &ContainerOptions, facts: &Facts) -> Vec<Namespace> {
    let network = match &options.network.mode {
        NetworkMode::Host => NamespaceMode::Host,
        NetworkMode::Container(id) => NamespaceMode::Container(id.clone()),
        NetworkMode::Path(path) => NamespaceMode::Path(path.clone()),
        NetworkMode::Default
        | NetworkMode::None
        | NetworkMode::Pasta(_)
        | NetworkMode::Slirp4netns(_)
        | NetworkMode::Networks(_) => NamespaceMode::Private,
    };
    let mut list = Vec::new();
    for (kind, mode) in [
        (NamespaceKind::Pid, &options.pid),
        (NamespaceKind::Network, &network),
        (NamespaceKind::Ipc, &options.ipc),
        (NamespaceKind::Uts, &options.uts),
        (NamespaceKind::Mount, &NamespaceMode::Private),
        (NamespaceKind::Cgroup, &options.cgroupns),
    ] {
        let path = match mode {
            NamespaceMode::Host => continue,
            NamespaceMode::Path(path) => Some(path),
            _ => facts.joined.get(&kind),
        };
        list.push(Namespace {
            kind,
            path: path.map(|p| p.to_string_lossy().into_owned()),
        });
    }
    if facts.nested.is_some() || facts.joined.contains_key(&NamespaceKind::User) {
        list.push(Namespace {
            kind: NamespaceKind::User,
            path: facts
                .joined
                .get(&NamespaceKind::User)
                .map(|p| p.to_string_lossy().into_owned()),
        });
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::image::RunConfig;
    use crate::spec::runtime::IdMapping;

    fn facts() -> Facts {
        let map = vec![IdMapping {
            container_id: 0,
            host_id: 0,
            size: 65536,
        }];
        Facts {
            id: "0123456789abcdef0123456789abcdef".into(),
            hostname: "web".into(),
            user: ResolvedUser {
                home: "/root".into(),
                ..ResolvedUser::default()
            },
            maps: IdMaps {
                uids: map.clone(),
                gids: map,
            },
            caller_limits: vec![Rlimit {
                kind: "RLIMIT_NOFILE".into(),
                hard: 4096,
                soft: 1024,
            }],
            hosts: Some("/run/c/hosts".into()),
            resolv_conf: Some("/run/c/resolv.conf".into()),
            hostname_file: Some("/run/c/hostname".into()),
            containerenv: Some("/run/c/containerenv".into()),
            cgroup2: true,
            ..Facts::default()
        }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            config: RunConfig {
                cmd: Some(vec!["sh".into()]),
                env: vec!["PATH=/bin".into()],
                working_dir: "/srv".into(),
                ..RunConfig::default()
            },
            ..ImageConfig::default()
        }
    }

    /// `UPDATE_GOLDEN=1` writes what is generated now.
    fn golden(name: &str, options: &ContainerOptions, facts: &Facts) {
        let made = generate(options, Some(&image()), facts).unwrap();
        let text = serde_json::to_string_pretty(&made.spec).unwrap() + "\n";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/generate")
            .join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
        // Others read it, and say the same.
        let theirs: oci_spec::runtime::Spec = serde_json::from_str(&text).unwrap();
        let back: Spec = serde_json::from_value(serde_json::to_value(&theirs).unwrap()).unwrap();
        assert_eq!(back.mounts, made.spec.mounts);
        assert_eq!(
            back.process
                .as_ref()
                .map(|p| (&p.args, &p.env, &p.cwd, &p.rlimits)),
            made.spec
                .process
                .as_ref()
                .map(|p| (&p.args, &p.env, &p.cwd, &p.rlimits))
        );
        assert_eq!(
            back.linux
                .map(|l| (l.namespaces, l.masked_paths, l.readonly_paths, l.sysctl)),
            made.spec
                .linux
                .map(|l| (l.namespaces, l.masked_paths, l.readonly_paths, l.sysctl))
        );
    }

    #[test]
    fn a_plain_container() {
        golden("plain.json", &ContainerOptions::default(), &facts());
    }

    #[test]
    fn a_privileged_container_on_the_host_network_with_a_terminal() {
        let mut options = ContainerOptions {
            privileged: true,
            tty: true,
            command: vec!["/sbin/init".into()],
            ..ContainerOptions::default()
        };
        options.network.mode = NetworkMode::Host;
        let mut facts = facts();
        facts.host_devices = vec!["/dev/null".into(), "/dev/fuse".into()];
        golden("privileged.json", &options, &facts);
    }

    #[test]
    fn a_confined_container_of_another_user() {
        let mut options = ContainerOptions {
            read_only: true,
            cap_drop: vec!["ALL".into()],
            cap_add: vec!["NET_BIND_SERVICE".into()],
            oom_score_adj: Some(-500),
            umask: Some(0o27),
            pid: NamespaceMode::Container("db".into()),
            uts: NamespaceMode::Host,
            ..ContainerOptions::default()
        };
        options.security.no_new_privileges = true;
        let mut facts = facts();
        facts.user.uid = 1000;
        facts
            .joined
            .insert(NamespaceKind::Pid, "/proc/42/ns/pid".into());
        facts.nested = Some(facts.maps.clone());
        golden("confined.json", &options, &facts);
    }

    #[test]
    fn ours_reads_what_others_write() {
        let theirs = oci_spec::runtime::Spec::default();
        let ours: Spec = serde_json::from_value(serde_json::to_value(&theirs).unwrap()).unwrap();
        assert_eq!(ours.mounts.len(), theirs.mounts().as_ref().unwrap().len());
        let back: oci_spec::runtime::Spec =
            serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
        assert_eq!(
            back.process().as_ref().unwrap().args(),
            theirs.process().as_ref().unwrap().args()
        );
    }
}
