//! `.quadlets`: several quadlets in one file, taken apart when they are installed.
//!
//! Spec: podman-quadlet-install(1), podman 5.8.

use super::Kind;
use super::unit::Unit;
use crate::base::{Error, Result};

/// The end of such files' names, without the dot.
pub const EXTENSION: &str = "quadlets";

/// Ends one quadlet; the next one begins.
const SEPARATOR: &str = "---";

/// One of the quadlets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The line of the file that it begins in, from 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// Whether a file of this name is one.
pub fn is_named(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, extension)| extension == EXTENSION && !stem.is_empty())
}

/// Takes a file apart; `path` is for messages. The name of each quadlet stands in a comment,
/// `# FileName=web`, and its section says what it is.
///
/// # Errors
/// `Invalid` with file and line.
pub fn split(text: &str, path: &str) -> Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut begin = 1;
    let mut lines: Vec<&str> = Vec::new();
    for (at, line) in text.lines().chain([SEPARATOR]).enumerate() {
        if line.trim() != SEPARATOR {
            lines.push(line);
            continue;
        }
        if lines.iter().any(|l| !l.trim().is_empty()) {
            let part = part(&lines, begin, path)?;
            if parts.iter().any(|p| p.name == part.name) {
                return Err(bad(path, begin, &format!("{} is there already", part.name)));
            }
            parts.push(part);
        }
        lines.clear();
        begin = at + 2;
    }
    match parts.is_empty() {
        true => Err(Error::invalid(format!("{path}: there is no quadlet in it"))),
        false => Ok(parts),
    }
}

fn bad(path: &str, line: usize, why: &str) -> Error {
    Error::invalid(format!("{path}:{line}: {why}"))
}

fn part(lines: &[&str], begin: usize, path: &str) -> Result<Part> {
    let blank = lines.iter().take_while(|l| l.trim().is_empty()).count();
    let (lines, begin) = (&lines[blank..], begin + blank);
    let given = lines.iter().enumerate().find_map(|(at, line)| {
        let name = line.trim().strip_prefix('#')?.trim_start();
        Some((at, name.strip_prefix("FileName=")?.trim()))
    });
    let Some((at, given)) = given else {
        let why = "the comment `# FileName=NAME` is missing";
        return Err(bad(path, begin, why));
    };
    if given.is_empty() || given.contains('/') || given.starts_with('.') {
        return Err(bad(path, begin + at, &format!("{given:?} is no file name")));
    }
    let mut text = lines.join("\n");
    text.truncate(text.trim_end().len());
    text.push('\n');
    let unit = Unit::parse(&padded(&text, begin), path)?;
    let mut kinds = Kind::ALL
        .into_iter()
        .filter(|k| unit.section(k.section()).is_some());
    let kind = match (kinds.next(), kinds.next()) {
        (Some(kind), None) => kind,
        (None, _) => {
            let why = "no section says what it is, as [Container] does";
            return Err(bad(path, begin, why));
        }
        (Some(one), Some(other)) => {
            let why = format!("[{}] and [{}] are in one", one.section(), other.section());
            return Err(bad(path, begin, &why));
        }
    };
    let name = match Kind::of_name(given) == Some(kind) {
        true => given.to_owned(),
        false => format!("{given}.{}", kind.extension()),
    };
    Ok(Part {
        name,
        text,
        line: begin,
        kind,
    })
}

/// Several quadlets in one file, each with its name (without its end).
pub fn join(parts: &[(String, Unit)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, unit)| format!("# FileName={name}\n{}", unit.text()))
        .collect();
    parts.join(&format!("\n{SEPARATOR}\n\n"))
}

/// The text with empty lines in front, so that messages name the file's own lines.
pub fn padded(text: &str, line: usize) -> String {
    let mut padded = "\n".repeat(line - 1);
    padded.push_str(text);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_apart_by_its_lines() {
        let text = "\n# FileName=web\n[Container]\nImage=x\n\n---\n# about it\n#FileName=data.volume\n\
                    [Volume]\n---\n\n";
        let parts = split(text, "f").unwrap();
        assert_eq!(
            parts[0],
            Part {
                name: "web.container".into(),
                text: "# FileName=web\n[Container]\nImage=x\n".into(),
                line: 2,
                kind: Kind::Container,
            }
        );
        assert_eq!((parts[1].name.as_str(), parts[1].line), ("data.volume", 7));
        assert_eq!(parts.len(), 2);
        assert!(is_named("a.quadlets") && !is_named(".quadlets") && !is_named("a.container"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let web = "# FileName=web\n[Container]\n";
        for (text, message) in [
            ("", "f: there is no quadlet in it"),
            ("---\n\n[Container]\n", "f:3: the comment"),
            ("\n#FileName=a/b\n[Pod]\n", "f:2: \"a/b\" is no file name"),
            (&format!("{web}---\n{web}"), "f:4: web.container is there"),
            (&format!("{web}nonsense\n"), "f:3: neither a section"),
            ("# FileName=a\n[Unit]\n", "f:1: no section says"),
            ("# FileName=a\n[Pod]\n[Kube]\n", "f:1: [Pod] and [Kube]"),
        ] {
            let e = split(text, "f").unwrap_err();
            assert!(e.what().starts_with(message), "{text:?}: {e}");
        }
    }
}
