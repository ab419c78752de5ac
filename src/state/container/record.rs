//! What the records of a container hold, and what is concluded from them.

use serde::{Deserialize, Serialize};

use crate::base::time::Timestamp;
use crate::spec::digest::Digest;
use crate::spec::id::{ContainerId, ObjectName};
use crate::spec::idmap::IdMaps;
use crate::state::network::AttachedNetwork;
use crate::state::options::{ContainerOptions, PortMapping};
use crate::sys::process::Identity;

/// `config.json`: what the container is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Schema number.
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ObjectName,
    /// When it was created.
    pub created: Timestamp,
    /// What was asked for.
    pub options: ContainerOptions,
    /// The image, resolved; absent with `--rootfs`.
    #[serde(default)]
    pub image: Option<ContainerImage>,
    /// Volumes bound at creation, anonymous ones included.
    #[serde(default)]
    pub volumes: Vec<BoundVolume>,
    /// The storage driver that made its root file system.
    #[serde(default)]
    pub driver: String,
    /// Entrypoint and arguments as they were resolved at creation.
    #[serde(default)]
    pub command: Vec<String>,
    /// The signal that `stop` sends first, as it was resolved at creation; 0 means 15.
    #[serde(default)]
    pub stop_signal: i32,
    /// `--userns=auto`: the range that it was given, relative to the shared user namespace.
    #[serde(default)]
    pub auto_maps: Option<IdMaps>,
    /// `run` made it, to start it at once: its maker holds the lock until the monitor's mark is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_run: bool,
    /// `--transient-store`: the boot that it does not outlive. Its folder has a link of that name,
    /// `boot`, for whoever does not read the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transient: Option<String>,
}

/// The image of a container, as it was at creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerImage {
    /// The image id: digest of the configuration.
    pub id: Digest,
    /// The name it was found by, full form.
    pub name: String,
    /// The manifest's digest.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// A volume of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundVolume {
    /// The volume's name.
    pub name: String,
    /// Where it is mounted.
    pub destination: String,
    /// Whether it goes with the container.
    pub anonymous: bool,
}

/// `status.json`: the facts about a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Schema number.
    pub version: u32,
    /// The monitor.
    pub monitor: Identity,
    /// The container's first process, as seen from the host; absent while it is being launched or
    /// between two starts of a restart policy.
    pub init: Option<Identity>,
    /// When the present process was started.
    pub started: Timestamp,
    /// How often the restart policy started it again.
    #[serde(default)]
    pub restarts: u32,
    /// Whether it is frozen.
    #[serde(default)]
    pub paused: bool,
    /// Whether it waits for a connection (`--on-demand`), without a process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Whether one of its processes was killed for want of memory, in this run.
    #[serde(default)]
    pub out_of_memory: bool,
    /// The uplink's process.
    #[serde(default)]
    pub uplink: Option<Identity>,
    /// Published ports with random ones filled in.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// The kind of network in effect: pasta, slirp4netns, host, none, container, ns.
    #[serde(default)]
    pub network: String,
    /// Address inside, if the uplink gave one.
    #[serde(default)]
    pub ip_address: Option<String>,
    /// Networks with a name that it is on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<AttachedNetwork>,
    /// Whether its services send it no new connections, for it is about to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// The inode of the namespace of their bridges, which the monitor holds open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridges: Option<u64>,
    /// Path of the cgroup, if it has one.
    #[serde(default)]
    pub cgroup: Option<String>,
}

impl Status {
    /// A run that this monitor began then, of which nothing else is known yet.
    pub fn begun(monitor: Identity, started: Timestamp) -> Self {
        Self {
            version: 1,
            monitor,
            init: None,
            started,
            restarts: 0,
            paused: false,
            waiting: false,
            out_of_memory: false,
            uplink: None,
            ports: Vec::new(),
            network: String::new(),
            ip_address: None,
            networks: Vec::new(),
            drained: false,
            bridges: None,
            cgroup: None,
        }
    }
}

/// `exit.json`: how the last run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Schema number.
    pub version: u32,
    /// The exit code as `wait` prints it: 128 + n for signal n. -1 when unknown.
    pub code: i32,
    /// The monitor died and could not see the end.
    #[serde(default)]
    pub unknown: bool,
    /// The kernel's out-of-memory killer ended it.
    #[serde(default)]
    pub oom_killed: bool,
    /// When that run was started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Why it could not be started, in one line.
    #[serde(default)]
    pub error: Option<String>,
    /// A person stopped it (`stop`, `kill`), so `unless-stopped` and boot leave it alone.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// How often the restart policy had started it again by then.
    #[serde(default)]
    pub restarts: u32,
}

/// What a container is doing, concluded from the records and the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// The monitor is there, the process not yet or not again.
    Restarting,
    /// It has no process: the next connection to one of its ports starts it.
    Waiting,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// It ended.
    Exited,
    /// The monitor died without a record: the next command that changes it cleans up.
    Lost,
}

impl State {
    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Restarting => "restarting",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited | Self::Lost => "exited",
        }
    }

    /// Whether a process or a monitor of it lives.
    pub fn is_active(self) -> bool {
        matches!(
            self,
            Self::Restarting | Self::Waiting | Self::Running | Self::Paused
        )
    }
}
