//! `container mount`: a container's file system at a path of the host's, for whoever is in the
//! user namespace already (`unshare`).

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{exec, tree};
use crate::base::fs as files;
use crate::base::{Context as _, Error, Result};
use crate::operations::session::Session;
use crate::runtime::userns;
use crate::state::container::{Container, State};
use crate::sys::namespace::{self, Kind as Namespace};
use crate::sys::{Call as _, mount};

/// Where a container is mounted.
pub fn place(container: &Container) -> PathBuf {
    container.dir().join("merged")
}

/// Mounts a container and answers where. One that is mounted already stays so.
///
/// # Errors
/// `Unsupported` outside `unshare`, where nobody would see the mount; what storage says.
pub fn mount(session: &Session, container: &Container) -> Result<PathBuf> {
    inside("mount")?;
    let path = place(container);
    let what = || format!("cannot mount container {:?}", container.name());
    if is_mounted(&path)? {
        return Ok(path);
    }
    files::create_private_dir_all(&path)?;
    // Opening the tree takes this process into a mount namespace of its own.
    let here = namespace::own(Namespace::Mount).what(what)?;
    let tree = match container.state()? {
        State::Running | State::Paused => running(session, container)?,
        _ => tree::open(session, container)?.root,
    };
    namespace::join(&here, Namespace::Mount.flag()).what(what)?;
    mount::attach(tree, open(&path)?).what(what)?;
    Ok(path)
}

/// The root of a running container with everything mounted in it, cloned where it is.
fn running(session: &Session, container: &Container) -> Result<OwnedFd> {
    let (status, _) = exec::running_root(session, container)?;
    let pid = status.init.map_or(0, |i| i.pid);
    let there = namespace::open_path(&format!("/proc/{pid}/ns/mnt"))?;
    namespace::join(&there, Namespace::Mount.flag())?;
    Ok(mount::clone_path(c"/", true)?)
}

/// Takes the mount away; `false` when there is none.
///
/// # Errors
/// `Unsupported` outside `unshare`; what the kernel says.
pub fn unmount(container: &Container) -> Result<bool> {
    inside("unmount")?;
    let path = place(container);
    if !is_mounted(&path)? {
        return Ok(false);
    }
    let what = || format!("cannot unmount container {:?}", container.name());
    let text = std::ffi::CString::new(path.as_os_str().as_bytes()).what(what)?;
    mount::detach(&text).what(what)?;
    // An empty folder that stays does no harm.
    drop(std::fs::remove_dir(&path));
    Ok(true)
}

/// Whether this process sees a container mounted.
///
/// # Errors
/// What the kernel says.
pub fn is_mounted(path: &Path) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let parent = path.parent().unwrap_or(path);
    Ok(mount::id_of(open(path)?)? != mount::id_of(open(parent)?)?)
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call("open", || path.display().to_string())
        .map_err(Into::into)
}

fn inside(verb: &str) -> Result<()> {
    if userns::is_inherited()? {
        return Ok(());
    }
    Err(
        Error::unsupported(format!("cannot {verb} containers from here"))
            .because("a plain user's mounts are seen in the user namespace only")
            .hint(format!(
                "run `coracle unshare` first, and in it `coracle {verb}`; `coracle cp` needs neither"
            )),
    )
}
