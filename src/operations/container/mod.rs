//! Everything people do with containers, one verb a file.
//!
//! Locks: `reap::lock` takes a container's lock and cleans up after a monitor that was killed.
//! Readers (`list`, `inspect`, `top`, `stats`) take none.

pub mod alter;
pub mod attach;
pub mod commit;
pub mod copy;
pub mod cp;
pub mod create;
pub mod events;
pub mod exec;
pub mod filter;
pub mod health;
pub mod inspect;
pub mod launch;
pub mod list;
pub mod logs;
pub mod look;
pub mod member;
pub mod mounted;
pub mod names;
pub mod pattern;
pub mod pause;
pub mod processes;
pub mod prune;
pub mod reap;
pub mod remove;
pub mod request;
pub mod run;
pub mod select;
pub mod stats;
pub mod stop;
pub mod summary;
pub mod top;
pub mod tree;
pub mod wait;

pub use crate::base::signal;
