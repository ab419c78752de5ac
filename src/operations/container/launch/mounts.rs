//! Sources of mounts: host paths, volumes, overlays and images, as descriptors for the launcher.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Kit;
use crate::base::{Context as _, Error, Hint as _, Result};
use crate::runtime::generate::{self, Generated, Origin};
use crate::runtime::launch::PreparedMount;
use crate::runtime::nested::{self, Owns};
use crate::spec::idmap::IdMaps;
use crate::spec::runtime::Mount;
use crate::state::options::ContainerOptions;
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

/// User namespaces with the maps that mounts ask for, each once. They are forks, so this process
/// must have one thread.
///
/// # Errors
/// `Invalid` for a map that cannot be had.
pub(super) fn idmaps(
    options: &ContainerOptions,
    nested: Option<&IdMaps>,
) -> Result<Vec<(IdMaps, OwnedFd)>> {
    let mut made: Vec<(IdMaps, OwnedFd)> = Vec::new();
    for mount in &options.mounts {
        let what = || format!("cannot prepare the mount {:?}", mount.destination);
        let Some(maps) = generate::idmap_of(&mount.options, nested).what(what)? else {
            continue;
        };
        if !made.iter().any(|(m, _)| *m == maps) {
            let userns = nested::create(&maps, Owns::default()).what(what)?.userns;
            made.push((maps, userns));
        }
    }
    Ok(made)
}

/// Makes a source show its owners through the map that the mount has.
fn mapped(
    prepared: Option<PreparedMount>,
    mount: &Mount,
    idmaps: &[(IdMaps, OwnedFd)],
) -> Result<Option<PreparedMount>> {
    let wanted =
        |(m, _): &&(IdMaps, OwnedFd)| m.uids == mount.uid_mappings && m.gids == mount.gid_mappings;
    let recursive = mount.options.iter().any(|o| o == "rbind");
    let tree = match (idmaps.iter().find(wanted), prepared) {
        (None, prepared) => return Ok(prepared),
        (Some(_), None) => return Ok(None),
        (Some(map), Some(PreparedMount::Tree(tree))) => (map, tree),
        (Some(map), Some(PreparedMount::Source(source))) => (
            map,
            mount::clone_fd(&source, recursive).what(|| "cannot bind the source")?,
        ),
    };
    let ((_, userns), tree) = tree;
    match mount::set_idmap(&tree, userns.as_fd(), false) {
        Ok(()) => Ok(Some(PreparedMount::Tree(tree))),
        Err(e) if e.errno == libc::EPERM => Err(e)
            .what(|| "idmap: its file system was mounted by the host, so only root there may map it")
            .hint(|| {
                "use --userns=keep-id, or `:U` to give the files to the container's user, or a volume with --opt type=tmpfs"
            }),
        Err(e) if e.errno == libc::EINVAL => Err(e)
            .what(|| "idmap: its file system cannot be mapped, or is mapped already")
            .hint(|| "`:U` gives the files to the container's user instead"),
        Err(e) => Err(e).what(|| "cannot map the ids"),
    }
}

/// Makes links inside of sources that are links and shall not be followed; they are no mounts then.
///
/// # Errors
/// `NotFound` without the source; `Invalid` where the image has something else in that place.
pub(super) fn links(root: &OwnedFd, generated: &mut Generated) -> Result<()> {
    let mut at = 0;
    while let (Some(origin), Some(mount)) =
        (generated.origins.get(at), generated.spec.mounts.get(at))
    {
        let link = match origin {
            Origin::Host { follow: false, .. } => link_of(mount)?,
            _ => None,
        };
        let Some(target) = link else {
            at += 1;
            continue;
        };
        let below = |other: &Mount| Path::new(&mount.destination).starts_with(&other.destination);
        if let Some(over) = generated
            .spec
            .mounts
            .get(..at)
            .and_then(|all| all.iter().rfind(|m| below(m)))
        {
            return Err(Error::unsupported(format!(
                "cannot make the link {:?}: {:?} is a mount of its own",
                mount.destination, over.destination
            ))
            .hint("bind what the link leads to, without no-dereference"));
        }
        make_link(root, &target, &mount.destination)
            .what(|| format!("cannot make the link {:?}", mount.destination))?;
        generated.origins.remove(at);
        generated.spec.mounts.remove(at);
    }
    Ok(())
}

/// Where a source leads to, if it is a link.
fn link_of(mount: &Mount) -> Result<Option<PathBuf>> {
    let source = mount.source.as_deref().unwrap_or_default();
    match fs::read_link(source) {
        Ok(target) => Ok(Some(target)),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(e) => Err(e).what(|| format!("cannot mount {source}")),
    }
}

fn make_link(root: &OwnedFd, target: &Path, destination: &str) -> Result<()> {
    let (dir, name) = destination.rsplit_once('/').unwrap_or(("", destination));
    let dir = match dir {
        "" => root
            .try_clone()
            .what(|| "cannot open the root file system")?,
        dir => resolve::mkdir_all(root, dir, resolve::Make::default())?,
    };
    match rustix::fs::symlinkat(target, &dir, name) {
        Err(rustix::io::Errno::EXIST) => {
            let there = rustix::fs::readlinkat(&dir, name, Vec::new());
            if there.is_ok_and(|t| t.as_bytes() == target.as_os_str().as_bytes()) {
                return Ok(());
            }
            Err(Error::invalid(format!(
                "the image has another file at {destination}"
            )))
        }
        other => Ok(other.call("symlinkat", || destination.to_owned())?),
    }
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
    idmaps: &[(IdMaps, OwnedFd)],
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
        .and_then(|prepared| mapped(prepared, mount, idmaps))
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
            let device = open_host(Path::new(path))
                .hint(|| "the device must be there on the host: `ls /dev` shows them")?;
            Some(PreparedMount::Source(device))
        }
        Origin::Host { create, chown, .. } => {
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
