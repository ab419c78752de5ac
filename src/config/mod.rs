//! Files, environment, directories and id ranges: read once, here only.

pub mod dirs;
