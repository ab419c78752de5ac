//! A part of a manifest that knows which of its fields were read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::base::{Error, Result};

/// Notices as they come.
pub type Notes = RefCell<Vec<String>>;

/// An object in a manifest. Dropped, it tells of the fields that nobody asked for.
pub struct Node<'a> {
    map: &'a Map<String, Value>,
    path: String,
    seen: RefCell<BTreeSet<String>>,
    notes: &'a Notes,
}

impl<'a> Node<'a> {
    /// The object at `path`.
    ///
    /// # Errors
    /// `Invalid` when it is none.
    pub fn new(value: &'a Value, path: &str, notes: &'a Notes) -> Result<Self> {
        let map = value
            .as_object()
            .ok_or_else(|| Error::invalid(format!("{path} is no object")))?;
        Ok(Self {
            map,
            path: path.to_owned(),
            seen: RefCell::default(),
            notes,
        })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Tells something about a field.
    pub fn note(&self, text: &str) {
        self.notes.borrow_mut().push(format!("{}{text}", self.path));
    }

    /// Fields that mean nothing to whoever plays a manifest.
    pub fn skip(&self, keys: &[&str]) {
        let mut seen = self.seen.borrow_mut();
        seen.extend(keys.iter().map(|k| (*k).to_owned()));
    }

    /// All fields are somebody else's business.
    pub fn skip_all(&self) {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.map.keys().cloned());
    }

    /// A field, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.seen.borrow_mut().insert(key.to_owned());
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The object itself.
    pub fn value(&self) -> &'a Map<String, Value> {
        self.map
    }

    fn wrong(&self, key: &str, what: &str) -> Error {
        Error::invalid(format!("{}.{key} is no {what}", self.path))
    }

    /// A text; numbers and truth values are taken as they are written.
    ///
    /// # Errors
    /// `Invalid` for a list or an object.
    pub fn text(&self, key: &str) -> Result<Option<String>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(v @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(v.to_string())),
            Some(_) => Err(self.wrong(key, "text")),
        }
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// `Invalid` without it.
    pub fn needed(&self, key: &str) -> Result<String> {
        self.text(key)?
            .filter(|t| !t.is_empty())
            .ok_or_else(|| Error::invalid(format!("{}.{key} is missing", self.path)))
    }

    /// A whole number.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn number(&self, key: &str) -> Result<Option<i64>> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v
                .as_i64()
                .or_else(|| v.as_str().and_then(|t| t.parse().ok()))
                .map(Some)
                .ok_or_else(|| self.wrong(key, "whole number")),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v
                .as_bool()
                .map(Some)
                .ok_or_else(|| self.wrong(key, "truth value")),
        }
    }

    /// An object below.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn node(&self, key: &str) -> Result<Option<Self>> {
        self.get(key)
            .map(|v| Self::new(v, &format!("{}.{key}", self.path), self.notes))
            .transpose()
    }

    /// Objects below.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn nodes(&self, key: &str) -> Result<Vec<Self>> {
        self.list(key)?
            .iter()
            .enumerate()
            .map(|(i, v)| Self::new(v, &format!("{}.{key}[{i}]", self.path), self.notes))
            .collect()
    }

    /// Texts below.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn texts(&self, key: &str) -> Result<Vec<String>> {
        self.list(key)?
            .iter()
            .map(|v| match v {
                Value::String(text) => Ok(text.clone()),
                Value::Number(_) | Value::Bool(_) => Ok(v.to_string()),
                _ => Err(self.wrong(key, "list of texts")),
            })
            .collect()
    }

    /// Pairs of texts below.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn pairs(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let Some(node) = self.node(key)? else {
            return Ok(BTreeMap::new());
        };
        let mut pairs = BTreeMap::new();
        for key in node.map.keys() {
            pairs.insert(key.clone(), node.text(key)?.unwrap_or_default());
        }
        Ok(pairs)
    }

    fn list(&self, key: &str) -> Result<&'a [Value]> {
        match self.get(key) {
            None => Ok(&[]),
            Some(v) => v
                .as_array()
                .map(Vec::as_slice)
                .ok_or_else(|| self.wrong(key, "list")),
        }
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        let seen = self.seen.borrow();
        for key in self.map.keys().filter(|k| !seen.contains(*k)) {
            let text = format!("{}.{key} has no effect here", self.path);
            self.notes.borrow_mut().push(text);
        }
    }
}
