//! Our own overlay (`crate::overlay`), served by a process for each mount: in full, or the names
//! and owners only, below the kernel's overlay.

use std::os::fd::{AsFd as _, OwnedFd};

use super::overlay::{Writable, assemble};
use super::{Driver, Job, Mounted};
use crate::base::{Context as _, Result};
use crate::handoff::fuse::{self, Descriptors, Lazy, Settings};
use crate::overlay;
use crate::spec::digest::hex;
use crate::storage::rootfs::{Mode, View};

/// All by FUSE: where the kernel's overlay does not work, or cannot show the owners.
pub(super) struct Fuse;

impl Driver for Fuse {
    fn name(&self) -> &'static str {
        "fuse"
    }

    fn refuses(&self, job: &Job<'_>) -> Option<String> {
        (!job.probe.fuse).then(|| job.probe.why_fuse.clone())
    }

    fn mount(&self, job: &Job<'_>) -> Result<Mounted> {
        let lowers = copies(&job.layers)?;
        let settings = settings(job, false)?;
        let folder = job.folder.filter(|_| job.mode != Mode::ReadOnly);
        let (upper, lock, notice) = match folder {
            Some(folder) => {
                let writable = Writable::open(folder, job)?;
                let lock = writable.work;
                let work = duplicate(&lock)?;
                (Some((writable.upper, work)), Some(lock), writable.notice)
            }
            None => (None, None, None),
        };
        let tree = serve(settings, lowers, upper)?;
        Ok(Mounted { tree, lock, notice })
    }
}

/// Names and owners by FUSE, content by the kernel's overlay from the layers themselves: where the
/// container sees other owners, at once and at the kernel's speed.
pub(super) struct Metadata;

impl Driver for Metadata {
    fn name(&self) -> &'static str {
        "fuse-metadata"
    }

    fn refuses(&self, job: &Job<'_>) -> Option<String> {
        if !job.probe.fuse {
            return Some(job.probe.why_fuse.clone());
        }
        (!job.probe.data_only).then(|| job.probe.why_data.clone())
    }

    fn mount(&self, job: &Job<'_>) -> Result<Mounted> {
        let names = serve(settings(job, true)?, copies(&job.layers)?, None)?;
        let data: Vec<_> = job.layers.iter().map(|layer| layer.as_fd()).collect();
        assemble(job, &[names.as_fd()], &data)
    }
}

fn serve(
    settings: Settings,
    lowers: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
) -> Result<OwnedFd> {
    let (device, tree) = overlay::mount(upper.is_none())?;
    let descriptors = Descriptors {
        device,
        lowers,
        upper,
    };
    fuse::start(settings, descriptors)?;
    overlay::enter(tree)
}

fn settings(job: &Job<'_>, metadata_only: bool) -> Result<Settings> {
    let restore = job.tables()?.map(|tables| {
        tables
            .into_iter()
            .map(|table| {
                let line = |(path, owner): (Vec<u8>, crate::spec::ondisk::TrueOwner)| {
                    (hex(&path), owner.render())
                };
                table.into_iter().map(line).collect()
            })
            .collect()
    });
    Ok(Settings {
        maps: match job.view {
            View::Same => None,
            View::Shifted(maps) => Some(maps.clone()),
        },
        restore,
        squash: !job.probe.gives,
        volatile: job.mode == Mode::Ephemeral,
        metadata_only,
        lazy: (!job.lazy.is_empty()).then(|| Lazy {
            store: job.store.dir().to_owned(),
            layers: job.lazy.clone(),
        }),
    })
}

fn copies(layers: &[OwnedFd]) -> Result<Vec<OwnedFd>> {
    layers.iter().map(duplicate).collect()
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().what(|| "cannot duplicate a descriptor")
}
