//! The regular expressions that `--filter name=` takes, small: literals, `.`, `[a-z]`, `[^a-z]`,
//! `\` before a sign, `*`, `+`, `?`, `^`, `$`, `(…)` and `|`.
//!
//! Matching is by backtracking with a budget of steps, so a hostile pattern costs the caller little.

use crate::base::{Error, Result};

/// Steps one match may take.
const BUDGET: u32 = 200_000;
/// Nesting of parentheses.
const DEPTH: u32 = 32;

/// A parsed pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Alternatives);

type Alternatives = Vec<Vec<Piece>>;

#[derive(Clone, Debug)]
struct Piece {
    atom: Atom,
    min: u32,
    max: u32,
}

#[derive(Clone, Debug)]
enum Atom {
    Char(char),
    Any,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Group(Alternatives),
    Start,
    End,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// `Invalid` for anything that it does not know.
    pub fn parse(text: &str) -> Result<Self> {
        let mut chars = text.chars().peekable();
        let alternatives = parse_alternatives(&mut chars, 0, text)?;
        if chars.next().is_some() {
            return Err(bad(text));
        }
        Ok(Self(alternatives))
    }

    /// Whether it matches anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        let mut budget = BUDGET;
        (0..=chars.len()).any(|start| {
            self.0
                .iter()
                .any(|a| matches_here(a, &chars, start, &mut budget, &mut |_, _| true))
        })
    }
}

fn bad(text: &str) -> Error {
    Error::invalid(format!("invalid pattern {text:?}"))
        .hint("a pattern knows . [a-z] * + ? ^ $ | ( ) and \\ before a sign")
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn parse_alternatives(chars: &mut Chars<'_>, depth: u32, text: &str) -> Result<Alternatives> {
    if depth > DEPTH {
        return Err(bad(text));
    }
    let mut all = vec![Vec::new()];
    while let Some(&c) = chars.peek() {
        if c == ')' && depth > 0 {
            break;
        }
        chars.next();
        let atom = match c {
            '|' => {
                all.push(Vec::new());
                continue;
            }
            '.' => Atom::Any,
            '^' => Atom::Start,
            '$' => Atom::End,
            '(' => {
                let inner = parse_alternatives(chars, depth + 1, text)?;
                if chars.next() != Some(')') {
                    return Err(bad(text));
                }
                Atom::Group(inner)
            }
            '[' => parse_class(chars, text)?,
            '\\' => match chars.next() {
                Some(c) if !c.is_alphanumeric() => Atom::Char(c),
                Some('d') => Atom::Class {
                    negated: false,
                    ranges: vec![('0', '9')],
                },
                _ => return Err(bad(text)),
            },
            ')' | '*' | '+' | '?' | '{' => return Err(bad(text)),
            c => Atom::Char(c),
        };
        let (min, max) = match chars.peek() {
            Some('*') => (0, u32::MAX),
            Some('+') => (1, u32::MAX),
            Some('?') => (0, 1),
            _ => (1, 1),
        };
        if (min, max) != (1, 1) {
            chars.next();
            if matches!(atom, Atom::Start | Atom::End) {
                return Err(bad(text));
            }
        }
        if let Some(last) = all.last_mut() {
            last.push(Piece { atom, min, max });
        }
    }
    Ok(all)
}

fn parse_class(chars: &mut Chars<'_>, text: &str) -> Result<Atom> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let c = match chars.next() {
            Some(']') if !ranges.is_empty() => break,
            Some('\\') => chars.next().ok_or_else(|| bad(text))?,
            Some(c) => c,
            None => return Err(bad(text)),
        };
        let mut end = c;
        if chars.peek() == Some(&'-') {
            let mut ahead = chars.clone();
            ahead.next();
            if let Some(&to) = ahead.peek()
                && to != ']'
            {
                end = to;
                chars.next();
                chars.next();
            }
        }
        ranges.push((c, end));
    }
    Ok(Atom::Class { negated, ranges })
}

type Rest<'a> = &'a mut dyn FnMut(usize, &mut u32) -> bool;

fn matches_here(
    pieces: &[Piece],
    chars: &[char],
    at: usize,
    budget: &mut u32,
    rest: Rest<'_>,
) -> bool {
    let Some((piece, tail)) = pieces.split_first() else {
        return rest(at, budget);
    };
    repeat(piece, tail, chars, at, 0, budget, rest)
}

fn repeat(
    piece: &Piece,
    tail: &[Piece],
    chars: &[char],
    at: usize,
    done: u32,
    budget: &mut u32,
    rest: Rest<'_>,
) -> bool {
    if *budget == 0 {
        return false;
    }
    *budget -= 1;
    if done < piece.max {
        let mut once_more = |next: usize, budget: &mut u32| {
            // An empty repetition would go on for ever.
            if next == at && done >= piece.min {
                return false;
            }
            repeat(piece, tail, chars, next, done + 1, budget, rest)
        };
        let hit = match &piece.atom {
            Atom::Group(alternatives) => alternatives
                .iter()
                .any(|a| matches_here(a, chars, at, budget, &mut once_more)),
            Atom::Start => at == 0 && once_more(at, budget),
            Atom::End => at == chars.len() && once_more(at, budget),
            single => chars.get(at).is_some_and(|c| fits(single, *c)) && once_more(at + 1, budget),
        };
        if hit {
            return true;
        }
    }
    done >= piece.min && matches_here(tail, chars, at, budget, rest)
}

fn fits(atom: &Atom, c: char) -> bool {
    match atom {
        Atom::Char(x) => *x == c,
        Atom::Any => true,
        Atom::Class { negated, ranges } => {
            ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
        }
        Atom::Group(_) | Atom::Start | Atom::End => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_does() {
        for (pattern, text, expected) in [
            ("web", "my_web_1", true),
            ("^web", "my_web", false),
            ("^web$", "web", true),
            ("^web$", "web2", false),
            ("w.b", "wxb", true),
            ("^a.*z$", "abcz", true),
            ("[0-9]+$", "web12", true),
            ("[^0-9]$", "web12", false),
            ("a|b", "xbx", true),
            ("^(ab|cd)+$", "abcdab", true),
            ("^(ab|cd)+$", "abc", false),
            ("a\\.b", "a.b", true),
            ("a\\.b", "axb", false),
            ("^web-?1$", "web1", true),
            ("", "anything", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().is_match(text),
                expected,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_and_hostile_patterns_end() {
        for pattern in ["(", ")", "*a", "[", "a{2}", "\\"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        let hostile = Pattern::parse("^(a*)*(a*)*(a*)*b$").unwrap();
        assert!(!hostile.is_match(&"a".repeat(100)));
    }
}
