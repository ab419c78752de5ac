//! Sources of mounts: host paths, volumes, overlays and images, as descriptors for the launcher.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Kit;
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::runtime::generate::Origin;
use crate::runtime::launch::PreparedMount;
use crate::spec::runtime::Mount;
use crate::storage::rootfs::{Rootfs, Scratch};
use crate::storage::volume::Volumes;
use crate::sys::{Call as _, mount, namespace, resolve};

/// What came out: one for each of the mounts, and what must stay open while the container runs.
#[derive(Default)]
pub(super) struct Sources {
    pub mounts: Vec<Option<PreparedMount>>,
    pub held: Vec<OwnedFd>,
}

impl Sources {
    fn keep(&mut self, rootfs: Rootfs) -> PreparedMount {
        self.held.extend(rootfs.lock);
        PreparedMount::Tree(rootfs.tree)
    }
}

/// The folder for throw-away upper layers of mounts; gone with the run.
pub(super) fn scratch_dir(container_dir: &Path) -> std::path::PathBuf {
    container_dir.join("scratch")
}

/// Opens the `/dev/shm` that a joined IPC namespace belongs to. Goes through that container's mount
/// namespace and back, so it must happen before this process starts a thread.
///
/// # Errors
/// What the kernel says.
pub(super) fn shared_shm(pid: i32) -> Result<OwnedFd> {
    let what = || "cannot open /dev/shm of the container whose IPC namespace is joined";
    let here = namespace::own(namespace::Kind::Mount).what(what)?;
    let cwd = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call("open", || ".".to_owned())
        .what(what)?;
    let there = namespace::open_path(&format!("/proc/{pid}/ns/mnt")).what(what)?;
    namespace::join(&there, namespace::Kind::Mount.flag()).what(what)?;
    let tree = mount::clone_path(c"/dev/shm", false);
    namespace::join(&here, namespace::Kind::Mount.flag()).what(what)?;
    rustix::process::fchdir(&cwd)
        .call("fchdir", String::new)
        .what(what)?;
    tree.what(what)
}

/// Prepares every mount that needs more than the launcher can do itself.
///
/// # Errors
/// `NotFound` for missing host paths, volumes, images; what storage says.
pub(super) fn prepare(
    kit: &Kit<'_>,
    root: &OwnedFd,
    owner: (u32, u32),
    mounts: &[Mount],
    origins: &[Origin],
    shm: &mut Option<OwnedFd>,
) -> Result<Sources> {
    let mut sources = Sources::default();
    let volumes = Volumes::new(&kit.session.dirs);
    for (index, (mount, origin)) in mounts.iter().zip(origins).enumerate() {
        let prepared = one(
            kit,
            root,
            owner,
            &volumes,
            index,
            mount,
            origin,
            shm,
            &mut sources,
        )
        .what(|| format!("cannot prepare the mount {:?}", mount.destination))?;
        sources.mounts.push(prepared);
    }
    Ok(sources)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the loop's body; a struct of borrows would only rename them"
)]
fn one(
    kit: &Kit<'_>,
    root: &OwnedFd,
    owner: (u32, u32),
    volumes: &Volumes,
    index: usize,
    mount: &Mount,
    origin: &Origin,
    shm: &mut Option<OwnedFd>,
    sources: &mut Sources,
) -> Result<Option<PreparedMount>> {
    Ok(match origin {
        Origin::Plain => None,
        Origin::Device => {
            let path = mount.source.as_deref().unwrap_or_default();
            Some(PreparedMount::Source(open_host(Path::new(path))?))
        }
        Origin::Host { create, chown } => {
            let path = Path::new(mount.source.as_deref().unwrap_or_default());
            let fd = match open_host(path) {
                Err(e) if *create && e.errno() == Some(libc::ENOENT) => {
                    fs::create_dir_all(path)
                        .what(|| format!("cannot create directory {}", path.display()))?;
                    open_host(path)?
                }
                other => other.hint(|| {
                    "the path must be there on the host; -v with a missing directory: create it first"
                })?,
            };
            if *chown {
                super::chown::tree(&fd, owner)?;
            }
            Some(PreparedMount::Source(fd))
        }
        Origin::Volume {
            name,
            nocopy,
            subpath,
            chown,
        } => {
            let record = volumes.get(name)?.ok_or_else(|| {
                Error::not_found(format!("no such volume: {name:?}"))
                    .hint("it was removed by force: create it again, or remove the container")
            })?;
            if !nocopy {
                volumes.copy_up(&record, root.as_fd(), &mount.destination)?;
            }
            let mounted = volumes.mount(&record, subpath.as_deref())?;
            if *chown {
                super::chown::tree(&mounted.tree, owner)?;
            }
            sources.held.extend(mounted.lock);
            Some(PreparedMount::Tree(mounted.tree))
        }
        Origin::Overlay {
            path,
            upper,
            work,
            chown,
        } => {
            let lower = open_host(path)?;
            let rootfs = match (upper, work) {
                (Some(upper), Some(work)) => kit
                    .store
                    .mount_over(lower.as_fd(), Scratch::Given { upper, work })?,
                (None, None) => {
                    let scratch = scratch_dir(kit.container.dir()).join(index.to_string());
                    kit.store
                        .mount_over(lower.as_fd(), Scratch::Folder(&scratch))?
                }
                _ => {
                    return Err(Error::invalid(
                        "an overlay mount needs upperdir= and workdir= together",
                    ));
                }
            };
            let tree = sources.keep(rootfs);
            if *chown && let PreparedMount::Tree(tree) = &tree {
                super::chown::tree(tree, owner)?;
            }
            Some(tree)
        }
        Origin::Image {
            image,
            writable,
            subpath,
        } => {
            let found = crate::operations::image::lookup(kit.session, image)?;
            let scratch = scratch_dir(kit.container.dir()).join(index.to_string());
            let rootfs = kit.store.mount_image(
                &found.record.chain(),
                &kit.view,
                writable.then_some(scratch.as_path()),
            )?;
            let tree = sources.keep(rootfs);
            match (subpath, tree) {
                (Some(subpath), PreparedMount::Tree(tree)) => {
                    let inner = resolve::handle(&tree, subpath)
                        .what(|| format!("cannot find {subpath:?} in the image"))?;
                    let part = mount::clone_fd(&inner, true)
                        .what(|| format!("cannot mount {subpath:?} of the image"))?;
                    sources.held.push(tree);
                    Some(PreparedMount::Tree(part))
                }
                (_, tree) => Some(tree),
            }
        }
        Origin::Tmpfs { copy_up, chown } => {
            let tree = super::copyup::tmpfs(root, mount, *copy_up)?;
            if *chown {
                super::chown::tree(&tree, owner)?;
            }
            Some(PreparedMount::Tree(tree))
        }
        Origin::SharedShm => Some(PreparedMount::Tree(shm.take().ok_or_else(|| {
            Error::internal("no /dev/shm was opened for a shared IPC namespace")
        })?)),
    })
}

/// Opens a host path as the person named it: links are followed, that is the person's business.
fn open_host(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call("open", || path.display().to_string())
        .what(|| format!("cannot open {}", path.display()))
}
