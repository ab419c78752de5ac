//! The shapes that docker gives its rows, for a program that is called by that name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Longest command that docker shows in a table.
const COMMAND: usize = 20;

/// An image's name as docker shows it: without the registry and the folder that it adds itself,
/// and without the registry that stands for "made here".
pub fn familiar(name: &str) -> &str {
    ["docker.io/library/", "docker.io/", "localhost/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// A command in quotes, cut unless `full`.
pub fn command(text: &str, full: bool) -> String {
    let cut = match full || text.chars().count() <= COMMAND {
        true => text.to_owned(),
        false => text.chars().take(COMMAND - 1).chain(['…']).collect(),
    };
    format!("{cut:?}")
}

/// `k=v,k2=v2`.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(",")
}

/// A row for `{{json .}}`: the keys that docker has, in its order.
pub fn only(row: &Value, keys: &[&str]) -> Value {
    let picked: Map<String, Value> = keys
        .iter()
        .map(|key| ((*key).to_owned(), row[*key].clone()))
        .collect();
    Value::Object(picked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_commands_have_dockers_shape() {
        for (name, shown) in [
            ("docker.io/library/alpine", "alpine"),
            ("docker.io/user/app:1", "user/app:1"),
            ("localhost/made", "made"),
            ("quay.io/x/y", "quay.io/x/y"),
        ] {
            assert_eq!(familiar(name), shown);
        }
        assert_eq!(command("sleep 300", false), "\"sleep 300\"");
        assert_eq!(
            command("a-very-long-command --with", false),
            "\"a-very-long-command…\""
        );
        assert_eq!(command("sh -c \"x\"", true), r#""sh -c \"x\"""#);
        assert_eq!(
            only(&serde_json::json!({"b": 1, "a": 2, "c": 3}), &["a", "b"]).to_string(),
            r#"{"a":2,"b":1}"#
        );
    }
}
