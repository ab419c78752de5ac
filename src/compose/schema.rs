//! Which keys there are, what they take, and which have no effect here.
//!
//! The table is in [`super::table`], for values in the long form.

use serde_json::{Map, Value};

use super::yaml::is_marked;
use crate::base::{Error, Result};

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text; numbers and booleans become one.
    Text,
    /// `true` or `false`, as a text too.
    Bool,
    /// A whole number, as a text too.
    Int,
    /// A number, as a text too.
    Number,
    /// Bytes: a number or `64k`.
    Size,
    /// `1m30s`.
    Time,
    /// Texts.
    Texts,
    /// Names with texts or nothing.
    Map,
    /// These keys.
    Object(&'static [Key]),
    /// A list of objects with these keys.
    Objects(&'static [Key]),
    /// Names with objects with these keys, or nothing.
    Each(&'static [Key]),
    /// Whatever it is.
    Any,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Why it has no effect here; empty when it has.
    pub lost: &'static str,
}

/// A key that has no effect in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it stands: `services.web.isolation`.
    pub path: String,
    /// Why.
    pub why: &'static str,
}

/// Checks and casts a value by the table.
///
/// # Errors
/// `Invalid`, beginning with the path of the key that is unknown or has a wrong value.
pub fn check(value: Value, kind: Kind, path: &str) -> Result<Value> {
    if is_marked(&value) || value.is_null() {
        return Ok(value);
    }
    let wrong = |what: &str| Err(Error::invalid(format!("{path}: must be {what}")));
    match (kind, value) {
        (Kind::Any, value) => Ok(value),
        (Kind::Text, value) => match text(&value) {
            Some(text) => Ok(Value::String(text)),
            None => wrong("a string"),
        },
        (Kind::Bool, Value::Bool(b)) => Ok(Value::Bool(b)),
        (Kind::Bool, Value::String(s)) => match s.to_ascii_lowercase().as_str() {
            "true" | "y" | "yes" | "on" | "1" => Ok(Value::Bool(true)),
            "false" | "n" | "no" | "off" | "0" | "" => Ok(Value::Bool(false)),
            _ => wrong("a boolean"),
        },
        (Kind::Bool, _) => wrong("a boolean"),
        (Kind::Int, Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(Value::Number(n)),
        (Kind::Int, Value::String(s)) => match s.trim().parse::<i64>() {
            Ok(n) => Ok(n.into()),
            Err(_) => wrong("an integer"),
        },
        (Kind::Int, _) => wrong("an integer"),
        (Kind::Number, Value::Number(n)) => Ok(Value::Number(n)),
        (Kind::Number, Value::String(s)) => match s.trim().parse::<f64>() {
            Ok(n) => Ok(serde_json::Number::from_f64(n).map_or(Value::Null, Value::Number)),
            Err(_) => wrong("a number"),
        },
        (Kind::Number, _) => wrong("a number"),
        (Kind::Size, value) => {
            let text = text(&value).unwrap_or_default();
            match text.starts_with('-') || crate::base::size::parse(&text).is_ok() {
                true => Ok(Value::String(text)),
                false => wrong("a byte size, e.g. 64m"),
            }
        }
        (Kind::Time, value) => {
            let text = text(&value).unwrap_or_default();
            match seconds(&text) {
                Some(_) => Ok(Value::String(text)),
                None => wrong("a duration, e.g. 1m30s"),
            }
        }
        (Kind::Texts, value) => {
            let list = match value {
                Value::Array(list) => list,
                one => vec![one],
            };
            let mut made = Vec::new();
            for (i, item) in list.into_iter().enumerate() {
                made.push(check(item, Kind::Text, &format!("{path}[{i}]"))?);
            }
            Ok(Value::Array(made))
        }
        (Kind::Map, Value::Object(map)) => {
            let mut made = Map::new();
            for (key, item) in map {
                let item = check(item, Kind::Text, &format!("{path}.{key}"))?;
                made.insert(key, item);
            }
            Ok(Value::Object(made))
        }
        (Kind::Object(keys), Value::Object(map)) => object(map, keys, path),
        (Kind::Objects(keys), Value::Array(list)) => {
            let mut made = Vec::new();
            for (i, item) in list.into_iter().enumerate() {
                made.push(check(item, Kind::Object(keys), &format!("{path}[{i}]"))?);
            }
            Ok(Value::Array(made))
        }
        (Kind::Each(keys), Value::Object(map)) => {
            let mut made = Map::new();
            for (name, item) in map {
                let item = check(item, Kind::Object(keys), &format!("{path}.{name}"))?;
                made.insert(name, item);
            }
            Ok(Value::Object(made))
        }
        (Kind::Objects(_), _) => wrong("a list"),
        (Kind::Map | Kind::Object(_) | Kind::Each(_), _) => wrong("a mapping"),
    }
}

fn object(map: Map<String, Value>, keys: &[Key], path: &str) -> Result<Value> {
    let mut made = Map::new();
    for (name, value) in map {
        let below = format!("{path}.{name}");
        if name.starts_with("x-") {
            made.insert(name, value);
            continue;
        }
        let Some(key) = keys.iter().find(|k| k.name == name) else {
            let near = keys.iter().find(|k| is_near(k.name, &name));
            let error = Error::invalid(format!("{below}: no such key"));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{}`?", near.name)),
                None => error.hint("keys of your own begin with x-"),
            });
        };
        made.insert(name, check(value, key.kind, &below)?);
    }
    Ok(Value::Object(made))
}

/// Whether two words differ by a letter more, less or other, or by - for _.
fn is_near(a: &str, b: &str) -> bool {
    let (a, b) = (
        a.replace('-', "_"),
        b.replace('-', "_").to_ascii_lowercase(),
    );
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let (ra, rb) = (&a.as_bytes()[same..], &b.as_bytes()[same..]);
    ra == rb
        || ra.get(1..) == Some(rb)
        || rb.get(1..) == Some(ra)
        || (ra.len() == rb.len() && ra.get(1..) == rb.get(1..))
}

/// A scalar as a text.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// A duration in seconds: Go's with days and weeks, or a bare number of seconds.
pub fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return (number >= 0.0).then_some(number);
    }
    let (mut rest, mut days) = (text, 0.0);
    for (unit, length) in [('w', 7.0), ('d', 1.0)] {
        if let Some((number, tail)) = rest.split_once(unit) {
            days += number.parse::<f64>().ok()? * length;
            rest = tail;
        }
    }
    let below = match rest {
        "" => 0.0,
        rest => crate::base::time::parse_duration(rest).ok()?.as_secs_f64(),
    };
    Some(days * 86_400.0 + below)
}

/// All keys that a project gives, and each with `*` in the place of the names of services, networks
/// and so on. Lists and maps of a person's own are one key.
pub fn paths(project: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    given(
        project,
        Kind::Object(super::table::TOP),
        ("", ""),
        &mut found,
    );
    found
}

fn given(value: &Value, kind: Kind, at: (&str, &str), found: &mut Vec<(String, String)>) {
    let below = |name: &str, shown: &str| match at.0 {
        "" => (name.to_owned(), shown.to_owned()),
        _ => (format!("{}.{name}", at.0), format!("{}.{shown}", at.1)),
    };
    let Value::Object(map) = value else {
        if !value.is_null() {
            found.push((at.0.to_owned(), at.1.to_owned()));
        }
        return;
    };
    match kind {
        Kind::Object(keys) => {
            for (name, value) in map {
                let key = keys.iter().find(|k| k.name == name);
                let (path, pattern) = below(name, name);
                let kind = key.map_or(Kind::Any, |k| k.kind);
                given(value, kind, (&path, &pattern), found);
            }
        }
        Kind::Each(keys) if !at.0.contains('.') => {
            for (name, value) in map {
                let (path, pattern) = below(name, "*");
                given(value, Kind::Object(keys), (&path, &pattern), found);
            }
        }
        _ if map.is_empty() => {}
        _ => found.push((at.0.to_owned(), at.1.to_owned())),
    }
}

/// The keys of a project that have no effect.
pub fn lost(project: &Value) -> Vec<Lost> {
    let mut found = Vec::new();
    collect(project, Kind::Object(super::table::TOP), "", &mut found);
    found
}

fn collect(value: &Value, kind: Kind, path: &str, found: &mut Vec<Lost>) {
    match (kind, value) {
        (Kind::Object(keys), Value::Object(map)) => {
            for (name, value) in map {
                let below = match path {
                    "" => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                let Some(key) = keys.iter().find(|k| k.name == name) else {
                    continue;
                };
                let given = !value.is_null() && value != &Value::Bool(false);
                if !key.lost.is_empty() && given {
                    found.push(Lost {
                        path: below.clone(),
                        why: key.lost,
                    });
                } else {
                    collect(value, key.kind, &below, found);
                }
            }
        }
        (Kind::Objects(keys), Value::Array(list)) => {
            for (i, item) in list.iter().enumerate() {
                collect(item, Kind::Object(keys), &format!("{path}[{i}]"), found);
            }
        }
        (Kind::Each(keys), Value::Object(map)) => {
            for (name, item) in map {
                collect(item, Kind::Object(keys), &format!("{path}.{name}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_cast_and_wrong_ones_named() {
        let service = |v: Value| check(v, Kind::Object(super::super::table::SERVICE), "services.a");
        let good = service(
            json!({"tty": "true", "mem_limit": 1024, "scale": "2", "x-y": [1],
            "environment": {"A": 1, "B": true, "C": null}, "dns": "1.1.1.1"}),
        );
        assert_eq!(
            good.unwrap(),
            json!({"tty": true, "mem_limit": "1024", "scale": 2, "x-y": [1],
                "environment": {"A": "1", "B": "true", "C": null}, "dns": ["1.1.1.1"]})
        );
        for (value, why) in [
            (json!({"imag": "x"}), "services.a.imag: no such key"),
            (json!({"tty": "maybe"}), "services.a.tty: must be a boolean"),
            (
                json!({"mem_limit": "much"}),
                "services.a.mem_limit: must be a byte size, e.g. 64m",
            ),
            (
                json!({"stop_grace_period": "soon"}),
                "services.a.stop_grace_period: must be a duration, e.g. 1m30s",
            ),
            (
                json!({"healthcheck": {"retries": []}}),
                "services.a.healthcheck.retries: must be an integer",
            ),
            (json!({"labels": 3}), "services.a.labels: must be a mapping"),
        ] {
            assert_eq!(service(value).unwrap_err().what(), why);
        }
        assert_eq!(
            service(json!({"imag": "x"})).unwrap_err().hints(),
            ["did you mean `image`?"]
        );
        assert_eq!(seconds("1d2h"), Some(93_600.0));
        assert_eq!(seconds("90"), Some(90.0));
        assert_eq!(seconds("1h5m30s20ms"), Some(3930.02));
    }

    #[test]
    fn keys_without_effect_are_named() {
        let project = json!({"services": {"a": {"isolation": "x", "image": "i",
            "deploy": {"placement": {}, "replicas": 2}}}});
        let paths: Vec<String> = lost(&project).into_iter().map(|l| l.path).collect();
        assert_eq!(
            paths,
            ["services.a.isolation", "services.a.deploy.placement"]
        );
    }
}
