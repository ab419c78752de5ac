//! Names and values of the extended attributes that we give a meaning to, and which ones of an
//! archive are kept.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use crate::base::{Error, Result};
use crate::spec::ondisk;
use crate::storage::tar::Kind;
use crate::sys::at;

pub(in crate::storage) use crate::spec::ondisk::{
    CAPABILITY, NODE, OPAQUE, OWNER, TrueOwner, WHITEOUT, is_acl, shift_acl,
};

/// The name under which an archive's attribute is kept on disk; `None` for one that is not kept:
/// `trusted.*` and labels of another host's policy.
pub(in crate::storage) fn stored_name(name: &[u8]) -> Option<CString> {
    if let Some(escaped) = ondisk::escape(name) {
        return CString::new(escaped).ok();
    }
    let kept = name.starts_with(b"user.")
        || name == CAPABILITY.to_bytes()
        || name.starts_with(b"system.posix_acl_");
    kept.then(|| CString::new(name).ok()).flatten()
}

/// The inverse of [`stored_name`]: what an archive says; `None` for marks of ours.
pub(in crate::storage) fn archived_name(stored: &[u8]) -> Option<Vec<u8>> {
    if ondisk::is_ours(stored) {
        return ondisk::unescape(stored);
    }
    // A PAX record ends its key at the first `=`.
    let kept = (stored.starts_with(b"user.")
        || stored == CAPABILITY.to_bytes()
        || stored.starts_with(b"system.posix_acl_"))
        && !stored.contains(&b'=');
    kept.then(|| stored.to_vec())
}

/// Sets the attributes of an entry. What this host cannot keep is left out: ACLs where the file
/// system has none, capabilities where we may not set them.
pub(in crate::storage) fn set_all(fd: BorrowedFd<'_>, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    for (name, value) in xattrs {
        let Some(stored) = stored_name(name) else {
            continue;
        };
        match at::setxattr(fd, &stored, value) {
            Err(e) if e.errno == libc::ENOTSUP => {}
            Err(e)
                if matches!(e.errno, libc::EPERM | libc::EINVAL)
                    && !stored.to_bytes().starts_with(b"user.") => {}
            Err(e) => {
                return Err(Error::from(e)
                    .hint("this file system cannot hold the extended attributes of the archive"));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The attributes of a file as an archive says them, sorted.
pub(in crate::storage) fn read_all(fd: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    for stored in at::listxattr(fd)? {
        let (Some(name), Ok(c_name)) = (archived_name(&stored), CString::new(stored)) else {
            continue;
        };
        let Some(mut value) = at::getxattr(fd, &c_name)? else {
            continue;
        };
        if name == CAPABILITY.to_bytes() {
            value = without_root_id(value);
        }
        found.push((name, value));
    }
    found.sort_unstable();
    Ok(found)
}

/// Capabilities of version 3 name the root of a user namespace; archives have version 2.
///
/// Kernel: `struct vfs_ns_cap_data`, include/uapi/linux/capability.h.
fn without_root_id(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() == 24 && value[3] == 3 {
        value.truncate(20);
        value[3] = 2;
    }
    value
}

/// A device that a regular file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Node {
    pub(in crate::storage) kind: Kind,
    pub(in crate::storage) major: u32,
    pub(in crate::storage) minor: u32,
    pub(in crate::storage) mode: u32,
}

impl Node {
    pub(in crate::storage) fn render(&self) -> String {
        let kind = if self.kind == Kind::Char { 'c' } else { 'b' };
        format!("{kind} {} {} {:o}", self.major, self.minor, self.mode)
    }

    pub(in crate::storage) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut words = text.split(' ');
        let kind = match words.next()? {
            "c" => Kind::Char,
            "b" => Kind::Block,
            _ => return None,
        };
        Some(Self {
            kind,
            major: words.next()?.parse().ok()?,
            minor: words.next()?.parse().ok()?,
            mode: u32::from_str_radix(words.next()?, 8).ok()? & 0o7777,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_ours_cannot_come_from_an_archive() {
        for (archive, disk) in [
            ("user.x", Some("user.x")),
            ("user.overlay.opaque", Some("user.overlay.overlay.opaque")),
            ("user.coracle.owner", Some("user.coracle.coracle.owner")),
            ("security.capability", Some("security.capability")),
            ("trusted.overlay.opaque", None),
            ("security.selinux", None),
            ("system.posix_acl_access", Some("system.posix_acl_access")),
        ] {
            let stored = stored_name(archive.as_bytes());
            assert_eq!(
                stored.as_ref().map(|s| s.to_str().unwrap()),
                disk,
                "{archive}"
            );
            if let Some(stored) = stored {
                assert_eq!(
                    archived_name(stored.to_bytes()).unwrap(),
                    archive.as_bytes()
                );
            }
        }
        assert_eq!(archived_name(b"user.overlay.opaque"), None);
        assert_eq!(archived_name(b"user.coracle.node"), None);
    }

    #[test]
    fn access_control_lists_get_other_ids() {
        let entry = |tag: u16, id: u32| {
            [
                &tag.to_le_bytes()[..],
                &7_u16.to_le_bytes(),
                &id.to_le_bytes(),
            ]
            .concat()
        };
        let list = |user, group| {
            [
                2_u32.to_le_bytes().to_vec(),
                entry(1, u32::MAX),
                entry(2, user),
                entry(8, group),
                entry(16, u32::MAX),
            ]
            .concat()
        };
        let mut value = list(33, 44);
        assert!(shift_acl(&mut value, |u| Some(u + 1), |g| Some(g + 2)));
        assert_eq!(value, list(34, 46));
        assert!(!shift_acl(&mut value, |_| None, Some));
        for odd in [
            &b""[..],
            b"x",
            &[3, 0, 0, 0, 2, 0, 7, 0, 1, 0, 0, 0],
            &[2, 0, 0, 0, 2],
        ] {
            let mut value = odd.to_vec();
            assert!(shift_acl(&mut value, |_| None, |_| None), "{odd:?}");
            assert_eq!(value, odd);
        }
    }

    #[test]
    fn overrides_read_as_written() {
        let node = Node {
            kind: Kind::Block,
            major: 8,
            minor: 1,
            mode: 0o660,
        };
        assert_eq!(Node::parse(node.render().as_bytes()), Some(node));
        let owner = TrueOwner {
            uid: 33,
            gid: 44,
            mode: 0o2755,
        };
        assert_eq!(TrueOwner::parse(owner.render().as_bytes()), Some(owner));
        assert_eq!(Node::parse(b"c 1"), None);
        assert_eq!(TrueOwner::parse(b"x:y:z"), None);
    }
}
