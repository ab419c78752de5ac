//! Files of a tree into a layer.
//!
//! Nothing is written through: a file replaces what is there, but a folder takes no file's place
//! and no file a folder's. A link that stands where a folder is wanted is followed inside the
//! layer's root, so that `/lib` may lead to `usr/lib`.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::{Item, Kind, Owner, Selected, Tree, open_item};
use crate::base::{Context as _, Error, Result};
use crate::build::mode::Mode;
use crate::build::pattern::clean;
use crate::sys::at::{self, Meta};
use crate::sys::resolve::{self, Make};

/// Bytes copied at a time.
const PIECE: usize = 1 << 30;

/// Where files go and what becomes of them.
#[derive(Clone, Debug)]
pub struct Target {
    /// As written, variables expanded; relative ones are below the working directory.
    pub path: String,
    /// The working directory of the stage.
    pub workdir: String,
    /// Whose they become.
    pub owner: Owner,
    /// Whose folders made on the way become.
    pub parents_owner: (u32, u32),
    /// `--chmod`.
    pub mode: Option<Mode>,
    /// Time of what has none of its own, seconds since 1970.
    pub now: i64,
    /// `--parents`: several sources need no closing slash.
    pub parents: bool,
}

/// A layer's root being written.
pub struct Writer<'a> {
    root: BorrowedFd<'a>,
    target: &'a Target,
    /// First names of files with several: device and inode to path.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Times of folders, set when their content is complete.
    late: Vec<(Vec<u8>, Meta)>,
}

/// Where a source goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A folder, as a path without links below the root.
    pub folder: Vec<u8>,
    /// A single file's new name.
    pub name: Option<Vec<u8>>,
    /// The folder was made for it, and takes after the source.
    pub is_new: bool,
}

/// Copies all that was selected.
///
/// # Errors
/// `Invalid` when a file would replace a folder or the other way round; what the kernel says.
pub fn write(
    root: BorrowedFd<'_>,
    tree: &Tree,
    selected: &[Selected],
    target: &Target,
) -> Result<()> {
    let mut writer = Writer::new(root, target);
    let several = selected.len() > 1 || target.parents;
    for one in selected {
        let place = writer.place(one.is_file && !several)?;
        for item in &one.items {
            let to = match (&place.name, item.to.is_empty()) {
                (Some(name), _) if one.is_file => join(&place.folder, name),
                (_, true) => place.folder.clone(),
                _ => join(&place.folder, &item.to),
            };
            writer
                .item(tree, item, &to, place.is_new && !several)
                .what(|| format!("cannot copy {:?}", String::from_utf8_lossy(&item.from)))?;
        }
    }
    writer.finish()
}

fn join(a: &[u8], b: &[u8]) -> Vec<u8> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.to_vec(),
        (_, true) => a.to_vec(),
        _ => [a, b"/", b].concat(),
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The attributes that are copied: of a file of an image all but the overlay's own, of one of the
/// host those of its person and its capabilities.
pub(super) fn kept_attributes(fd: BorrowedFd<'_>, is_image: bool) -> Result<Vec<CString>> {
    let mut found: Vec<CString> = at::listxattr(fd)?
        .into_iter()
        .filter(|name| {
            if name.starts_with(b"user.overlay.") {
                return false;
            }
            let ours = name.starts_with(b"user.coracle.");
            (name.starts_with(b"user.") && (is_image || !ours))
                || name == b"security.capability"
                || name.starts_with(b"system.posix_acl_")
        })
        .filter_map(|name| CString::new(name).ok())
        .collect();
    found.sort();
    Ok(found)
}

impl<'a> Writer<'a> {
    /// Begins.
    pub fn new(root: BorrowedFd<'a>, target: &'a Target) -> Self {
        Self {
            root,
            target,
            linked: HashMap::new(),
            late: Vec::new(),
        }
    }

    fn absolute(&self) -> String {
        match self.target.path.starts_with('/') {
            true => self.target.path.clone(),
            false => format!("/{}/{}", self.target.workdir, self.target.path),
        }
    }

    /// The folder that files go into, made if it is missing; and the new name of a single file,
    /// where the destination is one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn place(&self, may_rename: bool) -> Result<Place> {
        let path = self.absolute();
        let wants_folder =
            path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") || !may_rename;
        let cleaned = clean(&path);
        let cleaned = cleaned.trim_start_matches('/');
        let there = match resolve::handle(self.root, cleaned) {
            Ok(fd) => Some(at::fstat(fd.as_fd())?),
            Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => None,
            Err(e) => return Err(e.into()),
        };
        // A folder that is there takes the file in.
        let takes_in = there.is_some_and(|m| m.is_dir());
        if wants_folder || cleaned.is_empty() || takes_in {
            return Ok(Place {
                folder: self.folder(cleaned.as_bytes())?,
                name: None,
                is_new: there.is_none() && !path.ends_with('/'),
            });
        }
        let (parent, name) = split(cleaned.as_bytes());
        Ok(Place {
            folder: self.folder(parent)?,
            name: Some(name.to_vec()),
            is_new: false,
        })
    }

    /// A folder by its path, made with its parents if it is missing; the path without links.
    fn folder(&self, path: &[u8]) -> Result<Vec<u8>> {
        let mut rest: Vec<Vec<u8>> = path
            .split(|b| *b == b'/')
            .filter(|p| !p.is_empty() && *p != b".")
            .rev()
            .map(<[u8]>::to_vec)
            .collect();
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                real.pop();
                continue;
            }
            let dir = self.open(&real.join(&b'/'))?;
            let shown = || format!("cannot make the folder /{}", String::from_utf8_lossy(path));
            match at::stat_if_exists(dir.as_fd(), &name)? {
                Some(meta) if meta.is_dir() => {}
                Some(meta) if meta.is_symlink() => {
                    links += 1;
                    if links > 40 {
                        return Err(Error::invalid(shown()).hint("links lead in a circle"));
                    }
                    let target = at::readlink(dir.as_fd(), &name)?;
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    rest.extend(
                        target
                            .split(|b| *b == b'/')
                            .filter(|p| !p.is_empty() && *p != b".")
                            .rev()
                            .map(<[u8]>::to_vec),
                    );
                    continue;
                }
                Some(_) => {
                    return Err(Error::invalid(shown())
                        .because(Error::invalid(format!(
                            "{:?} is there and is no folder",
                            String::from_utf8_lossy(&name)
                        )))
                        .hint("choose another destination, or remove it in a RUN before"));
                }
                None => {
                    at::mkdir(dir.as_fd(), &name, 0o755).what(shown)?;
                    let made = at::open_dir(dir.as_fd(), &name)?;
                    let (uid, gid) = self.target.parents_owner;
                    chown(made.as_fd(), uid, gid)?;
                    at::fchmod(made.as_fd(), 0o755)?;
                    at::futimens(made.as_fd(), self.target.now, 0)?;
                }
            }
            real.push(name);
        }
        Ok(real.join(&b'/'))
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        Ok(match path.is_empty() {
            true => at::reopen_dir(self.root)?,
            false => at::open_dir_beneath(self.root, path)?,
        })
    }

    fn owner(&self, meta: &Meta) -> (u32, u32) {
        match self.target.owner {
            Owner::Keep => (meta.uid, meta.gid),
            Owner::Fixed(uid, gid) => (uid, gid),
        }
    }

    fn mode(&self, meta: &Meta) -> u32 {
        match &self.target.mode {
            Some(mode) => mode.apply(meta.permissions(), meta.is_dir()),
            None => meta.permissions(),
        }
    }

    fn item(&mut self, tree: &Tree, item: &Item, to: &[u8], is_new: bool) -> Result<()> {
        if item.kind == Kind::Folder {
            return self.make_folder(tree, item, to, is_new);
        }
        let (parent, name) = split(to);
        // Folders came before; a link among them was resolved.
        let parent = self.folder(parent)?;
        let dir = self.open(&parent)?;
        let dir = dir.as_fd();
        match at::stat_if_exists(dir, name)? {
            Some(meta) if meta.is_dir() => {
                return Err(Error::invalid(format!(
                    "/{} is a folder and would be replaced by a file",
                    String::from_utf8_lossy(to)
                ))
                .hint("choose another destination, or remove the folder in a RUN before"));
            }
            Some(_) => at::unlink(dir, name)?,
            None => {}
        }
        let (uid, gid) = self.owner(&item.meta);
        match &item.kind {
            Kind::Link(text) => {
                at::symlink(text, dir, name)?;
                told(at::chown(dir, name, uid, gid), uid, gid)?;
                at::utimens(dir, name, item.meta.mtime, item.meta.mtime_nsec)?;
            }
            Kind::Pipe => {
                at::mkfifo(dir, name, self.mode(&item.meta))?;
                told(at::chown(dir, name, uid, gid), uid, gid)?;
                at::utimens(dir, name, item.meta.mtime, item.meta.mtime_nsec)?;
            }
            _ => {
                let key = (item.meta.dev, item.meta.ino);
                if item.meta.nlink > 1
                    && let Some(first) = self.linked.get(&key)
                {
                    let (folder, first) = split(first);
                    let folder = self.open(folder)?;
                    at::link(folder.as_fd(), first, dir, name)?;
                    return Ok(());
                }
                let source = open_item(tree, item)?;
                let out = at::create_file(dir, name, 0o600)?;
                copy_data(source.as_fd(), out.as_fd(), item.meta.size)?;
                chown(out.as_fd(), uid, gid)?;
                attributes(source.as_fd(), out.as_fd(), tree.is_image)?;
                at::fchmod(out.as_fd(), self.mode(&item.meta))?;
                at::futimens(out.as_fd(), item.meta.mtime, item.meta.mtime_nsec)?;
                if item.meta.nlink > 1 {
                    self.linked.insert(key, join(&parent, name));
                }
            }
        }
        Ok(())
    }

    fn make_folder(&mut self, tree: &Tree, item: &Item, to: &[u8], is_new: bool) -> Result<()> {
        // A destination that was there keeps what it has.
        if to.is_empty() || (item.to.is_empty() && !is_new) {
            return Ok(());
        }
        let real = self.folder(to)?;
        let made = self.open(&real)?;
        let (uid, gid) = self.owner(&item.meta);
        chown(made.as_fd(), uid, gid)?;
        if tree.is_image {
            let source = match item.from.is_empty() {
                true => at::reopen_dir(tree.root.as_fd())?,
                false => at::open_dir_beneath(tree.root.as_fd(), &item.from)?,
            };
            attributes(source.as_fd(), made.as_fd(), true)?;
        }
        at::fchmod(made.as_fd(), self.mode(&item.meta))?;
        self.late.push((real, item.meta));
        Ok(())
    }

    /// A file whose content is at hand.
    ///
    /// # Errors
    /// As [`write`].
    pub fn text(&mut self, folder: &[u8], name: &[u8], content: &[u8], mode: u32) -> Result<()> {
        let dir = self.open(folder)?;
        match at::stat_if_exists(dir.as_fd(), name)? {
            Some(meta) if meta.is_dir() => {
                return Err(Error::invalid(format!(
                    "{:?} is a folder and would be replaced by a file",
                    String::from_utf8_lossy(name)
                ))
                .hint("choose another destination"));
            }
            Some(_) => at::unlink(dir.as_fd(), name)?,
            None => {}
        }
        let out = at::create_file(dir.as_fd(), name, 0o600)?;
        at::pwrite_all(out.as_fd(), content, 0)?;
        let (uid, gid) = match self.target.owner {
            Owner::Keep => (0, 0),
            Owner::Fixed(uid, gid) => (uid, gid),
        };
        chown(out.as_fd(), uid, gid)?;
        let mode = match &self.target.mode {
            Some(change) => change.apply(mode, false),
            None => mode,
        };
        at::fchmod(out.as_fd(), mode)?;
        at::futimens(out.as_fd(), self.target.now, 0)?;
        Ok(())
    }

    /// Sets the times of folders.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn finish(self) -> Result<()> {
        for (path, meta) in self.late.iter().rev() {
            let dir = self.open(path)?;
            at::futimens(dir.as_fd(), meta.mtime, meta.mtime_nsec)?;
        }
        Ok(())
    }
}

fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    told(at::fchown(fd, uid, gid), uid, gid)
}

fn told(outcome: crate::sys::Result<()>, uid: u32, gid: u32) -> Result<()> {
    match outcome {
        Err(e) if matches!(e.errno, libc::EINVAL | libc::EPERM) => {
            Err(Error::from(e).hint(format!(
                "owner {uid}:{gid} is outside your ids: give yourself more in /etc/subuid and /etc/subgid"
            )))
        }
        other => Ok(other?),
    }
}

fn copy_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<()> {
    if size == 0 {
        return Ok(());
    }
    if at::reflink(from, to) {
        return Ok(());
    }
    let mut copied = 0_u64;
    loop {
        match at::copy_range(from, to, PIECE) {
            Ok(0) => return Ok(()),
            Ok(n) => copied += n as u64,
            Err(e)
                if copied == 0
                    && matches!(
                        e.errno,
                        libc::EXDEV | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM
                    ) =>
            {
                break;
            }
            Err(e) => return Err(e.into()),
        }
    }
    let mut source = std::fs::File::from(from.try_clone_to_owned().what(|| "cannot copy")?);
    let mut sink = std::fs::File::from(to.try_clone_to_owned().what(|| "cannot copy")?);
    std::io::copy(&mut source, &mut sink).what(|| "cannot copy the content")?;
    Ok(())
}

fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, is_image: bool) -> Result<()> {
    for name in kept_attributes(from, is_image)? {
        let Some(mut value) = at::getxattr(from, &name)? else {
            continue;
        };
        // Capabilities of version 3 name a user namespace; the kernel adds it again.
        if name.to_bytes() == b"security.capability" && value.len() == 24 && value[3] == 3 {
            value.truncate(20);
            value[3] = 2;
        }
        match at::setxattr(to, &name, &value) {
            Err(e) if matches!(e.errno, libc::ENOTSUP | libc::EPERM | libc::EINVAL) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes a folder and its parents (WORKDIR): the new ones belong to this owner.
///
/// # Errors
/// As the kernel says.
pub fn make_dirs(root: BorrowedFd<'_>, path: &str, owner: (u32, u32)) -> Result<()> {
    let made = resolve::mkdir_all(
        root,
        path,
        Make {
            mode: 0o755,
            owner: Some(owner),
        },
    );
    made.map(drop)
        .what(|| format!("cannot make the working directory {path}"))
}
