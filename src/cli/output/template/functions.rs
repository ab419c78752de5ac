//! The functions of templates: Go's own, docker's and podman's.

use std::cmp::Ordering;

use serde_json::Value;

use super::eval::Val;
use super::printf;

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "trim",
    "truncate", "upper", "urlquery",
];

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
///
/// # Errors
/// What does not fit.
pub(super) fn call<'v>(name: &str, mut args: Vec<Val<'v>>) -> Result<Val<'v>, String> {
    let (least, most) = match name {
        "not" | "json" | "lower" | "upper" | "title" | "trim" | "len" => (1, 1),
        "join" | "split" | "truncate" => (2, 2),
        "pad" => (3, 3),
        "eq" => (2, usize::MAX),
        "ne" | "lt" | "le" | "gt" | "ge" => (2, 2),
        "and" | "or" | "index" | "printf" => (1, usize::MAX),
        "slice" => (1, 4),
        _ => (0, usize::MAX),
    };
    if args.len() < least || args.len() > most {
        return Err(format!(
            "wrong number of args for {name}: want {}{least} got {}",
            if most > least { "at least " } else { "" },
            args.len()
        ));
    }
    let value = |n: usize| args[n].value();
    let text = |n: usize| -> Result<&str, String> {
        value(n).as_str().ok_or_else(|| {
            format!(
                "wrong type for value; expected string; got {}",
                type_name(value(n))
            )
        })
    };
    Ok(match name {
        "and" | "or" => {
            let wanted = name == "or";
            let at = args
                .iter()
                .position(|a| truth(a.value()) == wanted)
                .unwrap_or(args.len() - 1);
            args.swap_remove(at)
        }
        "not" => Val::own(!truth(value(0))),
        "eq" => {
            let mut equal = false;
            for n in 1..args.len() {
                equal |= equals(value(0), value(n))?;
            }
            Val::own(equal)
        }
        "ne" => Val::own(!equals(value(0), value(1))?),
        "lt" => Val::own(compare(value(0), value(1))?.is_lt()),
        "le" => Val::own(compare(value(0), value(1))?.is_le()),
        "gt" => Val::own(compare(value(0), value(1))?.is_gt()),
        "ge" => Val::own(compare(value(0), value(1))?.is_ge()),
        "len" => Val::own(length(value(0))?),
        "index" => return index(args),
        "slice" => Val::own(slice(&args)?),
        "print" => Val::own(print(&args)),
        "println" => {
            let texts: Vec<String> = args.iter().map(shown).collect();
            Val::own(format!("{}\n", texts.join(" ")))
        }
        "printf" => {
            let values: Vec<&Value> = args[1..].iter().map(Val::value).collect();
            Val::own(printf::printf(text(0)?, &values))
        }
        "json" => Val::own(serde_json::to_string(value(0)).unwrap_or_default()),
        "join" => {
            let Value::Array(items) = value(0) else {
                return Err(format!("cannot join {}", type_name(value(0))));
            };
            let texts: Vec<String> = items.iter().map(plain).collect();
            Val::own(texts.join(text(1)?))
        }
        "split" => {
            let separator = text(1)?;
            let parts: Vec<Value> = if separator.is_empty() {
                text(0)?.chars().map(|c| c.to_string().into()).collect()
            } else {
                text(0)?.split(separator).map(Into::into).collect()
            };
            Val::own(parts)
        }
        "lower" => Val::own(text(0)?.to_lowercase()),
        "upper" => Val::own(text(0)?.to_uppercase()),
        "title" => Val::own(title(text(0)?)),
        "trim" => Val::own(text(0)?.trim()),
        "pad" => {
            let (before, after) = (count(value(1))?, count(value(2))?);
            let text = text(0)?;
            // An empty value stays empty, as in docker.
            Val::own(if text.is_empty() {
                String::new()
            } else {
                format!("{}{text}{}", " ".repeat(before), " ".repeat(after))
            })
        }
        "truncate" => {
            let keep = count(value(1))?;
            Val::own(text(0)?.chars().take(keep).collect::<String>())
        }
        "html" => Val::own(html(&print(&args))),
        "js" => Val::own(js(&print(&args))),
        "urlquery" => Val::own(url_query(&print(&args))),
        _ => return Err(format!("function {name:?} not defined")),
    })
}

/// What Go calls a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Whether a value counts as true: not null, zero or empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// How an action shows a value.
pub(super) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Missing => "<no value>".to_owned(),
        Val::Json(value, _) => plain(value),
    }
}

/// Go's `%v`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => number(n),
        Value::String(s) => s.clone(),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", texts.join(" "))
        }
        Value::Object(map) => {
            let mut texts: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", plain(v)))
                .collect();
            texts.sort();
            format!("map[{}]", texts.join(" "))
        }
    }
}

fn number(n: &serde_json::Number) -> String {
    match n.as_f64() {
        Some(f) if n.is_f64() => {
            let size = f.abs();
            if size != 0.0 && !(1e-4..1e21).contains(&size) {
                // Go writes at least two digits of the exponent, and its sign.
                let text = format!("{f:e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let exponent: i32 = exponent.parse().unwrap_or(0);
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{mantissa}e{sign}{:02}", exponent.abs())
            } else {
                format!("{f}")
            }
        }
        _ => n.to_string(),
    }
}

/// Go's `print`: a blank between two operands of which neither is a string.
fn print(args: &[Val<'_>]) -> String {
    let mut result = String::new();
    let mut string_before = true;
    for arg in args {
        let string = arg.value().is_string();
        if !string && !string_before {
            result.push(' ');
        }
        string_before = string;
        result.push_str(&shown(arg));
    }
    result
}

fn equals(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => Ok(compare(a, b)?.is_eq()),
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("non-comparable types for comparison".to_owned())
        }
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => a
                .as_f64()
                .zip(b.as_f64())
                .and_then(|(a, b)| a.partial_cmp(&b))
                .ok_or_else(|| "invalid number".to_owned()),
        },
        (Value::String(_) | Value::Number(_), Value::String(_) | Value::Number(_)) => {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}

fn length(value: &Value) -> Result<u64, String> {
    match value {
        Value::String(s) => Ok(s.len() as u64),
        Value::Array(a) => Ok(a.len() as u64),
        Value::Object(o) => Ok(o.len() as u64),
        // An absent list or map.
        Value::Null => Ok(0),
        other => Err(format!("len of type {}", type_name(other))),
    }
}

/// A number of characters to pad or keep; bounded, as the caller's typing error must not take
/// all memory.
fn count(value: &Value) -> Result<usize, String> {
    match value.as_u64() {
        Some(n) if n <= 10_000 => Ok(n as usize),
        _ => Err(format!(
            "expected a number from 0 to 10000; found {}",
            plain(value)
        )),
    }
}

fn index(args: Vec<Val<'_>>) -> Result<Val<'_>, String> {
    let mut args = args.into_iter();
    let mut current = args.next().unwrap_or(Val::Missing);
    for key in args {
        let next = match (current.value(), key.value()) {
            (Value::Array(items), Value::Number(n)) => {
                let item = n.as_u64().and_then(|n| items.get(usize::try_from(n).ok()?));
                Val::own(
                    item.ok_or_else(|| format!("index out of range: {n}"))?
                        .clone(),
                )
            }
            (Value::String(text), Value::Number(n)) => {
                let byte = n
                    .as_u64()
                    .and_then(|n| text.as_bytes().get(usize::try_from(n).ok()?));
                Val::own(*byte.ok_or_else(|| format!("index out of range: {n}"))?)
            }
            (Value::Object(map), Value::String(key)) => match map.get(key) {
                Some(value) => Val::own(value.clone()),
                None => Val::Missing,
            },
            (Value::Array(_) | Value::String(_), other) => {
                return Err(format!(
                    "cannot index slice/array with type {}",
                    type_name(other)
                ));
            }
            (Value::Null, _) => match current {
                // A map that is absent has no keys either.
                Val::Missing => return Err("index of untyped nil".to_owned()),
                Val::Json(..) => Val::Missing,
            },
            (Value::Object(_), other) => {
                return Err(format!(
                    "value has type {}; should be string",
                    type_name(other)
                ));
            }
            (other, _) => return Err(format!("can't index item of type {}", type_name(other))),
        };
        current = next;
    }
    Ok(current)
}

fn slice(args: &[Val<'_>]) -> Result<Value, String> {
    let item = args[0].value();
    let size = match item {
        Value::String(s) => s.len(),
        Value::Array(a) => a.len(),
        other => return Err(format!("can't slice item of type {}", type_name(other))),
    };
    let bound = |n: usize, default: usize| match args.get(n) {
        None => Ok(default),
        Some(value) => value
            .value()
            .as_u64()
            .and_then(|v| usize::try_from(v).ok())
            .filter(|v| *v <= size)
            .ok_or_else(|| format!("index out of range: {}", plain(value.value()))),
    };
    let (from, to) = (bound(1, 0)?, bound(2, size)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match item {
        Value::String(s) => Ok(s.get(from..to).ok_or("slice cuts a character")?.into()),
        Value::Array(a) => Ok(a[from..to].to_vec().into()),
        _ => Ok(Value::Null),
    }
}

/// Go's `strings.Title`: the first letter of each word.
fn title(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            result.push(c);
        } else {
            result.extend(c.to_uppercase());
        }
        in_word = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    result
}

fn html(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => result.push_str("&#34;"),
            '\'' => result.push_str("&#39;"),
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            c => result.push(c),
        }
    }
    result
}

fn js(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => result.push_str("\\\\"),
            '\'' => result.push_str("\\'"),
            '"' => result.push_str("\\\""),
            '<' | '>' | '&' | '=' => result.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => result.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => result.push(c),
        }
    }
    result
}

fn url_query(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => result.push('+'),
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => result.push(char::from(b)),
            b => result.push_str(&format!("%{b:02X}")),
        }
    }
    result
}
