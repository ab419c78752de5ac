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
use crate::config::user::User;
use crate::runtime::user::ResolvedUser;
use crate::state::container::Container;
use crate::state::options::ContainerOptions;
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
    // A restart replaces the content of the same file: the old one may still be bound somewhere.
    drop(fs::remove_file(&path));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&path)
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

/// `/etc/passwd` with a line for a user that the image does not know, so that programs find a
/// name and a home. `None` when nothing is to be changed.
///
/// # Errors
/// `Invalid` when the image's file is too large or no regular file.
pub(super) fn passwd(
    root: BorrowedFd<'_>,
    options: &ContainerOptions,
    user: &ResolvedUser,
    cwd: &str,
) -> Result<Option<String>> {
    if user.known || options.passwd == Some(false) {
        return Ok(None);
    }
    let Some(bytes) =
        resolve::read(root, "etc/passwd", LIMIT).what(|| "cannot read /etc/passwd of the image")?
    else {
        return Ok(None);
    };
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let home = if cwd.contains([':', '\n']) { "/" } else { cwd };
    text.push_str(&format!(
        "{0}:*:{0}:{1}:container user:{home}:/bin/sh\n",
        user.uid, user.gid
    ));
    Ok(Some(text))
}

/// `/etc/group` with a line for a group that the image does not know.
///
/// # Errors
/// As [`passwd`].
pub(super) fn group(
    root: BorrowedFd<'_>,
    options: &ContainerOptions,
    user: &ResolvedUser,
) -> Result<Option<String>> {
    if user.gid == 0 || options.passwd == Some(false) {
        return Ok(None);
    }
    let Some(bytes) =
        resolve::read(root, "etc/group", LIMIT).what(|| "cannot read /etc/group of the image")?
    else {
        return Ok(None);
    };
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let gid = user.gid.to_string();
    if text.lines().any(|l| l.split(':').nth(2) == Some(&gid)) {
        return Ok(None);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("{gid}:x:{gid}:{}\n", user.uid));
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
            passwd(root.as_fd(), &options, &stranger, "/srv")
                .unwrap()
                .unwrap(),
            "root:x:0:0::/root:/bin/sh\n1234:*:1234:77:container user:/srv:/bin/sh\n"
        );
        assert_eq!(
            group(root.as_fd(), &options, &stranger).unwrap().unwrap(),
            "root:x:0:\n77:x:77:1234\n"
        );
        let known = ResolvedUser {
            known: true,
            ..stranger
        };
        assert!(
            passwd(root.as_fd(), &options, &known, "/")
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
