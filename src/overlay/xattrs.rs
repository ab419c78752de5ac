//! Extended attributes: marks of the layers are not shown, and what looks like one is escaped.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use super::node::{Node, Place, UPPER};
use super::{Overlay, lock};
use crate::spec::idmap::to_host;
use crate::spec::ondisk;
use crate::sys::bare::{self, Code, Result};

/// Name and value that say where a file's content is, for the kernel's overlay above us.
enum Synthetic {
    Metacopy,
    Redirect,
}

impl Overlay {
    /// The stored name of an attribute; `None` for one that is never there.
    fn stored(&self, name: &[u8]) -> Option<CString> {
        if self.metadata_only {
            // The kernel's overlay above does the escaping; marks of ours are not its own.
            let mark = ondisk::is_ours(name) && ondisk::unescape(name).is_none();
            return CString::new(name).ok().filter(|_| !mark);
        }
        match ondisk::escape(name) {
            Some(escaped) => CString::new(escaped).ok(),
            None => CString::new(name).ok(),
        }
    }

    fn synthetic(&self, node: &Node, name: &[u8]) -> Option<Synthetic> {
        if !self.metadata_only || !node.is_file() {
            return None;
        }
        if name == ondisk::METACOPY.to_bytes() {
            Some(Synthetic::Metacopy)
        } else if name == ondisk::REDIRECT.to_bytes() {
            Some(Synthetic::Redirect)
        } else {
            None
        }
    }

    /// An attribute's value; `ENODATA` when there is none.
    pub(super) fn get_attribute(&self, node: &Arc<Node>, name: &[u8]) -> Result<Vec<u8>> {
        if let Some(what) = self.synthetic(node, name) {
            return self.where_content_is(node, &what);
        }
        let stored = self.stored(name).ok_or(Code(libc::ENODATA))?;
        let mut place = lock(&node.place);
        if !self.has_any(node, &mut place)? {
            return Err(Code(libc::ENODATA));
        }
        let value = self.at(node, &place, |spot| bare::xattr(spot, &stored))?;
        let mut value = value.ok_or(Code(libc::ENODATA))?;
        self.translate_acl(name, place.level, &mut value);
        Ok(value)
    }

    /// Whether a file has attributes at all: most have none, and are asked for several.
    fn has_any(&self, node: &Arc<Node>, place: &mut Place) -> Result<bool> {
        if let Some(known) = place.attributed {
            return Ok(known);
        }
        let any = self.at(node, place, |spot| Ok(!bare::listxattr(spot)?.is_empty()))?;
        place.attributed = Some(any);
        Ok(any)
    }

    fn where_content_is(&self, node: &Arc<Node>, what: &Synthetic) -> Result<Vec<u8>> {
        // An empty file needs no content, and a path that is too long is read through us.
        let size = self.stat(node)?.size;
        let path = [&b"/"[..], &self.path(node)].concat();
        if size == 0 || path.len() >= libc::PATH_MAX.unsigned_abs() as usize {
            return Err(Code(libc::ENODATA));
        }
        Ok(match what {
            Synthetic::Metacopy => Vec::new(),
            Synthetic::Redirect => path,
        })
    }

    /// The names of all attributes that are shown, each ended by a NUL.
    pub(super) fn list_attributes(&self, node: &Arc<Node>) -> Result<Vec<u8>> {
        let mut place = lock(&node.place);
        let mut shown = Vec::new();
        if self.has_any(node, &mut place)? {
            let stored = self.at(node, &place, bare::listxattr)?;
            for name in stored.split(|b| *b == 0).filter(|name| !name.is_empty()) {
                let name = match ondisk::unescape(name) {
                    Some(_) if self.metadata_only => name.to_vec(),
                    Some(plain) => plain,
                    None if ondisk::is_ours(name) => continue,
                    None => name.to_vec(),
                };
                shown.extend_from_slice(&name);
                shown.push(0);
            }
        }
        drop(place);
        if self.metadata_only
            && node.is_file()
            && self.where_content_is(node, &Synthetic::Metacopy).is_ok()
        {
            for name in [ondisk::METACOPY, ondisk::REDIRECT] {
                shown.extend_from_slice(name.to_bytes_with_nul());
            }
        }
        Ok(shown)
    }

    /// Sets an attribute; `flags` as setxattr(2) has them.
    pub(super) fn set_attribute(
        &self,
        node: &Arc<Node>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<()> {
        self.alter_attributes(node, name, |spot, stored| {
            bare::setxattr(spot, stored, value, flags)
        })
    }

    /// Removes an attribute.
    pub(super) fn remove_attribute(&self, node: &Arc<Node>, name: &[u8]) -> Result<()> {
        if self.work.is_some() && self.get_attribute(node, name).is_err() {
            return Err(Code(libc::ENODATA));
        }
        self.alter_attributes(node, name, bare::removexattr)
    }

    fn alter_attributes(
        &self,
        node: &Arc<Node>,
        name: &[u8],
        alter: impl FnOnce(bare::Spot<'_>, &CStr) -> Result<()>,
    ) -> Result<()> {
        let stored = self.stored(name).ok_or(Code(libc::EPERM))?;
        self.raise(node)?;
        let mut place = lock(&node.place);
        place.attributed = None;
        self.at(node, &place, |spot| alter(spot, &stored))?;
        drop(place);
        if stored.as_c_str() == ondisk::ACL_DEFAULT {
            self.listing(node)?.get().inherits = None;
        }
        Ok(())
    }

    /// Access control lists of lower layers name the ids of the image.
    pub(super) fn translate_acl(&self, name: &[u8], level: u16, value: &mut [u8]) {
        if level == UPPER || !ondisk::is_acl(name) {
            return;
        }
        if let Some(maps) = &self.maps {
            // Whoever has no id here is nobody: an entry for nobody gives nobody anything.
            let known = |map, id| Some(to_host(map, id).unwrap_or(65534));
            ondisk::shift_acl(
                value,
                |id| known(&maps.uids, id),
                |id| known(&maps.gids, id),
            );
        }
    }
}
