//! The one integration binary: one file a capability, the harness in `support`.
//!
//! Tests run the real program on the real kernel, each in a root of its own (`support::World`).
//! What a test needs of the machine it names with `requires!`; on a machine without it the test
//! says so and passes, unless `REQUIRE=1` (CI sets it), which turns that into a failure.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and their helper functions are not test functions"
)]

#[macro_use]
mod support;

mod api;
mod architecture;
mod archives;
mod build;
mod build_cache;
mod build_index;
mod building;
mod chunked;
mod compose;
mod container;
mod copying;
mod crowd;
mod debian;
mod demand;
mod devices;
mod diskfull;
mod distribution;
mod docker;
mod failpoints;
mod faults;
mod fuzz;
mod health;
mod holder;
mod interrupt;
mod isolation;
mod killed;
mod kube;
mod kube_apply;
mod lazy;
mod lists;
mod manual;
mod mistakes;
mod mounts;
mod network;
mod networks;
mod objects;
mod oci_config;
mod oci_features;
mod oci_hooks;
mod oci_linux;
mod oci_runtime;
mod overlay;
mod own_host;
mod pods;
mod progress;
mod registry;
mod registry_config;
mod replicas;
mod run_flags;
mod scale;
mod security;
mod services;
mod shells;
mod streams;
mod trust;
mod upkeep;
mod users;
mod verbs;
