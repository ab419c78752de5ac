//! `.env` files and `env_file`: `NAME=value` lines with quotes, comments and variables.
//!
//! Spec: compose-spec, "Environment file syntax".

use super::interpolate::Scope;
use crate::base::{Error, Result};

/// Reads the variables of a file, in order. `known` are those that values may mention besides the
/// ones above them in the file, which come second.
///
/// # Errors
/// `Invalid` with the line's number.
pub fn parse(
    text: &str,
    name: &str,
    known: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, Option<String>)>> {
    let mut made: Vec<(String, Option<String>)> = Vec::new();
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let number = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let wrong = |what: &str| Error::invalid(format!("{name}: line {number}: {what}"));
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let line = rest[..line_end].trim();
        if line.is_empty() || line.starts_with('#') {
            rest = rest.get(line_end + 1..).unwrap_or("");
            continue;
        }
        let line = rest.trim_start();
        let line = line
            .strip_prefix("export")
            .filter(|l| l.starts_with([' ', '\t']))
            .map_or(line, str::trim_start);
        let end = line.find('\n').unwrap_or(line.len());
        let Some(at) = line[..end].find(['=', ':']) else {
            let key = line[..end].split(" #").next().unwrap_or("").trim();
            if key.contains(char::is_whitespace) {
                return Err(wrong(&format!("unexpected text in variable name {key:?}")));
            }
            made.push((key.to_owned(), known(key)));
            rest = line.get(end + 1..).unwrap_or("");
            continue;
        };
        let key = line[..at].trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(wrong(&format!("unexpected text in variable name {key:?}")));
        }
        let after = line[at + 1..].trim_start_matches([' ', '\t']);
        let (raw, literal, tail) = match after.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let (raw, tail) =
                    quoted(&after[1..], quote).ok_or_else(|| wrong("a quote is not closed"))?;
                let end = tail.find('\n').unwrap_or(tail.len());
                (raw, quote == '\'', tail.get(end + 1..).unwrap_or(""))
            }
            _ => {
                let end = after.find('\n').unwrap_or(after.len());
                let plain = &after[..end];
                let comment = match plain.starts_with('#') {
                    true => Some(0),
                    false => plain.find(" #").or_else(|| plain.find("\t#")),
                };
                let plain = plain[..comment.unwrap_or(plain.len())].trim_end();
                (plain.to_owned(), false, after.get(end + 1..).unwrap_or(""))
            }
        };
        let value = match literal {
            true => raw,
            false => {
                let lookup = |name: &str| {
                    known(name).or_else(|| {
                        let own = made.iter().rev().find(|(k, _)| k == name);
                        own.and_then(|(_, v)| v.clone())
                    })
                };
                Scope::new(&lookup)
                    .text(&raw)
                    .map_err(|e| wrong(e.what()))?
            }
        };
        made.push((key.to_owned(), Some(value)));
        rest = tail;
    }
    Ok(made)
}

/// The text up to the closing quote, and what follows. Between double quotes a backslash escapes.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut made = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if quote == '"' => match letters.next()?.1 {
                'n' => made.push('\n'),
                't' => made.push('\t'),
                'r' => made.push('\r'),
                '$' => made.push_str("$$"),
                other @ ('"' | '\\' | '\'') => made.push(other),
                other => made.extend(['\\', other]),
            },
            '\\' if text[at + 1..].starts_with('\'') => {
                letters.next();
                made.push('\'');
            }
            end if end == quote => return Some((made, &text[at + 1..])),
            other => made.push(other),
        }
    }
    None
}

/// As `docker run --env-file` reads them (`format: raw`): everything behind the `=` is the value.
pub fn raw(text: &str) -> Vec<(String, Option<String>)> {
    text.lines()
        .map(str::trim_start)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|line| match line.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (line.trim_end().to_owned(), None),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_variables_follow_the_specification() {
        let text = "# c\nA=1\nexport B = two words # c\nC='$A # no'\nD=\"$A\\n${B} # no\" # yes\n\
                    E=\nF=a#b\nG: yaml\nM=\"l1\nl2\"\nH=${X:-d}$Y\nI='it\\'s'\nJ=\"\\$A\"\nK\n";
        let known = |name: &str| (name == "Y").then(|| "y".to_owned());
        let read = parse(text, ".env", &known).unwrap();
        let of = |name: &str| read.iter().find(|(k, _)| k == name).unwrap().1.as_deref();
        for (name, value) in [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A # no"),
            ("D", "1\ntwo words # no"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "yaml"),
            ("M", "l1\nl2"),
            ("H", "dy"),
            ("I", "it's"),
            ("J", "$A"),
        ] {
            assert_eq!(of(name), Some(value), "{name}");
        }
        assert_eq!(of("K"), None);
        let wrong = |text: &str| parse(text, "e", &known).unwrap_err().what().to_owned();
        assert_eq!(wrong("A=1\nB=\"x"), "e: line 2: a quote is not closed");
        assert!(wrong("A B=1").starts_with("e: line 1: unexpected"));
        assert_eq!(raw("A='x' # y\n#c\nB\n")[0].1.as_deref(), Some("'x' # y"));
    }
}
