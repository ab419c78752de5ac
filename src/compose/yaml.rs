//! YAML to JSON values: anchors and merge keys resolved, `!reset` and `!override` kept as marks.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::base::{Error, Result};

/// The key of a mark; no key of a file can be it.
const MARK: &str = "\u{0}mark";
/// The key of what a mark is about.
const MARKED: &str = "\u{0}value";

/// A tag of the Compose Specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `!reset`: the key is as if nobody had given it.
    Reset,
    /// `!override`: it replaces and is not merged.
    Override,
}

/// A value with a mark.
fn mark(mark: Mark, value: Value) -> Value {
    let mut map = Map::new();
    map.insert(MARK.to_owned(), Value::Bool(mark == Mark::Reset));
    map.insert(MARKED.to_owned(), value);
    Value::Object(map)
}

/// The mark of a value, and the value without it.
pub fn unmark(value: Value) -> (Option<Mark>, Value) {
    match value {
        Value::Object(mut map) if map.contains_key(MARK) => {
            let reset = map.get(MARK) == Some(&Value::Bool(true));
            let inner = map.remove(MARKED).unwrap_or(Value::Null);
            (
                Some(if reset { Mark::Reset } else { Mark::Override }),
                inner,
            )
        }
        other => (None, other),
    }
}

/// The same value with the mark that [`unmark`] answered.
pub fn remark(found: Option<Mark>, value: Value) -> Value {
    match found {
        Some(found) => mark(found, value),
        None => value,
    }
}

/// Whether a value has a mark.
pub fn is_marked(value: &Value) -> bool {
    value.as_object().is_some_and(|m| m.contains_key(MARK))
}

/// Reads all documents of a file.
///
/// # Errors
/// `Invalid` with the place, for what is no YAML.
pub fn read(text: &str, name: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let wrong = |e: serde_yaml::Error| Error::invalid(format!("{name}: {e}"));
        let mut value = serde_yaml::Value::deserialize(document).map_err(wrong)?;
        value.apply_merge().map_err(wrong)?;
        let value = json(value)?;
        if !value.is_null() {
            all.push(value);
        }
    }
    Ok(all)
}

fn json(value: serde_yaml::Value) -> Result<Value> {
    use serde_yaml::Value as Y;
    Ok(match value {
        Y::Null => Value::Null,
        Y::Bool(b) => Value::Bool(b),
        Y::String(s) => Value::String(s),
        Y::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), ..) => i.into(),
            (_, Some(u), _) => u.into(),
            (.., Some(f)) => serde_json::Number::from_f64(f).map_or(Value::Null, Value::Number),
            _ => Value::Null,
        },
        Y::Sequence(list) => Value::Array(list.into_iter().map(json).collect::<Result<_>>()?),
        Y::Mapping(map) => {
            let mut made = Map::new();
            for (key, value) in map {
                let key = match key {
                    Y::String(s) => s,
                    Y::Bool(b) => b.to_string(),
                    Y::Number(n) => n.to_string(),
                    Y::Null => String::new(),
                    _ => return Err(Error::invalid("a key must be a text")),
                };
                made.insert(key, json(value)?);
            }
            Value::Object(made)
        }
        Y::Tagged(tagged) => {
            let inner = json(tagged.value)?;
            match tagged.tag.to_string().trim_start_matches('!') {
                "reset" => mark(Mark::Reset, Value::Null),
                "override" => mark(Mark::Override, inner),
                _ => inner,
            }
        }
    })
}

/// The line, from 1, where a key stands: found by indentation, which is how such files are written.
pub fn line_of(text: &str, path: &str) -> Option<usize> {
    let mut lines = text.lines().enumerate().peekable();
    let mut found = None;
    let mut least = 0;
    'key: for key in path.split('.') {
        let key = key.split('[').next().unwrap_or(key);
        for (number, line) in lines.by_ref() {
            let bare = line.trim_start();
            let indent = line.len() - bare.len();
            if bare.is_empty() || bare.starts_with('#') || indent < least {
                continue;
            }
            let word = bare.trim_start_matches("- ");
            let word = word.trim_start_matches(['"', '\'']);
            if let Some(rest) = word.strip_prefix(key)
                && rest
                    .trim_start_matches(['"', '\''])
                    .trim_start()
                    .starts_with(':')
            {
                found = Some(number + 1);
                least = indent + 1;
                continue 'key;
            }
        }
        return found;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn anchors_merge_keys_and_tags_are_read() {
        let text = "x-a: &a {k: 1, l: 2}\nb:\n  <<: *a\n  l: 3\nc: !reset null\nd: !override [1]\n";
        let read = read(text, "f").unwrap().remove(0);
        assert_eq!(read["b"], json!({"k": 1, "l": 3}));
        assert_eq!(unmark(read["c"].clone()), (Some(Mark::Reset), Value::Null));
        assert_eq!(
            unmark(read["d"].clone()),
            (Some(Mark::Override), json!([1]))
        );
        assert!(
            super::read("a: [1", "f")
                .unwrap_err()
                .what()
                .starts_with("f: ")
        );
    }

    #[test]
    fn a_key_is_found_in_its_text() {
        let text = "name: x\nservices:\n  a:\n    image: i\n  b:\n    # no\n    tty: maybe\n";
        assert_eq!(line_of(text, "services.b.tty"), Some(7));
        assert_eq!(line_of(text, "services.a.image"), Some(4));
        assert_eq!(line_of(text, "services.b.none"), Some(5));
        assert_eq!(line_of(text, "nothing"), None);
    }
}
