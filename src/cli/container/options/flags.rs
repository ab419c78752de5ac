//! The flags that `run` and `create` share, as clap sees them. Their meaning is in the sibling
//! files; here are only names and help.

use std::path::PathBuf;

use clap::Args;

use super::health::HealthFlags;
use super::refused::Refused;
use crate::state::options::CgroupManager;

/// Every shared flag, in groups.
#[derive(Debug, Args)]
pub struct CreateFlags {
    #[command(flatten)]
    pub(super) general: General,
    #[command(flatten)]
    pub(super) health: HealthFlags,
    #[command(flatten)]
    pub(super) process: Process,
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) network: Network,
    #[command(flatten)]
    pub(super) security: Security,
    #[command(flatten)]
    pub(super) limits: Limits,
    #[command(flatten)]
    pub(super) image: Image,
    #[command(flatten)]
    pub(super) refused: Refused,
}

impl CreateFlags {
    /// `pod create` writes the file that `run` reads.
    pub fn take_pod_id_file(&mut self) -> Option<PathBuf> {
        self.general.pod_id_file.take()
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Container")]
pub(super) struct General {
    /// Name of the container; generated if absent
    #[arg(long)]
    pub name: Option<String>,
    /// Pod to run in; new:NAME makes one with the container's network options
    #[arg(long, value_name = "POD")]
    pub pod: Option<String>,
    /// The same, by the id in a file
    #[arg(long, value_name = "FILE", conflicts_with = "pod")]
    pub pod_id_file: Option<PathBuf>,
    /// Run to the end before the pod's others start: always, or once
    #[arg(long, value_name = "WHEN")]
    pub init_ctr: Option<String>,
    /// Remove a container of the same name first
    #[arg(long)]
    pub replace: bool,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    pub rm: bool,
    /// When to start it again: no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Metadata, KEY=VALUE
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<String>,
    /// OCI annotation, KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Write the container's id to a file that must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Write the process id of the first process to a file
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Write the process id of the container's monitor to a file, which systemd reads as PIDFile=
    #[arg(long, value_name = "FILE")]
    pub conmon_pidfile: Option<PathBuf>,
    /// Where output is kept: k8s-file, json-file, journald, none, passthrough
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Option of the log driver: path=, max-size=, max-file=, tag=
    #[arg(long, value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,
    /// Who tells systemd that it is up: container, conmon, healthy, ignore
    #[arg(long, value_name = "MODE")]
    pub sdnotify: Option<String>,
    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Seconds between that signal and KILL
    #[arg(long, value_name = "SECONDS")]
    pub stop_timeout: Option<String>,
    /// Kill the container after so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub timeout: u32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(super) struct Process {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Which streams to attach: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Variable: NAME=VALUE, NAME from here, or NAME* for all that begin so
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<String>,
    /// Variable made of the image's, e.g. PATH='${PATH}:/opt/bin'
    #[arg(long, value_name = "NAME=VALUE")]
    pub env_merge: Vec<String>,
    /// Pass the whole environment on
    #[arg(long)]
    pub env_host: Option<bool>,
    /// Pass proxy variables on (on by default)
    #[arg(long)]
    pub http_proxy: Option<bool>,
    /// Take a variable of the image away
    #[arg(long, value_name = "NAME")]
    pub unsetenv: Vec<String>,
    /// Take all variables of the image away
    #[arg(long)]
    pub unsetenv_all: bool,
    /// Program in place of the image's; a JSON list, or empty for none
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// User: name or id, with :group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Further group, or keep-groups
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Add an unknown user to /etc/passwd (on by default)
    #[arg(long)]
    pub passwd: Option<bool>,
    /// That entry: may hold $USERNAME, $UID, $GID, $NAME and $HOME
    #[arg(long, value_name = "LINE")]
    pub passwd_entry: Option<String>,
    /// Entry of an unknown group: may hold $GROUPNAME, $GID and $USERLIST
    #[arg(long, value_name = "LINE")]
    pub group_entry: Option<String>,
    /// Add a user of the host to /etc/passwd
    #[arg(long, value_name = "USER")]
    pub hostuser: Vec<String>,
    /// Working directory inside
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run an init that reaps processes and passes signals on
    #[arg(long)]
    pub init: Option<bool>,
    /// Another init in place of the built-in one
    #[arg(long, value_name = "FILE")]
    pub init_path: Option<String>,
    /// Cater for systemd inside: true, false, always
    #[arg(long, value_name = "MODE")]
    pub systemd: Option<String>,
    /// Time zone inside: a name, or local
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// File mode mask, octal
    #[arg(long, value_name = "MASK")]
    pub umask: Option<String>,
    /// Secret: NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files and devices")]
pub(super) struct Files {
    /// Mount a folder or volume: [SOURCE:]DESTINATION[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Mount in words: type=bind,src=…,dst=…
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// File system in memory: DIR[:OPTIONS]
    #[arg(long, value_name = "DIR")]
    pub tmpfs: Vec<String>,
    /// Take the mounts of another container over: CONTAINER[:OPTIONS]
    #[arg(long, value_name = "CONTAINER")]
    pub volumes_from: Vec<String>,
    /// What becomes of the image's volumes: anonymous, tmpfs, ignore
    #[arg(long, value_name = "MODE")]
    pub image_volume: Option<String>,
    /// Read-only root file system
    #[arg(long)]
    pub read_only: Option<bool>,
    /// Writable /run, /tmp and /var/tmp with --read-only (on by default)
    #[arg(long)]
    pub read_only_tmpfs: Option<bool>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// Size of what a systemd inside has in memory: /run, /run/lock, /tmp, /var/log/journal
    #[arg(long, value_name = "SIZE")]
    pub shm_size_systemd: Option<String>,
    /// Device of the host: HOST[:INSIDE[:PERMISSIONS]], or VENDOR/CLASS=NAME (CDI)
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// GPUs that CDI files describe: all, a number of them, or device=NAME
    #[arg(long, value_name = "GPUS")]
    pub gpus: Vec<String>,
    /// The first word is a folder with a root file system, not an image
    #[arg(long)]
    pub rootfs: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// NAME[:ip=,ip6=,mac=,alias=…], none, host, pasta, container:NAME, …
    #[arg(long, alias = "net", value_name = "MODE")]
    pub network: Vec<String>,
    /// Name by which others on the networks find the container
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// IPv4 address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Hardware address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Publish a port: [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Publish all ports that the image exposes to random ones
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Start the container at the first connection to a published port
    #[arg(long)]
    pub on_demand: bool,
    /// Stop it again after so long without a connection, 0 for never (default 10m)
    #[arg(long, value_name = "TIME", requires = "on_demand")]
    pub idle: Option<String>,
    /// Service whose address and published ports lead to the container, too
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<String>,
    /// Ports that the container listens on
    #[arg(long, value_name = "PORT")]
    pub expose: Vec<String>,
    /// Name inside
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Leave /etc/hostname as the image has it
    #[arg(long)]
    pub no_hostname: bool,
    /// NIS domain name inside
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Line of /etc/hosts: NAME[;NAME…]:ADDRESS, or host-gateway as address
    #[arg(long, value_name = "HOST")]
    pub add_host: Vec<String>,
    /// Leave /etc/hosts as the image has it
    #[arg(long)]
    pub no_hosts: Option<bool>,
    /// File to begin /etc/hosts with: a path, none or image
    #[arg(long, value_name = "FILE")]
    pub hosts_file: Option<String>,
    /// Name server, or none
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Domain to search
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Option of resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Isolation")]
pub(super) struct Security {
    /// No confinement beyond the user's own rights
    #[arg(long)]
    pub privileged: Option<bool>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// seccomp=, apparmor=, label=disable, mask=, unmask=, proc-opts=, …
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// User namespace: host, nested, keep-id[:…], nomap, auto[:…], …
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// Line of the user id map: INSIDE:OUTSIDE[:COUNT]
    #[arg(long, value_name = "MAP")]
    pub uidmap: Vec<String>,
    /// Line of the group id map: INSIDE:OUTSIDE[:COUNT]
    #[arg(long, value_name = "MAP")]
    pub gidmap: Vec<String>,
    /// Map that user's subordinate ids alone (yours, unless you are root)
    #[arg(long, value_name = "NAME")]
    pub subuidname: Option<String>,
    /// As --subuidname, for group ids
    #[arg(long, value_name = "NAME")]
    pub subgidname: Option<String>,
    /// Process ids: private, host, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// IPC: private, host, shareable, none, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// Host name: private, host, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// View of the cgroups: private, host, container:NAME, ns:PATH
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// What the kernel calls itself to the process: LINUX or LINUX32
    #[arg(long, value_name = "PERSONALITY")]
    pub personality: Option<String>,
    /// Sysctl of a namespace, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli::container) struct Limits {
    /// Memory
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Memory that it is asked to stay below
    #[arg(long, value_name = "SIZE")]
    pub memory_reservation: Option<String>,
    /// Memory and swap together, -1 for no limit
    #[arg(long, value_name = "SIZE")]
    pub memory_swap: Option<String>,
    /// Accepted for scripts; the kernel has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory: Option<String>,
    /// How willingly it swaps, 0 to 100
    #[arg(long, value_name = "N")]
    pub memory_swappiness: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "N")]
    pub cpus: Option<String>,
    /// Period of the CPU quota, microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// CPU quota, microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<i64>,
    /// CPU weight
    #[arg(short, long, value_name = "N")]
    pub cpu_shares: Option<u64>,
    /// CPUs to use, e.g. 0-2,4
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Number of processes, -1 for no limit
    #[arg(long, value_name = "N")]
    pub pids_limit: Option<i64>,
    /// Disk weight, 10 to 1000
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Disk weight for one device, PATH:N
    #[arg(long, value_name = "PATH:N")]
    pub blkio_weight_device: Vec<String>,
    /// Bytes to read from a device each second, PATH:SIZE
    #[arg(long, value_name = "PATH:SIZE")]
    pub device_read_bps: Vec<String>,
    /// Bytes to write to a device each second, PATH:SIZE
    #[arg(long, value_name = "PATH:SIZE")]
    pub device_write_bps: Vec<String>,
    /// Reads from a device each second, PATH:N
    #[arg(long, value_name = "PATH:N")]
    pub device_read_iops: Vec<String>,
    /// Writes to a device each second, PATH:N
    #[arg(long, value_name = "PATH:N")]
    pub device_write_iops: Vec<String>,
    /// Content of a cgroup v2 file, FILE=VALUE
    #[arg(long, value_name = "FILE=VALUE")]
    pub cgroup_conf: Vec<String>,
    /// Who makes cgroups, by containers.conf
    #[arg(skip)]
    pub cgroup_manager: CgroupManager,
    /// Do not kill it when memory runs out (cgroup v1)
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// How willingly the kernel kills it, -1000 to 1000
    #[arg(long, value_name = "N")]
    pub oom_score_adj: Option<i32>,
    /// Resource limit NAME=SOFT[:HARD], or host
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<String>,
    /// Whether it has a cgroup: enabled, disabled, no-conmon, split
    #[arg(long, value_name = "MODE")]
    pub cgroups: Option<String>,
    /// Parent of its cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Image")]
pub(super) struct Image {
    /// When to pull: always, missing, never, newer, lazy
    #[arg(long, value_name = "POLICY")]
    pub pull: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Architecture
    #[arg(long, alias = "override-arch", value_name = "ARCH")]
    pub arch: Option<String>,
    /// Operating system
    #[arg(long, alias = "override-os", value_name = "OS")]
    pub os: Option<String>,
    /// Variant of the architecture
    #[arg(long, alias = "override-variant", value_name = "VARIANT")]
    pub variant: Option<String>,
    /// File with credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Credentials, USER[:PASSWORD]
    #[arg(long, value_name = "CREDENTIALS")]
    pub creds: Option<String>,
    /// Folder with certificates for registries
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Check certificates of registries
    #[arg(long)]
    pub tls_verify: Option<bool>,
    /// How often to try a failed download again
    #[arg(long, value_name = "N")]
    pub retry: Option<u32>,
    /// Time between two tries
    #[arg(long, value_name = "DURATION")]
    pub retry_delay: Option<String>,
    /// Accepted for scripts; has no effect
    #[arg(long, hide = true)]
    pub disable_content_trust: Option<bool>,
}
