//! Health checks: when one is due (`judge`, pure), and the process that does it (`probe`).
//!
//! A check is a fork of the monitor that lives for one check: it joins the container's namespaces,
//! which the monitor could never leave again, waits, and writes one line into a pipe. The monitor's
//! loop sees the pipe, and never waits.

mod grpc;
mod judge;
mod probe;

pub(super) use judge::{Action, Judge};
pub(super) use probe::{Flight, Landed, enter_network};
