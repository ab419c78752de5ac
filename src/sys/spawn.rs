//! What a helper program inherits: descriptors under their own numbers, and its end with ours.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Whether a program outlives the thread that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It goes on.
    Independent,
    /// The kernel kills it when the starting *thread* ends, however it ends: start it from a
    /// thread that lives as long as the process.
    WithThread,
    /// The same for a program with a set-id bit, as Debian's ssh-agent has it: the bit is not
    /// honoured, for the kernel would forget the wish (`PR_SET_NO_NEW_PRIVS`).
    WithThreadWithoutRights,
}

/// Makes the program of `command` inherit `fds` under the numbers that they have here, and end as
/// `lifetime` says. The descriptors live as long as `command` does.
///
/// Kernel: prctl(2) `PR_SET_PDEATHSIG`; it does not survive a change of credentials or execution
/// of a set-uid program, so only for programs that do neither.
pub fn inherit(command: &mut Command, fds: Vec<OwnedFd>, lifetime: Lifetime) {
    let parent = rustix::process::getpid();
    let hook = move || {
        for fd in &fds {
            // SAFETY: fcntl with F_SETFD takes no pointers; the descriptor is open, for the
            // closure owns it and the child has a copy of the table.
            if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        if lifetime == Lifetime::WithThreadWithoutRights {
            rustix::thread::set_no_new_privs(true)?;
        }
        if lifetime != Lifetime::Independent {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the hook makes system calls only: no allocation, no lock.
    // Building an `io::Error` from an errno does not allocate.
    unsafe {
        command.pre_exec(hook);
    }
}
