//! Control groups: what this host lets the caller use, limits, freezing, counters.
//!
//! Only cgroup v2. A limit is either applied or refused with the sentence that names what is
//! missing and the command that mends it ([`check`]); never silently dropped. Without a writable
//! subtree containers run without a cgroup of their own.
//!
//! Where a container's group goes: `coracle/<id>` below the highest group that the caller may
//! write on the way from its own to the root: `/` for root, `user@UID.service` for a process below
//! the user manager, the delegated group in other cases. Where there is none (a login session) and
//! something is asked that only a group can give, systemd makes a scope `coracle-<id>.scope`, with
//! the monitor and the container in groups of their own below it ([`choose`]).
//!
//! A pod with limits has a group for all of its containers ([`below`]).
//!
//! Kernel: Documentation/admin-guide/cgroup-v2.rst.

mod group;
mod limits;
mod manager;
mod place;
mod pod;
mod probe;

pub use group::{Group, Kills, MemoryWatch, Stats, Who};
pub use limits::{DEFAULT_PIDS, Settings, check};
pub use manager::{CONTAINER, Manager, Scope};
pub use place::{Place, Wish, choose, usual};
pub use pod::{below, of_holder};
pub use probe::{Support, Version, probe, probe_at};
