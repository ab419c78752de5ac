//! Records: what is on disk, one file for each object and concern.
//!
//! Facts are stored, conclusions are not: "running" follows from boot id, pid and start time.
//! Each record has a schema number; a reader accepts older ones and refuses newer ones by name.
//! One writer for each file; replaced atomically; readers take no lock.

pub mod container;
pub mod health;
pub mod network;
pub mod options;
pub mod pod;
pub mod request;
pub mod service;
