//! Patterns of names, as Go's `path.Match` has them: `*`, `?` and `[…]` within one component.

use std::path::{Component, Path, PathBuf};

use super::{Context as _, Result};

/// More paths than this are not looked at.
const PATHS: usize = 10_000;

/// Whether the whole text fits the pattern; `*` and `?` do not cross a slash.
pub fn matches(pattern: &str, text: &str) -> bool {
    glob(pattern.as_bytes(), text.as_bytes())
}

/// The paths that fit an absolute pattern, in order. Names that begin with a dot only fit a
/// pattern that does.
///
/// # Errors
/// A folder that cannot be read.
pub fn expand(pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components() {
        let Component::Normal(part) = part else {
            continue;
        };
        let wanted = part.to_string_lossy();
        let mut next = Vec::new();
        for folder in found {
            if !wanted.contains(['*', '?', '[']) {
                next.extend(Some(folder.join(part)).filter(|p| p.symlink_metadata().is_ok()));
                continue;
            }
            if !folder.is_dir() {
                continue;
            }
            let what = || format!("cannot read {}", folder.display());
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&folder).what(what)?.take(PATHS) {
                let name = entry.what(what)?.file_name();
                let text = name.to_string_lossy();
                if matches(&wanted, &text) && text.starts_with('.') == wanted.starts_with('.') {
                    names.push(name);
                }
            }
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
        }
        next.truncate(PATHS);
        found = next;
    }
    Ok(found)
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=end).any(|n| glob(rest, &text[n..]))
        }
        Some((b'?', rest)) => text
            .split_first()
            .is_some_and(|(b, tail)| *b != b'/' && glob(rest, tail)),
        Some((b'[', rest)) => {
            let Some(close) = rest.iter().position(|b| *b == b']') else {
                return false;
            };
            let (set, rest) = (&rest[..close], &rest[close + 1..]);
            let (negated, set) = match set.split_first() {
                Some((b'^' | b'!', set)) => (true, set),
                _ => (false, set),
            };
            text.split_first().is_some_and(|(b, tail)| {
                let mut inside = false;
                let mut i = 0;
                while i < set.len() {
                    if i + 2 < set.len() && set[i + 1] == b'-' {
                        inside |= (set[i]..=set[i + 2]).contains(b);
                        i += 3;
                    } else {
                        inside |= set[i] == *b;
                        i += 1;
                    }
                }
                inside != negated && glob(rest, tail)
            })
        }
        Some((literal, rest)) => text
            .split_first()
            .is_some_and(|(b, tail)| b == literal && glob(rest, tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_within_a_component() {
        for (pattern, text, fits) in [
            ("*", "abc", true),
            ("*", "a/b", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("a*b*c", "a1b2c", true),
            ("abc", "ab", false),
            ("[ab", "a", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn paths_come_in_order_and_without_hidden_ones() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.so", "a.so", ".hidden.so", "other"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let found = expand(&dir.path().join(pattern)).unwrap();
            let names = found.iter().filter_map(|p| p.file_name());
            names.map(|n| n.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(found("*.so"), ["a.so", "b.so"]);
        assert_eq!(found("other"), ["other"]);
        assert!(found("none").is_empty() && found("other/*").is_empty());
    }
}
