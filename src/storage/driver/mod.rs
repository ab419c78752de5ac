//! The ways to make a root file system out of layers, behind one trait, and the choice among them.
//!
//! Order: the kernel's overlay; the kernel's overlay over a metadata clone, where a container sees
//! other owners; our own overlay by FUSE; a whole copy. The first three share one form on disk, so
//! a container may be started by another one each time; one that began as a copy stays one.

mod clone;
mod copy;
mod fuse;
pub(super) mod overlay;
pub(super) mod probe;
mod replica;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use self::probe::Probe;
use super::owners::{self, Table};
use super::rootfs::{Mode, View};
use super::store::{Choice, Store};
use crate::base::{Context as _, Error, Hint as _, Kind, Result};
use crate::spec::digest::Digest;
use crate::sys::at;

/// How long a mount waits for one that is just being taken down.
const PATIENCE: Duration = Duration::from_secs(1);

/// Name of the copy driver's tree in a container's folder.
pub(super) const COPY_DIR: &str = "rootfs";

/// What a driver mounts.
pub(super) struct Job<'a> {
    pub(super) store: &'a Store,
    /// Chain id of the uppermost layer.
    pub(super) top: &'a Digest,
    /// The layers' trees, top first.
    pub(super) layers: Vec<OwnedFd>,
    /// Where `upper` and `work` are; none for a read-only mount.
    pub(super) folder: Option<&'a Path>,
    pub(super) view: &'a View,
    pub(super) mode: Mode,
    /// See [`super::rootfs::RootfsRequest::points`].
    pub(super) points: bool,
    /// Owners come out of attributes: the layers were unpacked with one id, and now there are more.
    pub(super) restore: bool,
    pub(super) probe: &'a Probe,
    /// The layers that are not all here, top first; empty when all are.
    pub(super) lazy: Vec<Option<Digest>>,
}

impl Job<'_> {
    /// The owners of links, one table a layer, top first; `None` when files say their owners.
    fn tables(&self) -> Result<Option<Vec<Table>>> {
        if !self.restore {
            return Ok(None);
        }
        let layers = self.store.layers();
        let chain = layers.chain(self.top)?;
        chain
            .iter()
            .map(|layer| owners::read(&layers.folder(&layer.chain_id)))
            .collect::<Result<_>>()
            .map(Some)
    }
}

/// Takes the lock that says "this writable layer is mounted".
fn lock(fd: BorrowedFd<'_>, folder: &Path) -> Result<()> {
    use rustix::fs::FlockOperation;
    let until = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                crate::sys::process::pause(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::new(
                    Kind::InUse,
                    format!("the root file system in {} is in use", folder.display()),
                )
                .hint("another command works on this container: try again when it is done"));
            }
            Err(e) => {
                return Err(crate::sys::Error::new(
                    "flock",
                    folder.display().to_string(),
                    e.raw_os_error(),
                )
                .into());
            }
        }
    }
}

/// What a driver gives.
pub(super) struct Mounted {
    pub(super) tree: OwnedFd,
    pub(super) lock: Option<OwnedFd>,
    pub(super) notice: Option<String>,
}

/// One way.
pub(super) trait Driver {
    /// Its name, for records and `info`.
    fn name(&self) -> &'static str;
    /// Why it does not work here, or not for this job.
    fn refuses(&self, job: &Job<'_>) -> Option<String>;
    /// Mounts.
    fn mount(&self, job: &Job<'_>) -> Result<Mounted>;
}

/// Mounts with the first driver that takes the job.
pub(super) fn mount(job: &Job<'_>) -> Result<(Mounted, &'static str)> {
    let begun_as_copy = job
        .folder
        .is_some_and(|folder| folder.join(COPY_DIR).exists());
    let drivers: &[&dyn Driver] = match job.store.choice {
        None | Some(Choice::Fuse) if !job.lazy.is_empty() && !begun_as_copy => &[&fuse::Fuse],
        _ if !job.lazy.is_empty() => {
            return Err(Error::unsupported(
                "the image is not all here yet, and only the driver fuse shows it so",
            )
            .hint("pull it whole first: coracle pull IMAGE"));
        }
        _ if begun_as_copy => &[&copy::Copy],
        Some(Choice::Copy) => &[&copy::Copy],
        Some(Choice::Overlay) => &[&overlay::Overlay, &clone::Clone],
        Some(Choice::Fuse) => &[&fuse::Fuse],
        Some(Choice::FuseMetadata) => &[&fuse::Metadata],
        None => &[&overlay::Overlay, &clone::Clone, &fuse::Fuse, &copy::Copy],
    };
    let mut reasons = Vec::new();
    for driver in drivers {
        match driver.refuses(job) {
            Some(reason) => reasons.push(format!("{}: {reason}", driver.name())),
            None => return Ok((driver.mount(job)?, driver.name())),
        }
    }
    Err(Error::unsupported(format!(
        "the storage driver does not work here ({})",
        reasons.join("; ")
    )))
    .hint(|| "leave out --storage-driver: coracle then takes the first one that works")
}

/// The owner of a file on disk for one in the image.
pub(super) fn shifted(view: &View, uid: u32, gid: u32) -> Result<(u32, u32)> {
    use crate::spec::idmap::to_host;
    match view {
        View::Same => Ok((uid, gid)),
        View::Shifted(maps) => match (to_host(&maps.uids, uid), to_host(&maps.gids, gid)) {
            (Some(uid), Some(gid)) => Ok((uid, gid)),
            _ => Err(Error::invalid(format!(
                "the image has files of {uid}:{gid}, which the container's user namespace does \
                 not map"
            ))
            .hint("give the namespace more ids, e.g. --userns auto:size=65536")),
        },
    }
}

/// Opens `name` in a container's folder, making it first; `true` when it was made now.
fn open_or_make(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<(OwnedFd, bool)> {
    match at::mkdir(dir, name, mode) {
        Ok(()) => Ok((at::open_dir(dir, name)?, true)),
        Err(e) if e.errno == libc::EEXIST => Ok((at::open_dir(dir, name)?, false)),
        Err(e) => Err(e).what(|| "cannot make the writable layer"),
    }
}

/// Copies a folder with all that is in it into the empty folder `out`: content, owners, modes,
/// times, links and attributes.
pub(super) fn copy_tree(source: OwnedFd, out: BorrowedFd<'_>, view: &View) -> Result<()> {
    replica::replicate(&[source], out, view, replica::Data::Copy, None)
}

/// The uppermost layer of the metadata clone in `folder`; `None` when it is damaged.
pub(super) fn clone_top(folder: &Path) -> Option<Digest> {
    clone::top(folder)
}

#[cfg(test)]
pub(super) mod tests;
