//! The kernel's overlay, mounted by descriptor.
//!
//! Kernel: Documentation/filesystems/overlayfs.rst; `userxattr` since 5.11, `volatile` since 5.10,
//! `lowerdir+` since 6.5, as descriptors since 6.13.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::super::rootfs::{Mode, POINTS, View};
use super::probe::Form;
use super::{Driver, Job, Mounted, lock, open_or_make, shifted};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Error, Result};
use crate::sys::at;
use crate::sys::mount::{self, Context, RDONLY};
use crate::sys::process::boot_id;

/// On `work`: the boot in which the upper was last mounted volatile.
const BOOT: &std::ffi::CStr = c"user.coracle.boot";

/// See the module's head.
pub(in crate::storage) struct Overlay;

impl Driver for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn refuses(&self, job: &Job<'_>) -> Option<String> {
        if *job.view != View::Same || job.restore {
            return Some("the container sees other owners than the store".to_owned());
        }
        job.probe.overlay.is_none().then(|| job.probe.why.clone())
    }

    fn mount(&self, job: &Job<'_>) -> Result<Mounted> {
        let mut lowers: Vec<_> = job.layers.iter().map(|l| l.as_fd()).collect();
        let points = match job.points && job.folder.is_some() {
            // Without them the mount points are made in the writable layer.
            true => points(job).map_err(|e| log::info!("{}", e.one_line())).ok(),
            false => None,
        };
        lowers.extend(points.as_ref().map(|dir| dir.as_fd()));
        assemble(job, &lowers, &[])
    }
}

/// The layers of one overlay.
pub(in crate::storage) struct Stack<'a> {
    /// Lower folders, top first.
    pub(in crate::storage) lowers: &'a [BorrowedFd<'a>],
    /// Data-only folders, top first.
    pub(in crate::storage) data: &'a [BorrowedFd<'a>],
    /// Upper and work.
    pub(in crate::storage) upper: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// Nothing is flushed for the upper's sake.
    pub(in crate::storage) volatile: bool,
}

/// Mounts `lowers` (and `data`) below the job's upper.
pub(super) fn assemble(
    job: &Job<'_>,
    lowers: &[BorrowedFd<'_>],
    data: &[BorrowedFd<'_>],
) -> Result<Mounted> {
    let form = job.probe.overlay.unwrap_or(Form::Descriptors);
    let Some(folder) = job.folder.filter(|_| job.mode != Mode::ReadOnly) else {
        // One lower alone is refused by the kernel; a bind mount would take over the host
        // mount's nosuid. An empty second one costs nothing.
        let empty = empty_dir(job)?;
        let mut lowers = lowers.to_vec();
        if lowers.len() < 2 && data.is_empty() {
            lowers.push(empty.as_fd());
        }
        let stack = Stack {
            lowers: &lowers,
            data,
            upper: None,
            volatile: false,
        };
        return Ok(Mounted {
            tree: raw(form, &stack, job.store.dir())?,
            lock: None,
            notice: None,
        });
    };
    let writable = Writable::open(folder, job)?;
    let stack = Stack {
        lowers,
        data,
        upper: Some((writable.upper.as_fd(), writable.work.as_fd())),
        volatile: job.probe.volatile,
    };
    let tree = raw(form, &stack, job.store.dir())
        .what(|| "cannot mount the root file system".to_owned())?;
    Ok(Mounted {
        tree,
        lock: Some(writable.work),
        notice: writable.notice,
    })
}

fn empty_dir(job: &Job<'_>) -> Result<OwnedFd> {
    let path = job.store.dir().join("empty");
    match at::open_host_dir(&path) {
        Err(e) if e.errno == libc::ENOENT => {
            crate::base::fs::create_private_dir_all(&path)?;
            Ok(at::open_host_dir(&path)?)
        }
        other => Ok(other?),
    }
}

/// A folder with nothing but the usual mount points, for the bottom of a stack.
fn points(job: &Job<'_>) -> Result<OwnedFd> {
    // The number: what is in it is never changed, since containers may be using it.
    let place = job.store.dir().join("points-1");
    let tree = place.join("diff");
    match at::open_host_dir(&tree) {
        Err(e) if e.errno == libc::ENOENT => {}
        other => return Ok(other?),
    }
    let staged = job.store.staging.dir()?;
    let make = |dir: BorrowedFd<'_>, name: &str| -> Result<OwnedFd> {
        at::mkdir(dir, name.as_bytes(), 0o755)?;
        let made = at::open_dir(dir, name.as_bytes())?;
        at::fchmod(made.as_fd(), 0o755)?;
        Ok(made)
    };
    let diff = make(staged.as_fd(), "diff")?;
    for name in ["etc", "run", "dev", "proc", "sys"] {
        let dir = make(diff.as_fd(), name)?;
        for file in POINTS.iter().filter_map(|p| p.strip_prefix(name)) {
            let file = file.trim_start_matches('/').as_bytes();
            let file = at::create_file(dir.as_fd(), file, 0o644)?;
            at::fchmod(file.as_fd(), 0o644)?;
        }
    }
    let published = staged.publish(&place);
    match at::open_host_dir(&tree) {
        // Ours, or that of somebody who was faster.
        Ok(dir) => Ok(dir),
        Err(e) => published.and(Err(e.into())),
    }
}

/// The writable part of a container, locked.
pub(super) struct Writable {
    pub(super) upper: OwnedFd,
    /// Carries the lock.
    pub(super) work: OwnedFd,
    pub(super) notice: Option<String>,
}

impl Writable {
    pub(super) fn open(folder: &Path, job: &Job<'_>) -> Result<Self> {
        let what = || format!("cannot make the writable layer in {}", folder.display());
        let dir = at::open_host_dir(folder).what(what)?;
        failpoint("overlay::upper")?;
        let (upper, fresh) = open_or_make(dir.as_fd(), b"upper", 0o755)?;
        let (work, new_work) = open_or_make(dir.as_fd(), b"work", 0o700)?;
        lock(work.as_fd(), folder)?;
        if fresh && let Some(top) = job.layers.first() {
            // The upper's own attributes are those of the container's root folder.
            let meta = at::fstat(top.as_fd())?;
            let (uid, gid) = shifted(job.view, meta.uid, meta.gid)?;
            if (uid, gid) != (0, 0) {
                at::fchown(upper.as_fd(), uid, gid)?;
            }
            if meta.permissions() != 0o755 || at::fstat(upper.as_fd())?.permissions() != 0o755 {
                at::fchmod(upper.as_fd(), meta.permissions())?;
            }
        }
        let mut notice = None;
        if !new_work {
            notice = clear_volatile(work.as_fd())?;
        }
        if job.probe.volatile
            && (new_work || at::getxattr(work.as_fd(), BOOT)?.as_deref() != Some(boot_bytes()))
        {
            at::setxattr(work.as_fd(), BOOT, boot_bytes())?;
        }
        Ok(Self {
            upper,
            work,
            notice,
        })
    }
}

fn boot_bytes() -> &'static [u8] {
    boot_id().as_bytes()
}

/// Removes the kernel's mark of an earlier volatile mount, without which it refuses the upper.
/// Returns a notice when that mount ended with the machine.
fn clear_volatile(work: BorrowedFd<'_>) -> Result<Option<String>> {
    let incompat = match at::open_dir_beneath(work, b"work/incompat") {
        Ok(dir) => dir,
        Err(e) if matches!(e.errno, libc::ENOENT | libc::ENOTDIR) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    if at::stat_if_exists(incompat.as_fd(), b"volatile")?.is_none() {
        return Ok(None);
    }
    let same_boot = at::getxattr(work, BOOT)?.as_deref() == Some(boot_bytes());
    super::super::tree::remove_at(incompat.as_fd(), b"volatile")?;
    Ok((!same_boot).then(|| {
        "the machine went down while the container ran: its last writes may be lost".to_owned()
    }))
}

/// A clean stop: what was written needs no mark any more.
pub(in crate::storage) fn settle(folder: &Path) -> Result<()> {
    match at::open_host_dir(&folder.join("work")) {
        Ok(work) => clear_volatile(work.as_fd()).map(drop),
        Err(e) if e.errno == libc::ENOENT => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// As [`settle`], for an opened work folder.
pub(in crate::storage) fn settle_work(work: BorrowedFd<'_>) -> Result<()> {
    clear_volatile(work).map(drop)
}

/// Mounts a stack in the given form. `scratch` is a folder on the host for the oldest form.
pub(in crate::storage) fn raw(form: Form, stack: &Stack<'_>, scratch: &Path) -> Result<OwnedFd> {
    let attributes = if stack.upper.is_some() { 0 } else { RDONLY };
    if form == Form::Strings {
        return by_strings(stack, attributes, scratch);
    }
    let context = Context::open("overlay")?;
    context.string("source", "coracle")?;
    context.flag("userxattr")?;
    for lower in stack.lowers {
        context.descriptor("lowerdir+", lower)?;
    }
    for data in stack.data {
        context.descriptor("datadir+", data)?;
    }
    if let Some((upper, work)) = &stack.upper {
        context.descriptor("upperdir", upper)?;
        context.descriptor("workdir", work)?;
        if stack.volatile {
            context.flag("volatile")?;
        }
    }
    Ok(context.mount(attributes)?)
}

/// For kernels before 6.13: layers as `/proc/self/fd` paths; beyond 255 bytes by mount(2) on a
/// folder of ours in this private mount namespace, taken over as a detached tree.
fn by_strings(stack: &Stack<'_>, attributes: u32, scratch: &Path) -> Result<OwnedFd> {
    if !stack.data.is_empty() {
        return Err(Error::unsupported("this kernel has no data-only layers"));
    }
    let path = |fd: &BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lowers = stack.lowers.iter().map(path).collect::<Vec<_>>().join(":");
    if lowers.len() <= 255 {
        let context = Context::open("overlay")?;
        context.string("source", "coracle")?;
        context.flag("userxattr")?;
        context.string("lowerdir", &lowers)?;
        if let Some((upper, work)) = &stack.upper {
            context.string("upperdir", &path(upper))?;
            context.string("workdir", &path(work))?;
            if stack.volatile {
                context.flag("volatile")?;
            }
        }
        return Ok(context.mount(attributes)?);
    }
    let mut data = format!("userxattr,lowerdir={lowers}");
    if let Some((upper, work)) = &stack.upper {
        data = format!("{data},upperdir={},workdir={}", path(upper), path(work));
        if stack.volatile {
            data.push_str(",volatile");
        }
    }
    if data.len() > 4095 {
        return Err(Error::unsupported(format!(
            "this kernel takes no overlay of {} layers",
            stack.lowers.len()
        ))
        .hint("use --storage-driver copy, or a kernel from 6.13 on"));
    }
    let point = scratch.join("empty");
    crate::base::fs::create_private_dir_all(&point)?;
    crate::sys::at::mount_overlay(&point, &data, attributes & RDONLY != 0)?;
    let point = std::ffi::CString::new(point.as_os_str().as_bytes())
        .what(|| "the store's path has a NUL")?;
    let tree = mount::clone_path(&point, false);
    mount::detach(&point)?;
    Ok(tree?)
}
