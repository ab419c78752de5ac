//! What variables are worth where: global and stage arguments, `ENV`, the automatic ones.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::expand::{self, Form, Lookup};
use crate::base::Result;
use crate::spec::platform::Platform;

/// Arguments that may be given without `ARG`; they are neither in the history nor in a cache key.
pub const PROXY: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The automatic platform arguments.
pub fn automatic(target: &Platform, build: &Platform, stage: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (prefix, platform) in [("TARGET", target), ("BUILD", build)] {
        let variant = platform.variant.clone().unwrap_or_default();
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", variant),
        ] {
            found.insert(format!("{prefix}{name}"), value);
        }
    }
    found.insert("TARGETSTAGE".to_owned(), stage.to_owned());
    found
}

/// The variables of one stage, as its instructions go by.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `--build-arg`.
    given: BTreeMap<String, String>,
    /// Arguments before the first `FROM`, and the automatic ones.
    global: BTreeMap<String, String>,
    /// `ARG` of this stage so far: those with a value, in order.
    args: Vec<(String, Option<String>)>,
    /// `ENV` of the base and of this stage so far, in order.
    env: Vec<(String, String)>,
    missing: RefCell<BTreeSet<String>>,
}

impl Lookup for Scope {
    fn value(&self, name: &str) -> Option<String> {
        // `ENV` wins over `ARG`.
        let env = self.env.iter().rev().find(|(key, _)| key == name);
        if let Some((_, value)) = env {
            return Some(value.clone());
        }
        let arg = self.args.iter().rev().find(|(key, _)| key == name)?;
        arg.1.clone()
    }

    fn missing(&self, name: &str) {
        self.missing.borrow_mut().insert(name.to_owned());
    }
}

impl Scope {
    /// A stage's, before its first instruction. `global` has the values of the arguments before
    /// the first `FROM` and the automatic ones.
    pub fn new(given: &BTreeMap<String, String>, global: BTreeMap<String, String>) -> Self {
        Self {
            given: given.clone(),
            global,
            ..Self::default()
        }
    }

    /// `ENV` of the base image.
    pub fn inherit(&mut self, env: &[String]) {
        for entry in env {
            if let Some((name, value)) = entry.split_once('=') {
                self.set_env(name, value);
            }
        }
    }

    /// `ENV name=value`, expanded already.
    pub fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(key, _)| key == name) {
            Some(slot) => value.clone_into(&mut slot.1),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }

    /// `ARG name[=default]`, expanded already.
    pub fn declare(&mut self, name: &str, default: Option<String>) {
        let value = self
            .given
            .get(name)
            .cloned()
            .or(default)
            .or_else(|| self.global.get(name).cloned());
        self.args.retain(|(key, _)| key != name);
        self.args.push((name.to_owned(), value));
    }

    /// The environment of the stage so far.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// The arguments that a RUN sees: declared, with a value, not hidden by `ENV`, in order.
    pub fn args(&self) -> Vec<(String, String)> {
        self.args
            .iter()
            .filter(|(name, _)| !self.env.iter().any(|(key, _)| key == name))
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect()
    }

    /// The proxy arguments that were given without being declared.
    pub fn proxies(&self) -> Vec<(String, String)> {
        self.given
            .iter()
            .filter(|(name, _)| PROXY.contains(&name.as_str()))
            .filter(|(name, _)| !self.args.iter().any(|(key, _)| key == *name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Whether an argument of this name was declared.
    pub fn declares(&self, name: &str) -> bool {
        self.args.iter().any(|(key, _)| key == name)
    }

    /// Expands a word with what holds now.
    ///
    /// # Errors
    /// As [`expand::word`].
    pub fn word(&self, text: &str, escape: char) -> Result<String> {
        expand::word(text, escape, Form::Word, self)
    }

    /// Expands a here-document.
    ///
    /// # Errors
    /// As [`expand::word`].
    pub fn document(&self, text: &str, escape: char) -> Result<String> {
        expand::word(text, escape, Form::Document, self)
    }

    /// Expands to words.
    ///
    /// # Errors
    /// As [`expand::words`].
    pub fn words(&self, text: &str, escape: char) -> Result<Vec<String>> {
        expand::words(text, escape, self)
    }

    /// Names that were asked for and have no value.
    pub fn take_missing(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.missing.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let given = [("given", "G"), ("http_proxy", "P")];
        let given = given.map(|(a, b)| (a.to_owned(), b.to_owned()));
        let global = [("glob".to_owned(), "L".to_owned())];
        Scope::new(&given.into(), global.into())
    }

    #[test]
    fn env_wins_over_arg_and_given_over_default() {
        let mut s = scope();
        let get = |s: &Scope, text: &str| s.word(text, '\\').unwrap();
        assert_eq!(get(&s, "$given-$glob"), "-");
        s.declare("given", Some("D".into()));
        s.declare("glob", None);
        s.declare("default", Some("D".into()));
        s.declare("none", None);
        assert_eq!(get(&s, "$given$glob$default${none-N}"), "GLDN");
        s.set_env("given", "E");
        assert_eq!(get(&s, "$given"), "E");
        let args = s.args();
        assert_eq!(args.len(), 2, "{args:?}");
        s.declare("glob", Some("D2".into()));
        assert_eq!(get(&s, "$glob"), "D2");
        assert_eq!(s.proxies(), [("http_proxy".to_owned(), "P".to_owned())]);
        s.inherit(&["A=b=c".into(), "bad".into()]);
        assert_eq!(get(&s, "$A"), "b=c");
        assert_eq!(get(&s, "$gone"), "");
        assert!(s.take_missing().contains("gone"));
    }

    #[test]
    fn automatic_arguments_name_both_platforms() {
        let arm: Platform = "linux/arm/v7".parse().unwrap();
        let amd: Platform = "linux/amd64".parse().unwrap();
        let found = automatic(&arm, &amd, "final");
        assert_eq!(found["TARGETPLATFORM"], "linux/arm/v7");
        assert_eq!(found["TARGETVARIANT"], "v7");
        assert_eq!(found["BUILDARCH"], "amd64");
        assert_eq!(found["BUILDVARIANT"], "");
        assert_eq!(found["TARGETSTAGE"], "final");
    }
}
