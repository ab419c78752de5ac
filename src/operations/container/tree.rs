//! The file tree of a container, running or not: `diff`, `export`, and the roots that `cp` works on.

use std::io::Write;
use std::os::fd::{AsFd as _, OwnedFd};

use super::create::image_of;
use super::exec::{nested_maps, running_root};
use super::{events, look};
use crate::base::{Context as _, Error, Result};
use crate::image::ImageRecord;
use crate::operations::session::Session;
use crate::runtime::userns::{Want, enter};
use crate::spec::digest::Digest;
use crate::spec::idmap::IdMaps;
use crate::state::container::{Container, State};
use crate::storage::rootfs::{Mode, RootfsRequest, View};
use crate::storage::snapshot::{Change, Snapshot, is_runtime_path};
use crate::storage::{Rootfs, Store};

/// A container's files as its own processes see them, or would.
pub(super) struct Tree {
    /// The root.
    pub root: OwnedFd,
    /// How owners are seen.
    pub view: View,
    /// Whether what is mounted below the root (volumes, binds) shows in it.
    pub with_mounts: bool,
    _rootfs: Option<Rootfs>,
}

/// Opens a container's tree. Enters the user namespace.
///
/// # Errors
/// `InUse` when it is just being started; what storage says.
pub(super) fn open(session: &Session, container: &Container) -> Result<Tree> {
    let state = container.state()?;
    let view = view(session, container)?;
    if matches!(state, State::Running | State::Paused) {
        let (_, root) = running_root(session, container)?;
        return Ok(Tree {
            root,
            view,
            with_mounts: true,
            _rootfs: None,
        });
    }
    enter(&session.dirs, Want::Default)?;
    let store = store(session)?;
    let options = &container.record.options;
    let mut rootfs = match (&options.rootfs, image_of(session, container)?) {
        (Some(rootfs), _) => store.mount_directory(&rootfs.path)?,
        (None, Some(image)) => store.mount(&RootfsRequest {
            layers: &image.chain(),
            container_dir: container.dir(),
            view: &view,
            mode: Mode::Persistent,
            points: false,
        })?,
        (None, None) => {
            return Err(Error::internal("a container with neither image nor rootfs"));
        }
    };
    let root = rootfs
        .tree
        .try_clone()
        .what(|| "cannot duplicate a descriptor")?;
    rootfs.notice = None;
    Ok(Tree {
        root,
        view,
        with_mounts: false,
        _rootfs: Some(rootfs),
    })
}

/// The maps of the container's own user namespace, if it has one.
pub(super) fn maps(session: &Session, container: &Container) -> Result<Option<IdMaps>> {
    let spec = look::spec_of(session, container)?;
    if let Some(maps) = spec.as_ref().and_then(nested_maps) {
        return Ok(Some(maps));
    }
    let entered = enter(&session.dirs, Want::Default)?;
    super::launch::idmaps::nested_maps(
        &container.record.options.userns,
        &entered.maps,
        super::launch::idmaps::Caller {
            uid: session.user.uid,
            gid: session.user.gid,
        },
        container.record.auto_maps.as_ref(),
    )
}

pub(super) fn view(session: &Session, container: &Container) -> Result<View> {
    Ok(match maps(session, container)? {
        Some(maps) => View::Shifted(maps),
        None => View::Same,
    })
}

pub(super) fn store(session: &Session) -> Result<Store> {
    Store::open(&session.dirs, session.options.storage_driver.as_deref())
}

/// The chain of a container's image; empty with `--rootfs`.
pub(super) fn layers(image: Option<&ImageRecord>) -> Vec<Digest> {
    image.map(ImageRecord::chain).unwrap_or_default()
}

/// What a container changed against its image, without what coracle itself made.
///
/// # Errors
/// `Unsupported` for a `--rootfs` container; what storage says.
pub fn diff(session: &Session, container: &Container) -> Result<Vec<Change>> {
    if container.record.options.rootfs.is_some() {
        return Err(Error::unsupported(format!(
            "container {:?} runs on a folder of the host: there is no image to compare with",
            container.name()
        )));
    }
    let view = view(session, container)?;
    enter(&session.dirs, Want::Default)?;
    let image = image_of(session, container)?;
    let changes = store(session)?.changes(&Snapshot {
        layers: &layers(image.as_ref()),
        container_dir: container.dir(),
        view: &view,
    })?;
    Ok(changes
        .into_iter()
        .filter(|c| !is_runtime_path(&c.path))
        .collect())
}

/// Writes a container's tree as a tar; volumes are left out, as in podman and docker.
///
/// # Errors
/// What storage or the sink says.
pub fn export(session: &Session, container: &Container, sink: &mut dyn Write) -> Result<()> {
    let tree = open(session, container)?;
    let store = store(session)?;
    let image = image_of(session, container)?;
    let owners = store.link_owners(&layers(image.as_ref()), Some(container.dir()))?;
    store
        .pack_tree(tree.root.as_fd(), &tree.view, owners.as_ref(), sink)
        .what(|| format!("cannot export container {:?}", container.name()))?;
    events::write(session, container, "export");
    Ok(())
}
