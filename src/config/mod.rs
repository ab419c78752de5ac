//! Files, environment, directories and id ranges: read once, here only.

pub mod cdi;
mod conf_keys;
pub mod containers_conf;
pub mod dirs;
pub mod env;
pub mod limits;
pub mod oci_hooks;
pub mod storage_conf;
pub mod subid;
mod tables;
pub mod user;
