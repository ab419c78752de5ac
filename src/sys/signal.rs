//! Signals as descriptors, and the calling thread's mask.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use super::error::{Error, Result};

/// A set of signals.
#[derive(Clone, Copy)]
pub struct Set(libc::sigset_t);

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries((1..=64).filter(|s| self.contains(*s)))
            .finish()
    }
}

impl Set {
    /// No signal.
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set.
        Self(unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    /// Every signal.
    pub fn full() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set.
        Self(unsafe {
            libc::sigfillset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    /// These signals; numbers that are none are left out.
    pub fn of(signals: &[i32]) -> Self {
        let mut set = Self::empty();
        for signal in signals {
            // SAFETY: the set is initialised; a bad number is refused without effect.
            unsafe { libc::sigaddset(&raw mut set.0, *signal) };
        }
        set
    }

    /// With `signal`.
    #[must_use]
    pub fn with(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; a bad number is refused without effect.
        unsafe { libc::sigaddset(&raw mut self.0, signal) };
        self
    }

    /// Without `signal`.
    #[must_use]
    pub fn without(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; a bad number is refused without effect.
        unsafe { libc::sigdelset(&raw mut self.0, signal) };
        self
    }

    /// Whether `signal` is in.
    pub fn contains(&self, signal: i32) -> bool {
        // SAFETY: the set is initialised.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }
}

/// Blocks `set` in the calling thread (and the threads and children that it makes); gives the
/// former mask.
///
/// # Errors
/// None in practice.
pub fn block(set: &Set) -> Result<Set> {
    change(libc::SIG_BLOCK, set)
}

/// Lets `set` through again in the calling thread; gives the former mask.
///
/// # Errors
/// None in practice.
pub fn unblock(set: &Set) -> Result<Set> {
    change(libc::SIG_UNBLOCK, set)
}

/// Makes `set` the mask of the calling thread; gives the former one.
///
/// # Errors
/// None in practice.
pub fn set_mask(set: &Set) -> Result<Set> {
    change(libc::SIG_SETMASK, set)
}

fn change(how: libc::c_int, set: &Set) -> Result<Set> {
    let mut old = Set::empty();
    // SAFETY: both sets are initialised and live over the call.
    let rc = unsafe { libc::pthread_sigmask(how, &raw const set.0, &raw mut old.0) };
    if rc == 0 {
        Ok(old)
    } else {
        Err(Error::new("sigprocmask", "", rc))
    }
}

/// Puts every signal back to its default action: ignored ones would stay ignored over execve.
/// By the kernel's own call: the C library refuses to touch the two signals that it uses itself, and
/// a caller may well have passed those on ignored.
pub fn reset_actions() {
    /// The kernel's `struct sigaction`, which is not the C library's. All zero is SIG_DFL.
    #[repr(C)]
    struct Action([usize; 4]);
    let default = Action([0; 4]);
    for signal in 1..=64_i32 {
        // SAFETY: the structure outlives the call, is as large as the kernel's (handler, flags,
        // restorer, eight bytes of mask), and SIG_DFL has no handler to be unsound; KILL and STOP are
        // refused without effect.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                std::ptr::null::<Action>(),
                8_usize,
            )
        };
    }
}

/// Ignores a signal.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN has no handler to be unsound.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Whether a signal is ignored, e.g. because a shell without job control started us behind `&`.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given, and the old one is written to a place of its size.
    let rc = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the kernel filled it.
    rc == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Ends this process by `signal`, as if nobody had blocked or handled it: the parent sees it.
pub fn end_by(signal: i32) {
    // SAFETY: SIG_DFL has no handler to be unsound.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    drop(unblock(&Set::of(&[signal])));
    drop(send(std::process::id().cast_signed(), signal));
    // Only for a signal whose default action is not to end.
    super::process::kill_self();
}

/// A descriptor that reads the signals of `set`, which must be blocked. Non-blocking,
/// close-on-exec.
///
/// # Errors
/// `EMFILE`.
pub fn descriptor(set: &Set) -> Result<OwnedFd> {
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd =
        unsafe { libc::signalfd(-1, &raw const set.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(Error::last("signalfd", ""));
    }
    // SAFETY: just returned by the kernel, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal from such a descriptor; `None` when there is none now.
///
/// # Errors
/// What read(2) says.
pub fn next(descriptor: impl AsFd) -> Result<Option<i32>> {
    // SAFETY: plain data; all zeros is a value of it.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    loop {
        // SAFETY: the buffer is as large as the size given.
        let n = unsafe { libc::read(descriptor.as_fd().as_raw_fd(), (&raw mut info).cast(), size) };
        if n == size.cast_signed() {
            return Ok(Some(info.ssi_signo.cast_signed()));
        }
        let error = Error::last("read", "signalfd");
        match error.errno {
            libc::EINTR => {}
            libc::EAGAIN => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// Waits for one signal of `set`, which must be blocked.
pub fn wait(set: &Set) -> i32 {
    loop {
        // SAFETY: the set is initialised; no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const set.0, std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// Sends `signal` to a pid, or with a negative number to a process group.
///
/// # Errors
/// `ESRCH`, `EPERM`.
pub fn send(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: numbers only.
    if unsafe { libc::kill(pid, signal) } == 0 {
        Ok(())
    } else {
        Err(Error::last("kill", format!("{pid} {signal}")))
    }
}

/// Reaps any child that ended: its pid and how. `None` when none has ended now, or with `wait` when
/// there is no child at all.
pub fn reap_any(wait: bool) -> Option<(i32, super::pidfd::Ended)> {
    use super::pidfd::Ended;
    let flags = if wait { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        // SAFETY: the status is a valid place.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        if pid > 0 {
            if libc::WIFEXITED(status) {
                return Some((pid, Ended::Exited(libc::WEXITSTATUS(status))));
            }
            if libc::WIFSIGNALED(status) {
                return Some((pid, Ended::Signalled(libc::WTERMSIG(status))));
            }
        } else if pid == 0 || Error::last("waitpid", "").errno != libc::EINTR {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_are_read_from_the_descriptor() {
        let set = Set::of(&[libc::SIGUSR2]);
        let old = block(&set).unwrap();
        let fd = descriptor(&set).unwrap();
        assert_eq!(next(&fd).unwrap(), None);
        // SAFETY: a signal to this very thread, which blocks it.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert_eq!(next(&fd).unwrap(), Some(libc::SIGUSR2));
        set_mask(&old).unwrap();
        assert!(Set::full().without(9).contains(15));
        assert!(!Set::full().without(9).contains(9));
    }
}
