//! Root file systems as detached mounts.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use super::store::Store;
use crate::base::{Error, Result};
use crate::spec::digest::Digest;
use crate::spec::idmap::IdMaps;

/// How a container sees owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// As the store has them: the caller's default map.
    #[default]
    Same,
    /// Through maps of its own, relative to the caller's user namespace: `container_id` inside,
    /// `host_id` in the namespace we run in.
    Shifted(IdMaps),
}

/// What happens to writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They stay with the container.
    Persistent,
    /// As `Persistent`, but the container goes with `--rm`: nothing is kept for a power cut.
    Ephemeral,
    /// There are none; the container's folder is not touched.
    ReadOnly,
}

/// Which root file system.
#[derive(Clone, Copy, Debug)]
pub struct RootfsRequest<'a> {
    /// Chain ids, bottom first.
    pub layers: &'a [Digest],
    /// `containers/<id>`: where `upper` and `work` are.
    pub container_dir: &'a Path,
    /// How owners are seen.
    pub view: &'a View,
    /// What happens to writes.
    pub mode: Mode,
}

/// A mounted root file system.
#[derive(Debug)]
pub struct Rootfs {
    /// The detached mount.
    pub tree: OwnedFd,
    /// The driver that made it, for the record.
    pub driver: &'static str,
    /// Keep it open while the mount lives: it says that the writable layer is taken.
    pub lock: Option<OwnedFd>,
    /// Something to tell the person, e.g. that the last run ended in a power cut.
    pub notice: Option<String>,
}

/// Where the writes of a throw-away overlay go.
#[derive(Clone, Copy, Debug)]
pub enum Scratch<'a> {
    /// To `upper` and `work` below this folder, which is made; remove it afterwards with
    /// [`Store::discard`].
    Folder(&'a Path),
    /// To folders of the person's (`upperdir=`, `workdir=`), which must be there and are kept.
    Given {
        /// Where changes are kept.
        upper: &'a Path,
        /// The kernel's own, on the same file system.
        work: &'a Path,
    },
}

impl Store {
    /// Mounts the root file system of a container. The fastest driver that works is used, but a
    /// container stays with the driver that it has begun with.
    ///
    /// # Errors
    /// `InUse` when it is mounted already; `NotFound` when a layer is missing; `Unsupported` when
    /// the chosen driver does not work here, with the reason.
    pub fn mount(&self, request: &RootfsRequest<'_>) -> Result<Rootfs> {
        let _ = request;
        Err(Error::unsupported("root file systems are not built in yet"))
    }

    /// `--rootfs DIR`: the folder itself, as a detached recursive bind mount.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` when it is no folder.
    pub fn mount_directory(&self, dir: &Path) -> Result<Rootfs> {
        let _ = dir;
        Err(Error::unsupported("root file systems are not built in yet"))
    }

    /// `--rootfs DIR:O` and `-v DIR:/x:O`: an overlay over the folder behind `lower`.
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` without a kernel overlay.
    pub fn mount_over(&self, lower: BorrowedFd<'_>, scratch: Scratch<'_>) -> Result<Rootfs> {
        let _ = (lower, scratch);
        Err(Error::unsupported("root file systems are not built in yet"))
    }

    /// `--mount type=image`: the layers of an image, read-only, or writable with a scratch folder
    /// that is thrown away.
    ///
    /// # Errors
    /// As [`Store::mount`].
    pub fn mount_image(
        &self,
        layers: &[Digest],
        view: &View,
        scratch: Option<&Path>,
    ) -> Result<Rootfs> {
        let _ = (layers, view, scratch);
        Err(Error::unsupported("root file systems are not built in yet"))
    }

    /// Moves a folder of ours (a container's, a scratch folder) out of sight at once; its files go
    /// with the next [`Store::empty_trash`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn discard(&self, dir: &Path) -> Result<()> {
        self.staging.discard(dir)
    }

    /// Deletes what was discarded: after the exit status is delivered, in a process nobody waits
    /// for.
    ///
    /// # Errors
    /// The first failure.
    pub fn empty_trash(&self) -> Result<()> {
        self.staging.empty_trash()
    }
}
