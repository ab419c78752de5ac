//! Projects for clusters: manifests of Kubernetes, or a stack of Swarm. Pure.
//!
//! Every key of a project has a fate, and none is silent: a table for each target says what becomes
//! of it, and the conversion corrects the table where a value decides.

pub mod kube;
mod rules;
pub mod stack;
pub mod swarm;

use std::collections::BTreeMap;

use serde_json::Value;

use super::project::{Keys, Project};
use super::schema::{self, text};
use crate::base::Result;

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It means there what it means here.
    Kept,
    /// Something like it is there.
    Changed,
    /// It has no counterpart.
    Dropped,
}

impl Fate {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Changed => "changed",
            Self::Dropped => "dropped",
        }
    }
}

/// One key and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands: `services.web.ports`.
    pub path: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, or into what; empty for what is kept.
    pub why: String,
}

/// What is known besides the project.
pub struct Given<'a> {
    /// Names of images by service, where they are others than the project's: built and pushed.
    pub images: &'a BTreeMap<String, String>,
    /// The content of a secret or config: its noun (`secrets`) and key.
    pub content: &'a dyn Fn(&str, &str) -> Result<Vec<u8>>,
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// The documents, in the order in which they are to be made.
    pub documents: Vec<Value>,
    /// All keys of the project.
    pub lines: Vec<Line>,
}

/// What the conversion says where the table's word is not the last.
#[derive(Debug, Default)]
struct Ledger {
    said: BTreeMap<String, (Fate, String)>,
}

impl Ledger {
    fn say(&mut self, path: String, fate: Fate, why: impl Into<String>) {
        self.said.insert(path, (fate, why.into()));
    }

    fn dropped(&mut self, path: String, why: impl Into<String>) {
        self.say(path, Fate::Dropped, why);
    }

    fn changed(&mut self, path: String, why: impl Into<String>) {
        self.say(path, Fate::Changed, why);
    }

    /// The fates of all keys.
    fn lines(mut self, project: &Project, table: &[rules::Rule]) -> Vec<Line> {
        let mut lines = Vec::new();
        for (path, pattern) in schema::paths(&project.model) {
            let (fate, why) = match self.said.remove(&path) {
                Some(said) => said,
                None => rules::of(table, &pattern),
            };
            lines.push(Line { path, fate, why });
        }
        // Parts of lists have no path in the table.
        for (path, (fate, why)) in self.said {
            lines.push(Line { path, fate, why });
        }
        lines
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// A map of texts; what has no value is empty.
fn pairs(value: Option<&Value>) -> impl Iterator<Item = (&String, String)> {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    map.map(|(k, v)| (k, text(v).unwrap_or_default()))
}

/// A value below, by its keys.
fn below<'a>(keys: &'a Keys, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = keys.get(*first)?;
    for key in rest {
        value = value.get(key)?;
    }
    (!value.is_null()).then_some(value)
}

/// A text below.
fn word(keys: &Keys, path: &[&str]) -> Option<String> {
    below(keys, path).and_then(text)
}

/// A whole number below.
fn number(keys: &Keys, path: &[&str]) -> Option<i64> {
    word(keys, path)?.parse().ok()
}

/// Bytes below, of `64m` and its like.
fn bytes(keys: &Keys, path: &[&str]) -> Option<u64> {
    crate::base::size::parse(&word(keys, path)?).ok()
}

/// A time below, in seconds.
fn time(keys: &Keys, path: &[&str]) -> Option<f64> {
    schema::seconds(&word(keys, path)?)
}

/// Whether something is declared to exist.
pub fn is_external(keys: &Keys) -> bool {
    keys.get("external") == Some(&Value::Bool(true))
}

/// The image that a cluster pulls for a service.
fn image(project: &Project, given: &Given<'_>, service: &str, keys: &Keys) -> String {
    let pushed = given.images.get(service).cloned();
    pushed.unwrap_or_else(|| project.image(service, keys))
}

/// Puts something into a map unless it is nothing.
fn put(map: &mut Keys, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if !empty {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{Key, Kind};
    use super::super::table;
    use super::rules::{KUBE, Rule, SWARM};

    fn walk(keys: &[Key], path: &str, into: &mut Vec<String>) {
        for key in keys {
            let below = match path {
                "" => key.name.to_owned(),
                _ => format!("{path}.{}", key.name),
            };
            match key.kind {
                Kind::Object(more) => walk(more, &below, into),
                Kind::Each(more)
                    if ["services", "networks", "volumes", "secrets", "configs"]
                        .contains(&below.as_str()) =>
                {
                    walk(more, &format!("{below}.*"), into);
                }
                _ => into.push(below),
            }
        }
    }

    #[test]
    fn every_key_has_a_fate_in_both_tables() {
        let mut all = Vec::new();
        walk(table::TOP, "", &mut all);
        assert!(all.len() > 150, "{}", all.len());
        for rules in [KUBE, SWARM] {
            let lacks: Vec<&String> = all
                .iter()
                .filter(|p| !super::rules::has(rules, p))
                .collect();
            assert!(lacks.is_empty(), "{lacks:?}");
            let of = |r: &Rule| {
                all.iter()
                    .any(|p| p == r.0 || p.starts_with(&format!("{}.", r.0)))
            };
            let idle: Vec<&str> = rules.iter().filter(|r| !of(r)).map(|r| r.0).collect();
            assert!(idle.is_empty(), "{idle:?}");
        }
    }
}
