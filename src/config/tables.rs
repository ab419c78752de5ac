//! TOML tables that override each other: what containers.conf and storage.conf share.
//!
//! A later file wins key by key. An array replaces the earlier one, unless it holds the element
//! `{append=true}`: then it is added to it, and so is every later one until `{append=false}`.
//!
//! Spec: containers.conf(5), "APPENDING TO STRING ARRAYS".

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::base::fs as files;
use crate::base::{Context as _, Error, Hint as _, Result};

/// A configuration file larger than this is a mistake.
const LIMIT: u64 = 4 << 20;

/// Files merged so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    table: Table,
    /// Files read, in order.
    pub(super) files: Vec<PathBuf>,
    /// Table and key of everything that a person wrote: not of what a distribution ships in /usr.
    pub(super) keys: BTreeSet<(String, String)>,
}

impl Layers {
    /// Merges a file, if it is there.
    pub(super) fn add(&mut self, path: &Path) -> Result<()> {
        let Some(bytes) = files::read_if_exists(path, LIMIT)? else {
            return Ok(());
        };
        let table = parse(&bytes)
            .what(|| format!("cannot read {}", path.display()))
            .hint(|| format!("correct {}", path.display()))?;
        if !path.components().any(|c| c.as_os_str() == "usr") {
            let sections = table.iter().filter_map(|(s, v)| Some((s, v.as_table()?)));
            let keys = sections.flat_map(|(s, t)| t.keys().map(move |k| (s.clone(), k.clone())));
            self.keys.extend(keys);
        }
        merge(&mut self.table, table);
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Merges a file that must be there because somebody named it.
    pub(super) fn add_named(&mut self, path: &Path, named_by: &str) -> Result<()> {
        let before = self.files.len();
        self.add(path)?;
        if self.files.len() == before {
            return Err(Error::not_found(format!(
                "no such file: {} (named by {named_by})",
                path.display()
            )));
        }
        Ok(())
    }

    /// Merges every `*.conf` of a folder, in the order of names.
    pub(super) fn add_folder(&mut self, folder: &Path) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Ok(());
        };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|e| e.ok().map(|e| e.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "conf"))
            .collect();
        paths.sort();
        paths.iter().try_for_each(|p| self.add(p))
    }

    /// The typed result. Unknown keys are left out, wrong types refused.
    pub(super) fn finish<T: DeserializeOwned>(mut self) -> Result<T> {
        strip(&mut self.table);
        let names: Vec<String> = self.files.iter().map(|p| p.display().to_string()).collect();
        Value::Table(self.table)
            .try_into()
            .what(|| format!("cannot use {}", names.join(", ")))
    }
}

/// Reads a file, without the lines that are comments: distributions ship these files as hundreds
/// of them, which would cost every start a fifth of its own work.
fn parse(bytes: &[u8]) -> std::result::Result<Table, toml::de::Error> {
    let bare = without_comments(bytes);
    let bare = String::from_utf8_lossy(&bare);
    // Inside a string of several lines a `#` is text.
    if !bare.contains("\"\"\"")
        && !bare.contains("'''")
        && let Ok(table) = toml::from_str(&bare)
    {
        return Ok(table);
    }
    // What is wrong is told with the file's own line numbers.
    toml::from_str(&String::from_utf8_lossy(bytes))
}

/// The lines that are more than a comment.
fn without_comments(bytes: &[u8]) -> Vec<u8> {
    let (mut bare, mut rest) = (Vec::new(), bytes);
    loop {
        let begin = bare.len();
        // Reading from a slice does not fail.
        if !matches!(rest.read_until(b'\n', &mut bare), Ok(1..)) {
            return bare;
        }
        let line = bare.get(begin..).unwrap_or_default();
        if matches!(line.trim_ascii_start().first(), None | Some(b'#')) {
            bare.truncate(begin);
        }
    }
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => {
                // The file's own word decides; without one, what an earlier file said goes on.
                if append_mark(&new).or_else(|| append_mark(old)) == Some(true) {
                    old.extend(new);
                } else {
                    *old = new;
                }
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// The last `{append=…}` of an array.
fn append_mark(array: &[Value]) -> Option<bool> {
    array
        .iter()
        .rev()
        .find_map(|v| v.as_table()?.get("append")?.as_bool())
}

/// Removes the marks.
fn strip(table: &mut Table) {
    for (_, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => strip(inner),
            Value::Array(array) => array.retain(|v| {
                !v.as_table()
                    .is_some_and(|t| t.len() == 1 && t.contains_key("append"))
            }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_cost_nothing_and_change_nothing() {
        for (text, bare) in [
            ("# x\na=1 # y\n\n  # z\r\nb=2", "a=1 # y\nb=2"),
            ("a=[\n# x\n1]\n#", "a=[\n1]\n"),
            ("", ""),
        ] {
            assert_eq!(without_comments(text.as_bytes()), bare.as_bytes());
            let whole: Table = toml::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), whole, "{text}");
        }
        for text in ["a='''\n# text\n'''", "a=\"\"\"\n# text\n\"\"\""] {
            assert_eq!(
                parse(text.as_bytes()).unwrap()["a"].as_str(),
                Some("# text\n")
            );
        }
        let error = parse(b"# x\n# y\na=\n").unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn later_files_win_and_arrays_append_only_when_told() {
        let cases = [
            (vec!["a=['1']", "a=['2']"], "a = [\"2\"]\n"),
            (
                vec!["a=['1']", "a=['2',{append=true}]"],
                "a = [\"1\", \"2\"]\n",
            ),
            (
                vec!["a=['1',{append=true}]", "a=['2']", "a=['3']"],
                "a = [\"1\", \"2\", \"3\"]\n",
            ),
            (
                vec!["a=['1',{append=true}]", "a=['2',{append=false}]", "a=['3']"],
                "a = [\"3\"]\n",
            ),
            (vec!["[t]\na=1\nb=1", "[t]\nb=2"], "[t]\na = 1\nb = 2\n"),
            (vec!["a=1", "a='x'"], "a = \"x\"\n"),
        ];
        for (texts, expected) in cases {
            let mut table = Table::new();
            for text in texts {
                merge(&mut table, toml::from_str(text).unwrap());
            }
            strip(&mut table);
            let expected: Table = toml::from_str(expected).unwrap();
            assert_eq!(table, expected);
        }
    }
}
