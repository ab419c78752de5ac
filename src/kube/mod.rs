//! Kubernetes manifests: text in, what is to be done out. Pure.
//!
//! A plan names pods and containers by the words of `pod create` and `create`, so a person can read
//! it, and so that a manifest can do what a command line can. Fields that are read mark themselves;
//! every other one becomes a notice: nothing is dropped in silence.

pub mod apply;
pub mod config;
mod container;
mod cron;
mod downward;
mod kinds;
mod node;
mod plan;
mod pod;
mod probe;
mod quantity;
mod service;
mod volume;

#[cfg(test)]
mod golden_tests;

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::Value;

pub use plan::plan;

use crate::base::{Context as _, Error, Kind, Result};
use crate::state::options::PortMapping;
use crate::state::service::ServicePort;

/// What else is asked for on the command line of `kube play`.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// `--network`; empty means the one that all manifests share.
    pub networks: Vec<String>,
    /// `--configmap`: further ConfigMaps.
    pub config_maps: Vec<Value>,
    /// `--publish`.
    pub publish: Vec<String>,
    /// `--publish-all`: container ports without a host port, too.
    pub publish_all: bool,
    /// `--userns`.
    pub userns: Option<String>,
    /// `--annotation`.
    pub annotations: Vec<String>,
    /// `--log-driver`.
    pub log_driver: Option<String>,
    /// `--log-opt`.
    pub log_opts: Vec<String>,
    /// `--no-hosts`.
    pub no_hosts: bool,
    /// `--ip`.
    pub ips: Vec<String>,
    /// `--mac-address`.
    pub macs: Vec<String>,
    /// `--seccomp-profile-root`.
    pub seccomp_root: Option<String>,
    /// `--no-pod-prefix`: containers have their own names.
    pub no_pod_prefix: bool,
}

/// What is looked up elsewhere: `(kind, name)` of a ConfigMap or Secret that the manifest lacks.
pub type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<BTreeMap<String, Vec<u8>>>;

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// Fields and kinds that have no effect.
    pub notices: Vec<String>,
}

/// One thing to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A network with names, unless it is there.
    Network(String),
    /// A volume.
    Volume(Volume),
    /// A name and an address in front of pods, which are told to take part.
    Service(Service),
    /// A secret, as podman keeps them: the whole object.
    Secret {
        /// Its name.
        name: String,
        /// The object, JSON.
        content: String,
    },
    /// A path of the host that must be there, or is made.
    HostPath {
        /// Absolute.
        path: String,
        /// `hostPath.type`.
        kind: String,
    },
    /// A pod, by the words of `pod create`.
    Pod {
        /// Its name.
        name: String,
        /// Flags and values.
        words: Vec<String>,
    },
    /// A container, by the words of `create`.
    Container {
        /// Its image: it may be built first.
        image: String,
        /// Flags and values, image and arguments.
        words: Vec<String>,
    },
    /// Everything of a pod is made: start it.
    Start(String),
    /// A CronJob: a timer of systemd's that plays a manifest.
    Timer(Timer),
}

/// A Service with an address of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Further names: with the domains that a cluster has.
    pub names: Vec<String>,
    /// Its networks.
    pub networks: Vec<String>,
    /// Ports of its address.
    pub ports: Vec<ServicePort>,
    /// Ports of the host.
    pub publish: Vec<PortMapping>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What plays a manifest again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// Its name: the CronJob's.
    pub name: String,
    /// Values of `OnCalendar=`.
    pub calendars: Vec<String>,
    /// It exists and does nothing.
    pub suspended: bool,
    /// The pods of a run, as they are named while it goes on.
    pub pods: Vec<String>,
    /// The Job with what it needs: a `List`, JSON.
    pub manifest: String,
}

/// A volume and what it is filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// A claim's: it outlives the pod.
    pub keeps: bool,
    /// Files, written at every play.
    pub files: Vec<File>,
}

/// A file of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Below the volume.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// The folder that an image of this name is built of: the last part, without tag and digest.
pub fn image_folder(image: &str) -> &str {
    let last = image.rsplit_once('/').map_or(image, |(_, last)| last);
    last.split(['@', ':']).next().unwrap_or(last)
}

/// Reads a manifest: several documents, lists unpacked. `name` is what it is called in errors.
///
/// # Errors
/// `Invalid` for what is no YAML, or no object of Kubernetes'.
pub fn parse(text: &str, name: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document)
            .what_kind(Kind::Invalid, || format!("cannot read {name}"))?;
        unpack(value, name, &mut objects)?;
    }
    if objects.is_empty() {
        return Err(Error::invalid(format!("{name} holds no object")));
    }
    Ok(objects)
}

fn unpack(value: Value, name: &str, into: &mut Vec<Value>) -> Result<()> {
    if value.is_null() {
        return Ok(());
    }
    let Some(kind) = value.get("kind").and_then(Value::as_str) else {
        return Err(Error::invalid(format!("{name}: an object without a kind"))
            .hint("a manifest has apiVersion, kind, metadata and spec"));
    };
    if kind != "List" {
        into.push(value);
        return Ok(());
    }
    let items = value.get("items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        unpack(item.clone(), name, into)?;
    }
    Ok(())
}

/// What a ConfigMap or a Secret holds, by key.
///
/// # Errors
/// `Invalid` for data that is no base64.
pub fn data_of(object: &Value) -> Result<BTreeMap<String, Vec<u8>>> {
    use base64::Engine as _;
    let secret = object.get("kind").and_then(Value::as_str) == Some("Secret");
    let mut all = BTreeMap::new();
    let mut add = |field: &str, encoded: bool| -> Result<()> {
        for (key, value) in object
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let bytes = if encoded {
                let packed: String = text.split_whitespace().collect();
                base64::engine::general_purpose::STANDARD
                    .decode(packed)
                    .what_kind(Kind::Invalid, || format!("{field}.{key} is no base64"))?
            } else {
                text.into_bytes()
            };
            all.insert(key.clone(), bytes);
        }
        Ok(())
    };
    add("binaryData", true)?;
    add("data", secret)?;
    add("stringData", false)?;
    Ok(all)
}
