//! Networks of one container: its namespace, the program that connects it, its name files.
//!
//! [`plan::plan`] is pure: options, [`facts::HostFacts`] and containers.conf in, a
//! [`plan::NetworkPlan`] out. [`namespace`] makes the namespace, [`uplink::start`] runs pasta or
//! slirp4netns beside the monitor. Order of a start:
//!
//! 1. the command: `facts::probe`, `plan::plan`, `ports::check` (both fast, before anything is made),
//!    `namespace::spawn` (a thread), the files into the container's folder;
//! 2. the monitor: `uplink::start` before it clones the container;
//! 3. the monitor's end, however it comes, is the uplink's end.
//!
//! Fixed addresses: with our own uplink a container is 10.0.2.100 (or the same in another private
//! net where the host uses that one), the gateway .2, the resolver .3, whatever the host's network
//! is at the moment: it starts offline, and egress follows the host when that changes.
//!
//! Networks with a name are served by one process for all containers: [`bridge`]; [`ipam`] chooses
//! subnets and addresses.
//!
//! A container that runs on demand has its ports held by its monitor: [`demand`].
//!
//! Trust (security.md I): the host's loopback is out of reach, and a client's address is kept
//! where the tool can.

pub mod bridge;
mod carry;
pub mod demand;
pub mod facts;
pub mod files;
pub mod ipam;
pub mod namespace;
pub mod plan;
pub mod ports;
pub mod uplink;
