//! `image mount` and `image unmount`: an image as a folder, read-only, for as long as the mount
//! namespace of the caller lives.

use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::base::fs as files;
use crate::base::{Context as _, Error, Kind, Result};
use crate::image::{Found, ImageRecord};
use crate::operations::session::Session;
use crate::storage::View;
use crate::sys::{at, caps, mount as mounts};

/// A mounted image.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Which.
    pub record: ImageRecord,
    /// Where.
    pub path: PathBuf,
}

/// A mount must outlive this command: it has to be made in the caller's own mount namespace.
fn check(session: &Session) -> Result<()> {
    if caps::has(caps::SYS_ADMIN) {
        return Ok(());
    }
    let name = &session.user.name;
    Err(Error::new(
        Kind::Denied,
        format!("user {name:?} cannot mount an image so that other programs see it"),
    )
    .hint("work inside `coracle unshare`, where you may mount"))
}

fn folder(session: &Session) -> PathBuf {
    session.dirs.runtime.join("images")
}

fn place(session: &Session, record: &ImageRecord) -> PathBuf {
    folder(session).join(record.id.hex())
}

fn is_mounted(path: &Path) -> Result<bool> {
    match at::open_host_dir(path) {
        Ok(dir) => Ok(at::fstat(dir.as_fd())?.mount_root),
        Err(e) if e.errno == libc::ENOENT => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Mounts an image; fine if it is mounted.
///
/// # Errors
/// `Denied` for who may not mount; what storage says.
pub fn mount(session: &Session, found: &Found) -> Result<Mounted> {
    check(session)?;
    let path = place(session, &found.record);
    if !is_mounted(&path)? {
        files::create_private_dir_all(&path)?;
        let chain = found.record.chain();
        let rootfs = super::store(session)?.mount_image(&chain, &View::Same, None)?;
        mounts::attach(&rootfs.tree, at::open_host_dir(&path)?)
            .what(|| format!("cannot mount the image at {}", path.display()))?;
    }
    Ok(Mounted {
        record: found.record.clone(),
        path,
    })
}

/// The images that are mounted here.
///
/// # Errors
/// `Denied` for who may not mount; what the kernel says.
pub fn mounted(session: &Session) -> Result<Vec<Mounted>> {
    check(session)?;
    let mut found = Vec::new();
    for record in super::images(session).list()? {
        let path = place(session, &record);
        if is_mounted(&path)? {
            found.push(Mounted { record, path });
        }
    }
    Ok(found)
}

/// Takes the mount of an image away.
///
/// # Errors
/// `NotFound` when it is not mounted; `InUse` while somebody works in it, unless `force`.
pub fn unmount(session: &Session, record: &ImageRecord, force: bool) -> Result<()> {
    check(session)?;
    let path = place(session, record);
    let what = || format!("cannot unmount image {}", record.id.short());
    if !is_mounted(&path)? {
        return Err(Error::not_found(what()).because("it is not mounted here"));
    }
    let place = CString::new(path.as_os_str().as_bytes()).what_kind(Kind::Invalid, what)?;
    if force {
        mounts::detach(&place).what(what)?;
    } else {
        mounts::unmount(&place).what(what)?;
    }
    std::fs::remove_dir(&path).what(what)
}
