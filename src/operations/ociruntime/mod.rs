//! `coracle runtime`: bundles of others, run as the runtime specification says. No image, no
//! monitor, no network of ours: what a bundle's `config.json` has is made, started and removed.
//!
//! One folder a container below [`Place::root`]:
//!
//! - `record`: one line of JSON ([`record::Record`]), then the configuration as it was at `create`,
//!   byte for byte. Written once, by `create`.
//! - `start`: the socket at which the first process waits for its start (`.start` while it is not
//!   ready). Gone once it was started.
//!
//! Whether a container is created, runs or stopped is concluded from these and the process.
//! Nothing of ours stays behind but the container's own first process.
//!
//! Lock: `flock` on the folder, by `start` and `delete`.

pub mod bpf;
pub mod bundle;
pub mod cgroups;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod freeze;
pub mod kill;
pub mod limits;
pub mod list;
pub mod netdevices;
pub mod process;
pub mod rdt;
pub mod record;
pub mod rights;
pub mod run;
pub mod spec;
pub mod start;

use std::path::PathBuf;

/// Where containers are, and how cgroups are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The folder of all containers.
    pub root: PathBuf,
    /// `cgroupsPath` is `slice:prefix:name`.
    pub systemd_cgroup: bool,
    /// Make no cgroup at all (crun's `--cgroup-manager disabled`).
    pub no_cgroup: bool,
}
