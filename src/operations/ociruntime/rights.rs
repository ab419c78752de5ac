//! User namespaces of bundles, and the rights to act on their containers.
//!
//! With rights of our own (real root, or root of the user namespace that podman put us into) a new
//! user namespace is made beside the container and entered last, so that its mounts are locked.
//! Without, this command enters it first and does everything from inside.

use std::os::fd::OwnedFd;

use super::record::Record;
use crate::base::{Context as _, Error, Result};
use crate::runtime::launch::PreparedMount;
use crate::runtime::nested::{self, Nested, Owns};
use crate::spec::idmap::{self, IdMaps};
use crate::spec::runtime::{Linux, Mount, NamespaceKind, Spec};
use crate::sys::namespace::{self, Kind as Ns};
use crate::sys::{attributes, caps, mount};

/// Makes the user namespace that a configuration asks for; `None` when there is none to be made,
/// or this process is in it now.
///
/// # Errors
/// `Invalid` without maps; what the kernel or newuidmap says.
pub fn user_namespace(spec: &mut Spec) -> Result<Option<Nested>> {
    let Some(linux) = spec.linux.as_mut() else {
        return Ok(None);
    };
    if !is_new(linux, NamespaceKind::User) {
        return Ok(None);
    }
    let maps = maps_of(linux);
    if maps.uids.is_empty() || maps.gids.is_empty() {
        return Err(Error::invalid(
            "the configuration has a user namespace, but no uidMappings or gidMappings",
        ));
    }
    if caps::has(caps::SYS_ADMIN) {
        let owns = Owns {
            net: is_new(linux, NamespaceKind::Network),
            ipc: is_new(linux, NamespaceKind::Ipc),
            uts: is_new(linux, NamespaceKind::Uts),
        };
        return nested::create(&maps, owns).map(Some);
    }
    let made = nested::create(&maps, Owns::default())?;
    enter(&made.userns)?;
    // Our own view of the mounts, over which we have rights.
    namespace::unshare(Ns::Mount.flag()).what(|| "cannot make a mount namespace")?;
    linux.namespaces.retain(|n| n.kind != NamespaceKind::User);
    Ok(None)
}

fn is_new(linux: &Linux, kind: NamespaceKind) -> bool {
    linux
        .namespaces
        .iter()
        .any(|n| n.kind == kind && n.path.as_deref().is_none_or(str::is_empty))
}

fn maps_of(linux: &Linux) -> IdMaps {
    IdMaps {
        uids: linux.uid_mappings.clone(),
        gids: linux.gid_mappings.clone(),
    }
}

fn enter(user: &OwnedFd) -> Result<()> {
    namespace::join(user, Ns::User.flag())
        .what(|| "cannot enter the container's user namespace")?;
    // Where there is no root inside, the caller's own id does.
    drop(attributes::set_gid(0));
    drop(attributes::set_uid(0));
    Ok(())
}

/// Gives a caller without rights of its own those over a container: by entering its user namespace.
///
/// # Errors
/// `NotFound` when the container ended; `Denied` for somebody else's.
pub fn over(record: &Record) -> Result<()> {
    if caps::has(caps::SYS_ADMIN) {
        return Ok(());
    }
    let target = record
        .process
        .open()
        .what(|| "the container is not running")?;
    let user = namespace::of(&target, record.process.pid, Ns::User)
        .what(|| "cannot open the container's user namespace")?;
    if namespace::is_own(&user, Ns::User)? {
        return Ok(());
    }
    enter(&user)
}

/// Sources of mounts with id maps: clones that show their owners through a map.
///
/// # Errors
/// `Invalid` without a map; `Unsupported` or `Denied` as the file system says.
pub fn mapped_mounts(
    spec: &Spec,
    container: Option<&Nested>,
) -> Result<Vec<Option<PreparedMount>>> {
    let mut list = Vec::new();
    // Most mounts have the same map.
    let mut made: Vec<(IdMaps, OwnedFd)> = Vec::new();
    for (at, mount) in spec.mounts.iter().enumerate() {
        let word = |w: &str| mount.options.iter().any(|o| o == w);
        let own = IdMaps {
            uids: mount.uid_mappings.clone(),
            gids: mount.gid_mappings.clone(),
        };
        if own.uids.is_empty() && !word("idmap") && !word("ridmap") {
            continue;
        }
        let maps = match spec.linux.as_ref() {
            _ if !own.uids.is_empty() => own,
            Some(linux) if container.is_some() => maps_of(linux),
            _ => {
                return Err(Error::invalid(format!(
                    "the mount {} shall be idmapped, but neither it nor the container has a map",
                    mount.destination
                )));
            }
        };
        let tree = mapped(mount, &maps, word("ridmap"), &mut made)
            .what(|| format!("cannot make the idmapped mount {}", mount.destination))?;
        list.resize_with(at, || None);
        list.push(Some(PreparedMount::Tree(tree)));
    }
    Ok(list)
}

fn mapped(
    mount: &Mount,
    maps: &IdMaps,
    recursive: bool,
    made: &mut Vec<(IdMaps, OwnedFd)>,
) -> Result<OwnedFd> {
    let source = mount.source.as_deref().unwrap_or_default();
    let is_bind = mount.kind.as_deref() == Some("bind")
        || mount.options.iter().any(|o| o == "bind" || o == "rbind");
    if !is_bind {
        return Err(Error::unsupported("only bind mounts can be idmapped"));
    }
    let path = std::ffi::CString::new(source)
        .map_err(|_| Error::invalid("the mount's source has a NUL byte"))?;
    let with_submounts = mount.options.iter().any(|o| o == "rbind");
    let tree = mount::clone_path(&path, with_submounts)?;
    if !made.iter().any(|(m, _)| m == maps) {
        let userns = nested::create(maps, Owns::default())?.userns;
        made.push((maps.clone(), userns));
    }
    let userns = made
        .iter()
        .find(|(m, _)| m == maps)
        .map(|(_, fd)| fd)
        .ok_or_else(|| Error::internal("the map is gone"))?;
    mount::set_idmap(&tree, std::os::fd::AsFd::as_fd(userns), recursive)?;
    Ok(tree)
}

/// The user of the process as this host counts; for what is given to it before it is there.
pub fn outer_uid(spec: &Spec) -> Option<u32> {
    let uid = spec.process.as_ref()?.user.uid;
    match spec.linux.as_ref() {
        Some(linux) if !linux.uid_mappings.is_empty() => idmap::to_host(&linux.uid_mappings, uid),
        _ => Some(uid),
    }
}
