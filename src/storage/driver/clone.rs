//! The kernel's overlay over a metadata clone: `store/clones/<key>` has every name of the image
//! with shifted owners and no data; the layers themselves are its data-only lower layers.
//!
//! A clone is made once for an image and a pair of maps. Redirects are the paths themselves, not
//! short names of hard links to the layers' files: a second link would show in `st_nlink` of
//! every container on the plain overlay (cron refuses such crontabs).

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::overlay::assemble;
use super::replica::{Data, replicate};
use super::{Driver, Job, Mounted};
use crate::base::failpoint::failpoint;
use crate::base::fs as files;
use crate::base::{Context as _, Result};
use crate::spec::digest::Digest;
use crate::spec::idmap::IdMaps;
use crate::storage::rootfs::View;
use crate::sys::at;

/// `clone.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::storage) struct CloneInfo {
    /// Schema number.
    pub(in crate::storage) version: u32,
    /// The uppermost layer that it shows.
    pub(in crate::storage) top: Digest,
}

/// See the module's head.
pub(super) struct Clone;

impl Driver for Clone {
    fn name(&self) -> &'static str {
        "overlay-clone"
    }

    fn refuses(&self, job: &Job<'_>) -> Option<String> {
        if *job.view == View::Same && !job.restore {
            return Some("the container sees the owners of the store".to_owned());
        }
        (!job.probe.data_only).then(|| job.probe.why_data.clone())
    }

    fn mount(&self, job: &Job<'_>) -> Result<Mounted> {
        let clone = open_or_make(job)?;
        let data: Vec<_> = job.layers.iter().map(|l| l.as_fd()).collect();
        assemble(job, &[clone.as_fd()], &data)
    }
}

/// Names an image as containers with certain maps see it.
pub(super) fn key(job: &Job<'_>) -> String {
    let maps = match job.view {
        View::Same => String::new(),
        View::Shifted(maps) => IdMaps::render(&maps.uids) + "\n" + &IdMaps::render(&maps.gids),
    };
    let text = format!("2\n{}\n{}\n{maps}", job.top, job.restore);
    Digest::sha256_of(text.as_bytes()).hex().to_owned()
}

/// The uppermost layer that the clone in `folder` shows; `None` when its record is damaged.
pub(super) fn top(folder: &Path) -> Option<Digest> {
    let bytes = files::read(&folder.join("clone.json"), 64 << 10).ok()?;
    Some(serde_json::from_slice::<CloneInfo>(&bytes).ok()?.top)
}

fn open_or_make(job: &Job<'_>) -> Result<OwnedFd> {
    let path = job.store.dir().join("clones").join(key(job));
    match at::open_host_dir(&path.join("tree")) {
        Err(e) if e.errno == libc::ENOENT => {}
        other => return Ok(other?),
    }
    let staged = job.store.staging.dir()?;
    at::mkdir(staged.as_fd(), b"tree", 0o700)?;
    let tree = at::open_dir(staged.as_fd(), b"tree")?;
    replicate(
        &job.layers,
        tree.as_fd(),
        job.view,
        Data::Refer,
        job.tables()?.as_deref(),
    )
    .what(|| "cannot prepare the image for the container's user namespace")?;
    let info = CloneInfo {
        version: 1,
        top: job.top.clone(),
    };
    let record = serde_json::to_vec(&info).what(|| "cannot write a record")?;
    std::fs::write(staged.path().join("clone.json"), record).what(|| "cannot write a record")?;
    // Flushed: a power cut must not leave a clone with holes under its final name.
    failpoint("clone::publish")?;
    files::create_private_dir_all(&job.store.dir().join("clones"))?;
    at::syncfs(staged.as_fd())?;
    match staged.publish(&path) {
        Err(e) if !matches!(e.errno(), Some(libc::EEXIST | libc::ENOTEMPTY)) => Err(e),
        _ => Ok(at::open_host_dir(&path.join("tree"))?),
    }
}
