//! Words in the values of unit files: quoting and its reverse.
//!
//! Spec: systemd.syntax(7), "Quoting" and "C-style escapes"; systemd.service(5), "Command lines".

/// Splits a value at spaces; quotes hold words together. With `unescape`, backslashes are C's;
/// without, they stay.
///
/// # Errors
/// A sentence about a quote that is not closed, or a bad escape.
pub fn split(text: &str, unescape: bool) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(&c) = chars.peek() {
            if quote.is_none() && c.is_ascii_whitespace() {
                break;
            }
            chars.next();
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(q), c) if q == c => quote = None,
                (_, '\\') if unescape => unescape_one(&mut chars, &mut word)?,
                (_, c) => word.push(c),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed");
        }
        words.push(word);
    }
}

fn unescape_one(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut String,
) -> Result<(), &'static str> {
    const BAD: &str = "a backslash is followed by nothing that it could mean";
    let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>, radix, most: usize| {
        let mut value = 0_u32;
        let mut count = 0;
        while count < most
            && let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix))
        {
            chars.next();
            value = value * radix + digit;
            count += 1;
        }
        (count == most)
            .then(|| char::from_u32(value).filter(|c| *c != '\0'))
            .flatten()
            .ok_or(BAD)
    };
    let plain = match chars.next().ok_or(BAD)? {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        's' => ' ',
        c @ ('\\' | '"' | '\'') => c,
        'x' => number(chars, 16, 2)?,
        'u' => number(chars, 16, 4)?,
        'U' => number(chars, 16, 8)?,
        c @ '0'..='7' => {
            let mut value = c.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let digit = chars.next().and_then(|c| c.to_digit(8)).ok_or(BAD)?;
                value = value * 8 + digit;
            }
            char::from_u32(value).filter(|c| *c != '\0').ok_or(BAD)?
        }
        _ => return Err(BAD),
    };
    word.push(plain);
    Ok(())
}

/// A word as systemd reads it back. Specifiers and variables are left alone.
pub fn quote(word: &str) -> String {
    let needs = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\');
    if !word.is_empty() && !word.chars().any(needs) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A command line of these words.
pub fn command<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| quote(w.as_ref())).collect();
    quoted.join(" ")
}

/// systemd's words for yes and no; `None` for any other.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        for (text, words) in [
            ("a b  c", &["a", "b", "c"][..]),
            (" \"a b\" 'c \"d'", &["a b", "c \"d"]),
            ("A=\"x y\" B=z", &["A=x y", "B=z"]),
            ("'' x", &["", "x"]),
            ("", &[]),
            (r#"a\nb "c\"d" \x41\101\s"#, &["a\nb", "c\"d", "AA "]),
        ] {
            assert_eq!(split(text, true).unwrap(), words, "{text}");
        }
        assert_eq!(split(r"a\b", false).unwrap(), [r"a\b"]);
        for bad in ["\"a", "a\\", "\\q", "\\x4", "\\000"] {
            assert!(split(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_quoted_reads_back() {
        for word in [
            "plain",
            "a b",
            "",
            "q\"u'o\\te",
            "new\nline",
            "\u{1}",
            "%n $X",
            "é",
        ] {
            assert_eq!(split(&quote(word), true).unwrap(), [word], "{word:?}");
        }
        assert_eq!(command(&["a", "b c", "%t/x"]), "a \"b c\" %t/x");
    }

    #[test]
    fn booleans_are_systemds() {
        for (text, value) in [("Yes", Some(true)), ("off", Some(false)), ("maybe", None)] {
            assert_eq!(boolean(text), value);
        }
    }
}
