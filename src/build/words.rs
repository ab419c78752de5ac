//! The three ways in which an instruction's text is split: JSON, shell words with their quotes
//! kept, and plain blanks.

/// `["a", "b"]`, as BuildKit takes it: an array of strings; everything else is the shell form.
pub fn json(text: &str) -> Option<Vec<String>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    serde_json::from_str(text.trim()).ok()
}

/// Whether the text is meant as JSON, but is none.
pub fn is_spoiled_json(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('[')
        && text.ends_with(']')
        && text.contains('"')
        && serde_json::from_str::<Vec<String>>(text).is_err()
}

/// Whether the text is a JSON array of something else than strings.
pub fn is_json_of_others(text: &str) -> bool {
    text.trim_start().starts_with('[')
        && json(text).is_none()
        && serde_json::from_str::<Vec<serde_json::Value>>(text.trim()).is_ok()
}

/// Words at blanks, quotes and escapes kept in them; `None` when a quote has no end.
pub fn shell(text: &str, escape: char) -> Option<Vec<String>> {
    let (found, whole) = split(text, Some(escape));
    whole.then_some(found)
}

/// As [`shell`], and a quote without an end takes the rest, as Docker's `ENV` and `LABEL` do:
/// expansion says what is wrong with it.
pub fn shell_lenient(text: &str, escape: char) -> Vec<String> {
    shell(text, escape).unwrap_or_else(|| split(text, None).0)
}

/// Splits at blanks outside of quotes; the second says that every quote ended.
fn split(text: &str, escape: Option<char>) -> (Vec<String>, bool) {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        word.push(c);
        if Some(c) == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    (found, quote.is_none())
}

/// Words at blanks alone.
pub fn plain(text: &str) -> Vec<String> {
    text.split([' ', '\t', '\u{b}', '\u{c}', '\r', '\n'])
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A word without its quotes and escapes; `None` when a quote has no end.
pub fn unquoted(word: &str, escape: char) -> Option<String> {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ if c == escape && quote != Some('\'') => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    quote.is_none().then_some(out)
}

/// A flag's name, and its value if it has one.
pub type Flag = (String, Option<String>);

/// `--name[=value]` before an instruction's own words, quotes taken off the values; the rest of
/// the text. `--` alone ends them.
pub fn flags(text: &str, escape: char) -> Option<(Vec<Flag>, &str)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let end = flag_end(rest, escape);
        let word = &rest[..end];
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        let word = unquoted(&word[2..], escape)?;
        found.push(match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        });
    }
    Some((found, rest))
}

fn flag_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return at,
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ if c == escape && quote != Some('\'') => {
                chars.next();
            }
            _ => {}
        }
    }
    text.len()
}

/// `a,"b,c",d` as a line of CSV (RFC 4180), as mounts, secrets and outputs are written.
pub fn csv(text: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    let mut start = true;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' if quoted => quoted = false,
            '"' if start => quoted = true,
            '"' => return None,
            ',' if !quoted => {
                found.push(std::mem::take(&mut field));
                start = true;
                continue;
            }
            '\n' if !quoted => return None,
            _ => field.push(c),
        }
        start = false;
    }
    found.push(field);
    (!quoted).then_some(found)
}

/// `key=value,key=value` as outputs, caches and attestations are written; keys in small letters.
///
/// # Errors
/// Why it is none, without the text itself.
pub fn fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let list = csv(text).ok_or("a quote has no end")?;
    list.into_iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_ascii_lowercase(), value.to_owned())),
            None => Err(format!("{field:?} is no KEY=VALUE")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes() {
        let found = shell(r#"a="b c" 'd "e' f\ g"#, '\\').unwrap();
        assert_eq!(found, [r#"a="b c""#, r#"'d "e'"#, r"f\ g"]);
        assert_eq!(shell("'x", '\\'), None);
        assert_eq!(shell_lenient("it's a", '\\'), ["it's a"]);
        assert_eq!(unquoted(r#"a"b c"'\d'\e"#, '\\').unwrap(), r"ab c\de");
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let (found, rest) = flags("--a --b=c --d=\"e f\" g --h", '\\').unwrap();
        let want = [
            ("a".to_owned(), None),
            ("b".to_owned(), Some("c".to_owned())),
            ("d".to_owned(), Some("e f".to_owned())),
        ];
        assert_eq!(found, want);
        assert_eq!(rest, "g --h");
        assert_eq!(flags("-- --x", '\\').unwrap(), (vec![], "--x"));
    }

    #[test]
    fn json_is_an_array_of_strings() {
        assert_eq!(json(r#" ["a", "b"]"#).unwrap(), ["a", "b"]);
        assert_eq!(json("[a]"), None);
        assert!(is_json_of_others("[1]") && !is_json_of_others("[a]"));
        assert!(is_spoiled_json(r#"["a",]"#) && !is_spoiled_json("[ -f x ]"));
    }

    #[test]
    fn commas_in_quotes_do_not_split() {
        assert_eq!(csv(r#"a=b,"c=d,e",f"#).unwrap(), ["a=b", "c=d,e", "f"]);
        assert_eq!(csv(r#""a"#), None);
        assert_eq!(csv(r#""a""b""#).unwrap(), ["a\"b"]);
    }
}
