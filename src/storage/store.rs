//! The store as a whole: its folders and its driver.

use std::path::{Path, PathBuf};

use super::blob::Blobs;
use super::layer::Layers;
use super::staging::Staging;
use crate::base::{Error, Result};
use crate::config::dirs::Dirs;

/// The store of this user. Opening it reads and makes nothing.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) dir: PathBuf,
    pub(super) staging: Staging,
    pub(super) choice: Option<Choice>,
    blobs: Blobs,
    layers: Layers,
}

/// `--storage-driver`, or `driver` of storage.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Overlay,
    Fuse,
    FuseMetadata,
    Copy,
}

impl Store {
    /// The store below `dirs`. `choice` is the driver asked for: `overlay`, `fuse` (our own overlay),
    /// `fuse-metadata` (the kernel's overlay over ours, which shows no content), or `copy` (podman's
    /// `vfs`); without one the best that works here is found at the first mount.
    ///
    /// # Errors
    /// `Invalid` for a driver that does not exist.
    pub fn open(dirs: &Dirs, choice: Option<&str>) -> Result<Self> {
        let choice = match choice {
            None | Some("") => None,
            Some("overlay" | "overlay2") => Some(Choice::Overlay),
            Some("fuse" | "fuse-overlayfs") => Some(Choice::Fuse),
            Some("fuse-metadata") => Some(Choice::FuseMetadata),
            Some("copy" | "vfs") => Some(Choice::Copy),
            Some(other) => {
                return Err(Error::invalid(format!("unknown storage driver {other:?}"))
                    .hint("coracle has the drivers overlay, fuse, fuse-metadata and copy"));
            }
        };
        let dir = dirs.store();
        let staging = Staging::new(&dir);
        Ok(Self {
            blobs: Blobs::new(dirs, staging.clone()),
            layers: Layers::new(dirs, staging.clone()),
            staging,
            choice,
            dir,
        })
    }

    /// The store's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The layers.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }
}
