//! `--filter key=value`: podman's and docker's grammar, and the meanings that several commands
//! share.

use std::collections::BTreeMap;

use super::error::{Error, Result};
use super::time::Timestamp;

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What is compared.
    pub key: String,
    /// With what.
    pub value: String,
    /// `key!=value`.
    pub negated: bool,
}

/// Filters of one command. Those with the same key are alternatives (a negated one, and `label`,
/// must hold by itself); different keys must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(pub Vec<Filter>);

impl Filters {
    /// Parses the values of `--filter`; only `known` keys are accepted.
    ///
    /// # Errors
    /// `Invalid` for text without `=` or an unknown key.
    pub fn parse<S: AsRef<str>>(texts: &[S], known: &[&str]) -> Result<Self> {
        let mut filters = Vec::new();
        for text in texts {
            let text = text.as_ref();
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Error::invalid(format!("invalid filter {text:?}: expected KEY=VALUE"))
            })?;
            let (key, negated) = match key.strip_suffix('!') {
                Some(key) => (key, true),
                None => (key, false),
            };
            if !known.contains(&key) {
                return Err(Error::invalid(format!("invalid filter key {key:?}"))
                    .hint(format!("known filters: {}", known.join(", "))));
            }
            filters.push(Filter {
                key: key.to_owned(),
                value: value.to_owned(),
                negated,
            });
        }
        Ok(Self(filters))
    }

    /// Whether no filter was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of a key, negated ones left out.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |f| f.key == key && !f.negated)
            .map(|f| f.value.as_str())
    }

    /// Whether an object passes: `holds(key, value)` says whether one filter applies to it.
    ///
    /// # Errors
    /// Those of `holds`.
    pub fn accept(&self, mut holds: impl FnMut(&str, &str) -> Result<bool>) -> Result<bool> {
        let mut alternatives: BTreeMap<&str, bool> = BTreeMap::new();
        for filter in &self.0 {
            let held = holds(&filter.key, &filter.value)?;
            if filter.negated || filter.key.starts_with("label") {
                if held == filter.negated {
                    return Ok(false);
                }
            } else {
                *alternatives.entry(&filter.key).or_default() |= held;
            }
        }
        Ok(alternatives.values().all(|held| *held))
    }
}

/// `label=KEY` or `label=KEY=VALUE`.
pub fn label_matches(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
        None => labels.contains_key(wanted),
    }
}

/// The point in time of `since=` and `until=`.
///
/// # Errors
/// As [`Timestamp::parse_moment`].
pub fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    Timestamp::parse_moment(text, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_keys_are_alternatives_and_labels_all_hold() {
        let known = ["name", "status", "label"];
        let accept = |texts: &[&str], name: &str, status: &str| {
            Filters::parse(texts, &known)
                .unwrap()
                .accept(|key, value| {
                    Ok(match key {
                        "name" => value == name,
                        "status" => value == status,
                        _ => value == "a" || value == "b",
                    })
                })
                .unwrap()
        };
        assert!(accept(&[], "x", "up"));
        assert!(accept(&["name=x", "name=y"], "y", "up"));
        assert!(!accept(&["name=x", "status=up"], "x", "down"));
        assert!(!accept(&["name!=x"], "x", "up"));
        assert!(accept(&["label=a", "label=b"], "x", "up"));
        assert!(!accept(&["label=a", "label=c"], "x", "up"));
        assert!(Filters::parse(&["colour=red"], &known).is_err());
        assert!(Filters::parse(&["name"], &known).is_err());
    }
}
