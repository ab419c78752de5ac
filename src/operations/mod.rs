//! The only place where two domains meet: a request comes in, an outcome goes out, nothing is printed.

pub mod auto_update;
pub mod build;
pub mod compose;
pub mod container;
pub mod doctor;
pub mod events;
pub mod generate;
pub mod image;
mod journalctl;
pub mod kube;
pub mod network;
pub mod ociruntime;
pub mod pod;
pub mod quadlet;
pub mod secret;
pub mod service;
pub mod session;
pub mod system;
mod systemctl;
pub mod volume;
