//! The word `idmap[=uids=…;gids=…]` of a mount: whose id inside the file system is which one outside.
//!
//! A line is `SOURCE-HOST-SIZE`, several are joined by `#`: ids of the file system, and the ids of the
//! shared user namespace that they show as (0 is the caller). After `@` the second number is an id
//! inside the container. Without lines the container's own map is taken: an id of the file system
//! is then the same number inside. Pure.
//!
//! Spec: podman-run(1), `--volume`, "idmap".

use crate::base::{Error, Result};
use crate::spec::idmap::{IdMaps, to_host};
use crate::spec::runtime::IdMapping;

/// The map that a mount's words ask for; `None` when they ask for none. `nested`: the map of the
/// container's own user namespace.
///
/// # Errors
/// `Invalid` for words that cannot be read, and where the container has no map that they need.
pub fn idmap_of(words: &[String], nested: Option<&IdMaps>) -> Result<Option<IdMaps>> {
    let Some(word) = words.iter().rev().find(|w| is_idmap(w)) else {
        return Ok(None);
    };
    let own = |which: fn(&IdMaps) -> &Vec<IdMapping>| {
        nested.map(|n| which(n).clone()).ok_or_else(|| {
            Error::invalid("idmap without a map takes the container's, and it has none of its own")
                .hint("give --userns=auto or --userns=keep-id, or write idmap=uids=0-1-10;gids=0-1-10")
        })
    };
    let Lines { uids, gids } = parse(word)?;
    let place = |lines: &[Line], which: fn(&IdMaps) -> &Vec<IdMapping>| match lines {
        [] => own(which),
        lines => lines
            .iter()
            .map(|line| line.outside(nested.map(|n| which(n).as_slice())))
            .collect(),
    };
    Ok(Some(IdMaps {
        uids: place(&uids, |m| &m.uids)?,
        gids: place(&gids, |m| &m.gids)?,
    }))
}

/// Whether a mount's word is `idmap`, with or without a map.
pub fn is_idmap(word: &str) -> bool {
    word == "idmap" || word.starts_with("idmap=")
}

/// Checks the form of the word.
///
/// # Errors
/// `Invalid`.
pub fn check_idmap(word: &str) -> Result<()> {
    parse(word).map(drop)
}

#[derive(Debug, Default)]
struct Lines {
    uids: Vec<Line>,
    gids: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    map: IdMapping,
    /// The second number counts inside the container.
    inside: bool,
}

impl Line {
    fn outside(&self, container: Option<&[IdMapping]>) -> Result<IdMapping> {
        let (true, Some(container)) = (self.inside, container) else {
            return Ok(self.map);
        };
        let IdMapping { host_id, size, .. } = self.map;
        let last = size.checked_sub(1).and_then(|n| host_id.checked_add(n));
        // One line stays one: a range that the container's map tears apart has no single place.
        match (
            to_host(container, host_id),
            last.and_then(|l| to_host(container, l)),
        ) {
            (Some(first), Some(end)) if end.checked_sub(first) == Some(size - 1) => Ok(IdMapping {
                host_id: first,
                ..self.map
            }),
            _ => Err(Error::invalid(format!(
                "idmap: the container has no {size} ids in a row from {host_id} on"
            ))),
        }
    }
}

fn parse(word: &str) -> Result<Lines> {
    let mut lines = Lines::default();
    let Some(text) = word.strip_prefix("idmap=") else {
        return Ok(lines);
    };
    let bad = |why: String| {
        Error::invalid(format!("{word:?}: {why}")).hint(
            "write idmap, or idmap=uids=0-1-10#10-11-5;gids=0-1-10: file system, host, how many",
        )
    };
    for list in text.split(';') {
        let (into, text) = match list.split_once('=') {
            Some(("uids", text)) => (&mut lines.uids, text),
            Some(("gids", text)) => (&mut lines.gids, text),
            _ => return Err(bad(format!("{list:?} is neither uids= nor gids="))),
        };
        for line in text.split('#') {
            let (inside, numbers) = match line.strip_prefix('@') {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let numbers: Option<Vec<u32>> = numbers.split('-').map(|n| n.parse().ok()).collect();
            let map = match numbers.as_deref() {
                Some([container_id, host_id, size]) if *size > 0 => IdMapping {
                    container_id: *container_id,
                    host_id: *host_id,
                    size: *size,
                },
                _ => {
                    return Err(bad(format!(
                        "{line:?} is not three numbers, the last above 0"
                    )));
                }
            };
            into.push(Line { map, inside });
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping {
            container_id,
            host_id,
            size,
        }
    }

    fn words(word: &str) -> Vec<String> {
        vec!["noexec".to_owned(), word.to_owned()]
    }

    #[test]
    fn lines_are_read_and_set_beside_the_containers_map() {
        let nested = IdMaps {
            uids: vec![line(0, 100, 10), line(10, 200, 10)],
            gids: vec![line(0, 300, 20)],
        };
        let maps = |word: &str| idmap_of(&words(word), Some(&nested)).unwrap().unwrap();
        assert_eq!(maps("idmap"), nested);
        let given = maps("idmap=uids=0-1-10#10-21-5;gids=0-7-1");
        assert_eq!(given.uids, [line(0, 1, 10), line(10, 21, 5)]);
        assert_eq!(given.gids, [line(0, 7, 1)]);
        // One list alone: the other is the container's.
        assert_eq!(maps("idmap=uids=0-1-1").gids, nested.gids);
        let inside = maps("idmap=uids=@0-12-4;gids=@5-0-20");
        assert_eq!(inside.uids, [line(0, 202, 4)]);
        assert_eq!(inside.gids, [line(5, 300, 20)]);
        assert_eq!(idmap_of(&["ro".to_owned()], None).unwrap(), None);
        let plain = idmap_of(&words("idmap=uids=0-1-1;gids=0-1-1"), None).unwrap();
        assert_eq!(plain.unwrap().uids, [line(0, 1, 1)]);
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let nested = IdMaps::slice(100, 10);
        for word in [
            "idmap=",
            "idmap=uids=",
            "idmap=uids=1-2",
            "idmap=uids=1-2-0",
            "idmap=uids=1-2-3-4",
            "idmap=uids=-1-2-3",
            "idmap=uids=0-1-99999999999",
            "idmap=users=0-1-1",
            "idmap=uids=0-1-1;",
            "idmap=uids=0-1-1#",
        ] {
            assert!(check_idmap(word).is_err(), "{word}");
        }
        for word in ["idmap=uids=@0-5-6", "idmap=uids=@0-4294967295-2"] {
            assert!(idmap_of(&words(word), Some(&nested)).is_err(), "{word}");
        }
        assert!(idmap_of(&words("idmap"), None).is_err());
        assert!(idmap_of(&words("idmap=uids=0-1-1"), None).is_err());
    }
}
