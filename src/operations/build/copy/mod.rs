//! `COPY` and `ADD`: which files, what their content is worth as a cache key, and how they get into
//! a layer. By descriptor only: a source is resolved inside its own root, a destination inside the
//! layer's, and no link leads out of either.

mod hash;
mod select;
mod write;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::base::{Context as _, Error, Result};
use crate::build::ignore::Ignore;
use crate::runtime::user::resolve_user;
use crate::sys::at::{self, Meta};

pub use hash::{archive_start, digest_of};
pub use select::{Limits, select};
pub use write::{Target, Writer, make_dirs, write};

/// A tree to take files from.
#[derive(Debug)]
pub struct Tree {
    /// Its root.
    pub root: OwnedFd,
    /// Folders above the root in ignore files: the root is the context's unless it is empty.
    pub prefix: String,
    /// What is left out; only contexts have one.
    pub ignore: Option<Ignore>,
    /// Whether owners and all attributes stay: not so for what comes from the host.
    pub is_image: bool,
    /// Keeps the mount.
    pub held: Option<OwnedFd>,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link with its text.
    Link(Vec<u8>),
    /// A named pipe.
    Pipe,
}

/// One thing to copy.
#[derive(Clone, Debug)]
pub struct Item {
    /// Path below the tree's root.
    pub from: Vec<u8>,
    /// Path below the destination folder; empty for the destination folder itself.
    pub to: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its attributes.
    pub meta: Meta,
}

/// What one word of an instruction stands for.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The word.
    pub word: String,
    /// Everything, folders before what is in them.
    pub items: Vec<Item>,
    /// Whether it is a single file, so that the destination may be its new name.
    pub is_file: bool,
}

/// Whose files become whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// As in the source tree.
    Keep,
    /// One for all.
    Fixed(u32, u32),
}

/// Reads `--chown` in the tree that it is for.
///
/// # Errors
/// `Invalid` for a name that the tree does not know.
pub fn owner(root: BorrowedFd<'_>, text: &str) -> Result<(u32, u32)> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let what = || format!("cannot resolve --chown={text}");
    let number = |text: &str| text.parse::<u32>().ok();
    if let Some(uid) = number(user) {
        let gid = match group {
            None | Some("") => uid,
            Some(group) => match number(group) {
                Some(gid) => gid,
                None => {
                    resolve_user(root, &format!("{uid}:{group}"), &[])
                        .what(what)?
                        .gid
                }
            },
        };
        return Ok((uid, gid));
    }
    if user.is_empty() {
        return Err(Error::invalid(format!("--chown={text} names no user"))
            .hint("write --chown=USER[:GROUP], names or numbers"));
    }
    let resolved = resolve_user(root, text.trim_end_matches(':'), &[]).what(what)?;
    Ok((resolved.uid, resolved.gid))
}

/// Opens what an item stands for: the very file that was looked at, or an error.
pub fn open_item(tree: &Tree, item: &Item) -> Result<OwnedFd> {
    let (parent, name) = match item.from.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&item.from[..slash], &item.from[slash + 1..]),
        None => (&b"."[..], &item.from[..]),
    };
    let shown = || format!("cannot open {:?}", String::from_utf8_lossy(&item.from));
    let dir = at::open_dir_beneath(tree.root.as_fd(), parent).what(shown)?;
    let (fd, meta) = at::open_file(dir.as_fd(), name).what(shown)?;
    if (meta.dev, meta.ino) != (item.meta.dev, item.meta.ino) {
        return Err(Error::new(
            crate::base::Kind::InUse,
            format!(
                "{:?} was replaced while it was read",
                String::from_utf8_lossy(&item.from)
            ),
        )
        .hint("build again when nothing changes the context"));
    }
    Ok(fd)
}

/// Copies what `word` names in a tree into a folder.
///
/// # Errors
/// `NotFound` for a word that names nothing; what the kernel says.
pub fn into_folder(into: BorrowedFd<'_>, tree: &Tree, word: &str, owner: Owner) -> Result<()> {
    let words = [word.to_owned()];
    let selected = select(tree, &words, false, &Ignore::default(), Limits::default())?;
    let target = Target {
        path: "/".to_owned(),
        workdir: String::new(),
        owner,
        parents_owner: (0, 0),
        mode: None,
        now: 0,
        parents: false,
    };
    write(into, tree, &selected, &target)
}
