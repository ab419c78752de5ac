//! Forking a process that outlives this one and shares nothing with it that it does not need.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use super::error::{Call as _, Error, Result};

/// Forks a detached child that runs `body` and exits with its result.
///
/// In the child, before `body`: a session of its own; subreaper; standard streams on /dev/null;
/// what this process was started with beyond them (whatever is not close-on-exec) is closed, so
/// that a caller's pipe or lock does not stay open behind his back. `body` never returns into the
/// parent's frames, and a panic ends the child with 125. The parent gets the child's pid; it
/// reaps it, or leaves that to init by ending.
///
/// # Errors
/// `EBUSY` when this process has several threads: locks they hold would stay locked in the child.
pub fn fork_daemon(body: impl FnOnce() -> u8) -> Result<i32> {
    // The test harness has threads of its own, which hold none of our locks.
    if cfg!(not(test)) && !super::clone::is_single_threaded() {
        return Err(Error::new("fork", "a process with threads", libc::EBUSY));
    }
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .call("open", || "/dev/null".to_owned())?;
    // SAFETY: one thread (checked above), so the child's memory is consistent; it runs `body` and
    // leaves by _exit, never through this function's return.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last("fork", "")),
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                detach(null);
                body()
            }))
            .unwrap_or(125);
            // SAFETY: ends this process at once; nothing of the parent's is flushed twice.
            unsafe { libc::_exit(code.into()) }
        }
        pid => Ok(pid),
    }
}

/// The child's first steps. None can fail in a way that matters: what is refused stays as it was.
fn detach(null: OwnedFd) {
    let _session = rustix::process::setsid();
    let _reaper = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    for fd in inherited() {
        // SAFETY: nothing in this process owns a descriptor that came without close-on-exec: every
        // one that we open has it.
        unsafe { libc::close(fd) };
    }
    for fd in 0..3 {
        // SAFETY: dup2 onto the standard streams, which std never assumes to be owned.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
}

/// Descriptors above the standard streams that would survive an exec.
fn inherited() -> Vec<RawFd> {
    let mut fds = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<RawFd>().ok())
        else {
            continue;
        };
        // SAFETY: F_GETFD takes any number and touches no memory.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if fd > 2 && flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            fds.push(fd);
        }
    }
    fds
}

/// Closes descriptors whose owners live in frames that a forked child never returns to.
///
/// # Panics
/// Never. Call it only inside the body of [`fork_daemon`], with descriptors that the body itself
/// does not own: there the owners are out of reach, so that nobody uses or closes them again.
pub fn close_foreign(fds: &[BorrowedFd<'_>]) {
    for fd in fds {
        // SAFETY: as above; the owner's destructor never runs in this process.
        drop(unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) });
    }
}

/// Closes everything above the standard streams but these. For a forked child that leaves by
/// `_exit`: the owners of what is closed are out of its reach, as in [`close_foreign`].
pub fn close_all_but(keep: &[BorrowedFd<'_>]) {
    let mut keep: Vec<u32> = keep
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if first < fd {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: as above: nobody in this process uses or closes them again.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = fd.saturating_add(1).max(first);
    }
}

/// Reaps children that ended, in the order in which the kernel tells of them, up to the first of
/// `keep`: somebody waits for those by their pidfd.
pub fn reap_orphans(keep: &[i32]) {
    loop {
        // SAFETY: plain data; all zeros is a value of it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the place is valid for the call.
        if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } != 0 {
            return;
        }
        // SAFETY: waitid filled it, or left it zero, which reads as no pid.
        let pid = unsafe { info.si_pid() };
        if pid == 0 || keep.contains(&pid) {
            return;
        }
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Gives back the memory of the program's own read-only segments: code that ran at the start and
/// will not again. What is needed later comes back from the page cache, page by page.
pub fn forget_code() {
    // SAFETY: reads the auxiliary vector only.
    let (table, count, size, page) = unsafe {
        (
            libc::getauxval(libc::AT_PHDR),
            libc::getauxval(libc::AT_PHNUM),
            libc::getauxval(libc::AT_PHENT),
            libc::getauxval(libc::AT_PAGESZ).max(1),
        )
    };
    if table == 0 || size != size_of::<libc::Elf64_Phdr>() as u64 {
        return;
    }
    // SAFETY: the kernel gave the program's own header table, which stays mapped.
    let headers = unsafe {
        std::slice::from_raw_parts(
            table as *const libc::Elf64_Phdr,
            usize::try_from(count).unwrap_or(0),
        )
    };
    // Where the program was put, if it can be put anywhere.
    let base = headers
        .iter()
        .find(|h| h.p_type == libc::PT_PHDR)
        .map_or(0, |h| table.wrapping_sub(h.p_vaddr));
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let from = base.wrapping_add(header.p_vaddr) & !(page - 1);
        let to = base.wrapping_add(header.p_vaddr + header.p_filesz) & !(page - 1);
        if to > from {
            let length = usize::try_from(to - from).unwrap_or(0);
            // SAFETY: a segment that the program may not write and the loader does not: every page
            // is the file's, and is read from it again at the next access.
            unsafe { libc::madvise(from as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_daemon_has_its_own_session_and_nothing_inherited() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let leaked = rustix::io::dup(&ours).unwrap(); // dup clears close-on-exec
        let lock = std::fs::File::open("/dev/zero").unwrap();
        let numbers = (leaked.as_raw_fd(), lock.as_raw_fd());
        let pid = fork_daemon(|| {
            use std::os::fd::AsFd as _;
            close_foreign(&[lock.as_fd()]);
            let gone = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_err();
            let null = |fd: i32| {
                std::fs::read_link(format!("/proc/self/fd/{fd}"))
                    .is_ok_and(|p| p.as_os_str() == "/dev/null")
            };
            let me = rustix::process::getpid();
            let good = [
                gone(numbers.0),
                gone(numbers.1),
                (0..3).all(null),
                rustix::process::getsid(None).is_ok_and(|s| s == me),
            ];
            drop(theirs.write_all(format!("{good:?}").as_bytes()));
            7
        })
        .unwrap();
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert_eq!(text, "[true, true, true, true]");
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        assert_eq!(status.unwrap().unwrap().1.exit_status(), Some(7));
    }

    #[test]
    fn a_program_that_forgot_its_code_goes_on() {
        let code = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mut inside = false;
            let mut resident = 0;
            for line in maps.lines() {
                if line.contains(" r-xp ") {
                    inside = line.contains("/coracle-");
                } else if inside && let Some(rest) = line.strip_prefix("Rss:") {
                    resident += rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                    inside = false;
                }
            }
            resident
        };
        let before = code();
        forget_code();
        let after = code();
        assert!(after < before, "{before} kB, then {after} kB");
    }
}
