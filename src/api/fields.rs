//! The fields of a body, which have Docker's types or are refused.
//!
//! Pure.

use serde_json::{Map, Value};

use crate::base::{Error, Result};

/// The error of a field of another type.
pub fn wrong(field: &str) -> Error {
    Error::invalid(format!("the field {field} has another type than Docker's"))
}

/// An object of a body.
pub type Object = Map<String, Value>;

/// A text; absent or null is none.
///
/// # Errors
/// `Invalid` for a field of another type.
pub fn text<'a>(of: &'a Object, field: &str) -> Result<Option<&'a str>> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(field)),
    }
}

/// A yes or no; absent or null is no.
///
/// # Errors
/// `Invalid` for a field of another type.
pub fn flag(of: &Object, field: &str) -> Result<bool> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(wrong(field)),
    }
}

/// A whole number.
///
/// # Errors
/// `Invalid` for a field of another type.
pub fn number(of: &Object, field: &str) -> Result<Option<i64>> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(field)),
    }
}

/// A list of texts; Docker takes one text for a list of one.
///
/// # Errors
/// `Invalid` for a field of another type.
pub fn strings(of: &Object, field: &str) -> Result<Vec<String>> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|v| v.as_str().map(str::to_owned).ok_or_else(|| wrong(field)))
            .collect(),
        Some(_) => Err(wrong(field)),
    }
}

/// An object.
///
/// # Errors
/// `Invalid` for a field of another type.
pub fn object<'a>(of: &'a Object, field: &str) -> Result<Option<&'a Object>> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(wrong(field)),
    }
}

/// A list of objects.
///
/// # Errors
/// `Invalid` for a field of another type.
pub fn objects<'a>(of: &'a Object, field: &str) -> Result<Vec<&'a Object>> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|v| v.as_object().ok_or_else(|| wrong(field)))
            .collect(),
        Some(_) => Err(wrong(field)),
    }
}

/// Texts by name.
///
/// # Errors
/// `Invalid` for a field of another type.
pub fn pairs(of: &Object, field: &str) -> Result<Vec<(String, String)>> {
    let Some(map) = object(of, field)? else {
        return Ok(Vec::new());
    };
    map.iter()
        .map(|(k, v)| match v {
            Value::String(v) => Ok((k.clone(), v.clone())),
            Value::Null => Ok((k.clone(), String::new())),
            _ => Err(wrong(field)),
        })
        .collect()
}
