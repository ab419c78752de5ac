//! Unit files: sections, and entries with the lines they stand in.
//!
//! Spec: systemd.syntax(7). Comments begin with `#` or `;`; a backslash at the end of a line goes on
//! in the next, comments in between left out; an empty value takes back those before it.

use crate::base::{Error, Result};

use super::words;

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Its value, without spaces around it.
    pub value: String,
    /// The line it begins in, from 1; 0 for one that was not read.
    pub line: usize,
}

/// A section; one that comes again goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// The line of its header, from 1; 0 for one that was not read.
    pub line: usize,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// A unit file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its sections, in order of their first appearance.
    pub sections: Vec<Section>,
}

impl Unit {
    /// Reads a file; `name` is for messages.
    ///
    /// # Errors
    /// `Invalid` with file and line.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let mut unit = Self::default();
        unit.add(text, name)?;
        Ok(unit)
    }

    /// Reads a drop-in on top.
    ///
    /// # Errors
    /// As [`Unit::parse`].
    pub fn add(&mut self, text: &str, name: &str) -> Result<()> {
        let mut section: Option<usize> = None;
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let number = at + 1;
            let bad = |why: &str| Error::invalid(format!("{name}:{number}: {why}"));
            let trimmed = line.trim();
            if trimmed.is_empty() || is_comment(trimmed) {
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix('[') {
                let header = rest
                    .strip_suffix(']')
                    .filter(|h| !h.is_empty() && !h.contains(['[', ']']))
                    .ok_or_else(|| bad("malformed section header"))?;
                section = Some(self.section_at(header, number));
                continue;
            }
            let mut whole = trimmed.to_owned();
            while let Some(start) = whole.strip_suffix('\\') {
                whole = format!("{start} ");
                let next = loop {
                    match lines.next() {
                        None => break None,
                        Some((_, line)) if is_comment(line.trim_start()) => {}
                        Some((_, line)) => break Some(line),
                    }
                };
                let Some(next) = next else { break };
                whole.push_str(next.trim());
            }
            let (key, value) = whole
                .split_once('=')
                .ok_or_else(|| bad("neither a section nor KEY=VALUE"))?;
            let key = key.trim();
            if key.is_empty() || key.contains(char::is_whitespace) {
                return Err(bad("malformed key"));
            }
            let section = section.ok_or_else(|| bad("a key before the first section"))?;
            self.sections[section].entries.push(Entry {
                key: key.to_owned(),
                value: value.trim().to_owned(),
                line: number,
            });
        }
        Ok(())
    }

    fn section_at(&mut self, name: &str, line: usize) -> usize {
        if let Some(at) = self.sections.iter().position(|s| s.name == name) {
            return at;
        }
        self.sections.push(Section {
            name: name.to_owned(),
            line,
            entries: Vec::new(),
        });
        self.sections.len() - 1
    }

    /// A section, if it is there.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    fn entries(&self, section: &str, key: &str) -> impl DoubleEndedIterator<Item = &Entry> {
        let section = self.section(section);
        let entries = section.into_iter().flat_map(|s| s.entries.iter());
        let key = key.to_owned();
        entries.filter(move |e| e.key == key)
    }

    /// Whether the key stands there, be it empty.
    pub fn has(&self, section: &str, key: &str) -> bool {
        self.entries(section, key).next().is_some()
    }

    /// The line of a key's last entry, 0 without one.
    pub fn line(&self, section: &str, key: &str) -> usize {
        self.entries(section, key).next_back().map_or(0, |e| e.line)
    }

    /// A key's last value, without quotes around the whole of it; empty counts as absent.
    pub fn last(&self, section: &str, key: &str) -> Option<String> {
        let value = &self.entries(section, key).next_back()?.value;
        let bare = match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
            Some(inner) if !inner.contains('"') => inner,
            _ => value,
        };
        (!bare.is_empty()).then(|| bare.to_owned())
    }

    /// A key's entries since the last empty one.
    pub fn all(&self, section: &str, key: &str) -> Vec<&Entry> {
        let mut all = Vec::new();
        for entry in self.entries(section, key) {
            match entry.value.is_empty() {
                true => all.clear(),
                false => all.push(entry),
            }
        }
        all
    }

    /// The words of a key's entries, each with its line.
    ///
    /// # Errors
    /// The line, and what is wrong with its quotes.
    pub fn words(
        &self,
        section: &str,
        key: &str,
        unescape: bool,
    ) -> std::result::Result<Vec<(String, usize)>, (usize, &'static str)> {
        let mut all = Vec::new();
        for entry in self.all(section, key) {
            let words = words::split(&entry.value, unescape).map_err(|why| (entry.line, why))?;
            all.extend(words.into_iter().map(|w| (w, entry.line)));
        }
        Ok(all)
    }

    /// A key as a switch; `Err` has the line of one that is none.
    ///
    /// # Errors
    /// The line and the value.
    pub fn switch(
        &self,
        section: &str,
        key: &str,
    ) -> std::result::Result<Option<bool>, (usize, String)> {
        match self.last(section, key) {
            None => Ok(None),
            Some(text) => words::boolean(&text)
                .map(Some)
                .ok_or_else(|| (self.line(section, key), text)),
        }
    }

    /// Adds an entry at the end of a section, which is made if it is not there.
    pub fn push(&mut self, section: &str, key: &str, value: impl Into<String>) {
        let at = self.section_at(section, 0);
        self.sections[at].entries.push(Entry {
            key: key.to_owned(),
            value: value.into(),
            line: 0,
        });
    }

    /// Adds an entry at the beginning of a section.
    pub fn push_first(&mut self, section: &str, key: &str, value: impl Into<String>) {
        let at = match self.sections.iter().position(|s| s.name == section) {
            Some(at) => at,
            None => {
                self.sections.insert(
                    0,
                    Section {
                        name: section.to_owned(),
                        line: 0,
                        entries: Vec::new(),
                    },
                );
                0
            }
        };
        let entry = Entry {
            key: key.to_owned(),
            value: value.into(),
            line: 0,
        };
        self.sections[at].entries.insert(0, entry);
    }

    /// Puts a value in the place of all that a key has.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<String>) {
        let at = self.section_at(section, 0);
        self.sections[at].entries.retain(|e| e.key != key);
        self.push(section, key, value);
    }

    /// Gives a section another name.
    pub fn rename(&mut self, section: &str, name: &str) {
        for s in self.sections.iter_mut().filter(|s| s.name == section) {
            name.clone_into(&mut s.name);
        }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{}]\n", section.name));
            for entry in &section.entries {
                text.push_str(&format!("{}={}\n", entry.key, entry.value));
            }
        }
        text
    }
}

fn is_comment(line: &str) -> bool {
    line.starts_with(['#', ';'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_and_comments_do_not_count() {
        let text = "# head\n[A]\nk = one \\\n  # not this\n; nor this\n  two\\\nthree\n\n[B]\nx=1\n[A]\nk=\nk=last\n";
        let unit = Unit::parse(text, "f").unwrap();
        let a = unit.section("A").unwrap();
        assert_eq!(a.entries[0].value, "one  two three");
        assert_eq!((a.entries[0].line, a.entries[2].line), (3, 13));
        assert_eq!(unit.all("A", "k").len(), 1, "an empty value takes back");
        assert_eq!(unit.last("A", "k").unwrap(), "last");
        assert_eq!(
            unit.text(),
            "[A]\nk=one  two three\nk=\nk=last\n\n[B]\nx=1\n"
        );
        assert_eq!(unit.line("B", "x"), 10);
    }

    #[test]
    fn what_is_no_unit_is_named_with_its_line() {
        for (text, message) in [
            ("[A\n", "f:1: malformed section header"),
            ("[A]\n\nnonsense\n", "f:3: neither"),
            ("k=v\n", "f:1: a key before"),
            ("[A]\na b=c\n", "f:2: malformed key"),
            ("[A]\n=c\n", "f:2: malformed key"),
        ] {
            let e = Unit::parse(text, "f").unwrap_err();
            assert!(e.what().starts_with(message), "{text:?}: {e}");
        }
    }

    #[test]
    fn quotes_around_a_whole_value_go() {
        let unit = Unit::parse("[A]\na=\"x y\"\nb=\"x\" \"y\"\nc=\"\"\n", "f").unwrap();
        assert_eq!(unit.last("A", "a").unwrap(), "x y");
        assert_eq!(unit.last("A", "b").unwrap(), "\"x\" \"y\"");
        assert_eq!(unit.last("A", "c"), None);
    }
}
