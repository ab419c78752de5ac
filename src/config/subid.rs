//! Subordinate ids of the caller.
//!
//! `/etc/subuid` and `/etc/subgid` are read, lines by name and by uid; when they have nothing, and
//! the program exists, `getsubids` is asked, which knows directory services.
//!
//! Spec: subuid(5), subgid(5), getsubids(1).

use std::path::Path;
use std::time::Duration;

use super::env::Env;
use super::user::User;
use crate::base::fs as files;

/// A run of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    /// The first host id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// What the caller may map besides itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRanges {
    /// User ids, in the order of the file.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
    /// What was odd: lines skipped and why, for `doctor` and `-v`.
    pub notes: Vec<String>,
}

impl IdRanges {
    /// Whether both kinds are there.
    pub fn is_usable(&self) -> bool {
        !self.uids.is_empty() && !self.gids.is_empty()
    }

    /// How many user ids there are.
    pub fn uid_count(&self) -> u64 {
        self.uids.iter().map(|r| u64::from(r.count)).sum()
    }

    /// How many group ids there are.
    pub fn gid_count(&self) -> u64 {
        self.gids.iter().map(|r| u64::from(r.count)).sum()
    }
}

/// No host has a larger file; a larger one is not read.
const LIMIT: u64 = 8 << 20;

/// The subordinate ids of `user`.
pub fn ranges(user: &User) -> IdRanges {
    ranges_from(
        user,
        Path::new("/etc/subuid"),
        Path::new("/etc/subgid"),
        &|gids| ask_getsubids(user, gids),
    )
}

fn ranges_from(
    user: &User,
    subuid: &Path,
    subgid: &Path,
    ask: &dyn Fn(bool) -> Option<String>,
) -> IdRanges {
    let mut found = IdRanges::default();
    for (path, gids) in [(subuid, false), (subgid, true)] {
        let text = match files::read_if_exists(path, LIMIT) {
            Ok(bytes) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
            Err(e) => {
                found.notes.push(e.one_line());
                String::new()
            }
        };
        let mut list = parse(&text, path, user, &mut found.notes);
        if list.is_empty()
            && let Some(answer) = ask(gids)
        {
            list = parse_getsubids(&answer, &mut found.notes);
        }
        if gids {
            found.gids = list;
        } else {
            found.uids = list;
        }
    }
    found
}

/// The lines of `user` in one file.
fn parse(text: &str, path: &Path, user: &User, notes: &mut Vec<String>) -> Vec<IdRange> {
    let uid = user.uid.to_string();
    let mut list = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split(':');
        let owner = words.next().unwrap_or_default();
        if owner != user.name && owner != uid {
            continue;
        }
        let at = format!("{}:{}", path.display(), number + 1);
        let range = match (words.next(), words.next(), words.next()) {
            (Some(start), Some(count), None) => range(start, count),
            _ => None,
        };
        match range {
            Some(range) => add(&mut list, range, &at, notes),
            None => notes.push(format!("{at}: not NAME:START:COUNT, line skipped")),
        }
    }
    list
}

/// Lines such as `0: dev 100000 65536`.
fn parse_getsubids(text: &str, notes: &mut Vec<String>) -> Vec<IdRange> {
    let mut list = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [_, _, start, count] = words[..]
            && let Some(range) = range(start, count)
        {
            add(&mut list, range, "getsubids", notes);
        }
    }
    list
}

fn range(start: &str, count: &str) -> Option<IdRange> {
    let start: u32 = start.trim().parse().ok()?;
    let count: u32 = count.trim().parse().ok()?;
    // Id 0 must never be handed out, and the last id (2^32 - 1) means "none" to the kernel.
    start.checked_add(count)?;
    (start > 0 && count > 0).then_some(IdRange { start, count })
}

/// Adds a range unless the kernel would refuse a map that has it beside the others.
fn add(list: &mut Vec<IdRange>, range: IdRange, at: &str, notes: &mut Vec<String>) {
    let overlaps = list
        .iter()
        .any(|r| range.start < r.start + r.count && r.start < range.start + range.count);
    // The kernel takes 340 lines a map; one is the caller itself.
    if overlaps {
        notes.push(format!("{at}: overlaps an earlier line, skipped"));
    } else if list.len() >= 339 {
        notes.push(format!("{at}: more ranges than a map can have, skipped"));
    } else {
        list.push(range);
    }
}

fn ask_getsubids(user: &User, gids: bool) -> Option<String> {
    let program = Env::process().find_program("getsubids")?;
    let mut args = Vec::new();
    if gids {
        args.push("-g".to_owned());
    }
    args.push(user.name.clone());
    // A directory service that does not answer must not hang every command.
    let handle = duct::cmd(program, args)
        .stdin_null()
        .stdout_capture()
        .stderr_null()
        .unchecked()
        .start()
        .ok()?;
    match handle.wait_timeout(Duration::from_secs(10)) {
        Ok(Some(output)) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Some(_)) => None,
        _ => {
            drop(handle.kill());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn user() -> User {
        User {
            uid: 1000,
            gid: 1000,
            name: "dev".into(),
            home: "/home/dev".into(),
            is_root: false,
        }
    }

    fn r(start: u32, count: u32) -> IdRange {
        IdRange { start, count }
    }

    #[test]
    fn lines_by_name_and_by_uid_count_and_bad_ones_are_skipped_with_a_note() {
        let cases: &[(&str, &[IdRange], usize)] = &[
            ("", &[], 0),
            ("dev:100000:65536\n", &[r(100_000, 65536)], 0),
            (
                "1000:5000:10\nroot:1:1\ndev:100000:65536",
                &[r(5000, 10), r(100_000, 65536)],
                0,
            ),
            (
                "dev:100000:65536\n1000:100000:65536\n",
                &[r(100_000, 65536)],
                1,
            ),
            ("dev:100000:65536\ndev:165535:2\n", &[r(100_000, 65536)], 1),
            ("# dev:1:2\n\n  \ndevil:7:7\n", &[], 0),
            (
                "dev:100000\ndev:x:1\ndev:0:10\ndev:1:0\ndev:1:2:3\n",
                &[],
                5,
            ),
            ("dev:4294967290:65536\ndev:-5:10", &[], 2),
            ("dev:4294967290:5\n", &[r(4_294_967_290, 5)], 0),
        ];
        for (text, expected, note_count) in cases {
            let mut notes = Vec::new();
            let list = parse(text, Path::new("/etc/subuid"), &user(), &mut notes);
            assert_eq!(list, *expected, "{text:?}");
            assert_eq!(notes.len(), *note_count, "{text:?}: {notes:?}");
        }
    }

    #[test]
    fn the_directory_service_is_asked_only_when_the_file_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let uids = dir.path().join("subuid");
        fs::write(&uids, "dev:100000:65536\n").unwrap();
        let asked = std::cell::RefCell::new(Vec::new());
        let found = ranges_from(&user(), &uids, &dir.path().join("none"), &|gids| {
            asked.borrow_mut().push(gids);
            Some("0: dev 200000 65536\n1: dev 7000 3\n".into())
        });
        assert_eq!(*asked.borrow(), [true]);
        assert_eq!(found.uids, [r(100_000, 65536)]);
        assert_eq!(found.gids, [r(200_000, 65536), r(7000, 3)]);
        assert!(found.is_usable());
    }
}
