//! Patterns of paths: Go's `filepath.Match` with `**`, as ignore files, `--exclude` and the
//! sources of `COPY` use them.
//!
//! Matching takes at most pattern times text steps, whatever the pattern.

use crate::base::{Error, Result};

/// The longest pattern, in characters.
const LENGTH: usize = 4096;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// `?`: one character but a slash.
    One,
    /// `*`: any but slashes.
    Many,
    /// `**/`: any number of whole folders, also none.
    Folders,
    /// `**` at the end or inside a name: anything.
    All,
    /// `[…]`.
    Class(bool, Vec<(char, char)>),
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// `Invalid` for a class without an end, or an escape at the end.
    pub fn new(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("invalid pattern {text:?}: {why}"))
                .hint("write a bracket or a star that is meant literally behind a backslash")
        };
        if text.len() > LENGTH {
            return Err(bad("it is too long"));
        }
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            match chars[at] {
                '*' if chars.get(at + 1) == Some(&'*') => {
                    at += 2;
                    while chars.get(at) == Some(&'*') {
                        at += 1;
                    }
                    if chars.get(at) == Some(&'/') {
                        at += 1;
                        parts.push(Part::Folders);
                    } else if at == chars.len() {
                        parts.push(Part::All);
                    } else {
                        parts.push(Part::Folders);
                    }
                    continue;
                }
                '*' => parts.push(Part::Many),
                '?' => parts.push(Part::One),
                '\\' => {
                    at += 1;
                    let next = chars.get(at).ok_or_else(|| bad("it ends in a backslash"))?;
                    parts.push(Part::Literal(*next));
                }
                '[' => {
                    let (part, next) = class(&chars, at + 1).ok_or_else(|| bad("[ has no ]"))?;
                    parts.push(part);
                    at = next;
                    continue;
                }
                c => parts.push(Part::Literal(c)),
            }
            at += 1;
        }
        Ok(Self {
            parts,
            text: text.to_owned(),
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches one text only: that text.
    pub fn literal(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|p| match p {
                Part::Literal(c) => Some(*c),
                _ => None,
            })
            .collect()
    }

    /// Whether the whole path fits.
    pub fn matches(&self, path: &str) -> bool {
        let text: Vec<char> = path.chars().collect();
        let mut reach = vec![false; text.len() + 1];
        reach[0] = true;
        for part in &self.parts {
            match part {
                Part::Many | Part::All => {
                    let mut on = false;
                    for n in 0..=text.len() {
                        on |= reach[n];
                        reach[n] = on;
                        if n < text.len() && text[n] == '/' && *part == Part::Many {
                            on = false;
                        }
                    }
                }
                Part::Folders => {
                    // From wherever we are to behind any later slash.
                    let mut on = false;
                    for n in 0..=text.len() {
                        let before = reach[n];
                        reach[n] = before || (on && n > 0 && text[n - 1] == '/');
                        on |= before;
                    }
                }
                single => {
                    for n in (0..text.len()).rev() {
                        let c = text[n];
                        let fits = match single {
                            Part::Literal(l) => c == *l,
                            Part::One => c != '/',
                            Part::Class(negated, ranges) => {
                                let inside = ranges.iter().any(|(a, b)| (*a..=*b).contains(&c));
                                c != '/' && inside != *negated
                            }
                            _ => false,
                        };
                        reach[n + 1] = reach[n] && fits;
                    }
                    reach[0] = false;
                }
            }
        }
        reach[text.len()]
    }
}

fn class(chars: &[char], mut at: usize) -> Option<(Part, usize)> {
    let negated = chars.get(at) == Some(&'^');
    if negated {
        at += 1;
    }
    let mut ranges = Vec::new();
    loop {
        let one = |at: &mut usize| -> Option<char> {
            let mut c = *chars.get(*at)?;
            *at += 1;
            if c == '\\' {
                c = *chars.get(*at)?;
                *at += 1;
            }
            Some(c)
        };
        if chars.get(at) == Some(&']') && !ranges.is_empty() {
            return Some((Part::Class(negated, ranges), at + 1));
        }
        if matches!(chars.get(at), Some(']' | '-')) {
            return None;
        }
        let low = one(&mut at)?;
        let high = match chars.get(at) {
            Some('-') => {
                at += 1;
                if chars.get(at) == Some(&']') {
                    return None;
                }
                one(&mut at)?
            }
            _ => low,
        };
        ranges.push((low, high));
    }
}

/// A path without `.`, `..` and doubled slashes, lexically, as Go's `filepath.Clean`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match out.last() {
                Some(&"..") | None if !rooted => out.push(".."),
                None => {}
                Some(_) => {
                    out.pop();
                }
            },
            part => out.push(part),
        }
    }
    let joined = out.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_what_go_says() {
        for (pattern, text, fits) in [
            ("*", "abc", true),
            ("*", "a/b", false),
            ("a*/b", "abc/b", true),
            ("**", "a/b/c", true),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "a/bc", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a/**/c", "ac", false),
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("**/*.txt", "d/a.txt", true),
            ("file?", "file1", true),
            ("file?", "file/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            (r"\*x", "*x", true),
            (r"\*x", "ax", false),
            ("[[]x", "[x", true),
            ("a.b", "axb", false),
            ("a+(b)", "a+(b)", true),
            ("", "", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).unwrap().matches(text),
                fits,
                "{pattern} {text}"
            );
        }
        for bad in ["[a", "[]a]", "a\\", "[a-]", "[-x]"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = Pattern::new(&"a*".repeat(1000)).unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(900))));
        assert!(Pattern::new(&"*".repeat(5000)).is_err());
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, want) in [
            ("", "."),
            ("a//b/./c/..", "a/b"),
            ("/../a", "/a"),
            ("../a", "../a"),
            ("a/../..", ".."),
            ("/", "/"),
            ("a/", "a"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }
}
