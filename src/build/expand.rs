//! Variables in words: `$a`, `${a}`, and every operator of the reference, with quotes taken off.
//!
//! Bounded: operators nest so deep and a word grows so long, no further.

use crate::base::{Error, Result};

/// How deep `${a:-${b:-…}}` may nest.
const DEPTH: usize = 100;

/// How long an expanded word may be, in bytes.
const LENGTH: usize = 1 << 20;

/// Where values come from, and who hears of names that have none.
pub trait Lookup {
    /// The value of a variable, if it is set.
    fn value(&self, name: &str) -> Option<String>;

    /// A variable without a value was asked for where that means the empty text.
    fn missing(&self, _name: &str) {}
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn value(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// How many characters one replacement may look at.
const LOOKS: usize = 20_000_000;

/// How a word is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Quotes and escapes are taken off.
    Word,
    /// Quotes are text, as in a here-document.
    Document,
}

/// Expands one word.
///
/// # Errors
/// `Invalid` for a quote or brace without an end, an unknown operator, or `${a:?message}`.
pub fn word(text: &str, escape: char, form: Form, values: &dyn Lookup) -> Result<String> {
    let mut reader = Reader {
        chars: text.chars().collect(),
        at: 0,
        escape,
        values,
        form,
        depth: 0,
        text,
    };
    let out = reader.until(None, false)?;
    Ok(out.into_iter().map(|p| p.0).collect())
}

/// Expands a text to words: blanks that come out of variables split too.
///
/// # Errors
/// As [`word`].
pub fn words(text: &str, escape: char, values: &dyn Lookup) -> Result<Vec<String>> {
    let mut reader = Reader {
        chars: text.chars().collect(),
        at: 0,
        escape,
        values,
        form: Form::Word,
        depth: 0,
        text,
    };
    let out = reader.until(None, false)?;
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for (c, quoted) in out {
        if c.is_whitespace() && !quoted {
            inside = false;
            continue;
        }
        if !inside {
            found.push(String::new());
            inside = true;
        }
        if let Some(last) = found.last_mut() {
            last.push(c);
        }
    }
    Ok(found)
}

/// A character, and whether it was quoted.
type Piece = (char, bool);

struct Reader<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    values: &'a dyn Lookup,
    form: Form,
    depth: usize,
    text: &'a str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn bad(&self, why: &str) -> Error {
        let shown: String = self.text.chars().take(80).collect();
        Error::invalid(format!("cannot expand {shown:?}: {why}"))
            .hint("write a dollar sign that is text as \\$, a backslash as \\\\")
    }

    /// Up to `stop` or the end. `raw`: escapes stay, for patterns.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<Vec<Piece>> {
        let mut out: Vec<Piece> = Vec::new();
        while let Some(c) = self.peek() {
            if out.len() > LENGTH {
                return Err(self.bad("the result is longer than 1 MiB"));
            }
            if Some(c) == stop {
                self.at += 1;
                return Ok(out);
            }
            match c {
                '\'' if self.form == Form::Word => self.single(&mut out)?,
                '"' if self.form == Form::Word => self.double(&mut out)?,
                '$' => {
                    let value = self.dollar()?;
                    out.extend(value.chars().map(|c| (c, false)));
                }
                _ => {
                    self.at += 1;
                    if c != self.escape {
                        out.push((c, false));
                        continue;
                    }
                    if raw {
                        out.push((c, true));
                        out.extend(self.next().map(|c| (c, true)));
                        continue;
                    }
                    match (self.form, self.peek()) {
                        (Form::Word, None) => {}
                        (Form::Word, Some(next)) => {
                            self.at += 1;
                            out.push((next, true));
                        }
                        (Form::Document, Some(next)) if next == '$' || next == self.escape => {
                            self.at += 1;
                            out.push((next, true));
                        }
                        (Form::Document, _) => out.push((c, true)),
                    }
                }
            }
        }
        match stop {
            Some(stop) => Err(self.bad(&format!("{stop:?} is missing"))),
            None if out.len() > LENGTH => Err(self.bad("the result is longer than 1 MiB")),
            None => Ok(out),
        }
    }

    fn single(&mut self, out: &mut Vec<Piece>) -> Result<()> {
        self.at += 1;
        loop {
            match self.next() {
                None => return Err(self.bad("a single quote has no end")),
                Some('\'') => return Ok(()),
                Some(c) => out.push((c, true)),
            }
        }
    }

    fn double(&mut self, out: &mut Vec<Piece>) -> Result<()> {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.bad("a double quote has no end")),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('$') => {
                    let value = self.dollar()?;
                    out.extend(value.chars().map(|c| (c, true)));
                }
                Some(c) => {
                    self.at += 1;
                    if c != self.escape {
                        out.push((c, true));
                        continue;
                    }
                    match self.next() {
                        None => return Err(self.bad("a double quote has no end")),
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            out.push((next, true));
                        }
                        Some(next) => out.extend([(c, true), (next, true)]),
                    }
                }
            }
            if out.len() > LENGTH {
                return Err(self.bad("the result is longer than 1 MiB"));
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_alphabetic() || c == '_' => {
                while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.at += 1;
                }
            }
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    name.push(c);
                    self.at += 1;
                }
            }
            Some(c) if "@*#?-$!".contains(c) => {
                name.push(c);
                self.at += 1;
            }
            _ => {}
        }
        name
    }

    fn value(&self, name: &str) -> Option<String> {
        self.values.value(name)
    }

    fn plain(&self, name: &str) -> String {
        self.value(name).unwrap_or_else(|| {
            self.values.missing(name);
            String::new()
        })
    }

    fn dollar(&mut self) -> Result<String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name.as_str() {
                "" => "$".to_owned(),
                name => self.plain(name),
            });
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.bad("braces nest too deep"));
        }
        let value = self.braces();
        self.depth -= 1;
        value
    }

    fn braces(&mut self) -> Result<String> {
        let name = self.name();
        if name.is_empty() {
            return Err(self.bad("a variable's name is missing in the braces"));
        }
        match self.next() {
            Some('}') => Ok(self.plain(&name)),
            Some(':') => match self.next() {
                Some(op @ ('+' | '-' | '?')) => self.default(&name, op, true),
                Some(op) => Err(self.bad(&format!("unknown operator :{op}"))),
                None => Err(self.bad("the closing brace is missing")),
            },
            Some(op @ ('+' | '-' | '?')) => self.default(&name, op, false),
            Some(op @ ('#' | '%')) => {
                let greedy = self.peek() == Some(op);
                if greedy {
                    self.at += 1;
                }
                let pattern = glob(&self.until(Some('}'), true)?, self.escape);
                let value: Vec<char> = self.plain(&name).chars().collect();
                Ok(match op {
                    '#' => without_prefix(&value, &pattern, greedy),
                    _ => without_suffix(&value, &pattern, greedy),
                })
            }
            Some('/') => {
                let all = self.peek() == Some('/');
                if all {
                    self.at += 1;
                }
                let pattern = glob(&self.until(Some('/'), true)?, self.escape);
                let with: String = self.until(Some('}'), false)?.iter().map(|p| p.0).collect();
                let value: Vec<char> = self.plain(&name).chars().collect();
                self.replaced(&value, &pattern, &with, all)
            }
            Some(other) => Err(self.bad(&format!("unknown operator {other}"))),
            None => Err(self.bad("the closing brace is missing")),
        }
    }

    fn default(&mut self, name: &str, op: char, empty_is_unset: bool) -> Result<String> {
        let word: String = self.until(Some('}'), false)?.iter().map(|p| p.0).collect();
        let value = self.value(name);
        let set = value
            .as_deref()
            .is_some_and(|v| !(empty_is_unset && v.is_empty()));
        Ok(match op {
            '+' if set => word,
            '+' => String::new(),
            '-' if set => value.unwrap_or_default(),
            '-' => word,
            _ if set => value.unwrap_or_default(),
            _ => {
                let why = match word.as_str() {
                    "" if empty_is_unset => "it must be set and not empty",
                    "" => "it must be set",
                    why => why,
                };
                return Err(Error::invalid(format!("variable {name}: {why}"))
                    .hint(format!("set it: --build-arg {name}=VALUE")));
            }
        })
    }

    fn replaced(&self, value: &[char], pattern: &[Glob], with: &str, all: bool) -> Result<String> {
        let mut out = String::new();
        let mut at = 0;
        let mut done = false;
        let mut looks = 0;
        while at < value.len() {
            let hit = match done {
                true => None,
                false => prefixes(pattern, &value[at..], &mut looks)
                    .pop()
                    .filter(|n| *n > 0),
            };
            if looks > LOOKS {
                return Err(self.bad("the pattern takes too long"));
            }
            match hit {
                Some(n) => {
                    out.push_str(with);
                    at += n;
                    done = !all;
                }
                None => {
                    out.push(value[at]);
                    at += 1;
                }
            }
            if out.len() > LENGTH {
                return Err(self.bad("the result is longer than 1 MiB"));
            }
        }
        Ok(out)
    }
}

/// One element of a shell pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glob {
    Literal(char),
    One,
    Many,
}

fn glob(pieces: &[Piece], escape: char) -> Vec<Glob> {
    let mut out = Vec::new();
    let mut pieces = pieces.iter();
    while let Some((c, quoted)) = pieces.next() {
        match (*c, *quoted) {
            // An escape stands before what it escapes.
            (c, true) if c == escape => {
                out.extend(pieces.next().map(|(c, _)| Glob::Literal(*c)));
            }
            ('*', false) => out.push(Glob::Many),
            ('?', false) => out.push(Glob::One),
            (c, _) => out.push(Glob::Literal(c)),
        }
    }
    out
}

/// The lengths of the text's beginnings that fit the whole pattern, ascending; each look at a
/// character is counted.
fn prefixes(pattern: &[Glob], text: &[char], looks: &mut usize) -> Vec<usize> {
    let mut reach = vec![0];
    for part in pattern {
        let Some(first) = reach.first().copied() else {
            break;
        };
        match part {
            Glob::Many => reach = (first..=text.len()).collect(),
            other => {
                reach.retain(|n| match other {
                    Glob::Literal(c) => text.get(*n) == Some(c),
                    _ => *n < text.len(),
                });
                for n in &mut reach {
                    *n += 1;
                }
            }
        }
        *looks += reach.len() + 1;
    }
    reach
}

fn without_prefix(value: &[char], pattern: &[Glob], greedy: bool) -> String {
    let reach = prefixes(pattern, value, &mut 0);
    let cut = match greedy {
        true => reach.last(),
        false => reach.first(),
    };
    value[cut.copied().unwrap_or(0)..].iter().collect()
}

fn without_suffix(value: &[char], pattern: &[Glob], greedy: bool) -> String {
    let back: Vec<char> = value.iter().rev().copied().collect();
    let pattern: Vec<Glob> = pattern.iter().rev().copied().collect();
    let kept = without_prefix(&back, &pattern, greedy);
    kept.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "a" => "foo.tar.gz",
            "e" => "",
            "p" => "/usr/local/bin",
            "two" => "x y",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn ok(text: &str) -> String {
        word(text, '\\', Form::Word, &env).unwrap()
    }

    #[test]
    fn every_operator_does_what_the_shell_does() {
        for (text, want) in [
            ("$a", "foo.tar.gz"),
            ("${a}x", "foo.tar.gzx"),
            ("$none", ""),
            ("a$", "a$"),
            ("$.", "$."),
            (r"\$a", "$a"),
            (r"\\$e", r"\"),
            ("${none:-d}", "d"),
            ("${e:-d}", "d"),
            ("${e-d}", ""),
            ("${none-d}", "d"),
            ("${a:+w}", "w"),
            ("${e:+w}", ""),
            ("${e+w}", "w"),
            ("${none:-${e:-$a}}", "foo.tar.gz"),
            ("${a:?must}", "foo.tar.gz"),
            ("${e?must}", ""),
            ("${a#*.}", "tar.gz"),
            ("${a##*.}", "gz"),
            ("${a%.*}", "foo.tar"),
            ("${a%%.*}", "foo"),
            ("${a#bar}", "foo.tar.gz"),
            ("${a%??}", "foo.tar."),
            ("${a/o/0}", "f0o.tar.gz"),
            ("${a//o/0}", "f00.tar.gz"),
            ("${a//./}", "footargz"),
            ("${p//\\//-}", "-usr-local-bin"),
            ("${a/t*r/X}", "foo.X.gz"),
            ("'$a'", "$a"),
            ("\"$a b\"", "foo.tar.gz b"),
            (r#""\"\$a\x""#, r#""$a\x"#),
            ("it\\'s", "it's"),
            ("${none:-'a b'}", "a b"),
        ] {
            assert_eq!(ok(text), want, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_told() {
        for text in [
            "${", "${}", "${a", "${a:}", "${a!b}", "'x", "\"x", "${e:?no}", "${none?}", "${a/x}",
            "${a:*b}",
        ] {
            assert!(word(text, '\\', Form::Word, &env).is_err(), "{text}");
        }
        let message = word("${e:?tell me}", '\\', Form::Word, &env).unwrap_err();
        assert!(message.what().contains("tell me"), "{message}");
    }

    #[test]
    fn words_split_outside_quotes_only() {
        assert_eq!(
            words("$two \"$two\" c\\ d", '\\', &env).unwrap(),
            ["x", "y", "x y", "c d"]
        );
        assert_eq!(words("$none", '\\', &env).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn quotes_in_documents_are_text() {
        let text = word("say \"$a\" it's \\$a \\n", '\\', Form::Document, &env).unwrap();
        assert_eq!(text, "say \"foo.tar.gz\" it's $a \\n");
    }

    #[test]
    fn growth_and_depth_are_bounded() {
        let deep = format!("{}x{}", "${n:-".repeat(1000), "}".repeat(1000));
        assert!(word(&deep, '\\', Form::Word, &env).is_err());
        let large = |_: &str| Some("x".repeat(1 << 20));
        assert!(word("$a$a", '\\', Form::Word, &large).is_err());
        assert!(word("${a//x/yyyy}", '\\', Form::Word, &large).is_err());
    }
}
