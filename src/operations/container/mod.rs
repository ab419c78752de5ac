//! Everything people do with containers, one verb a file.
//!
//! Locks: `reap::lock` takes a container's lock and cleans up after a monitor that was killed.
//! Readers (`list`, `inspect`, `top`, `stats`) take none.

<<<<<<< HEAD
pub mod alter;
pub mod commit;
=======
pub mod attach;
>>>>>>> 542978e (logs, attach, wait, events: operations and commands)
pub mod create;
pub mod events;
pub mod exec;
pub mod filter;
pub mod inspect;
pub mod launch;
<<<<<<< HEAD
pub mod list;
pub mod look;
=======
pub mod logs;
>>>>>>> 542978e (logs, attach, wait, events: operations and commands)
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
<<<<<<< HEAD
pub mod top;
pub mod tree;
=======
pub mod wait;
>>>>>>> 542978e (logs, attach, wait, events: operations and commands)

pub use crate::base::signal;
