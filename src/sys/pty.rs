//! Pseudo-terminals of a devpts instance, without any path inside a container.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::error::{Call as _, Error, Result};

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS_MAGIC: libc::__fsword_t = 0x1cd1;

/// A terminal: what the relay holds, and what the process gets.
#[derive(Debug)]
pub struct Pair {
    /// The relay's end.
    pub master: OwnedFd,
    /// The process's end.
    pub slave: OwnedFd,
}

/// Opens a new terminal of the devpts instance whose root directory is `devpts`.
///
/// # Errors
/// `EINVAL` when it is no devpts or its `ptmx` is no multiplexer; `ENOSPC` when it is full.
pub fn open(devpts: impl AsFd) -> Result<Pair> {
    // A FIFO or a stranger's file in place of ptmx must neither block nor act.
    let flags =
        OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = super::resolve::beneath(devpts, "ptmx", flags)?;
    check(&master)?;
    super::fd::set_nonblocking(&master, false)?;
    rustix::pty::unlockpt(&master).call("ioctl(TIOCSPTLCK)", String::new)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .call("ioctl(TIOCGPTPEER)", String::new)?;
    Ok(Pair { master, slave })
}

/// Refuses what is not `ptmx` of a devpts.
fn check(master: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(master).call("fstat", || "ptmx".into())?;
    let fs = rustix::fs::fstatfs(master).call("fstatfs", || "ptmx".into())?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && fs.f_type == DEVPTS_MAGIC;
    if is_ptmx {
        Ok(())
    } else {
        Err(Error::new("open", "ptmx", libc::EINVAL))
    }
}

/// Sets the size in rows and columns; the foreground process group is told.
///
/// # Errors
/// `ENOTTY`.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).call("ioctl(TIOCSWINSZ)", String::new)
}

/// The size in rows and columns.
///
/// # Errors
/// `ENOTTY`.
pub fn size(terminal: impl AsFd) -> Result<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal).call("ioctl(TIOCGWINSZ)", String::new)?;
    Ok((size.ws_row, size.ws_col))
}

/// Makes `terminal` the controlling one of this session leader.
///
/// # Errors
/// `EPERM` when another session has it.
pub fn control(terminal: impl AsFd) -> Result<()> {
    // SAFETY: the request takes a number; the descriptor is borrowed for the call.
    let rc = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("ioctl(TIOCSCTTY)", ""))
    }
}

/// Makes the caller's process group the foreground one of `terminal`.
///
/// # Errors
/// `ENOTTY`; `EPERM` when it is not the session's terminal.
pub fn take_foreground(terminal: impl AsFd) -> Result<()> {
    let group = rustix::process::getpgrp();
    rustix::termios::tcsetpgrp(terminal, group).call("ioctl(TIOCSPGRP)", String::new)
}

/// Opens the devpts of `/dev/pts` of the present root, by its root directory.
///
/// # Errors
/// `ENOENT`; `EINVAL` when something else is mounted there.
pub fn devpts_of(root: impl AsFd) -> Result<OwnedFd> {
    let dir = rustix::fs::openat2(
        root,
        c"dev/pts",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        rustix::fs::ResolveFlags::NO_SYMLINKS | rustix::fs::ResolveFlags::BENEATH,
    )
    .call("openat2", || "/dev/pts".into())?;
    let fs = rustix::fs::fstatfs(&dir).call("fstatfs", || "/dev/pts".into())?;
    if fs.f_type == DEVPTS_MAGIC {
        Ok(dir)
    } else {
        Err(Error::new("open", "/dev/pts", libc::EINVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_of_a_devpts_carries_bytes_and_size() {
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let devpts = devpts_of(&root).unwrap();
        let pair = match open(&devpts) {
            // The host's own multiplexer may be closed to users in /dev/pts.
            Err(e) if e.errno == libc::EACCES => return,
            other => other.unwrap(),
        };
        set_size(&pair.master, 33, 44).unwrap();
        assert_eq!(size(&pair.slave).unwrap(), (33, 44));
        super::super::fd::write_all(&pair.master, b"hi\n").unwrap();
        let mut line = [0; 3];
        assert_eq!(
            super::super::fd::read_full(&pair.slave, &mut line).unwrap(),
            3
        );
        assert_eq!(&line, b"hi\n");
    }

    #[test]
    fn another_directory_is_no_devpts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ptmx"), "").unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(open(&fd).unwrap_err().errno, libc::EINVAL);
    }
}
