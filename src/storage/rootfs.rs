//! Root file systems as detached mounts.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::driver::overlay::{Stack, raw};
use super::driver::probe::{forget, probe};
use super::driver::{self, Job};
use super::store::{Choice, Store};
use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::digest::Digest;
use crate::spec::idmap::IdMaps;
use crate::sys::at;
use crate::sys::mount;

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

impl View {
    /// Whether every mapped id is itself.
    pub fn is_identity(&self) -> bool {
        match self {
            Self::Same => true,
            Self::Shifted(maps) => maps
                .uids
                .iter()
                .chain(&maps.gids)
                .all(|m| m.container_id == m.host_id),
        }
    }
}

/// What works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverReport {
    /// The driver in use: `overlay`, `fuse` or `copy`.
    pub driver: &'static str,
    /// Why the kernel's overlay does not work.
    pub overlay: Option<String>,
    /// Why our own overlay does not work.
    pub fuse: Option<String>,
    /// Why metadata clones (`--userns=keep-id` without copying) do not work.
    pub data_only: Option<String>,
    /// Whether overlay mounts end without flushing the disk.
    pub volatile: bool,
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
    /// Whether files are bound to all of [`POINTS`], so that the mount points may come from below
    /// the image: made in the writable layer they would cost a copy of `/etc` and a file each.
    pub points: bool,
}

/// The files that every container has bound over, as a rule.
pub const POINTS: [&str; 4] = [
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "run/.containerenv",
];

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
        self.mount_in(
            request.layers,
            Some(request.container_dir),
            request.view,
            request.mode,
            request.points,
        )
    }

    fn mount_in(
        &self,
        layers: &[Digest],
        folder: Option<&Path>,
        view: &View,
        mode: Mode,
        points: bool,
    ) -> Result<Rootfs> {
        let Some(top) = layers.last() else {
            return Err(Error::invalid("the image has no layers"));
        };
        // Identity maps are the store's own view.
        let view = if view.is_identity() {
            &View::Same
        } else {
            view
        };
        let found = probe(self)?;
        let mut lazy = Vec::new();
        if layers.iter().any(|chain| self.layers().is_lazy(chain)) {
            let of = |chain: &Digest| self.layers().is_lazy(chain).then(|| chain.clone());
            lazy.extend(layers.iter().rev().map(of));
        }
        let job = |probe| -> Result<Job<'_>> {
            Ok(Job {
                store: self,
                top,
                lazy: lazy.clone(),
                layers: layers
                    .iter()
                    .rev()
                    .map(|chain| self.layers().open_tree(chain))
                    .collect::<Result<Vec<_>>>()?,
                folder,
                view,
                mode,
                points,
                restore: self.layers().need_owners(top)?,
                probe,
            })
        };
        let (mounted, driver) = match driver::mount(&job(&found)?) {
            // What an earlier boot found is no longer so.
            Err(e) if found.is_older() && e.kind() != Kind::InUse => {
                log::info!("{}", e.one_line());
                forget(self)?;
                driver::mount(&job(&probe(self)?)?)?
            }
            other => other?,
        };
        Ok(Rootfs {
            tree: mounted.tree,
            driver,
            lock: mounted.lock,
            notice: mounted.notice,
        })
    }

    /// Which driver containers with the store's own owners get here, and what does not work:
    /// for `info` and `doctor`. Call it inside the user namespace.
    ///
    /// # Errors
    /// What the kernel says about the store's folder itself.
    pub fn driver_report(&self) -> Result<DriverReport> {
        let probe = probe(self)?;
        let driver = match self.choice {
            Some(Choice::Copy) => "copy",
            Some(Choice::Fuse) => "fuse",
            Some(Choice::FuseMetadata) => "fuse-metadata",
            Some(Choice::Overlay) => "overlay",
            None if probe.overlay.is_some() => "overlay",
            None if probe.fuse => "fuse",
            None => "copy",
        };
        Ok(DriverReport {
            driver,
            fuse: (!probe.fuse).then_some(probe.why_fuse),
            overlay: probe.overlay.is_none().then_some(probe.why),
            data_only: (!probe.data_only).then_some(probe.why_data),
            volatile: probe.volatile,
        })
    }

    /// After a clean stop, when the mount is gone: its writes need no warning after a reboot.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn settle(&self, container_dir: &Path) -> Result<()> {
        driver::overlay::settle(container_dir)
    }

    /// `--rootfs DIR`: the folder itself, as a detached recursive bind mount.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` when it is no folder.
    pub fn mount_directory(&self, dir: &Path) -> Result<Rootfs> {
        let fd = at::open_host_dir(dir).what(|| format!("cannot open {}", dir.display()))?;
        let tree = mount::clone_fd(&fd, true)
            .what(|| format!("cannot use {} as root file system", dir.display()))?;
        Ok(Rootfs {
            tree,
            driver: "directory",
            lock: None,
            notice: None,
        })
    }

    /// `--rootfs DIR:O` and `-v DIR:/x:O`: an overlay over the folder behind `lower`.
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` without a kernel overlay.
    pub fn mount_over(&self, lower: BorrowedFd<'_>, scratch: Scratch<'_>) -> Result<Rootfs> {
        let probe = probe(self)?;
        let Some(form) = probe.overlay else {
            return Err(Error::unsupported(format!(
                "the kernel's overlay does not work here: {}",
                probe.why
            )));
        };
        let what = |path: &Path| format!("cannot open {}", path.display());
        let (upper, work, volatile) = match scratch {
            Scratch::Folder(folder) => {
                files::create_private_dir_all(folder)?;
                let dir = at::open_host_dir(folder).what(|| what(folder))?;
                let meta = at::fstat(lower)?;
                let mut pair = Vec::new();
                for name in [&b"upper"[..], b"work"] {
                    match at::mkdir(dir.as_fd(), name, 0o755) {
                        Err(e) if e.errno != libc::EEXIST => return Err(e.into()),
                        _ => pair.push(at::open_dir(dir.as_fd(), name)?),
                    }
                }
                let (Some(work), Some(upper)) = (pair.pop(), pair.pop()) else {
                    return Err(Error::internal("no scratch folders"));
                };
                // In single-id mode the owner may be nobody we know: the caller's then.
                match at::fchown(upper.as_fd(), meta.uid, meta.gid) {
                    Err(e) if e.errno != libc::EINVAL => return Err(e.into()),
                    _ => {}
                }
                at::fchmod(upper.as_fd(), meta.permissions())?;
                (upper, work, probe.volatile)
            }
            Scratch::Given { upper, work } => (
                at::open_host_dir(upper).what(|| what(upper))?,
                at::open_host_dir(work).what(|| what(work))?,
                false,
            ),
        };
        driver::overlay::settle_work(work.as_fd())?;
        let empty = [lower];
        let stack = Stack {
            lowers: &empty,
            data: &[],
            upper: Some((upper.as_fd(), work.as_fd())),
            volatile,
        };
        let tree = raw(form, &stack, self.dir()).what(|| "cannot mount the overlay")?;
        Ok(Rootfs {
            tree,
            driver: "overlay",
            lock: Some(work),
            notice: None,
        })
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
        match scratch {
            Some(folder) => {
                files::create_private_dir_all(folder)?;
                self.mount_in(layers, Some(folder), view, Mode::Ephemeral, false)
            }
            None => self.mount_in(layers, None, view, Mode::ReadOnly, false),
        }
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
