//! The downward API: what a pod is told of itself, in variables and files.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::Node;
use super::{File, quantity};
use crate::base::{Error, Result};

/// What is known of a pod before it runs.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its name.
    pub pod: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Its namespace.
    pub namespace: Option<&'a str>,
}

impl About<'_> {
    /// A field by its path; `None` for what is not known.
    pub fn field(&self, path: &str) -> Option<String> {
        let of = |map: &BTreeMap<String, String>, prefix: &str| {
            let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
            Some(map.get(key).cloned().unwrap_or_default())
        };
        match path {
            "metadata.name" => Some(self.pod.to_owned()),
            "metadata.namespace" => Some(self.namespace.unwrap_or("default").to_owned()),
            "spec.serviceAccountName" => Some("default".to_owned()),
            _ => of(self.labels, "metadata.labels['")
                .or_else(|| of(self.annotations, "metadata.annotations['")),
        }
    }
}

/// A quantity counted in a divisor's, rounded up; without one in whole units.
///
/// # Errors
/// `Invalid` for what is no quantity.
pub fn divided(have: &str, divisor: Option<&str>) -> Result<String> {
    let divisor = match divisor {
        Some(text) if text != "0" => quantity::milli(text)?.max(1),
        _ => 1000,
    };
    Ok(quantity::milli(have)?.div_ceil(divisor).to_string())
}

/// `key="value"` lines, as files show labels and annotations.
fn lines(map: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = map
        .iter()
        .map(|(k, v)| format!("{k}={}", Value::from(v.as_str())))
        .collect();
    all.join("\n")
}

/// The files of a `downwardAPI` volume or source. `spec` is the pod's.
///
/// # Errors
/// `Unsupported` for fields that are known only when the pod runs; `NotFound` for a container or a
/// limit that is not there.
pub fn files(node: &Node<'_>, spec: &Node<'_>, about: &About<'_>, usual: u32) -> Result<Vec<File>> {
    let mut all = Vec::new();
    for item in node.nodes("items")? {
        let path = super::volume::inside(&item)?;
        let mode = item.number("mode")?.and_then(|m| u32::try_from(m).ok());
        let text = if let Some(field) = item.node("fieldRef")? {
            field.skip(&["apiVersion"]);
            let of = field.needed("fieldPath")?;
            match of.as_str() {
                "metadata.labels" => Some(lines(about.labels)),
                "metadata.annotations" => Some(lines(about.annotations)),
                other => about.field(other),
            }
            .ok_or_else(|| {
                Error::unsupported(format!(
                    "{}.fieldPath {of:?} is not known before the pod runs",
                    field.path()
                ))
            })?
        } else if let Some(field) = item.node("resourceFieldRef")? {
            let container = field.needed("containerName")?;
            let resource = field.needed("resource")?;
            let divisor = field.text("divisor")?;
            let have = quantity_of(spec, &container, &resource).ok_or_else(|| {
                Error::not_found(format!(
                    "{}: container {container:?} has no {resource}",
                    field.path()
                ))
            })?;
            divided(&have, divisor.as_deref())?
        } else {
            return Err(Error::invalid(format!(
                "{} has neither fieldRef nor resourceFieldRef",
                item.path()
            )));
        };
        all.push(File {
            path,
            bytes: text.into_bytes(),
            mode: mode.unwrap_or(usual),
        });
    }
    Ok(all)
}

/// `limits.cpu` and so on of a container.
fn quantity_of(spec: &Node<'_>, container: &str, resource: &str) -> Option<String> {
    let own = spec.value().get("containers")?.as_array()?.iter();
    let mut own = own.filter(|c| c["name"] == container);
    let (part, key) = resource.split_once('.')?;
    match &own.next()?["resources"][part][key] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
