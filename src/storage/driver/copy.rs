//! A whole copy of the image in `containers/<id>/rootfs`, for file systems and kernels without
//! overlay. Slow and large, but it works everywhere.

use std::fs::OpenOptions;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::replica::{Data, replicate};
use super::{COPY_DIR, Driver, Job, Mounted, lock};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Result};
use crate::storage::rootfs::Mode;
use crate::sys::at;
use crate::sys::mount::{self, Change, RDONLY};

/// Held while the copy is mounted.
const LOCK: &str = "rootfs.lock";

/// See the module's head.
pub(super) struct Copy;

impl Driver for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn refuses(&self, _job: &Job<'_>) -> Option<String> {
        None
    }

    fn mount(&self, job: &Job<'_>) -> Result<Mounted> {
        let shared;
        let mut held = None;
        let folder = match job.folder.filter(|_| job.mode != Mode::ReadOnly) {
            Some(folder) => {
                // Not the tree itself: a program in the container may lock its root folder.
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(folder.join(LOCK))
                    .what(|| format!("cannot lock {}", folder.display()))?;
                lock(file.as_fd(), folder)?;
                held = Some(file.into());
                folder
            }
            // A read-only view needs a copy as well: one for all that see the same owners.
            None => {
                shared = copies_of(job);
                crate::base::fs::create_private_dir_all(&shared)?;
                &shared
            }
        };
        let tree = open_or_make(job, folder)?;
        let mount = mount::clone_fd(&tree, false).what(|| "cannot bind the root file system")?;
        if job.mode == Mode::ReadOnly {
            let change = Change {
                set: RDONLY,
                ..Change::default()
            };
            mount::set_attributes(&mount, change, false)?;
        }
        Ok(Mounted {
            tree: mount,
            lock: held,
            notice: None,
        })
    }
}

/// The folder of the read-only copy: named after the layer that it shows, for the collection, and
/// after how.
fn copies_of(job: &Job<'_>) -> PathBuf {
    let name = format!("{}-{}", job.top.hex(), &super::clone::key(job)[..16]);
    job.store.dir().join("copies").join(name)
}

fn open_or_make(job: &Job<'_>, folder: &Path) -> Result<OwnedFd> {
    let path = folder.join(COPY_DIR);
    match at::open_host_dir(&path) {
        Err(e) if e.errno == libc::ENOENT => {}
        other => return Ok(other?),
    }
    let staged = job.store.staging.dir()?;
    let out = at::open_host_dir(staged.path())?;
    at::fchmod(out.as_fd(), 0o755)?;
    let owners = job.tables()?;
    replicate(
        &job.layers,
        out.as_fd(),
        job.view,
        Data::Copy,
        owners.as_deref(),
    )
    .what(|| "cannot copy the image")?;
    failpoint("copy::publish")?;
    match staged.publish(&path) {
        Err(e) if !matches!(e.errno(), Some(libc::EEXIST | libc::ENOTEMPTY)) => Err(e),
        _ => Ok(at::open_host_dir(&path)?),
    }
}
