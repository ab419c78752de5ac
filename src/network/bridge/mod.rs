//! Bridge networks: one process for each user that serves them all, the role `net`.
//!
//! Contract. Started by: the first command whose container uses a network with a name (a fork, no
//! exec), or by a monitor that lost it. Runs: in the caller's user and mount namespaces and in the
//! host's network; its namespace of bridges is a descriptor. Holds: that namespace, the uplink, the
//! sockets of DNS and of published ports, a connection to each monitor. Writes: nothing but its
//! socket `<runtime>/net/<user namespace>.sock`. Ends: some seconds after the last connection closed. Killed: the
//! bridges live on, for every monitor holds their namespace ([`client::Membership`]); monitors
//! notice and start it again, and tell it what they have. Traffic between containers goes on.
//!
//! - [`protocol`]: what monitors and this role tell each other;
//! - [`client`]: the monitors' and the commands' side;
//! - [`server`]: the role; [`links`] and [`rules`] are what it asks of the kernel, pure;
//!   [`confine`]: what it gives up;
//! - [`dns`]: names; [`ports`]: published ports.
//!
//! No reference counts: a connection that closes is a container that left.

pub mod client;
mod confine;
pub mod dns;
mod inside;
pub(in crate::network) mod links;
mod orders;
pub mod ports;
pub mod protocol;
mod rules;
mod server;

pub use dns::names::DOMAIN;

/// The device that leads out of the namespace of bridges.
const UPLINK: &str = "eth0";

/// What frames may carry where nobody chose: the uplinks are no wire, so nothing limits them but
/// IPv4. As podman has it without root.
const MTU: u32 = 65520;
