//! The marks of our layers on disk (docs/formats/layer.md): the kernel overlay's `userxattr` form
//! and a few attributes of our own.
//!
//! Kernel: Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories" and
//! "Nesting overlayfs mounts" (the escaping).

use std::ffi::CStr;

/// On a folder, `y`: lower layers are hidden here; `x`: there are whiteouts in xattr form here.
pub const OPAQUE: &CStr = c"user.overlay.opaque";
/// On an empty file: a whiteout, where character devices are refused.
pub const WHITEOUT: &CStr = c"user.overlay.whiteout";
/// On a file without content: its content is in a data-only layer.
pub const METACOPY: &CStr = c"user.overlay.metacopy";
/// Where there, as an absolute path.
pub const REDIRECT: &CStr = c"user.overlay.redirect";
/// On an empty file: the device that it stands for, `c 1 3 666`.
pub const NODE: &CStr = c"user.coracle.node";
/// The true owner and mode where a file cannot have it, `33:33:644`.
pub const OWNER: &CStr = c"user.coracle.owner";
/// On a file of a layer that is fetched bit by bit: its number in the table of contents, and
/// `done BOOT` behind it once its content was fetched in that boot.
pub const LAZY: &CStr = c"user.coracle.lazy";
/// File capabilities.
pub const CAPABILITY: &CStr = c"security.capability";
/// Access control lists of files and folders.
pub const ACL_ACCESS: &CStr = c"system.posix_acl_access";
/// What new files in a folder get.
pub const ACL_DEFAULT: &CStr = c"system.posix_acl_default";

/// Attributes with these prefixes are marks.
const OURS: [&[u8]; 2] = [b"user.overlay.", b"user.coracle."];

/// Whether a stored attribute is a mark, or something escaped not to be one.
pub fn is_ours(stored: &[u8]) -> bool {
    OURS.iter().any(|prefix| stored.starts_with(prefix))
}

/// The stored name of an attribute that would read as a mark: `user.overlay.x` becomes
/// `user.overlay.overlay.x`, as in the kernel's overlay; `None` for all others.
pub fn escape(name: &[u8]) -> Option<Vec<u8>> {
    OURS.iter().find_map(|prefix| {
        let rest = name.strip_prefix(*prefix)?;
        Some([prefix, &prefix[b"user.".len()..], rest].concat())
    })
}

/// The inverse of [`escape`]; `None` for marks.
pub fn unescape(stored: &[u8]) -> Option<Vec<u8>> {
    OURS.iter().find_map(|prefix| {
        let rest = stored.strip_prefix(*prefix)?;
        let name = rest.strip_prefix(&prefix[b"user.".len()..])?;
        Some([prefix, name].concat())
    })
}

/// Whether an attribute is an access control list, whose entries name users and groups.
pub fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

/// Gives the users and groups that an access control list names other ids; `false` when one of
/// them has none. A malformed list is left alone: the kernel refuses it.
///
/// Kernel: `struct posix_acl_xattr_header` and `_entry`, include/uapi/linux/posix_acl_xattr.h.
pub fn shift_acl(
    value: &mut [u8],
    user: impl Fn(u32) -> Option<u32>,
    group: impl Fn(u32) -> Option<u32>,
) -> bool {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const ACL_USER: [u8; 2] = [2, 0];
    const ACL_GROUP: [u8; 2] = [8, 0];
    let Some((VERSION, entries)) = value.split_first_chunk_mut::<4>().map(|(v, e)| (*v, e)) else {
        return true;
    };
    for entry in entries.chunks_exact_mut(8) {
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let shifted = match [entry[0], entry[1]] {
            ACL_USER => user(id),
            ACL_GROUP => group(id),
            _ => continue,
        };
        match shifted {
            Some(id) => entry[4..].copy_from_slice(&id.to_le_bytes()),
            None => return false,
        }
    }
    true
}

/// The true owner and mode of a file that cannot have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrueOwner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
}

impl TrueOwner {
    /// The attribute's value.
    pub fn render(&self) -> String {
        format!("{}:{}:{:o}", self.uid, self.gid, self.mode)
    }

    /// Reads the attribute's value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut words = text.split(':');
        Some(Self {
            uid: words.next()?.parse().ok()?,
            gid: words.next()?.parse().ok()?,
            mode: u32::from_str_radix(words.next()?, 8).ok()? & 0o7777,
        })
    }
}
