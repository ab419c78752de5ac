//! Control groups: what this host lets the caller use, limits, freezing, counters.
//!
//! Only cgroup v2. A limit is either applied or refused with the sentence that names what is
//! missing and the command that mends it ([`check`]); never silently dropped. Without a writable
//! subtree containers run without a cgroup of their own.
//!
//! Where a container's group goes: `coracle/<id>` below the highest group that the caller may
//! write on the way from its own to the root: `/` for root, `user@UID.service` for a process below
//! the user manager, the delegated group in other cases.
//!
//! Kernel: Documentation/admin-guide/cgroup-v2.rst.

mod group;
mod limits;
mod probe;

pub use group::{Group, Stats};
pub use limits::{DEFAULT_PIDS, Settings, check};
pub use probe::{Support, Version, probe};
