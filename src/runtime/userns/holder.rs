//! The holder: keeps the user namespace between two commands.
//!
//! Contract. Started by: the command that made the namespace (a fork, no exec). Runs: in the
//! caller's mount and pid namespaces, in the new user namespace. Holds: nothing of the caller, its
//! standard descriptors are /dev/null; what the next command takes ([`super::spare`]). Writes:
//! removes its own record and its socket at its end. Ends: when no
//! command came for five minutes, when its record is gone or names another; `system reset` kills
//! it. Killed: the next command makes a new one.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::state::container::read_json;
use crate::sys::process::Identity;
use crate::sys::{attributes, clone, fd, signal};

use super::Record;
use super::spare::Shelf;

/// Without a command for this long, the holder ends.
const IDLE: Duration = Duration::from_secs(300);

/// How often it looks.
const LOOK: Duration = Duration::from_secs(60);

/// [`IDLE`], or what `CORACLE_HOLDER_IDLE` (seconds) says where failpoints are built in: for tests.
fn idle_time() -> Duration {
    if cfg!(debug_assertions)
        && let Some(seconds) = std::env::var_os("CORACLE_HOLDER_IDLE")
        && let Some(seconds) = seconds.to_str().and_then(|s| s.parse().ok())
    {
        return Duration::from_secs(seconds);
    }
    IDLE
}

/// Says that a command came: the record's time is what the holder looks at.
pub(super) fn touch(record: &Path) {
    // A missed touch only shortens the holder's life.
    let _ = rustix::fs::utimensat(
        rustix::fs::CWD,
        record,
        &rustix::fs::Timestamps {
            last_access: NOW,
            last_modification: NOW,
        },
        rustix::fs::AtFlags::empty(),
    );
}

const NOW: rustix::fs::Timespec = rustix::fs::Timespec {
    tv_sec: 0,
    tv_nsec: libc::UTIME_NOW,
};

/// Lets go of everything inherited but `keep`. Ends the process when that fails: it would hold a
/// pipe of the caller open.
pub(super) fn detach(keep: [OwnedFd; 2]) -> [OwnedFd; 2] {
    let settle = || {
        attributes::new_session()?;
        rustix::process::chdir(c"/")
            .map_err(|e| crate::sys::Error::new("chdir", "/", e.raw_os_error()))?;
        let null = fd::null()?;
        let [a, b] = keep;
        let (a, b) = (fd::dup_at_least(a, 100)?, fd::dup_at_least(b, 100)?);
        fd::become_daemon(null, [a, b])
    };
    match settle() {
        Ok(kept) => {
            signal::reset_actions();
            // Nobody sends these on purpose; a closed terminal must not end it.
            signal::ignore(libc::SIGHUP);
            signal::ignore(libc::SIGINT);
            signal::ignore(libc::SIGPIPE);
            drop(signal::set_mask(&signal::Set::empty()));
            attributes::set_title("coracle holder");
            kept
        }
        Err(_) => clone::exit_now(1),
    }
}

/// Waits for idleness, then ends. Answers commands meanwhile.
pub(super) fn hold(record: &Path, lock: &Path) -> ! {
    let me = Identity::of(std::process::id().cast_signed()).ok();
    let own = || {
        read_json::<Record>(record)
            .ok()
            .flatten()
            .filter(|r| Some(&r.holder) == me.as_ref())
    };
    let (Some(written), Some(runtime)) = (own(), record.parent()) else {
        clone::exit_now(0);
    };
    let idle = idle_time();
    let mut shelf = Shelf::open(runtime, written.maps);
    loop {
        shelf.serve(LOOK.min(idle));
        if own().is_none() {
            clone::exit_now(0);
        }
        if !is_idle(record, idle) {
            continue;
        }
        // Not while a command is making or joining under the lock; then look again.
        let Ok(file) = fs::File::open(lock) else {
            clone::exit_now(0);
        };
        if file.try_lock().is_ok() && is_idle(record, idle) {
            drop(fs::remove_file(record));
            shelf.close(runtime);
            clone::exit_now(0);
        }
    }
}

fn is_idle(record: &Path, time: Duration) -> bool {
    let Ok(modified) = fs::metadata(record).and_then(|m| m.modified()) else {
        return true;
    };
    SystemTime::now()
        .duration_since(modified)
        .is_ok_and(|idle| idle > time)
}
