//! Processes by descriptor: signals, waiting, and the namespaces behind them.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{WaitId, WaitIdOptions};

use super::error::{Call as _, Error, Result};
use super::fd;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl Ended {
    /// As shells count: the code, or 128 plus the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 + signal,
        }
    }
}

/// A pidfd of a process that is known to be the one meant (a child not waited for).
///
/// # Errors
/// `ESRCH`.
pub fn open(pid: i32) -> Result<OwnedFd> {
    let id = rustix::process::Pid::from_raw(pid)
        .ok_or_else(|| Error::new("pidfd_open", pid.to_string(), libc::ESRCH))?;
    rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty())
        .call("pidfd_open", || pid.to_string())
}

/// Sends signal `number` (real-time ones too; 0 only asks).
///
/// # Errors
/// `ESRCH` when it ended, `EPERM`.
pub fn send_signal(pidfd: impl AsFd, number: i32) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: a null siginfo means that the kernel fills it as kill(2) does; the descriptor is
    // borrowed for the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("pidfd_send_signal", number.to_string()))
    }
}

/// Waits for a child's end and reaps it.
///
/// # Errors
/// `ECHILD` when it is not a child of this process.
pub fn wait(pidfd: impl AsFd) -> Result<Ended> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(e) => return Err(e).call("waitid", String::new),
            Ok(Some(status)) => return Ok(ended(&status)),
        }
    }
}

/// Reaps a child if it has ended; `None` while it runs.
///
/// # Errors
/// `ECHILD` when it is not a child of this process.
pub fn try_wait(pidfd: impl AsFd) -> Result<Option<Ended>> {
    let status = rustix::process::waitid(
        WaitId::PidFd(pidfd.as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    )
    .call("waitid", String::new)?;
    Ok(status.as_ref().map(ended))
}

fn ended(status: &rustix::process::WaitIdStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(signal)) => Ended::Signalled(signal),
        // Neither can only be a stop, which was not asked for.
        (None, None) => Ended::Exited(255),
    }
}

/// Waits until any process (not only a child) has ended; `false` when `patience` passed first.
///
/// # Errors
/// What poll(2) says.
pub fn wait_end(pidfd: impl AsFd, patience: Option<Duration>) -> Result<bool> {
    fd::wait_readable(pidfd, patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_a_child_and_the_wait_tells_which() {
        let child = crate::sys::clone::fork_with(|| {
            loop {
                crate::sys::process::pause(Duration::from_secs(60));
            }
        })
        .unwrap();
        assert!(!wait_end(&child.pidfd, Some(Duration::from_millis(1))).unwrap());
        assert_eq!(try_wait(&child.pidfd).unwrap(), None);
        send_signal(&child.pidfd, libc::SIGTERM).unwrap();
        assert!(wait_end(&child.pidfd, Some(Duration::from_secs(10))).unwrap());
        let ended = wait(&child.pidfd).unwrap();
        assert_eq!(ended, Ended::Signalled(15));
        assert_eq!(ended.code(), 143);
        assert_eq!(send_signal(&child.pidfd, 0).unwrap_err().errno, libc::ESRCH);
    }
}
