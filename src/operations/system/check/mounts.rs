//! Mounts whose server is gone: `image mount` and `container mount` by our own overlay outlive it.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{Finding, Remedy};
use crate::base::{Context as _, Error, Kind, Result};
use crate::operations::session::Session;
use crate::runtime::userns;
use crate::sys::mount;

/// What a finding about a mount is called.
pub(super) const KIND: &str = "mount";

/// The dead mounts below our folders that this process sees.
pub(super) fn dead(session: &Session) -> Result<Vec<Finding>> {
    let table = fs::read("/proc/self/mountinfo").what(|| "cannot read the mounts")?;
    let ours = [&session.dirs.data, &session.dirs.runtime];
    let mut found = Vec::new();
    for point in points(&table) {
        if ours.iter().any(|dir| point.starts_with(dir)) && is_dead(&point) {
            found.push(Finding::new(
                KIND,
                point.display().to_string(),
                "the server of its files is gone",
                Remedy::Unmount(point),
            ));
        }
    }
    Ok(found)
}

/// Whether a path answers as what a file system without a server answers.
pub(super) fn is_dead(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN))
}

/// Takes it away.
pub(super) fn unmount(path: &Path) -> Result<String> {
    if !userns::is_inherited()? {
        return Err(Error::new(
            Kind::Denied,
            "a plain user's mounts are seen in the user namespace only",
        )
        .hint("run `coracle unshare coracle system check --repair`"));
    }
    let text = CString::new(path.as_os_str().as_bytes())
        .what_kind(Kind::Invalid, || "the path has a zero byte")?;
    mount::detach(&text).what(|| format!("cannot unmount {}", path.display()))?;
    Ok("unmounted".to_owned())
}

/// The mount points of a table, uppermost first.
///
/// proc_pid_mountinfo(5): the fifth field; blanks and backslashes in it are octal.
fn points(table: &[u8]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .collect();
    found.reverse();
    found
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_with_their_blanks() {
        let table = b"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /a\\040b rw - fuse x rw\n";
        assert_eq!(points(table), [PathBuf::from("/a b"), PathBuf::from("/")]);
        assert_eq!(unescape(b"a\\134b\\"), b"a\\b\\");
    }
}
