//! Our own overlay file system, for where the kernel's does not serve: a FUSE server over the same
//! on-disk form (docs/formats/layer.md).
//!
//! It knows layers as descriptors and nothing of images or containers. All its access goes by
//! opened folders and one name at a time; no link is ever followed. [`mount`] makes the file
//! system, [`serve`] answers for it until it is gone; both happen in the caller's user namespace.
//!
//! What makes it fast is not being asked: names, attributes and content may be kept by the kernel
//! for ever, since nobody but this server changes the tree; files and folders are opened without a
//! request (`FUSE_NO_OPEN_SUPPORT`), so a copy to the upper layer waits for the first write. Writes
//! reach the upper layer before write(2) returns: the death of the server loses nothing.
//!
//! Locks, outermost first: `Node::list` of folders (by id), `Node::place` (by id), the topology,
//! and then leaves: names, handles, tables. No leaf is held over another lock.

mod adapter;
mod attributes;
mod copyup;
mod data;
mod handles;
mod listing;
mod make;
mod names;
mod node;
mod remove;
mod rename;
mod reply;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod xattrs;

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use self::handles::{Handle, Handles};
use self::node::{INNER, Node, Part, ROOT, Table};
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::spec::idmap::IdMaps;
use crate::spec::ondisk::{OPAQUE, TrueOwner};
use crate::sys::bare::{self, Code, Spot};
use crate::sys::mount;

/// Owners of links and FIFOs in a layer that was unpacked with one id, by clean path.
pub type Owners = HashMap<Vec<u8>, TrueOwner>;

/// What a server shows.
#[derive(Debug)]
pub struct Plan {
    /// The layers' trees, top first.
    pub lowers: Vec<OwnedFd>,
    /// Where changes go: the upper tree, and a folder of its file system that nobody else uses.
    /// `None` for a read-only file system.
    pub upper: Option<(OwnedFd, OwnedFd)>,
    /// How owners in the lower layers are shown: container id to id in our namespace. `None` as
    /// they are. The upper has the shown ones.
    pub maps: Option<IdMaps>,
    /// Owners of the lower layers come out of attributes, and of these tables, one a layer.
    pub restore: Option<Vec<Owners>>,
    /// Owners and permissions of new and changed files are kept in attributes: the upper's file
    /// system lets nobody give files away.
    pub squash: bool,
    /// Nothing is flushed: the upper is thrown away after a power cut.
    pub volatile: bool,
    /// Files say where their content is (`user.overlay.redirect`), for the kernel's overlay above.
    pub metadata_only: bool,
    /// Who fetches the content of lower files that are not here.
    pub content: Option<Arc<dyn Content>>,
}

/// Fetches the content of files in lower layers that are not all here.
pub trait Content: std::fmt::Debug + Send + Sync {
    /// Sees that a file has its content; `mark` is what [`LAZY`] on it says. Called before the file
    /// is read for the first time, by several threads at once.
    ///
    /// `false`: it cannot be had now. The reader gets EIO; whoever says so logs why.
    ///
    /// [`LAZY`]: crate::spec::ondisk::LAZY
    fn fill(&self, lower: usize, mark: &[u8], file: BorrowedFd<'_>) -> bool;
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// The root of each level: the upper, then the lowers from the top; level 0 is empty without.
    roots: Vec<Option<Handle>>,
    /// For what is being made.
    work: Option<OwnedFd>,
    maps: Option<IdMaps>,
    restore: Option<Vec<Owners>>,
    squash: bool,
    volatile: bool,
    metadata_only: bool,
    content: Option<Arc<dyn Content>>,
    table: Table,
    /// The file system whose inode numbers are shown as they are: that of the top layer.
    base: u64,
    handles: Handles,
    /// Written when a folder gets another place; read to find a folder by its path.
    topology: RwLock<()>,
    root: Arc<Node>,
    sequence: AtomicU64,
    /// The upper's file system refuses character devices 0/0.
    marked_whiteouts: AtomicBool,
    /// Files may share their content with copies of them (FICLONE), as far as is known.
    reflinks: AtomicBool,
    /// Nobody came through [`DOOR`] yet.
    closed: AtomicBool,
}

/// The folder in the work folder where things are made. The kernel's overlay has its own beside it.
const WORK: &[u8] = b"fuse";

impl Overlay {
    /// Takes a plan; clears what an earlier server left half made.
    pub(crate) fn new(plan: Plan) -> Result<Self> {
        let limit = bare::raise_file_limit();
        let handles = Handles::new(limit);
        let mut roots = vec![None];
        let mut work = None;
        if let Some((upper, folder)) = plan.upper {
            roots[0] = Some(handles.keep(upper));
            work = Some(work_folder(&folder)?);
        }
        roots.extend(
            plan.lowers
                .into_iter()
                .map(|lower| Some(handles.keep(lower))),
        );
        let mut parts = Vec::new();
        for (level, root) in (0_u16..).zip(&roots) {
            let Some(root) = root else { continue };
            let mark = bare::xattr(Spot::Open(root.as_fd()), OPAQUE)
                .ok()
                .flatten()
                .and_then(|value| value.first().copied());
            parts.push(Part {
                level,
                handle: Some(root.clone()),
                marked: mark == Some(b'x'),
            });
            if mark == Some(b'y') {
                break;
            }
        }
        let top = parts
            .first()
            .map(|part| part.level)
            .ok_or_else(|| Error::invalid("a root file system has at least one layer"))?;
        let base = parts
            .first()
            .and_then(|part| part.handle.as_ref())
            .and_then(|root| bare::stat(Spot::Open(root.as_fd())).ok())
            .map_or(0, |stat| stat.dev);
        let root = Arc::new(Node::root(top, parts));
        Ok(Self {
            roots,
            work,
            maps: plan.maps,
            restore: plan.restore,
            squash: plan.squash,
            volatile: plan.volatile,
            metadata_only: plan.metadata_only,
            content: plan.content,
            table: Table::new(root.clone()),
            base,
            handles,
            topology: RwLock::new(()),
            root,
            sequence: AtomicU64::new(0),
            marked_whiteouts: AtomicBool::new(false),
            reflinks: AtomicBool::new(true),
            closed: AtomicBool::new(true),
        })
    }

    fn node(&self, id: u64) -> bare::Result<Arc<Node>> {
        if matches!(id, ROOT | INNER) {
            return Ok(self.root.clone());
        }
        // The kernel names only what it was told and has not forgotten.
        self.table.get(id).ok_or(Code(libc::ESTALE))
    }

    fn work(&self) -> bare::Result<&OwnedFd> {
        self.work.as_ref().ok_or(Code(libc::EROFS))
    }

    /// A name in the work folder that nothing has.
    fn fresh_name(&self) -> Vec<u8> {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        format!("{number:x}").into_bytes()
    }
}

/// Makes or empties the folder where things are made before they get their place.
fn work_folder(folder: &OwnedFd) -> Result<OwnedFd> {
    let what = || "cannot prepare the work folder of the writable layer";
    match bare::mkdir(folder.as_fd(), WORK, 0o700) {
        Ok(()) | Err(Code(libc::EEXIST)) => {}
        Err(code) => return Err(failure("mkdirat", code)).what(what),
    }
    let work = bare::open_dir_path(folder.as_fd(), WORK)
        .map_err(|code| failure("openat", code))
        .what(what)?;
    remove::empty_folder(work.as_fd())
        .map_err(|code| failure("unlinkat", code))
        .what(what)?;
    Ok(work)
}

fn failure(call: &'static str, code: Code) -> crate::sys::Error {
    crate::sys::Error::new(call, "", code.0)
}

/// A request that panicked may have left a lock: what it guarded is looked at again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a FUSE file system: the device to serve it by, and a detached mount of it. Requests wait
/// until somebody serves them, and fail when the last descriptor of the device is closed.
///
/// # Errors
/// `ENOENT` without /dev/fuse, `EPERM` where the kernel refuses it.
pub fn mount(read_only: bool) -> Result<(OwnedFd, OwnedFd)> {
    let device = mount::fuse_device()
        .what(|| "cannot open /dev/fuse")
        .hint(|| "load the kernel's module (sudo modprobe fuse), or pass --device /dev/fuse to the container around")?;
    let context = mount::Context::open("fuse")?;
    context.string("source", "coracle")?;
    context.string("subtype", "coracle")?;
    context.string("fd", &crate::sys::fd::number(&device).to_string())?;
    context.string("rootmode", "40000")?;
    context.string("user_id", "0")?;
    context.string("group_id", "0")?;
    context.flag("allow_other")?;
    context.flag("default_permissions")?;
    let attributes = if read_only { mount::RDONLY } else { 0 };
    let tree = context.mount(attributes)?;
    Ok((device, tree))
}

/// The name by which the root is looked up once more, before anybody else sees the file system.
const DOOR: &[u8] = b"rootfs";

/// A mount of the same file system whose root the kernel came to know by a lookup. Of the first
/// root it keeps no access control list in memory, for that was there before the protocol was
/// agreed on: whoever is not its owner would cause a request with each absolute path. Call it when
/// the file system is served, and at most once.
///
/// Before Linux 6.15 there is no clone of a detached mount: `tree` itself, then.
///
/// # Errors
/// What the server answers.
pub fn enter(tree: OwnedFd) -> Result<OwnedFd> {
    let inner = bare::open_dir_path(tree.as_fd(), DOOR)
        .map_err(|code| failure("openat", code))
        .what(|| "the FUSE server does not answer")?;
    Ok(mount::clone_fd(&inner, false).unwrap_or(tree))
}

/// Serves `plan` on a device that [`mount`] gave, until the file system is gone. `ready` is called
/// when the kernel has agreed on the protocol: from then on requests are answered.
///
/// # Errors
/// What the kernel says before that; later failures are answers to requests.
pub fn serve(device: OwnedFd, plan: Plan, ready: impl FnOnce()) -> Result<()> {
    bare::clear_umask();
    let overlay = Overlay::new(plan)?;
    session::run(device, overlay, ready)
}

/// Lets go of the result of cleaning up after a failure: what stays goes with the next start.
fn discard(result: bare::Result<()>) {
    let _ = result;
}
