//! Making the caller's user namespace: with `newuidmap` and `newgidmap` at once, by writing the
//! maps where the caller may, or with one id.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Entered, Joined, described, holder};
use crate::base::{Context as _, Error, Kind, Result};
use crate::config::env::Env;
use crate::config::{subid, user};
use crate::spec::idmap::IdMaps;
use crate::spec::runtime::IdMapping;
use crate::sys::namespace::{self, Kind as Namespace};
use crate::sys::process::Identity;
use crate::sys::{self, caps, clone, fd, pidfd};

/// Which ids the caller can have.
#[derive(Debug)]
pub(super) struct Ids {
    /// The maps of the namespace.
    pub(super) maps: IdMaps,
    /// Why there is only one id, if so: a sentence for the person.
    pub(super) missing: Option<String>,
    /// The maps are the caller's own: it may write them itself.
    identity: bool,
}

impl Ids {
    /// Reads the caller's ranges.
    pub(super) fn of_caller() -> Self {
        let caller = user::current();
        let single = IdMaps::single(caller.uid, caller.gid);
        if caller.uid == 0 && caps::has(caps::SETUID) && caps::has(caps::SETGID) {
            return match own_maps() {
                Ok(own) if !own.is_single() => Self {
                    maps: IdMaps::identity(&own),
                    missing: None,
                    identity: true,
                },
                _ => Self {
                    maps: single,
                    missing: Some(
                        "only one id is available here: files of a container's other users cannot \
                         be told apart"
                            .to_owned(),
                    ),
                    identity: true,
                },
            };
        }
        let ranges = subid::ranges(caller);
        let helper = ["newuidmap", "newgidmap"]
            .into_iter()
            .find(|name| helper(name).is_none());
        if !ranges.is_usable() {
            return Self {
                maps: single,
                missing: Some(no_ranges(&caller.name, helper)),
                identity: false,
            };
        }
        let missing = helper.map(|name| {
            format!(
                "the program {name} is not installed, so containers have one user only; {BRINGS}"
            )
        });
        let extents =
            |list: &[subid::IdRange]| list.iter().map(|r| (r.start, r.count)).collect::<Vec<_>>();
        Self {
            maps: IdMaps::with_ranges(
                (caller.uid, caller.gid),
                &extents(&ranges.uids),
                &extents(&ranges.gids),
            ),
            missing,
            identity: false,
        }
    }
}

/// How the helpers are had.
const BRINGS: &str = "`sudo apt install uidmap` (or shadow-utils) brings it";

/// What somebody without subordinate ids, and perhaps without a helper, is told.
fn no_ranges(name: &str, helper: Option<&str>) -> String {
    let mut text = format!(
        "user {name:?} has no subordinate ids, so containers have one user only; \
         `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}` gives some"
    );
    if let Some(helper) = helper {
        text.push_str(&format!(
            ", and the program {helper} is not installed; {BRINGS}"
        ));
    }
    text
}

/// What came of making a namespace with several ids.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is there; its holder waits for [`Made::release`].
    Mapped(Made),
    /// The maps were refused; the reason, for the person.
    Refused(String),
    /// User namespaces are forbidden here, and the caller is root enough to do without.
    NoNamespaces,
}

/// A namespace that was just made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) holder: Identity,
    pub(super) namespace: OwnedFd,
    pub(super) inode: u64,
    go: OwnedFd,
}

impl Made {
    /// Lets the holder begin its watch over `record`.
    pub(super) fn release(&self, record: &Path, lock: &Path) -> Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut message = record.as_os_str().as_bytes().to_vec();
        message.push(0);
        message.extend_from_slice(lock.as_os_str().as_bytes());
        fd::send(&self.go, &message, &[])?;
        Ok(())
    }
}

/// What the future holder says first: its pid, or the errno of its unshare.
const HELLO: usize = 9;

/// Makes the namespace in a new process that will be its holder. The caller's own map must be
/// written by a process outside, so the caller itself joins afterwards like everybody else.
pub(super) fn mapped(ids: &Ids) -> Result<Outcome> {
    let (mine, theirs) = fd::packet_pair()?;
    let middle = match clone::fork()? {
        clone::Fork::Child => {
            drop(mine);
            // A second fork: the holder must not be a child of a command that runs for hours.
            match clone::fork() {
                Ok(clone::Fork::Child) => become_holder(theirs),
                _ => clone::exit_now(0),
            }
        }
        clone::Fork::Parent(child) => child,
    };
    drop(theirs);
    let greeting = fd::receive(&mine, HELLO);
    drop(pidfd::wait(&middle.pidfd));
    let (hello, _) = greeting?;
    let (pid, errno) = parse_hello(&hello)
        .ok_or_else(|| Error::internal("the holder of the user namespace ended at once"))?;
    if errno != 0 {
        let refused = sys::Error::new("unshare", "user namespace", errno);
        if ids.identity && caps::has(caps::SYS_ADMIN) {
            return Ok(Outcome::NoNamespaces);
        }
        return Err(explain(
            Error::new(Kind::Denied, "cannot make a user namespace").because(refused),
        ));
    }
    let identity = Identity::of(pid)?;
    let process = identity.open()?;
    let written = if ids.identity {
        write_maps(pid, &ids.maps).map_err(|e| e.one_line())
    } else {
        run_helpers(pid, &ids.maps)
    };
    if let Err(why) = written {
        // Closing our end of the socket ends the holder.
        return Ok(Outcome::Refused(format!(
            "the kernel or newuidmap refused the subordinate ids ({why}), so containers have one \
             user only; `coracle system doctor` looks for the reason"
        )));
    }
    let namespace = namespace::of(&process, pid, Namespace::User)?;
    let inode = namespace::inode(&namespace)?;
    Ok(Outcome::Mapped(Made {
        holder: identity,
        namespace,
        inode,
        go: mine,
    }))
}

/// The holder's side.
fn become_holder(socket: OwnedFd) -> ! {
    let Ok(spare) = fd::null() else {
        clone::exit_now(1);
    };
    let [socket, _spare] = holder::detach([socket, spare]);
    let errno = match namespace::unshare(Namespace::User.flag()) {
        Ok(()) => 0,
        Err(e) => e.errno,
    };
    let pid = std::process::id().cast_signed();
    let mut hello = vec![1];
    hello.extend_from_slice(&pid.to_ne_bytes());
    hello.extend_from_slice(&errno.to_ne_bytes());
    if fd::send(&socket, &hello, &[]).is_err() || errno != 0 {
        clone::exit_now(1);
    }
    // The command writes the maps, then the record, then tells us its path; if it dies, we do.
    match fd::receive(&socket, 8192) {
        Ok((message, _)) => match split_paths(&message) {
            Some((record, lock)) => {
                drop(socket);
                holder::hold(&record, &lock)
            }
            None => clone::exit_now(0),
        },
        Err(_) => clone::exit_now(0),
    }
}

fn parse_hello(bytes: &[u8]) -> Option<(i32, i32)> {
    let pid = bytes.get(1..5)?.try_into().ok()?;
    let errno = bytes.get(5..9)?.try_into().ok()?;
    Some((i32::from_ne_bytes(pid), i32::from_ne_bytes(errno)))
}

fn split_paths(message: &[u8]) -> Option<(PathBuf, PathBuf)> {
    use std::os::unix::ffi::OsStringExt as _;
    let at = message.iter().position(|b| *b == 0)?;
    let (record, lock) = message.split_at(at);
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    Some((path(record), path(lock.get(1..)?)))
}

/// Writes the maps of a process whose user namespace is below ours, with our capabilities.
pub(crate) fn write_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    for (file, map) in [("gid_map", &maps.gids), ("uid_map", &maps.uids)] {
        write_proc(&format!("/proc/{pid}/{file}"), &IdMaps::render(map))?;
    }
    Ok(())
}

/// Gives a process in a user namespace below ours its maps: with our capabilities; without any, by
/// newuidmap and newgidmap, or alone where only the caller's own ids are mapped.
pub(super) fn give_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    if caps::has(caps::SETUID) {
        return write_maps(pid, maps);
    }
    let own =
        |map: &[IdMapping], id: u32| matches!(map, [one] if one.size == 1 && one.host_id == id);
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if own(&maps.uids, uid) && own(&maps.gids, gid) {
        // Without the right over groups, they must be given up before a gid can be mapped.
        write_proc(&format!("/proc/{pid}/setgroups"), "deny")?;
        return write_maps(pid, maps).map_err(explain);
    }
    run_helpers(pid, maps).map_err(|why| {
        Error::new(
            Kind::Denied,
            format!("cannot map the ids of the user namespace: {why}"),
        )
        .hint("the ids must be the caller's own, or subordinate ones (/etc/subuid, /etc/subgid)")
    })
}

/// A map must be written by one write(2).
fn write_proc(path: &str, text: &str) -> Result<()> {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .what(|| format!("cannot open {path}"))?;
    fd::write_all(file.as_fd(), text.as_bytes())
        .what(|| format!("cannot write {path} ({})", text.trim().replace('\n', ", ")))
}

/// A helper that may be executed: where the system installs it, then along PATH.
fn helper(name: &str) -> Option<PathBuf> {
    let usual = Path::new("/usr/bin").join(name);
    if rustix::fs::access(&usual, rustix::fs::Access::EXEC_OK).is_ok() {
        return Some(usual);
    }
    Env::process().find_program(name)
}

/// Runs both helpers at the same time; the error is what they said.
fn run_helpers(pid: i32, maps: &IdMaps) -> std::result::Result<(), String> {
    let uids = start_helper("newuidmap", pid, &maps.uids);
    let gids = start_helper("newgidmap", pid, &maps.gids);
    // Both are waited for before either failure is told: no zombie is left.
    let uids = uids.and_then(finish_helper);
    let gids = gids.and_then(finish_helper);
    uids.and(gids)
}

fn start_helper(
    name: &'static str,
    pid: i32,
    map: &[IdMapping],
) -> std::result::Result<(&'static str, Child), String> {
    let program = helper(name).ok_or_else(|| format!("{name} is not installed"))?;
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for m in map {
        for number in [m.container_id, m.host_id, m.size] {
            command.arg(number.to_string());
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map(|child| (name, child))
        .map_err(|e| format!("{name}: {e}"))
}

fn finish_helper((name, child): (&'static str, Child)) -> std::result::Result<(), String> {
    let output = child
        .wait_with_output()
        .map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    Err(if said.is_empty() {
        format!("{name}: {}", output.status)
    } else {
        said.to_owned()
    })
}

/// Puts this process into a user namespace with one id: no helper, no holder.
pub(super) fn single() -> Result<Entered> {
    // Before the namespace exists: inside, these are unmapped.
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if let Err(e) = namespace::unshare(Namespace::User.flag()) {
        if uid == 0 && caps::has(caps::SYS_ADMIN) {
            return Ok(described(own_maps()?, Joined::None));
        }
        return Err(explain(
            Error::new(kind_of(&e), "cannot make a user namespace").because(e),
        ));
    }
    let maps = IdMaps::single(uid, gid);
    // Without the right over groups, they must be given up before a gid can be mapped.
    write_proc("/proc/self/setgroups", "deny")
        .and_then(|()| write_proc("/proc/self/gid_map", &IdMaps::render(&maps.gids)))
        .and_then(|()| write_proc("/proc/self/uid_map", &IdMaps::render(&maps.uids)))
        .map_err(|e| {
            if uid == 0 && e.errno() == Some(libc::EPERM) {
                // Kernel 5.12: mapping id 0 takes CAP_SETFCAP outside.
                e.hint(
                    "the container around this command gives its root too few rights: run coracle \
                     there as another user, or add CAP_SETFCAP to that container",
                )
            } else {
                explain(e)
            }
        })?;
    Ok(described(maps, Joined::Created))
}

fn kind_of(e: &sys::Error) -> Kind {
    crate::base::error::kind_of_errno(e.errno)
}

/// The maps of the user namespace that this process is in.
pub(super) fn own_maps() -> Result<IdMaps> {
    let read = |path: &str| {
        fs::read_to_string(path)
            .map(|text| IdMaps::parse(&text))
            .what(|| format!("cannot read {path}"))
    };
    Ok(IdMaps {
        uids: read("/proc/self/uid_map")?,
        gids: read("/proc/self/gid_map")?,
    })
}

/// Adds the one thing to do when the kernel refuses user namespaces, by the switch that is set.
pub(super) fn explain(error: Error) -> Error {
    let switch =
        |path: &str, bad: &str| fs::read_to_string(path).is_ok_and(|value| value.trim() == bad);
    let hint = if switch("/proc/sys/user/max_user_namespaces", "0") {
        "this host allows none: `sudo sysctl user.max_user_namespaces=15000`"
    } else if switch("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "this host keeps them to root: `sudo sysctl kernel.unprivileged_userns_clone=1`"
    } else if switch(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        "AppArmor allows them to known programs only: install coracle's profile (packaging/apparmor), or \
         `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    } else if Path::new("/run/.containerenv").exists() || Path::new("/.dockerenv").exists() {
        "the container around this command forbids them: start it with \
         `--security-opt seccomp=unconfined`, or `--privileged`"
    } else {
        "`coracle system doctor` looks for the reason"
    };
    error.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_both_is_told_both() {
        let both = no_ranges("ann", Some("newuidmap"));
        assert!(both.contains("usermod --add-subuids"), "{both}");
        assert!(both.contains("apt install uidmap"), "{both}");
        assert!(!no_ranges("ann", None).contains("uidmap`"));
    }
}
