//! Who the caller is, from the kernel, `HOME` and the file `/etc/passwd`.
//!
//! The name service is never asked: its modules crash a static program (docs/decisions). A user
//! of a directory service has an id and `HOME`; the name is then `$USER`, if that is plausible.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::env::Env;

/// The caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Effective user id, as this user namespace shows it when first asked.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Account name; the number in digits when nobody knows one.
    pub name: String,
    /// Home folder: `HOME`, else the account's, else `/`.
    pub home: PathBuf,
    /// Whether the caller is the system's root: uid 0, and `/` belongs to it. In a user namespace
    /// of our own making (`unshare -Ur`) that is not so.
    pub is_root: bool,
}

/// One line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// The comment field: the full name, as a rule.
    pub full_name: String,
    /// Home folder.
    pub home: PathBuf,
}

/// The caller, looked up once: call it before entering a user namespace of our own.
pub fn current() -> &'static User {
    static USER: OnceLock<User> = OnceLock::new();
    USER.get_or_init(|| {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let owner = std::fs::metadata("/").map(|m| std::os::unix::fs::MetadataExt::uid(&m));
        let is_root = uid == 0 && owner.is_ok_and(|owner| owner == 0);
        describe(uid, gid, is_root, &passwd, &Env::process())
    })
}

/// The host's account with that id, for inspect and error texts.
pub fn account_of(uid: u32) -> Option<Account> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts(&passwd).find(|a| a.uid == uid)
}

/// The name of a group in the host's `/etc/group`.
pub fn group_name(gid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    let gid = gid.to_string();
    let line = text.lines().find(|l| l.split(':').nth(2) == Some(&gid))?;
    line.split(':').next().map(str::to_owned)
}

/// The host's account of that name, else of that id.
pub fn account_named(text: &str) -> Option<Account> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let id = text.parse().ok();
    accounts(&passwd)
        .find(|a| a.name == text)
        .or_else(|| accounts(&passwd).find(|a| Some(a.uid) == id))
}

/// The accounts of a passwd file; malformed lines are skipped.
pub fn accounts(passwd: &str) -> impl Iterator<Item = Account> + '_ {
    passwd.lines().filter_map(|line| {
        let mut words = line.split(':');
        let name = words.next().filter(|n| !n.is_empty())?;
        let uid = words.nth(1)?.parse().ok()?;
        let gid = words.next()?.parse().ok()?;
        let full_name = words.next()?;
        let home = words.next()?;
        Some(Account {
            name: name.to_owned(),
            uid,
            gid,
            full_name: full_name.to_owned(),
            home: PathBuf::from(home),
        })
    })
}

fn describe(uid: u32, gid: u32, is_root: bool, passwd: &str, env: &Env) -> User {
    let account = accounts(passwd).find(|a| a.uid == uid);
    // $USER survives su and sudo -u in odd ways: only trusted for accounts the file does not have,
    // and never a name that the file gives to somebody else.
    let from_env = || {
        env.text("USER")
            .filter(|name| !accounts(passwd).any(|a| a.name == *name))
    };
    let name = account
        .as_ref()
        .map(|a| a.name.clone())
        .or_else(from_env)
        .unwrap_or_else(|| uid.to_string());
    let home = env
        .home()
        .or_else(|| account.map(|a| a.home).filter(|h| h.is_absolute()))
        .unwrap_or_else(|| PathBuf::from("/"));
    User {
        uid,
        gid,
        name,
        home,
        is_root,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n+::::::\ndev:x:1000:1001:D,,,:/home/dev:/bin/bash\nbare:x:7:7\n";

    #[test]
    fn the_caller_is_described_from_home_file_and_environment() {
        let none: [(&str, &str); 0] = [];
        let cases = [
            (1000, Env::fixed(none), "dev", "/home/dev"),
            (1000, Env::fixed([("HOME", "/x")]), "dev", "/x"),
            (4242, Env::fixed([("USER", "ann")]), "ann", "/"),
            (4242, Env::fixed([("USER", "dev")]), "4242", "/"),
        ];
        for (uid, env, name, home) in cases {
            let user = describe(uid, 5, false, PASSWD, &env);
            assert_eq!(user.name, name);
            assert_eq!(user.home, PathBuf::from(home));
        }
    }

    #[test]
    fn malformed_lines_are_skipped() {
        let names: Vec<_> = accounts(PASSWD).map(|a| a.name).collect();
        assert_eq!(names, ["root", "dev"]);
    }
}
