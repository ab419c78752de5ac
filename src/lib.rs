//! coracle: containers for one person, without a daemon and without root.
//!
//! The library exists for our own binary and tests, and promises nothing to others. Modules in
//! reading order, bottom layer first; each may name only lower layers (tests/it/architecture.rs):
//!
//! - kernel: [`sys`]
//! - vocabulary: [`base`], [`spec`]
//! - config: [`config`]
//! - records: [`state`], [`handoff`], [`events`]
//! - domains: [`image`], [`registry`], [`archive`], [`storage`], [`overlay`], [`network`], [`runtime`],
//!   [`monitor`], [`cgroup`], [`build`], [`logs`], [`secrets`],
//!   [`quadlet`], [`kube`], [`compose`]
//! - operations: [`operations`]
//! - entry: [`cli`], [`roles`], [`api`]
//!
//! Files we read and write: `config::dirs` says where, ARCHITECTURE.md draws the tree.

pub mod api;
pub mod archive;
pub mod base;
pub mod build;
pub mod cgroup;
pub mod cli;
pub mod compose;
pub mod config;
pub mod events;
pub mod handoff;
pub mod image;
pub mod kube;
pub mod logs;
pub mod monitor;
pub mod network;
pub mod operations;
pub mod overlay;
pub mod quadlet;
pub mod registry;
pub mod roles;
pub mod runtime;
pub mod secrets;
pub mod spec;
pub mod state;
pub mod storage;
pub mod sys;
