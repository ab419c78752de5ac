//! A tmpfs that starts with what the image has at its place.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};

use crate::base::{Context as _, Result};
use crate::spec::runtime::Mount;
use crate::storage::copy::{self, CopyIn, Owner};
use crate::sys::{Call as _, mount};

/// Options of the spec that the file system takes, the others are the mount's.
const OWN_KEYS: &[&str] = &[
    "size",
    "mode",
    "nr_inodes",
    "nr_blocks",
    "uid",
    "gid",
    "huge",
];

/// Makes the tmpfs, detached; the launcher applies the mount's own options. With `copy_up` it has
/// the image's content, and the image's mode unless the options name one.
///
/// # Errors
/// What the kernel says; a folder that does not fit into the tmpfs.
pub(super) fn tmpfs(root: &OwnedFd, wanted: &Mount, copy_up: bool) -> Result<OwnedFd> {
    let context = mount::Context::open("tmpfs")?;
    for option in &wanted.options {
        if let Some((key, value)) = option.split_once('=')
            && OWN_KEYS.contains(&key)
        {
            context.string(key, value)?;
        }
    }
    let there = match copy_up {
        true => copy::stat(root.as_fd(), &wanted.destination, true)?,
        false => None,
    };
    let Some(there) = there.filter(copy::PathStat::is_dir) else {
        return context.mount(0).map_err(Into::into);
    };
    if !wanted.options.iter().any(|o| o.starts_with("mode=")) {
        context.string("mode", &format!("{:o}", there.mode & 0o7777))?;
    }
    let tree = context.mount(0)?;
    let memory = rustix::fs::memfd_create("copy-up", rustix::fs::MemfdFlags::CLOEXEC)
        .call("memfd_create", String::new)?;
    let mut file = File::from(memory);
    copy::copy_out(root.as_fd(), &wanted.destination, true, "", None, &mut file)?;
    file.seek(SeekFrom::Start(0))
        .what(|| "cannot rewind a copy")?;
    copy::copy_in(
        &mut file,
        tree.as_fd(),
        "/",
        &CopyIn {
            owner: Owner::Keep,
            maps: None,
            overwrite: false,
        },
    )?;
    Ok(tree)
}
