//! Quadlets: unit files that describe containers, pods, volumes, networks, images and more, made
//! into services for systemd.
//!
//! Everything but [`search`] is pure: text in, text out. Nothing is executed, looked up or resolved;
//! specifiers (`%n`) and variables stay as they are, for systemd.
//!
//! Spec: podman-systemd.unit(5) of podman 5.8; systemd.syntax(7), systemd.unit(5).

pub mod bundle;
mod convert;
mod keys;
pub mod search;
pub mod unit;
pub mod words;

#[cfg(test)]
mod golden_tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use keys::Kind;

use crate::base::{Error, Result};
use unit::Unit;

/// A quadlet as it was found.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its file name: `web.container`, `web@.container`, `web@a.container`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its text, drop-ins included.
    pub unit: Unit,
}

/// What the services are made for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The program, absolute.
    pub program: String,
    /// For a user's manager, not the system's.
    pub user: bool,
    /// Devices that are there, of those that a quadlet would like to have.
    pub devices: Vec<String>,
}

impl Target {
    fn has_device(&self, text: &str) -> bool {
        let host = text.split(':').next().unwrap_or(text);
        self.devices.iter().any(|d| d == host)
    }
}

/// A service made of a quadlet.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Links to make beside it, as `[Install]` asks: name and target.
    pub links: Vec<(String, String)>,
    /// Sentences for the person.
    pub notices: Vec<String>,
}

/// What others need to know of a quadlet.
#[derive(Clone, Debug)]
struct Info {
    /// Its service without `.service`.
    service: String,
    /// The name of what it makes; empty when only systemd knows it.
    resource: String,
    /// A pod's: the services of the containers that start with it.
    members: Vec<String>,
}

/// Everything that was found, by file name.
type Infos = BTreeMap<String, Info>;

/// Makes the services of quadlets, in the order given; each fails alone.
pub fn convert(sources: &[Source], target: &Target) -> Vec<(String, Result<Service>)> {
    let infos: Infos = sources
        .iter()
        .map(|s| {
            let info = Info {
                service: convert::service_name(s),
                resource: convert::resource_name(s),
                members: match s.kind {
                    Kind::Pod => convert::members(s, sources),
                    _ => Vec::new(),
                },
            };
            (s.name.clone(), info)
        })
        .collect();
    sources
        .iter()
        .map(|s| (s.name.clone(), convert::service(s, &infos, target)))
        .collect()
}

/// The service that a quadlet becomes, with `.service`.
pub fn service_of(source: &Source) -> String {
    format!("{}.service", convert::service_name(source))
}

/// A sentence about a line of a quadlet.
fn at(source: &Source, line: usize, what: impl std::fmt::Display) -> Error {
    Error::invalid(match line {
        0 => format!("{}: {what}", source.path.display()),
        line => format!("{}:{line}: {what}", source.path.display()),
    })
}
