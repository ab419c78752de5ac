//! Names for containers: a thread that answers at the gateways and asks the host's servers about
//! the rest.
//!
//! - [`names`]: who is called what, pure; [`wire`]: messages, pure;
//! - [`upstream`]: whom to ask, as the host's resolv.conf has it at the moment;
//! - [`service`]: the thread. Its sockets stay open whoever comes and goes.
//!
//! Bounds, so that a flood costs the flooder: questions under way, those of one asker, connections,
//! those of one asker, bytes of a question, time for each.

pub mod names;
mod service;
mod upstream;
pub mod wire;

pub(super) use service::{Handle, Listening};

/// Where the host names its servers.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
