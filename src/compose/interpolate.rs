//! `$NAME` and `${NAME…}` in values.
//!
//! Spec: compose-spec, "Interpolation".

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::base::{Error, Result};

/// Where variables come from, and which ones were asked for.
pub struct Scope<'a> {
    /// The value of a variable that is set.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Every variable met: its default (or none), and whether it was missing without one.
    pub met: RefCell<BTreeMap<String, Met>>,
}

/// A variable that a file mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// `${NAME:-this}`.
    pub default: Option<String>,
    /// `${NAME:?…}`.
    pub required: bool,
    /// `${NAME:+this}`.
    pub alternate: Option<String>,
    /// It was unset, and empty in its place.
    pub missing: bool,
}

impl<'a> Scope<'a> {
    /// One that looks up so.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            met: RefCell::default(),
        }
    }

    /// Replaces the variables in all texts of a value.
    ///
    /// # Errors
    /// `Invalid` for a required variable that is not set, and for what cannot be read.
    pub fn value(&self, value: Value, path: &str) -> Result<Value> {
        Ok(match value {
            Value::String(text) if text.contains('$') => Value::String(
                self.text(&text)
                    .map_err(|e| Error::invalid(format!("{path}: {}", e.what())))?,
            ),
            Value::Array(list) => Value::Array(
                (list.into_iter().enumerate())
                    .map(|(i, v)| self.value(v, &format!("{path}[{i}]")))
                    .collect::<Result<_>>()?,
            ),
            Value::Object(map) => {
                let mut made = serde_json::Map::new();
                for (key, value) in map {
                    let below = match path {
                        "" => key.clone(),
                        _ => format!("{path}.{key}"),
                    };
                    made.insert(key, self.value(value, &below)?);
                }
                Value::Object(made)
            }
            other => other,
        })
    }

    /// Replaces the variables in a text.
    ///
    /// # Errors
    /// As [`Scope::value`].
    pub fn text(&self, text: &str) -> Result<String> {
        let mut made = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            made.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(tail) = after.strip_prefix('$') {
                made.push('$');
                rest = tail;
            } else if let Some(inside) = after.strip_prefix('{') {
                let end = closing(inside).ok_or_else(|| invalid(text))?;
                made.push_str(&self.braced(&inside[..end], text)?);
                rest = &inside[end + 1..];
            } else {
                let name = name_of(after);
                if name.is_empty() {
                    return Err(invalid(text));
                }
                made.push_str(&self.plain(name));
                rest = &after[name.len()..];
            }
        }
        made.push_str(rest);
        Ok(made)
    }

    fn plain(&self, name: &str) -> String {
        let value = (self.lookup)(name);
        let mut met = self.met.borrow_mut();
        let met = met.entry(name.to_owned()).or_default();
        met.missing |= value.is_none();
        value.unwrap_or_default()
    }

    fn braced(&self, inside: &str, whole: &str) -> Result<String> {
        let name = name_of(inside);
        if name.is_empty() {
            return Err(invalid(whole));
        }
        let rest = &inside[name.len()..];
        if rest.is_empty() {
            return Ok(self.plain(name));
        }
        let (empty_counts, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let mut letters = rest.chars();
        let (operator, word) = (letters.next(), letters.as_str());
        let value = (self.lookup)(name).filter(|v| !(empty_counts && v.is_empty()));
        let note = |change: &dyn Fn(&mut Met)| {
            change(self.met.borrow_mut().entry(name.to_owned()).or_default());
        };
        match (operator, value) {
            (Some('-'), value) => {
                note(&|m| m.default = Some(word.to_owned()));
                match value {
                    Some(value) => Ok(value),
                    None => self.text(word),
                }
            }
            (Some('+'), value) => {
                note(&|m| m.alternate = Some(word.to_owned()));
                match value {
                    Some(_) => self.text(word),
                    None => Ok(String::new()),
                }
            }
            (Some('?'), value) => {
                note(&|m| m.required = true);
                value.map_or_else(
                    || {
                        let why = self.text(word)?;
                        Err(Error::invalid(format!(
                            "required variable {name} is missing a value: {why}"
                        )))
                    },
                    Ok,
                )
            }
            _ => Err(invalid(whole)),
        }
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("invalid interpolation format: {text:?}"))
        .hint("write $$ for a dollar sign")
}

/// Where the brace that is open ends.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = letter;
    }
    None
}

fn name_of(text: &str) -> &str {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_alphabetic() || *c == '_' || (*at > 0 && c.is_ascii_digit())))
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn every_operator_does_what_the_specification_says() {
        let scope = Scope::new(&lookup);
        for (text, wanted) in [
            ("$A${A}", "aa"),
            ("$$A $${A}", "$A ${A}"),
            ("${E:-d}${E-d}${N-d}${N:-d}${A:-d}", "ddda"),
            ("${A:+x}${E:+x}${E+x}${N+x}", "xx"),
            ("${N:-${E:-${A}b}c}", "abc"),
            ("${N:-{\"j\": 1}}", "{\"j\": 1}"),
            ("${A?no}${E?no}", "a"),
            ("-$N-", "--"),
            ("$A_", ""),
        ] {
            // A JSON default ends at its first brace, as in docker's: the rest stays.
            let made = scope.text(text).unwrap();
            assert_eq!(made, wanted, "{text}");
        }
        assert!(scope.met.borrow()["N"].missing);
        for (text, why) in [
            (
                "${E:?empty}",
                "required variable E is missing a value: empty",
            ),
            ("${N?$A}", "required variable N is missing a value: a"),
            ("$", "invalid interpolation format: \"$\""),
            ("${A", "invalid interpolation format: \"${A\""),
            ("${A!x}", "invalid interpolation format: \"${A!x}\""),
            ("${}", "invalid interpolation format: \"${}\""),
        ] {
            assert_eq!(scope.text(text).unwrap_err().what(), why);
        }
    }
}
