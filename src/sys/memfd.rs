//! Sealed files in memory, and a copy of this program that nobody can write to.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::error::{Call as _, Error, Result};
use super::mount;

/// A file in memory with `bytes`, sealed: nobody can change it, whoever gets the descriptor.
///
/// # Errors
/// `ENOMEM`, `EMFILE`.
pub fn sealed(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .call("memfd_create", || name.to_owned())?;
    super::fd::write_all(&fd, bytes)?;
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0)).call("lseek", String::new)?;
    seal(&fd)?;
    Ok(fd)
}

fn seal(fd: &OwnedFd) -> Result<()> {
    rustix::fs::fcntl_add_seals(
        fd,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
    .call("fcntl", || "F_ADD_SEALS".into())
}

/// This program as a file to execute inside a container (CVE-2019-5736): a read-only clone of its
/// mount, or where that cannot be had, a sealed copy in memory. The caller has a mount namespace of
/// its own.
///
/// # Errors
/// What the kernel says.
pub fn own_program() -> Result<OwnedFd> {
    match read_only_clone() {
        Ok(fd) => Ok(fd),
        Err(_) => copy(),
    }
}

fn read_only_clone() -> Result<OwnedFd> {
    // The link leads to the mount that we were started from, which is of another mount namespace:
    // the same file is looked up in ours.
    let path = rustix::fs::readlink(c"/proc/self/exe", Vec::new())
        .call("readlink", || "/proc/self/exe".into())?;
    let running = rustix::fs::stat(c"/proc/self/exe").call("stat", || "/proc/self/exe".into())?;
    let tree = mount::clone_path(&path, false)?;
    let found = rustix::fs::fstat(&tree).call("fstat", String::new)?;
    if (running.st_dev, running.st_ino) != (found.st_dev, found.st_ino) {
        return Err(Error::new(
            "open_tree",
            path.to_string_lossy(),
            libc::ESTALE,
        ));
    }
    let change = mount::Change {
        set: mount::RDONLY | mount::NOSUID | mount::NODEV,
        ..mount::Change::default()
    };
    mount::set_attributes(&tree, change, false)?;
    Ok(tree)
}

fn copy() -> Result<OwnedFd> {
    let program = rustix::fs::open(
        c"/proc/self/exe",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open", || "/proc/self/exe".into())?;
    let size = rustix::fs::fstat(&program)
        .call("fstat", String::new)?
        .st_size;
    let fd = rustix::fs::memfd_create("coracle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .call("memfd_create", || "coracle".into())?;
    let mut left = u64::try_from(size).unwrap_or(0);
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::sendfile(fd.as_fd(), &program, None, count) {
            Ok(0) => break,
            Ok(n) => left = left.saturating_sub(n as u64),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call("sendfile", String::new),
        }
    }
    seal(&fd)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_reads_and_refuses_writes() {
        let fd = sealed("x", b"hello").unwrap();
        assert!(super::super::fd::write_all(&fd, b"y").is_err());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(fd), &mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn the_copy_of_this_program_has_its_size() {
        let fd = copy().unwrap();
        assert_eq!(
            rustix::fs::fstat(&fd).unwrap().st_size,
            rustix::fs::stat(c"/proc/self/exe").unwrap().st_size
        );
    }
}
