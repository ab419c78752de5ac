//! What a container may use: limits, and who makes the groups that hold it to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_default;

/// Limits of the cgroup, as given; bytes and microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `--memory`.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<u64>,
    /// `--memory-reservation`.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_reservation: Option<u64>,
    /// `--memory-swap`; -1 means unlimited.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swap: Option<i64>,
    /// `--memory-swappiness`.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swappiness: Option<u64>,
    /// `--cpus`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<f64>,
    /// `--cpu-period`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_quota: Option<i64>,
    /// `--cpu-shares`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; -1 or 0 mean unlimited.
    #[serde(skip_serializing_if = "is_default")]
    pub pids_limit: Option<i64>,
    /// `--blkio-weight`.
    #[serde(skip_serializing_if = "is_default")]
    pub blkio_weight: Option<u16>,
    /// `--oom-kill-disable`.
    #[serde(skip_serializing_if = "is_default")]
    pub oom_kill_disable: bool,
    /// `--device-read-bps` and its like, `--blkio-weight-device`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceLimit>,
    /// `--cgroup-conf`: file of cgroup v2 and its content.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

/// A limit of one block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    /// What is limited.
    pub kind: DeviceLimitKind,
    /// The device's path on the host.
    pub path: String,
    /// Bytes or operations a second, or a weight of 10 to 1000.
    pub value: u64,
}

/// What can be limited of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceLimitKind {
    /// `--device-read-bps`.
    ReadBps,
    /// `--device-write-bps`.
    WriteBps,
    /// `--device-read-iops`.
    ReadIops,
    /// `--device-write-iops`.
    WriteIops,
    /// `--blkio-weight-device`.
    Weight,
}

impl DeviceLimitKind {
    /// The option that asks for it.
    pub fn option(self) -> &'static str {
        match self {
            Self::ReadBps => "--device-read-bps",
            Self::WriteBps => "--device-write-bps",
            Self::ReadIops => "--device-read-iops",
            Self::WriteIops => "--device-write-iops",
            Self::Weight => "--blkio-weight-device",
        }
    }

    /// The key in `io.max`; a weight has none.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Self::ReadBps => Some("rbps"),
            Self::WriteBps => Some("wbps"),
            Self::ReadIops => Some("riops"),
            Self::WriteIops => Some("wiops"),
            Self::Weight => None,
        }
    }
}

/// Who makes a container's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupManager {
    /// coracle where the tree is the caller's; systemd where it is not and a limit is asked for.
    #[default]
    Auto,
    /// coracle.
    Cgroupfs,
    /// systemd.
    Systemd,
    /// systemd where it runs: as `containers.conf` has it, which is made for many hosts.
    SystemdIfAny,
}
