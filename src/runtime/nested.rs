//! A container's own user namespace below the shared one: keep-id, nomap, auto, given maps.
//!
//! A side process is cloned into it together with the namespaces that it shall own, and ends as
//! soon as they are held by descriptors. Its maps are written by us: no helper is needed where all
//! ids are ours. (A plain user's bundle has its maps written by newuidmap.)

use std::os::fd::OwnedFd;

use super::userns;
use crate::base::{Context as _, Error, Kind, Result};
use crate::spec::idmap::IdMaps;
use crate::sys::clone::{self, Clone as CloneRequest, Fork};
use crate::sys::namespace::{self, Kind as Ns};
use crate::sys::{fd, interface, pidfd};

/// A user namespace and the namespaces it owns.
#[derive(Debug)]
pub struct Nested {
    /// The user namespace.
    pub userns: OwnedFd,
    /// Its maps, relative to the shared namespace.
    pub maps: IdMaps,
    /// A network namespace with the loopback up, if asked for.
    pub net: Option<OwnedFd>,
    /// An IPC namespace, if asked for.
    pub ipc: Option<OwnedFd>,
    /// A UTS namespace, if asked for.
    pub uts: Option<OwnedFd>,
}

/// Which namespaces the new user namespace shall own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owns {
    /// Network.
    pub net: bool,
    /// IPC.
    pub ipc: bool,
    /// UTS.
    pub uts: bool,
}

/// A user namespace that is being made: a process beside this one makes what it shall own.
#[derive(Debug)]
pub struct Begun {
    side: clone::Child,
    /// Its end ends the process beside this one.
    line: Option<OwnedFd>,
    maps: IdMaps,
    owns: Owns,
}

/// Makes a user namespace with `maps` (outside ids are those of the shared namespace, in which
/// this process must be, with one thread) and the namespaces of `owns`. Lines may span extents of
/// the parent's map: they are split. Give `net` to the uplink as the container's network namespace.
///
/// # Errors
/// `Invalid` when a line maps ids that the shared namespace does not have.
pub fn create(maps: &IdMaps, owns: Owns) -> Result<Nested> {
    begin(maps, owns)?.finish()
}

/// Begins as [`create`]; a network namespace takes its time, which this process need not wait.
///
/// # Errors
/// As [`create`].
pub fn begin(maps: &IdMaps, owns: Owns) -> Result<Begun> {
    let shared = userns::own_maps()?;
    let maps = maps.split_for(&shared).ok_or_else(|| {
        Error::new(
            Kind::Invalid,
            "the map of the container's user namespace has ids that the caller does not have",
        )
        .hint("`coracle unshare cat /proc/self/uid_map` shows which ids there are")
    })?;
    let (mine, theirs) = fd::packet_pair()?;
    let cloned = clone::clone(CloneRequest {
        flags: Ns::User.flag(),
        cgroup: None,
        exit_signal: libc::SIGCHLD,
    })
    .what(|| "cannot make the container's user namespace")?;
    let side = match cloned {
        Fork::Child => {
            drop(mine);
            side_process(&theirs, owns)
        }
        Fork::Parent(side) => side,
    };
    drop(theirs);
    let begun = Begun {
        side,
        line: Some(mine),
        maps,
        owns,
    };
    userns::give_maps(begun.side.pid, &begun.maps)?;
    Ok(begun)
}

impl Begun {
    /// Waits for the rest.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn finish(mut self) -> Result<Nested> {
        let line = self
            .line
            .as_ref()
            .ok_or_else(|| Error::internal("the new user namespace's process is gone"))?;
        let message = fd::receive(line, 16)?.0;
        let failed = |errno: &[u8], call: &'static str, target: &str| {
            let errno = errno.try_into().map_or(0, i32::from_ne_bytes);
            crate::sys::Error::new(call, target, errno)
        };
        match message.split_first() {
            Some((b'R', _)) => {}
            Some((b'U', errno)) => {
                return Err(failed(errno, "unshare", ""))
                    .what(|| "cannot make the container's namespaces");
            }
            Some((_, errno)) => {
                return Err(failed(errno, "ioctl(SIOCSIFFLAGS)", "lo"))
                    .what(|| "cannot bring the loopback interface up");
            }
            None => return Err(Error::internal("the new user namespace's process ended")),
        }
        let open = |kind: Ns| {
            namespace::of(&self.side.pidfd, self.side.pid, kind)
                .what(|| format!("cannot open the new {} namespace", kind.file()))
        };
        let optional = |wanted: bool, kind: Ns| wanted.then(|| open(kind)).transpose();
        Ok(Nested {
            userns: open(Ns::User)?,
            net: optional(self.owns.net, Ns::Net)?,
            ipc: optional(self.owns.ipc, Ns::Ipc)?,
            uts: optional(self.owns.uts, Ns::Uts)?,
            maps: std::mem::take(&mut self.maps),
        })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // Its descriptors are ours now, or it failed.
        drop(self.line.take());
        drop(pidfd::wait(&self.side.pidfd));
    }
}

/// Makes what the user namespace shall own, brings the loopback up and waits until the parent has
/// taken what it needs.
fn side_process(line: &OwnedFd, owns: Owns) -> ! {
    let kinds = [
        (owns.net, Ns::Net),
        (owns.ipc, Ns::Ipc),
        (owns.uts, Ns::Uts),
    ];
    let flags = kinds
        .iter()
        .filter(|(wanted, _)| *wanted)
        .fold(0, |flags, (_, kind)| flags | kind.flag());
    let mut message = b"R".to_vec();
    if flags != 0
        && let Err(e) = namespace::unshare(flags)
    {
        message = b"U".to_vec();
        message.extend_from_slice(&e.errno.to_ne_bytes());
    } else if owns.net
        && let Err(e) = interface::loopback_up()
    {
        message = b"E".to_vec();
        message.extend_from_slice(&e.errno.to_ne_bytes());
    }
    drop(fd::send(line, &message, &[]));
    drop(fd::receive(line, 1));
    clone::exit_now(0);
}
