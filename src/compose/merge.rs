//! Laying one file over another, both in the long form.
//!
//! Spec: compose-spec, "Merge Compose files".

use serde_json::{Map, Value};

use super::schema::text;
use super::yaml::{Mark, unmark};

/// Lays `over` on `under`.
pub fn documents(under: Value, over: Value) -> Value {
    merge(under, over, "")
}

/// Lays a service on the one that it extends.
pub fn services(under: Value, over: Value) -> Value {
    merge(under, over, "services.*")
}

/// Takes the marks away, and what they take with them.
pub fn settle(value: Value) -> Value {
    match unmark(value) {
        (Some(Mark::Reset), _) => Value::Null,
        (_, Value::Object(map)) => {
            let kept = map
                .into_iter()
                .filter_map(|(key, value)| match unmark(value) {
                    (Some(Mark::Reset), _) => None,
                    (_, inner) => Some((key, settle(inner))),
                });
            Value::Object(kept.collect())
        }
        (_, Value::Array(list)) => Value::Array(list.into_iter().map(settle).collect()),
        (_, other) => other,
    }
}

fn merge(under: Value, over: Value, path: &str) -> Value {
    let (mark, over) = unmark(over);
    match mark {
        // Kept as a mark: a file further down may be laid under later.
        Some(Mark::Reset) => return super::yaml::remark(mark, Value::Null),
        Some(Mark::Override) => return settle(over),
        None => {}
    }
    let (_, under) = unmark(under);
    match (under, over) {
        (under, Value::Null) => under,
        (Value::Object(mut under), Value::Object(over)) => {
            if is_replaced_whole(path, &under, &over) {
                return Value::Object(over);
            }
            for (key, value) in over {
                let below = below(path, &key);
                let before = under.remove(&key).unwrap_or(Value::Null);
                let merged = match is_replaced(&below) {
                    true => match unmark(value) {
                        (None, Value::Null) => before,
                        (mark, value) => {
                            super::yaml::remark(mark.filter(|m| *m == Mark::Reset), value)
                        }
                    },
                    // `FOO:` without a value is one: the caller's.
                    false if value.is_null() && is_dictionary(path) => value,
                    false => merge(before, value, &below),
                };
                under.insert(key, merged);
            }
            Value::Object(under)
        }
        (Value::Array(mut under), Value::Array(over)) => {
            for item in over {
                add(&mut under, item, path);
            }
            Value::Array(under)
        }
        (_, over) => over,
    }
}

fn below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        "services" => "services.*".to_owned(),
        _ => format!("{path}.{key}"),
    }
}

/// A later one takes the place.
fn is_replaced(path: &str) -> bool {
    matches!(
        path,
        "services.*.command" | "services.*.entrypoint" | "services.*.healthcheck.test"
    )
}

fn is_dictionary(path: &str) -> bool {
    ["environment", "labels", "args", "annotations"]
        .iter()
        .any(|k| path.ends_with(&format!(".{k}")))
}

/// Logging of another driver has other options.
fn is_replaced_whole(path: &str, under: &Map<String, Value>, over: &Map<String, Value>) -> bool {
    path == "services.*.logging"
        && over.contains_key("driver")
        && under.contains_key("driver")
        && under.get("driver") != over.get("driver")
}

/// Adds an item of a list, in the place of one that is about the same thing.
fn add(list: &mut Vec<Value>, item: Value, path: &str) {
    let key = path.strip_prefix("services.*.").unwrap_or(path);
    let of = |v: &Value, name: &str| v.get(name).and_then(text).unwrap_or_default();
    let id = |v: &Value| -> Option<String> {
        Some(match key {
            "ports" => format!(
                "{} {} {} {}",
                of(v, "host_ip"),
                of(v, "published"),
                of(v, "target"),
                of(v, "protocol")
            ),
            "volumes" => of(v, "target").trim_end_matches('/').to_owned(),
            "secrets" | "configs" | "build.secrets" => match of(v, "target") {
                target if target.is_empty() => of(v, "source"),
                target => target,
            },
            "env_file" => of(v, "path"),
            "devices" => {
                let whole = text(v)?;
                let parts: Vec<&str> = whole.split(':').collect();
                (*parts.get(1).or(parts.first())?).to_owned()
            }
            "tmpfs" => text(v)?.split(':').next()?.to_owned(),
            _ => text(v)?,
        })
    };
    let same = id(&item).and_then(|own| list.iter().position(|o| id(o).as_ref() == Some(&own)));
    match same {
        Some(at) => list[at] = item,
        None => list.push(item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_key_is_merged_in_its_way() {
        let under = json!({"command": ["a"], "dns": ["1"], "environment": {"A": "1", "B": "2"},
            "ports": [{"target": 80, "published": "1", "protocol": "tcp"}],
            "volumes": [{"target": "/x", "source": "a"}], "cap_add": ["X"],
            "logging": {"driver": "a", "options": {"o": "1"}}, "image": "one"});
        let over = json!({"command": ["b"], "dns": ["1", "2"], "environment": {"B": "3"},
            "ports": [{"target": 80, "published": "2", "protocol": "tcp"}],
            "volumes": [{"target": "/x", "source": "b"}], "cap_add": ["X", "Y"],
            "logging": {"driver": "b"}, "image": null});
        let merged = services(under, over);
        assert_eq!(merged["command"], json!(["b"]));
        assert_eq!(merged["dns"], json!(["1", "2"]));
        assert_eq!(merged["environment"], json!({"A": "1", "B": "3"}));
        assert_eq!(merged["ports"].as_array().unwrap().len(), 2);
        assert_eq!(merged["volumes"], json!([{"target": "/x", "source": "b"}]));
        assert_eq!(merged["cap_add"], json!(["X", "Y"]));
        assert_eq!(merged["logging"], json!({"driver": "b"}));
        assert_eq!(merged["image"], "one");
    }

    #[test]
    fn marks_reset_and_replace() {
        let read = |t: &str| super::super::yaml::read(t, "f").unwrap().remove(0);
        let under =
            read("services: {a: {image: i, dns: [1], environment: {A: 1, B: 2}, tty: true}}");
        let over = read(
            "services: {a: {dns: !override [2], environment: {A: !reset null}, tty: !reset false}}",
        );
        assert_eq!(
            settle(documents(under, over)),
            json!({"services": {"a": {"image": "i", "dns": [2], "environment": {"B": 2}}}})
        );
    }
}
