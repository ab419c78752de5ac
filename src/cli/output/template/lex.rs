//! Words of a template: text outside `{{ }}`, tokens inside.

/// A token and where it begins (byte offset).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Outside actions, escapes replaced.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// A word: keyword, function, `true`.
    Word(String),
    /// `.name`; `glued` when no blank stands before it, so that it belongs to what precedes.
    Field { name: String, glued: bool },
    /// `.` alone.
    Dot,
    /// `$name`, without the sign.
    Variable(String),
    /// A quoted string.
    Text2(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// `|`.
    Pipe,
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
    /// `,`.
    Comma,
    /// `(`.
    LeftParen,
    /// `)`.
    RightParen,
}

/// Line and column (both from 1, column in bytes from 0 as Go counts) of an offset.
pub(super) fn place(text: &str, at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    format!("{line}")
}

/// Splits a template into tokens.
///
/// # Errors
/// `line: what is wrong`.
pub(super) fn lex(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    while at < source.len() {
        let open = source[at..].find("{{").map(|n| at + n);
        let end = open.unwrap_or(source.len());
        let mut text = &source[at..end];
        if trim_next {
            text = text.trim_start();
        }
        let trims_left = open.is_some_and(|o| trim_marker(&source[o + 2..]));
        if trims_left {
            text = text.trim_end();
        }
        if !text.is_empty() {
            tokens.push(Token {
                at,
                kind: Kind::Text(unescape_text(text)),
            });
        }
        let Some(open) = open else { break };
        let inside = open + 2 + if trims_left { 2 } else { 0 };
        if let Some(length) = comment(&source[inside..]) {
            let after = &source[inside + length..];
            let (skip, trims) = match after.strip_prefix(" -}}") {
                Some(_) => (4, true),
                None if after.starts_with("}}") => (2, false),
                None => {
                    return Err(format!(
                        "{}: comment ends before closing delimiter",
                        place(source, open)
                    ));
                }
            };
            at = inside + length + skip;
            trim_next = trims;
            continue;
        }
        tokens.push(Token {
            at: open,
            kind: Kind::Open,
        });
        let (next, trims) = action(source, inside, &mut tokens)?;
        at = next;
        trim_next = trims;
    }
    Ok(tokens)
}

/// `- ` after the opening delimiter.
fn trim_marker(after: &str) -> bool {
    after.starts_with('-') && after[1..].starts_with(char::is_whitespace)
}

fn comment(after: &str) -> Option<usize> {
    after
        .starts_with("/*")
        .then(|| after.find("*/"))
        .flatten()
        .map(|n| n + 2)
}

/// Reads one action up to and with its closing delimiter; answers where it ends and whether it
/// trims the text after it.
fn action(source: &str, start: usize, tokens: &mut Vec<Token>) -> Result<(usize, bool), String> {
    let wrong = |at: usize, what: String| format!("{}: {what}", place(source, at));
    let mut at = start;
    let mut depth = 0_usize;
    loop {
        let rest = &source[at..];
        let blank = rest.len() - rest.trim_start().len();
        let after_blank = &rest[blank..];
        let spaced = blank > 0;
        if spaced && after_blank.starts_with("-}}") {
            tokens.push(Token {
                at: at + blank,
                kind: Kind::Close,
            });
            return Ok((at + blank + 3, true));
        }
        at += blank;
        let rest = after_blank;
        if rest.starts_with("}}") {
            if depth > 0 {
                return Err(wrong(at, "unclosed left paren".to_owned()));
            }
            tokens.push(Token {
                at,
                kind: Kind::Close,
            });
            return Ok((at + 2, false));
        }
        let Some(first) = rest.chars().next() else {
            return Err(wrong(start, "unclosed action".to_owned()));
        };
        let (kind, length) = match first {
            '|' => (Kind::Pipe, 1),
            ',' => (Kind::Comma, 1),
            '(' => {
                depth += 1;
                (Kind::LeftParen, 1)
            }
            ')' => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| wrong(at, "unexpected right paren".to_owned()))?;
                (Kind::RightParen, 1)
            }
            ':' if rest.starts_with(":=") => (Kind::Declare, 2),
            '=' => (Kind::Assign, 1),
            '"' => {
                let (text, length) = quoted(rest).map_err(|what| wrong(at, what))?;
                (Kind::Text2(text), length)
            }
            '`' => {
                let end = rest[1..]
                    .find('`')
                    .ok_or_else(|| wrong(at, "unterminated raw quoted string".to_owned()))?;
                (Kind::Text2(rest[1..=end].to_owned()), end + 2)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let name = word(&rest[1..]);
                if name.is_empty() {
                    (Kind::Dot, 1)
                } else {
                    let kind = Kind::Field {
                        name: name.to_owned(),
                        glued: !spaced,
                    };
                    (kind, 1 + name.len())
                }
            }
            '$' => {
                let name = word(&rest[1..]);
                (Kind::Variable(name.to_owned()), 1 + name.len())
            }
            '\'' => {
                let (value, length) = character(rest)
                    .ok_or_else(|| wrong(at, "malformed character constant".to_owned()))?;
                (Kind::Integer(value), length)
            }
            c if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => {
                number(rest).ok_or_else(|| wrong(at, format!("bad number syntax: {c:?}")))?
            }
            c if c.is_alphabetic() || c == '_' => {
                let name = word(rest);
                (Kind::Word(name.to_owned()), name.len())
            }
            c => {
                return Err(wrong(
                    at,
                    format!("bad character U+{:04X} {c:?}", u32::from(c)),
                ));
            }
        };
        tokens.push(Token { at, kind });
        at += length;
    }
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}

fn number(text: &str) -> Option<(Kind, usize)> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let mut end = sign;
    let mut before = ' ';
    for c in text[sign..].chars() {
        let exponent_sign = matches!(c, '+' | '-')
            && matches!(before, 'e' | 'E')
            && !text[sign..].starts_with("0x");
        if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || exponent_sign) {
            break;
        }
        end += c.len_utf8();
        before = c;
    }
    let whole = text[..end].replace('_', "");
    let digits = whole.trim_start_matches(['+', '-']);
    let signed = |n: i64| if whole.starts_with('-') { -n } else { n };
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let n = i64::from_str_radix(digits, radix).ok()?;
            return Some((Kind::Integer(signed(n)), end));
        }
    }
    if let Ok(n) = digits.parse::<i64>() {
        return Some((Kind::Integer(signed(n)), end));
    }
    let float = whole.parse::<f64>().ok().filter(|f| f.is_finite())?;
    Some((Kind::Float(float), end))
}

fn character(text: &str) -> Option<(i64, usize)> {
    let inside = text.strip_prefix('\'')?;
    let (c, length) = match inside.strip_prefix('\\') {
        Some(escaped) => {
            let c = escaped.chars().next()?;
            (simple_escape(c)?, 1 + c.len_utf8())
        }
        None => {
            let c = inside.chars().next()?;
            (c, c.len_utf8())
        }
    };
    inside[length..]
        .starts_with('\'')
        .then(|| (i64::from(u32::from(c)), length + 2))
}

fn simple_escape(c: char) -> Option<char> {
    Some(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        '\\' | '"' | '\'' => c,
        _ => return None,
    })
}

/// A string in double quotes; answers its value and its length with the quotes.
fn quoted(text: &str) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, at + 1)),
            '\n' => break,
            '\\' => {
                let (_, c) = chars.next().ok_or("unterminated quoted string")?;
                let digits = match c {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                if digits > 0 {
                    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    value.push(code.ok_or("invalid syntax in quoted string")?);
                } else {
                    value.push(simple_escape(c).ok_or("invalid syntax in quoted string")?);
                }
            }
            c => value.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

/// `\t`, `\n`, `\r` and `\\` in the text, as shells hand them on.
fn unescape_text(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('\\')) => Some('\\'),
            _ => None,
        };
        match escaped {
            Some(escaped) => {
                chars.next();
                result.push(escaped);
            }
            None => result.push(c),
        }
    }
    result
}
