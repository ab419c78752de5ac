//! What this kernel and the store's file system can do, found by doing, kept for the boot in
//! `store/probe-<device>.json`. Where everything works it is believed for as long as the kernel is
//! the same one: the first start after a reboot need not find it again. Should that be wrong, the
//! mount fails, and [`forget`] has it found anew.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::store::Store;
use super::overlay::{Stack, raw};
use crate::base::fs::{self as files, Durability};
use crate::base::{Result, error::Error};
use crate::sys::at;
use crate::sys::process::boot_id;

/// How the kernel takes the layers of an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::storage) enum Form {
    /// As descriptors.
    Descriptors,
    /// As paths.
    Strings,
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Probe {
    version: u32,
    boot: String,
    /// The kernel's release and version, as uname(2) gives them.
    kernel: String,
    /// Whether it was probed with one user id only.
    single: bool,
    /// The overlay, if it works on this file system in this user namespace.
    pub(in crate::storage) overlay: Option<Form>,
    /// Why not.
    pub(in crate::storage) why: String,
    /// Whether `volatile` works.
    pub(in crate::storage) volatile: bool,
    /// Whether data-only layers work with `userxattr`.
    pub(in crate::storage) data_only: bool,
    /// Why not.
    pub(in crate::storage) why_data: String,
    /// Whether FUSE file systems can be mounted without help.
    pub(in crate::storage) fuse: bool,
    /// Why not.
    pub(in crate::storage) why_fuse: String,
    /// Whether files can be given to others: not on some file systems of networks and of virtual
    /// machines.
    pub(in crate::storage) gives: bool,
}

const VERSION: u32 = 3;

impl Probe {
    /// Whether it holds for this process: of this boot, or of this kernel and without a no.
    fn holds(&self, single: bool) -> bool {
        let all = self.overlay == Some(Form::Descriptors)
            && self.volatile
            && self.data_only
            && self.fuse
            && self.gives;
        let fits = (self.version, self.single, &*self.kernel) == (VERSION, single, &*kernel());
        fits && (all || !self.is_older())
    }

    /// Whether it was found in an earlier boot.
    pub(in crate::storage) fn is_older(&self) -> bool {
        self.boot != boot_id()
    }
}

fn kernel() -> String {
    let name = rustix::system::uname();
    let (release, version) = (name.release(), name.version());
    format!(
        "{} {}",
        release.to_string_lossy(),
        version.to_string_lossy()
    )
}

fn path(store: &Store) -> Result<PathBuf> {
    let device = match at::open_host_path(store.dir()) {
        Ok(dir) => at::fstat(dir.as_fd())?.dev,
        Err(_) => {
            files::create_private_dir_all(store.dir())?;
            at::fstat(at::open_host_path(store.dir())?.as_fd())?.dev
        }
    };
    Ok(store.dir().join(format!("probe-{device:x}.json")))
}

/// The answer is wrong: the next [`probe`] looks again.
pub(in crate::storage) fn forget(store: &Store) -> Result<()> {
    files::remove_file_if_exists(&path(store)?)
}

/// The cached answer, or a new one.
pub(in crate::storage) fn probe(store: &Store) -> Result<Probe> {
    let single = super::super::layer::is_single();
    let path = path(store)?;
    if let Ok(Some(bytes)) = files::read_if_exists(&path, 64 << 10)
        && let Ok(known) = serde_json::from_slice::<Probe>(&bytes)
        && known.holds(single)
    {
        return Ok(known);
    }
    let found = run(store, single)?;
    if let Ok(bytes) = serde_json::to_vec(&found) {
        // A cache: the next command probes again.
        drop(files::replace(&path, &bytes, 0o600, Durability::Volatile));
    }
    Ok(found)
}

fn run(store: &Store, single: bool) -> Result<Probe> {
    let staged = store.staging.dir()?;
    let mut found = Probe {
        version: VERSION,
        boot: boot_id().to_owned(),
        kernel: kernel(),
        single,
        overlay: None,
        why: String::new(),
        volatile: false,
        data_only: false,
        why_data: String::new(),
        fuse: false,
        why_fuse: String::new(),
        gives: true,
    };
    let dir = staged.as_fd();
    let make = |name: &[u8]| -> Result<OwnedFd> {
        at::mkdir(dir, name, 0o755)?;
        Ok(at::open_dir(dir, name)?)
    };
    let (low, empty) = (make(b"low")?, make(b"empty")?);
    let file = at::create_file(low.as_fd(), b"f", 0o644)?;
    at::pwrite_all(file.as_fd(), b"data", 0)?;
    found.gives = single || at::fchown(file.as_fd(), 1, 1).is_ok();
    match crate::overlay::mount(false) {
        // Not served: it is gone with its descriptors.
        Ok(_) => found.fuse = true,
        Err(e) => found.why_fuse = e.one_line(),
    }
    for form in [Form::Descriptors, Form::Strings] {
        let suffix = if form == Form::Descriptors {
            b"1"
        } else {
            b"2"
        };
        let upper = make(&[b"upper", &suffix[..]].concat())?;
        let work = make(&[b"work", &suffix[..]].concat())?;
        let lowers = [low.as_fd(), empty.as_fd()];
        let stack = |volatile| Stack {
            lowers: &lowers,
            data: &[],
            upper: Some((upper.as_fd(), work.as_fd())),
            volatile,
        };
        match raw(form, &stack(true), store.dir()).and_then(|t| writes(t.as_fd())) {
            Ok(()) => {
                found.overlay = Some(form);
                found.volatile = true;
                break;
            }
            Err(first) => {
                match raw(form, &stack(false), store.dir()).and_then(|t| writes(t.as_fd())) {
                    Ok(()) => {
                        found.overlay = Some(form);
                        break;
                    }
                    Err(_) => found.why = first.one_line(),
                }
            }
        }
    }
    match data_only(dir, low.as_fd(), &found, store) {
        Ok(()) => found.data_only = true,
        Err(e) => found.why_data = e.one_line(),
    }
    Ok(found)
}

/// Reads through the mount, makes a file in it and hides another.
fn writes(tree: BorrowedFd<'_>) -> Result<()> {
    let (_, meta) = at::open_file(tree, b"f")?;
    if meta.size != 4 {
        return Err(Error::unsupported("overlay shows wrong content"));
    }
    at::create_file(tree, b"new", 0o600)?;
    Ok(at::unlink(tree, b"f")?)
}

/// Reads a file whose metadata is in one layer and whose data is in another.
fn data_only(dir: BorrowedFd<'_>, low: BorrowedFd<'_>, found: &Probe, store: &Store) -> Result<()> {
    let Some(form) = found.overlay else {
        return Err(Error::unsupported("the kernel's overlay does not work"));
    };
    at::mkdir(dir, b"clone", 0o755)?;
    let clone = at::open_dir(dir, b"clone")?;
    let file = at::create_file(clone.as_fd(), b"other", 0o644)?;
    at::setxattr(file.as_fd(), super::replica::METACOPY, b"")?;
    at::setxattr(file.as_fd(), super::replica::REDIRECT, b"/f")?;
    at::ftruncate(file.as_fd(), 4)?;
    let stack = Stack {
        lowers: &[clone.as_fd()],
        data: &[low],
        upper: None,
        volatile: false,
    };
    let tree = raw(form, &stack, store.dir())?;
    let (fd, _) = at::open_file(tree.as_fd(), b"other")?;
    let mut content = [0; 8];
    let n = rustix::io::pread(&fd, &mut content, 0)
        .map_err(|e| crate::sys::Error::new("pread", "data-only file", e.raw_os_error()))?;
    if &content[..n] == b"data" {
        Ok(())
    } else {
        Err(Error::unsupported("data-only layers show wrong content"))
    }
}
