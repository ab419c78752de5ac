//! `--name=value` of one instruction: each is asked for by name, and what nobody asked for is an
//! error.

use crate::base::{Error, Result};
use crate::build::lexer::Line;
use crate::build::words;

/// The flags of one instruction.
pub(super) struct Flags {
    word: String,
    given: Vec<words::Flag>,
}

impl Flags {
    /// The flags, and the rest of the line.
    pub(super) fn of(line: &Line, escape: char) -> Result<(Self, &str)> {
        let word = line.word.to_ascii_uppercase();
        // What looks like a flag of ONBUILD belongs to the instruction in it.
        let (given, rest) = words::flags(&line.rest, escape).ok_or_else(|| {
            Error::invalid(format!("a quote in the options of {word} has no end"))
                .hint("close it on the same line")
        })?;
        Ok((Self { word, given }, rest))
    }

    fn take(&mut self, name: &str) -> Vec<Option<String>> {
        let mut found = Vec::new();
        self.given.retain_mut(|(key, value)| {
            if key == name {
                found.push(value.take());
                return false;
            }
            true
        });
        found
    }

    fn twice(&self, name: &str) -> Error {
        Error::invalid(format!("{} has --{name} twice", self.word)).hint("keep one of them")
    }

    fn valueless(&self, name: &str) -> Error {
        Error::invalid(format!("{} --{name} needs a value", self.word))
            .hint(format!("write --{name}=VALUE"))
    }

    /// A flag with a value, at most once.
    pub(super) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let mut found = self.values(name)?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(self.twice(name)),
        }
    }

    /// A flag with a value, any number of times.
    pub(super) fn values(&mut self, name: &str) -> Result<Vec<String>> {
        self.take(name)
            .into_iter()
            .map(|v| v.ok_or_else(|| self.valueless(name)))
            .collect()
    }

    /// A flag that is there or not, or `=true`, `=false`.
    pub(super) fn switch(&mut self, name: &str) -> Result<Option<bool>> {
        let found = self.take(name);
        match &found[..] {
            [] => Ok(None),
            [None] => Ok(Some(true)),
            [Some(value)] => match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "t" => Ok(Some(true)),
                "false" | "0" | "f" => Ok(Some(false)),
                other => Err(Error::invalid(format!(
                    "{} --{name} is true or false, not {other:?}",
                    self.word
                ))
                .hint(format!("write --{name} alone"))),
            },
            _ => Err(self.twice(name)),
        }
    }

    /// Nothing may be left.
    pub(super) fn done(self) -> Result<()> {
        match self.given.first() {
            None => Ok(()),
            Some((name, _)) => Err(
                Error::invalid(format!("{} has no option --{name}", self.word))
                    .hint("see the Dockerfile reference for its options"),
            ),
        }
    }
}
