//! The caller's user namespace: join or make it.
//!
//! All containers of a caller share one: the caller is id 0 in it, subordinate ids follow. It is
//! kept alive by the monitors of running containers, or after the last one by an idle holder
//! process for some minutes. `<runtime>/userns.json` names the holder; `<runtime>/userns.lock` is
//! held while one is made. Without subordinate ids there is a namespace with one id for each
//! command, joined through monitors only.

mod create;
mod holder;
mod spare;

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::fs::{self as files, Durability};
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::dirs::Dirs;
use crate::config::env::Env;
use crate::handoff::ended::wait_ended;
use crate::spec::idmap::IdMaps;
use crate::state::container::{Status, read_json, write_json};
use crate::sys::namespace::{self, Kind as Namespace};
use crate::sys::process::Identity;
use crate::sys::{self, attributes, mount};

pub use spare::{Asked, Make, Ready, ask, keep_ready};

/// Which user namespace a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The caller's shared one, wherever it lives.
    Default,
    /// The one of this monitor (or of any other process of the caller).
    Of(Identity),
}

/// How the namespace was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Through a container's monitor.
    Monitor,
    /// Through the idle holder.
    Holder,
    /// Made now; a holder was left behind if it has several ids.
    Created,
    /// This process was in it already.
    Already,
    /// Root where the kernel refuses user namespaces: none at all.
    None,
}

/// Where [`enter`] brought this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Ids inside, and what they are for the caller's own namespace.
    pub maps: IdMaps,
    /// Only one id is mapped: every other owner is refused by the kernel.
    pub single: bool,
    /// How it was found.
    pub joined: Joined,
    /// Why only one id is mapped, if so: a sentence for the person, for [`tell`].
    pub notice: Option<String>,
}

/// `<runtime>/userns.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// The holder.
    holder: Identity,
    /// The namespace's inode: tells it apart within a boot.
    inode: u64,
    /// Its maps, so that joining reads one file only.
    maps: IdMaps,
}

/// How long a command waits for another one that makes the namespace. The helpers may ask a
/// directory service.
const PATIENCE: Duration = Duration::from_secs(30);

/// Below the runtime folder: the person was told why there is one id only.
const TOLD: &str = "single-id-told";

/// How long a killed holder may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// Variable with the inode of the shared namespace, for commands that `unshare` starts in it.
const INSIDE: &str = "CORACLE_USERNS";

static ENTERED: OnceLock<(u64, Entered)> = OnceLock::new();

/// Puts this single-threaded process into the caller's user namespace and a mount namespace of its
/// own; from then on it is uid 0 with all capabilities there. A second call returns at once.
///
/// # Errors
/// `Denied` or `Unsupported` with a hint when the kernel refuses user namespaces; `InUse` when this
/// process is in another one than wanted already.
pub fn enter(dirs: &Dirs, want: Want) -> Result<Entered> {
    enter_with(dirs, want, Mounts::Own)
}

/// As [`enter`], but the mounts stay the caller's: for commands that mount nothing. A mount
/// namespace costs little to make, but its end waits for the kernel.
///
/// # Errors
/// As [`enter`].
pub fn visit(dirs: &Dirs, want: Want) -> Result<Entered> {
    enter_with(dirs, want, Mounts::Callers)
}

/// Whose mounts a command that entered sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mounts {
    Own,
    Callers,
}

fn enter_with(dirs: &Dirs, want: Want, mounts: Mounts) -> Result<Entered> {
    if let Some((inode, entered)) = ENTERED.get() {
        return again(*inode, entered, &want);
    }
    let entered = match want {
        Want::Of(identity) => {
            let (maps, _) = join_process(&identity)
                .what(|| "cannot enter the container's user namespace".to_owned())?;
            described(maps, Joined::Monitor)
        }
        Want::Default if is_inherited()? => described(create::own_maps()?, Joined::Holder),
        Want::Default => match find(dirs)? {
            Some(entered) => entered,
            None => create_or_wait(dirs)?,
        },
    };
    finish(&entered, mounts)?;
    let inode = namespace::inode(namespace::own(Namespace::User)?)?;
    // Single-threaded: nobody else can have set it.
    drop(ENTERED.set((inode, entered.clone())));
    Ok(entered)
}

/// The maps of the user namespace that this process is in.
pub(super) fn own_maps() -> Result<IdMaps> {
    create::own_maps()
}

/// Gives a process in a user namespace below ours its maps.
pub(super) fn give_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    create::give_maps(pid, maps)
}

/// What [`enter`] did in this process, if it did.
pub fn entered() -> Option<&'static Entered> {
    ENTERED.get().map(|(_, entered)| entered)
}

/// What the holder had ready, in the namespace that this process entered; `None` when there is
/// none, or not soon enough.
pub fn take(asked: Asked) -> Option<Ready> {
    let (inode, _) = ENTERED.get()?;
    asked.take(*inode)
}

/// Whether this process was started in the shared namespace, by `unshare`.
///
/// # Errors
/// What the kernel says.
pub fn is_inherited() -> Result<bool> {
    let Some(text) = Env::process().text(INSIDE) else {
        return Ok(false);
    };
    let own = namespace::inode(namespace::own(Namespace::User)?)?;
    Ok(text.parse() == Ok(own))
}

/// What tells a program started from here that it is inside: a variable and its value.
pub fn mark() -> Option<(&'static str, String)> {
    ENTERED.get().map(|(inode, _)| (INSIDE, inode.to_string()))
}

fn again(inode: u64, entered: &Entered, want: &Want) -> Result<Entered> {
    if let Want::Of(identity) = want {
        let pidfd = identity.open()?;
        let theirs = namespace::of(&pidfd, identity.pid, Namespace::User)?;
        if namespace::inode(theirs)? != inode {
            return Err(Error::new(
                Kind::InUse,
                "the container lives in another user namespace than this command",
            )
            .hint("stop all containers, so that the next ones start in one namespace"));
        }
    }
    Ok(Entered {
        joined: Joined::Already,
        ..entered.clone()
    })
}

fn described(maps: IdMaps, joined: Joined) -> Entered {
    Entered {
        single: maps.is_single(),
        maps,
        joined,
        notice: None,
    }
}

fn record_path(dirs: &Dirs) -> PathBuf {
    dirs.runtime.join("userns.json")
}

/// Joins the holder's or a running monitor's namespace; `None` when there is neither.
fn find(dirs: &Dirs) -> Result<Option<Entered>> {
    if let Some(record) = read_json::<Record>(&record_path(dirs)).ok().flatten()
        && let Ok((pidfd, inode)) = open_namespace(&record.holder)
        && inode == record.inode
        && namespace::join(&pidfd, Namespace::User.flag()).is_ok()
    {
        holder::touch(&record_path(dirs));
        return Ok(Some(described(record.maps, Joined::Holder)));
    }
    let containers = fs::read_dir(dirs.runtime_containers());
    for entry in containers.into_iter().flatten().flatten() {
        let status = read_json::<Status>(&entry.path().join("status.json"));
        if let Ok(Some(status)) = status
            && let Ok((maps, _)) = join_process(&status.monitor)
        {
            return Ok(Some(described(maps, Joined::Monitor)));
        }
    }
    Ok(None)
}

/// A namespace descriptor of a process that must still be the one meant, and its inode.
fn open_namespace(identity: &Identity) -> sys::Result<(OwnedFd, u64)> {
    let pidfd = identity.open()?;
    let ns = namespace::of(&pidfd, identity.pid, Namespace::User)?;
    let inode = namespace::inode(&ns)?;
    Ok((ns, inode))
}

/// Joins the user namespace of a process; its maps are read afterwards.
fn join_process(identity: &Identity) -> Result<(IdMaps, u64)> {
    let (ns, inode) = open_namespace(identity)?;
    if namespace::is_own(&ns, Namespace::User)? {
        // A container of root without any user namespace.
        return Ok((create::own_maps()?, inode));
    }
    namespace::join(&ns, Namespace::User.flag())?;
    Ok((create::own_maps()?, inode))
}

/// Makes the namespace, or joins the one that another command is making right now.
fn create_or_wait(dirs: &Dirs) -> Result<Entered> {
    let ids = create::Ids::of_caller();
    if ids.missing.is_some() {
        // Nothing to keep for others: one id costs 30 µs.
        return Ok(Entered {
            notice: ids.missing,
            ..create::single()?
        });
    }
    files::create_private_dir_all(&dirs.runtime)?;
    let lock = lock(dirs)?;
    if let Some(entered) = find(dirs)? {
        return Ok(entered);
    }
    match create::mapped(&ids)? {
        create::Outcome::Mapped(made) => {
            let record = Record {
                version: 1,
                holder: made.holder.clone(),
                inode: made.inode,
                maps: ids.maps.clone(),
            };
            write_json(&record_path(dirs), &record, Durability::Volatile)?;
            made.release(&record_path(dirs), &dirs.runtime.join("userns.lock"))?;
            drop(lock);
            namespace::join(&made.namespace, Namespace::User.flag())?;
            Ok(described(ids.maps, Joined::Created))
        }
        create::Outcome::Refused(why) => {
            drop(lock);
            Ok(Entered {
                notice: Some(why),
                ..create::single()?
            })
        }
        create::Outcome::NoNamespaces => {
            drop(lock);
            Ok(described(create::own_maps()?, Joined::None))
        }
    }
}

fn lock(dirs: &Dirs) -> Result<File> {
    let path = dirs.runtime.join("userns.lock");
    let what = || format!("cannot lock {}", path.display());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .what(what)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                sys::process::pause(Duration::from_millis(1));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::new(
                    Kind::TimedOut,
                    "another command has been making the user namespace for 30 s",
                )
                .hint(format!("`fuser {}` shows which one", path.display())));
            }
            Err(fs::TryLockError::Error(e)) => return Err(e).what(what),
        }
    }
}

/// Tells why there is one id only, once a boot. Only for those whom the person hears: a notice
/// that was told to nobody is not told again.
pub fn tell(dirs: &Dirs, entered: &Entered, say: &mut dyn FnMut(&str)) {
    let told = dirs.runtime.join(TOLD);
    if let Some(why) = &entered.notice
        && !told.exists()
    {
        say(why);
        // Telling it twice does no harm.
        drop(files::create_private_dir_all(&dirs.runtime));
        drop(files::replace(
            &told,
            why.as_bytes(),
            0o600,
            Durability::Volatile,
        ));
    }
}

/// Ends the holder, and forgets what was told: as if no command had come yet.
///
/// # Errors
/// `TimedOut` when another command makes the namespace, or when the holder does not end.
pub fn forget(dirs: &Dirs) -> Result<()> {
    files::remove_file_if_exists(&dirs.runtime.join(TOLD))?;
    let path = record_path(dirs);
    if !path.exists() {
        return Ok(());
    }
    let _lock = lock(dirs)?;
    if let Some(record) = read_json::<Record>(&path).ok().flatten()
        && let Ok(pidfd) = record.holder.open()
    {
        let what = || "cannot end the holder of the user namespace";
        match sys::pidfd::send_signal(&pidfd, libc::SIGKILL) {
            Err(e) if e.errno != libc::ESRCH => return Err(e).what(what),
            _ => {}
        }
        wait_ended(&record.holder, Some(DEATH)).what(what)?;
    }
    files::remove_file_if_exists(&path)
}

/// What every way in needs: id 0, and mostly mounts of our own.
fn finish(entered: &Entered, mounts: Mounts) -> Result<()> {
    if !entered.single && rustix::process::getegid().as_raw() != 0 {
        // The namespace was made while the caller had another primary group (newgrp).
        attributes::set_gid(0)?;
    }
    if mounts == Mounts::Callers {
        return Ok(());
    }
    namespace::unshare(Namespace::Mount.flag())
        .what(|| "cannot make a mount namespace")
        .map_err(create::explain)?;
    if entered.joined == Joined::None {
        // Without a user namespace in between, the kernel does not cut propagation by itself.
        mount::make_slave()?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
