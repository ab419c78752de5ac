//! How one process of ours talks to another: the control socket of a monitor, the attach stream,
//! the answer of a start, the order to a FUSE server, and the relay between a stream and the
//! caller's terminal.
//!
//! Nothing here knows what a container is: callers bring paths, identities and descriptors.
//! Invariants: every message is versioned and bounded; every wait has a deadline or a descriptor
//! that ends it.

pub mod address;
pub mod control;
pub mod ended;
pub mod failure;
pub mod frame;
pub mod fuse;
pub mod keys;
pub mod output;
pub mod relay;
pub mod terminal;
