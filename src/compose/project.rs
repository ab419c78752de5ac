//! A project: what the files say after everything was merged, with names settled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::schema::text;
use crate::base::{Error, Result};

/// A project.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its files, in order, absolute.
    pub files: Vec<PathBuf>,
    /// The files with variables.
    pub env_files: Vec<PathBuf>,
    /// Everything, in the long form.
    pub model: Value,
    /// Services whose profiles are off.
    pub disabled: BTreeMap<String, Value>,
    /// The variables that values and containers may take.
    pub env: BTreeMap<String, String>,
    /// Sentences for the person.
    pub notices: Vec<String>,
}

/// A service's or another object's keys.
pub type Keys = Map<String, Value>;

/// A dependency of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The other service.
    pub service: String,
    /// `service_started`, `service_healthy`, `service_completed_successfully`.
    pub condition: String,
    /// Restarting the other one restarts this one.
    pub restart: bool,
    /// It must be there.
    pub required: bool,
}

impl Project {
    /// The services that are on, by name.
    pub fn services(&self) -> impl Iterator<Item = (&String, &Keys)> {
        objects(&self.model, "services")
    }

    /// A service that is on.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn service(&self, name: &str) -> Result<&Keys> {
        self.services()
            .find(|(n, _)| *n == name)
            .map(|(_, keys)| keys)
            .ok_or_else(|| Error::not_found(format!("no such service: {name}")))
    }

    /// Objects of the top level: `networks`, `volumes`, `secrets`, `configs`.
    pub fn objects<'a>(&'a self, noun: &'a str) -> impl Iterator<Item = (&'a String, &'a Keys)> {
        objects(&self.model, noun)
    }

    /// What a service needs, given and implied.
    pub fn dependencies(keys: &Keys) -> Vec<Dependency> {
        let mut all = Vec::new();
        if let Some(Value::Object(map)) = keys.get("depends_on") {
            for (service, how) in map {
                let how = how.as_object();
                let of = |key: &str| how.and_then(|h| h.get(key));
                all.push(Dependency {
                    service: service.clone(),
                    condition: of("condition")
                        .and_then(text)
                        .unwrap_or_else(|| "service_started".to_owned()),
                    restart: of("restart") == Some(&Value::Bool(true)),
                    required: of("required") != Some(&Value::Bool(false)),
                });
            }
        }
        all
    }

    /// The services named, and with `deps` what they need, each after its own needs.
    ///
    /// # Errors
    /// `NotFound` for a service that is not there; `Invalid` for a circle.
    pub fn order(&self, names: &[String], deps: bool) -> Result<Vec<String>> {
        let mut made = Vec::new();
        let all: Vec<String> = match names.is_empty() {
            true => self.services().map(|(n, _)| n.clone()).collect(),
            false => names.to_vec(),
        };
        for name in &all {
            self.service(name)?;
        }
        let wanted = |name: &str| deps || all.iter().any(|n| n == name);
        for name in &all {
            self.visit(name, &mut Vec::new(), &mut made)?;
        }
        made.retain(|name| wanted(name));
        Ok(made)
    }

    fn visit(&self, name: &str, above: &mut Vec<String>, made: &mut Vec<String>) -> Result<()> {
        if made.iter().any(|m| m == name) {
            return Ok(());
        }
        if above.iter().any(|a| a == name) {
            above.push(name.to_owned());
            return Err(Error::invalid(format!(
                "dependency cycle detected: {}",
                above.join(" -> ")
            )));
        }
        above.push(name.to_owned());
        for needed in Self::dependencies(self.service(name)?) {
            if self.service(&needed.service).is_ok() {
                self.visit(&needed.service, above, made)?;
            }
        }
        above.pop();
        made.push(name.to_owned());
        Ok(())
    }

    /// The services that need one of these, directly or not.
    pub fn dependents(&self, names: &[String]) -> BTreeSet<String> {
        let mut found: BTreeSet<String> = names.iter().cloned().collect();
        loop {
            let more: Vec<String> = self
                .services()
                .filter(|(n, keys)| {
                    !found.contains(*n)
                        && Self::dependencies(keys)
                            .iter()
                            .any(|d| found.contains(&d.service))
                })
                .map(|(n, _)| n.clone())
                .collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    /// How many containers a service has.
    pub fn scale(keys: &Keys) -> usize {
        let deploy = keys.get("deploy").and_then(|d| d.get("replicas"));
        let count = keys.get("scale").or(deploy).and_then(Value::as_u64);
        usize::try_from(count.unwrap_or(1)).unwrap_or(1)
    }

    /// The image of a service: the one it names, else the one that is built for it.
    pub fn image(&self, service: &str, keys: &Keys) -> String {
        keys.get("image")
            .and_then(text)
            .unwrap_or_else(|| format!("{}-{service}", self.name))
    }

    /// The name of a container of a service.
    pub fn container_name(&self, service: &str, keys: &Keys, number: usize) -> String {
        keys.get("container_name")
            .and_then(text)
            .unwrap_or_else(|| format!("{}-{service}-{number}", self.name))
    }

    /// The real name of a network, volume, secret or config.
    pub fn real_name(&self, noun: &str, key: &str) -> String {
        let given = self
            .model
            .get(noun)
            .and_then(|n| n.get(key))
            .and_then(|o| o.get("name"));
        given
            .and_then(text)
            .unwrap_or_else(|| format!("{}_{key}", self.name))
    }

    /// The hash of what makes a service's containers what they are: with another one they are made
    /// anew. What only says when and how many is left out, as docker does.
    pub fn hash(keys: &Keys) -> String {
        let mut keys = keys.clone();
        for away in [
            "build",
            "pull_policy",
            "scale",
            "depends_on",
            "profiles",
            "develop",
            "attach",
        ] {
            keys.remove(away);
        }
        if let Some(Value::Object(deploy)) = keys.get_mut("deploy") {
            for away in ["replicas", "update_config", "rollback_config"] {
                deploy.remove(away);
            }
            if deploy.is_empty() {
                keys.remove("deploy");
            }
        }
        let bytes = sorted(&Value::Object(keys)).to_string();
        crate::spec::digest::Digest::sha256_of(bytes.as_bytes())
            .hex()
            .to_owned()
    }

    /// As `config` prints it: sorted, with the name first.
    pub fn canonical(&self) -> Value {
        let mut made = Map::new();
        made.insert("name".to_owned(), self.name.clone().into());
        if let Value::Object(map) = sorted(&self.model) {
            made.extend(map.into_iter().filter(|(k, v)| {
                k != "name"
                    && k != "version"
                    && k != "include"
                    && (v != &json!({}) || k == "services")
            }));
        }
        Value::Object(made)
    }
}

fn objects<'a>(model: &'a Value, noun: &str) -> impl Iterator<Item = (&'a String, &'a Keys)> {
    let map = model.get(noun).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name, value.as_object()?)))
}

/// The same value with the keys of every map in order.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter()
                .map(|k| (k.clone(), sorted(&map[k])))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
