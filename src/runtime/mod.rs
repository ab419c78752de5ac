//! The runtime: from a specification to a running first process.
//!
//! `generate` plans (pure), `seccomp` compiles filters (pure).

pub mod capabilities;
pub mod generate;
pub mod seccomp;
