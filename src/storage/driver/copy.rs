//! A whole copy of the image in `containers/<id>/rootfs`, for file systems and kernels without
//! overlay. Slow and large, but it works everywhere.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use super::replica::{Data, replicate};
use super::{COPY_DIR, Driver, Job, Mounted};
use crate::base::failpoint::failpoint;
use crate::base::{Context as _, Result};
use crate::storage::rootfs::Mode;
use crate::sys::at;
use crate::sys::mount::{self, Change, RDONLY};

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
        let folder = match job.folder.filter(|_| job.mode != Mode::ReadOnly) {
            Some(folder) => folder,
            // A read-only view needs a copy as well: one for all of them.
            None => {
                shared = job.store.dir().join("copies").join(job.top.hex());
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
            lock: None,
            notice: None,
        })
    }
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
    replicate(&job.layers, out.as_fd(), job.view, Data::Copy, job.restore)
        .what(|| "cannot copy the image")?;
    failpoint("copy::publish")?;
    match staged.publish(&path) {
        Err(e) if !matches!(e.errno(), Some(libc::EEXIST | libc::ENOTEMPTY)) => Err(e),
        _ => Ok(at::open_host_dir(&path)?),
    }
}
