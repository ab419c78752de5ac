//! Waiting for processes that are not our children.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::Result;
use crate::sys::process::Identity;
use crate::sys::{Call as _, Error};

/// A descriptor that becomes readable when that process ends; `None` when it already has.
///
/// # Errors
/// What the kernel says, except that it is gone.
pub fn watch(process: &Identity) -> Result<Option<OwnedFd>> {
    match process.open() {
        Ok(fd) => Ok(Some(fd)),
        Err(Error { errno, .. }) if errno == libc::ESRCH => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Waits until that process ended; `false` when `patience` ran out first. `None` waits for ever.
///
/// # Errors
/// What the kernel says.
pub fn wait_ended(process: &Identity, patience: Option<Duration>) -> Result<bool> {
    let Some(fd) = watch(process)? else {
        return Ok(true);
    };
    let deadline = patience.map(|p| std::time::Instant::now() + p);
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(std::time::Instant::now()));
        let timeout = left.map(|l| Timespec {
            tv_sec: l.as_secs().cast_signed(),
            tv_nsec: l.subsec_nanos().into(),
        });
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|l| l.is_zero()) => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => {
                return Err(e)
                    .call("poll", || format!("pidfd of {}", process.pid))
                    .map_err(Into::into);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_strange_process_is_seen() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read line"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let identity = Identity::of(child.id().cast_signed()).unwrap();
        assert!(!wait_ended(&identity, Some(Duration::from_millis(1))).unwrap());
        drop(child.stdin.take());
        assert!(wait_ended(&identity, Some(Duration::from_secs(10))).unwrap());
        child.wait().unwrap();
        assert!(wait_ended(&identity, None).unwrap());
    }
}
