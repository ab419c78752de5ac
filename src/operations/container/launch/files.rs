//! Files that are made for one run and bound into the container: names, resolvers, users, secrets.
//!
//! They lie in the runtime folder of the container, are written anew at every start, and are never
//! flushed.

use std::fs;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::config::user::{self, User};
use crate::runtime::user::ResolvedUser;
use crate::state::container::Container;
use crate::state::options::{ContainerOptions, HostUser, UsernsMode};
use crate::sys::resolve;

/// `/etc/passwd` and `/etc/group` of an image may be this long.
const LIMIT: u64 = 4 << 20;

/// Writes a file of the run; the owner is root as the container sees it.
///
/// # Errors
/// What the kernel says.
pub(super) fn write(dir: &Path, name: &str, text: &[u8], root: (u32, u32)) -> Result<PathBuf> {
    let path = dir.join(name);
    let what = || format!("cannot write {}", path.display());
    let make = || {
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
    };
    let mut file = match make() {
        // A restart makes another file: the old one may still be bound somewhere.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            drop(fs::remove_file(&path));
            make()
        }
        other => other,
    }
    .what(what)?;
    file.write_all(text).what(what)?;
    // The caller's umask must not hide it from the container's users.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .what(what)?;
    if root != (0, 0) {
        chown(&path, Some(root.0), Some(root.1)).what(what)?;
    }
    Ok(path)
}

/// The content of `/run/.containerenv`: who runs it, for privileged containers only, as podman.
pub(super) fn containerenv(container: &Container, user: &User) -> String {
    let record = &container.record;
    if !record.options.privileged {
        return String::new();
    }
    let image = record.image.as_ref();
    format!(
        "engine=\"coracle-{}\"\nname=\"{}\"\nid=\"{}\"\nimage=\"{}\"\nimageid=\"{}\"\nrootless={}\n",
        env!("CARGO_PKG_VERSION"),
        record.name,
        record.id,
        image.map_or("", |i| i.name.as_str()),
        image.map_or("", |i| i.id.hex()),
        u8::from(user.uid != 0),
    )
}

/// The account of the host that the container's user is, with `keep-id`.
pub(super) struct Me {
    /// As `--hostuser` gives it.
    pub user: HostUser,
    /// The name of its group.
    pub group: String,
}

/// The caller's own account, where `--userns=keep-id` keeps both ids.
pub(super) fn me(options: &ContainerOptions, user: &User) -> Option<Me> {
    let keeps = matches!(
        options.userns,
        UsernsMode::KeepId {
            uid: None,
            gid: None,
            ..
        }
    );
    (keeps && user.uid != 0).then(|| Me {
        user: HostUser {
            name: user.name.clone(),
            uid: user.uid,
            gid: user.gid,
            full_name: user::account_of(user.uid).map_or_else(String::new, |a| a.full_name),
            home: user.home.to_string_lossy().into_owned(),
        },
        group: user::group_name(user.gid).unwrap_or_else(|| user.gid.to_string()),
    })
}

/// What `account` and `home` are made of.
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    full_name: &'a str,
    home: &'a str,
}

impl Entry<'_> {
    /// A line of passwd, by the person's template if there is one.
    fn line(&self, template: Option<&str>) -> String {
        let clean = |text: &str| text.replace([':', '\n'], " ");
        let (name, full_name) = (clean(self.name), clean(self.full_name));
        let home = match self.home.contains([':', '\n']) {
            true => "/",
            false => self.home,
        };
        let (uid, gid) = (self.uid, self.gid);
        match template {
            Some(template) => {
                template
                    .replace("$USERNAME", &name)
                    .replace("$UID", &uid.to_string())
                    .replace("$GID", &gid.to_string())
                    .replace("$NAME", &full_name)
                    .replace("$HOME", home)
                    + "\n"
            }
            None => format!("{name}:*:{uid}:{gid}:{full_name}:{home}:/bin/sh\n"),
        }
    }
}

/// Where a host's user is at home inside: its own folder where that is mounted, else `cwd`.
pub(super) fn home_inside(options: &ContainerOptions, home: &str, cwd: &str) -> String {
    let mounted = options
        .mounts
        .iter()
        .any(|m| Path::new(home).starts_with(&m.destination));
    if mounted { home } else { cwd }.to_owned()
}

/// The image's file with a line break at its end; `None` when it has none.
fn image_file(root: BorrowedFd<'_>, path: &str) -> Result<Option<String>> {
    let Some(bytes) =
        resolve::read(root, path, LIMIT).what(|| format!("cannot read /{path} of the image"))?
    else {
        return Ok(None);
    };
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(Some(text))
}

/// `/etc/passwd` with lines for users of the host and for one that the image does not know, so
/// that programs find a name and a home. `None` when nothing is to be changed.
///
/// # Errors
/// `Invalid` when the image's file is too large or no regular file.
pub(super) fn passwd(
    root: BorrowedFd<'_>,
    options: &ContainerOptions,
    user: &ResolvedUser,
    me: Option<&Me>,
    cwd: &str,
) -> Result<Option<String>> {
    let hosts: Vec<&HostUser> = options
        .host_users
        .iter()
        .chain(me.map(|m| &m.user))
        .collect();
    if options.passwd == Some(false) || (user.known && hosts.is_empty()) {
        return Ok(None);
    }
    let Some(mut text) = image_file(root, "etc/passwd")? else {
        return Ok(None);
    };
    let before = text.len();
    let known = |text: &str, name: &str, uid: u32| {
        user::accounts(text).any(|a| a.name == name || a.uid == uid)
    };
    let template = options.passwd_entry.as_deref();
    for host in hosts {
        if !known(&text, &host.name, host.uid) {
            let home = home_inside(options, &host.home, cwd);
            let entry = Entry {
                name: &host.name,
                uid: host.uid,
                gid: host.gid,
                full_name: &host.full_name,
                home: &home,
            };
            text.push_str(&entry.line(template));
        }
    }
    let name = user.uid.to_string();
    if !user.known && !known(&text, &name, user.uid) {
        let entry = Entry {
            name: &name,
            uid: user.uid,
            gid: user.gid,
            full_name: "container user",
            home: cwd,
        };
        text.push_str(&entry.line(template));
    }
    Ok((text.len() > before).then_some(text))
}

/// `/etc/group` with a line for a group that the image does not know.
///
/// # Errors
/// As [`passwd`].
pub(super) fn group(
    root: BorrowedFd<'_>,
    options: &ContainerOptions,
    user: &ResolvedUser,
    me: Option<&Me>,
) -> Result<Option<String>> {
    if user.gid == 0 || options.passwd == Some(false) {
        return Ok(None);
    }
    let Some(mut text) = image_file(root, "etc/group")? else {
        return Ok(None);
    };
    let gid = user.gid.to_string();
    if text.lines().any(|l| l.split(':').nth(2) == Some(&gid)) {
        return Ok(None);
    }
    let own = me.filter(|m| m.user.gid == user.gid);
    let name = own.map_or(gid.as_str(), |m| m.group.as_str());
    let member = own.map_or_else(|| user.uid.to_string(), |m| m.user.name.clone());
    let line = match options.group_entry.as_deref() {
        Some(template) => template
            .replace("$GROUPNAME", name)
            .replace("$GID", &gid)
            .replace("$USERLIST", &member),
        None => format!("{name}:x:{gid}:{member}"),
    };
    text.push_str(&line);
    text.push('\n');
    Ok(Some(text))
}

/// The zone file for `--tz`: a name below the zone folder, or `local`.
///
/// # Errors
/// `Invalid` when there is no such zone.
pub(super) fn localtime(zone: Option<&str>) -> Result<Option<PathBuf>> {
    let Some(zone) = zone.filter(|z| !z.is_empty()) else {
        return Ok(None);
    };
    if zone == "local" {
        return Ok(fs::canonicalize("/etc/localtime").ok());
    }
    let bad = || {
        Error::invalid(format!("unknown time zone {zone:?}"))
            .hint("write a name such as Europe/Berlin, or local; the host needs the package tzdata")
    };
    let clean = zone
        .split('/')
        .all(|part| !part.is_empty() && part != ".." && part != ".");
    if !clean {
        return Err(bad());
    }
    let path = Path::new("/usr/share/zoneinfo").join(zone);
    if path.is_file() {
        Ok(Some(path))
    } else {
        Err(bad())
    }
}

/// The device nodes of the host, for `--privileged`: those that this user could open at all are up
/// to the kernel.
pub(super) fn host_devices() -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt as _;
    const SKIP: &[&str] = &["pts", "shm", "mqueue", "hugepages", "fd", "console", "ptmx"];
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/dev")];
    while let Some(folder) = folders.pop() {
        let top = folder == Path::new("/dev");
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if top && SKIP.iter().any(|s| name == *s) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && folders.len() < 64 => folders.push(entry.path()),
                Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn an_unknown_user_gets_an_entry_and_a_known_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh").unwrap();
        fs::write(dir.path().join("etc/group"), "root:x:0:\n").unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        let options = ContainerOptions::default();
        let stranger = ResolvedUser {
            uid: 1234,
            gid: 77,
            ..ResolvedUser::default()
        };
        assert_eq!(
            passwd(root.as_fd(), &options, &stranger, None, "/srv")
                .unwrap()
                .unwrap(),
            "root:x:0:0::/root:/bin/sh\n1234:*:1234:77:container user:/srv:/bin/sh\n"
        );
        assert_eq!(
            group(root.as_fd(), &options, &stranger, None)
                .unwrap()
                .unwrap(),
            "root:x:0:\n77:x:77:1234\n"
        );
        let templates = ContainerOptions {
            passwd_entry: Some("$USERNAME:x:$UID:$GID:$NAME:$HOME:/bin/false".to_owned()),
            group_entry: Some("g$GROUPNAME:x:$GID:$USERLIST".to_owned()),
            host_users: vec![HostUser {
                name: "ann".to_owned(),
                uid: 1500,
                gid: 1501,
                full_name: "Ann:Other".to_owned(),
                home: "/home/ann".to_owned(),
            }],
            ..ContainerOptions::default()
        };
        let text = passwd(root.as_fd(), &templates, &stranger, None, "/srv");
        assert_eq!(
            text.unwrap().unwrap(),
            "root:x:0:0::/root:/bin/sh\nann:x:1500:1501:Ann Other:/srv:/bin/false\n\
             1234:x:1234:77:container user:/srv:/bin/false\n"
        );
        let text = group(root.as_fd(), &templates, &stranger, None);
        assert_eq!(text.unwrap().unwrap(), "root:x:0:\ng77:x:77:1234\n");
        let known = ResolvedUser {
            known: true,
            ..stranger
        };
        assert!(
            passwd(root.as_fd(), &options, &known, None, "/")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn zones_are_names_and_never_paths() {
        assert!(localtime(None).unwrap().is_none());
        for bad in ["../../etc/passwd", "/etc/passwd", "No/Such", "a//b"] {
            assert!(localtime(Some(bad)).is_err(), "{bad}");
        }
    }
}
