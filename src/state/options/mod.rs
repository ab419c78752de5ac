//! What a person asked of a container: the options of `run` and `create`, typed and checked, but
//! not yet merged with the image.
//!
//! The command line fills it (pure), the container record keeps it for good, and
//! `runtime::generate` merges it with the image's configuration at every start.

mod resources;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::health::HealthOptions;
use crate::spec::image::Healthcheck;
use crate::spec::platform::Platform;
use crate::spec::runtime::{IdMapping, Rlimit};

pub use resources::{CgroupManager, DeviceLimit, DeviceLimitKind, Resources};

/// What was not given is not stored: records stay short, and listing many containers quick.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The options of one container. Every field's default is "not given".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerOptions {
    /// `--name`.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// `--pod`: as typed, `new:NAME` for one to be made; its id once the container exists.
    #[serde(skip_serializing_if = "is_default")]
    pub pod: Option<String>,
    /// It holds a pod's namespaces and runs nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub infra: bool,
    /// `--init-ctr`: it runs to its end before the pod's other containers start.
    #[serde(skip_serializing_if = "is_default")]
    pub init_ctr: Option<InitCtr>,
    /// The image as typed; empty with `rootfs`.
    #[serde(skip_serializing_if = "is_default")]
    pub image: String,
    /// `--rootfs DIR[:O]` in place of an image.
    #[serde(skip_serializing_if = "is_default")]
    pub rootfs: Option<RootfsOption>,
    /// Words after the image.
    #[serde(skip_serializing_if = "is_default")]
    pub command: Vec<String>,
    /// `--entrypoint`; an empty list clears the image's.
    #[serde(skip_serializing_if = "is_default")]
    pub entrypoint: Option<Vec<String>>,
    /// `--env-file` then `--env`, in order, as `KEY=VALUE` (host values already looked up).
    #[serde(skip_serializing_if = "is_default")]
    pub env: Vec<String>,
    /// `--env-host`: the caller's environment at creation, `KEY=VALUE`.
    #[serde(skip_serializing_if = "is_default")]
    pub env_host: Vec<String>,
    /// `--http-proxy` (default on): the caller's proxy variables at creation, `KEY=VALUE`.
    #[serde(skip_serializing_if = "is_default")]
    pub env_proxy: Vec<String>,
    /// `--env-merge`, `KEY=VALUE` with `$NAME` of the image's variables in the value.
    #[serde(skip_serializing_if = "is_default")]
    pub env_merge: Vec<String>,
    /// `--unsetenv`.
    #[serde(skip_serializing_if = "is_default")]
    pub unset_env: Vec<String>,
    /// `--unsetenv-all`.
    #[serde(skip_serializing_if = "is_default")]
    pub unset_env_all: bool,
    /// `--workdir`.
    #[serde(skip_serializing_if = "is_default")]
    pub workdir: Option<String>,
    /// `--user`, `name|uid[:group|gid]`.
    #[serde(skip_serializing_if = "is_default")]
    pub user: Option<String>,
    /// `--group-add`, names or ids.
    #[serde(skip_serializing_if = "is_default")]
    pub groups: Vec<String>,
    /// `--group-add keep-groups`.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_groups: bool,
    /// `--passwd` (default true): add an entry for an unknown user.
    #[serde(skip_serializing_if = "is_default")]
    pub passwd: Option<bool>,
    /// `--passwd-entry`, with its placeholders.
    #[serde(skip_serializing_if = "is_default")]
    pub passwd_entry: Option<String>,
    /// `--group-entry`, with its placeholders.
    #[serde(skip_serializing_if = "is_default")]
    pub group_entry: Option<String>,
    /// `--hostuser`: accounts of the host that the container's passwd gets.
    #[serde(skip_serializing_if = "is_default")]
    pub host_users: Vec<HostUser>,
    /// `--no-hostname`: `/etc/hostname` stays the image's.
    #[serde(skip_serializing_if = "is_default")]
    pub no_hostname: bool,
    /// `--hostname`.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: Option<String>,
    /// `--domainname`.
    #[serde(skip_serializing_if = "is_default")]
    pub domainname: Option<String>,
    /// `--tty`.
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    /// `--interactive`: keep standard input open.
    #[serde(skip_serializing_if = "is_default")]
    pub interactive: bool,
    /// `--detach-keys`.
    #[serde(skip_serializing_if = "is_default")]
    pub detach_keys: Option<String>,
    /// `--label`, `--label-file`.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// `--annotation`.
    #[serde(skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// `-v`, `--mount`, `--tmpfs`, in the order given.
    #[serde(skip_serializing_if = "is_default")]
    pub mounts: Vec<MountOption>,
    /// `--volumes-from`, `container[:options]`.
    #[serde(skip_serializing_if = "is_default")]
    pub volumes_from: Vec<String>,
    /// `--image-volume`.
    #[serde(skip_serializing_if = "is_default")]
    pub image_volume: ImageVolume,
    /// `--device`.
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<DeviceOption>,
    /// `--device vendor/class=name`.
    #[serde(skip_serializing_if = "is_default")]
    pub cdi_devices: Vec<String>,
    /// `--gpus`: names without a vendor.
    #[serde(skip_serializing_if = "is_default")]
    pub gpus: Vec<String>,
    /// Folders that describe them; empty means the usual ones.
    #[serde(skip_serializing_if = "is_default")]
    pub cdi_dirs: Vec<PathBuf>,
    /// `--secret`.
    #[serde(skip_serializing_if = "is_default")]
    pub secrets: Vec<SecretOption>,
    /// `--cap-add`, without `CAP_`, upper case, or `ALL`.
    #[serde(skip_serializing_if = "is_default")]
    pub cap_add: Vec<String>,
    /// `--cap-drop`, as `cap_add`.
    #[serde(skip_serializing_if = "is_default")]
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// `--security-opt`.
    #[serde(skip_serializing_if = "is_default")]
    pub security: SecurityOptions,
    /// `--personality`.
    #[serde(skip_serializing_if = "is_default")]
    pub personality: Option<String>,
    /// `--read-only`.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// `--read-only-tmpfs` (default true).
    #[serde(skip_serializing_if = "is_default")]
    pub read_only_tmpfs: Option<bool>,
    /// `--shm-size`, bytes; absent means 64 MiB (`65536k`).
    #[serde(skip_serializing_if = "is_default")]
    pub shm_size: Option<u64>,
    /// `--shm-size-systemd`, bytes; absent or 0 means half of the memory, as the kernel has it.
    #[serde(skip_serializing_if = "is_default")]
    pub shm_size_systemd: Option<u64>,
    /// `--init`.
    #[serde(skip_serializing_if = "is_default")]
    pub init: bool,
    /// `--init-path`.
    #[serde(skip_serializing_if = "is_default")]
    pub init_path: Option<String>,
    /// `--systemd`.
    #[serde(skip_serializing_if = "is_default")]
    pub systemd: SystemdMode,
    /// `--pid`.
    #[serde(skip_serializing_if = "is_default")]
    pub pid: NamespaceMode,
    /// `--ipc`.
    #[serde(skip_serializing_if = "is_default")]
    pub ipc: NamespaceMode,
    /// `--uts`.
    #[serde(skip_serializing_if = "is_default")]
    pub uts: NamespaceMode,
    /// `--cgroupns`.
    #[serde(skip_serializing_if = "is_default")]
    pub cgroupns: NamespaceMode,
    /// `--userns`, `--uidmap`, `--gidmap`.
    #[serde(skip_serializing_if = "is_default")]
    pub userns: UsernsMode,
    /// Somebody asked for that mode, be it the usual one.
    #[serde(skip_serializing_if = "is_default")]
    pub userns_asked: bool,
    /// `--network` and everything about it.
    #[serde(skip_serializing_if = "is_default")]
    pub network: NetworkOptions,
    /// `--ulimit`; `host` becomes the caller's limits at creation.
    #[serde(skip_serializing_if = "is_default")]
    pub ulimits: Vec<Rlimit>,
    /// `--sysctl`.
    #[serde(skip_serializing_if = "is_default")]
    pub sysctls: BTreeMap<String, String>,
    /// `--oom-score-adj`.
    #[serde(skip_serializing_if = "is_default")]
    pub oom_score_adj: Option<i32>,
    /// `--umask`, default 0022.
    #[serde(skip_serializing_if = "is_default")]
    pub umask: Option<u32>,
    /// `--tz`: a zone name, or `local`.
    #[serde(skip_serializing_if = "is_default")]
    pub timezone: Option<String>,
    /// `--preserve-fds N`: descriptors 3 to 3+N-1 go through.
    #[serde(skip_serializing_if = "is_default")]
    pub preserve_fds: u32,
    /// `--preserve-fd N`: these descriptors go through under their numbers.
    #[serde(skip_serializing_if = "is_default")]
    pub preserve_fd: Vec<u32>,
    /// Limits of the cgroup.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// `--cgroups` other than the default: `disabled`, `no-conmon`, …
    #[serde(skip_serializing_if = "is_default")]
    pub cgroups: Option<String>,
    /// `--cgroup-parent`.
    #[serde(skip_serializing_if = "is_default")]
    pub cgroup_parent: Option<String>,
    /// `--cgroup-manager`.
    pub cgroup_manager: CgroupManager,
    /// `--log-driver`, `--log-opt`.
    #[serde(skip_serializing_if = "is_default")]
    pub log: LogOptions,
    /// `--stop-signal`, a number; absent means the image's, else 15.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_signal: Option<i32>,
    /// `--stop-timeout`, seconds; absent means 10.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_timeout: Option<u32>,
    /// `--timeout`, seconds; 0 means none.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: u32,
    /// `--restart`.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: RestartPolicy,
    /// `--rm`.
    #[serde(skip_serializing_if = "is_default")]
    pub remove: bool,
    /// `--rmi`.
    #[serde(skip_serializing_if = "is_default")]
    pub remove_image: bool,
    /// `--health-*` and `--no-healthcheck`, to be merged over the image's (`state::health::merged`).
    #[serde(skip_serializing_if = "is_default")]
    pub healthcheck: Option<Healthcheck>,
    /// The rest of `--health-*`.
    #[serde(skip_serializing_if = "is_default")]
    pub health: HealthOptions,
    /// `--sdnotify`.
    #[serde(skip_serializing_if = "is_default")]
    pub sdnotify: SdNotify,
    /// `--platform`, `--arch`, `--os`, `--variant`.
    #[serde(skip_serializing_if = "is_default")]
    pub platform: Option<Platform>,
    /// `--cidfile`.
    #[serde(skip_serializing_if = "is_default")]
    pub cidfile: Option<PathBuf>,
    /// `--pidfile`.
    #[serde(skip_serializing_if = "is_default")]
    pub pidfile: Option<PathBuf>,
    /// `--conmon-pidfile`: gets the monitor's pid.
    #[serde(skip_serializing_if = "is_default")]
    pub monitor_pidfile: Option<PathBuf>,
    /// The whole command line, for `inspect`'s `Config.CreateCommand`.
    #[serde(skip_serializing_if = "is_default")]
    pub create_command: Vec<String>,
}

/// `--init-ctr`: when a container of a pod runs before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitCtr {
    /// At every start of the pod.
    Always,
    /// At the first one; it is removed then.
    Once,
}

impl InitCtr {
    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Once => "once",
        }
    }
}

/// `--hostuser`: an account of the host, as it was at creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostUser {
    /// Login name.
    pub name: String,
    /// User id, used as it is inside.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// The comment field.
    pub full_name: String,
    /// Home folder on the host.
    pub home: String,
}

/// `--rootfs DIR[:O]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsOption {
    /// Absolute host path.
    pub path: PathBuf,
    /// `:O`: writes go to an overlay that is thrown away.
    pub overlay: bool,
}

/// The numbers of the caller's descriptors that go through, one place for each from 3 on: the first
/// `count`, or those of a list.
pub fn passed(count: u32, list: &[u32]) -> Vec<Option<u32>> {
    let end = list.iter().max().map_or(3 + count, |last| last + 1);
    (3..end)
        .map(|n| Some(n).filter(|n| *n < 3 + count || list.contains(n)))
        .collect()
}

/// One mount asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOption {
    /// Absolute path inside.
    pub destination: String,
    /// What is mounted.
    pub source: MountSource,
    /// Read-only.
    pub read_only: bool,
    /// `U`: give the tree to the container's user.
    pub chown: bool,
    /// `z` or `Z`: relabel for SELinux.
    pub relabel: Option<Relabel>,
    /// Everything else, as `mount -o` words: `nosuid`, `noexec`, `nodev`, `rbind`, `rslave`, …
    pub options: Vec<String>,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A host path. `create`: Docker's `-v` makes a missing directory, podman and `--mount` refuse.
    Bind {
        /// Absolute host path.
        path: PathBuf,
        /// Make a missing directory.
        create: bool,
        /// Recursive (`rbind`, the default).
        recursive: bool,
    },
    /// `-v DIR:/x:O[,upperdir=,workdir=]`: a throw-away overlay over a host directory.
    Overlay {
        /// Absolute host path.
        path: PathBuf,
        /// `upperdir=`.
        upper: Option<PathBuf>,
        /// `workdir=`.
        work: Option<PathBuf>,
    },
    /// A volume; without a name an anonymous one (named at creation of the container).
    Volume {
        /// Its name.
        name: Option<String>,
        /// `volume-nocopy`: no copy-up of the image's content.
        nocopy: bool,
        /// Path below the volume.
        subpath: Option<String>,
        /// Labels of a volume made for it.
        labels: BTreeMap<String, String>,
    },
    /// A tmpfs.
    Tmpfs {
        /// Bytes; absent means the kernel's default, half of the memory.
        size: Option<u64>,
        /// Permission bits; absent means 1777.
        mode: Option<u32>,
        /// `tmpcopyup`.
        copy_up: bool,
    },
    /// Another image's file system.
    Image {
        /// Reference or id.
        image: String,
        /// `rw=true`: a throw-away upper on it.
        writable: bool,
        /// Path below the image.
        subpath: Option<String>,
    },
    /// A devpts instance.
    Devpts,
    /// A ramfs.
    Ramfs,
}

/// `z` (shared) or `Z` (private).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relabel {
    /// `z`.
    Shared,
    /// `Z`.
    Private,
}

/// `--image-volume`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageVolume {
    /// An anonymous volume for each `VOLUME`.
    #[default]
    Anonymous,
    /// A tmpfs for each.
    Tmpfs,
    /// Nothing.
    Ignore,
}

/// `--device HOST[:INSIDE[:rwm]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOption {
    /// Host path.
    pub host: PathBuf,
    /// Path inside.
    pub inside: String,
    /// `rwm` letters.
    pub permissions: String,
}

/// `--secret`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretOption {
    /// The secret's name.
    pub name: String,
    /// As a file or a variable.
    pub target: SecretTarget,
}

/// Where a secret shows up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretTarget {
    /// A file; relative paths are below `/run/secrets`.
    File {
        /// Path inside.
        path: String,
        /// Owner inside.
        uid: u32,
        /// Group inside.
        gid: u32,
        /// Permission bits, default 0444.
        mode: u32,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
    },
}

/// `--security-opt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityOptions {
    /// `seccomp=`: a profile's path, or `unconfined`; absent means the built-in profile.
    #[serde(skip_serializing_if = "is_default")]
    pub seccomp: Option<String>,
    /// `no-new-privileges`.
    #[serde(skip_serializing_if = "is_default")]
    pub no_new_privileges: bool,
    /// `apparmor=`.
    #[serde(skip_serializing_if = "is_default")]
    pub apparmor: Option<String>,
    /// `label=` values.
    #[serde(skip_serializing_if = "is_default")]
    pub label: Vec<String>,
    /// `mask=` paths.
    #[serde(skip_serializing_if = "is_default")]
    pub mask: Vec<String>,
    /// `unmask=` paths, or `ALL`.
    #[serde(skip_serializing_if = "is_default")]
    pub unmask: Vec<String>,
    /// `proc-opts=`.
    #[serde(skip_serializing_if = "is_default")]
    pub proc_opts: Vec<String>,
}

/// `--systemd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemdMode {
    /// When the command is an init.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always.
    Always,
}

/// `--pid`, `--ipc`, `--uts`, `--cgroupns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// Not given: private.
    #[default]
    Default,
    /// The caller's.
    Host,
    /// Its own.
    Private,
    /// Its own, and others may join (`--ipc shareable`).
    Shareable,
    /// None at all (`--ipc none`: private and without /dev/shm).
    None,
    /// That of another container, by name or id.
    Container(String),
    /// By path.
    Path(PathBuf),
}

/// `--userns`, `--uidmap`, `--gidmap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsernsMode {
    /// Not given, or `host`: container root is the caller, the rest are subordinate ids.
    #[default]
    Host,
    /// The ids of `Host` in a user namespace of the container's own: its root has no rights over
    /// our mounts and processes, only over what the container owns.
    Nested,
    /// The caller has the same ids inside.
    KeepId {
        /// The caller's uid inside, default the same as outside.
        uid: Option<u32>,
        /// The caller's gid inside.
        gid: Option<u32>,
        /// How many ids.
        size: Option<u32>,
    },
    /// The caller is not mapped.
    Nomap,
    /// A range of its own, as large as the image needs.
    Auto {
        /// How many ids.
        size: Option<u32>,
        /// Fixed lines.
        uids: Vec<IdMapping>,
        /// Fixed lines.
        gids: Vec<IdMapping>,
    },
    /// That of another container.
    Container(String),
    /// By path.
    Path(PathBuf),
    /// `--uidmap`, `--gidmap`: lines relative to the default map, so host id 0 is the caller.
    Maps {
        /// User ids.
        uids: Vec<IdMapping>,
        /// Group ids.
        gids: Vec<IdMapping>,
    },
}

/// `--network`, `-p`, `--dns` and their like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkOptions {
    /// `--network`.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: NetworkMode,
    /// `-p`.
    #[serde(skip_serializing_if = "is_default")]
    pub publish: Vec<PortMapping>,
    /// `-P`.
    #[serde(skip_serializing_if = "is_default")]
    pub publish_all: bool,
    /// `--on-demand`.
    #[serde(skip_serializing_if = "is_default")]
    pub on_demand: Option<OnDemand>,
    /// `--service`: services whose address and ports lead here, too.
    #[serde(skip_serializing_if = "is_default")]
    pub services: Vec<String>,
    /// `--expose`, `port[-port][/proto]`.
    #[serde(skip_serializing_if = "is_default")]
    pub expose: Vec<String>,
    /// `--dns`.
    #[serde(skip_serializing_if = "is_default")]
    pub dns: Vec<IpAddr>,
    /// `--dns none`.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_none: bool,
    /// `--dns-search`; a single `.` clears.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_options: Vec<String>,
    /// `--add-host NAME[;NAME]:IP`; the address text may be `host-gateway`.
    #[serde(skip_serializing_if = "is_default")]
    pub add_hosts: Vec<(Vec<String>, String)>,
    /// `--no-hosts`.
    #[serde(skip_serializing_if = "is_default")]
    pub no_hosts: bool,
    /// `--hosts-file`: `none`, `image`, or a path.
    #[serde(skip_serializing_if = "is_default")]
    pub hosts_file: Option<String>,
}

/// `--on-demand`: the first connection to a published port starts the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemand {
    /// `--idle`: it is stopped after so many seconds without a connection; 0 is never.
    pub idle: u64,
}

/// `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Not given: pasta, else slirp4netns, else `none` with a notice.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The caller's.
    Host,
    /// That of another container.
    Container(String),
    /// By path.
    Path(PathBuf),
    /// Through pasta, with its own options.
    Pasta(Vec<String>),
    /// Through slirp4netns, with its own options.
    Slirp4netns(Vec<String>),
    /// On networks with a name, in this order; never empty.
    Networks(Vec<NetworkWish>),
}

impl NetworkMode {
    /// Whether the container has a network namespace of its own.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Default
            | Self::None
            | Self::Pasta(_)
            | Self::Slirp4netns(_)
            | Self::Networks(_) => true,
            Self::Host | Self::Container(_) | Self::Path(_) => false,
        }
    }

    /// The networks with a name.
    pub fn networks(&self) -> &[NetworkWish] {
        match self {
            Self::Networks(list) => list,
            _ => &[],
        }
    }
}

/// `--network NAME[:ip=,ip6=,mac=,alias=,interface_name=,host_interface_name=]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkWish {
    /// The network's name.
    pub name: String,
    /// `ip=`, `--ip`.
    #[serde(skip_serializing_if = "is_default")]
    pub ip: Option<Ipv4Addr>,
    /// `ip6=`, `--ip6`.
    #[serde(skip_serializing_if = "is_default")]
    pub ip6: Option<Ipv6Addr>,
    /// `mac=`, `--mac-address`, six bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub mac: Option<[u8; 6]>,
    /// `alias=`, `--network-alias`.
    #[serde(skip_serializing_if = "is_default")]
    pub aliases: Vec<String>,
    /// `interface_name=`; absent means `eth0`, `eth1`, ….
    #[serde(skip_serializing_if = "is_default")]
    pub interface: Option<String>,
    /// `host_interface_name=`: the cable's end in the namespace of bridges.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_interface: Option<String>,
}

/// One published port or a range of the same length on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address to listen on; absent means all.
    pub host_ip: Option<IpAddr>,
    /// First host port; 0 means a random free one, chosen at start.
    pub host_port: u16,
    /// First port inside.
    pub container_port: u16,
    /// How many.
    pub range: u16,
    /// tcp or udp.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `--log-driver`, `--log-opt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// Which.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: LogDriver,
    /// `path=`.
    #[serde(skip_serializing_if = "is_default")]
    pub path: Option<PathBuf>,
    /// `max-size=`, bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub max_size: Option<u64>,
    /// `max-file=`.
    #[serde(skip_serializing_if = "is_default")]
    pub max_file: Option<u32>,
    /// `tag=`.
    #[serde(skip_serializing_if = "is_default")]
    pub tag: Option<String>,
}

/// Where output goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// CRI's format, podman's default.
    #[default]
    K8sFile,
    /// Docker's format.
    JsonFile,
    /// The journal.
    Journald,
    /// Nowhere.
    None,
    /// The container has the caller's descriptors.
    Passthrough,
}

/// `--sdnotify`: who tells systemd that the container is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdNotify {
    /// The container itself, through a socket.
    #[default]
    Container,
    /// Its monitor, once its process runs.
    Conmon,
    /// Its monitor, once it is healthy.
    Healthy,
    /// Nobody.
    Ignore,
}

impl SdNotify {
    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Conmon => "conmon",
            Self::Healthy => "healthy",
            Self::Ignore => "ignore",
        }
    }
}

/// `--restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After a failure, at most so many times; absent means without end.
    OnFailure(Option<u32>),
    /// Whenever it ends.
    Always,
    /// Whenever it ends, unless a person stopped it.
    UnlessStopped,
}
