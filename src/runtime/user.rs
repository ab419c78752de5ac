//! Users and groups of an image: `/etc/passwd` and `/etc/group` below a root descriptor.
//!
//! The files are a stranger's: bounded, regular files only, found inside the root whatever links
//! say, and malformed lines are skipped.

use std::os::fd::BorrowedFd;

use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::resolve;

/// A larger file is refused (CVE-2026-47262: unbounded parsing of groups).
const LIMIT: u64 = 1 << 20;

/// Longer lines are skipped.
const LINE: usize = 64 << 10;

/// The kernel's bound on supplementary groups (`NGROUPS_MAX`).
const GROUPS: usize = 65536;

/// The largest id; one more means "none" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// A user inside a root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary groups: those of `/etc/group` (only when no group was named) and those asked
    /// for, without repeats.
    pub groups: Vec<u32>,
    /// Home directory from passwd; `/` when there is no entry.
    pub home: String,
    /// Login name from passwd, if there is an entry.
    pub name: Option<String>,
    /// Whether passwd has an entry for the uid.
    pub known: bool,
}

/// Resolves `user[:group]` (names or ids; empty means root) and further `groups`.
///
/// A word of digits is an id unless the file has an account of that very name. Without a group, a
/// known user has its primary group and those that list it; an unknown one has group 0.
///
/// # Errors
/// `NotFound` for a name that the files do not have; `Invalid` for a file that is too large or not
/// a regular file, and for ids out of range.
pub fn resolve_user(root: BorrowedFd<'_>, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    resolve(&passwd, &group, user, groups)
}

fn read(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let bytes = resolve::read(root, path, LIMIT)
        .what_kind(Kind::Invalid, || format!("cannot read {path} of the image"))?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    lines(passwd).filter_map(|line| {
        let mut words = line.split(':');
        let name = words.next().filter(|n| !n.is_empty())?;
        let uid = words.nth(1)?.parse().ok().filter(|id| *id <= MAX_ID)?;
        let gid = words.next()?.parse().ok().filter(|id| *id <= MAX_ID)?;
        let home = words.nth(1).unwrap_or_default();
        Some(Account {
            name,
            uid,
            gid,
            home,
        })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn group_entries(group: &str) -> impl Iterator<Item = Group<'_>> {
    lines(group).filter_map(|line| {
        let mut words = line.split(':');
        let name = words.next().filter(|n| !n.is_empty())?;
        let gid = words.nth(1)?.parse().ok().filter(|id| *id <= MAX_ID)?;
        Some(Group {
            name,
            gid,
            members: words.next().unwrap_or_default(),
        })
    })
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|l| l.len() <= LINE)
}

fn resolve(passwd: &str, group: &str, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let (user_word, group_word) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user_word = if user_word.is_empty() { "0" } else { user_word };
    let by_name = accounts(passwd).find(|a| a.name == user_word);
    let (uid, account) = match by_name {
        Some(account) => (account.uid, Some(account)),
        None => {
            let uid = id(user_word)?.ok_or_else(|| {
                Error::not_found(format!("the image has no user {user_word:?}"))
                    .hint("a numeric id needs no entry in its /etc/passwd")
            })?;
            (uid, accounts(passwd).find(|a| a.uid == uid))
        }
    };
    let mut resolved = ResolvedUser {
        uid,
        gid: account.as_ref().map_or(0, |a| a.gid),
        groups: Vec::new(),
        home: account
            .as_ref()
            .map(|a| a.home)
            .filter(|h| h.starts_with('/'))
            .unwrap_or("/")
            .to_owned(),
        name: account.as_ref().map(|a| a.name.to_owned()),
        known: account.is_some(),
    };
    let mut add = |gid: u32| {
        if !resolved.groups.contains(&gid) && resolved.groups.len() < GROUPS {
            resolved.groups.push(gid);
        }
    };
    match group_word {
        Some(word) => resolved.gid = group_id(group, word)?,
        None => {
            if let Some(account) = &account {
                for entry in group_entries(group) {
                    if entry.members.split(',').any(|m| m.trim() == account.name) {
                        add(entry.gid);
                    }
                }
            }
        }
    }
    for word in groups {
        add(group_id(group, word)?);
    }
    Ok(resolved)
}

fn group_id(group: &str, word: &str) -> Result<u32> {
    if let Some(entry) = group_entries(group).find(|g| g.name == word) {
        return Ok(entry.gid);
    }
    id(word)?.ok_or_else(|| {
        Error::not_found(format!("the image has no group {word:?}"))
            .hint("a numeric id needs no entry in its /etc/group")
    })
}

/// A number, `None` for a word.
fn id(word: &str) -> Result<Option<u32>> {
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(Error::invalid(format!(
            "the id {word} is out of range (0 to {MAX_ID})"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        web:x:33:33::/srv:/bin/false\n\
        1000:x:7:8::/odd:\n\
        broken:x:abc:1:::\n\
        huge:x:4294967295:1::/:\n\
        bare:x:50:51\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlog:x:4:web, root\nssl:x:5:bob,web\nbad::x:\n";

    fn user(word: &str, groups: &[&str]) -> Result<ResolvedUser> {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        resolve(PASSWD, GROUP, word, &groups)
    }

    #[test]
    fn names_ids_and_groups_are_resolved_as_docker_does() {
        let cases: &[(&str, u32, u32, &[u32], &str)] = &[
            ("", 0, 0, &[4], "/root"),
            ("root", 0, 0, &[4], "/root"),
            ("web", 33, 33, &[4, 5], "/srv"),
            ("33", 33, 33, &[4, 5], "/srv"),
            ("web:log", 33, 4, &[], "/srv"),
            ("web:99", 33, 99, &[], "/srv"),
            ("web:", 33, 33, &[4, 5], "/srv"),
            (":log", 0, 4, &[], "/root"),
            ("1000", 7, 8, &[], "/odd"),
            ("4242", 4242, 0, &[], "/"),
            ("4242:5", 4242, 5, &[], "/"),
            ("bare", 50, 51, &[], "/"),
        ];
        for (word, uid, gid, groups, home) in cases {
            let found = user(word, &[]).unwrap();
            assert_eq!(
                (
                    found.uid,
                    found.gid,
                    found.groups.as_slice(),
                    found.home.as_str()
                ),
                (*uid, *gid, *groups, *home),
                "{word:?}"
            );
        }
        let more = user("web", &["ssl", "77", "77"]).unwrap();
        assert_eq!(more.groups, [4, 5, 77]);
        assert!(more.known && !user("4242", &[]).unwrap().known);
    }

    #[test]
    fn unknown_names_and_ids_out_of_range_are_refused() {
        for word in [
            "bob",
            "broken",
            "huge",
            "web:none",
            "-1",
            "4294967295",
            "9999999999",
        ] {
            assert!(user(word, &[]).is_err(), "{word}");
        }
        assert!(user("web", &["none"]).is_err());
    }

    #[test]
    fn files_that_are_no_files_are_refused_and_missing_ones_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(
            dir.path(),
            rustix::fs::OFlags::PATH,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        assert_eq!(resolve_user(root.as_fd(), "7", &[]).unwrap().uid, 7);
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("etc/passwd")).unwrap();
        assert_eq!(resolve_user(root.as_fd(), "7", &[]).unwrap().uid, 7);
        std::fs::create_dir_all(dir.path().join("dev/zero")).unwrap();
        assert!(resolve_user(root.as_fd(), "7", &[]).is_err());
    }
}
