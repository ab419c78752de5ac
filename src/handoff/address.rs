//! Sockets by path, however long the path is.
//!
//! A socket address holds 107 bytes, and `/run/user/1000/coracle/containers/<64 digits>/…` is
//! longer: the folder is opened and the address goes through `/proc/self/fd`.

use std::fs::{File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};

/// The folder held open, and the short path through it.
fn short(path: &Path) -> std::io::Result<(File, PathBuf)> {
    let dir = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let name = path.file_name().unwrap_or_default();
    let short = Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name);
    Ok((dir, short))
}

/// Listens at `path`, for this user alone; a socket that is already there is replaced.
///
/// # Errors
/// What the kernel says.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let listen = || -> std::io::Result<UnixListener> {
        let (_dir, short) = short(path)?;
        let listener = match UnixListener::bind(&short) {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
                std::fs::remove_file(path)?;
                UnixListener::bind(&short)?
            }
            other => other?,
        };
        std::fs::set_permissions(&short, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    listen().what(|| format!("cannot listen on {}", path.display()))
}

/// Receives datagrams at `path`, from everybody who can reach it; a socket that is already there is
/// replaced.
///
/// # Errors
/// What the kernel says.
pub fn receive(path: &Path) -> Result<UnixDatagram> {
    let receive = || -> std::io::Result<UnixDatagram> {
        let (_dir, short) = short(path)?;
        if std::fs::symlink_metadata(path).is_ok() {
            std::fs::remove_file(path)?;
        }
        let socket = UnixDatagram::bind(&short)?;
        std::fs::set_permissions(&short, Permissions::from_mode(0o666))?;
        Ok(socket)
    };
    receive().what(|| format!("cannot receive at {}", path.display()))
}

/// Connects to `path`.
///
/// # Errors
/// `NotFound` when there is no socket; `Unavailable` when nobody listens any more.
pub fn connect(path: &Path) -> Result<UnixStream> {
    let connect = || {
        let (_dir, short) = short(path)?;
        UnixStream::connect(short)
    };
    connect().map_err(|e| {
        let kind = crate::base::error::kind_of_errno(e.raw_os_error().unwrap_or(0));
        Error::new(kind, format!("cannot connect to {}", path.display())).because(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn paths_longer_than_a_socket_address_work() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("x".repeat(120));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("control.sock");
        assert_eq!(connect(&path).unwrap_err().kind(), Kind::NotFound);
        let listener = listen(&path).unwrap();
        assert!(connect(&path).is_ok());
        drop(listener);
        assert_eq!(connect(&path).unwrap_err().kind(), Kind::Unavailable);
        assert!(listen(&path).is_ok(), "a dead socket is replaced");
    }
}
