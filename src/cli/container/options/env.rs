//! Variables and labels, from words and files.
//!
//! The grammar of the files is Docker's: one entry a line, `#` in the first column that is not
//! blank starts a comment, the value is taken as it stands, quotes and all.

use std::path::Path;

use crate::base::{Context as _, Error, Result};
use crate::config::env::Env;

/// A file of variables or labels larger than this is not one.
const LIMIT: u64 = 4 << 20;

/// `--env-file`s, then `--env`s, as `KEY=VALUE` in order.
///
/// # Errors
/// `Invalid` for an entry without a name; `NotFound` for a missing file.
pub fn read_variables(
    files: &[String],
    words: &[String],
    env: &Env,
    cwd: &Path,
) -> Result<Vec<String>> {
    let mut list = Vec::new();
    for file in files {
        for (key, value) in read(file, cwd)? {
            match value {
                Some(value) => list.push(format!("{key}={value}")),
                None => host(&key, env, &mut list),
            }
        }
    }
    for word in words {
        match word.split_once('=') {
            Some(("", _)) => return Err(nameless(word)),
            None if word.is_empty() => return Err(nameless(word)),
            Some(_) => list.push(word.clone()),
            None => host(word, env, &mut list),
        }
    }
    Ok(list)
}

/// `--env-merge`s, checked; they are worked out against the image's variables at the start.
///
/// # Errors
/// `Invalid` for an entry without a name or a value.
pub(super) fn merges(words: &[String]) -> Result<Vec<String>> {
    for word in words {
        match word.split_once('=') {
            Some((name, _)) if !name.is_empty() => {}
            _ => {
                return Err(Error::invalid(format!(
                    "invalid --env-merge {word:?}: write NAME=VALUE, e.g. PATH=${{PATH}}:/opt/bin"
                )));
            }
        }
    }
    Ok(words.to_vec())
}

fn nameless(word: &str) -> Error {
    Error::invalid(format!(
        "invalid environment variable {word:?}: it has no name"
    ))
}

/// `NAME` and `NAME*` from the caller's environment; what is not set there stays unset.
fn host(name: &str, env: &Env, list: &mut Vec<String>) {
    if let Some(prefix) = name.strip_suffix('*') {
        let all = env.all();
        list.extend(
            all.iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(key, value)| format!("{key}={value}")),
        );
    } else if let Some(value) = env.exact(name) {
        list.push(format!("{name}={value}"));
    }
}

/// `--label-file`s as `KEY=VALUE` or `KEY`.
///
/// # Errors
/// As [`read_variables`].
pub(super) fn label_files(files: &[String], cwd: &Path) -> Result<Vec<String>> {
    let mut list = Vec::new();
    for file in files {
        for (key, value) in read(file, cwd)? {
            list.push(format!("{key}={}", value.unwrap_or_default()));
        }
    }
    Ok(list)
}

fn read(file: &str, cwd: &Path) -> Result<Vec<(String, Option<String>)>> {
    use std::io::Read as _;
    let path = cwd.join(file);
    let what = || format!("cannot read {}", path.display());
    let mut text = String::new();
    std::fs::File::open(&path)
        .what(what)?
        .take(LIMIT)
        .read_to_string(&mut text)
        .what(what)?;
    parse(&text).what(|| format!("{} is no list of variables", path.display()))
}

/// Parses a file: names with their values, or without one.
///
/// # Errors
/// `Invalid` with the line's number.
fn parse(text: &str) -> Result<Vec<(String, Option<String>)>> {
    let mut list = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |what: &str| Error::invalid(format!("line {}: {what}", number + 1));
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (line.trim_end(), None),
        };
        if key.is_empty() {
            return Err(bad("there is no name"));
        }
        if key.contains(char::is_whitespace) {
            return Err(bad(&format!("the name {key:?} has a blank in it")));
        }
        if line.contains('\0') {
            return Err(bad("there is a NUL byte"));
        }
        list.push((key.to_owned(), value));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_dockers_grammar() {
        let text = "\u{feff}# comment\n\n  A=1\n\t# more\nB= spaced \"q\" #x\nC=\nD\nE=a=b\r\n";
        let got = parse(text).unwrap();
        let value = |v: &str| Some(v.to_owned());
        assert_eq!(
            got,
            [
                ("A".to_owned(), value("1")),
                ("B".to_owned(), value(" spaced \"q\" #x")),
                ("C".to_owned(), value("")),
                ("D".to_owned(), None),
                ("E".to_owned(), value("a=b")),
            ]
        );
        for bad in ["=x", "A B=1", "A =1", "export A=1", "A=\0"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let e = parse("A=1\n\n=x").unwrap_err();
        assert!(e.what().starts_with("line 3"), "{e}");
    }

    #[test]
    fn words_take_values_from_the_host() {
        let env = Env::fixed([("A", "1"), ("LC_ALL", "C"), ("LC_TIME", ""), ("Z", "9")]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "A\nB=file\nNONE\n").unwrap();
        let words = ["B=word", "LC_*", "NOTSET", "E="].map(str::to_owned);
        let got = read_variables(&["f".to_owned()], &words, &env, dir.path()).unwrap();
        assert_eq!(
            got,
            ["A=1", "B=file", "B=word", "LC_ALL=C", "LC_TIME=", "E="]
        );
        for bad in ["", "=x"] {
            assert!(read_variables(&[], &[bad.to_owned()], &env, dir.path()).is_err());
        }
        assert!(read_variables(&["none".to_owned()], &[], &env, dir.path()).is_err());
        let labels = label_files(&["f".to_owned()], dir.path()).unwrap();
        assert_eq!(labels, ["A=", "B=file", "NONE="]);
    }
}
