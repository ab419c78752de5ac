//! The journal of what happened: one JSON object a line, appended by every command and monitor.
//!
//! Invariants: writing costs microseconds and never fails the command that does it; readers take
//! no lock and skip lines that they cannot read.

mod filter;
mod journal;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use filter::Filter;
pub use journal::{Journal, decode};
pub use read::Reader;

use crate::base::time::Timestamp;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// A pod.
    Pod,
    /// A secret.
    Secret,
    /// coracle itself: `prune`, `reset`, `renumber`.
    System,
}

impl Type {
    /// podman's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Pod => "pod",
            Self::Secret => "secret",
            Self::System => "system",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// About what.
    #[serde(rename = "type")]
    pub kind: Type,
    /// podman's word: attach checkpoint cleanup commit copy create died exec exec_died export
    /// health_status import init kill load loadFromArchive mount network pause prune pull push remove
    /// rename restart restore save start stop sync tag unmount unpause untag update.
    pub action: String,
    /// Full id of the object, or its name where it has none (volumes).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The image of a container, by name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// `died`, `exec_died`: the exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Labels of the object, and details (`execID`, `signal`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event of now.
    pub fn new(kind: Type, action: &str, id: &str, name: &str) -> Self {
        Self {
            time: Timestamp::now(),
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            image: String::new(),
            exit_code: None,
            attributes: BTreeMap::new(),
        }
    }

    /// The same object, another action, now.
    #[must_use]
    pub fn again(&self, action: &str) -> Self {
        Self {
            time: Timestamp::now(),
            action: action.to_owned(),
            exit_code: None,
            ..self.clone()
        }
    }
}
